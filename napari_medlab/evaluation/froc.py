"""The free-response operating characteristic: sensitivity against false positives per scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.evaluation.matching import MatchTable

__all__ = ["FP_POINTS", "FrocCurve", "froc", "froc_of_scores", "match_at"]

FP_POINTS: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The false positives per scan at which LUNA16 reads the sensitivity; their mean is the CPM."""


@dataclass(frozen=True, eq=False)
class FrocCurve:
    """A FROC curve: one point for each different score, from the highest down, after a first point at (0, 0).

    Parameters
    ----------
    thresholds : float64 array, (n,)
        Candidates with at least this score count; the first is inf.
    fps_per_scan : float64 array, (n,)
        False positives at or above the threshold, for each case. Never falls.
    sensitivity : float64 array, (n,)
        The share of findings whose best candidate is at or above the threshold; nan where there are no
        findings.
    n_cases, n_findings : int
    """

    thresholds: NDArray[np.float64]
    fps_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    n_cases: int
    n_findings: int

    def sensitivity_at(self, fps_per_scan: ArrayLike) -> NDArray[np.float64]:
        """Return the sensitivity at the given false positives per scan.

        As LUNA16 reads it: linear between the points of the curve, and level beyond the last one. Each is a
        binary search, however many points the curve has.
        """
        at = np.asarray(fps_per_scan, dtype=np.float64)
        return np.asarray(np.interp(at, self.fps_per_scan, self.sensitivity), dtype=np.float64)

    @property
    def cpm(self) -> float:
        """The competition performance metric: the mean sensitivity at :data:`FP_POINTS`.

        It is nan where there are no findings.
        """
        return float(self.sensitivity_at(FP_POINTS).mean())

    def threshold_at(self, fps_per_scan: float) -> float:
        """Return the operating point: the lowest threshold with at most ``fps_per_scan``.

        It is inf, so that no candidate counts, where even the highest score alone gives more. Found by a binary
        search.
        """
        within = np.searchsorted(self.fps_per_scan, fps_per_scan, side="right") - 1
        return float(self.thresholds[max(int(within), 0)])


def froc(match: MatchTable) -> FrocCurve:
    """Return the FROC curve of a match table.

    Only ``"tp"`` and ``"fp"`` rows make points; ``"fn"`` rows count as findings that are never reached.

    Notes
    -----
    Equal scores make one point, so that their order does not matter. The result is that of the LUNA16 script,
    which goes through ``sklearn.metrics.roc_curve``, without its rounding: there, a curve without true
    positives is nan, and here it is 0.
    """
    is_tp, is_fp = match.kind == "tp", match.kind == "fp"
    counts = len(match.cases), match.n_findings
    return froc_of_scores(match.score[is_tp], match.score[is_fp], *counts)


def froc_of_scores(
    true_positives: NDArray[np.float64], false_positives: NDArray[np.float64], n_cases: int, n_findings: int
) -> FrocCurve:
    """Return the FROC curve of scores alone.

    Parameters
    ----------
    true_positives : float64 array, (t,)
        The best score of each finding that was found.
    false_positives : float64 array, (f,)
    n_cases, n_findings : int
        Those without any score among them.
    """
    scores = np.concatenate([true_positives, false_positives])
    order = np.argsort(-scores, kind="stable")
    hit = (order < len(true_positives)).astype(np.int64)
    last_of_equals = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    tp, fp = np.cumsum(hit)[last_of_equals], np.cumsum(1 - hit)[last_of_equals]
    sensitivity = np.concatenate([[0.0], tp / n_findings]) if n_findings else np.full(len(tp) + 1, np.nan)
    return FrocCurve(
        thresholds=np.concatenate([[np.inf], scores[order][last_of_equals]]),
        fps_per_scan=np.concatenate([[0.0], fp / max(n_cases, 1)]),
        sensitivity=sensitivity,
        n_cases=n_cases,
        n_findings=n_findings,
    )


def match_at(match: MatchTable, threshold: float) -> MatchTable:
    """Return the match table as it stands at an operating point.

    Findings whose best candidate scores below ``threshold`` turn into ``"fn"`` rows; these keep the
    candidate's id, score, centre and distance, which tells a finding that was seen but not believed from one
    that was never seen. False positives, duplicates and ignored candidates below the threshold are dropped.
    The counts are those of matching only the candidates at or above the threshold.
    """
    below, is_finding = match.score < threshold, match.is_finding
    rows = np.flatnonzero(is_finding | ~below)
    kept = match.where(rows)
    return replace(kept, kind=np.where(is_finding[rows] & below[rows], "fn", kept.kind))
