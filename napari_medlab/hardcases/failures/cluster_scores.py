"""Score tests for many rules at once, with patients as clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["Clusters", "Limits", "RuleScores", "one_sided_p", "score", "score_rules"]

BLOCK_VALUES = 1 << 23
"""About this many sums, by patient and rule, are held at once."""
MOST_CLUSTERS = 1000
"""More patients are joined into this many groups: groups of independent patients are as independent."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """Objects in the order of their patients.

    Parameters
    ----------
    starts : int array (clusters + 1,)
        Where each cluster begins; the objects must be sorted by it.
    """

    starts: NDArray[np.intp]

    @classmethod
    def of(cls, patients: NDArray[np.generic], seed: int) -> tuple[Clusters, NDArray[np.intp]]:
        """Return the clusters, and the order that sorts the objects by them."""
        names, owner = np.unique(patients, return_inverse=True)
        if len(names) > MOST_CLUSTERS:
            groups = np.random.default_rng(seed).permutation(len(names)) % MOST_CLUSTERS
            owner = groups[owner]
        order = np.argsort(owner, kind="stable")
        counts = np.bincount(owner)
        return cls(np.concatenate([[0], np.cumsum(counts[counts > 0])])), order

    def __len__(self) -> int:
        return len(self.starts) - 1

    def totals(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return sums over each cluster, (clusters, …), of values (n, …)."""
        return np.asarray(np.add.reduceat(values, self.starts[:-1], axis=0))


@dataclass(frozen=True)
class Limits:
    """Which rules are tested: those with this many objects and clusters inside, and as many outside."""

    rows: int
    clusters: int


@dataclass(frozen=True, eq=False)
class RuleScores:
    """The result of all tests.

    Parameters
    ----------
    first, second : int arrays (rules,)
        The two conditions of a rule; the same one twice for a rule with one.
    statistic : float array (rules,)
        Large where a rule has more failures inside than outside.
    largest : float array (replicates,)
        The largest statistic of all rules in each replicate of chance.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    statistic: NDArray[np.float64]
    largest: NDArray[np.float64]

    def adjusted_p(self) -> NDArray[np.float64]:
        """Return the p-values, (rules,), adjusted for all rules that were tested."""
        ordered = np.sort(self.largest)
        at_least = len(ordered) - np.searchsorted(ordered, self.statistic - 1e-9)
        p: NDArray[np.float64] = (1 + at_least) / (1 + len(ordered))
        return p


def score_rules(
    holds: NDArray[np.bool_],
    columns: NDArray[np.intp],
    failed: NDArray[np.bool_],
    clusters: Clusters,
    limits: Limits,
    resampling: tuple[int, int, Callable[[], None] | None],
) -> RuleScores:
    """Return the score statistics of all rules of one condition, and of two on different columns.

    Parameters
    ----------
    holds : bool array (conditions, n)
        Which objects, sorted by cluster, fulfil each condition.
    columns : int array (conditions,)
        What each condition is about.
    failed : bool array (n,)
    clusters : Clusters
    limits : Limits
    resampling : (replicates, seed, stop)
        ``stop`` is called between blocks of rules.
    """
    replicates, seed, stop = resampling
    signs = np.random.default_rng(seed).choice(np.asarray([-1, 1], np.float32), (replicates, len(clusters)))
    largest = np.full(replicates, -np.inf)
    found: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for block in _blocks(holds, columns, failed, clusters, limits):
        if stop is not None:
            stop()
        first, second, sums, model = block
        # sums of squares over clusters, as the signs change nothing about them
        squares = np.einsum("pr,pr->r", sums, sums, dtype=np.float64)
        robust = squares * len(clusters) / max(len(clusters) - 1, 1)
        total = sums.sum(axis=0, dtype=np.float64)
        found.append((first, second, total / np.sqrt(np.maximum(model, (robust + model) / 2))))
        if len(first):
            chance = signs @ (sums / np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32))
            np.maximum(largest, chance.max(axis=1), out=largest)
    parts = [np.concatenate([part[k] for part in found]) for k in range(3)] if found else [np.zeros(0)] * 3
    return RuleScores(parts[0].astype(np.intp), parts[1].astype(np.intp), parts[2], largest)


def score(inside: NDArray[np.bool_], failed: NDArray[np.bool_], clusters: Clusters) -> tuple[float, int]:
    """Return the statistic of one rule, and how many clusters it stands on; objects are sorted by cluster."""
    rate, share = failed.mean(), inside.mean()
    error = (failed - rate) * (inside - share)
    sums = clusters.totals(error)
    filled = len(sums)
    robust = float((sums**2).sum()) * filled / max(filled - 1, 1)
    correlation = intraclass_correlation(failed, clusters)
    uneven = float((clusters.totals(inside - share) ** 2).sum())
    spread = (1 - correlation) * share * (1 - share) * len(inside) + correlation * uneven
    model = rate * (1 - rate) * spread
    variance = max(model, (robust + model) / 2)
    return (float(sums.sum()) / np.sqrt(variance) if variance > 0 else 0.0), filled


def one_sided_p(statistic: float, clusters: int) -> float:
    """Return the chance of a statistic at least as large, by Student's t with one degree less than there are clusters."""
    from scipy.stats import t

    return float(t.sf(statistic, max(clusters - 1, 1)))


