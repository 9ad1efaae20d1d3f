"""A project of every kind of image, small, with findings, outlines and predictions that are wrong in known ways."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image as Pictures
from pydicom.uid import generate_uid

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from dicom_phantom import mammogram

from napari_medlab.annotations import Candidate, Finding, Region, RegionTable
from napari_medlab.geometry import Grid, mask_to_rings
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.phantoms.chest_ct import SECOND_SITE, chest_phantom
from napari_medlab.phantoms.mammogram import mammogram_exam
from napari_medlab.phantoms.slide import slide_phantom
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
)
from napari_medlab.project.records import CaseRecord
from napari_medlab.project.sample import write_mha

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["RUN", "make_project"]

RUN = hashlib.sha256(b"a run").hexdigest()[:32]
SLIDE_SHAPE = (2048, 3072)
EXAM_SEED = 5


def make_project(folder: Path, *, scans: int = 2, outlines: int = 0, photos: int = 2) -> Path:
    """Make the project, with so many CT scans and photos, one exam and one slide with so many more outlines of cells."""
    with Project.create(folder, reader="first") as project:
        images = project.folder / "images"
        images.mkdir(exist_ok=True)
        project.commit(add_run(RUN, "", {"name": "foreign model"}))
        for number in range(scans):
            _add_scan(project, images, number)
        _add_exam(project, images)
        _add_slide(project, images, outlines)
        for number in range(photos):
            _add_photo(project, images, number)
        project.commit(finish_run(RUN))
    return folder


def make_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _add_scan(project: Project, images: Path, number: int) -> None:
    case_id = make_id(f"scan {number}")
    phantom = chest_phantom(700_000 + number, case_id, SECOND_SITE)
    path = images / f"{case_id}.mha"
    write_mha(path, phantom)
    _add_case(
        project, path, CaseRecord(case_id, "", f"CT {number + 1}", "volume", "CT", f"p{number}"), phantom.grid
    )
    findings = [replace(finding, finding_id=make_id(finding.finding_id)) for finding in phantom.findings]
    regions = []
    for value, finding in enumerate(findings, start=1):
        slices = np.flatnonzero((phantom.labels == value).any(axis=(1, 2)))
        planes = {int(z): mask_to_rings(phantom.labels[z] == value) for z in slices}
        region_id = make_id(f"outline of {finding.finding_id}")
        region = Region.on_slices(case_id, planes, finding.finding_id, finding.label)
        regions.append(Region(case_id, region.rings, finding.finding_id, finding.label, region_id))
    _add_truth(project, case_id, findings, regions, ndim=3)
    _predict(project, case_id, findings, phantom.grid, number)


def _add_exam(project: Project, images: Path) -> None:
    exam = mammogram_exam(EXAM_SEED, shape=(512, 416))
    study = generate_uid()
    for number, view in enumerate(exam.views):
        case_id = make_id(f"view {view.name}")
        path = images / f"{case_id}.dcm"
        dataset = mammogram(view.pixels, "MONOCHROME2")
        dataset.ImageLaterality, dataset.ViewPosition = view.name[0], view.name[1:]
        dataset.StudyInstanceUID, dataset.PatientID = study, "P1"
        dataset.ImagerPixelSpacing = [view.grid.spacing[0]] * 2
        dataset.PatientOrientation = list(view.patient_orientation)
        dataset.save_as(path, enforce_file_format=True)
        record = CaseRecord(
            case_id,
            "",
            f"Exam 1 {view.name}",
            "mammogram",
            "MG",
            "woman",
            exam_key=make_id("exam"),
            view=view.name,
        )
        _add_case(project, path, record, view.grid)
        findings = [
            Finding(case_id, f.centre, f.diameter, f.label, False, make_id(f.finding_id))
            for f in view.findings
        ]
        regions = [
            Region(
                case_id,
                tuple(mask_to_rings(view.labels == value)),
                finding.finding_id,
                finding.label,
                make_id(f"o{finding.finding_id}"),
            )
            for value, finding in enumerate(findings, start=1)
        ]
        _add_truth(project, case_id, findings, regions, ndim=2)
        _predict(project, case_id, findings, view.grid, 100 + number)


def _add_slide(project: Project, images: Path, outlines: int) -> None:
    case_id = make_id("slide")
    phantom = slide_phantom(3, case_id, shape=SLIDE_SHAPE)
    path = images / f"{case_id}.ome.tif"
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, phantom.pixels, photometric="rgb", tile=(256, 256), metadata=size)
    _add_case(project, path, CaseRecord(case_id, "", "Kidney slide", "slide", "SM", "man"), phantom.grid)
    findings = [
        Finding(case_id, f.centre, f.diameter, f.label, False, make_id(f.finding_id))
        for f in phantom.findings
    ]
    regions = [
        Region(
            case_id,
            tuple(mask_to_rings(phantom.labels == value)),
            finding.finding_id,
            finding.label,
            make_id(f"o{finding.finding_id}"),
        )
        for value, finding in enumerate(findings, start=1)
    ]
    _add_truth(project, case_id, findings, regions, ndim=2)
    if outlines:
        project.commit(add_regions(case_id, "cells", cells(case_id, outlines, SLIDE_SHAPE), RUN))
    _predict(project, case_id, findings, phantom.grid, 200)


def cells(case_id: str, count: int, shape: tuple[int, int], vertices: int = 24) -> RegionTable:
    """Return round outlines strewn over an image."""
    rng = np.random.default_rng(7)
    angles = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radii = rng.uniform(3, 7, (count, 1, 1)) * rng.uniform(0.8, 1.2, (count, vertices, 1))
    circle = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    points = rng.uniform((8, 8), np.asarray(shape) - 8, (count, 2))[:, None] + radii * circle
    ids = np.frombuffer(rng.bytes(16 * count).hex().encode(), dtype="S32")
    return RegionTable(
        case_id, ids, np.zeros(count, "S32"), rng.integers(0, 2, count, dtype=np.int32), ("epithelium", "stroma"),
        rng.uniform(0, 1, count), np.arange(count + 1), np.arange(count + 1) * vertices, points.reshape(-1, 2),
    )  # fmt: skip


def _add_photo(project: Project, images: Path, number: int) -> None:
    case_id = make_id(f"photo {number}")
    rng = np.random.default_rng([number, 4])
    pixels = np.clip(rng.normal((40, 90, 110), 12, (480, 640, 3)), 0, 255).astype(np.uint8)
    grid = Grid.axis_aligned((480, 640), (1.0, 1.0), unit="px")
    findings = []
    for nth in range(3):
        y, x = rng.integers(60, 420), rng.integers(60, 580)
        pixels[y - 15 : y + 15, x - 25 : x + 25] = (180, 120, 60) if nth else (200, 200, 90)
        label = "starfish" if nth else "scallop"
        findings.append(
            Finding(case_id, (float(x), float(y)), 40.0, label, False, make_id(f"photo {number} {nth}"))
        )
    path = images / f"{case_id}.png"
    Pictures.fromarray(pixels).save(path)
    _add_case(
        project, path, CaseRecord(case_id, "", f"Frame {number + 1}", "photo", "", f"sea {number}"), grid
    )
    _add_truth(project, case_id, findings, [], ndim=2)
    _predict(project, case_id, findings, grid, 300 + number)


def _add_case(project: Project, path: Path, record: CaseRecord, grid: Grid) -> None:
    stored = replace(record, path=f"images/{path.name}", fingerprint=fingerprint(path), grid=grid.as_json())
    project.commit(add_case(stored))


def _add_truth(
    project: Project, case_id: str, findings: Sequence[Finding], regions: Sequence[Region], ndim: int
) -> None:
    if findings:
        project.commit(add_findings(findings))
    if regions:
        project.commit(
            add_regions(case_id, "reference", RegionTable.from_regions(case_id, regions, ndim=ndim))
        )


def _predict(project: Project, case_id: str, findings: Sequence[Finding], grid: Grid, seed: int) -> None:
    """Find two of three findings, mark some twice, and propose a dozen places where there is nothing."""
    rng = np.random.default_rng(seed)
    found: list[Candidate] = []
    for number, finding in enumerate(findings):
        if number % 3 != 2:
            found.append(_candidate(finding, rng, 0.0, rng.uniform(0.4, 1.0)))
        if number % 4 == 0:
            found.append(_candidate(finding, rng, 0.15, rng.uniform(0.3, 0.6)))
    low, high = 0.15 * np.asarray(grid.shape), 0.85 * np.asarray(grid.shape)
    usual = findings[0].diameter if findings else 8.0
    for _ in range(12):
        centre: NDArray[np.float64] = grid.to_world(rng.uniform(low, high))
        found.append(
            Candidate(case_id, tuple(centre.tolist()), float(rng.uniform(0.1, 0.9)), usual, "nodule")
        )
    numbered = [
        Candidate(case_id, c.centre, c.score, c.diameter, c.label, make_id(f"candidate {case_id} {n}"))
        for n, c in enumerate(found)
    ]
    project.commit(add_candidates(RUN, case_id, 0, numbered))
    project.commit(finish_case(RUN, case_id, 1.0))


def _candidate(finding: Finding, rng: np.random.Generator, aside: float, score: float) -> Candidate:
    shift = rng.normal(0, 1, len(finding.centre))
    centre = np.asarray(finding.centre) + aside * finding.diameter * shift / np.linalg.norm(shift)
    return Candidate(finding.case_id, tuple(centre.tolist()), float(score), finding.diameter, finding.label)
