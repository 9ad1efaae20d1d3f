"""Many candidates or findings as columns, for matching and drawing at any count."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations.objects import Candidate, Finding

__all__ = ["CandidateTable", "FindingTable"]


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

    def where(self, rows: ArrayLike) -> Self:
        """Return the rows chosen by a mask or by indices, as a table of its own."""
        chosen = np.asarray(rows)
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

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
        rows = np.flatnonzero(self.ids == object_id)
        if len(rows) == 0:
            raise KeyError(object_id)
        return int(rows[0])


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