def _blocks(
    holds: NDArray[np.bool_],
    columns: NDArray[np.intp],
    failed: NDArray[np.bool_],
    clusters: Clusters,
    limits: Limits,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], NDArray[np.float64]]]:
    """Yield rules in blocks: their two conditions, scores by cluster (clusters, rules), and model variances."""
    n, m = failed.size, len(holds)
    rate = failed.mean()
    error = (failed - rate).astype(np.float32)
    own = clusters.totals(error)
    correlation = intraclass_correlation(failed, clusters)
    sizes = np.diff(clusters.starts)
    flags = holds.T.astype(np.float32)
    height = max(1, BLOCK_VALUES // max(len(clusters) * m, 1))
    for at in range(0, m, height):
        rows = np.arange(at, min(at + height, m))
        counts, sums = _by_cluster(flags, error, clusters, rows)
        total = counts.sum(axis=0)
        alike = _squared_imbalance(counts, sizes.astype(np.float32), total / np.float32(n))
        inside, outside = (counts > 0).sum(axis=0), (counts < sizes[:, None, None]).sum(axis=0)
        other = (columns[rows][:, None] != columns) & (rows[:, None] < np.arange(m))
        usable = (other | (rows[:, None] == np.arange(m))) & (np.minimum(total, n - total) >= limits.rows)
        usable &= np.minimum(inside, outside) >= limits.clusters
        a, b = np.nonzero(usable)
        share = total[a, b].astype(np.float64) / n
        scores = sums[:, a, b] - (own[:, None] * share.astype(np.float32))
        spread = (1 - correlation) * share * (1 - share) * n + correlation * alike[a, b]
        yield rows[a], b, scores.astype(np.float32), rate * (1 - rate) * spread


def _squared_imbalance(
    counts: NDArray[np.float32], sizes: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how unevenly rules fall on clusters: the sum of squares of objects inside beyond what the share expects."""
    squares = np.einsum("pab,pab->ab", counts, counts)
    mixed = np.tensordot(sizes, counts, axes=(0, 0))
    total: NDArray[np.float32] = np.maximum(
        squares - 2 * share * mixed + share**2 * np.float32((sizes**2).sum()), 0
    )
    return total


def intraclass_correlation(failed: NDArray[np.bool_], clusters: Clusters) -> float:
    """Return how alike the outcomes of one cluster are, 0 to 1, by analysis of variance (Donner and Koval, 1980)."""
    sizes = np.diff(clusters.starts).astype(np.float64)
    n, k = len(failed), len(clusters)
    if k < 2 or n == k:
        return 0.0
    means = clusters.totals(failed.astype(np.float64)) / sizes
    between = float((sizes * (means - failed.mean()) ** 2).sum()) / (k - 1)
    within = float((sizes * means * (1 - means)).sum()) / (n - k)
    typical = (n - float((sizes**2).sum()) / n) / (k - 1)
    spread = between + (typical - 1) * within
    return float(np.clip((between - within) / spread, 0, 1)) if spread > 0 else 0.0


def _by_cluster(
    flags: NDArray[np.float32], error: NDArray[np.float32], clusters: Clusters, rows: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return counts and sums of errors, (clusters, rows, conditions), where two conditions hold."""
    shape = (len(clusters), len(rows), flags.shape[1])
    counts, sums = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for number, (start, stop) in enumerate(zip(clusters.starts[:-1], clusters.starts[1:], strict=True)):
        these = flags[start:stop]
        left = these[:, rows].T
        np.matmul(left, these, out=counts[number])
        np.matmul(left * error[start:stop], these, out=sums[number])
    return counts, sums
