from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.describing.table import ColumnTitle, DescriptorTable
from napari_medlab.hardcases.failures.cluster_scores import Clusters, Limits, score, score_rules
from napari_medlab.hardcases.failures.conditions import literals_of, round_thresholds
from napari_medlab.hardcases.failures.slices import SliceSearch, failure_slices
from napari_medlab.jobs import CancelledError, CancelToken

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = SliceSearch(replicates=199)
ATTACHED, FREE = "attached to a vessel", "not attached to a vessel"


def some_table(rng: np.random.Generator, owners: NDArray[np.intp]) -> DescriptorTable:
    """Return descriptors of which some belong to patients and some to objects."""
    n, patients = len(owners), int(owners.max()) + 1
    return DescriptorTable(
        {
            "diameter": np.exp(rng.normal(np.log(7), 0.5, n)),
            "mean": rng.normal(-100, 200, n),
            "slice_spacing": rng.choice([1.0, 1.25, 2.0, 2.5], patients)[owners],
            "noise": rng.normal(30, 5, patients)[owners] + rng.normal(size=n),
            "edge_distance": np.where(rng.random(n) < 0.1, np.nan, np.abs(rng.normal(0, 15, n))),
        },
        {
            "vessel": np.where(rng.random(n) < 0.3, ATTACHED, FREE),
            "view": rng.choice(["CC", "MLO"], patients)[owners],
        },
        {"diameter": ColumnTitle("diameter", "mm")},
        n,
    )


def planted(
    seed: int, n: int = 1200, patients: int = 400
) -> tuple[DescriptorTable, NDArray[np.bool_], NDArray[np.intp]]:
    """Return objects of which the small ones on vessels fail far more often."""
    rng = np.random.default_rng(seed)
    owners = rng.integers(0, patients, n)
    table = some_table(rng, owners)
    hard = (table.numbers["diameter"] < 6) & (table.categories["vessel"] == ATTACHED)
    return table, rng.random(n) < np.where(hard, 0.65, 0.1), owners


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_slice_is_found_with_its_conditions(seed: int) -> None:
    table, failed, owners = planted(seed)
    first = failure_slices(table, failed, owners, search=QUICK)[0]
    number, category = first.conditions
    assert (number.column, number.relation) == ("diameter", "<")
    assert isinstance(number.value, float)
    assert 5 <= number.value <= 7
    assert (category.column, category.value) == ("vessel", ATTACHED)
    inside = (table.numbers["diameter"] < number.value) & (table.categories["vessel"] == ATTACHED)
    assert first.rows.tolist() == np.flatnonzero(inside).tolist()
    assert first.n == inside.sum()
    assert first.patients == len(np.unique(owners[inside]))
    assert first.rate == pytest.approx(1 - failed[inside].mean())
    assert first.rest_rate == pytest.approx(1 - failed[~inside].mean())
    assert first.interval[0] < first.rate < first.interval[1] < first.rest_rate
    assert first.p_adjusted == pytest.approx(1 / 200)
    assert first.text.startswith(f"diameter < {number.value:g} mm and attached to a vessel: sensitivity ")
    assert f"against {100 * first.rest_rate:.0f} %" in first.text


def test_one_condition_is_told_as_one() -> None:
    rng = np.random.default_rng(4)
    owners = rng.integers(0, 300, 1000)
    table = some_table(rng, owners)
    failed = rng.random(1000) < np.where(table.categories["view"] == "MLO", 0.45, 0.1)
    found = failure_slices(table, failed, owners, measure="precision", search=QUICK)
    assert [[c.column for c in one.conditions] for one in found] == [["view"]]
    assert found[0].text.startswith("view MLO: precision ")


def test_two_separate_causes_are_two_slices() -> None:
    rng = np.random.default_rng(5)
    owners = rng.integers(0, 400, 1500)
    table = some_table(rng, owners)
    hard = (table.categories["view"] == "MLO") | (table.numbers["diameter"] < 5)
    found = failure_slices(table, rng.random(1500) < np.where(hard, 0.6, 0.1), owners, search=QUICK)
    told = {condition.column for one in found for condition in one.conditions}
    assert {"view", "diameter"} <= told
    assert len(found) <= 4


@pytest.mark.parametrize(("rate", "alike"), [(0.15, 0.0), (0.8, 0.25)])
def test_chance_is_reported_no_more_often_than_stated(rate: float, alike: float) -> None:
    reported = 0
    runs = 40
    for seed in range(runs):
        rng = np.random.default_rng([seed, 77])
        owners = rng.choice(60, 300, p=(weights := rng.exponential(1, 60)) / weights.sum())
        owners = np.unique(owners, return_inverse=True)[1]
        chance = (
            rate if alike == 0 else rng.beta(rate * (1 / alike - 1), (1 - rate) * (1 / alike - 1), 60)[owners]
        )
        failed = rng.random(300) < chance
        reported += bool(
            failure_slices(some_table(rng, owners), failed, owners, search=SliceSearch(replicates=99))
        )
    # at a level of 5 % six or more in 40 runs have a chance of 1.4 %
    assert reported < 6


