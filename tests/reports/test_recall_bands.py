"""Intervals of precision: what resampling every patient by hand gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import MatchTable, Resampling, match
from napari_medlab.evaluation.bootstrap import percentile_interval
from napari_medlab.evaluation.events import Patients
from napari_medlab.evaluation.precision_recall import precision_recall
from napari_medlab.reports.recall_bands import recall_band

RECALLS = (0.0, 0.3, 0.5, 0.9, 1.0)
CASES = ("a", "b", "c", "d")


def table(scores: list[tuple[int, float, bool]]) -> MatchTable:
    """Return a match table in which each case has one finding, hit or not, and marks elsewhere."""
    findings = FindingTable.from_objects(
        [Finding(case, (0.0, 0.0, 0.0), 8.0, finding_id=f"f{case}") for case in CASES]
    )
    marks = [
        Candidate(CASES[case], (0.0, 0.0, 0.0) if is_hit else (50.0, 0.0, 0.0), score)
        for case, score, is_hit in scores
    ]
    return match(findings, CandidateTable.from_objects(marks), CASES)


def by_hand(match_table: MatchTable, resampling: Resampling) -> tuple[np.ndarray, np.ndarray]:
    """Return precision at each recall and the area of each replicate, from tables that repeat the rows of cases."""
    drawn = Patients.of(match_table).resample(np.random.default_rng(resampling.seed), resampling.replicates)
    at, areas = [], []
    for weights in drawn:
        rows = [
            row
            for number, case in enumerate(match_table.cases)
            for row in np.flatnonzero(match_table.case_id == case).tolist() * int(weights[number])
        ]
        curve = precision_recall(match_table.where(np.asarray(rows, dtype=np.intp)))
        at.append(curve.precision_at(RECALLS))
        areas.append(curve.average_precision)
    return np.asarray(at), np.asarray(areas)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]), st.booleans()),
        min_size=1,
        max_size=14,
    )
)
def test_the_band_is_that_of_curves_made_one_by_one(scores: list[tuple[int, float, bool]]) -> None:
    matched, resampling = table(scores), Resampling(40, seed=3)
    band = recall_band(matched, resampling, recalls=RECALLS)
    at, areas = by_hand(matched, resampling)
    np.testing.assert_allclose(band.areas, areas, atol=1e-12)
    expected = [percentile_interval(column) for column in at.T]
    np.testing.assert_allclose(band.precision, expected, atol=1e-12)


def test_without_findings_there_is_no_interval() -> None:
    empty = match(
        FindingTable.from_objects([]), CandidateTable.from_objects([Candidate("a", (0.0, 0.0, 0.0), 0.5)])
    )
    band = recall_band(empty, Resampling(10))
    assert np.isnan(band.precision).all()
    assert np.isnan(band.average_precision).all()


def test_none_is_drawn_where_none_is_asked_for() -> None:
    band = recall_band(table([(0, 0.5, True)]), Resampling(0))
    assert len(band.areas) == 0
    assert np.isnan(band.precision).all()


@pytest.mark.parametrize("groups", [{"a": "p", "b": "p"}, {"a": "p", "b": "p", "c": "p", "d": "p"}])
def test_patients_are_drawn_and_not_cases(groups: dict[str, str]) -> None:
    matched = table([(0, 0.9, True), (1, 0.8, False), (2, 0.7, True), (3, 0.6, False)])
    band = recall_band(matched, Resampling(200), groups)
    if len(set(groups.values())) == 1 and len(groups) == 4:
        area = precision_recall(matched).average_precision
        assert band.average_precision == pytest.approx((area, area))
    else:
        assert band.average_precision[0] < band.average_precision[1]
