"""Dice of a run's outlines, case by case, on the pixels of the images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, Finding, Region, RegionTable, new_id
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import Resampling
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.workflows.experiments import experiments_of
from napari_medlab.models.workflows.judge import JudgeRule, judge
from napari_medlab.project import BundleRecord, CaseRecord, Project
from napari_medlab.project.edits import (
    add_bundle,
    add_candidates,
    add_case,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
    set_region,
)
from napari_medlab.reports import case_dice as module
from napari_medlab.reports.case_dice import (
    case_dice,
    compared_dice,
    dice_of_cases,
    has_outlines,
    has_reference_outlines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.models.workflows.judge import Metric

RUN = "a" * 32


def square(start: int, side: int, z: int | None = None) -> np.ndarray:
    """Return the ring around the pixels ``start`` … ``start + side - 1`` along both axes."""
    low, high = start - 0.5, start + side - 0.5
    flat = np.asarray([(low, low), (low, high), (high, high), (high, low)])
    return flat if z is None else np.column_stack([np.full(4, float(z)), flat])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", reader="ann") as made:
        made.commit(add_run(RUN, "b" * 64, {}))
        yield made


def add(
    project: Project,
    reference: list[tuple[np.ndarray, str]],
    found: list[tuple[np.ndarray, str]],
    excluded: bool = False,
    run_id: str = RUN,
) -> str:
    """Add a frozen case with outlines of the reference, the first of which may be excluded, and of a run."""
    case = CaseRecord(new_id(), "images/a.tif", "a", kind="photo", split="test", frozen=True)
    project.commit(add_case(case))
    for number, (ring, label) in enumerate(reference):
        finding = Finding(case.case_id, (0.0, 0.0), 1.0, is_excluded=excluded and number == 0, label=label,
                          finding_id=new_id())  # fmt: skip
        project.commit(add_findings([finding]))
        project.commit(set_region(None, Region(case.case_id, (ring,), finding.finding_id, label)))
    propose(project, case.case_id, found, run_id)
    return case.case_id


def propose(project: Project, case_id: str, found: list[tuple[np.ndarray, str]], run_id: str) -> None:
    candidates = [Candidate(case_id, (0.0, 0.0), 0.9, 1.0, label, new_id()) for _, label in found]
    if candidates:
        project.commit(add_candidates(run_id, case_id, 0, candidates))
        regions = [Region(case_id, (ring,), one.candidate_id, label)
                   for one, (ring, label) in zip(candidates, found, strict=True)]  # fmt: skip
        table = RegionTable.from_regions(case_id, regions, [0.9] * len(regions))
        project.commit(add_regions(case_id, f"{run_id} 0", table, run_id))
    project.commit(finish_case(run_id, case_id, 0.1))


@pytest.mark.parametrize(
    ("reference", "found", "expected"),
    [
        ([(square(2, 4), "g")], [(square(2, 4), "g")], 1.0),
        ([(square(2, 4), "g")], [(square(4, 4), "g")], 2 * 4 / 32),
        ([(square(2, 4), "g")], [], 0.0),
        ([], [], 1.0),
        # two that overlap count once, and each class by itself
        ([(square(2, 4), "g")], [(square(2, 4), "g"), (square(2, 2), "g")], 1.0),
        ([(square(2, 4), "g"), (square(20, 2), "h")], [(square(2, 4), "g"), (square(30, 2), "h")], 0.5),
        # one slice of two is found
        ([(square(2, 4, z=1), "g"), (square(2, 4, z=2), "g")], [(square(2, 4, z=2), "g")], 2 * 16 / 48),
        # far beyond one tile, and across the edge of two
        ([(square(5000, 4), "g"), (square(2046, 4), "g")], [(square(2046, 4), "g")], 2 * 16 / 48),
    ],
)
def test_pixels_are_counted_as_they_are(
    project: Project,
    reference: list[tuple[np.ndarray, str]],
    found: list[tuple[np.ndarray, str]],
    expected: float,
) -> None:
    case_id = add(project, reference, found)
    assert case_dice(project, RUN, case_id) == pytest.approx(expected)


def test_a_smaller_tile_counts_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    case_id = add(project, [(square(2, 9), "g")], [(square(5, 9), "g")])
    whole = case_dice(project, RUN, case_id)
    monkeypatch.setattr(module, "TILE", 4)
    assert case_dice(project, RUN, case_id) == whole == 2 * 36 / 162


def test_what_is_excluded_is_left_out_on_both_sides(project: Project) -> None:
    reference = [(square(2, 4), "g"), (square(20, 4), "g")]
    case_id = add(project, reference, [(square(2, 4), "g"), (square(20, 4), "g")], excluded=True)
    assert case_dice(project, RUN, case_id) == 1
    assert case_dice(project, RUN, add(project, reference, [(square(2, 4), "g")], excluded=True)) == 0


def test_a_run_is_measured_by_what_it_proposed_and_not_by_what_readers_made_of_it(project: Project) -> None:
    case_id = add(project, [(square(2, 4), "g")], [(square(4, 4), "g")])
    proposed = project.region_table(case_id, run_id=RUN).region(0)
    project.commit(set_region(proposed, replace(proposed, rings=(square(2, 4),))))
    assert case_dice(project, RUN, case_id) == 2 * 4 / 32
    project.commit(set_region(project.region_table(case_id, run_id=RUN).region(0), None))
    assert case_dice(project, RUN, case_id) == 2 * 4 / 32


def test_two_runs_are_compared_by_the_mean_over_cases(project: Project) -> None:
    other = "c" * 32
    project.commit(add_run(other, "d" * 64, {}))
    for moved in (0, 2):
        case_id = add(project, [(square(2, 4), "g")], [(square(2 + moved, 4), "g")])
        propose(project, case_id, [(square(2, 4), "g")], other)
    cases, few = project.cases(), Resampling(50)
    found = compared_dice(project, (RUN, other), cases, few)
    assert found is not None
    assert found.a == pytest.approx((1 + 2 * 4 / 32) / 2)
    assert (found.b, found.n, found.n_groups) == (1.0, 2, 2)
    assert compared_dice(project, (RUN, "e" * 32), cases, few) is None


def test_classes_that_are_called_differently_are_not_compared(project: Project) -> None:
    add(project, [(square(2, 4), "nodule")], [(square(2, 4), "lesion")])
    assert compared_dice(project, (RUN, RUN), project.cases(), Resampling(50)) is None


def test_cases_are_stopped_between(project: Project) -> None:
    cases = [add(project, [(square(2, 4), "g")], [(square(2, 4), "g")]) for _ in range(2)]
    assert dice_of_cases(project, RUN, cases).tolist() == [1, 1]
    assert has_outlines(project, RUN, cases)
    assert not has_outlines(project, "c" * 32, cases)
    assert has_reference_outlines(project, cases)
    assert not has_reference_outlines(project, [add(project, [], [(square(2, 4), "g")])])
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        dice_of_cases(project, RUN, cases, cancel.check)


def test_segmenters_are_judged_by_dice(project: Project) -> None:
    other = "c" * 32
    project.commit(add_run(other, "d" * 64, {}))
    for _ in range(6):
        case_id = add(project, [(square(2, 8), "g")], [(square(2, 8), "g")])
        propose(project, case_id, [(square(4, 8), "g")], other)
    for run_id in (RUN, other):
        project.commit(finish_run(run_id))
    judgement = judge(project, RUN, other, JudgeRule("dice"))
    assert not judgement.may_publish
    assert "is worse. Dice 1.000 → 0.562" in judgement.reason
    assert judgement.figures["difference_interval"] == [-0.4375, -0.4375]
    assert judge(project, other, RUN, JudgeRule("dice", needs="better")).may_publish


@pytest.fixture
def finds_nothing(project: Project) -> str:
    """Return a run that found nothing where another outlined all of two frozen cases."""
    other = "c" * 32
    project.commit(add_run(other, "d" * 64, {}))
    for _ in range(2):
        propose(project, add(project, [(square(2, 8), "g")], [(square(2, 8), "g")]), [], other)
    for run_id in (RUN, other):
        project.commit(finish_run(run_id))
    return other


def test_a_model_that_found_nothing_has_a_dice_of_zero(project: Project, finds_nothing: str) -> None:
    judgement = judge(project, RUN, finds_nothing, JudgeRule("dice"))
    assert "is worse. Dice 1.000 → 0.000" in judgement.reason
    assert judge(project, finds_nothing, RUN, JudgeRule("dice")).may_publish


@pytest.mark.parametrize("metric", ["dice", "cpm"])
def test_what_found_nothing_is_not_published_beside_what_found_nothing_either(
    project: Project, finds_nothing: str, metric: Metric
) -> None:
    judgement = judge(project, finds_nothing, finds_nothing, JudgeRule(metric))
    assert not judgement.may_publish
    assert judgement.reason == "Refused: the new model found nothing on the 2 frozen test cases."


def test_what_was_found_without_outlines_is_not_compared_by_dice(
    project: Project, finds_nothing: str
) -> None:
    case = project.cases()[0].case_id
    centre = Candidate(case, (0.0, 0.0), 0.9, 1.0, "g", new_id())
    project.commit(add_candidates(finds_nothing, case, 0, [centre]))
    with pytest.raises(InputRefusedError, match="the new model outlines nothing") as caught:
        judge(project, RUN, finds_nothing, JudgeRule("dice"))
    assert caught.value.code == "no-outlines"


def test_the_journal_sets_the_dice_of_a_parent_beside_that_of_its_child(
    project: Project, finds_nothing: str
) -> None:
    for name, digest, parent in (("old", "b" * 64, None), ("new", "d" * 64, "b" * 64)):
        project.commit(add_bundle(BundleRecord(digest, "", name, parent)))
    judge(project, RUN, finds_nothing, JudgeRule("dice"))
    rows = {row.name: row for row in experiments_of(project)}
    figures = [rows[name].figure for name in ("old", "new")]
    assert [figure and (figure.metric, figure.value) for figure in figures] == [("Dice", 1.0), ("Dice", 0.0)]
    assert rows["old"].run_id == RUN
