from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, random_study
from scipy.stats import permutation_test

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import (
    MatchTable,
    Resampling,
    compare,
    match,
    paired_difference,
    sensitivity_difference,
)


def test_a_small_but_steady_gain_is_real_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.3, 0.95, 60)
    better = paired_difference(base, base + rng.normal(0.02, 0.01, 60))
    assert better.interval[0] > 0
    assert better.p_value < 0.01
    assert better.difference == pytest.approx(0.02, abs=0.005)
    same = paired_difference(base, base + rng.normal(0, 0.05, 60))
    assert same.interval[0] < 0 < same.interval[1]
    assert same.p_value > 0.05


def test_the_permutation_test_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (2, 9))
    b += 0.8
    result = paired_difference(a, b, resampling=Resampling(20_000, seed=4))
    exact = permutation_test(
        (b, a), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples", vectorized=True
    )
    assert result.p_value == pytest.approx(exact.pvalue, abs=0.015)


def test_values_of_one_patient_are_drawn_together() -> None:
    a = np.zeros(40)
    b = np.repeat([0.2, -0.2, 0.3, -0.1], 10)
    apart = paired_difference(a, b)
    together = paired_difference(a, b, np.repeat(list("wxyz"), 10).tolist())
    assert apart.difference == together.difference == pytest.approx(0.05)
    assert together.interval[1] - together.interval[0] > 2 * (apart.interval[1] - apart.interval[0])
    assert together.p_value > apart.p_value
    assert (together.n, together.n_groups) == (40, 4)


def test_pairs_without_a_value_are_left_out_and_nothing_at_all_has_no_figure() -> None:
    result = paired_difference([0.5, math.nan, 0.7], [0.6, 0.9, math.nan], resampling=Resampling(10))
    assert (result.a, result.b, result.n) == (0.5, 0.6, 1)
    nothing = paired_difference([], []).as_json()
    assert nothing == {
        "a": None, "b": None, "difference": None, "interval": None, "p_value": None, "n": 0, "groups": 0,
    }  # fmt: skip


def test_any_figure_can_be_compared() -> None:
    def largest(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(np.where(weights > 0, values, -np.inf).max(axis=1))

    result = paired_difference([1.0, 5.0, 2.0], [1.0, 4.0, 9.0], metric=largest, resampling=Resampling(50))
    assert (result.a, result.b) == (5.0, 9.0)
    assert result.interval[0] <= 4.0 <= result.interval[1]


@pytest.mark.parametrize(("a", "b", "groups"), [([1.0], [1.0, 2.0], None), ([1.0], [1.0], ["p", "q"])])
def test_values_that_are_no_pairs_are_refused(
    a: list[float], b: list[float], groups: list[str] | None
) -> None:
    with pytest.raises(InputRefusedError) as refusal:
        paired_difference(a, b, groups)
    assert refusal.value.code == "not-comparable"


@pytest.fixture(scope="module")
def models() -> tuple[MatchTable, MatchTable]:
    findings, candidates, cases = random_study(5, n_cases=30, n_findings=50, n_candidates=600)
    weaker = [c._replace(score=c.score * (0.3 if n % 3 == 0 else 1.0)) for n, c in enumerate(candidates)]
    table = finding_table(findings)
    return match(table, candidate_table(weaker), cases), match(table, candidate_table(candidates), cases)


def test_at_the_points_of_the_cpm_it_is_the_comparison(models: tuple[MatchTable, MatchTable]) -> None:
    drawing = Resampling(60, seed=3)
    result, whole = sensitivity_difference(*models, resampling=drawing), compare(*models, resampling=drawing)
    assert (result.a, result.b) == pytest.approx((whole.cpm_a, whole.cpm_b))
    assert result.interval == pytest.approx(whole.difference_interval)
    assert result.p_value == whole.p_value


def test_a_difference_at_one_operating_point(models: tuple[MatchTable, MatchTable]) -> None:
    result = sensitivity_difference(*models, [2.0], resampling=Resampling(80))
    assert result.difference > 0
    assert result.interval[0] <= result.difference <= result.interval[1]
    none = sensitivity_difference(*models, [2.0], resampling=Resampling(0))
    assert math.isnan(none.p_value)
    with pytest.raises(InputRefusedError, match="different cases"):
        sensitivity_difference(models[0], match(finding_table([]), candidate_table([]), CASES))
