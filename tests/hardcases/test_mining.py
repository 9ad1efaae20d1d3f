from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_pools import make_pool, make_replay

from napari_medlab.cli import export_hard
from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import KINDS, STRATEGIES, Chosen, MiningRule, Pool, mine

RULE = MiningRule("shown", budget=20, per_case=100)
BALANCED = replace(RULE, strategy="balanced")
HARMLESS = [name for name in STRATEGIES if name != "hardest"]
rules = st.builds(
    MiningRule,
    strategy=st.sampled_from(list(STRATEGIES)),
    budget=st.integers(0, 60),
    per_case=st.integers(1, 20),
    per_patient=st.none() | st.integers(1, 30),
    replay_share=st.floats(0, 0.8),
    ratio=st.none() | st.floats(0, 6),
    random_share=st.floats(0, 1),
    widening=st.floats(1, 6),
    least_difference=st.none() | st.floats(0.05, 1),
    seed=st.integers(0, 99),
    earlier_weight=st.floats(0, 1),
)


def mined(rule: MiningRule = RULE, pool: Pool | None = None) -> Chosen:
    return mine(make_pool() if pool is None else pool, make_replay(), rule)


def rows_of(chosen: Chosen) -> list[int]:
    """Return the rows of the pool that were chosen, in order."""
    return [int(one.object_id.removeprefix("object")) for one in chosen.errors]


def spoilt_pool(seed: int) -> Pool:
    """Return a pool of which every column that keeps something out is set here and there."""
    rng = np.random.default_rng(seed)
    doubted, near, exported = rng.random((3, 120)) < 0.2
    vectors = rng.normal(size=(120, 3)).astype(np.float32)
    return make_pool(seed, vectors=vectors, is_doubted=doubted, is_near_miss=near, was_exported=exported)


@settings(max_examples=40)
@given(rule=rules, seed=st.integers(0, 20))
def test_whatever_the_rule_its_limits_hold(rule: MiningRule, seed: int) -> None:
    pool = spoilt_pool(seed)
    chosen = mine(pool, make_replay(), rule)
    rows = rows_of(chosen)
    assert len(rows) == len(set(rows)) <= rule.budget
    assert max(Counter(pool.case_id[rows].tolist()).values(), default=0) <= rule.per_case
    assert max(Counter(pool.patient[rows].tolist()).values(), default=0) <= (rule.per_patient or rule.budget)
    assert not (pool.is_doubted | pool.is_near_miss)[rows].any()
    if rule.earlier_weight == 0:
        assert not pool.was_exported[rows].any()
    wanted = round(len(rows) * rule.replay_share / (1 - rule.replay_share))
    if rule.strategy == "balanced":
        wanted = rule.budget - len(rows) if rows else 0
    assert len(chosen) - len(rows) == wanted


@settings(max_examples=40)
@given(rule=rules, seed=st.integers(0, 20))
def test_the_same_input_gives_the_same_examples(rule: MiningRule, seed: int) -> None:
    assert mine(spoilt_pool(seed), make_replay(), rule) == mine(spoilt_pool(seed), make_replay(), rule)


@settings(max_examples=40)
@given(rule=rules, seed=st.integers(0, 20))
def test_every_object_tried_is_taken_or_its_reason_is_told(rule: MiningRule, seed: int) -> None:
    pool = spoilt_pool(seed)
    chosen = mine(pool, make_replay(), replace(rule, strategy="random"))
    assert len(chosen.errors) + sum(chosen.left_out.values()) == len(pool)
    assert all(chosen.left_out.values())


@pytest.mark.parametrize("strategy", HARMLESS)
def test_positives_are_never_ranked_by_a_low_score(strategy: str) -> None:
    pool = make_pool(size=600)
    positives = np.flatnonzero(pool.is_positive & ~np.isin(pool.kind, "fn"))
    rule = MiningRule(strategy, budget=300, per_case=600, random_share=0.5, ratio=2.0)
    lows = []
    for seed in range(20):
        chosen = set(rows_of(mined(replace(rule, seed=seed), pool)))
        taken = [row for row in positives if row in chosen]
        lows.append(np.mean(pool.score[taken]) - pool.score[positives].mean() if taken else 0.0)
    assert abs(np.mean(lows)) < 0.06


