from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import match
from napari_medlab.hardcases.acquisition import (
    Calibration,
    entropy,
    error_chance,
    farthest_first,
    margin,
    sum_of_largest,
    variance,
)
from napari_medlab.hardcases.errors.unread import threshold_among, unread, unread_in_order

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(SHARES)
def test_entropy_is_that_of_either_side_and_falls_away_from_one_half(chances: list[float]) -> None:
    bits = entropy(chances)
    assert np.all((bits >= 0) & (bits <= 1))
    assert np.allclose(bits, entropy([1 - each for each in chances]))
    ordered = np.argsort(np.abs(np.asarray(chances) - 0.5), kind="stable")
    assert np.all(np.diff(bits[ordered]) <= 1e-12)


def test_entropy_in_bits() -> None:
    assert entropy([0, 0.5, 1]).tolist() == [0, 1, 0]
    assert entropy([0.25]) == pytest.approx(-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75))


@given(SHARES, st.floats(0, 1))
def test_margin_is_one_at_the_operating_point_and_falls_with_the_distance(
    scores: list[float], at: float
) -> None:
    near = margin([*scores, at], at)
    assert near[-1] == 1
    assert np.all((near >= -1e-12) & (near <= 1))
    ordered = np.argsort(np.abs(np.asarray([*scores, at]) - at), kind="stable")
    assert np.all(np.diff(near[ordered]) <= 1e-12)


def test_an_operating_point_that_is_never_reached_is_the_end_of_the_scale() -> None:
    assert margin([0.0, 0.5, 1.0], math.inf).tolist() == [0, 0.5, 1]


def test_variance_is_one_where_half_of_the_members_say_yes() -> None:
    assert variance([[0, 0.4, 1], [1, 0.4, 0]]).tolist() == [1, 0, 1]
    assert variance([[0.2], [0.4]]) == pytest.approx(0.04)


def test_an_error_is_a_false_mark_or_a_true_one_that_was_left_out() -> None:
    assert error_chance([0.9, 0.2, 0.9, 0.2], [True, True, False, False]) == pytest.approx(
        [0.1, 0.8, 0.9, 0.2]
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=30, max_size=80))
def test_a_calibration_never_falls_and_is_never_certain(reviewed: list[tuple[float, bool]]) -> None:
    scores, is_true = zip(*reviewed, strict=True)
    shares = Calibration.of(scores, is_true).share(np.linspace(0, 1, 21))
    assert np.all(np.diff(shares) >= 0)
    if min(sum(is_true), len(is_true) - sum(is_true)) >= 10:
        assert np.all((shares > 0) & (shares < 1))


def test_a_calibration_finds_the_share_of_findings_by_score() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=4000)
    fitted = Calibration.of(scores, rng.uniform(size=4000) < scores**2)
    assert fitted.reviewed == 4000
    assert np.abs(fitted.share([0.3, 0.5, 0.7, 0.9]) - np.array([0.3, 0.5, 0.7, 0.9]) ** 2).max() < 0.1


def test_too_few_reviewed_candidates_leave_scores_as_they_are() -> None:
    fitted = Calibration.of([0.1] * 50 + [0.9] * 9, [False] * 50 + [True] * 9)
    assert fitted.reviewed == 0
    assert fitted.share([0.25, 0.75]).tolist() == [0.25, 0.75]
    assert fitted.share([-2.0, 0.0, 2.0]) == pytest.approx([0.1192, 0.5, 0.8808], abs=1e-4)


def test_only_the_largest_of_each_group_count() -> None:
    sums = sum_of_largest([0.5, 0.9, 0.1, 0.7, 0.2], [0, 0, 0, 2, 0], 3, 2)
    assert sums == pytest.approx([1.4, 0, 0.7])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=30),
    st.integers(1, 5),
    st.data(),
)
def test_more_doubt_about_a_candidate_never_puts_its_case_back(
    rows: list[tuple[float, int]], most: int, data: st.DataObject
) -> None:
    values, groups = (np.asarray(column) for column in zip(*rows, strict=True))
    row = data.draw(st.integers(0, len(values) - 1))
    more = values.copy()
    more[row] = data.draw(st.floats(float(values[row]), 1))
    before, after = (sum_of_largest(each, groups, 4, most) for each in (values, more))
    others = np.arange(4) != groups[row]
    assert after[groups[row]] >= before[groups[row]]
    assert np.array_equal(after[others], before[others])


def test_farthest_first_covers_clusters_before_it_returns_to_one() -> None:
    rng = np.random.default_rng(1)
    middles = 100 * np.eye(6)
    points = np.concatenate([middles[[n]] + rng.normal(size=(50, 6)) for n in range(6)])
    order = farthest_first(points, 12)
    assert sorted(order[:6] // 50) == [0, 1, 2, 3, 4, 5]
    seen = farthest_first(points, 4, known=points[[0, 60]])
    assert sorted(seen // 50) == [2, 3, 4, 5]


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_farthest_first_is_within_twice_the_best_and_the_same_each_time(count: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(9, 2))
    order = farthest_first(points, count)
    assert len(set(order.tolist())) == len(order) == min(count, 9)
    assert order.tolist() == farthest_first(points, count).tolist()
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    reach = distances[:, order].min(axis=1).max()
    apart = distances[np.ix_(order, order)][np.triu_indices(len(order), 1)]
    if len(apart) and len(order) < 9:
        assert apart.min() >= reach - 1e-9


def test_worth_weighs_the_distance_and_copies_come_last() -> None:
    points = np.array([[0.0], [0.0], [10.0], [4.0]])
    assert farthest_first(points, 4, worth=[1, 0.9, 0.1, 1]).tolist() == [0, 3, 2, 1]
    assert farthest_first(points[:2], 2, worth=[0.0, 1.0]).tolist() == [1, 0]
    assert farthest_first(np.empty((0, 3)), 4).tolist() == []


def table_of(*rows: tuple[str, float]) -> CandidateTable:
    return CandidateTable.from_objects(
        [
            Candidate(case, (50.0 * n, 0.0, 0.0), score, candidate_id=f"{n:032d}")
            for n, (case, score) in enumerate(rows)
        ]
    )


def test_unread_cases_come_by_doubt_and_only_they_are_listed() -> None:
    candidates = table_of(
        ("sure", 0.99), ("read", 0.5), ("open", 0.5), ("open", 0.9), ("open", 0.4), ("sure", 0.01)
    )
    table = match(FindingTable.from_objects([]), candidates, ["sure", "read", "open", "silent"])
    queue = unread(table, candidates, ["sure", "open", "silent"], per_case=2)
    assert [(item.kind, item.case_id, item.score) for item in queue] == [
        ("unread", "open", 0.5),
        ("unread", "open", 0.4),
        ("unread", "sure", 0.99),
        ("unread", "sure", 0.01),
    ]
    assert len(unread(table, candidates, ["silent"])) == 0
    assert len(unread_in_order(candidates, np.ones(6), [])) == 0


def test_the_operating_point_is_that_of_the_cases_that_were_read() -> None:
    candidates = table_of(("read", 0.9), ("read", 0.3), *[("open", 0.8)] * 6)
    findings = FindingTable.from_objects([Finding("read", (0.0, 0.0, 0.0), 10.0)])
    table = match(findings, candidates, ["read", "open"])
    assert threshold_among(table, ["open"], 1.0) == 0.3
    assert threshold_among(table, ["read", "open"], 1.0) > 0.8
