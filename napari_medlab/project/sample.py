"""Projects of phantoms with known truth, something to try everything on: chest scans, mammography exams, slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding, Region, RegionTable, new_id
from napari_medlab.geometry import mask_to_rings
from napari_medlab.phantoms.chest_ct import SECOND_SITE, Site, chest_phantom
from napari_medlab.phantoms.mammogram import MammographySite, mammogram_exam
from napari_medlab.phantoms.slide import SlideSite, slide_phantom
from napari_medlab.project.edits import add_case, add_findings, add_regions
from napari_medlab.project.records import CaseRecord
from napari_medlab.project.sample_files import write_dicom, write_mha, write_slide
from napari_medlab.project.unread import READ, YES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.project.project import Project

__all__ = ["AnySite", "SampleSize", "fill_with_phantoms", "write_mha"]

FIRST_SEED = 500_000
"""Far from the seeds that the shipped models were trained and tested on."""

AnySite = Site | MammographySite | SlideSite
"""Where phantoms come from, and so what they are."""


@dataclass(frozen=True)
class SampleSize:
    """How many patients: to review and learn from, and in the frozen test set; and how large a slide of one is.

    A patient has one chest scan, or the four mammograms of an exam, or one slide.
    """

    train: int = 16
    test: int = 16
    slide_px: tuple[int, int] = (3072, 3072)


@dataclass(frozen=True, eq=False)
class _Phantom:
    """One image of a patient, written; ``labels`` marks ``findings[i]`` with i + 1, and excluded findings not at all."""

    record: CaseRecord
    findings: Sequence[Finding]
    excluded: Sequence[Finding]
    labels: NDArray[np.integer]


def fill_with_phantoms(
    project: Project,
    size: SampleSize,
    site: AnySite | Sequence[AnySite] = SECOND_SITE,
    first_seed: int = FIRST_SEED,
) -> Iterator[tuple[int, int]]:
    """Write phantoms into the project's ``images`` folder and add them with findings and outlines.

    Parameters
    ----------
    project : open for writing
    size : how many; the last ones are frozen for testing
    site : where they come from; of several, patients come from each in turn. The default scans otherwise than the one the
        shipped detector was trained on, so that there are errors to find.
    first_seed : of the first patient; each has the next

    Yields
    ------
    (patients done, patients in all)
    """
    from napari_medlab.images.fingerprint import fingerprint

    sites = site if isinstance(site, Sequence) else (site,)
    total, known = size.train + size.test, len({case.patient_key for case in project.cases()})
    (project.folder / "images").mkdir(exist_ok=True)
    for count in range(total):
        is_test, number = count >= size.train, known + count
        for phantom in _phantoms(
            project.folder, sites[count % len(sites)], number, first_seed + count, size.slide_px
        ):
            record = replace(
                phantom.record, patient_key=f"patient-{number + 1:02d}", split="test" if is_test else "train", frozen=is_test,
                # what is in it is known, also where that is nothing
                fingerprint=fingerprint(project.folder / phantom.record.path), fields={READ: YES},
            )  # fmt: skip
            _add(project, replace(phantom, record=record))
        yield count + 1, total


def _phantoms(
    root: Path, site: AnySite, number: int, seed: int, slide_px: tuple[int, int]
) -> Iterator[_Phantom]:
    """Yield the images of one patient."""
    if isinstance(site, Site):
        yield _chest(root, site, number, seed)
    elif isinstance(site, MammographySite):
        yield from _exam(root, site, number, seed)
    else:
        yield _slide(root, site, number, (seed, slide_px))


def _chest(root: Path, site: Site, number: int, seed: int) -> _Phantom:
    case_id = new_id()
    phantom = chest_phantom(seed, case_id, site)
    path = f"images/{case_id}.mha"
    write_mha(root / path, phantom)
    record = CaseRecord(case_id, path, f"CT {number + 1:02d}", "volume", "CT", grid=phantom.grid.as_json())
    return _Phantom(record, phantom.findings, phantom.excluded, phantom.labels)


def _exam(root: Path, site: MammographySite, number: int, seed: int) -> Iterator[_Phantom]:
    exam, exam_key = mammogram_exam(seed, new_id(), site=site), new_id()
    for view in exam.views:
        case_id = new_id()
        path = f"images/{case_id}.dcm"
        write_dicom(root / path, view, exam_key)
        record = CaseRecord(
            case_id, path, f"Exam {number + 1:02d} {view.name}", "mammogram", "MG", exam_key=exam_key, view=view.name,
            grid=view.grid.as_json(),
        )  # fmt: skip
        yield _Phantom(record, view.findings, (), view.labels)


def _slide(root: Path, site: SlideSite, number: int, how: tuple[int, tuple[int, int]]) -> _Phantom:
    case_id, (seed, shape) = new_id(), how
    phantom = slide_phantom(seed, case_id, shape=shape, site=site)
    path = f"images/{case_id}.ome.tif"
    write_slide(root / path, phantom)
    record = CaseRecord(case_id, path, f"Slide {number + 1:02d}", "slide", "SM", grid=phantom.grid.as_json())
    return _Phantom(record, phantom.findings, (), phantom.labels)


def _add(project: Project, phantom: _Phantom) -> None:
    case_id = phantom.record.case_id
    project.commit(add_case(phantom.record))
    # ids of the usual kind, whatever the phantom calls them
    findings, excluded = (
        [replace(finding, finding_id=new_id(), case_id=case_id) for finding in each]
        for each in (phantom.findings, phantom.excluded)
    )
    if findings or excluded:
        project.commit(add_findings([*findings, *excluded]))
    outlines = [_outline(phantom.labels == value, finding) for value, finding in enumerate(findings, start=1)]
    drawn = [region for region in outlines if region.rings]
    if drawn:
        ndim = phantom.labels.ndim
        project.commit(add_regions(case_id, "reference", RegionTable.from_regions(case_id, drawn, ndim=ndim)))


def _outline(mask: NDArray[np.bool_], finding: Finding) -> Region:
    """Return the outline of what is marked; the single voxels at a nodule's tips are left out."""
    about = (finding.case_id, finding.finding_id, finding.label)
    if mask.ndim == 2:
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return Region(about[0], (), *about[1:])
        corner = np.array([rows[0], columns[0]], dtype=np.float64)
        rings = mask_to_rings(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        return Region(about[0], tuple(ring + corner for ring in rings), *about[1:])
    planes = {
        int(z): [ring for ring in mask_to_rings(mask[z]) if len(ring) > 4]
        for z in np.flatnonzero(mask.any(axis=(1, 2)))
    }
    return Region.on_slices(about[0], planes, *about[1:])
