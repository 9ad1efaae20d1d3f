"""Which case teaches most when it is read next: how unsure a model is, how many errors to expect, how new a case is.

Batch-mode active learning: B. Settles, "Active Learning Literature Survey" (2009), for entropy, margins and committees;
C.-A. Brust, C. Käding and J. Denzler, "Active Learning for Deep Object Detection" (2019), for the sum over the objects of an
image; O. Sener and S. Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach" (2018), for
farthest-first choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Calibration", "entropy", "error_chance", "farthest_first", "margin", "sum_of_largest", "variance"]

LEAST_REVIEWED = 10
"""Of true and of false candidates so many must have been reviewed before anything is learnt from them."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The share of candidates of a score that are findings, as far as it is known.

    Parameters
    ----------
    scores, shares : float64 arrays, (n,)
        Both never fall; between them the share is read off linearly. Empty where too few were reviewed: a score is then
        its own share.
    reviewed : int
        How many candidates this rests on.

    Notes
    -----
    Where too few were reviewed and a score lies outside 0 to 1, scores are taken for logits.
    """

    scores: NDArray[np.float64]
    shares: NDArray[np.float64]
    reviewed: int = 0

    @classmethod
    def of(cls, scores: ArrayLike, is_true: ArrayLike) -> Self:
        """Fit reviewed candidates by isotonic regression.

        Pool adjacent violators; every block has one true and one false candidate added, so that no share is 0 or 1.
        Fewer than ten of either kind calibrate nothing.
        """
        values, hits = np.asarray(scores, np.float64), np.asarray(is_true, np.bool_)
        if min(int(hits.sum()), int((~hits).sum())) < LEAST_REVIEWED:
            return cls(np.empty(0), np.empty(0))
        order = np.argsort(values, kind="stable")
        levels, starts = np.unique(values[order], return_index=True)
        counts = np.diff(np.append(starts, len(values))).astype(np.float64)
        true = np.add.reduceat(hits[order].astype(np.float64), starts)
        blocks: list[tuple[float, float, int]] = []
        for own_true, own_count in zip(true.tolist(), counts.tolist(), strict=True):
            block = own_true, own_count, 1
            while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
                before = blocks.pop()
                block = before[0] + block[0], before[1] + block[1], before[2] + block[2]
            blocks.append(block)
        shares = np.concatenate([np.full(width, (t + 1) / (n + 2)) for t, n, width in blocks])
        return cls(levels, np.maximum.accumulate(shares), len(values))

    def share(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Return the chance that candidates of these scores are findings, float64 (n,), from 0 to 1."""
        values = np.asarray(scores, np.float64)
        if len(self.scores):
            return np.asarray(np.interp(values, self.scores, self.shares), np.float64)
        if len(values) and (values.min() < 0 or values.max() > 1):
            return np.asarray(1 / (1 + np.exp(-np.clip(values, -60, 60))), np.float64)
        return values


def entropy(chance: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of a yes or no, in bits: 1 where the chance is one half, 0 where it is 0 or 1."""
    p = np.clip(np.asarray(chance, np.float64), 0.0, 1.0)
    bits = np.zeros(p.shape)
    for side in (p, 1 - p):
        bits -= side * np.log2(np.where(side > 0, side, 1.0))
    return bits


def margin(scores: ArrayLike, threshold: float) -> NDArray[np.float64]:
    """Return how near scores from 0 to 1 are to the operating point: 1 at it, 0 at the farther end of the scale.

    Where the operating point is infinite, it is taken as the end of the scale.
    """
    at = float(np.clip(threshold, 0.0, 1.0))
    distance = np.abs(np.clip(np.asarray(scores, np.float64), 0.0, 1.0) - at)
    nearness: NDArray[np.float64] = 1 - distance / max(at, 1 - at)
    return nearness


def variance(scores: ArrayLike) -> NDArray[np.float64]:
    """Return how far the members of an ensemble differ, (n,), from their scores (members, n): 1 where half say 1, half 0."""
    values: NDArray[np.float64] = 4 * np.clip(np.asarray(scores, np.float64), 0.0, 1.0).var(axis=0)
    return values


def error_chance(chance: ArrayLike, is_marked: ArrayLike) -> NDArray[np.float64]:
    """Return the chance that each candidate is an error: of marked ones that they are false, of others that they are true."""
    p = np.asarray(chance, np.float64)
    return np.where(np.asarray(is_marked, np.bool_), 1 - p, p)


def sum_of_largest(values: ArrayLike, groups: ArrayLike, n_groups: int, most: int) -> NDArray[np.float64]:
    """Return for each group the sum of its largest values.

    Parameters
    ----------
    values : float array (n,)
    groups : int array (n,)
        From 0.
    n_groups : int
    most : int
        How many values of a group count, so that many that are of little doubt do not make up for one of great doubt.
    """
    each, of = np.asarray(values, np.float64), np.asarray(groups, np.intp)
    order = np.lexsort((-each, of))
    starts = np.searchsorted(of[order], of[order])
    counted = order[np.arange(len(order)) - starts < most]
    return np.bincount(of[counted], each[counted], minlength=n_groups).astype(np.float64)


def farthest_first(
    vectors: ArrayLike, count: int, *, known: ArrayLike | None = None, worth: ArrayLike | None = None
) -> NDArray[np.intp]:
    """Return rows in an order in which each is far from all before it.

    Parameters
    ----------
    vectors : float array (n, features)
    count : int
        How many rows are chosen, at most all.
    known : float array (m, features), optional
        What has been seen already: the first row is the one farthest from these. Without any, it is that of most worth, or
        the one farthest from the mean.
    worth : float array (n,), optional
        Each row's distance is multiplied by this, which is not negative. Rows without any distance left, such as copies,
        follow by their worth.

    Notes
    -----
    Greedy k-centre: without ``worth`` the greatest distance from a row to the nearest chosen one is at most twice what any
    choice of as many rows could reach (T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985).
    Ties go to the first row, so that the order is always the same.
    """
    points = np.asarray(vectors, np.float64)
    n = len(points)
    value = np.ones(n) if worth is None else np.asarray(worth, np.float64)
    seen = np.empty((0, points.shape[1])) if known is None else np.asarray(known, np.float64)
    chosen: list[int] = []
    left = np.ones(n, np.bool_)
    nearest = _first_distances(points, seen)
    for _ in range(min(count, n)):
        merit = nearest * value
        row = _best(merit if merit[left].max() > 0 else value, left)
        if not chosen and not len(seen) and worth is not None:
            row = _best(value, left)
        chosen.append(row)
        left[row] = False
        distance = np.linalg.norm(points - points[row], axis=1)
        nearest = distance if len(chosen) == 1 and not len(seen) else np.minimum(nearest, distance)
    return np.asarray(chosen, np.intp)


def _first_distances(points: NDArray[np.float64], seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each point is from the nearest one that was seen; from the mean of all where none was."""
    if not len(points):
        return np.empty(0)
    if not len(seen):
        centred: NDArray[np.float64] = np.linalg.norm(points - points.mean(axis=0), axis=1)
        return centred
    nearest = np.full(len(points), np.inf)
    for each in seen:
        nearest = np.minimum(nearest, np.linalg.norm(points - each, axis=1))
    return nearest


def _best(values: NDArray[np.float64], left: NDArray[np.bool_]) -> int:
    return int(np.argmax(np.where(left, values, -np.inf)))
