"""Errors as columns: a hundred thousand of them in a few arrays, each an item only once it is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast, get_args, overload

import numpy as np

from napari_medlab.annotations import CandidateTable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import FindingTable

__all__ = ["ERROR_KINDS", "ErrorKind", "ErrorTable", "QueueItem"]

ErrorKind = Literal["fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence", "unread"]
ERROR_KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
"""The kinds in the order in which they take turns."""


@dataclass(frozen=True)
class QueueItem:
    """One error to look at.

    Parameters
    ----------
    kind : {"fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence", "unread"}
        A false positive, a miss, one more candidate on a finding that has one, an outline that fits badly, something
        that readers or runs disagree about, a candidate that the model is unsure about, a candidate on a case that
        nobody has read yet.
    object_id : str
        The candidate or finding that it is about: the candidate of a false positive, the finding of a miss.
    case_id : str
    centre : tuple of float
        World coordinates, (x, y, z) in LPS mm for volumes.
    diameter : float
        In the unit of ``centre``; -1 where unknown.
    score : float
        Of a candidate; for a miss that of the best candidate that lay on it below the operating point, and 0 where
        there was none.
    distance : float
        From the centre to the nearest finding (false positive) or candidate (miss), or to the finding that it lies on
        (duplicate); infinite where there is none or it means nothing.
    label : str
    cause : str
        Why, one of :data:`napari_medlab.evaluation.error_kinds.CAUSES`; empty where unknown.
    overlap : float
        The Dice coefficient of the outlines; nan where there are none. Left out of comparisons, as nan equals nothing.
    other : str
        What it disagrees with, such as the label of a finding that was taken for another, or what each reader said;
        empty for nothing.
    """

    kind: ErrorKind
    object_id: str
    case_id: str
    centre: tuple[float, ...]
    diameter: float
    score: float
    distance: float
    label: str
    cause: str = ""
    overlap: float = field(default=float("nan"), compare=False)
    other: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values; a distance or an overlap that does not exist becomes None."""
        row = asdict(self)
        row["centre"] = list(self.centre)
        for name in ("distance", "overlap"):
            row[name] = row[name] if np.isfinite(row[name]) else None
        return row


