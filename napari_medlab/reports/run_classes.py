"""Which classes a run takes for which, with the objects that make up each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.confusion import ConfusionMatrix, confusion
from napari_medlab.evaluation.froc import match_at

if TYPE_CHECKING:
    from napari_medlab.evaluation.matching import MatchTable
    from napari_medlab.reports.run_figures import MatchedRun

__all__ = ["ConfusedClasses", "PlacedObject", "confused_classes"]


@dataclass(frozen=True)
class PlacedObject:
    """What one count of a cell stands for.

    Parameters
    ----------
    case_id : str
    object_ids : tuple of str
        Of the finding, of the candidate, or of both.
    centre : tuple of float
        World coordinates (x, y[, z]).
    score : float
        Of the candidate; -inf where there is none.
    """

    case_id: str
    object_ids: tuple[str, ...]
    centre: tuple[float, ...]
    score: float


@dataclass(frozen=True, eq=False)
class ConfusedClasses:
    """A confusion matrix at an operating point, and the match table that it was made from."""

    matrix: ConfusionMatrix
    match: MatchTable

    def objects(self, row: int, column: int) -> tuple[PlacedObject, ...]:
        """Return what is in a cell, the highest score first."""
        here = self.matrix.rows(row, column)
        here = here[np.argsort(-self.match.score[here], kind="stable")]
        return tuple(_placed(self.match, int(number)) for number in here)


def confused_classes(run: MatchedRun, threshold: float) -> ConfusedClasses:
    """Return which classes a run takes for which, candidates with at least a score counting."""
    table = match_at(run.match, threshold)
    return ConfusedClasses(confusion(table, run.findings, run.candidates), table)


def _placed(table: MatchTable, row: int) -> PlacedObject:
    is_missed, is_false = table.kind[row] == "fn", table.kind[row] == "fp"
    centre = table.candidate_centre[row] if is_false else table.finding_centre[row]
    ids = ([] if is_false else [str(table.finding_id[row])]) + (
        [] if is_missed else [str(table.candidate_id[row])]
    )
    score = -np.inf if is_missed else float(table.score[row])
    return PlacedObject(str(table.case_id[row]), tuple(ids), tuple(centre.tolist()), score)