def test_the_hardest_are_what_they_are_called_and_warned_about() -> None:
    pool = make_pool(size=600)
    chosen = mined(MiningRule("hardest", budget=50, per_case=600), pool)
    rows = np.asarray(rows_of(chosen))
    positives, negatives = pool.is_positive, ~pool.is_positive
    assert pool.score[rows[positives[rows]]].max() <= np.sort(pool.score[positives])[9]
    assert pool.score[rows[negatives[rows]]].min() >= np.sort(pool.score[negatives])[-40]
    assert positives[rows].sum() == 10
    assert "worse" in chosen.warnings[0]
    assert all(mined(replace(RULE, strategy=name)).warnings == () for name in HARMLESS)


def test_what_is_shown_comes_from_the_front_of_the_queue() -> None:
    pool = make_pool()
    chosen = mined()
    assert rows_of(chosen) == pool.shown[:20].tolist()
    assert {one.reason for one in chosen.errors} == {"miss", "false positive"}
    assert chosen.left_out == {"beyond the budget": 20}
    assert [one.centre for one in chosen.errors] == [tuple(row) for row in pool.centre[:20].tolist()]


def test_semi_hard_negatives_are_among_the_highest_and_not_the_highest() -> None:
    pool = make_pool(size=600)
    rule = MiningRule("semi-hard", budget=50, per_case=600, widening=4.0, ratio=4.0)
    rows = np.asarray(rows_of(mined(rule, pool)))
    negatives = rows[~pool.is_positive[rows]]
    ranked = np.sort(pool.score[~pool.is_positive])[::-1]
    assert len(negatives) == 40
    assert pool.score[negatives].min() >= ranked[199]
    assert pool.score[negatives].mean() < ranked[:40].mean()


def test_a_mixture_keeps_all_positives_at_its_ratio_and_draws_its_share_by_chance() -> None:
    pool = make_pool()
    rule = MiningRule("mixture", budget=40, per_case=100, ratio=2.0, random_share=0.25)
    rows = np.asarray(rows_of(mined(rule, pool)))
    of_queue = rows[np.isin(rows, pool.shown)]
    misses = pool.shown[pool.is_positive[pool.shown]]
    assert set(misses) <= set(rows.tolist())
    assert len(rows) == 8 + 16 + 10
    assert len(of_queue) >= 24


def test_a_mixture_takes_its_kinds_in_their_shares() -> None:
    kind = np.asarray(["fp", "duplicate", "low confidence"] * 40)
    nothing = np.zeros(120, bool)
    pool = make_pool(kind=kind, is_positive=nothing, shown=np.arange(120))
    rule = MiningRule(
        "mixture", budget=30, per_case=100, kinds=("fp", "duplicate", "low confidence"), shares=(3, 2, 1)
    )
    chosen = mined(rule, pool)
    assert chosen.counts | {"replay": 0} == {
        "false positive": 15,
        "duplicate": 10,
        "low confidence": 5,
        "replay": 0,
    }


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_without_any_lesion_there_are_still_examples(strategy: str) -> None:
    kind = np.where(np.arange(120) < 40, "fp", "background")
    pool = make_pool(is_positive=np.zeros(120, bool), kind=kind)
    rule = replace(RULE, strategy=strategy, ratio=2.0 if strategy == "mixture" else None)
    chosen = mine(pool, replace(make_replay(), findings=[]), rule)
    assert len(chosen.errors) == 20


def test_the_default_is_half_false_marks_a_quarter_misses_and_what_was_had_right() -> None:
    pool = make_pool()
    misses = pool.shown[pool.is_positive[pool.shown]]
    assert MiningRule().strategy == next(iter(STRATEGIES)) == "balanced"
    chosen = mined(BALANCED)
    assert chosen.counts == {"false positive": 10, "miss": 5, "replay": 5}
    assert all(one.is_positive for one in chosen.examples[15:])
    assert [row for row in rows_of(chosen) if pool.is_positive[row]] == misses[:5].tolist()


def test_what_was_had_right_stands_in_for_false_marks_and_the_queue_for_what_was_had_right() -> None:
    pool = make_pool()
    misses = pool.shown[pool.is_positive[pool.shown]]
    without_marks = make_pool(shown=misses)
    assert mined(BALANCED, without_marks).counts == {"replay": 15, "miss": 5}
    few = replace(make_replay(), findings=make_replay().findings[:2])
    chosen = mine(pool, few, BALANCED)
    assert len(chosen) == 20
    assert chosen.counts["replay"] == 2


def test_the_balanced_control_has_as_many_positives_as_the_default() -> None:
    pool = make_pool()
    default, control = mined(BALANCED), mined(replace(RULE, strategy="random balanced", replay_share=0.0))
    assert (
        sum(one.is_positive for one in default.examples)
        == sum(one.is_positive for one in control.examples)
        > 0
    )
    assert set(rows_of(default)) != set(rows_of(control))
    assert pool.is_positive[rows_of(control)].sum() == 10