@dataclass(frozen=True, eq=False)
class ErrorTable(Sequence[QueueItem]):
    """Errors as columns, worst first; as a sequence it holds :class:`QueueItem`, each made when it is asked for.

    The columns are as in :class:`QueueItem`. ``cause``, ``overlap`` and ``other`` may be left out.

    Parameters
    ----------
    kind, object_id, case_id, label : str arrays, (n,)
    centre : float64 array, (n, d)
    diameter, score, distance : float64 arrays, (n,)
    cause, other : str arrays, (n,)
    overlap : float64 array, (n,)
    """

    kind: NDArray[np.str_]
    object_id: NDArray[np.str_]
    case_id: NDArray[np.str_]
    label: NDArray[np.str_]
    centre: NDArray[np.float64]
    diameter: NDArray[np.float64]
    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    cause: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype="U1"))
    overlap: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    other: NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype="U1"))

    def __post_init__(self) -> None:
        n = len(self.kind)
        blank = {
            "cause": np.zeros(n, dtype="U1"),
            "overlap": np.full(n, np.nan),
            "other": np.zeros(n, dtype="U1"),
        }
        for name, column in blank.items():
            if len(getattr(self, name)) == 0:
                object.__setattr__(self, name, column)
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) > 1:
            msg = f"The columns of a table must have one length, got {lengths}."
            raise ValueError(msg)

    @classmethod
    def empty(cls, ndim: int = 3) -> Self:
        """Return a table without any error, its centres of ``ndim`` coordinates."""
        text, number = np.empty(0, dtype="U1"), np.empty(0)
        return cls(text, text, text, text, np.empty((0, ndim)), number, number, number)

    @classmethod
    def about(cls, objects: CandidateTable | FindingTable, kind: ErrorKind) -> Self:
        """Return an error of one kind about each row of a table, in its order; a finding has a score of 0."""
        n = len(objects)
        return cls(
            kind=np.full(n, kind),
            object_id=objects.ids,
            case_id=objects.case_ids,
            label=objects.labels,
            centre=objects.centres,
            diameter=objects.diameters,
            score=objects.scores if isinstance(objects, CandidateTable) else np.zeros(n),
            distance=np.full(n, np.inf),
        )

    @classmethod
    def concatenated(cls, tables: Sequence[ErrorTable]) -> Self:
        """Return the rows of several tables, one after the other.

        Where images of two and of three dimensions are mixed, planar centres get a third coordinate of 0.
        """
        filled = [table for table in tables if len(table)]
        if not filled:
            return cls.empty()
        columns = {f.name: [getattr(table, f.name) for table in filled] for f in fields(cls)}
        ndim = max(table.ndim for table in filled)
        columns["centre"] = [np.pad(c, ((0, 0), (0, ndim - c.shape[1]))) for c in columns["centre"]]
        return cls(**{name: np.concatenate(parts) for name, parts in columns.items()})

    @classmethod
    def joined(cls, tables: Sequence[ErrorTable]) -> Self:
        """Return the rows of several tables, all kinds taking turns.

        Each kind keeps its order within its table, and tables that share a kind take turns as well. An object that is
        in several tables, or an error of two kinds, keeps all its rows.
        """
        whole = cls.concatenated(tables)
        turns = np.concatenate([np.empty(0), *(_places_in_kind(table.kind) for table in tables)])
        # first the tables within each kind, then the kinds: one that has more tables gets no more turns
        by_turn = np.argsort(turns, kind="stable")
        kinds = whole.kind[by_turn]
        return whole.where(by_turn[np.lexsort((_kind_codes(kinds), _places_in_kind(kinds)))])

    def __len__(self) -> int:
        return len(self.kind)

    @overload
    def __getitem__(self, row: int) -> QueueItem: ...

    @overload
    def __getitem__(self, row: slice) -> ErrorTable: ...

    def __getitem__(self, row: int | slice) -> QueueItem | ErrorTable:
        if isinstance(row, slice):
            return self.where(row)
        if not -len(self) <= row < len(self):
            msg = f"There is no row {row} in a table of {len(self)} errors."
            raise IndexError(msg)
        return QueueItem(
            kind=cast(ErrorKind, str(self.kind[row])),
            object_id=str(self.object_id[row]),
            case_id=str(self.case_id[row]),
            centre=tuple(self.centre[row].tolist()),
            diameter=float(self.diameter[row]),
            score=float(self.score[row]),
            distance=float(self.distance[row]),
            label=str(self.label[row]),
            cause=str(self.cause[row]),
            overlap=float(self.overlap[row]),
            other=str(self.other[row]),
        )

    def __iter__(self) -> Iterator[QueueItem]:
        return (self[row] for row in range(len(self)))

    @property
    def ndim(self) -> int:
        """The number of coordinates of a centre."""
        return int(self.centre.shape[1])

    @property
    def counts(self) -> dict[ErrorKind, int]:
        """How many rows there are of each kind."""
        return {kind: int((self.kind == kind).sum()) for kind in ERROR_KINDS}

    def where(self, rows: ArrayLike | slice) -> Self:
        """Return the rows chosen by a mask, a slice or indices, in that order."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        if isinstance(chosen, np.ndarray):
            chosen = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen.astype(np.intp)
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    def row_of(self, object_id: str) -> int:
        """Return the first row of an object, and -1 where it is no error; the ids are indexed on first use."""
        return self._first_row.get(object_id, -1)

    @cached_property
    def object_ids(self) -> list[str]:
        """The ids as plain strings, for looking things up by them."""
        ids: list[str] = self.object_id.tolist()
        return ids

    @cached_property
    def case_names(self) -> tuple[list[str], NDArray[np.intp]]:
        """The different case ids, in order of appearance, and the position of each row's among them, (n,)."""
        number: dict[str, int] = {}
        codes = [number.setdefault(case, len(number)) for case in self.case_id.tolist()]
        return list(number), np.asarray(codes, dtype=np.intp)

    @cached_property
    def _first_row(self) -> dict[str, int]:
        # from the end, so that the first row of an object is what remains
        return {object_id: len(self) - 1 - n for n, object_id in enumerate(reversed(self.object_ids))}


def _kind_codes(kinds: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return the place of each kind in the order in which they take turns."""
    codes = np.full(len(kinds), len(ERROR_KINDS), dtype=np.intp)
    for code, kind in enumerate(ERROR_KINDS):
        codes[kinds == kind] = code
    return codes


def _places_in_kind(kinds: NDArray[np.str_]) -> NDArray[np.intp]:
    """Return how many rows of the same kind come before each row."""
    codes = _kind_codes(kinds)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], codes[order])
    places = np.empty(len(kinds), dtype=np.intp)
    places[order] = np.arange(len(kinds)) - starts
    return places
