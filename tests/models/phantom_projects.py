"""Projects of small phantoms, and runs that are made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.models.bundles import Bundle, find_bundle
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.phantoms.chest_ct import Site
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    finish_run,
)
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    from pathlib import Path

SMALL_SITE = Site(shape=(32, 80, 88))


def make_phantom_project(folder: Path) -> Path:
    """Make a closed project with two training and two frozen test cases, and return its folder."""
    with Project.create(folder, reader="ann") as project:
        for _ in fill_with_phantoms(project, SampleSize(2, 2), SMALL_SITE):
            pass
        register_bundle(project, shipped(), "shipped")
    return folder


def shipped() -> Bundle:
    """Return the nodule detector that ships."""
    return find_bundle("lung-nodules")


def cases_of(project: Project, split: str) -> list[str]:
    """Return the cases of a split."""
    return [case.case_id for case in project.cases() if case.split == split]


def add_plain_cases(project: Project, train: int, test: int) -> None:
    """Add cases without an image, each with one finding at the origin."""
    for number in range(train + test):
        is_test = number >= train
        record = CaseRecord(new_id(), f"images/{number}.mha", f"case {number}", split="test" if is_test else "train",
                            frozen=is_test)  # fmt: skip
        project.commit(add_case(record))
        project.commit(add_findings([Finding(record.case_id, (0.0, 0.0, 0.0), 8.0)]))


def made_up_run(
    project: Project, bundle_hash: str, found: set[str], wrong: dict[str, float] | None = None
) -> str:
    """Add a finished run over all cases that hits the findings of some, and is wrong in some with a score."""
    run_id = new_id()
    project.commit(add_run(run_id, bundle_hash, {}))
    findings = project.findings()
    for case in project.cases():
        centres = findings.for_case(case.case_id).centres.tolist() if case.case_id in found else []
        candidates = [Candidate(case.case_id, tuple(centre), 0.9, 8.0) for centre in centres]
        if case.case_id in (wrong or {}):
            candidates.append(Candidate(case.case_id, (90.0, 90.0, 90.0), (wrong or {})[case.case_id], 8.0))
        project.commit(add_candidates(run_id, case.case_id, 0, candidates))
        project.commit(finish_case(run_id, case.case_id, 0.1))
    project.commit(finish_run(run_id))
    return run_id
