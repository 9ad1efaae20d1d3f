"""FROC curves of many resampled sets of patients at once, without building any of the sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable

__all__ = ["Events", "Patients"]


@dataclass(frozen=True, eq=False)
class Patients:
    """The units that are resampled: each patient with all cases and findings that belong to it.

    Parameters
    ----------
    number_of : dict of str to int
        The patient's number for each case.
    cases, findings : int64 arrays, (patients,)
        How many of them each patient has.
    """

    number_of: dict[str, int]
    cases: NDArray[np.int64]
    findings: NDArray[np.int64]

    @classmethod
    def of(cls, match: MatchTable, groups: Mapping[str, str] | None = None) -> Patients:
        """Return the patients of a match table.

        ``groups`` maps case to patient; a case that it leaves out is a patient of its own.
        """
        known = groups or {}
        keys = [("patient", known[case]) if case in known else ("case", case) for case in match.cases]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        number_of = {case: numbers[key] for case, key in zip(match.cases, keys, strict=True)}
        owners = _owners(match.case_id[match.is_finding], number_of)
        return cls(
            number_of,
            cases=np.bincount(list(number_of.values()), minlength=len(numbers)),
            findings=np.bincount(owners, minlength=len(numbers)),
        )

    def __len__(self) -> int:
        return len(self.cases)

    def resample(self, rng: np.random.Generator, replicates: int) -> NDArray[np.int32]:
        """Return how often each patient is drawn, (replicates, patients), drawing with replacement."""
        n = len(self)
        drawn = rng.integers(n, size=(replicates, n)) + n * np.arange(replicates)[:, None]
        return np.bincount(drawn.ravel(), minlength=replicates * n).reshape(replicates, n).astype(np.int32)

    def owners(self, match: MatchTable) -> NDArray[np.intp]:
        """Return the patient's number for each row of ``match``."""
        return _owners(match.case_id, self.number_of)


@dataclass(frozen=True, eq=False)
class Events:
    """What moves a FROC curve, sorted from the highest score down.

    Each event has an owner, from whom it takes its weight. Events of equal score form a group, and the curve
    has a point after each group.

    Parameters
    ----------
    tp_owner, fp_owner : int arrays, (n_tp,) and (n_fp,)
        The owner of each true positive and of each false positive.
    tp_before, fp_before : int arrays, (groups + 1,)
        How many true and false positives lie in the groups before each; the last entry counts all.
    fp_group : int array, (n_fp + 1,)
        The group of each false positive, then the number of groups.
    """

    tp_owner: NDArray[np.intp]
    fp_owner: NDArray[np.intp]
    tp_before: NDArray[np.intp]
    fp_before: NDArray[np.intp]
    fp_group: NDArray[np.intp]

    @classmethod
    def ordered(
        cls, scores: NDArray[np.float64], is_tp: NDArray[np.bool_], owners: NDArray[np.intp]
    ) -> Events:
        """Return the events with the given scores, kinds and owners, each (n,)."""
        order = np.argsort(-scores, kind="stable")
        descending, hit, owner = -scores[order], is_tp[order], owners[order]
        group = np.cumsum(np.diff(descending, prepend=-np.inf) > 0) - 1
        n_groups = int(group[-1]) + 1 if len(group) else 0
        edges = np.arange(n_groups + 1)
        return cls(
            tp_owner=owner[hit],
            fp_owner=owner[~hit],
            tp_before=np.searchsorted(group[hit], edges),
            fp_before=np.searchsorted(group[~hit], edges),
            fp_group=np.append(group[~hit], n_groups).astype(np.intp),
        )

    @classmethod
    def of(cls, match: MatchTable, patients: Patients) -> Events:
        """Return the events of a match table, owned by patients."""
        rows = (match.kind == "tp") | (match.kind == "fp")
        return cls.ordered(match.score[rows], match.kind[rows] == "tp", patients.owners(match)[rows])

    def sensitivity(
        self,
        weights: NDArray[np.int32],
        cases: NDArray[np.int64],
        findings: NDArray[np.int64],
        points: Sequence[float],
    ) -> NDArray[np.float64]:
        """Return the sensitivity of each replicate at each point, linear between the points of its own curve.

        Parameters
        ----------
        weights : int32 array, (replicates, owners)
            How often each owner's events count.
        cases, findings : int64 arrays, (replicates,)
        points : sequence of float, (p,)
            False positives per scan.

        Returns
        -------
        float64 array, (replicates, p)
            nan where a replicate has no findings.
        """
        tp, fp = _running_total(weights, self.tp_owner), _running_total(weights, self.fp_owner)
        allowed = cases[:, None].astype(np.float64) * np.asarray(points, dtype=np.float64)
        # the first false positive that is too many: its group is the step on which the point lies
        first = np.stack(
            [np.searchsorted(row[1:], limit, "right") for row, limit in zip(fp, allowed, strict=True)]
        )
        group = self.fp_group[first]
        after = np.minimum(group + 1, len(self.tp_before) - 1)
        rows = np.arange(len(weights))[:, None]
        low, high = tp[rows, self.tp_before[group]], tp[rows, self.tp_before[after]]
        left, right = fp[rows, self.fp_before[group]], fp[rows, self.fp_before[after]]
        share = np.zeros_like(allowed)
        np.divide(allowed - left, right - left, out=share, where=right > left)
        sensitivity = np.full_like(share, np.nan)
        np.divide(low + share * (high - low), findings[:, None], out=sensitivity, where=findings[:, None] > 0)
        return sensitivity

    def average_precision(
        self, weights: NDArray[np.int32], findings: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the area under each replicate's envelope of precision over recall, (replicates,).

        The parameters are those of :meth:`sensitivity`; nan where a replicate has no findings.
        """
        tp = _running_total(weights, self.tp_owner)[:, self.tp_before[1:]]
        marks = tp + _running_total(weights, self.fp_owner)[:, self.fp_before[1:]]
        precision = np.zeros(tp.shape)
        np.divide(tp, marks, out=precision, where=marks > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        area = (np.diff(tp, axis=1, prepend=0) * envelope).sum(axis=1)
        average = np.full(len(weights), np.nan)
        np.divide(area, findings, out=average, where=findings > 0)
        return average


def _owners(case_ids: NDArray[np.str_], number_of: Mapping[str, int]) -> NDArray[np.intp]:
    return np.asarray([number_of[case] for case in case_ids.tolist()], dtype=np.intp)


def _running_total(weights: NDArray[np.int32], owners: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return the summed weights of the events before each, (replicates, events + 1)."""
    total = np.zeros((len(weights), len(owners) + 1), dtype=np.int32)
    np.cumsum(weights[:, owners], axis=1, out=total[:, 1:])
    return total
