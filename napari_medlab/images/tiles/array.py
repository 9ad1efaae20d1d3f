"""An array that reads its tiles through the cache, several at once."""

from __future__ import annotations

import itertools
import operator
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.images.tiles.cache import shared_cache
from napari_medlab.images.tiles.source import read_tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import dask.array as da
    from numpy.typing import NDArray

    from napari_medlab.images.tiles.cache import TileCache
    from napari_medlab.images.tiles.source import TileSource

__all__ = ["Piece", "TileArray", "decoding_threads", "normalised", "pieces"]

DASK_CHUNK = 1024
"""Tiles are joined for dask into chunks of about this many pixels a side: fewer tasks to keep."""
BATCH_BYTES = 2 << 20
_inside = threading.local()


class TileArray:
    """What numpy, dask and napari can slice: decodes the tiles that a slice touches and nothing else.

    Parameters
    ----------
    source : TileSource
    cache : TileCache, optional
        The one that is shared by all images where it is left out.
    """

    def __init__(self, source: TileSource, cache: TileCache | None = None) -> None:
        self.source = source
        self.shape: tuple[int, ...] = tuple(int(size) for size in source.shape)
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        self.tile: tuple[int, ...] = tuple(int(side) for side in source.tile)
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self._cache = cache

    def __reduce__(self) -> tuple[Any, ...]:
        return TileArray, (self.source,)  # a cache belongs to its process

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: ANN401 - as numpy has it
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401 - ints and slices, as numpy takes them
        return self.read(index)

    @property
    def cache(self) -> TileCache:
        """Where decoded tiles are kept."""
        return shared_cache() if self._cache is None else self._cache

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The sides of all tiles, axis by axis, as dask writes them; napari reads whole tiles where it sees this."""
        return tuple(
            (*(side,) * (size // side), *((size % side,) if size % side else ()))
            for size, side in zip(self.shape, self.tile, strict=True)
        )

    def read(
        self,
        index: Any,  # noqa: ANN401 - as above
        *,
        stop: Callable[[], None] | None = None,
        keep: bool = True,
    ) -> NDArray[Any]:
        """Return the pixels of an index of ints and slices (any step).

        Parameters
        ----------
        index : int, slice, Ellipsis, or a tuple of them
        stop : callable, optional
            Called before each tile is decoded; it raises where nobody wants the pixels any more.
        keep : bool
            Whether the tiles are kept in the cache: not worth it for who reads all of an image once.
        """
        ranges, shape_of = normalised(index, self.shape)
        out = np.empty([len(axis) for axis in ranges], self.dtype)
        if out.size:
            self._fill(out, ranges, stop, keep=keep)
        pixels: NDArray[Any] = out[shape_of]
        return pixels

    def read_tiles(self, indices: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
        """Return several tiles, through the cache."""
        key = self.source.key
        if key is None:
            return read_tiles(self.source, indices)
        return self.cache.get_many(
            [(key, index) for index in indices],
            lambda places: self._read_alone([indices[place] for place in places]),
        )

    def _read_alone(self, indices: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
        # others may wait for these tiles, the decoders among them: whoever reads them must not wait for decoders
        with _working_alone():
            return read_tiles(self.source, indices)

    def as_dask(self) -> da.Array:
        """Return a dask array that reads through this one."""
        import dask.array as da

        sides = tuple(
            side if axis >= 2 or side == size else side * max(1, DASK_CHUNK // side)
            for axis, (side, size) in enumerate(zip(self.tile, self.shape, strict=True))
        )
        if self.tile[0] == 1 and self.ndim > 2:  # a stack of planes, which stays one
            sides = self.tile
        chunks = tuple(min(side, size) for side, size in zip(sides, self.shape, strict=True))
        lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]
            self, chunks=chunks, name=False, asarray=False, meta=np.empty((0,) * self.ndim, self.dtype)
        )
        return lazy

    def _fill(
        self, out: NDArray[Any], ranges: list[range], stop: Callable[[], None] | None, *, keep: bool
    ) -> None:
        wanted = list(
            itertools.product(*(pieces(axis, side) for axis, side in zip(ranges, self.tile, strict=True)))
        )

        def put(places: Sequence[tuple[Piece, ...]]) -> None:
            if stop is not None:
                stop()
            indices = [tuple(piece.tile for piece in place) for place in places]
            tiles = self.read_tiles(indices) if keep else read_tiles(self.source, indices)
            for place, tile in zip(places, tiles, strict=True):
                out[tuple(piece.out for piece in place)] = tile[tuple(piece.inside for piece in place)]

        batches = self._batches(wanted)
        # a decoder that reads through another array works alone: it must not wait for threads that wait for it
        if len(batches) == 1 or getattr(_inside, "alone", False):
            for places in batches:
                put(places)
            return
        # each in a context of its own, so that progress reaches whoever listens
        futures = [_decoders().submit(copy_context().run, put, places) for places in batches]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _batches(self, wanted: list[tuple[Piece, ...]]) -> list[list[tuple[Piece, ...]]]:
        """Cut work into batches: small enough to share among threads and to stop between, large enough to be worth asking."""
        tile_bytes = int(np.prod(self.tile, dtype=np.int64)) * self.dtype.itemsize
        share = -(-len(wanted) // (2 * decoding_threads()))
        count = max(1, min(BATCH_BYTES // max(tile_bytes, 1), share))
        return [wanted[first : first + count] for first in range(0, len(wanted), count)]


class Piece(NamedTuple):
    """Where a range along one axis crosses one tile."""

    tile: int
    inside: slice
    out: slice


def pieces(wanted: range, side: int) -> list[Piece]:
    """Return the pieces of a range, tile by tile."""
    if not wanted:
        return []
    indices = np.arange(wanted.start, wanted.stop, wanted.step)
    tiles = indices // side
    starts = [0, *(np.flatnonzero(np.diff(tiles)) + 1).tolist(), len(indices)]
    found = []
    for first, last in itertools.pairwise(starts):
        tile = int(tiles[first])
        inside = range(len(wanted))[first:last]
        begin, end = int(indices[first]) - tile * side, int(indices[last - 1]) - tile * side
        step = wanted.step
        stop = end + (1 if step > 0 else -1)
        found.append(
            Piece(tile, slice(begin, stop if stop >= 0 else None, step), slice(inside.start, inside.stop))
        )
    return found


def normalised(index: Any, shape: tuple[int, ...]) -> tuple[list[range], tuple[Any, ...]]:  # noqa: ANN401 - as numpy
    """Return which indices are wanted along each axis, and the index that drops the axes of single numbers."""
    given = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in given):
        at = next(number for number, part in enumerate(given) if part is Ellipsis)
        given = (*given[:at], *(slice(None),) * (len(shape) - len(given) + 1), *given[at + 1 :])
    if len(given) > len(shape):
        raise IndexError(f"{len(given)} indices for an array of {len(shape)} dimensions")
    wanted = (*given, *(slice(None),) * (len(shape) - len(given)))
    ranges: list[range] = []
    kept: list[slice | int] = []
    for part, size in zip(wanted, shape, strict=True):
        if isinstance(part, slice):
            ranges.append(range(size)[part])
            kept.append(slice(None))
        else:
            if isinstance(part, bool | np.bool_):
                raise IndexError("a mask is no index here: only numbers and slices are")
            number = range(size)[operator.index(part)]
            ranges.append(range(number, number + 1))
            kept.append(0)
    return ranges, tuple(kept)


@contextmanager
def _working_alone() -> Iterator[None]:
    before, _inside.alone = getattr(_inside, "alone", False), True
    try:
        yield
    finally:
        _inside.alone = before


def decoding_threads() -> int:
    """Return how many tiles are decoded at once."""
    return max(2, min(os.cpu_count() or 2, 8))


@lru_cache(maxsize=1)
def _decoders() -> ThreadPoolExecutor:
    def mark() -> None:
        _inside.alone = True

    return ThreadPoolExecutor(decoding_threads(), thread_name_prefix="tiles", initializer=mark)
