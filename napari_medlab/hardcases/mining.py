"""Choosing the examples to learn from: what the reader was shown, and as much again of what went before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.annotations import FindingTable
    from napari_medlab.hardcases.errors.building import QueueItem

__all__ = ["DOUBTS", "Example", "MiningRule", "mine"]

DOUBTS = ("ambiguous", "reference wrong")
"""Verdicts after which a label is in doubt, so that nothing is to be learnt from it."""

WEIGHTS = {"false positive": 1.0, "miss": 1.0, "replay": 1.0}


@dataclass(frozen=True)
class MiningRule:
    """How examples are chosen.

    Parameters
    ----------
    budget : int
        At most this many errors, from the front of the queue: never the hardest of each class, which destroys a model.
    per_case : int
        At most this many errors of one case.
    replay_share : float
        The share of all examples that are not errors but findings the model had right, and random places: without
        them a model forgets.
    seed : int
    """

    budget: int = 200
    per_case: int = 12
    replay_share: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """A place to cut a crop at.

    Parameters
    ----------
    case_id : str
    centre : tuple of float
        World coordinates of the crop's middle.
    reason : {"false positive", "miss", "replay"}
    weight : float
        How often it is drawn in training, relative to others.
    object_id : str
        The candidate or finding that it is about; empty for a random place.
    verdict : str
        What the reader said about it; empty for nothing.
    """

    case_id: str
    centre: tuple[float, ...]
    reason: str
    weight: float
    object_id: str = ""
    verdict: str = ""


def mine(
    queue: Sequence[QueueItem], findings: FindingTable, places: Sequence[tuple[str, tuple[float, ...]]],
    verdicts: Mapping[str, str], rule: MiningRule,
) -> list[Example]:
    """Return the examples for a package: errors first, then the replay.

    Parameters
    ----------
    queue : the errors of training cases, worst first; those of frozen cases must not be in it
    findings : the findings of training cases, to draw the replay from
    places : random places, (case id, world coordinates), for replay without a finding; taken in order
    verdicts : by object id; "ambiguous" leaves an error out, and so does "reference wrong", as its label is in doubt
    rule : MiningRule
    """
    errors = _errors(queue, verdicts, rule)
    # what was missed, chosen or not, and what is in doubt is nothing that the model had right
    wrong = {item.object_id for item in queue} | {key for key, verdict in verdicts.items() if verdict in DOUBTS}
    return errors + _replay(findings, places, wrong, len(errors), rule)


def _errors(queue: Sequence[QueueItem], verdicts: Mapping[str, str], rule: MiningRule) -> list[Example]:
    chosen: dict[str, Example] = {}
    of_case: dict[str, int] = {}
    for item in queue:
        verdict = verdicts.get(item.object_id, "")
        taken = of_case.get(item.case_id, 0)
        if verdict in DOUBTS or taken >= rule.per_case or item.object_id in chosen:
            continue
        if len(chosen) == rule.budget:
            break
        of_case[item.case_id] = taken + 1
        reason = "false positive" if item.kind == "fp" else "miss"
        example = Example(item.case_id, item.centre, reason, WEIGHTS[reason], item.object_id, verdict)
        chosen[item.object_id] = example
    return list(chosen.values())


def _replay(
    findings: FindingTable, places: Sequence[tuple[str, tuple[float, ...]]], wrong: set[str], errors: int,
    rule: MiningRule,
) -> list[Example]:
    """Return findings that the model had right, then random places, until the share is reached."""
    wanted = round(errors * rule.replay_share / max(1 - rule.replay_share, 1e-6))
    rng = np.random.default_rng(rule.seed)
    rows = [r for r in rng.permutation(len(findings)) if findings.ids[r] not in wrong and not findings.is_excluded[r]]
    found = [
        Example(str(findings.case_ids[r]), tuple(findings.centres[r].tolist()), "replay", WEIGHTS["replay"],
                str(findings.ids[r]))
        for r in rows[: (wanted + 1) // 2]
    ]  # fmt: skip
    empty = [Example(case, place, "replay", WEIGHTS["replay"]) for case, place in places[: wanted - len(found)]]
    return found + empty
