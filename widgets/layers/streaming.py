"""Slides in napari without a wait: what is decoded is drawn at once, what is missing comes sharper as it arrives."""

from __future__ import annotations

import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.tiles import MemoryTiles
from napari_medlab.images.tiles.array import decoding_threads, normalised, pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.tiles import TileArray

__all__ = ["StreamedLevel", "StreamedPyramid"]

BATCH_BYTES = 1 << 20
DRAWING = "napari.layers"
HATCH = 16
"""What cannot be read is drawn as a pattern of squares of this many pixels: no tissue looks like it."""

Tile = tuple[int, ...]


class StreamedPyramid:
    """The levels of a planar image as napari draws them.

    napari slices on the GUI thread. There a slice is put together from tiles that are in the cache; what is missing
    is taken from a coarser level, asked for in the background, and told of by :meth:`take_news` when it is there.
    Whoever else slices a level (a script, another plugin) waits and gets the true pixels.

    Parameters
    ----------
    arrays : sequence of TileArray
        Finest first.
    coarsest : ndarray
        What stands for the last of them; it may change while levels are still being made.
    channel : int or None
        Which channel of (y, x, channel) to draw alone.
    """

    def __init__(
        self, arrays: Sequence[TileArray], coarsest: NDArray[Any], channel: int | None = None
    ) -> None:
        self._made_of = (arrays, coarsest, channel)
        last = coarsest if channel is None else coarsest[..., channel]
        self.streamed = [
            StreamedLevel(self, number, array, channel) for number, array in enumerate(arrays[:-1])
        ]
        self.levels: list[Any] = [*self.streamed, last]
        self._coarsest = last
        self._lock = threading.Lock()
        self._wanted: list[tuple[int, Tile]] = []
        self._working = 0
        self._has_news = False
        self._is_too_large = False
        self._failed: dict[tuple[int, Tile], Exception] = {}
        self._untold: list[Exception] = []

    def again(self) -> StreamedPyramid:
        """Return one of the same pixels for another canvas: what one asks for does not take the place of the other's."""
        return StreamedPyramid(*self._made_of)

    @property
    def is_waiting(self) -> bool:
        """Whether tiles that are to be seen are still missing."""
        return bool(self._wanted or self._working)

    def take_news(self) -> bool:
        """Tell whether tiles have arrived since this was asked last."""
        with self._lock:
            news, self._has_news = self._has_news, False
            return news

    def changed(self) -> None:
        """Tell that the coarsest level is no longer what it was."""
        with self._lock:
            self._has_news = True

    def take_errors(self) -> list[Exception]:
        """Return what went wrong since this was asked last, each kind of it once."""
        with self._lock:
            errors, self._untold = self._untold, []
            return errors

    def want(self, level: int, tiles: list[Tile]) -> None:
        """Ask for tiles, in this order; what was asked for before and has not been begun is given up."""
        with self._lock:
            if tiles and not self.streamed[level].is_kept:
                self._tell_too_large()
                tiles = []  # they would be read again and again
            self._wanted = [(level, tile) for tile in reversed(tiles) if (level, tile) not in self._failed]
            idle = min(decoding_threads() - self._working, len(self._wanted))
            self._working += max(idle, 0)
        for _ in range(idle):
            _threads().submit(self._work)

    def failed(self, level: int, tile: Tile) -> bool:
        """Tell whether a tile cannot be read."""
        return (level, tile) in self._failed

    def coarser(self, level: int, box: tuple[slice, slice]) -> NDArray[Any]:
        """Return the pixels of a box of a level, from the finest of the coarser levels that has them in memory."""
        shape = self.streamed[level].shape
        for other in self.streamed[level + 1 :]:
            rows, columns = _spread(box, shape, other.shape)
            found = other.peek((slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)))
            if found is not None:
                return _spread_out(found, rows, columns)
        rows, columns = _spread(box, shape, self._coarsest.shape)
        coarse: NDArray[Any] = self._coarsest[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return _spread_out(coarse, rows, columns)

    def _tell_too_large(self) -> None:
        if not self._is_too_large:
            self._is_too_large = True
            message = "This image is decoded in pieces too large to be kept in memory, and is shown less sharp than it is."
            hint = "Convert it to a tiled format, or raise the memory budget."
            self._untold.append(ImageRefusedError(message, code="size", hint=hint))

    def _work(self) -> None:
        while batch := self._next_batch():
            level, tiles = batch
            try:
                self.streamed[level].array.read_tiles(tiles)
            except Exception as error:  # noqa: BLE001 - shown as a pattern, and told once
                self._fail(level, tiles, error)
            with self._lock:
                self._has_news = True

    def _next_batch(self) -> tuple[int, list[Tile]] | None:
        with self._lock:
            if not self._wanted:
                self._working -= 1
                return None
            level, first = self._wanted.pop()
            count = BATCH_BYTES // self.streamed[level].tile_bytes
            tiles = [first]
            while self._wanted and len(tiles) < count:
                tiles.append(self._wanted.pop()[1])
            return level, tiles

    def _fail(self, level: int, tiles: list[Tile], error: Exception) -> None:
        if len(tiles) > 1:  # one of them is at fault
            for tile in tiles:
                try:
                    self.streamed[level].array.read_tiles([tile])
                except Exception as own:  # noqa: BLE001 - as above
                    self._fail(level, [tile], own)
            return
        with self._lock:
            if not self._failed:
                self._untold.append(error)
            self._failed[level, tiles[0]] = error


class StreamedLevel:
    """One level, (y, x) or (y, x, channel), as napari takes an array."""

    def __init__(self, pyramid: StreamedPyramid, number: int, array: TileArray, channel: int | None) -> None:
        self.array = array
        self.shape: tuple[int, ...] = array.shape if channel is None else array.shape[:2]
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape, dtype=np.int64))
        self.dtype: np.dtype[Any] = array.dtype
        self.tile_bytes = max(1, int(np.prod(array.tile, dtype=np.int64)) * array.dtype.itemsize)
        self.pyramid, self._number, self._channel = pyramid, number, channel

    @property
    def is_kept(self) -> bool:
        """Whether the cache keeps tiles of this level."""
        return self.array.source.key is not None and self.tile_bytes <= self.array.cache.limit_bytes

    def __getitem__(self, index: Any) -> NDArray[Any]:
        is_drawing = sys._getframe(1).f_globals.get("__name__", "").startswith(DRAWING)
        if is_drawing and threading.current_thread() is threading.main_thread():
            return self._at_once(index)
        given = index if isinstance(index, tuple) else (index,)
        return self.array.read(given if self._channel is None else (*_two(given), self._channel))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def peek(self, box: tuple[slice, slice]) -> NDArray[Any] | None:
        """Return the pixels of a box where all of its tiles are in memory, else None."""
        ranges = [range(side.start, side.stop) for side in box]
        out = np.empty((len(ranges[0]), len(ranges[1]), *self.shape[2:]), self.dtype)
        for index, inside, place in self._places(ranges):
            tile = self._kept(index)
            if tile is None:
                return None
            out[place] = tile[inside]
        return out

    def _at_once(self, index: Any) -> NDArray[Any]:
        ranges, shape_of = normalised(index, self.shape)
        if not all(ranges):
            return np.empty([len(side) for side in ranges], self.dtype)[shape_of]
        places = self._places(ranges)
        kept = [self._kept(tile) for tile, _, _ in places]
        missing = [tile for (tile, _, _), pixels in zip(places, kept, strict=True) if pixels is None]
        out = self._behind(ranges) if missing else np.empty([len(side) for side in ranges], self.dtype)
        for (tile, inside, place), pixels in zip(places, kept, strict=True):
            if pixels is not None:
                out[place] = pixels[inside]
            elif self.pyramid.failed(self._number, tile):
                out[place] = _hatched(out[place])
        middle = [
            (side[0] + side[-1]) / 2 / step for side, step in zip(ranges[:2], self.array.tile, strict=False)
        ]
        missing.sort(key=lambda tile: abs(tile[0] + 0.5 - middle[0]) + abs(tile[1] + 0.5 - middle[1]))
        self.pyramid.want(self._number, missing)
        return out[shape_of]

    def _behind(self, ranges: list[range]) -> NDArray[Any]:
        """Return what a coarser level has where pixels are missing."""
        box = [slice(min(side[0], side[-1]), max(side[0], side[-1]) + 1) for side in ranges]
        behind = self.pyramid.coarser(self._number, (box[0], box[1]))[(slice(None), slice(None), *box[2:])]
        return behind[tuple(slice(None, None, side.step) for side in ranges)]

    def _places(self, ranges: list[range]) -> list[tuple[Tile, tuple[Any, ...], tuple[slice, ...]]]:
        """Return for each tile under some ranges: its number, what of it is wanted, and where that goes."""
        rows, columns = (pieces(side, step) for side, step in zip(ranges[:2], self.array.tile, strict=False))
        if self.array.ndim == 2:
            deep: list[tuple[Tile, tuple[Any, ...], tuple[slice, ...]]] = [((), (), ())]
        elif self._channel is not None:
            number, place = divmod(self._channel, self.array.tile[2])
            deep = [((number,), (place,), ())]
        else:
            whole = range(self.shape[2]) if len(ranges) < 3 else ranges[2]
            deep = [((p.tile,), (p.inside,), (p.out,)) for p in pieces(whole, self.array.tile[2])]
        return [
            (
                (row.tile, column.tile, *index),
                (row.inside, column.inside, *inside),
                (row.out, column.out, *out),
            )
            for row, column, (index, inside, out) in itertools.product(rows, columns, deep)
        ]

    def _kept(self, index: Tile) -> NDArray[Any] | None:
        if isinstance(self.array.source, MemoryTiles):
            return self.array.source.read_tile(index)
        return self.array.cache.peek((self.array.source.key, index))