def test_what_only_one_patient_shows_is_no_slice() -> None:
    rng = np.random.default_rng(6)
    owners = np.concatenate([np.zeros(60, np.intp), rng.integers(1, 100, 400)])
    table = some_table(rng, owners)
    strange = table.with_categories({"device": np.where(owners == 0, "A", "B")})
    failed = (owners == 0) | (rng.random(460) < 0.1)
    assert all(
        c.column != "device"
        for one in failure_slices(strange, failed, owners, search=QUICK)
        for c in one.conditions
    )


def test_the_interval_is_wider_where_patients_fail_as_a_whole() -> None:
    rng = np.random.default_rng(7)
    patients = np.repeat(np.arange(80), 10)
    table = DescriptorTable({}, {"site": np.where(patients < 40, "north", "south")}, {}, 800)
    chance = np.where(patients < 40, 0.6, 0.05)
    by_patient = rng.random(80)[patients] < chance
    by_object = rng.random(800) < chance
    widths = []
    for failed in (by_patient, by_object):
        (found,) = failure_slices(table, failed, patients, search=QUICK)
        widths.append(found.interval[1] - found.interval[0])
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize("failed", [False, True])
def test_without_both_outcomes_there_is_nothing_to_find(*, failed: bool) -> None:
    rng = np.random.default_rng(8)
    table = some_table(rng, np.arange(50))
    assert failure_slices(table, np.full(50, failed), np.arange(50)) == []
    empty = DescriptorTable({"diameter": np.zeros(0)}, {}, {}, 0)
    assert failure_slices(empty, [], []) == []
    assert failure_slices(table, np.arange(50) < 5, np.arange(50)) == []


def test_the_same_seed_gives_the_same_slices() -> None:
    table, failed, owners = planted(9)
    texts = [[one.text for one in failure_slices(table, failed, owners, search=QUICK)] for _ in range(2)]
    assert texts[0] == texts[1]
    shuffled = np.random.default_rng(0).permutation(len(table))
    again = failure_slices(table.where(shuffled), failed[shuffled], owners[shuffled], search=QUICK)
    assert [one.text for one in again] == texts[0]


def test_columns_of_other_lengths_are_refused_and_a_stop_is_obeyed() -> None:
    table, failed, owners = planted(1, 100, 50)
    with pytest.raises(InputRefusedError, match="100 objects, 99 outcomes"):
        failure_slices(table, failed[1:], owners)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        failure_slices(*planted(1, 400, 100), stop=token.check)


@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(1e-3, 1e3),
)
@settings(max_examples=60, deadline=None)
def test_thresholds_are_few_and_short(values: list[float], scale: float) -> None:
    column = np.asarray([*values, np.nan]) * scale
    thresholds = round_thresholds(column)
    assert len(thresholds) <= 9
    assert thresholds == sorted(set(thresholds))
    known = column[np.isfinite(column)]
    span = np.ptp(known)
    assert all(known.min() - span / 10 <= t <= known.max() + span / 10 for t in thresholds)


def test_thresholds_are_numbers_that_a_person_would_choose() -> None:
    assert round_thresholds(np.linspace(0, 100, 1000)) == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert round_thresholds(np.linspace(0.5, 0.51, 1000))[0] == 0.501
    assert round_thresholds(np.full(10, 3.0)) == []


def test_equal_conditions_are_tried_once() -> None:
    values = np.repeat([0.0, 1.0], 50)
    table = DescriptorTable({"a": values, "b": values * 7}, {"c": np.where(values > 0, "on", "off")}, {}, 100)
    literals = literals_of(table, 10)
    assert len(literals.conditions) == 2
    assert {condition.column for condition in literals.conditions} == {"c"}


def test_the_statistic_of_many_rules_is_that_of_each_one() -> None:
    table, failed, owners = planted(2, 300, 80)
    clusters, order = Clusters.of(owners, 0)
    literals = literals_of(table.where(order), 30)
    columns = np.unique([c.column for c in literals.conditions], return_inverse=True)[1]
    scores = score_rules(literals.holds, columns, failed[order], clusters, Limits(20, 5), (9, 0, None))
    assert len(scores.statistic) > 100
    for rule in range(0, len(scores.statistic), 37):
        inside = literals.holds[scores.first[rule]] & literals.holds[scores.second[rule]]
        assert score(inside, failed[order], clusters)[0] == pytest.approx(scores.statistic[rule], abs=1e-3)


def test_thousands_of_patients_are_joined_into_groups() -> None:
    clusters, order = Clusters.of(np.arange(5000), 0)
    assert len(clusters) == 1000
    assert np.diff(clusters.starts).tolist() == [5] * 1000
    assert sorted(order.tolist()) == list(range(5000))
