from __future__ import annotations

import numpy as np
import plain_luna16
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, plain_candidates, plain_findings
from hypothesis import assume, given
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.evaluation import FP_POINTS, FrocCurve, MatchTable, froc, match, match_at


def study(hits: list[float], alarms: list[float], misses: int = 0, cases: int = 1) -> MatchTable:
    """Match findings that are found with the scores ``hits``, false alarms, and findings never hit."""
    n = len(hits) + misses
    findings = [PlainFinding("one", (100.0 * i, 0.0, 0.0), 4.0) for i in range(n)]
    found = [PlainCandidate("one", (100.0 * i, 0.0, 0.0), score) for i, score in enumerate(hits)]
    false = [PlainCandidate("one", (0.0, 50.0 + i, 0.0), score) for i, score in enumerate(alarms)]
    names = ["one", *(f"empty{i}" for i in range(1, cases))]
    return match(finding_table(findings), candidate_table([*found, *false]), names)


def points(curve: FrocCurve) -> list[tuple[float, float, float]]:
    columns = curve.thresholds.tolist(), curve.fps_per_scan.tolist(), curve.sensitivity.tolist()
    return list(zip(*columns, strict=True))


def test_a_curve_worked_out_by_hand() -> None:
    curve = froc(study(hits=[0.9, 0.5], alarms=[0.7, 0.3], misses=2, cases=2))
    assert points(curve) == [
        (np.inf, 0.0, 0.0),
        (0.9, 0.0, 0.25),
        (0.7, 0.5, 0.25),
        (0.5, 0.5, 0.5),
        (0.3, 1.0, 0.5),
    ]
    assert curve.sensitivity_at([0.125, 0.5, 1, 8]).tolist() == [0.25, 0.5, 0.5, 0.5]
    assert curve.cpm == pytest.approx((2 * 0.25 + 5 * 0.5) / 7)


def test_equal_scores_make_one_point_and_a_slope() -> None:
    curve = froc(study(hits=[0.5], alarms=[0.5]))
    assert points(curve) == [(np.inf, 0.0, 0.0), (0.5, 1.0, 1.0)]
    assert curve.sensitivity_at(0.25) == 0.25


def test_cases_without_findings_thin_out_the_false_positives() -> None:
    assert froc(study([0.5], [0.9], cases=8)).sensitivity_at(0.125) == 1.0


def test_without_candidates_the_sensitivity_is_0() -> None:
    curve = froc(study([], [], misses=3))
    assert curve.cpm == 0.0
    assert points(curve) == [(np.inf, 0.0, 0.0)]


def test_without_findings_the_sensitivity_is_unknown() -> None:
    assert np.isnan(froc(study([], [0.5])).cpm)


def test_without_false_positives_the_last_sensitivity_holds() -> None:
    assert froc(study([0.5, 0.6], [], misses=2)).cpm == 0.5


@pytest.mark.parametrize(
    ("fp_per_scan", "threshold"), [(0.4, 0.9), (0.5, 0.5), (0.99, 0.5), (1.0, 0.3), (8.0, 0.3)]
)
def test_the_operating_point_is_the_lowest_threshold_within_the_limit(
    fp_per_scan: float, threshold: float
) -> None:
    curve = froc(study(hits=[0.9, 0.5], alarms=[0.7, 0.3], cases=2))
    assert curve.threshold_at(fp_per_scan) == threshold


def test_where_the_first_score_is_already_too_many_no_candidate_counts() -> None:
    table = study(hits=[0.2], alarms=[0.9, 0.9])
    threshold = froc(table).threshold_at(1.0)
    assert threshold == np.inf
    assert match_at(table, threshold).counts == {"tp": 0, "fp": 0, "fn": 1, "ignored": 0, "duplicate": 0}


def test_a_hit_below_the_operating_point_is_a_miss_that_remembers_its_candidate() -> None:
    table = match_at(study(hits=[0.9, 0.5], alarms=[0.7], misses=1), 0.6)
    assert table.counts == {"tp": 1, "fp": 1, "fn": 2, "ignored": 0, "duplicate": 0}
    missed = table.where(table.kind == "fn")
    assert dict(zip(missed.candidate_id.tolist(), missed.score.tolist(), strict=True)) == {
        "": -np.inf,
        "c1": 0.5,
    }
    assert missed.distance[missed.candidate_id == "c1"].tolist() == [0.0]


def test_the_table_handed_in_is_not_changed() -> None:
    table = study(hits=[0.5], alarms=[])
    match_at(table, 0.9)
    assert table.kind.tolist() == ["tp"]


@given(plain_findings(), plain_candidates())
def test_curve_agrees_with_the_plain_rules(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    assume(any(not f.excluded for f in findings))
    curve = froc(match(finding_table(findings), candidate_table(candidates), CASES))
    plain = plain_luna16.evaluate_cases(findings, candidates, CASES)
    np.testing.assert_allclose(curve.sensitivity_at(FP_POINTS), plain_luna16.sensitivities(plain), atol=1e-9)
    assert curve.cpm == pytest.approx(plain_luna16.cpm(plain), abs=1e-9)


@given(plain_findings(), plain_candidates(), st.sampled_from([-2.0, 0.0, 0.3, 0.5, 1.0, 2.0]))
def test_an_operating_point_is_what_matching_the_higher_scores_alone_gives(
    findings: list[PlainFinding], candidates: list[PlainCandidate], threshold: float
) -> None:
    reference = finding_table(findings)
    table = match_at(match(reference, candidate_table(candidates), CASES), threshold)
    above = [c for c in candidates if c.score >= threshold]
    assert table.counts == match(reference, candidate_table(above), CASES).counts


@given(plain_findings(), plain_candidates(), st.sampled_from([0.25, 0.5, 1.0, 3.0]))
def test_no_more_false_positives_than_the_operating_point_allows(
    findings: list[PlainFinding], candidates: list[PlainCandidate], fp_per_scan: float
) -> None:
    table = match(finding_table(findings), candidate_table(candidates), CASES)
    threshold = froc(table).threshold_at(fp_per_scan)
    assert match_at(table, threshold).counts["fp"] <= fp_per_scan * len(CASES)
    events = table.score[(table.kind == "tp") | (table.kind == "fp")]
    for lower in np.unique(events[events < threshold]):
        assert match_at(table, float(lower)).counts["fp"] > fp_per_scan * len(CASES)
