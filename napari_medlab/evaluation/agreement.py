"""How far readers agree: on verdicts, on where lesions are, and on their outlines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import CandidateTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval
from napari_medlab.evaluation.matching import Luna16Rule
from napari_medlab.evaluation.report import json_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable
    from napari_medlab.evaluation.matching import MatchRule

__all__ = [
    "LesionAgreement",
    "MeanWithInterval",
    "VerdictAgreement",
    "fleiss_kappa",
    "krippendorff_alpha",
    "lesion_agreement",
    "mean_with_interval",
    "verdict_agreement",
]


@dataclass(frozen=True, eq=False)
class VerdictAgreement:
    """Two readers' verdicts on the objects that both judged.

    Parameters
    ----------
    names : tuple of str, (k,)
        The verdicts that occur, sorted.
    confusion : int64 array, (k, k)
        How often the first reader said the row's verdict and the second the column's.
    kappa : float
        Cohen's kappa; nan where nothing was judged by both, or where both said one and the same thing throughout, so
        that chance explains all of the agreement.
    interval : (low, high)
        The 95 % interval of kappa, patients being drawn; nan where none were.
    """

    names: tuple[str, ...]
    confusion: NDArray[np.int64]
    kappa: float
    interval: Interval

    @property
    def n_objects(self) -> int:
        """How many objects both readers judged."""
        return int(self.confusion.sum())

    @property
    def agreement(self) -> float:
        """The share of these on which they agree, 0 to 1; nan where there are none."""
        return float(np.trace(self.confusion) / self.n_objects) if self.n_objects else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        return {
            "verdicts": list(self.names),
            "confusion": self.confusion.tolist(),
            "objects": self.n_objects,
            "agreement": json_number(self.agreement),
            "kappa": json_number(self.kappa),
            "interval": json_interval(self.interval),
        }


def verdict_agreement(
    first: Mapping[str, str],
    second: Mapping[str, str],
    groups: Mapping[str, str] | None = None,
    resampling: Resampling | None = None,
) -> VerdictAgreement:
    """Return how far two readers agree on the objects that both judged.

    Parameters
    ----------
    first, second : mapping of object id to verdict
    groups : mapping of object id to patient or case, optional
        What is resampled: verdicts on one patient are not independent. An object that it leaves out, or every object
        where there is none, is a group of its own.
    resampling : Resampling, optional
        1000 replicates by default; 0 for no interval.

    References
    ----------
    J. Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological Measurement 20 (1960).
    """
    shared = [object_id for object_id in first if object_id in second]
    names = tuple(sorted({*(first[each] for each in shared), *(second[each] for each in shared)}))
    code = {name: n for n, name in enumerate(names)}
    k = len(names)
    cells = np.array([code[first[each]] * k + code[second[each]] for each in shared], dtype=np.intp)
    known = groups or {}
    owners = [("group", known[each]) if each in known else ("object", each) for each in shared]
    number = {owner: n for n, owner in enumerate(dict.fromkeys(owners))}
    by_group = np.zeros((len(number), k * k), dtype=np.int64)
    np.add.at(by_group, (np.array([number[each] for each in owners], dtype=np.intp), cells), 1)
    whole = by_group.sum(axis=0)
    drawn = _drawn(len(number), resampling) @ by_group
    kappas = _kappas(drawn.reshape(len(drawn), k, k))
    return VerdictAgreement(
        names=names,
        confusion=whole.reshape(k, k),
        kappa=float(_kappas(whole.reshape(1, k, k))[0]),
        interval=percentile_interval(kappas),
    )


def _drawn(n: int, resampling: Resampling | None) -> NDArray[np.int64]:
    """Return how often each of ``n`` groups is drawn, (replicates, n)."""
    chosen = resampling or Resampling()
    if not n:
        return np.zeros((0, 0), dtype=np.int64)
    return np.random.default_rng(chosen.seed).multinomial(n, np.full(n, 1 / n), size=chosen.replicates)


def _kappas(confusions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Cohen's kappa of each confusion matrix, (r, k, k); nan where it does not exist."""
    total = confusions.sum(axis=(1, 2)).astype(np.float64)
    total[total == 0] = np.nan
    seen = np.trace(confusions, axis1=1, axis2=2) / total
    chance = (confusions.sum(axis=2) * confusions.sum(axis=1)).sum(axis=1) / total**2
    kappas = np.full(len(confusions), np.nan)
    np.divide(seen - chance, 1 - chance, out=kappas, where=chance < 1)
    return kappas


def fleiss_kappa(counts: NDArray[np.integer[Any]]) -> float:
    """Return Fleiss' kappa: agreement of a fixed number of readers, who need not be the same for each object.

    Parameters
    ----------
    counts : int array, (objects, verdicts)
        How many readers gave each object each verdict; every row has the same sum, of 2 or more.

    Returns
    -------
    float
        1 for full agreement, 0 for that of chance; nan where there are no objects or all verdicts are one and the same.

    Raises
    ------
    InputRefusedError
        With code ``"readers"`` where objects were judged by different numbers of readers;
        :func:`krippendorff_alpha` takes those.

    References
    ----------
    J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971).
    """
    counts = np.asarray(counts, dtype=np.float64)
    readers = counts.sum(axis=1)
    if len(counts) == 0:
        return float("nan")
    if readers.min() != readers.max() or readers[0] < 2:
        raise InputRefusedError(
            f"Fleiss' kappa needs one number of readers, 2 or more, for each object; got {readers.min():.0f} to "
            f"{readers.max():.0f}.",
            code="readers",
            hint="Use Krippendorff's alpha, or leave out what not everybody judged.",
        )
    n = readers[0]
    seen = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((seen - chance) / (1 - chance)) if chance < 1 else float("nan")


