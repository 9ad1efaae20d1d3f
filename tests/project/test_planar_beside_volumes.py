"""Planar images beside volumes in one project: whatever is read of all of it fits together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from project_samples import RUN

from napari_medlab.annotations import Candidate, Finding
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import lesion_agreement, match
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.models.workflows.hard_examples import HardOptions, choose_examples, queue_of_run
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    set_finding,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SCAN, PHOTO = "a" * 32, "b" * 32
GRIDS = {
    SCAN: Grid((8, 64, 64), np.eye(4)[[2, 1, 0, 3]], "mm"),
    PHOTO: Grid((64, 64), np.eye(3)[[1, 0, 2]], "px"),
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A scan and a photo, with a candidate on each that lies on nothing."""
    with Project.create(tmp_path / "p", reader="ann") as opened:
        opened.commit(add_run(RUN, "", {}))
        for case_id, name, centre in ((SCAN, "volume", (1.0, 2.0, 3.0)), (PHOTO, "photo", (9.0, 8.0))):
            grid = GRIDS[case_id].as_json()
            opened.commit(add_case(CaseRecord(case_id, f"{name}.x", name, name, grid=grid)))
            opened.commit(add_candidates(RUN, case_id, 0, [Candidate(case_id, centre, 0.9, 4.0)]))
        yield opened


@pytest.mark.parametrize(("where", "centre"), [(PHOTO, (9.0, 8.5)), (SCAN, (1.0, 2.5, 3.0))])
def test_findings_on_one_kind_of_image_are_matched_with_candidates_on_both(
    project: Project, where: str, centre: tuple[float, ...]
) -> None:
    project.commit(add_findings([Finding(where, centre, 6.0)]))
    findings, candidates = project.findings(), project.candidates(RUN)
    assert findings.centres.shape == (1, 3)
    assert match(findings, candidates, [SCAN, PHOTO]).counts["tp"] == 1
    here = project.findings(where), project.candidates(RUN, where)
    assert [table.centres.shape[1] for table in here] == [len(centre)] * 2


def test_a_run_on_planar_images_alone_is_as_wide_as_any(project: Project) -> None:
    project.commit(add_run("1" * 32, "", {}))
    project.commit(add_candidates("1" * 32, PHOTO, 0, [Candidate(PHOTO, (9.0, 8.0), 0.5, 4.0)]))
    assert project.candidates("1" * 32).centres.tolist() == [[9.0, 8.0, 0.0]]
    project.commit(add_findings([Finding(SCAN, (1.0, 2.0, 3.0), 6.0)]))
    assert match(project.findings(), project.candidates("1" * 32), [SCAN, PHOTO]).counts["fp"] == 1


def test_readers_who_marked_other_kinds_of_image_are_compared(project: Project) -> None:
    project.commit(set_finding(None, Finding(PHOTO, (9.0, 8.0), 6.0)))
    first, second = project.findings(reader="ann"), project.findings(reader="bob")
    assert lesion_agreement(first, second, [SCAN, PHOTO]).n_first == 1


def test_examples_come_from_what_the_run_has_looked_at(project: Project) -> None:
    """A model of volumes is not trained with what it never saw, nor with photos."""
    findings = [Finding(PHOTO, (9.0 + n, 30.0), 6.0) for n in range(5)]
    project.commit(add_findings([*findings, Finding(SCAN, (40.0, 40.0, 3.0), 6.0)]))
    project.commit(finish_case(RUN, SCAN, 0.1))
    assert {item.case_id for item in queue_of_run(project, RUN, 1.0)} == {SCAN}
    chosen = choose_examples(project, RUN, HardOptions(fp_per_scan=1.0, rule=MiningRule(replay_share=0.8)))
    assert {example.case_id for example in chosen.examples} == {SCAN}


@pytest.mark.parametrize("centre", [(1.0,), (1.0, 2.0, 3.0, 4.0)])
def test_a_centre_has_two_or_three_coordinates(centre: tuple[float, ...]) -> None:
    finding = Finding(SCAN, centre, 5.0)
    attempts: list[Callable[[], object]] = [
        lambda: add_findings([finding]),
        lambda: set_finding(None, finding),
        lambda: add_candidates(RUN, SCAN, 0, [Candidate(SCAN, centre, 0.5)]),
    ]
    for refused in attempts:
        with pytest.raises(InputRefusedError, match=f"{len(centre)} coordinates"):
            refused()
