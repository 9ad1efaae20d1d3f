"""Precision against recall: the curve of a match table over all thresholds, and its average precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.evaluation.bootstrap import (
    Interval,
    Resampling,
    percentile_interval,
    resample_average_precision,
)
from napari_medlab.evaluation.report import json_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["PrecisionRecallCurve", "PrecisionRecallReport", "precision_recall", "precision_recall_report"]

RECALLS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""The recalls at which reports read the precision."""


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """A precision-recall curve: one point for each different score, after a first point at recall 0, precision 1.

    Parameters
    ----------
    thresholds : float64 array, (n,)
        Candidates with at least this score count; the first is inf. Falls.
    recall : float64 array, (n,)
        The share of findings whose best candidate is at or above the threshold; never falls, and nan where there
        are no findings.
    precision : float64 array, (n,)
        The share of true positives among true and false positives at or above the threshold. Duplicates and
        ignored candidates count as neither.
    n_findings : int
    """

    thresholds: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    n_findings: int

    @property
    def envelope(self) -> NDArray[np.float64]:
        """The best precision at this recall or any higher one, (n,); never rises."""
        best: NDArray[np.float64] = np.maximum.accumulate(self.precision[::-1])[::-1]
        return best

    @property
    def average_precision(self) -> float:
        """The area under :attr:`envelope` over recall, every point counting; nan where there are no findings.

        The measure of PASCAL VOC from 2010 on (M. Everingham et al., "The Pascal Visual Object Classes Challenge:
        A Retrospective", IJCV 111, 2015). COCO reads the same envelope at 101 levels of recall, and scikit-learn's
        ``average_precision_score`` takes the area without the envelope.
        """
        return float((np.diff(self.recall) * self.envelope[1:]).sum()) if self.n_findings else float("nan")

    @property
    def f1(self) -> NDArray[np.float64]:
        """The harmonic mean of precision and recall at each threshold, (n,)."""
        total = self.precision + self.recall
        score: NDArray[np.float64] = 2 * self.precision * self.recall / np.where(total > 0, total, 1.0)
        return score

    def precision_at(self, recall: ArrayLike) -> NDArray[np.float64]:
        """Return the best precision with at least the given recall, by binary search; 0 where it is never reached."""
        first = np.searchsorted(self.recall, np.asarray(recall, dtype=np.float64), side="left")
        return np.asarray(np.append(self.envelope, 0.0)[first], dtype=np.float64)

    def threshold_at(self, recall: float) -> float:
        """Return the highest threshold with at least the given recall; -inf where it is never reached."""
        first = int(np.searchsorted(self.recall, recall, side="left"))
        return float(self.thresholds[first]) if first < len(self.thresholds) else float("-inf")


def precision_recall(match: MatchTable) -> PrecisionRecallCurve:
    """Return the precision-recall curve of a match table.

    As in :func:`~napari_medlab.evaluation.froc.froc`, ``"tp"`` and ``"fp"`` rows make points, equal scores make one
    point, and ``"fn"`` rows count as findings that are never reached.
    """
    is_tp = match.kind == "tp"
    counted = is_tp | (match.kind == "fp")
    scores = match.score[counted]
    order = np.argsort(-scores, kind="stable")
    last_of_equals = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    tp = np.cumsum(is_tp[counted][order])[last_of_equals]
    n_findings = match.n_findings
    return PrecisionRecallCurve(
        thresholds=np.concatenate([[np.inf], scores[order][last_of_equals]]),
        recall=np.concatenate([[0.0], tp / n_findings]) if n_findings else np.full(len(tp) + 1, np.nan),
        precision=np.concatenate([[1.0], tp / (last_of_equals + 1)]),
        n_findings=n_findings,
    )


@dataclass(frozen=True, eq=False)
class PrecisionRecallReport:
    """A precision-recall curve, and how sure its average precision is.

    Parameters
    ----------
    curve : PrecisionRecallCurve
    interval : (low, high)
        The 95 % interval of the average precision, patients being drawn; nan where none were.
    """

    curve: PrecisionRecallCurve
    interval: Interval

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        curve = self.curve
        exists = curve.n_findings > 0
        best = int(np.argmax(curve.f1)) if exists else 0
        return {
            "average_precision": json_number(curve.average_precision),
            "interval": json_interval(self.interval),
            "best_f1": {
                "f1": json_number(curve.f1[best]),
                "precision": json_number(curve.precision[best]) if exists else None,
                "recall": json_number(curve.recall[best]),
                "threshold": json_number(curve.thresholds[best]),
            },
            "precision_at_recall": {
                f"{recall:g}": float(value) if exists else None
                for recall, value in zip(RECALLS, curve.precision_at(RECALLS), strict=True)
            },
        }


def precision_recall_report(
    match: MatchTable, resampling: Resampling | None = None, groups: Mapping[str, str] | None = None
) -> PrecisionRecallReport:
    """Return the precision-recall curve of a match table; without ``resampling`` there is no interval.

    ``groups`` names the patient of each case, where patients have several: patients are resampled.
    """
    interval: Interval = (float("nan"), float("nan"))
    if resampling is not None and resampling.replicates > 0:
        interval = percentile_interval(resample_average_precision([match], resampling, groups)[0])
    return PrecisionRecallReport(precision_recall(match), interval)