def test_a_random_draw_takes_anything_proposed_and_nothing_twice_by_another_name() -> None:
    is_proposed = np.arange(120) % 4 != 0
    chosen = mined(MiningRule("random", budget=100, per_case=100), make_pool(is_proposed=is_proposed))
    assert set(rows_of(chosen)) == set(np.flatnonzero(is_proposed).tolist())


def test_what_looks_the_same_is_taken_once_on_each_side() -> None:
    vectors = np.tile(np.asarray([[1.0, 0.0], [0.0, 1.0]], np.float32), (60, 1))
    chosen = mined(replace(RULE, least_difference=0.1), make_pool(vectors=vectors))
    # two looks of lesions, and two of what is none
    assert Counter(one.is_positive for one in chosen.errors) == {True: 2, False: 2}
    assert chosen.left_out["much like another"] == 36
    unknown = make_pool(vectors=np.zeros((120, 2), np.float32))
    assert len(mined(replace(RULE, least_difference=0.1), unknown).errors) == 20


def test_what_an_earlier_package_holds_counts_less_or_is_left_out() -> None:
    was_exported = np.arange(120) % 2 == 0
    pool = make_pool(was_exported=was_exported)
    weighed = mined(replace(RULE, earlier_weight=0.3), pool)
    weights = {row: one.weight for row, one in zip(rows_of(weighed), weighed.errors, strict=True)}
    assert all(weight == (0.3 if was_exported[row] else 1.0) for row, weight in weights.items())
    chosen = mined(replace(RULE, earlier_weight=0.0), pool)
    assert not was_exported[rows_of(chosen)].any()
    assert chosen.left_out["in an earlier package"] == 20


def test_the_reasons_for_leaving_out_are_counted() -> None:
    number = np.arange(120)
    pool = make_pool(is_doubted=number == 0, is_near_miss=np.isin(number, (1, 2)))
    chosen = mined(replace(RULE, per_case=2), pool)
    told = chosen.left_out
    assert (told["label in doubt"], told["beside a finding"]) == (1, 2)
    assert told["limit of the case"] == 40 - 3 - 12
    assert chosen.as_json()["left_out"] == told


@pytest.mark.parametrize(("share", "replayed"), [(0.0, 0), (0.2, 5), (0.5, 20), (0.6, 30)])
def test_the_replay_has_its_share_and_comes_last(share: float, replayed: int) -> None:
    chosen = mined(replace(RULE, replay_share=share))
    assert len(chosen) == 20 + replayed
    assert chosen.examples[:20] == chosen.errors
    of_findings = sum(one.is_positive for one in chosen.examples[20:])
    assert of_findings == (replayed + 1) // 2


def test_findings_stand_in_for_places_that_are_lacking_and_the_other_way_round() -> None:
    few = replace(make_replay(), places=make_replay().places[:3])
    assert sum(not one.object_id for one in mine(make_pool(), few, RULE).examples[20:]) == 3
    assert len(mine(make_pool(), few, RULE)) == 40
    none = replace(make_replay(), findings=[])
    assert len(mine(make_pool(), none, RULE)) == 40


def test_without_errors_there_is_nothing_to_replay() -> None:
    chosen = mined(pool=make_pool(size=0, vectors=np.zeros((0, 0), np.float32)))
    assert chosen.examples == ()


@pytest.mark.parametrize(
    "values",
    [
        {"replay_share": 1.0}, {"budget": -1}, {"per_case": 0}, {"per_patient": 0}, {"kinds": ()}, {"kinds": ("unread",)},
        {"ratio": -1.0}, {"random_share": 1.5}, {"widening": 0.5}, {"least_difference": 0.0}, {"shares": (1.0,)},
        {"shares": (0.0, 0.0)}, {"earlier_weight": 2.0},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError, match=next(iter(values))) as caught:
        MiningRule(**values)  # type: ignore[arg-type]
    assert caught.value.code == "mining"


def test_a_strategy_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="random balanced"):
        mined(MiningRule("harder"))


def test_the_rule_is_told_as_plain_values() -> None:
    said = MiningRule("mixture", kinds=("fp",), shares=(1.0,)).as_json()
    assert (said["strategy"], said["kinds"], said["shares"], said["per_patient"]) == (
        "mixture",
        ["fp"],
        [1.0],
        None,
    )


def test_the_command_line_knows_the_same_words() -> None:
    assert tuple(STRATEGIES) == export_hard.STRATEGIES
    assert export_hard.KINDS == KINDS
