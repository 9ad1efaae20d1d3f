"""A project of chest phantoms with known nodules: something to try everything on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding, Region, RegionTable, new_id
from napari_medlab.geometry import mask_to_rings
from napari_medlab.phantoms.chest_ct import SECOND_SITE, ChestPhantom, Site, chest_phantom
from napari_medlab.project.edits import add_case, add_findings, add_regions
from napari_medlab.project.records import CaseRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.project.project import Project

__all__ = ["SampleSize", "fill_with_phantoms", "write_mha"]

FIRST_SEED = 500_000
"""Far from the seeds that the shipped detector was trained and tested on."""


@dataclass(frozen=True)
class SampleSize:
    """How many cases: to review and learn from, and in the frozen test set."""

    train: int = 16
    test: int = 16


def fill_with_phantoms(
    project: Project, size: SampleSize, site: Site = SECOND_SITE
) -> Iterator[tuple[int, int]]:
    """Write phantoms into the project's ``images`` folder and add them with findings and outlines; yields (done, total).

    The default site scans otherwise than the one the shipped detector was trained on, so that there are errors to find.
    """
    total = size.train + size.test
    (project.folder / "images").mkdir(exist_ok=True)
    for number in range(total):
        case_id = new_id()
        phantom = chest_phantom(FIRST_SEED + number, case_id, site)
        path = project.folder / "images" / f"{case_id}.mha"
        write_mha(path, phantom)
        _add(project, case_id, number, size, phantom)
        yield number + 1, total


def _add(project: Project, case_id: str, number: int, size: SampleSize, phantom: ChestPhantom) -> None:
    from napari_medlab.images.fingerprint import fingerprint

    path = project.folder / "images" / f"{case_id}.mha"
    is_test = number >= size.train
    project.commit(
        add_case(
            CaseRecord(
                case_id, f"images/{path.name}", f"CT {number + 1:02d}", "volume", "CT", f"patient-{number + 1:02d}",
                "test" if is_test else "train", is_test, fingerprint(path), phantom.grid.as_json(),
            )
        )
    )  # fmt: skip
    # ids of the usual kind, whatever the phantom calls them
    named = {finding.finding_id: new_id() for finding in (*phantom.findings, *phantom.excluded)}
    phantom = replace(
        phantom, findings=_renamed(phantom.findings, named), excluded=_renamed(phantom.excluded, named)
    )
    findings = [*phantom.findings, *phantom.excluded]
    if findings:
        project.commit(add_findings(findings))
    outlines = []
    for value, finding in enumerate(phantom.findings, start=1):
        planes = {
            int(z): [ring for ring in mask_to_rings(phantom.labels[z] == value) if len(ring) > 4]
            for z in np.flatnonzero((phantom.labels == value).any(axis=(1, 2)))
        }
        outlines.append(Region.on_slices(case_id, planes, finding.finding_id, finding.label))
    drawn = [region for region in outlines if region.rings]
    if drawn:
        project.commit(add_regions(case_id, "reference", RegionTable.from_regions(case_id, drawn)))


def _renamed(findings: tuple[Finding, ...], names: dict[str, str]) -> tuple[Finding, ...]:
    return tuple(replace(finding, finding_id=names[finding.finding_id]) for finding in findings)


def write_mha(path: Path, phantom: ChestPhantom) -> None:
    """Write the volume of a phantom as MetaImage, with its geometry."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(phantom.volume)
    image.SetSpacing([float(step) for step in phantom.grid.spacing[::-1]])
    image.SetOrigin([float(v) for v in phantom.grid.to_world(np.zeros(3))])
    sitk.WriteImage(image, str(path), useCompression=True)
