"""The whole loop on chest CT, from LUNA16's files to a model that is published or refused, by commands alone.

Run as ``python examples/full_loop_ct.py [FOLDER] [--train N --test N --budget N --steps N]``; without a folder, in one that
is deleted afterwards. The scans are phantoms of a hospital whose granulomas the detector has never seen. The defaults take
about a minute and teach nothing: for a model that learns something, ``--train 16 --test 16 --budget 200 --steps 240``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from full_loop import Material, Size, in_folder, part_of, round_the_loop

from napari_medlab.annotations import FindingTable
from napari_medlab.annotations.formats.luna16 import write_findings
from napari_medlab.phantoms.chest_ct import SECOND_SITE, chest_phantom
from napari_medlab.project.sample_files import write_mha

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations import Finding

FIRST_SEED = 910_000
SITE = replace(SECOND_SITE, shape=(40, 112, 128), most_nodules=6)


def write_scans(folder: Path, size: Size) -> Material:
    """Write scans as MetaImage, called by their series, and the tables of LUNA16; they lack a nodule that somebody overlooked."""
    truth: dict[str, tuple[Finding, ...]] = {}
    excluded: list[Finding] = []
    images: list[Path] = []
    for number in range(size.train + size.test):
        series = f"1.2.826.0.1.3680043.10.1045.{FIRST_SEED + number}"
        phantom = chest_phantom(FIRST_SEED + number, series, SITE)
        images.append(part_of(folder, number, size) / f"{series}.mha")
        write_mha(images[-1], phantom)
        truth[series] = phantom.findings
        excluded += phantom.excluded
    known = [finding for findings in truth.values() for finding in findings]
    overlooked = max(
        (one for image in images[: size.train] for one in truth[image.stem]), key=lambda one: one.diameter
    )
    listed = [finding for finding in known if finding is not overlooked]
    write_findings(folder / "annotations.csv", FindingTable.from_objects(listed))
    write_findings(folder / "annotations_excluded.csv", FindingTable.from_objects(excluded))
    reference: list[str | Path] = [
        folder / "annotations.csv",
        "--excluded",
        folder / "annotations_excluded.csv",
    ]
    return Material(images[: size.train], images[size.train :], reference, truth)


def main(folder: Path, size: Size) -> None:
    """Write the scans and go round the loop with the detector of nodules that ships."""
    scans = folder / "scans"
    scans.mkdir()
    round_the_loop(folder, "lung-nodules", "luna16", size, write_scans(scans, size))


if __name__ == "__main__":
    in_folder(main, "The whole loop on chest CT.", Size())
