from __future__ import annotations

import numpy as np
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, plain_candidates, plain_findings
from hypothesis import given
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.evaluation import MatchTable, match
from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve, precision_recall


def study(hits: list[float], alarms: list[float], misses: int = 0) -> MatchTable:
    findings = [PlainFinding("one", (100.0 * i, 0.0, 0.0), 4.0) for i in range(len(hits) + misses)]
    found = [PlainCandidate("one", (100.0 * i, 0.0, 0.0), score) for i, score in enumerate(hits)]
    false = [PlainCandidate("one", (0.0, 50.0 + i, 0.0), score) for i, score in enumerate(alarms)]
    return match(finding_table(findings), candidate_table([*found, *false]), ["one"])


@pytest.fixture
def curve() -> PrecisionRecallCurve:
    return precision_recall(study(hits=[0.9, 0.5], alarms=[0.7, 0.6], misses=2))


def test_a_curve_worked_out_by_hand(curve: PrecisionRecallCurve) -> None:
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.7, 0.6, 0.5]
    assert curve.recall.tolist() == [0.0, 0.25, 0.25, 0.25, 0.5]
    assert curve.precision.tolist() == pytest.approx([1.0, 1.0, 1 / 2, 1 / 3, 1 / 2])
    assert curve.envelope.tolist() == pytest.approx([1.0, 1.0, 1 / 2, 1 / 2, 1 / 2])
    assert curve.average_precision == pytest.approx(0.25 * 1.0 + 0.25 * 0.5)
    assert curve.f1.tolist() == pytest.approx([0.0, 0.4, 1 / 3, 2 / 7, 0.5])


def test_reading_the_curve_off(curve: PrecisionRecallCurve) -> None:
    assert curve.precision_at([0.0, 0.25, 0.3, 0.5, 0.6]).tolist() == [1.0, 1.0, 0.5, 0.5, 0.0]
    assert curve.threshold_at(0.25) == 0.9
    assert curve.threshold_at(0.26) == 0.5
    assert curve.threshold_at(0.6) == -np.inf


def test_equal_scores_make_one_point() -> None:
    curve = precision_recall(study(hits=[0.5], alarms=[0.5, 0.5]))
    assert curve.thresholds.tolist() == [np.inf, 0.5]
    assert curve.average_precision == pytest.approx(1 / 3)


def test_everything_right_is_1_and_nothing_found_is_0() -> None:
    assert precision_recall(study(hits=[0.9, 0.1], alarms=[0.05])).average_precision == 1.0
    assert precision_recall(study(hits=[], alarms=[0.9], misses=1)).average_precision == 0.0
    assert precision_recall(study(hits=[], alarms=[], misses=1)).average_precision == 0.0


def test_without_findings_recall_is_unknown() -> None:
    curve = precision_recall(study(hits=[], alarms=[0.9]))
    assert np.isnan(curve.average_precision)
    assert np.isnan(curve.recall).all()


@given(plain_findings(), plain_candidates())
def test_it_is_the_envelope_of_the_plain_sum(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    table = match(finding_table(findings), candidate_table(candidates), CASES)
    curve = precision_recall(table)
    scores = sorted(
        {float(s) for s in table.score[(table.kind == "tp") | (table.kind == "fp")]}, reverse=True
    )
    assert curve.thresholds[1:].tolist() == scores
    for threshold, precision in zip(scores, curve.precision[1:].tolist(), strict=True):
        tp = int(((table.kind == "tp") & (table.score >= threshold)).sum())
        fp = int(((table.kind == "fp") & (table.score >= threshold)).sum())
        assert precision == tp / (tp + fp)
    if table.n_findings:
        assert 0.0 <= curve.average_precision <= 1.0
        assert (np.diff(curve.envelope) <= 0).all()
