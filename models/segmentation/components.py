"""Connected parts of a mask that is seen block by block; memory holds the seams, never the mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Block", "Components", "Measures", "blocks_of"]


@dataclass(frozen=True)
class Block:
    """A part of an image, one of a raster of them.

    Parameters
    ----------
    index : tuple of int
        Which one it is along each axis.
    start, stop : tuple of int
        The voxels that belong to it.
    read_stop : tuple of int
        One voxel further, where the image goes on: what the next blocks begin with.
    """

    index: tuple[int, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    read_stop: tuple[int, ...]

    @property
    def own(self) -> tuple[slice, ...]:
        """Where the block's own voxels lie in what is read."""
        return tuple(slice(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    def seams(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
        """Yield, for each next block that what is read reaches into, its index and where the seam lies here and there."""
        goes_on = [read > own for read, own in zip(self.read_stop, self.stop, strict=True)]
        for steps in product(*[(0, 1) if more else (0,) for more in goes_on]):
            if any(steps):
                index = tuple(at + step for at, step in zip(self.index, steps, strict=True))
                here = tuple(
                    slice(own.stop, own.stop + 1) if step else own
                    for own, step in zip(self.own, steps, strict=True)
                )
                there = tuple(slice(0, 1) if step else own for own, step in zip(self.own, steps, strict=True))
                yield index, here, there


def blocks_of(shape: Sequence[int], side: Sequence[int]) -> Iterator[Block]:
    """Yield the blocks of an image, each before the ones that come after it along any axis."""
    counts = [-(-size // step) for size, step in zip(shape, side, strict=True)]
    for index in np.ndindex(*counts):
        start = tuple(at * step for at, step in zip(index, side, strict=True))
        stop = tuple(min(a + step, size) for a, step, size in zip(start, side, shape, strict=True))
        yield Block(index, start, stop, tuple(min(b + 1, size) for b, size in zip(stop, shape, strict=True)))


@dataclass(frozen=True, eq=False)
class Measures:
    """What is known of parts, each array (n,) or (n, dims).

    Parameters
    ----------
    voxels : how many voxels there are
    total, peak : the sum and the largest of the values there
    sums : (n, dims), the sums of the voxels' indices
    """

    voxels: NDArray[np.float64]
    total: NDArray[np.float64]
    peak: NDArray[np.float64]
    sums: NDArray[np.float64]

    @classmethod
    def of(
        cls, labels: NDArray[np.int32], values: NDArray[np.generic], count: int, start: Sequence[int]
    ) -> Measures:
        """Measure parts 1 … count of a block that begins at index ``start``."""
        places = np.nonzero(labels)
        parts = labels[places] - 1
        seen = values[places].astype(np.float64)
        peak = np.zeros(count)
        np.maximum.at(peak, parts, seen)
        sums = [
            _sums(parts, (at + first).astype(np.float64), count)
            for at, first in zip(places, start, strict=True)
        ]
        return cls(
            _sums(parts, np.ones(len(parts)), count), _sums(parts, seen, count), peak, np.stack(sums, axis=1)
        )

    @classmethod
    def joined(cls, pieces: Sequence[Measures], groups: NDArray[np.intp], count: int) -> Measures:
        """Return what is known of groups; ``groups`` says to which each part of all pieces belongs."""
        voxels, total, peak, sums = (
            np.concatenate([getattr(piece, name) for piece in pieces]) for name in cls.__dataclass_fields__
        )
        highest = np.zeros(count)
        np.maximum.at(highest, groups, peak)
        columns = [_sums(groups, column, count) for column in sums.T]
        return cls(
            _sums(groups, voxels, count), _sums(groups, total, count), highest, np.stack(columns, axis=1)
        )


def _sums(groups: NDArray[np.integer], weights: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    sums: NDArray[np.float64] = np.bincount(groups, weights, count).astype(np.float64)
    return sums


@dataclass
class Components:
    """Numbers parts of a mask as its blocks come in, and tells in the end which of them are one.

    Voxels are connected by their faces. Numbers begin with 1; a voxel that is read with two blocks gets a number in each,
    and these are remembered as equal.
    """

    count: int = 0
    measures: list[Measures] = field(default_factory=list)
    _equal: list[NDArray[np.int64]] = field(default_factory=list)
    _seams: dict[tuple[int, ...], list[tuple[tuple[slice, ...], NDArray[np.int64]]]] = field(
        default_factory=dict
    )

    def add(
        self, block: Block, mask: NDArray[np.bool_], values: NDArray[np.generic], least: int
    ) -> NDArray[np.int32]:
        """Return the numbers of the parts of a block, counted from 1 on after the :attr:`count` of those before.

        Parameters
        ----------
        block : Block
        mask : bool array over what is read of the block
        values : array of the same shape
        least : int
            Parts of fewer voxels that touch no seam will not grow, and get 0 as the background does.
        """
        from scipy import ndimage

        labels, count = ndimage.label(mask)
        measured = Measures.of(labels[block.own], values[block.own], count, block.start)
        at_seams = np.zeros(count + 1, np.bool_)
        for index, here, there in block.seams():
            seam = labels[here]
            if seam.any():
                at_seams[seam] = True
                # no view: it would keep the block in memory
                numbers = np.where(seam > 0, seam.astype(np.int64) + self.count, 0)
                self._seams.setdefault(index, []).append((there, numbers))
        for there, numbers in self._seams.pop(block.index, []):
            shared = numbers > 0
            mine = labels[there][shared]
            at_seams[mine] = True
            equal = np.stack([numbers[shared], mine.astype(np.int64) + self.count], axis=1)
            self._equal.append(np.unique(equal, axis=0))
        is_gone = np.append([False], measured.voxels < least) & ~at_seams
        if is_gone.any():
            labels[is_gone[labels]] = 0
        self.measures.append(measured)
        self.count += count
        kept: NDArray[np.int32] = labels
        return kept

    def groups(self) -> tuple[int, NDArray[np.intp]]:
        """Return how many objects there are, and to which each part belongs: entry i is that of the part numbered i + 1."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        equal = np.concatenate([np.zeros((0, 2), np.int64), *self._equal]) - 1
        edges = coo_array(
            (np.ones(len(equal), np.bool_), (equal[:, 0], equal[:, 1])), shape=(self.count, self.count)
        )
        count, groups = connected_components(edges, directed=False)
        return int(count), groups.astype(np.intp)
