"""What decodes the tiles of an image, one at a time and in any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "MemoryTiles",
    "PlaneTiles",
    "TileSource",
    "Turned",
    "WholeTile",
    "read_tiles",
    "tile_box",
    "tile_counts",
]

Index = tuple[int, ...]


class TileSource(Protocol):
    """One level of an image, cut into tiles of one size; those at the far edges are smaller.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x), (y, x) or (y, x, channel).
    dtype : numpy dtype
    tile : tuple of int
        The sides of a tile, one for each axis of ``shape``.
    key : hashable or None
        What the source is called in the cache; None where its tiles are not worth keeping.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """All of the level."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        ...

    @property
    def tile(self) -> tuple[int, ...]:
        """The sides of a tile."""
        ...

    @property
    def key(self) -> Hashable | None:
        """The name in the cache."""
        ...

    def read_tile(self, index: Index) -> NDArray[Any]:
        """Return the tile with this number along each axis; safe to call from several threads."""
        ...


def read_tiles(source: TileSource, indices: Sequence[Index]) -> list[NDArray[Any]]:
    """Return several tiles: with one question where a source can answer it, one by one where it cannot."""
    together = getattr(source, "read_tiles", None)
    tiles: list[NDArray[Any]] = (
        together(indices) if together else [source.read_tile(index) for index in indices]
    )
    return tiles


def tile_counts(source: TileSource) -> Index:
    """Return how many tiles there are along each axis."""
    return tuple(-(-size // side) for size, side in zip(source.shape, source.tile, strict=True))


def tile_box(source: TileSource, index: Index) -> tuple[slice, ...]:
    """Return which pixels of a level a tile holds."""
    return tuple(
        slice(number * side, min((number + 1) * side, size))
        for number, side, size in zip(index, source.tile, source.shape, strict=True)
    )


class MemoryTiles:
    """An array that is in memory already, as one tile."""

    key = None

    def __init__(self, pixels: NDArray[Any]) -> None:
        self.shape: tuple[int, ...] = pixels.shape
        self.tile: tuple[int, ...] = pixels.shape
        self.dtype: np.dtype[Any] = pixels.dtype
        self._pixels = pixels

    def read_tile(self, index: Index) -> NDArray[Any]:
        """Return the array."""
        return self._pixels


class PlaneTiles:
    """An array whose planes along axis 0 are read one by one, each a tile.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy dtype
    read : callable
        Decodes plane ``number``.
    key : hashable or None
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        read: Callable[[int], NDArray[Any]],
        key: Hashable | None = None,
    ) -> None:
        self.shape, self.tile, self.key = shape, (1, *shape[1:]), key
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._read = read

    def read_tile(self, index: Index) -> NDArray[Any]:
        """Return one plane, its first axis kept."""
        return np.asarray(self._read(index[0]), dtype=self.dtype).reshape(self.tile)


class WholeTile:
    """An array that can only be decoded in one piece.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy dtype
    read : callable
        Decodes all of it.
    key : hashable or None
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        read: Callable[[], NDArray[Any]],
        key: Hashable | None = None,
    ) -> None:
        self.shape, self.tile, self.key = shape, shape, key
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._read = read

    def read_tile(self, index: Index) -> NDArray[Any]:
        """Return the whole array."""
        return np.asarray(self._read(), dtype=self.dtype).reshape(self.shape)


class Turned:
    """Another source with its axes in another order, some of them reversed; no pixel changes.

    Parameters
    ----------
    source : array-like with ``shape``, ``dtype``, ``tile`` and ``__getitem__``
    order : tuple of int
        Axis ``n`` of the result is axis ``order[n]`` of the source.
    flips : tuple of int
        1 or -1 for each axis of the result.
    """

    def __init__(self, source: Any, order: tuple[int, ...], flips: tuple[int, ...]) -> None:  # noqa: ANN401 - duck-typed
        self.shape = tuple(int(source.shape[axis]) for axis in order)
        self.tile = tuple(int(source.tile[axis]) for axis in order)
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        self._source, self._order, self._flips = source, order, flips

    @property
    def key(self) -> Hashable | None:
        """What its tiles are called in the cache, where those of the source are kept there."""
        below = getattr(self._source, "source", self._source).key
        return None if below is None else (below, self._order, self._flips)

    def read_tile(self, index: Index) -> NDArray[Any]:
        """Return a tile of the turned array."""
        wanted: list[slice] = [slice(None)] * len(self.shape)
        for axis, flip, box in zip(self._order, self._flips, tile_box(self, index), strict=True):
            size = self._source.shape[axis]
            wanted[axis] = box if flip > 0 else slice(size - box.stop, size - box.start)
        block: NDArray[Any] = self._source[tuple(wanted)]
        return block.transpose(self._order)[tuple(slice(None, None, flip) for flip in self._flips)]
