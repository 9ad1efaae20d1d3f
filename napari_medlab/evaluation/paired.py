"""Two models on the same things: is the difference of a mean, or of any figure, real."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval
from napari_medlab.evaluation.report import json_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["PairedDifference", "paired_difference", "weighted_mean"]

CHUNK = 256
"""How many replicates are held in memory at a time."""


@dataclass(frozen=True)
class PairedDifference:
    """A figure of model b less that of model a.

    Parameters
    ----------
    a, b : float
        The figure of each; nan where it does not exist.
    interval : (low, high)
        The 95 % interval of the difference, the same groups being drawn for both; nan where none were drawn.
    p_value : float
        The chance of a difference at least as large, either way, were the models exchangeable; nan where nothing was
        permuted.
    n : int
        How many pairs there are.
    n_groups : int
        To how many patients they belong.
    """

    a: float
    b: float
    interval: Interval
    p_value: float
    n: int
    n_groups: int

    @property
    def difference(self) -> float:
        """The figure of b less that of a."""
        return self.b - self.a

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        return {
            "a": json_number(self.a),
            "b": json_number(self.b),
            "difference": json_number(self.difference),
            "interval": json_interval(self.interval),
            "p_value": json_number(self.p_value),
            "n": self.n,
            "groups": self.n_groups,
        }


def weighted_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of values, (replicates, n) or (n,), each value counting as often as its weight, (replicates, n)."""
    total = weights.sum(axis=1)
    means = np.full(len(weights), np.nan)
    np.divide((weights * values).sum(axis=1), total, out=means, where=total > 0)
    return means


def paired_difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: Sequence[str] | None = None,
    resampling: Resampling | None = None,
    *,
    metric: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]] = weighted_mean,
) -> PairedDifference:
    """Return how a figure of paired values differs between two models, such as their Dice on the same outlines.

    Parameters
    ----------
    values_a, values_b : float arrays, (n,)
        One pair for each thing that both models were measured on. Pairs with a nan on either side are left out.
    groups : sequence of str, (n,), optional
        The patient of each pair: patients are drawn and swapped as a whole. By default each pair is by itself.
    resampling : Resampling, optional
        Its replicates serve for the interval, and as many permutations for the p-value; 1000 by default.
    metric : function, optional
        What is compared: given values, (replicates, n) or (n,), and how often each counts, (replicates, n), it returns
        one figure for each replicate. The mean by default.

    Raises
    ------
    InputRefusedError
        With code ``"not-comparable"`` where there are not as many values, or groups, on either side.

    Notes
    -----
    The interval is that of percentiles over resampled patients (B. Efron and R. Tibshirani, "An Introduction to the
    Bootstrap", 1993), both models sharing each draw. The permutation test swaps the models for a random half of the
    patients; the observed difference counts as one of the permutations, so that the p-value is never 0.
    """
    a, b, owner = _paired(values_a, values_b, groups)
    chosen = resampling or Resampling()
    once = np.ones((1, len(a)))
    whole = float(metric(a, once)[0]), float(metric(b, once)[0])
    n_groups = int(owner.max(initial=-1)) + 1
    interval, p_value = (math.nan, math.nan), math.nan
    if chosen.replicates > 0 and n_groups > 0:
        interval = percentile_interval(_resampled(metric, a, b, owner, chosen))
        as_large = np.abs(_permuted(metric, a, b, owner, chosen)) >= abs(whole[1] - whole[0]) - 1e-12
        p_value = (1 + int(as_large.sum())) / (1 + chosen.replicates)
    return PairedDifference(*whole, interval, p_value, len(a), n_groups)


def _paired(
    values_a: ArrayLike, values_b: ArrayLike, groups: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return the complete pairs, and the number of the group of each."""
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    owners = np.arange(len(a)) if groups is None else np.asarray(groups)
    if a.shape != b.shape or a.ndim != 1 or len(owners) != len(a):
        raise InputRefusedError(
            f"Values come in pairs, each with a group; got {a.shape} and {b.shape} values and {len(owners)} groups.",
            code="not-comparable",
            hint="Measure both models on the same things, in one order.",
        )
    known = ~(np.isnan(a) | np.isnan(b))
    _, owner = np.unique(owners[known], return_inverse=True)
    return a[known], b[known], owner.astype(np.intp)


def _resampled(
    metric: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    owner: NDArray[np.intp],
    resampling: Resampling,
) -> NDArray[np.float64]:
    """Return the differences of resampled groups, (replicates,)."""
    n = int(owner.max()) + 1
    rng = np.random.default_rng(resampling.seed)
    pieces = []
    for start in range(0, resampling.replicates, CHUNK):
        size = min(CHUNK, resampling.replicates - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=size)[:, owner].astype(np.float64)
        pieces.append(metric(b, weights) - metric(a, weights))
    return np.concatenate(pieces)


def _permuted(
    metric: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    owner: NDArray[np.intp],
    resampling: Resampling,
) -> NDArray[np.float64]:
    """Return the differences where the models are swapped for a random half of the groups, (replicates,)."""
    n = int(owner.max()) + 1
    rng = np.random.default_rng(np.random.SeedSequence(resampling.seed).spawn(1)[0])
    pieces = []
    for start in range(0, resampling.replicates, CHUNK):
        swapped = (rng.random((min(CHUNK, resampling.replicates - start), n)) < 0.5)[:, owner]
        once = np.ones(swapped.shape)
        pieces.append(metric(np.where(swapped, a, b), once) - metric(np.where(swapped, b, a), once))
    return np.concatenate(pieces)
