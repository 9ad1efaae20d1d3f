"""Many outlines as columns: a hundred thousand of them in a few arrays, where objects would fill the memory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_medlab.annotations.objects import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["RegionTable"]


@dataclass(frozen=True, eq=False)
class RegionTable:
    """The outlines of one case as columns.

    Region ``r`` has the rings ``region_rings[r]`` up to ``region_rings[r + 1]``, and ring ``k`` the vertices
    ``ring_starts[k]`` up to ``ring_starts[k + 1]``; both begin with 0 and end with the number of what they count.

    Parameters
    ----------
    case_id : str
    ids, owner_ids : bytes arrays, (n,); ``S32`` unless one is longer
        As in :class:`Region`; an owner may be empty.
    labels : int32 array, (n,)
        Positions in ``label_names``.
    label_names : tuple of str
    scores : float64 array, (n,)
        Of outlines that a model proposed; nan for others.
    region_rings : int64 array, (n + 1,)
    ring_starts : int64 array, (rings + 1,)
    vertices : float64 array, (vertices, ndim)
        Indices of the image's level 0, (z, y, x) or (y, x), 0 at a voxel's centre.
    """

    case_id: str
    ids: NDArray[np.bytes_]
    owner_ids: NDArray[np.bytes_]
    labels: NDArray[np.int32]
    label_names: tuple[str, ...]
    scores: NDArray[np.float64]
    region_rings: NDArray[np.int64]
    ring_starts: NDArray[np.int64]
    vertices: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.ids)
        lengths = [len(self.owner_ids), len(self.labels), len(self.scores), len(self.region_rings) - 1]
        if lengths != [n] * 4:
            msg = f"The columns of a table of {n} outlines must have one length, got {lengths}."
            raise ValueError(msg)
        for name, starts, total in (
            ("region_rings", self.region_rings, len(self.ring_starts) - 1),
            ("ring_starts", self.ring_starts, len(self.vertices)),
        ):
            if starts[0] != 0 or starts[-1] != total or (np.diff(starts) < 0).any():
                msg = f"{name} must rise from 0 to {total}."
                raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ndim(self) -> int:
        """The number of axes of the image."""
        return int(self.vertices.shape[1])

    @classmethod
    def from_regions(
        cls, case_id: str, regions: Sequence[Region], scores: Sequence[float] = (), ndim: int = 2
    ) -> RegionTable:
        """Return the table of regions of one case, in their order.

        Parameters
        ----------
        case_id : str
        regions : sequence of Region
        scores : sequence of float
            One for each region; nan for all where it is left out.
        ndim : int
            For when there are no vertices.
        """
        rings = [np.asarray(ring, dtype=np.float64) for region in regions for ring in region.rings]
        names = sorted({region.label for region in regions})
        place = {name: number for number, name in enumerate(names)}
        return cls(
            case_id=case_id,
            ids=_ids([region.region_id for region in regions]),
            owner_ids=_ids([region.owner_id for region in regions]),
            labels=np.asarray([place[region.label] for region in regions], dtype=np.int32),
            label_names=tuple(names),
            scores=np.asarray(scores if len(scores) else np.full(len(regions), np.nan), dtype=np.float64),
            region_rings=_starts([len(region.rings) for region in regions]),
            ring_starts=_starts([len(ring) for ring in rings]),
            vertices=np.concatenate(rings) if rings else np.zeros((0, ndim)),
        )

    @classmethod
    def joined(cls, tables: Sequence[RegionTable]) -> RegionTable:
        """Return the rows of several tables of one case, one after the other; at least one table is needed."""
        names = tuple(dict.fromkeys(name for table in tables for name in table.label_names))
        place = {name: number for number, name in enumerate(names)}
        recoded = [
            np.asarray([place[name] for name in table.label_names], dtype=np.int32)[table.labels]
            for table in tables
        ]
        filled = [table for table in tables if len(table.vertices)] or list(tables[:1])
        return cls(
            case_id=tables[0].case_id,
            ids=np.concatenate([table.ids for table in tables]),
            owner_ids=np.concatenate([table.owner_ids for table in tables]),
            labels=np.concatenate(recoded),
            label_names=names,
            scores=np.concatenate([table.scores for table in tables]),
            region_rings=_starts(np.concatenate([np.diff(table.region_rings) for table in tables])),
            ring_starts=_starts(np.concatenate([np.diff(table.ring_starts) for table in tables])),
            vertices=np.concatenate([table.vertices for table in filled]),
        )

    def where(self, rows: ArrayLike) -> Self:
        """Return the regions chosen by a mask or by indices, as a table of its own."""
        chosen = np.arange(len(self))[np.asarray(rows)]
        ring_rows, region_rings = _spans(self.region_rings, chosen)
        vertex_rows, ring_starts = _spans(self.ring_starts, ring_rows)
        return type(self)(
            case_id=self.case_id,
            ids=self.ids[chosen],
            owner_ids=self.owner_ids[chosen],
            labels=self.labels[chosen],
            label_names=self.label_names,
            scores=self.scores[chosen],
            region_rings=region_rings,
            ring_starts=ring_starts,
            vertices=self.vertices[vertex_rows],
        )

    def region(self, row: int) -> Region:
        """Return one row as an object."""
        first, stop = self.region_rings[row], self.region_rings[row + 1]
        rings = tuple(
            self.vertices[self.ring_starts[k] : self.ring_starts[k + 1]] for k in range(first, stop)
        )
        label = self.label_names[self.labels[row]]
        return Region(self.case_id, rings, self.owner_ids[row].decode(), label, self.ids[row].decode())

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """The least and the greatest vertex of each region, float64 (n, 2, ndim); nan for one without vertices."""
        boxes = np.full((len(self), 2, self.ndim), np.nan)
        starts, stops = self.ring_starts[self.region_rings[:-1]], self.ring_starts[self.region_rings[1:]]
        filled = np.flatnonzero(stops > starts)
        if len(filled):
            # regions lie one after the other, so that each ends where the next one with vertices begins
            boxes[filled, 0] = np.minimum.reduceat(self.vertices, starts[filled])
            boxes[filled, 1] = np.maximum.reduceat(self.vertices, starts[filled])
        return boxes

    @property
    def nbytes(self) -> int:
        """How much memory the columns take."""
        columns = (getattr(self, column.name) for column in fields(self))
        return sum(column.nbytes for column in columns if isinstance(column, np.ndarray))


def _ids(values: Sequence[str]) -> NDArray[np.bytes_]:
    """Return ids as a column, of 32 bytes unless one of them is longer."""
    coded = [value.encode() for value in values]
    return np.asarray(coded, dtype=f"S{max([32, *map(len, coded)])}")


def _starts(counts: ArrayLike) -> NDArray[np.int64]:
    """Return where each of several pieces of the given lengths begins, and where the last one ends."""
    starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])
    return starts


def _spans(starts: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which parts lie in the chosen pieces, in order, and where each piece begins among them."""
    counts = starts[rows + 1] - starts[rows]
    begins = _starts(counts)
    inside = np.arange(begins[-1]) - np.repeat(begins[:-1], counts)
    return np.repeat(starts[rows], counts) + inside, begins
