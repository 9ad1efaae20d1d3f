"""Recall less a price for false positives: one figure for the whole FROC curve, and its best operating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval, resample
from napari_medlab.evaluation.froc import froc
from napari_medlab.evaluation.report import json_interval, json_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["PenalisedRecall", "penalised_recall"]

STEPS = 64
"""Into how many equal steps the range of false positive rates is divided."""
UNKNOWN: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class PenalisedRecall:
    """Recall less a penalty for each false positive per scan.

    Parameters
    ----------
    penalty : float
        How much recall a reader would give for one false positive per scan less.
    up_to : float
        The largest number of false positives per scan that is looked at.
    mean : float
        The mean of ``recall - penalty * false positives per scan`` over all rates from 0 to ``up_to``; nan where there
        are no findings.
    best : float
        Its largest value.
    best_fp_per_scan : float
        Where that is reached, the lowest rate where several are.
    mean_interval, best_interval : (low, high)
        95 %, patients being drawn; nan where none were.
    """

    penalty: float
    up_to: float
    mean: float
    best: float
    best_fp_per_scan: float
    mean_interval: Interval = UNKNOWN
    best_interval: Interval = UNKNOWN

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values; one that does not exist is None."""
        return {
            "penalty": self.penalty,
            "up_to": self.up_to,
            "mean": json_number(self.mean),
            "best": json_number(self.best),
            "best_fp_per_scan": json_number(self.best_fp_per_scan),
            "interval": {
                "mean": json_interval(self.mean_interval),
                "best": json_interval(self.best_interval),
            },
        }


def penalised_recall(
    match: MatchTable,
    penalty: float = 0.05,
    up_to: float = 8.0,
    *,
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> PenalisedRecall:
    """Return recall less a penalty for false positives, over all rates of these.

    Parameters
    ----------
    match : MatchTable
    penalty : float
        For each false positive per scan.
    up_to : float
        The largest rate.
    resampling : Resampling, optional
        For intervals; none by default.
    groups : mapping of str to str, optional
        The patient of each case, where patients have several.

    Notes
    -----
    With the sensitivity ``s(x)`` at ``x`` false positives per scan, read from the FROC curve as LUNA16 reads it, and the
    rates ``x = 0, up_to / 64, …, up_to``: ``mean = Σ (s(x) - penalty · x) / 65`` and ``best = max (s(x) - penalty · x)``.
    Practitioners follow it beside FROC in the training of mammography detectors, where it goes by "recall minus the
    penalty over all FP rates"; the size of the penalty is the user's to state. The mean ranks models as the area under the
    curve does, as each rate costs every model the same; the best value says what the model is worth at an operating point
    of its own.
    """
    rates = np.linspace(0.0, up_to, STEPS + 1)
    worth = froc(match).sensitivity_at(rates) - penalty * rates
    mean_interval = best_interval = UNKNOWN
    if resampling is not None and resampling.replicates > 0:
        samples: NDArray[np.float64] = (
            resample([match], resampling, rates.tolist(), groups)[0] - penalty * rates
        )
        mean_interval = percentile_interval(samples.mean(axis=1))
        best_interval = percentile_interval(samples.max(axis=1))
    at = int(np.argmax(worth))
    exists = not np.isnan(worth[at])
    return PenalisedRecall(
        penalty,
        up_to,
        mean=float(worth.mean()),
        best=float(worth[at]),
        best_fp_per_scan=float(rates[at]) if exists else float("nan"),
        mean_interval=mean_interval,
        best_interval=best_interval,
    )
