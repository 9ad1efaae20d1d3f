"""Describe what a run looked at, and find the slices of the data in which it fails more often than elsewhere.

Run as ``python examples/where_it_fails.py``. The scans are balls in noise, and the run is made up: it misses most of the
small ones, which is what should be found.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.evaluation import froc, match, match_at
from napari_medlab.geometry import Grid
from napari_medlab.models.workflows.describe import describe_run, where_it_fails
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    finish_run,
)

PATIENTS, BALLS = 48, 6
SHAPE, SPACING = (28, 96, 96), (2.0, 1.0, 1.0)
SMALL_MM = 6.0


def scan(rng: np.random.Generator, case_id: str, path: Path) -> list[Finding]:
    """Write a volume of noise with balls in it, in Hounsfield units, and return the balls."""
    import SimpleITK as sitk

    grid = Grid.axis_aligned(SHAPE, SPACING)
    places = np.stack(np.meshgrid([14.0], [24.0, 70.0], [20.0, 48.0, 76.0], indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    volume = rng.normal(-800, 40, SHAPE)
    steps = np.indices(SHAPE).reshape(3, -1).T
    findings = []
    for place, diameter in zip(places, rng.uniform(4, 14, BALLS), strict=True):
        distance = np.linalg.norm((steps - place) * SPACING, axis=1).reshape(SHAPE)
        volume[distance <= diameter / 2] += 800
        findings.append(Finding(case_id, tuple(grid.to_world(place).tolist()), float(diameter), "ball"))
    image = sitk.GetImageFromArray(volume.astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))
    return findings


def answer(rng: np.random.Generator, findings: list[Finding]) -> list[Candidate]:
    """Return what a model could say that finds three of ten small balls and nearly all others."""
    return [
        Candidate(finding.case_id, finding.centre, float(rng.uniform(0.5, 1.0)), finding.diameter, "ball")
        for finding in findings
        if rng.random() < (0.3 if finding.diameter < SMALL_MM else 0.95)
    ]


def fill(project: Project, rng: np.random.Generator) -> str:
    """Add the scans and the run, and return the run's id."""
    run_id = new_id()
    project.commit(add_run(run_id, "", {"model": "made up"}))
    for number in range(PATIENTS):
        case_id = new_id()
        path = project.folder / "images" / f"{number}.mha"
        findings = scan(rng, case_id, path)
        grid = Grid.axis_aligned(SHAPE, SPACING)
        record = CaseRecord(case_id, f"images/{path.name}", f"scan {number}", modality="CT", patient_key=f"p{number}",
                            grid=grid.as_json())  # fmt: skip
        project.commit(add_case(record))
        project.commit(add_findings(findings))
        project.commit(add_candidates(run_id, case_id, 0, answer(rng, findings)))
        project.commit(finish_case(run_id, case_id, 1.0))
    project.commit(finish_run(run_id))
    return run_id


def main(folder: Path) -> None:
    """Print the slices in words."""
    with Project.create(folder, reader="example") as project:
        run_id = fill(project, np.random.default_rng(3))
        described = describe_run(project, run_id)
        objects = described.objects
        table = match(
            project.findings(), project.candidates(run_id), [case.case_id for case in objects.cases]
        )
        at_point = match_at(table, froc(table).threshold_at(1.0))
        found = where_it_fails(described, at_point)
    print(f"{at_point.counts['fn']} of {len(objects.findings)} findings are missed.")
    for one in found.findings:
        print(f"{one.text} ({one.n} findings of {one.patients} patients, adjusted p = {one.p_adjusted:.3f})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary) / "project")
