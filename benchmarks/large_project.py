"""Projects with many cases and candidates, as LUNA16 has them, for the benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.geometry import Grid
from napari_medlab.project import CaseRecord
from napari_medlab.project.edits import add_candidates, add_case, add_findings, add_run, finish_case

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project import Project

__all__ = ["CASES", "RUN", "fill_project"]

RUN = "5e7d0b1c4a8f4f0e9d3b2c1a0f9e8d7c"
CASES, FINDINGS_PER_CASE = 888, 1186 / 888
SHAPE, SPACING = (40, 256, 256), (2.5, 1.0, 1.0)


def fill_project(project: Project, candidates: int, *, cases: int = CASES, pictures: int = 0) -> int:
    """Fill an empty project with cases that a run is done with, and return the number of its candidates.

    Parameters
    ----------
    project : Project
    candidates : how many, rounded down to the same number in every case
    cases : how many; there are 4 findings for 3 of them, and most have a candidate
    pictures : how many of the first cases have an image
    """
    rng = np.random.default_rng(0)
    grid = Grid.axis_aligned(SHAPE, SPACING)
    size = np.asarray(SHAPE)[::-1] * np.asarray(SPACING)[::-1]
    project.commit(add_run(RUN, "", {"model": "synthetic"}))
    ids = [new_id() for _ in range(cases)]
    for number, case_id in enumerate(ids):
        path = project.folder / "images" / f"{number}.mha"
        if number < pictures:
            _write_volume(path, rng)
        project.commit(
            add_case(CaseRecord(case_id, f"images/{path.name}", f"scan {number}", grid=grid.as_json()))
        )
    findings = [
        [
            Finding(case_id, tuple(rng.uniform(0, size).tolist()), float(rng.uniform(4, 20)))
            for _ in range(number)
        ]
        for case_id, number in zip(ids, rng.poisson(FINDINGS_PER_CASE, cases), strict=True)
    ]
    project.commit(add_findings([finding for of_case in findings for finding in of_case]))
    count = candidates // cases
    for case_id, of_case in zip(ids, findings, strict=True):
        places, near = rng.uniform(0, size, (count, 3)), min(len(of_case), count)
        places[:near] = np.reshape([finding.centre for finding in of_case[:near]], (-1, 3))
        scores = np.concatenate([rng.beta(4, 2, near), rng.beta(1, 8, count - near)])
        some = [
            Candidate(case_id, tuple(p), s) for p, s in zip(places.tolist(), scores.tolist(), strict=True)
        ]
        project.commit(add_candidates(RUN, case_id, 0, some))
        project.commit(finish_case(RUN, case_id, 1.0))
    return count * cases


def _write_volume(path: Path, rng: np.random.Generator) -> None:
    """Write a volume of noise as MetaImage."""
    import SimpleITK as sitk

    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(rng.normal(-700, 60, SHAPE).astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))
