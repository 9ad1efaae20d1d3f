"""Many candidates or findings as columns, for matching and drawing at any count."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_medlab.annotations.objects import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations.objects import Candidate

__all__ = ["CandidateTable", "FindingTable", "changed_findings"]


@dataclass(frozen=True, eq=False)
class _Table:
    """Columns of one length.

    Parameters
    ----------
    ids, case_ids, labels : str arrays, (n,)
    centres : float64 array, (n, d); world coordinates ordered (x, y[, z]), as in :class:`Finding`
    diameters : float64 array, (n,); -1 where unknown
    """

    ids: NDArray[np.str_]
    case_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]

    def __post_init__(self) -> None:
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            msg = f"The columns of a table must have one length, got {lengths}."
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, rows: ArrayLike | slice) -> Self:
        """Return the rows chosen by a mask, by indices or by a slice, as a table of its own."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @classmethod
    def joined(cls, tables: Iterable[Self]) -> Self:
        """Return the rows of several tables, one at least, one after another."""
        several = list(tables)
        return cls(
            **{f.name: np.concatenate([getattr(table, f.name) for table in several]) for f in fields(cls)}
        )

    def for_case(self, case_id: str) -> Self:
        """Return the rows of one case."""
        return self.where(self.case_ids == case_id)

    def row_of(self, object_id: str) -> int:
        """Return the row of an object by its id.

        Raises
        ------
        KeyError
            Where no row has that id.
        """
        return self._rows_by_id[object_id]

    @cached_property
    def _rows_by_id(self) -> dict[str, int]:
        # from the end, so that the first row of an id is what remains
        return {key: len(self) - 1 - n for n, key in enumerate(reversed(self.ids.tolist()))}


def _text(values: Sequence[str]) -> NDArray[np.str_]:
    return np.asarray(list(values), dtype=np.str_)


def _points(values: Sequence[Sequence[float]], ndim: int) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1 if len(values) else ndim)


@dataclass(frozen=True, eq=False)
class CandidateTable(_Table):
    """Candidates as columns; ``scores`` is float64, (n,)."""

    scores: NDArray[np.float64]

    @classmethod
    def from_objects(cls, candidates: Sequence[Candidate], ndim: int = 3) -> CandidateTable:
        """Return the table of the given candidates, in their order; ``ndim`` is for when there are none."""
        return cls(
            ids=_text([c.candidate_id for c in candidates]),
            case_ids=_text([c.case_id for c in candidates]),
            labels=_text([c.label for c in candidates]),
            centres=_points([c.centre for c in candidates], ndim),
            diameters=np.asarray([c.diameter for c in candidates], dtype=np.float64),
            scores=np.asarray([c.score for c in candidates], dtype=np.float64),
        )


@dataclass(frozen=True, eq=False)
class FindingTable(_Table):
    """Findings as columns; ``is_excluded`` is bool, (n,)."""

    is_excluded: NDArray[np.bool_]

    @classmethod
    def from_objects(cls, findings: Sequence[Finding], ndim: int = 3) -> FindingTable:
        """Return the table of the given findings, in their order; ``ndim`` is for when there are none."""
        return cls(
            ids=_text([f.finding_id for f in findings]),
            case_ids=_text([f.case_id for f in findings]),
            labels=_text([f.label for f in findings]),
            centres=_points([f.centre for f in findings], ndim),
            diameters=np.asarray([f.diameter for f in findings], dtype=np.float64),
            is_excluded=np.asarray([f.is_excluded for f in findings], dtype=np.bool_),
        )

    def finding(self, row: int) -> Finding:
        """Return one row as an object."""
        return Finding(
            str(self.case_ids[row]), tuple(self.centres[row].tolist()), float(self.diameters[row]),
            str(self.labels[row]), bool(self.is_excluded[row]), str(self.ids[row]),
        )  # fmt: skip

    def changed(self, finding_id: str, after: Finding | None) -> FindingTable:
        """Return the table with one finding changed in its place, added at the end, or (None) left out.

        In a table of volumes, one on a planar image stands at a third coordinate of 0.
        """
        rows = np.flatnonzero(self.ids == finding_id)
        if after is None:
            return self.where(self.ids != finding_id)
        ndim = self.centres.shape[1] if len(self) else len(after.centre)
        one = FindingTable.from_objects([replace(after, centre=(*after.centre, 0.0)[:ndim])])
        place = int(rows[0]) if len(rows) else len(self)
        pieces = (self.where(np.s_[:place]), one, self.where(np.s_[place + len(rows) :]))
        return FindingTable(
            **{
                f.name: np.concatenate([getattr(piece, f.name) for piece in pieces if len(piece)])
                for f in fields(self)
            }
        )


def changed_findings(given: FindingTable, now: FindingTable) -> FindingTable:
    """Return those of the findings as they are now that are new or were changed since they were given."""
    before = {finding.finding_id: finding for finding in map(given.finding, range(len(given)))}
    return now.where(
        np.asarray(
            [before.get(str(now.ids[row])) != now.finding(row) for row in range(len(now))], dtype=np.bool_
        )
    )
