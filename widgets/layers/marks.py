"""Candidates and findings of a case as marks: where they are drawn, in which colour, with which shape."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.widgets.palette import MARKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchTable
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["Marks", "marks_of_case", "marks_of_findings", "marks_of_new", "marks_of_unread"]

SMALLEST = 6.0
"""Marks of smaller objects are drawn at this diameter (display units), so that they can be seen and hit."""

FAINTEST = 0.45
"""The opacity of a candidate at the operating point; the best scored one is opaque."""


@dataclass(frozen=True, eq=False)
class Marks:
    """What is drawn over an image.

    Parameters
    ----------
    ids : str array (n,), the candidate's id, or the finding's for a miss
    kinds : str array (n,), keys of :data:`~napari_medlab.widgets.palette.MARKS`
    positions : float64 array (n, d), the viewer's coordinates
    sizes : float64 array (n,), diameters in the viewer's units
    scores : float64 array (n,), nan for misses
    """

    ids: NDArray[np.str_]
    kinds: NDArray[np.str_]
    positions: NDArray[np.float64]
    sizes: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def none(cls, ndim: int) -> Marks:
        """Return no marks at all, in an image of ``ndim`` axes."""
        text, numbers = np.zeros(0, np.str_), np.zeros(0)
        return cls(text, text, np.zeros((0, ndim)), numbers, numbers)

    def joined(self, others: Marks) -> Marks:
        """Return these and others over them; an object that is in both is drawn as in the others."""
        kept = ~np.isin(self.ids, others.ids)
        return Marks(
            **{
                f.name: np.concatenate([getattr(self, f.name)[kept], getattr(others, f.name)])
                for f in fields(self)
            }
        )

    def same_as(self, other: Marks | None) -> bool:
        """Whether drawing these in place of the others would change nothing."""
        return other is not None and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name), equal_nan=f.name == "scores")
            for f in fields(self)
        )

    def colours(self) -> NDArray[np.float64]:
        """Return RGBA (n, 4), 0 … 1: the hue says the kind, the opacity the score."""
        rgb = np.asarray([MARKS[k].rgb for k in self.kinds], dtype=np.float64).reshape(-1, 3)
        known = np.isfinite(self.scores)
        ranks = np.ones(len(self))
        if known.any():
            order = np.argsort(np.argsort(self.scores[known])) / max(known.sum() - 1, 1)
            ranks[known] = FAINTEST + (1 - FAINTEST) * order
        return np.column_stack([rgb, ranks])

    def symbols(self) -> list[str]:
        """Return the name of napari's symbol for each mark."""
        return [MARKS[k].symbol for k in self.kinds]

    def nearest(self, position: NDArray[np.float64]) -> str | None:
        """Return the id of the mark that a click at ``position`` (d,) means, or None where none is near."""
        if len(self) == 0:
            return None
        distance = np.linalg.norm(self.positions - position, axis=1)
        reach = np.maximum(self.sizes / 2, SMALLEST / 2) * 1.3
        hit = np.flatnonzero(distance <= reach)
        return str(self.ids[hit[np.argmin(distance[hit])]]) if len(hit) else None


def marks_of_case(
    match: MatchTable, candidates: CandidateTable, findings: FindingTable, view: CaseView
) -> Marks:
    """Return the marks of one case at an operating point: its matched candidates and its misses.

    Parameters
    ----------
    match : at the operating point, all cases
    candidates, findings : all cases
    view : the case
    """
    rows = match.where(match.case_id == view.case_id)
    is_miss = rows.kind == "fn"
    ids = np.where(is_miss, rows.finding_id, rows.candidate_id)
    centres = np.where(is_miss[:, None], rows.finding_centre, rows.candidate_centre)
    of_object = _diameters(candidates.for_case(view.case_id)) | _diameters(findings.for_case(view.case_id))
    sizes = np.maximum([of_object.get(str(i), SMALLEST) for i in ids], SMALLEST)
    scores = np.where(is_miss, np.nan, rows.score)
    return Marks(ids.astype(np.str_), rows.kind, _display(view, centres), sizes, scores)


def marks_of_new(candidates: CandidateTable, view: CaseView) -> Marks:
    """Return marks of candidates that have not been matched yet: the detector is still at work on their case."""
    return _unmatched(candidates.for_case(view.case_id), "new", view)


def marks_of_unread(candidates: CandidateTable, threshold: float, view: CaseView) -> Marks:
    """Return marks of candidates at an operating point on a case that nobody has read: they are neither right nor wrong."""
    mine = candidates.for_case(view.case_id)
    return _unmatched(mine.where(mine.scores >= threshold), "unread", view)


def marks_of_findings(findings: FindingTable, view: CaseView) -> Marks:
    """Return marks of findings that stand for themselves: there is no run, or the reader has changed them."""
    mine = findings.for_case(view.case_id)
    mine = mine.where(~mine.is_excluded)
    sizes = np.maximum(mine.diameters, SMALLEST)
    nothing = np.full(len(mine), np.nan)
    return Marks(mine.ids, np.full(len(mine), "finding"), _display(view, mine.centres), sizes, nothing)


def _unmatched(candidates: CandidateTable, kind: str, view: CaseView) -> Marks:
    sizes, kinds = np.maximum(candidates.diameters, SMALLEST), np.full(len(candidates), kind)
    return Marks(candidates.ids, kinds, _display(view, candidates.centres), sizes, candidates.scores)


def _diameters(table: CandidateTable | FindingTable) -> dict[str, float]:
    return {str(i): float(d) for i, d in zip(table.ids, table.diameters, strict=True)}


def _display(view: CaseView, centres: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(centres) == 0:
        return np.zeros((0, view.grid.ndim))
    return view.to_display(centres[:, : view.grid.ndim])
