"""Where outlines lie: which of them meet a box, which is under a point, which lie in a lasso."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.region_edges import Edges, edges_of, inside, longest_edges
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.annotations.region_tree import BoxTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations.objects import Region

__all__ = ["RegionIndex"]

POINTS = 1 << 14
"""So many points are tested against a lasso at once; bounds the memory."""

FACTOR = 0x9E3779B97F4A7C15
"""Odd, and its bits without order."""


@dataclass(frozen=True, eq=False)
class _Part:
    """A table with what is found out about it once.

    Parameters
    ----------
    table : RegionTable
    tree : BoxTree
    longest_edges : float32 array, (rings,)
    fingerprints : uint64 array, (n,)
        Of the ids.
    """

    table: RegionTable
    tree: BoxTree
    longest_edges: NDArray[np.float32]
    fingerprints: NDArray[np.uint64]

    @classmethod
    def of(cls, table: RegionTable) -> _Part:
        return cls(table, BoxTree(table.boxes), longest_edges(table), _fingerprints(table.ids))


@dataclass(frozen=True, eq=False)
class RegionIndex:
    """The outlines of a planar image and where they lie; made by :meth:`of`.

    An index never changes, so that threads may read it while another is made from it: a change returns a new index
    that shares nearly everything with the one before. Rows are those of the table; an outline that was added or
    changed since has a row of its own behind them, and the row that it had is never answered again.

    Parameters
    ----------
    base, later : parts
        What was there to begin with, and what was added or changed since; the numbers of labels are the same in both.
    is_gone : bool array, (n,)
        Which rows, of both parts, are no longer there.
    """

    base: _Part
    later: _Part
    is_gone: NDArray[np.bool_]

    @classmethod
    def of(cls, table: RegionTable) -> RegionIndex:
        """Return the index of a table; its outlines are indexed as they are, crossing themselves or not.

        Raises
        ------
        ValueError
            Where the table is not planar.
        """
        if table.ndim != 2:
            msg = f"Only planar outlines, (y, x), can be indexed; these have {table.ndim} axes."
            raise ValueError(msg)
        later = replace(RegionTable.from_regions(table.case_id, []), label_names=table.label_names)
        return cls(_Part.of(table), _Part.of(later), np.zeros(len(table), np.bool_))

    def __len__(self) -> int:
        return len(self.is_gone) - int(np.count_nonzero(self.is_gone))

    @property
    def row_count(self) -> int:
        """How many rows there are, those that are gone with them."""
        return len(self.is_gone)

    def parts(self, rows: NDArray[np.int64]) -> Iterator[tuple[_Part, NDArray[np.int64], NDArray[np.intp]]]:
        """Yield each part that holds some of the rows: the part, their rows in it, and their places in ``rows``."""
        is_later = rows >= len(self.base.table)
        for part, chosen, first in ((self.base, ~is_later, 0), (self.later, is_later, len(self.base.table))):
            if chosen.any():
                yield part, rows[chosen] - first, np.flatnonzero(chosen)

    def boxes(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the least and the greatest vertex of some rows, float64 (n, 2, 2)."""
        boxes = np.empty((len(rows), 2, 2))
        for part, inner, places in self.parts(rows):
            boxes[places] = part.table.boxes[inner]
        return boxes

    def in_box(self, low: ArrayLike, high: ArrayLike) -> NDArray[np.int64]:
        """Return the rows of the outlines whose boxes meet a box, in order.

        Parameters
        ----------
        low, high : (y, x)
            Indices of level 0; borders belong to the box.
        """
        found = self.base.tree.meeting(low, high)
        if len(self.later.table):
            found = np.concatenate([found, self.later.tree.meeting(low, high) + len(self.base.table)])
        return np.sort(found[~self.is_gone[found]])

    def at(self, point: ArrayLike, reach: float = 0.0) -> int:
        """Return the row of the outline around a point, or -1.

        Of several the innermost is returned: the one with the smallest box. Holes lie outside (even-odd rule).

        Parameters
        ----------
        point : (y, x)
            Index of level 0.
        reach : float
            Where the point lies in no outline, the one whose box has its middle nearest, no farther than this, is
            returned: outlines seen from afar are too small to be hit.
        """
        place = np.asarray(point, dtype=np.float64)
        rows = self.in_box(place, place)
        rows = rows[self._around(rows, place[None])]
        if len(rows):
            sides = np.diff(self.boxes(rows), axis=1)[:, 0]
            return int(rows[np.argmin(sides.prod(axis=1))])
        if reach <= 0:
            return -1
        rows = self.in_box(place - reach, place + reach)
        away = np.hypot(*(self.boxes(rows).mean(axis=1) - place).T)
        return int(rows[np.argmin(away)]) if len(rows) and away.min() <= reach else -1

    def in_lasso(self, lasso: ArrayLike) -> NDArray[np.int64]:
        """Return the rows of the outlines whose boxes have their middle inside a polygon (even-odd rule), in order.

        Parameters
        ----------
        lasso : (n, 2) array, (y, x)
            Indices of level 0; the last vertex is joined to the first.
        """
        corners = np.asarray(lasso, dtype=np.float64).reshape(-1, 2)
        if len(corners) < 3:
            return np.zeros(0, np.int64)
        rows = self.in_box(corners.min(axis=0), corners.max(axis=0))
        middles = self.boxes(rows).mean(axis=1)
        end = np.roll(corners, -1, axis=0)
        kept = [np.zeros(0, np.bool_)]
        for first in range(0, len(rows), POINTS):
            y, x = middles[first : first + POINTS].T
            odd = np.zeros(len(y), np.bool_)
            for (y0, x0), (y1, x1) in zip(corners, end, strict=True):
                if y0 != y1:
                    odd ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
            kept.append(odd)
        chosen: NDArray[np.int64] = rows[np.concatenate(kept)]
        return chosen

    def row_of(self, region_id: str) -> int:
        """Return the row of an outline, or -1 where there is none of that id."""
        wanted = np.asarray([region_id.encode()])
        for part, first in ((self.later, len(self.base.table)), (self.base, 0)):
            alike = np.flatnonzero(part.fingerprints == _fingerprints(wanted))
            rows = alike[part.table.ids[alike] == wanted] + first
            rows = rows[~self.is_gone[rows]]
            if len(rows):
                return int(rows[-1])
        return -1

    def owned_by(self, owner_id: str) -> NDArray[np.int64]:
        """Return the rows of the outlines of an object, in order."""
        owners = np.concatenate(
            [self.base.table.owner_ids == owner_id.encode(), self.later.table.owner_ids == owner_id.encode()]
        )
        return np.flatnonzero(owners & ~self.is_gone)

    def region(self, row: int) -> Region:
        """Return one row as an object."""
        known = len(self.base.table)
        return self.base.table.region(row) if row < known else self.later.table.region(row - known)

    def with_region(self, region: Region, score: float | None = None) -> RegionIndex:
        """Return the index with an outline added, or put in place of the one that has its id; its row is the last.

        Parameters
        ----------
        region : Region
        score : float, optional
            Where it is left out, that of the outline before, nan for a new one.
        """
        before, is_gone = self.row_of(region.region_id), np.append(self.is_gone, False)
        if before >= 0:
            is_gone[before] = True
            score = self.score(before) if score is None else score
        table = RegionTable.from_regions(region.case_id, [region], [np.nan if score is None else score])
        return replace(self, later=_Part.of(RegionTable.joined([self.later.table, table])), is_gone=is_gone)

    def score(self, row: int) -> float:
        """Return the score of one row."""
        known = len(self.base.table)
        return float(self.base.table.scores[row] if row < known else self.later.table.scores[row - known])

    def without(self, row: int) -> RegionIndex:
        """Return the index without an outline; the others keep their rows."""
        is_gone = self.is_gone.copy()
        is_gone[row] = True
        return replace(self, is_gone=is_gone)

    def table(self) -> tuple[RegionTable, NDArray[np.int64]]:
        """Return all that is there as one table, and the row of each."""
        rows = np.flatnonzero(~self.is_gone)
        if not len(self.later.table):
            return self.base.table.where(rows), rows
        return RegionTable.joined([self.base.table, self.later.table]).where(rows), rows

    def _around(self, rows: NDArray[np.int64], point: NDArray[np.float64]) -> NDArray[np.bool_]:
        around = np.zeros(len(rows), np.bool_)
        for part, inner, places in self.parts(rows):
            edges: Edges = edges_of(part.table, inner)
            around[places] = inside(edges, point, len(inner))
        return around


def _fingerprints(ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Return a number for each id, seldom the same for two: numbers compare twenty times as fast as bytes."""
    # of the first 32 bytes: longer ones are told apart when they are compared
    words = np.ascontiguousarray(ids, dtype="S32").view(np.uint64).reshape(-1, 4)
    prints = words[:, 0].copy()
    for column in (1, 2, 3):
        prints *= np.uint64(FACTOR)
        prints ^= words[:, column]
    return prints
