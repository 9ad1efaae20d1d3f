"""The ways to choose, by name. Positives are never ranked by a low score but in the one that is warned about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.hardcases.mining.taking import Draw, Taker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medlab.hardcases.mining.pool import Pool
    from napari_medlab.hardcases.mining.rule import MiningRule

    Draws = Callable[[Pool, MiningRule, np.random.Generator], list[Draw]]

__all__ = ["STRATEGIES", "USUAL_RATIO", "Strategy"]

USUAL_RATIO = 4.0
"""Negatives for each positive where the rule names no ratio and there must be one."""


@dataclass(frozen=True)
class Strategy:
    """One way to choose.

    Parameters
    ----------
    draws : callable
        Takes the pool, the rule and a generator of random numbers, and returns what is tried in which order.
    about : str
        What it does, in a sentence.
    warning : str
        What is known against it; empty for nothing.
    is_filled : bool
        Whether findings that the model had right fill the budget, in the place of a replay beside it.
    """

    draws: Draws
    about: str
    warning: str = ""
    is_filled: bool = False


def _balanced(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    is_positive = pool.is_positive[pool.shown]
    return [
        Draw(pool.shown[~is_positive], rule.budget // 2), Draw(pool.shown[is_positive], (rule.budget + 2) // 4),
    ]  # fmt: skip


def _shown(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    return [Draw(pool.shown, rule.budget)]


def _semi_hard(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    negatives = _falling(pool, pool.proposed_negatives)[: round(rule.widening * rule.budget)]
    return _at_ratio(rng.permutation(pool.proposed_positives), rng.permutation(negatives), rule)


def _mixture(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    by_chance = round(rule.budget * rule.random_share)
    is_positive = pool.is_positive[pool.shown]
    positives, negatives = pool.shown[is_positive], pool.shown[~is_positive]
    room = rule.budget - by_chance
    # none of what was missed is given up for the ratio
    kept = min(len(positives), room)
    rest = room - kept
    wanted = rest if rule.ratio is None or not kept else min(rest, round(rule.ratio * kept))
    draws = [Draw(positives, kept), *_by_kind(pool, negatives, wanted, rule)]
    return [*draws, Draw(rng.permutation(np.flatnonzero(pool.is_proposed)), by_chance)]


def _random(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    return [Draw(rng.permutation(np.flatnonzero(pool.is_proposed)), rule.budget)]


def _random_balanced(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    negatives = Taker(pool, rule)
    negatives.take(_balanced(pool, rule, rng)[0])
    positives = rule.budget - len(negatives.rows)
    lesions, others = rng.permutation(pool.proposed_positives), rng.permutation(pool.proposed_negatives)
    return [Draw(lesions, positives), Draw(others, rule.budget - positives), Draw(others, rule.budget)]


def _hardest(pool: Pool, rule: MiningRule, rng: np.random.Generator) -> list[Draw]:
    rising = _falling(pool, pool.proposed_positives)[::-1]
    return _at_ratio(rising, _falling(pool, pool.proposed_negatives), rule)


STRATEGIES: Mapping[str, Strategy] = {
    "balanced": Strategy(
        _balanced, "Half are the highest scored false marks of the queue, a quarter its misses, and findings that the model "
        "had right fill the rest. The default: models learnt most from it where it was measured.", is_filled=True,
    ),
    "shown": Strategy(_shown, "What the review queue shows first, misses and false marks in turn; the replay comes beside it."),
    "semi-hard": Strategy(
        _semi_hard, "False marks at random among the highest scored, and findings at random, at a set ratio.",
    ),
    "mixture": Strategy(
        _mixture, "All misses of the queue, false marks at a ratio to them and in shares by kind, and a share of any candidates.",
    ),
    "random": Strategy(_random, "Any candidate or finding that no candidate hit, each as likely as the others. A control."),
    "random balanced": Strategy(
        _random_balanced, "As random, with as many findings as balanced would give. A control that needs the reference.",
    ),
    "hardest": Strategy(
        _hardest, "The highest scored false marks and the lowest scored findings.",
        "It can make a model worse: lowest scored findings are off centre, hardly visible or wrongly labelled. It destroyed a "
        "classifier of candidates, and taught detectors less than balanced. Take it for comparison only.",
    ),
}  # fmt: skip
"""The strategies by name, the default first."""


def _at_ratio(positives: NDArray[np.intp], negatives: NDArray[np.intp], rule: MiningRule) -> list[Draw]:
    """Return draws at the rule's ratio; where one side runs short, the other fills the budget."""
    ratio = USUAL_RATIO if rule.ratio is None else rule.ratio
    most = round(rule.budget / (1 + ratio))
    return [Draw(positives, most), Draw(negatives, rule.budget - most), Draw(positives, rule.budget),
            Draw(negatives, rule.budget)]  # fmt: skip


def _falling(pool: Pool, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return rows by falling score, those of equal score in their order."""
    ordered: NDArray[np.intp] = rows[np.argsort(-pool.score[rows], kind="stable")]
    return ordered


def _by_kind(pool: Pool, rows: NDArray[np.intp], wanted: int, rule: MiningRule) -> list[Draw]:
    """Return a draw for each kind of error with its share of what is wanted; what one has not is left to all."""
    present = {kind: rows[pool.kind[rows] == kind] for kind in rule.kinds}
    weights = dict(zip(rule.kinds, rule.shares or (1.0,) * len(rule.kinds), strict=True))
    kinds = [kind for kind in rule.kinds if len(present[kind]) and weights[kind] > 0]
    if not kinds:
        return []
    ends = np.rint(
        np.cumsum([weights[kind] for kind in kinds]) / sum(weights[kind] for kind in kinds) * wanted
    )
    draws = [
        Draw(present[kind], min(int(most), len(present[kind])))
        for kind, most in zip(kinds, np.diff(ends, prepend=0), strict=True)
    ]
    given = sum(draw.most for draw in draws)
    others = rows[np.isin(pool.kind[rows], kinds)]
    return [*draws, Draw(others, wanted - given)]
