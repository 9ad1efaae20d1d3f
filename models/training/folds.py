"""Splits that keep what belongs together on one side: folds by patient or slide, and intervals of sequences."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["TRAIN", "VALIDATION", "assign_folds", "check_no_leak", "hold_out", "interval_split"]

TRAIN, VALIDATION, LEFT_OUT = 0, 1, -1


def assign_folds(
    groups: Sequence[str],
    has_lesion: ArrayLike,
    folds: int,
    seed: int = 0,
    known: Mapping[str, int] | None = None,
) -> NDArray[np.int64]:
    """Return a fold (from 0) for each case; cases of one group share theirs.

    Groups with a lesion and groups without one are dealt out apart, so that every fold gets as many of each, to one group.
    The order in which they are dealt is that of the SHA-256 of seed and name: the order of the cases does not matter,
    nor does the computer.

    Parameters
    ----------
    groups : sequence of str
        The patient, the slide, or whatever must not be on both sides, for each case.
    has_lesion : bool array, as long
    folds : int
    seed : int
    known : dict or None
        Folds that groups have already, which they keep; new ones are dealt out to those that have the fewest.

    Raises
    ------
    InputRefusedError
        Where a group has no name, or there are fewer groups than folds.
    """
    kept = dict(known or {})
    strata = _strata(groups, has_lesion)
    names = sum(len(stratum) for stratum in strata)
    if folds < 2 or names < folds or any(not 0 <= fold < folds for fold in kept.values()):
        raise InputRefusedError(
            f"{names} patients cannot be split into {folds} folds: each fold needs one of its own, there are two folds at "
            "least, and folds that are known already are among them.",
            code="folds",
        )
    assigned: dict[str, int] = {}
    total = np.zeros(folds, dtype=int)
    for stratum in strata:
        counts = np.zeros(folds, dtype=int)
        for name in (name for name in stratum if name in kept):
            assigned[name] = kept[name]
            counts[kept[name]] += 1
        total += counts
        for name in sorted(
            (name for name in stratum if name not in kept), key=lambda name: _digest(seed, name)
        ):
            # the fewest of its kind, then the fewest of all
            fold = min(range(folds), key=lambda each: (counts[each], total[each], each))
            assigned[name] = fold
            counts[fold] += 1
            total[fold] += 1
    return np.array([assigned[group] for group in groups], dtype=np.int64)


def hold_out(groups: Sequence[str], has_lesion: ArrayLike, share: float, seed: int = 0) -> NDArray[np.bool_]:
    """Return which cases are held out: about ``share`` of the groups with a lesion and of those without, whole groups.

    The first by the SHA-256 of seed and name are held out; at least one group is, and at least one is not.

    Raises
    ------
    InputRefusedError
        Where the share is not between 0 and 1, a group has no name, or there are not two groups.
    """
    strata = _strata(groups, has_lesion)
    names = [name for stratum in strata for name in sorted(stratum, key=lambda name: _digest(seed, name))]
    if not 0 < share < 1 or len(names) < 2:
        raise InputRefusedError(
            f"A share of {share} of {len(names)} patients cannot be held out: it is between 0 and 1, of two patients at least.",
            code="folds",
        )
    chosen: set[str] = set()
    start = 0
    for stratum in strata:
        chosen |= set(names[start : start + round(share * len(stratum))])
        start += len(stratum)
    if not chosen:
        chosen.add(names[0])
    if len(chosen) == len(names):
        chosen.remove(names[-1])
    return np.array([group in chosen for group in groups], dtype=np.bool_)


def interval_split(
    sequences: Sequence[str], frames: ArrayLike, share: float = 0.15, gap: int = 0
) -> NDArray[np.int64]:
    """Return for each frame whether it is for training (0) or validation (1), or left out (-1).

    The frames of each sequence are taken in order, and evenly spaced ones are for validation: with 0.2 every fifth. A
    random split would leak as well, and cover the sequence less evenly; neighbours are alike still, so that a gap on both
    sides of each, or a split by whole sequences, tells more about sequences that were never seen.

    Parameters
    ----------
    sequences : sequence of str
        The sequence that each frame belongs to.
    frames : array, as long
        The time or number of each, which orders those of a sequence.
    share : float
        For validation, between 0 and 1.
    gap : int
        So many frames on both sides of each of validation are left out.
    """
    if not 0 < share < 1 or gap < 0:
        raise InputRefusedError(
            f"The share for validation is between 0 and 1 and the gap no less than 0; got {share} and {gap}.",
            code="folds",
        )
    order = np.asarray(frames)
    split = np.full(len(sequences), TRAIN, dtype=np.int64)
    names = np.asarray(sequences)
    for name in dict.fromkeys(sequences):
        rows = np.flatnonzero(names == name)
        rows = rows[np.argsort(order[rows], kind="stable")]
        # in the middle of each interval
        passed = np.floor(np.arange(len(rows) + 1) * share + 0.5)
        of_validation = np.flatnonzero(np.diff(passed) > 0)
        for step in range(1, gap + 1):
            beside = np.concatenate([of_validation - step, of_validation + step])
            split[rows[beside[(beside >= 0) & (beside < len(rows))]]] = LEFT_OUT
        split[rows[of_validation]] = VALIDATION
    return split


def check_no_leak(folds: ArrayLike, groups: Sequence[str]) -> None:
    """Refuse a split in which a group is on two sides.

    Raises
    ------
    InputRefusedError
        With the groups that are.
    """
    sides: dict[str, set[Any]] = defaultdict(set)
    for fold, group in zip(np.asarray(folds).tolist(), groups, strict=True):
        sides[group].add(fold)
    leaking = sorted(group for group, of_group in sides.items() if len(of_group) > 1)
    if leaking:
        raise InputRefusedError(
            f"{len(leaking)} patients are in two folds at once: {', '.join(leaking[:5])}{' …' if len(leaking) > 5 else ''}.",
            code="leak",
            hint="Split by patient: what a model saw of one in training makes its figures on the others too good.",
        )


def _strata(groups: Sequence[str], has_lesion: ArrayLike) -> list[list[str]]:
    """Return the names of groups with a lesion in any of their cases, and of those without."""
    is_positive = np.asarray(has_lesion, dtype=np.bool_)
    if len(is_positive) != len(groups):
        raise InputRefusedError(f"There are {len(groups)} groups and {len(is_positive)} cases.", code="folds")
    if unnamed := sum(not group for group in groups):
        raise InputRefusedError(
            f"{unnamed} of {len(groups)} cases name no patient, so that they could be on both sides of a split.",
            code="no-group",
            hint="Give each its patient, slide or sequence; a case that stands alone gets its own name.",
        )
    found: dict[str, bool] = {}
    for group, positive in zip(groups, is_positive.tolist(), strict=True):
        found[group] = found.get(group, False) or positive
    return [[name for name in found if found[name]], [name for name in found if not found[name]]]


def _digest(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()
