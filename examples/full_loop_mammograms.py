"""The whole loop on mammography exams, from DICOM and COCO JSON to a model that is published or refused, by commands alone.

Run as ``python examples/full_loop_mammograms.py [FOLDER] [--train N --test N --budget N --steps N]``; without a folder, in
one that is deleted afterwards. The exams are phantoms of a clinic with another detector. The defaults take about a minute
and teach nothing: for a model that learns something, ``--train 16 --test 16 --budget 200 --steps 240``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from full_loop import Material, Size, in_folder, part_of, round_the_loop

from napari_medlab.annotations.formats.coco_writing import write
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions
from napari_medlab.geometry import mask_to_rings
from napari_medlab.phantoms.mammogram import SECOND_MAMMOGRAPHY, mammogram_exam
from napari_medlab.project.sample_files import write_dicom

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.annotations import Finding
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.phantoms.mammogram import MammogramView

FIRST_SEED = 920_000
SHAPE = (640, 520)
SITE = replace(SECOND_MAMMOGRAPHY, healthy=0.0)
"""Another detector, and breasts that are dense; few exams are no use where they are healthy."""


def write_exams(folder: Path, size: Size) -> Material:
    """Write each exam into a folder of its own, and the outlines of all views into one file; a view without any is normal."""
    truth: dict[str, Sequence[Finding]] = {}
    outlined: list[ImageRegions] = []
    exams: list[Path] = []
    for number in range(size.train + size.test):
        name = f"exam-{number + 1}"
        exam = mammogram_exam(FIRST_SEED + number, name, shape=SHAPE, site=SITE)
        exams.append(part_of(folder, number, size) / name)
        exams[-1].mkdir()
        for view in exam.views:
            write_dicom(exams[-1] / f"{view.name}.dcm", view, name)
            truth[f"{name} {view.name}"] = view.findings
            outlined.append(outlines_of(view, f"{name}/{view.name}.dcm"))
    write(folder / "reference.json", outlined)
    return Material(exams[: size.train], exams[size.train :], [folder / "reference.json"], truth)


def outlines_of(view: MammogramView, file_name: str) -> ImageRegions:
    """Return the outlines of a view as COCO has them, under the name of its file."""
    outlines = [
        Outline(mask_to_rings(view.labels == value), finding.label, str(value))
        for value, finding in enumerate(view.findings, start=1)
        if np.any(view.labels == value)
    ]
    return image_regions(file_name, outlines, shape=view.labels.shape)


def main(folder: Path, size: Size) -> None:
    """Write the exams and go round the loop with the detector of masses and calcifications that ships."""
    exams = folder / "exams"
    exams.mkdir()
    round_the_loop(folder, "mammography", "coco", size, write_exams(exams, size))


if __name__ == "__main__":
    in_folder(main, "The whole loop on mammography exams.", Size())
