"""How sure precision is at each recall: patients resampled, every replicate read from its own curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.bootstrap import Resampling, percentile_interval
from napari_medlab.evaluation.events import Patients
from napari_medlab.reports.plots import RECALLS, RecallBand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable

__all__ = ["recall_band"]

CHUNK = 32
"""How many replicates are held in memory at a time: 13 MB for 50,000 candidates."""


@dataclass(frozen=True, eq=False)
class _Steps:
    """What moves a precision-recall curve, from the highest score down; only scores that a true positive has are points.

    Parameters
    ----------
    tp_owner, fp_owner : int arrays, (t,) and (f,)
        The number of the patient of each true and of each false positive.
    tp_until, fp_until : int arrays, (points,)
        How many of them count at each point.
    """

    tp_owner: NDArray[np.intp]
    fp_owner: NDArray[np.intp]
    tp_until: NDArray[np.intp]
    fp_until: NDArray[np.intp]

    @classmethod
    def of(cls, match: MatchTable, patients: Patients) -> _Steps:
        owners = patients.owners(match)
        scores = {}
        ordered = {}
        for kind in ("tp", "fp"):
            rows = np.flatnonzero(match.kind == kind)
            rows = rows[np.argsort(-match.score[rows], kind="stable")]
            scores[kind], ordered[kind] = -match.score[rows], owners[rows]
        levels = np.unique(scores["tp"])
        until = [np.searchsorted(scores[kind], levels, side="right") for kind in ("tp", "fp")]
        return cls(ordered["tp"], ordered["fp"], until[0], until[1])

    def curves(
        self, weights: NDArray[np.int32], findings: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return recall and the envelope of precision at the points of each replicate, both (replicates, points + 1).

        As every curve does, they begin with a recall of 0 and a precision of 1.
        """
        tp = _totals(weights, self.tp_owner)[:, self.tp_until]
        fp = _totals(weights, self.fp_owner)[:, self.fp_until]
        recall = np.pad(tp / np.maximum(findings, 1)[:, None], ((0, 0), (1, 0)))
        precision = np.pad(tp / np.maximum(tp + fp, 1), ((0, 0), (1, 0)), constant_values=1.0)
        envelope: NDArray[np.float64] = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return recall, envelope


def recall_band(
    match: MatchTable,
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
    recalls: Sequence[float] = RECALLS,
) -> RecallBand:
    """Return the 95 % intervals of precision at the given recalls, and of the average precision.

    Parameters
    ----------
    match : MatchTable
    resampling : Resampling, optional
    groups : mapping of str to str, optional
        The patient of each case, where patients have several. By default each case is a patient of its own.
    recalls : sequence of float, (r,)

    Notes
    -----
    Precision is read as :meth:`~napari_medlab.evaluation.precision_recall.PrecisionRecallCurve.precision_at` reads it:
    the best with at least that recall, and 0 where a replicate never reaches it. Replicates without findings do not
    count.
    """
    chosen, patients = resampling or Resampling(), Patients.of(match, groups)
    steps = _Steps.of(match, patients)
    rng = np.random.default_rng(chosen.seed)
    at, areas = np.full((chosen.replicates, len(recalls)), np.nan), np.full(chosen.replicates, np.nan)
    for start in range(0, chosen.replicates, CHUNK):
        weights = patients.resample(rng, min(CHUNK, chosen.replicates - start))
        findings = weights @ patients.findings
        for row, (recall, envelope) in enumerate(zip(*steps.curves(weights, findings), strict=True)):
            if findings[row]:
                at[start + row] = np.append(envelope, 0.0)[np.searchsorted(recall, recalls, side="left")]
                areas[start + row] = (np.diff(recall) * envelope[1:]).sum()
    ends = np.asarray([percentile_interval(column) for column in at.T]).reshape(-1, 2)
    return RecallBand(tuple(recalls), ends, areas)


def _totals(weights: NDArray[np.int32], owners: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return the summed weights of the first 0, 1, 2 … events, (replicates, events + 1)."""
    totals = np.zeros((len(weights), len(owners) + 1), dtype=np.int32)
    np.cumsum(weights[:, owners], axis=1, out=totals[:, 1:])
    return totals
