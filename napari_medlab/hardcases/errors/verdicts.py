"""From a reader's verdict on an error to the edits that record it, the change that it proposes to the reference among them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medlab.annotations import Finding
from napari_medlab.project.edits import Edit, group, set_finding, set_verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.hardcases.errors.building import QueueItem
    from napari_medlab.project import Verdict

__all__ = ["Judging", "corrected_finding", "judge", "parse_remark", "proposed_id"]


NOT_IN_REFERENCE = ("fp", "unread")
"""Kinds of candidates that the reference lacks, and that become findings where it is wrong."""


@dataclass(frozen=True)
class Judging:
    """What a verdict is given on, and what stands there now.

    Parameters
    ----------
    item : QueueItem
    run_id : str
    before : Verdict or None
        The reader's verdict so far.
    """

    item: QueueItem
    run_id: str
    before: Verdict | None = None


def judge(
    judged: Sequence[Judging], after: Verdict | None, finding_of: Callable[[str], Finding | None],
    given_of: Callable[[str], Finding | None], *, adjudicated: bool = False,
) -> Edit:  # fmt: skip
    """Return the edit that gives one verdict on one error or on many, undone as one.

    "Reference wrong" proposes a change to the reference: a false positive becomes a finding, and a miss is excluded.
    Another verdict takes back what an earlier one had proposed.

    Parameters
    ----------
    judged : sequence of Judging
        At least one.
    after : Verdict or None
        None takes the verdicts back.
    finding_of, given_of : callables
        Return a finding by id as the reader has it now, and as it was given; None where there is none.
    adjudicated : bool
        Whether it settles what readers disagree on.
    """
    edits: list[Edit] = []
    objects = _each_once(judged)
    is_wrong = after is not None and after.verdict == "reference wrong"
    for one in objects:
        item = one.item
        edits.append(
            set_verdict(
                item.case_id,
                one.run_id,
                item.object_id,
                before=one.before,
                after=after,
                adjudicated=adjudicated,
            )
        )
        was_wrong = one.before is not None and one.before.verdict == "reference wrong"
        if is_wrong or was_wrong:
            given = given_of(item.object_id)
            now = finding_of(item.object_id if given is not None else proposed_id(item.object_id))
            wanted = corrected_finding(item, now, given) if is_wrong else _taken_back(item, now, given)
            if now != wanted:
                edits.append(set_finding(now, wanted, adjudicated=adjudicated))
    if len(edits) == 1:
        return edits[0]
    verdict = after.verdict if after is not None else "no verdict"
    count = f" on {len(objects)} errors" if len(objects) > 1 else ""
    return group(f"{verdict}{count}", edits)


def corrected_finding(item: QueueItem, now: Finding | None, given: Finding | None) -> Finding | None:
    """Return what becomes of a finding where "reference wrong" is said; ``now`` where nothing follows.

    What the reader changed by hand is kept: a finding that was moved is excluded where it lies now, and one that was
    removed stays so.

    Parameters
    ----------
    item : QueueItem
    now, given : Finding or None
        The finding that the verdict is about, or the one that the candidate becomes, as the reader has it and as it
        was given.
    """
    if now is not None and given is not None:
        return replace(now, is_excluded=True)
    if item.kind in NOT_IN_REFERENCE and now is None and given is None:
        return _proposed(item)
    return now


def _taken_back(item: QueueItem, now: Finding | None, given: Finding | None) -> Finding | None:
    """Return what becomes of a finding where "reference wrong" is said no longer; what was changed by hand stays."""
    if now is not None and given is not None:
        return replace(now, is_excluded=given.is_excluded)
    return None if now == _proposed(item) else now


def _proposed(item: QueueItem) -> Finding:
    finding_id = proposed_id(item.object_id)
    return Finding(item.case_id, item.centre, item.diameter, item.label, False, finding_id)


def _each_once(judged: Sequence[Judging]) -> list[Judging]:
    """Return each object once, as one that the reference lacks where it does: it may be an error of several kinds."""
    objects: dict[tuple[str, str], Judging] = {}
    for one in judged:
        key = one.run_id, one.item.object_id
        if key not in objects or one.item.kind in NOT_IN_REFERENCE:
            objects[key] = one
    return list(objects.values())


def proposed_id(candidate_id: str) -> str:
    """Return the id of the finding that a candidate becomes: the same for every reader, so that they can agree."""
    return hashlib.sha256(f"finding proposed for candidate {candidate_id}".encode()).hexdigest()[:32]


def parse_remark(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the comment and the tags of what a reader typed: words that begin with ``#`` are tags, in order, each once."""
    words = text.split()
    tags = tuple(dict.fromkeys(word[1:] for word in words if word.startswith("#") and len(word) > 1))
    return " ".join(word for word in words if not (word.startswith("#") and len(word) > 1)), tags
