"""Where a model fails: short rules on descriptors under which it fails more often than chance would have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.failures.cluster_scores import Clusters, Limits, one_sided_p, score, score_rules
from napari_medlab.hardcases.failures.conditions import Condition, literals_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.hardcases.describing.table import DescriptorTable
    from napari_medlab.hardcases.failures.cluster_scores import RuleScores
    from napari_medlab.hardcases.failures.conditions import Literals

__all__ = ["Condition", "FailureSlice", "SliceSearch", "failure_slices"]

MOST_CONSIDERED = 2000
"""Of thousands of significant rules, nearly all alike, those with the strongest evidence are gone through."""
ECHO_LEVEL = 0.01
"""What is left of a rule without the slices before it must be this unlikely to be chance."""


@dataclass(frozen=True)
class SliceSearch:
    """How slices are looked for.

    Parameters
    ----------
    level : float
        The chance that anything at all is reported where failures have nothing to do with the descriptors.
    least_rows : int
        At least this many objects lie inside a slice, and outside of it.
    least_share : float
        The same as a share of all objects; the larger of the two counts.
    least_patients : int
        They come from at least this many patients, inside and outside; and so do all failures, and all that did not fail.
    least_gap : float
        A slice fails more often than the rest by at least this much: the smallest difference worth a person's time.
    most_slices : int
    replicates : int
        Of the resampling behind the p-values.
    seed : int
    """

    level: float = 0.05
    least_rows: int = 20
    least_share: float = 0.02
    least_patients: int = 8
    least_gap: float = 0.05
    most_slices: int = 8
    replicates: int = 999
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FailureSlice:
    """One rule and how the model does under it.

    Parameters
    ----------
    conditions : one or two conditions, both of which hold
    text : str
        For people: ``"diameter < 5 mm and attached to a vessel: sensitivity 41 %, 95 % interval 33 to 50, against 88 %"``.
    rate : float
        The share of objects inside that did *not* fail: the sensitivity, or the precision.
    interval : (low, high)
        Of ``rate``, at 95 %, patients as clusters.
    rest_rate : float
        The same share of the objects outside.
    n, patients : int
        Objects inside, and the patients they come from.
    p_adjusted : float
        For all rules that were tried together.
    rows : int array (n,)
        The objects inside, as rows of the table.
    """

    conditions: tuple[Condition, ...]
    text: str
    rate: float
    interval: tuple[float, float]
    rest_rate: float
    n: int
    patients: int
    p_adjusted: float
    rows: NDArray[np.intp]


def failure_slices(
    table: DescriptorTable,
    failed: ArrayLike,
    patients: ArrayLike,
    *,
    measure: str = "sensitivity",
    search: SliceSearch | None = None,
    stop: Callable[[], None] | None = None,
) -> list[FailureSlice]:
    """Return the slices in which a model fails more often than elsewhere, those with the strongest evidence first.

    Parameters
    ----------
    table : DescriptorTable
        Findings, or candidates above the operating point.
    failed : bool array (n,)
        Missed findings, or false positives.
    patients : array (n,)
        Whom each object comes from; objects of one patient are never taken as independent.
    measure : str
        What the share of objects that did not fail is called: ``"sensitivity"`` or ``"precision"``.
    search : SliceSearch, optional
    stop : callable, optional
        Called now and then; it raises where nobody wants the answer any more.

    Raises
    ------
    InputRefusedError
        Where the columns have different lengths.

    Notes
    -----
    Rules are one condition or two on different columns, numbers cut at rounded deciles. Each rule has a score statistic,
    the failures inside beyond what the overall rate makes one expect, summed patient by patient and divided by its
    error. That is taken from a model in which all failures of a patient are equally alike, half way to the cluster-robust
    one where that is larger: the model alone is too sure where failures are rare, the robust one where most objects fail.
    All rules are tested together by the maximum of their statistics (P. H. Westfall and S. S. Young, "Resampling-Based
    Multiple Testing", 1993) under random signs for whole patients, the score form of the wild cluster bootstrap
    (P. Kline and A. Santos, Journal of Econometric Methods 1 (2012)). Against Holm or Benjamini and Hochberg it does not
    pay for hundreds of rules that are nearly the same rule, and against shuffling labels it keeps failures of one patient
    together.

    A rule with two conditions is kept where each condition makes the other one significantly worse. After a slice is
    chosen, others must still fail significantly more often without its objects.

    The interval is Wilson's with the sample size divided by the design effect (E. L. Korn and B. I. Graubard, Survey
    Methodology 24 (1998)). It is that of one rule chosen beforehand: the rate of the best of many rules looks worse than
    it is on new patients.
    """
    options = search or SliceSearch()
    owners = np.asarray(patients)
    is_failure = np.asarray(failed, dtype=np.bool_)
    if not len(table) == len(is_failure) == len(owners):
        raise InputRefusedError(
            f"There are {len(table)} objects, {len(is_failure)} outcomes and {len(owners)} patients.", code="length",
            hint="Hand in one outcome and one patient for each object.",
        )  # fmt: skip
    if any(len(np.unique(owners[rows])) < options.least_patients for rows in (is_failure, ~is_failure)):
        return []
    clusters, order = Clusters.of(owners, options.seed)
    least = max(options.least_rows, round(options.least_share * len(table)))
    literals = literals_of(table.where(order), least)
    columns = np.unique([c.column for c in literals.conditions], return_inverse=True)[1]
    data = _Data(literals, is_failure[order], clusters, owners[order], options)
    scores = score_rules(literals.holds, columns, data.failed, clusters, Limits(least, options.least_patients),
                        (options.replicates, options.seed, stop))  # fmt: skip
    return [_told(data, rule, measure, order) for rule in _chosen(data, scores, stop)]


@dataclass(frozen=True, eq=False)
class _Data:
    """The objects, sorted by patient."""

    literals: Literals
    failed: NDArray[np.bool_]
    clusters: Clusters
    patients: NDArray[np.generic]
    options: SliceSearch

    def score(self, inside: NDArray[np.bool_], among: NDArray[np.bool_]) -> tuple[float, int]:
        """Return the statistic of a rule among some of the objects, and how many clusters it stands on."""
        counts = np.add.reduceat(among.astype(np.intp), self.clusters.starts[:-1])
        starts = np.concatenate([[0], np.cumsum(counts[counts > 0])])
        return score(inside[among], self.failed[among], Clusters(starts))


@dataclass(frozen=True, eq=False)
class _Rule:
    conditions: tuple[int, ...]
    inside: NDArray[np.bool_]
    p_adjusted: float


def _chosen(data: _Data, scores: RuleScores, stop: Callable[[], None] | None) -> list[_Rule]:
    """Return the rules to report, by falling statistic: significant, worth telling, and no echo of one before."""
    chosen: list[_Rule] = []
    told = np.zeros(len(data.failed), np.bool_)
    p_adjusted = scores.adjusted_p()
    significant = np.flatnonzero(p_adjusted <= data.options.level)
    for row in significant[np.argsort(-scores.statistic[significant], kind="stable")][
        :MOST_CONSIDERED
    ].tolist():
        if stop is not None:
            stop()
        conditions = tuple(dict.fromkeys((int(scores.first[row]), int(scores.second[row]))))
        rule = _Rule(conditions, data.literals.all_of(conditions), float(p_adjusted[row]))
        if (
            _gap(data, rule.inside) >= data.options.least_gap
            and _is_new(data, rule, told)
            and _needs_all(data, rule)
        ):
            chosen.append(rule)
            told |= rule.inside
        if len(chosen) == data.options.most_slices:
            break
    return chosen


def _gap(data: _Data, inside: NDArray[np.bool_]) -> float:
    return float(data.failed[inside].mean() - data.failed[~inside].mean())


def _is_new(data: _Data, rule: _Rule, told: NDArray[np.bool_]) -> bool:
    """Tell whether a rule still holds among the objects that no slice before it covers."""
    if not told.any():
        return True
    left = rule.inside & ~told
    if left.sum() < data.options.least_rows or _gap_among(data, rule.inside, ~told) < data.options.least_gap:
        return False
    statistic, clusters = data.score(rule.inside, ~told)
    return one_sided_p(statistic, clusters) <= ECHO_LEVEL


def _gap_among(data: _Data, inside: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
    outside = among & ~inside
    return float(data.failed[inside & among].mean() - data.failed[outside].mean()) if outside.any() else 0.0


def _needs_all(data: _Data, rule: _Rule) -> bool:
    """Tell whether each of two conditions makes the other one worse, by Bonferroni over all that could have been added."""
    if len(rule.conditions) == 1:
        return True
    for condition in rule.conditions:
        among = data.literals.holds[condition]
        statistic, clusters = data.score(rule.inside, among)
        if one_sided_p(statistic, clusters) * len(data.literals.conditions) > data.options.level:
            return False
    return True


def _told(data: _Data, rule: _Rule, measure: str, order: NDArray[np.intp]) -> FailureSlice:
    # "diameter < 5 mm and attached to a vessel" reads better than the other way round
    conditions = tuple(
        sorted((data.literals.conditions[k] for k in rule.conditions), key=lambda c: c.relation == "is")
    )
    right = ~data.failed
    rate, rest = float(right[rule.inside].mean()), float(right[~rule.inside].mean())
    low, high = _interval(right[rule.inside], data.patients[rule.inside])
    text = (
        f"{' and '.join(c.text for c in conditions)}: {measure} {100 * rate:.0f} %, "
        f"95 % interval {100 * low:.0f} to {100 * high:.0f}, against {100 * rest:.0f} %"
    )
    patients = len(np.unique(data.patients[rule.inside]))
    rows = np.sort(order[rule.inside])
    return FailureSlice(conditions, text, rate, (low, high), rest, len(rows), patients, rule.p_adjusted, rows)


def _interval(right: NDArray[np.bool_], patients: NDArray[np.generic]) -> tuple[float, float]:
    """Return Wilson's interval for the share of ``right``, its sample size divided by the design effect."""
    from scipy.stats import t

    n, share = len(right), float(right.mean())
    _, owner = np.unique(patients, return_inverse=True)
    clusters = int(owner.max()) + 1
    sums = np.bincount(owner, right - share)
    variance = float((sums**2).sum()) * clusters / max(clusters - 1, 1) / n**2
    binomial = share * (1 - share) / n
    effect = max(1.0, variance / binomial) if binomial > 0 else 1.0
    quantile = float(t.ppf(0.975, max(clusters - 1, 1)))
    size = n / effect
    middle = (share + quantile**2 / (2 * size)) / (1 + quantile**2 / size)
    half = (
        quantile
        / (1 + quantile**2 / size)
        * np.sqrt(share * (1 - share) / size + quantile**2 / (4 * size**2))
    )
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
