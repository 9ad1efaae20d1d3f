"""A project of a CT, a slide and a photograph with two runs that differ in known ways, and a token where names stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image as Pictures

from napari_medlab.annotations import Candidate, Finding, Region, RegionTable, new_id
from napari_medlab.project import Project
from napari_medlab.project.adding import add_images
from napari_medlab.project.edits import (
    add_candidates,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
    set_fields,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["TOKEN", "make_project", "square"]

TOKEN = "Zq99Xk"
"""Part of every name, path and typed value of the cases."""
HEADER = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
    "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1.5\nDimSize = 60 50 20\n"
    "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


def make_project(folder: Path) -> tuple[Project, tuple[str, str]]:
    """Return an open project and its two runs.

    Each image has three findings. Before, the first was found and the third at a low score; after, the second was found
    and the third at a low score; the first broke. Each run marks two places where there is nothing: one of its
    own, and at a lower score one of both.
    """
    project = Project.create(folder, reader="ann")
    paths = [write(project.folder / "images") for write in (_ct, _slide, _photo)]
    list(add_images(project, paths))
    runs = new_id(), new_id()
    for run_id in runs:
        project.commit(add_run(run_id, "", {"model": "made up"}))
    for number, case in enumerate(project.cases()):
        fields: dict[str, str | float] = {
            "site": f"{TOKEN} clinic",
            "fold": number % 2,
            "note": f"Mrs {TOKEN}",
        }
        project.commit(set_fields(case.case_id, {}, fields))
        _fill(project, case.case_id, runs)
    for run_id in runs:
        project.commit(finish_run(run_id))
    return project, runs


def square(case_id: str, middle: tuple[float, ...], half: float, owner: str) -> Region:
    """Return a square outline around an index, in its slice where there are three axes."""
    corners = np.array([[-half, -half], [-half, half], [half, half], [half, -half]])
    ring = np.asarray(middle)[-2:] + corners
    if len(middle) == 3:
        ring = np.column_stack([np.full(4, round(middle[0])), ring])
    return Region(case_id, (ring,), owner)


def _fill(project: Project, case_id: str, runs: tuple[str, str]) -> None:
    case = next(case for case in project.cases() if case.case_id == case_id)
    scale = 0.5 if case.kind == "slide" else 1.0
    deep = (12.0,) if case.kind == "volume" else ()
    centres = [
        (12.0 * scale, 12.0 * scale, *deep),
        (40.0 * scale, 12.0 * scale, *deep),
        (12.0 * scale, 36.0 * scale, *deep),
    ]
    nothing = (50.0 * scale, 40.0 * scale, *deep)
    elsewhere = (28.0 * scale, 28.0 * scale, *deep)
    unsure = (28.0 * scale, 44.0 * scale, *deep)
    findings = [Finding(case_id, centre, 8.0 * scale, "lesion") for centre in centres]
    project.commit(add_findings(findings))
    project.commit(add_regions(case_id, "reference", _outlines(case_id, findings[:1], (8.0, 12.0, 12.0))))
    for run_id, scores, wrong in (
        (runs[0], (0.9, None, 0.1), nothing),
        (runs[1], (None, 0.8, 0.2), elsewhere),
    ):
        found = [
            Candidate(case_id, centre, score, 8.0 * scale, "lesion", new_id())
            for centre, score in zip(centres, scores, strict=True)
            if score is not None
        ]
        found.append(Candidate(case_id, wrong, 0.7, 8.0 * scale, "other", new_id()))
        found.append(Candidate(case_id, unsure, 0.3, 8.0 * scale, "other", new_id()))
        project.commit(add_candidates(run_id, case_id, 0, found))
        project.commit(
            add_regions(
                case_id, f"outlines {run_id}", _outlines(case_id, found[:1], (8.0, 12.0, 12.0)), run_id
            )
        )
        project.commit(finish_case(run_id, case_id, 1.0))


def _outlines(
    case_id: str, owners: list[Finding] | list[Candidate], middle: tuple[float, ...]
) -> RegionTable:
    """Return an outline of the first object, around an index."""
    owner = owners[0]
    name = owner.finding_id if isinstance(owner, Finding) else owner.candidate_id
    ndim = len(owner.centre)
    return RegionTable.from_regions(case_id, [square(case_id, middle[-ndim:], 4.0, name)], ndim=ndim)


def _ct(folder: Path) -> Path:
    volume = np.full((20, 50, 60), -800, "<i2")
    volume[8, 8:17, 8:17] = 300
    path = folder / f"{TOKEN}^ct.mha"
    path.write_bytes(HEADER.encode() + volume.tobytes())
    return path


def _slide(folder: Path) -> Path:
    pixels = np.full((256, 256, 3), (230, 210, 225), np.uint8)
    pixels[8:17, 8:17] = (120, 40, 120)
    path = folder / f"{TOKEN}.ome.tif"
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(128, 128), metadata=size)
    return path


def _photo(folder: Path) -> Path:
    pixels = np.full((64, 80, 3), (40, 90, 110), np.uint8)
    pixels[8:17, 8:17] = (250, 30, 30)
    path = folder / f"{TOKEN} photo.png"
    Pictures.fromarray(pixels).save(path)
    return path
