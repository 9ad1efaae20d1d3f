"""From a pool and a rule to the examples of a package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining.rule import Chosen
from napari_medlab.hardcases.mining.strategies import STRATEGIES
from napari_medlab.hardcases.mining.taking import Draw, Taker

if TYPE_CHECKING:
    from napari_medlab.hardcases.mining.pool import Pool, Replay
    from napari_medlab.hardcases.mining.rule import Example, MiningRule

__all__ = ["mine"]


def mine(pool: Pool, replay: Replay, rule: MiningRule) -> Chosen:
    """Return the examples for a package, the errors first, then the replay; the same input gives the same examples.

    What a reader called into doubt, what lies beside a finding, and what is over the limits of a case or a patient is left
    out by every strategy, and counted.

    Parameters
    ----------
    pool : Pool
        Of training cases alone.
    replay : Replay
    rule : MiningRule

    Raises
    ------
    InputRefusedError
        ``mining`` where there is no such strategy.
    """
    strategy = STRATEGIES.get(rule.strategy)
    if strategy is None:
        raise InputRefusedError(
            f"There is no way to choose hard examples called {rule.strategy!r}.", code="mining",
            hint=f"Known are {', '.join(STRATEGIES)}.",
        )  # fmt: skip
    taker = Taker(pool, rule)
    taker.take_all(strategy.draws(pool, rule, np.random.default_rng([rule.seed, 0])))
    if strategy.is_filled:
        # where little was had right, the queue goes on instead
        taker.take(Draw(pool.shown, max(0, rule.budget - len(taker.rows) - len(replay.findings))))
    weights = np.where(pool.was_exported[taker.rows], rule.earlier_weight, 1.0)
    errors = [pool.example(row, float(weight)) for row, weight in zip(taker.rows, weights, strict=True)]
    warnings = (strategy.warning,) if strategy.warning else ()
    if strategy.is_filled:
        had_right = _findings(replay, rule.budget - len(errors) if errors else 0, rule)
    else:
        had_right = _replayed(replay, len(errors), rule)
    return Chosen((*errors, *had_right), taker.left_out, warnings)


def _replayed(replay: Replay, errors: int, rule: MiningRule) -> list[Example]:
    """Return findings that the model had right and places without any, in equal parts, until the share is reached."""
    wanted = round(errors * rule.replay_share / (1 - rule.replay_share))
    found = _findings(replay, max((wanted + 1) // 2, wanted - len(replay.places)), rule)
    return found + list(replay.places[: wanted - len(found)])


def _findings(replay: Replay, count: int, rule: MiningRule) -> list[Example]:
    """Return findings that the model had right, drawn at random."""
    order = np.random.default_rng([rule.seed, 1]).permutation(len(replay.findings))
    return [replay.findings[row] for row in order[:count]]
