"""Small projects to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Candidate, Finding, Region, new_id
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_candidates, add_case, add_findings, add_run

if TYPE_CHECKING:
    from pathlib import Path

RUN = "0" * 32


def filled(
    folder: Path, *, cases: int = 2, candidates: int = 4, grid: dict[str, Any] | None = None
) -> Project:
    """Return an open project with cases, two findings on each, and a batch of candidates on each."""
    project = Project.create(folder, reader="ann")
    project.commit(add_run(RUN, "", {"threshold": 0.5}))
    for number in range(cases):
        case = CaseRecord(new_id(), f"images/{number}.mha", f"series-{number}", modality="CT", grid=grid)
        project.commit(add_case(case))
        project.commit(add_findings([Finding(case.case_id, (float(n), -2.5, 0.1), 6.0) for n in range(2)]))
        project.commit(add_candidates(RUN, case.case_id, 0, some_candidates(case.case_id, candidates)))
    return project


def some_candidates(case_id: str, count: int) -> list[Candidate]:
    """Return candidates with different places and scores."""
    return [Candidate(case_id, (n + 0.1, -n, 0.3), score=n / 7, diameter=n + 1.0) for n in range(count)]


def square(case_id: str, size: float, owner_id: str = "", region_id: str | None = None) -> Region:
    """Return a square outline on slice 1."""
    drawn = Region.on_slices(
        case_id, {1: [np.asarray([[0, 0], [0, size], [size, size], [size, 0]])]}, owner_id
    )
    return Region(case_id, drawn.rings, owner_id, region_id=region_id or drawn.region_id)


def outline_table(case_id: str, count: int, owner_id: str = "") -> RegionTable:
    """Return outlines of four vertices on a planar image, with different places and scores."""
    corners = np.asarray([[0.0, 0.0], [0.0, 2.5], [2.5, 2.5], [2.5, 0.0]])
    regions = [Region(case_id, (corners + 4 * n,), owner_id, f"label {n % 2}") for n in range(count)]
    return RegionTable.from_regions(case_id, regions, [n / 7 for n in range(count)])
