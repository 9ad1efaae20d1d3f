"""How much each member of an ensemble counts: found on validation cases, and refused on any other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.froc import froc
from napari_medlab.evaluation.matching import match
from napari_medlab.models.classification.fusion import fuse
from napari_medlab.models.ensembling.validation_only import require_validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.models.ensembling.validation_only import SplitCase

    ValueOf = Callable[[NDArray[np.float64]], float]

__all__ = [
    "FoundWeights",
    "area_under_roc",
    "cpm_by_scores",
    "search_fusion",
    "search_weights",
    "simplex",
]

STEPS = 10
"""Weights are multiples of a tenth."""

MOST_IN_FULL = 4
"""As many members are searched over the whole grid: 286 sets of weights; beyond them, one member at a time."""

AS_GOOD = 1e-9


@dataclass(frozen=True)
class FoundWeights:
    """What a search found.

    Parameters
    ----------
    weights : tuple of float
        They sum to 1. Of equally good ones, those nearest to equal shares.
    value : float
        What they reach on the validation cases: too good by the search itself, and no figure to report.
    equal_value : float
        What equal shares reach there.
    tried : int
        How many sets of weights were looked at.
    """

    weights: tuple[float, ...]
    value: float
    equal_value: float
    tried: int


def search_weights(
    value_of: ValueOf, members: int, cases: Iterable[SplitCase], *, steps: int = STEPS
) -> FoundWeights:
    """Return the weights of an ensemble that do best on validation cases.

    Up to four members are searched over the whole grid; with more, one weight after the other is moved while that helps,
    from equal shares on, which finds a best one among its neighbours and not always the best of all.

    Parameters
    ----------
    value_of : callable
        Takes weights (members,) that sum to 1, returns how good the ensemble is with them on ``cases``, higher being
        better; nan counts as worst. See :func:`cpm_by_scores`, :func:`area_under_roc`.
    members : int
    cases : iterable of SplitCase
        Those that ``value_of`` looks at.
    steps : int
        How many steps lead from 0 to 1.

    Raises
    ------
    InputRefusedError
        With code ``"test-cases"`` where any of the cases is for testing.
    """
    require_validation(cases, "The weights of the ensemble")
    search = _Search(value_of)
    equal = np.full(members, 1 / members)
    search.look(equal)
    if members <= MOST_IN_FULL:
        for point in simplex(members, steps):
            search.look(point)
    else:
        _one_by_one(search, members, steps)
    value, weights = search.best()
    return FoundWeights(tuple(weights), value, search.seen[tuple(equal.tolist())], len(search.seen))


def search_fusion(
    value_of: ValueOf, detector_scores: ArrayLike, classifier_scores: ArrayLike, cases: Iterable[SplitCase], *,
    rule: str = "geometric mean", steps: int = STEPS,
) -> FoundWeights:  # fmt: skip
    """Return how much the detector and the classifier of its candidates should count, (detector, classifier).

    Parameters
    ----------
    value_of : callable
        Takes the joined scores (n,), returns how good they are on ``cases``, higher being better.
    detector_scores, classifier_scores : arrays (n,), 0 … 1
    cases, steps, and what is raised
        As in :func:`search_weights`.
    rule : str
        As :func:`napari_medlab.models.classification.fusion.fuse` takes it.
    """

    def joined(weights: NDArray[np.float64]) -> float:
        return value_of(fuse(detector_scores, classifier_scores, rule, float(weights[1])))

    return search_weights(joined, 2, cases, steps=steps)


def simplex(members: int, steps: int = STEPS) -> Iterator[NDArray[np.float64]]:
    """Yield every set of weights that are multiples of 1 / steps and sum to 1."""
    for bars in combinations(range(steps + members - 1), members - 1):
        ends = np.array([-1, *bars, steps + members - 1])
        yield (np.diff(ends) - 1) / steps


def area_under_roc(is_positive: ArrayLike, scores: ArrayLike) -> float:
    """Return how often a positive scores above a negative, ties counting half; nan where either is missing.

    The statistic of Mann and Whitney, by ranks.
    """
    from scipy.stats import rankdata

    positive, values = np.asarray(is_positive, np.bool_), np.asarray(scores, np.float64)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(values)[positive].sum() - n * (n + 1) / 2) / (n * m))


def cpm_by_scores(
    findings: FindingTable, candidates: CandidateTable, cases: Sequence[str], rule: str = "luna16"
) -> ValueOf:
    """Return what tells the CPM of candidates by their scores (n,), for the searches above.

    Raises
    ------
    InputRefusedError
        Where candidates or findings are of a case that is not in ``cases``, the ones whose split is checked.
    """
    strangers = {*map(str, findings.case_ids), *map(str, candidates.case_ids)} - {*cases}
    if strangers:
        raise InputRefusedError(
            f"{len(strangers)} cases have candidates or findings and are not among the {len(cases)} validation cases.",
            code="other-cases",
        )

    def cpm(scores: NDArray[np.float64]) -> float:
        return froc(match(findings, replace(candidates, scores=scores), cases, rule)).cpm

    return cpm


class _Search:
    """Remembers what was tried."""

    def __init__(self, value_of: ValueOf) -> None:
        self._value_of = value_of
        self.seen: dict[tuple[float, ...], float] = {}

    def look(self, weights: NDArray[np.float64]) -> float:
        key = tuple(weights.tolist())
        if key not in self.seen:
            value = float(self._value_of(weights))
            self.seen[key] = -np.inf if np.isnan(value) else value
        return self.seen[key]

    def best(self) -> tuple[float, tuple[float, ...]]:
        highest = max(self.seen.values())
        equals = [weights for weights, value in self.seen.items() if value >= highest - AS_GOOD]
        chosen = min(equals, key=lambda weights: (round(float(np.var(weights)), 12), weights))
        return self.seen[chosen], chosen


def _one_by_one(search: _Search, members: int, steps: int) -> None:
    weights = np.full(members, 1 / members)
    value = search.look(weights)
    is_better = True
    while is_better:
        is_better = False
        for member in range(members):
            for share in np.arange(steps + 1) / steps:
                moved = _with_share(weights, member, float(share))
                reached = search.look(moved)
                if reached > value + AS_GOOD:
                    weights, value, is_better = moved, reached, True


def _with_share(weights: NDArray[np.float64], member: int, share: float) -> NDArray[np.float64]:
    """Return the weights with one of them set, and the others in proportion to what they were."""
    others = np.delete(weights, member)
    total = others.sum()
    scaled = others / total * (1 - share) if total > 0 else np.full(len(others), (1 - share) / len(others))
    return np.insert(scaled, member, share)