def _two(given: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return an index of rows and columns, both given."""
    at = next((number for number, part in enumerate(given) if part is Ellipsis), len(given))
    before, after = given[:at], given[at + 1 :]
    if len(before) + len(after) > 2:
        raise IndexError(f"{len(before) + len(after)} indices for an array of 2 dimensions")
    both = [*before, *[slice(None)] * (2 - len(before) - len(after)), *after]
    return both[0], both[1]


def _spread_out(pixels: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
    """Repeat the pixels of a coarse box over the rows and columns of a finer one; numpy takes far sooner than it indexes."""
    across = np.take(pixels, columns - columns[0], axis=1)
    return np.take(across, rows - rows[0], axis=0)


def _spread(
    box: tuple[slice, slice], shape: tuple[int, ...], coarse: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which row and column of a coarser level lies under each row and column of a box."""
    sides = []
    for side, size, less in zip(box, shape, coarse, strict=False):
        centres = (np.arange(side.start, side.stop) + 0.5) * (less / size)
        sides.append(np.minimum(centres.astype(np.intp), less - 1))
    return sides[0], sides[1]


def _hatched(pixels: NDArray[Any]) -> NDArray[Any]:
    down, across = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    is_dark = ((down // HATCH + across // HATCH) % 2).astype(bool)
    limits = np.iinfo(pixels.dtype) if pixels.dtype.kind in "iu" else None
    high = limits.max if limits else 1
    pattern = np.where(is_dark, 0, high).astype(pixels.dtype)
    return np.broadcast_to(pattern.reshape(*pattern.shape, *(1,) * (pixels.ndim - 2)), pixels.shape)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(decoding_threads(), thread_name_prefix="streamed tiles")
