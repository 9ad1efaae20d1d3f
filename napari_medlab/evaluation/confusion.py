"""What is taken for what: findings by their label against candidates by theirs, misses and false positives included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["BACKGROUND", "MISSED", "ConfusionMatrix", "confusion"]

BACKGROUND, MISSED = "background", "missed"
"""What a false positive is of, and what a missed finding is taken for."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """How often findings of each label were found as candidates of each label.

    Parameters
    ----------
    finding_labels : tuple of str, (r,)
        The rows: the labels of findings, sorted; the last one is :data:`BACKGROUND`, for false positives.
    candidate_labels : tuple of str, (c,)
        The columns: the labels of candidates, sorted, those that findings have first; the last one is :data:`MISSED`.
    counts : int64 array, (r, c)
        Its last cell, background that is not marked, is 0, as nobody can count that.
    cell : int array, (n,)
        For each row of the match table the cell that it counts in, ``row * c + column``; -1 for duplicates and ignored
        candidates, which count nowhere.
    """

    finding_labels: tuple[str, ...]
    candidate_labels: tuple[str, ...]
    counts: NDArray[np.int64]
    cell: NDArray[np.intp]

    def rows(self, row: int, column: int) -> NDArray[np.intp]:
        """Return the rows of the match table that are counted in a cell."""
        return np.flatnonzero(self.cell == row * len(self.candidate_labels) + column)

    def as_json(self) -> dict[str, Any]:
        """Return the matrix as plain JSON values."""
        return {
            "findings": list(self.finding_labels),
            "candidates": list(self.candidate_labels),
            "counts": self.counts.tolist(),
        }


def confusion(match: MatchTable, findings: FindingTable, candidates: CandidateTable) -> ConfusionMatrix:
    """Return what is taken for what.

    Parameters
    ----------
    match : MatchTable
        At an operating point, as :func:`~napari_medlab.evaluation.froc.match_at` gives it, under a rule that goes by
        place and not by label.
    findings, candidates : tables
        Those that were matched.
    """
    of_finding = _labels(findings, match.finding_rows(findings))
    of_candidate = _labels(candidates, match.candidate_rows(candidates))
    is_fp, is_fn, counted = match.kind == "fp", match.kind == "fn", match.is_finding | (match.kind == "fp")
    rows = sorted(set(of_finding[match.is_finding].tolist()))
    columns = [*rows, *sorted(set(of_candidate[counted & ~is_fn].tolist()) - set(rows))]
    row = np.where(is_fp, len(rows), _places(of_finding, rows))
    column = np.where(is_fn, len(columns), _places(of_candidate, columns))
    width = len(columns) + 1
    cell = np.where(counted, row * width + column, -1)
    counts = np.bincount(cell[counted], minlength=(len(rows) + 1) * width).reshape(-1, width)
    return ConfusionMatrix((*rows, BACKGROUND), (*columns, MISSED), counts.astype(np.int64), cell)


def _places(labels: NDArray[np.str_], names: list[str]) -> NDArray[np.intp]:
    """Return where each label stands among the names, -1 for one that does not."""
    place = {name: n for n, name in enumerate(names)}
    return np.fromiter((place.get(label, -1) for label in labels.tolist()), dtype=np.intp, count=len(labels))


def _labels(table: FindingTable | CandidateTable, rows: NDArray[np.intp]) -> NDArray[np.str_]:
    """Return the label of each row, empty where the row is -1."""
    return np.append(table.labels.astype(np.str_), "")[rows]