def krippendorff_alpha(by_reader: Mapping[str, Mapping[str, str]]) -> float:
    """Return Krippendorff's alpha for verdicts, where each reader may have judged any of the objects.

    Parameters
    ----------
    by_reader : mapping of reader to mapping of object id to verdict
        Objects that one reader alone judged do not count.

    Returns
    -------
    float
        1 for full agreement, 0 for that of chance, below 0 for systematic disagreement; nan where nothing was judged
        twice or all verdicts are one and the same.

    References
    ----------
    K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), for nominal data.
    """
    said: dict[str, Counter[str]] = {}
    for verdicts in by_reader.values():
        for object_id, verdict in verdicts.items():
            said.setdefault(object_id, Counter())[verdict] += 1
    judged_twice = [each for each in said.values() if each.total() > 1]
    totals = sum(judged_twice, Counter[str]())
    n = totals.total()
    differing = sum((each.total() ** 2 - _squares(each)) / (each.total() - 1) for each in judged_twice)
    by_chance = (n**2 - _squares(totals)) / (n - 1) if n else 0.0
    return 1 - differing / by_chance if by_chance else float("nan")


def _squares(counts: Counter[str]) -> int:
    return sum(count**2 for count in counts.values())


@dataclass(frozen=True)
class LesionAgreement:
    """Two readers' findings matched with each other, each serving as the other's reference in turn.

    Parameters
    ----------
    n_cases, n_first, n_second : int
        The cases, and the findings of each reader in them.
    shared_of_first, shared_of_second : int
        How many findings of each reader the other marked, too. These may differ, as a large finding may cover two.
    """

    n_cases: int
    n_first: int
    n_second: int
    shared_of_first: int
    shared_of_second: int

    @property
    def found_by_second(self) -> float:
        """The share of the first reader's findings that the second marked; nan where there are none."""
        return self.shared_of_first / self.n_first if self.n_first else float("nan")

    @property
    def found_by_first(self) -> float:
        """The share of the second reader's findings that the first marked; nan where there are none."""
        return self.shared_of_second / self.n_second if self.n_second else float("nan")

    @property
    def extra_of_first(self) -> float:
        """How many findings a scan the first reader alone marked."""
        return (self.n_first - self.shared_of_first) / max(self.n_cases, 1)

    @property
    def extra_of_second(self) -> float:
        """How many findings a scan the second reader alone marked."""
        return (self.n_second - self.shared_of_second) / max(self.n_cases, 1)

    @property
    def f1(self) -> float:
        """The share of all findings that both marked, the Dice coefficient of the two sets; nan where both are empty."""
        total = self.n_first + self.n_second
        return (self.shared_of_first + self.shared_of_second) / total if total else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        return {
            "cases": self.n_cases,
            "findings": [self.n_first, self.n_second],
            "found_by_other": [json_number(self.found_by_second), json_number(self.found_by_first)],
            "extra_per_scan": [self.extra_of_first, self.extra_of_second],
            "f1": json_number(self.f1),
        }


def lesion_agreement(
    first: FindingTable, second: FindingTable, cases: Sequence[str], rule: MatchRule | None = None
) -> LesionAgreement:
    """Return how far two readers marked the same lesions.

    Parameters
    ----------
    first, second : FindingTable
        Excluded findings of either reader do not count.
    cases : sequence of str
        The cases that both read; findings of others are left out.
    rule : MatchRule, optional
        What counts as the same lesion; that of LUNA16 without its limit of marks by default.
    """
    rule = rule or Luna16Rule(max_marks=None)
    first, second = first.where(~first.is_excluded), second.where(~second.is_excluded)
    there, back = rule.match(first, _as_marks(second), cases), rule.match(second, _as_marks(first), cases)
    return LesionAgreement(
        n_cases=len(there.cases),
        n_first=there.n_findings,
        n_second=back.n_findings,
        shared_of_first=there.counts["tp"],
        shared_of_second=back.counts["tp"],
    )


def _as_marks(findings: FindingTable) -> CandidateTable:
    """Return findings as candidates of one and the same score."""
    f = findings
    return CandidateTable(f.ids, f.case_ids, f.labels, f.centres, f.diameters, np.ones(len(f)))


@dataclass(frozen=True)
class MeanWithInterval:
    """A mean over ``n`` values and its 95 % interval; nan where there are none."""

    mean: float
    interval: Interval
    n: int

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        return {"mean": json_number(self.mean), "interval": json_interval(self.interval), "n": self.n}


def mean_with_interval(
    values: Sequence[float], groups: Sequence[str] | None = None, resampling: Resampling | None = None
) -> MeanWithInterval:
    """Return the mean of figures such as the Dice coefficients of pairs of outlines.

    Parameters
    ----------
    values : sequence of float
        One for each pair; nan ones, of pairs that could not be compared, are left out.
    groups : sequence of str, optional
        The patient or case of each value, which is what is resampled; each value by itself where it is left out.
    resampling : Resampling, optional
        1000 replicates by default; 0 for no interval.
    """
    figures = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(figures)
    owners = np.asarray(groups)[known] if groups is not None else np.arange(int(known.sum()))
    _, owner = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(owner, figures[known]), np.bincount(owner)
    drawn = _drawn(len(counts), resampling)
    mean = float(figures[known].mean()) if known.any() else float("nan")
    return MeanWithInterval(mean, percentile_interval((drawn @ sums) / (drawn @ counts)), int(known.sum()))
