from __future__ import annotations

import sys

import numpy as np
import plain_luna16
import pytest
from evaluation_examples import (
    CASES,
    candidate_table,
    finding_table,
    plain_candidates,
    plain_findings,
    random_study,
)
from hypothesis import given
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.evaluation import FP_POINTS, MatchTable, Resampling, bootstrap, froc, match
from napari_medlab.evaluation.bootstrap import percentile_interval, resample
from napari_medlab.evaluation.events import Events, Patients


@pytest.fixture(scope="module")
def table() -> MatchTable:
    findings, candidates, cases = random_study(seed=3)
    return match(finding_table(findings), candidate_table(candidates), cases)


def test_intervals_contain_the_estimate(table: MatchTable) -> None:
    result = bootstrap(table, Resampling(500))
    curve = froc(table)
    assert result.cpm[0] < curve.cpm < result.cpm[1]
    for point, (low, high) in result.sensitivity.items():
        assert low <= curve.sensitivity_at(point) <= high


def test_the_same_seed_gives_the_same_samples_and_another_does_not(table: MatchTable) -> None:
    first, again, other = (bootstrap(table, Resampling(100, seed)).samples for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_chunks_make_no_difference(table: MatchTable, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(table, Resampling(70)).samples
    # the package gives the function of this name, not the module
    monkeypatch.setattr(sys.modules["napari_medlab.evaluation.bootstrap"], "CHUNK", 13)
    np.testing.assert_array_equal(bootstrap(table, Resampling(70)).samples, whole)


def test_more_patients_give_narrower_intervals() -> None:
    widths = []
    for n in (30, 300):
        findings, candidates, cases = random_study(1, n_cases=n, n_findings=2 * n, n_candidates=20 * n)
        low, high = bootstrap(
            match(finding_table(findings), candidate_table(candidates), cases), Resampling(300)
        ).cpm
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_cases_of_one_patient_are_drawn_together(table: MatchTable) -> None:
    everything = dict.fromkeys(table.cases, "the only patient")
    result = bootstrap(table, Resampling(20), groups=everything)
    np.testing.assert_allclose(result.samples, np.tile(froc(table).sensitivity_at(FP_POINTS), (20, 1)))


def test_a_case_that_the_groups_leave_out_is_a_patient_of_its_own(table: MatchTable) -> None:
    # a patient may be called as another one's case is
    groups = {table.cases[0]: table.cases[2], table.cases[1]: table.cases[2]}
    patients = Patients.of(table, groups)
    assert len(patients) == len(table.cases) - 1
    assert patients.cases.sum() == len(table.cases)
    assert patients.findings.sum() == table.n_findings


def test_replicates_without_findings_are_left_out_of_the_interval() -> None:
    findings = [PlainFinding("one", (0.0, 0.0, 0.0), 4.0)]
    hit = [PlainCandidate("one", (0.0, 0.0, 0.0), 0.5)]
    result = bootstrap(match(finding_table(findings), candidate_table(hit), CASES), Resampling(200))
    assert np.isnan(result.samples).any()
    assert result.cpm == (1.0, 1.0)


def test_without_findings_there_is_no_interval() -> None:
    result = bootstrap(match(finding_table([]), candidate_table([]), CASES), Resampling(10))
    assert np.isnan(result.cpm).all()


def test_an_interval_leaves_2_5_percent_on_either_side() -> None:
    assert percentile_interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_models_share_each_draw(table: MatchTable) -> None:
    first, second = resample([table, table], Resampling(30))
    np.testing.assert_array_equal(first, second)


@given(plain_findings(), plain_candidates(), st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_a_weighted_curve_is_that_of_the_drawn_cases_one_by_one(
    findings: list[PlainFinding], candidates: list[PlainCandidate], drawn: list[int]
) -> None:
    table = match(finding_table(findings), candidate_table(candidates), CASES)
    patients = Patients.of(table)
    weights = np.bincount(drawn, minlength=4)[None].astype(np.int32)
    totals = weights @ patients.cases, weights @ patients.findings
    (values,) = Events.of(table, patients).sensitivity(weights, *totals, FP_POINTS)
    by_case = plain_luna16.evaluate_cases(findings, candidates, CASES)
    sample = [by_case[i] for i in drawn]
    if sum(each.findings for each in sample) == 0:
        assert np.isnan(values).all()
    else:
        np.testing.assert_allclose(values, plain_luna16.sensitivities(sample), atol=1e-9)
