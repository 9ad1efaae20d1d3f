"""Runs of a project by any rule: figures, operating points, strata, classes, and two of them side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from compared_projects import make_project

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.errors import ProjectError
from napari_medlab.evaluation import FP_POINTS, Resampling, bootstrap
from napari_medlab.evaluation.froc import match_at
from napari_medlab.project import CaseRecord
from napari_medlab.project.edits import add_candidates, add_case, finish_case, set_fields, set_region
from napari_medlab.reports.lesion_outlines import Side, outlines_around
from napari_medlab.reports.run_classes import confused_classes
from napari_medlab.reports.run_figures import (
    RULE_TITLES,
    Measure,
    compared_at,
    compared_runs,
    point_figures,
    run_figures,
)
from napari_medlab.reports.run_strata import strata_of, stratifications

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.project import Project

FEW = Resampling(60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, tuple[str, str]]]:
    project, runs = make_project(tmp_path_factory.mktemp("runs") / "project")
    yield project, runs
    project.close()


def test_intervals_at_the_seven_points_are_those_of_the_bootstrap(
    made: tuple[Project, tuple[str, str]],
) -> None:
    figures = run_figures(made[0], made[1][1], "train", Measure(resampling=FEW))
    expected = bootstrap(figures.run.match, FEW, FP_POINTS, figures.run.groups)
    assert figures.report.intervals is not None
    np.testing.assert_allclose(figures.report.intervals.samples, expected.samples)
    assert figures.report.intervals.points == FP_POINTS


@pytest.mark.parametrize("rule", list(RULE_TITLES))
def test_every_rule_matches_a_candidate_that_lies_on_its_finding(
    made: tuple[Project, tuple[str, str]], rule: str
) -> None:
    figures = run_figures(made[0], made[1][0], "train", Measure(rule, 0.9, FEW))
    assert figures.report.match.counts["tp"] == 6
    assert Measure(rule).in_words()


def test_what_is_marked_on_a_case_that_nobody_read_is_not_called_wrong(tmp_path: Path) -> None:
    project, (run_id, _) = make_project(tmp_path / "project")
    with project:
        before = run_figures(project, run_id, "train", Measure(resampling=FEW)).report.match
        unread = new_id()
        project.commit(add_case(CaseRecord(unread, "", "later")))
        project.commit(add_candidates(run_id, unread, 0, [Candidate(unread, (0.0, 0.0, 0.0), 0.999, 5.0)]))
        project.commit(finish_case(run_id, unread, 0.1))
        after = run_figures(project, run_id, "train", Measure(resampling=FEW)).report.match
        assert (after.cases, after.counts) == (before.cases, before.counts)
        project.commit(set_fields(unread, {}, {"read": "yes"}))
        told = run_figures(project, run_id, "train", Measure(resampling=FEW)).report.match
        assert told.counts["fp"] == before.counts["fp"] + 1


def test_overlap_is_that_of_what_was_proposed_and_not_of_what_a_reader_made_of_it(tmp_path: Path) -> None:
    project, (run_id, _) = make_project(tmp_path / "project")
    with project:
        before = run_figures(project, run_id, "train", Measure("iou", 0.9, FEW)).report.match
        tables = [project.region_table(case.case_id, run_id=run_id) for case in project.cases()]
        drawn = [table.region(row) for table in tables for row in range(len(table))]
        assert drawn
        for region in drawn:
            small = tuple(np.column_stack([ring[:, :-1], ring[:, -1] + 40.0]) for ring in region.rings)
            project.commit(set_region(region, replace(region, rings=small)))
        after = run_figures(project, run_id, "train", Measure("iou", 0.9, FEW)).report.match
        assert after.counts == before.counts


def test_a_split_without_cases_is_refused(made: tuple[Project, tuple[str, str]]) -> None:
    with pytest.raises(ProjectError) as caught:
        run_figures(made[0], made[1][0], "test", Measure())
    assert caught.value.code == "no-cases"


def test_progress_is_told_to_its_end_and_can_stop_it(made: tuple[Project, tuple[str, str]]) -> None:
    told: list[tuple[int, int]] = []
    compared_runs(
        made[0], made[1], "train", Measure(resampling=FEW), on_progress=lambda *step: told.append(step)
    )
    assert list(dict.fromkeys(told)) == [(done, 8) for done in range(1, 9)]

    def refuse(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        run_figures(made[0], made[1][0], "train", Measure(resampling=FEW), on_progress=refuse)


@pytest.mark.parametrize("fp_per_scan", [0.5, 1.0, 3.0])
def test_a_point_has_the_counts_of_its_threshold(
    made: tuple[Project, tuple[str, str]], fp_per_scan: float
) -> None:
    figures = run_figures(made[0], made[1][0], "train", Measure(resampling=FEW))
    point = point_figures(figures, fp_per_scan, FEW)
    counts = match_at(figures.run.match, point.threshold).counts
    assert (point.tp, point.fn, point.fp) == (counts["tp"], counts["fn"], counts["fp"])
    assert point.fp <= fp_per_scan * 3
    assert point.interval[0] <= point.sensitivity <= point.interval[1]


@pytest.mark.parametrize("fp_per_scan", [0.25, 1.0, 4.0])
def test_transitions_at_another_point_sum_to_the_differences_in_counts(
    made: tuple[Project, tuple[str, str]], fp_per_scan: float
) -> None:
    compared = compared_at(compared_runs(made[0], made[1], "train", Measure(resampling=FEW)), fp_per_scan)
    comparison = compared.comparison
    a, b = (
        match_at(side.match, threshold).counts
        for side, threshold in (
            (comparison.a, comparison.threshold_a),
            (comparison.b, comparison.threshold_b),
        )
    )
    changes = comparison.transitions.counts
    assert b["tp"] - a["tp"] == changes["fixed"] - changes["regressed"]
    assert b["fp"] - a["fp"] == changes["new_false_positive"] - changes["removed_false_positive"]
    assert comparison.fp_per_scan == fp_per_scan


def test_strata_divide_all_findings(made: tuple[Project, tuple[str, str]]) -> None:
    run = run_figures(made[0], made[1][0], "train", Measure(resampling=FEW)).run
    assert stratifications(run) == ["size", "class", "fold", "note", "site"]
    for by in stratifications(run):
        strata = strata_of(run, by, 0.5, FEW)
        assert sum(stratum.findings for stratum in strata) == 9
        assert sum(round(stratum.sensitivity * stratum.findings) for stratum in strata) == 3
        owned = [finding for stratum in strata for finding in stratum.finding_ids]
        assert sorted(owned) == sorted(run.findings.ids.tolist())


def test_sizes_are_told_with_the_unit_of_their_image(made: tuple[Project, tuple[str, str]]) -> None:
    run = run_figures(made[0], made[1][0], "train", Measure(resampling=FEW)).run
    sizes = strata_of(run, "size", 0.5, FEW)
    assert [stratum.name for stratum in sizes] == ["6 to 10 mm", "below 50 µm", "below 16 px"]
    # each is one patient's, from which nothing can be drawn anew
    assert all(np.isnan(stratum.interval).all() for stratum in sizes)


def test_strata_of_cases_have_their_own_false_positives(made: tuple[Project, tuple[str, str]]) -> None:
    run = run_figures(made[0], made[1][0], "train", Measure(resampling=FEW)).run
    folds = strata_of(run, "fold", 0.5, FEW)
    assert [(stratum.name, stratum.cases, stratum.fp_per_scan) for stratum in folds] == [
        ("0", 2, 1.0),
        ("1", 1, 1.0),
    ]
    assert all(stratum.is_of_cases for stratum in folds)


def test_cells_of_the_matrix_hold_what_they_count(made: tuple[Project, tuple[str, str]]) -> None:
    run = run_figures(made[0], made[1][0], "train", Measure(resampling=FEW)).run
    found = confused_classes(run, 0.5)
    counts = found.matrix.counts
    for (row, column), count in np.ndenumerate(counts):
        assert len(found.objects(row, column)) == count
    missed = found.objects(0, counts.shape[1] - 1)
    assert {len(each.object_ids) for each in missed} == {1}
    assert {each.object_ids[0] for each in missed} <= set(run.findings.ids.tolist())
    false = found.objects(counts.shape[0] - 1, found.matrix.candidate_labels.index("other"))
    assert {each.object_ids[0] for each in false} <= set(run.candidates.ids.tolist())
    assert all(each.score == 0.7 for each in false)


def test_each_side_is_outlined_by_itself_and_circles_stand_for_the_rest(
    made: tuple[Project, tuple[str, str]],
) -> None:
    project, runs = made
    for case in project.cases():
        findings = project.findings(case.case_id)
        outlines = outlines_around(
            project, case, (Side(runs[0], 0.5), Side(runs[1], 0.5)), findings.centres[0]
        )
        ndim = findings.centres.shape[1]
        assert all(ring.shape[1] == ndim for rings in outlines.by_side.values() for ring in rings)
        first = outlines.before[0]
        np.testing.assert_allclose(np.ptp(first[:, -2:], axis=0), (8.0, 8.0))
        # below the threshold nothing is drawn
        few = outlines_around(project, case, (Side(runs[0], 0.95), Side("", 0.5)), findings.centres[0])
        assert few.before == few.after == []


def test_a_ball_is_cut_into_circles_of_its_diameter(made: tuple[Project, tuple[str, str]]) -> None:
    project, runs = made
    case = next(case for case in project.cases() if case.kind == "volume")
    centre = project.findings(case.case_id).centres[1]
    rings = outlines_around(project, case, (Side(runs[0]), Side(runs[1])), centre).reference
    near = [ring for ring in rings if abs(ring[:, 2].mean() - 40) < 1 and abs(ring[:, 1].mean() - 12) < 1]
    # slices lie 1.5 mm apart, and the ball is 8 mm across
    assert sorted({int(ring[0, 0]) for ring in near}) == [6, 7, 8, 9, 10]
    widest = max(near, key=lambda ring: float(np.ptp(ring[:, 2])))
    assert np.ptp(widest[:, 2]) == pytest.approx(8.0)
