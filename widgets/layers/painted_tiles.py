"""Painted outlines as the levels of an image: tiles that are painted when they are looked at, and again after an edit."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_medlab.annotations.painting import MARGIN, Frame, paint
from napari_medlab.images.tiles import TileArray, shared_cache, tile_box
from napari_medlab.widgets.layers.streaming import StreamedPyramid

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.region_index import RegionIndex
    from napari_medlab.images.tiles import TileCache
    from napari_medlab.images.tiles.source import Index

__all__ = ["FINER", "PaintedPyramid", "Painting"]

TILE = 512
FINER = 4
"""The finest level has so many pixels a side for one of the image: lines stay thin where the reader looks close."""
COARSEST = 1024
AT_ONCE = TILE * TILE
"""No more pixels than this of a level are painted while the reader waits."""
MANY = 256
"""Where an outline touches so many tiles of a level, all of the level is painted again when it is looked at."""


@dataclass(frozen=True, eq=False)
class Painting:
    """What is painted; never changed, so that threads can paint while another takes its place.

    Parameters
    ----------
    index : RegionIndex
    groups : uint8 array, (rows of the index,)
        As in :func:`~napari_medlab.annotations.painting.paint`.
    """

    index: RegionIndex
    groups: NDArray[np.uint8]


class PaintedPyramid:
    """Outlines over a planar image as levels that napari draws; made off the GUI thread, as the coarsest is painted.

    Parameters
    ----------
    painting : Painting
    shape : (y, x)
        Of level 0 of the image.
    flips : (y, x)
        -1 along axes that are shown mirrored.
    cache : TileCache, optional
        The one that is shared by all images where it is left out.
    """

    def __init__(
        self,
        painting: Painting,
        shape: tuple[int, int],
        flips: tuple[int, ...] = (1, 1),
        cache: TileCache | None = None,
    ) -> None:
        self.painting = painting
        self._cache = shared_cache() if cache is None else cache
        self._lock = threading.Lock()
        self._painted = [
            _PaintedLevel(self, number, _frame(shape, flips, size), self._cache)
            for number, size in enumerate(_sizes(shape))
        ]
        self.coarsest = self._whole(painting)
        self.streamed = StreamedPyramid([level.array for level in self._painted], self.coarsest)

    @property
    def levels(self) -> list[Any]:
        """Finest first, as napari takes them."""
        return self.streamed.levels

    def pixels_per_index(self, level: int) -> float:
        """Return how many pixels of a level one of the image's level 0 is long."""
        return float(max(np.abs(self._painted[level].frame.scale)))

    def change(self, painting: Painting, rows: Sequence[int], level: int) -> None:
        """Paint something else, which differs in the outlines of these rows only.

        What is in memory of the given level, which is looked at, and of the coarsest is painted at once, the rest when
        it is looked at.
        """
        with self._lock:
            self.painting = painting
            for box in painting.index.boxes(np.asarray(rows, dtype=np.int64)):
                if np.isfinite(box).all():
                    for number, each in enumerate(self._painted[:-1]):
                        each.renew(box, at_once=number == level)
                    last = self._painted[-1]
                    place = last.touched(box)
                    self.coarsest[place] = last.painted(*place)
        self.streamed.changed()

    def repaint(
        self, remake: Callable[[Painting], Painting], is_stale: Callable[[], bool] = lambda: False
    ) -> None:
        """Paint all of it anew, such as in other groups; call it off the GUI thread.

        Parameters
        ----------
        remake : callable
            Makes the new painting of the present one; called again where an edit came in between.
        is_stale : callable
            Tells whether nobody wants it any more.
        """
        while not is_stale():
            before = self.painting
            painting = remake(before)
            coarsest = self._whole(painting)
            with self._lock:
                if self.painting is not before or is_stale():
                    continue
                self.painting = painting
                self.coarsest[...] = coarsest
                self.forget()
            self.streamed.changed()
            return

    def forget(self) -> None:
        """Let go of the tiles, as when the outlines are no longer shown."""
        gone = {level.rename() for level in self._painted}
        self._cache.forget(lambda key: isinstance(key, tuple) and key[0] in gone)

    def _whole(self, painting: Painting) -> NDArray[np.uint8]:
        return paint(painting.index, painting.groups, self._painted[-1].frame)


class _PaintedLevel:
    """One level as a source of tiles.

    Parameters
    ----------
    pyramid : PaintedPyramid
    number : int
    frame : Frame
        All of the level.
    cache : TileCache
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, pyramid: PaintedPyramid, number: int, frame: Frame, cache: TileCache) -> None:
        self.shape, self.tile = frame.shape, (TILE, TILE)
        self.frame = frame
        self.key = (uuid4().hex, number)
        self._pyramid = pyramid
        self._fresh = _Fresh(cache)
        self.array = TileArray(self, self._fresh)  # type: ignore[arg-type]

    def read_tile(self, index: Index) -> NDArray[np.uint8]:
        """Return one tile, painted."""
        return self.painted(*tile_box(self, index))

    def painted(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Return the pixels of a box of the level."""
        painting = self._pyramid.painting
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return paint(
            painting.index,
            painting.groups,
            replace(self.frame, origin=(rows.start, columns.start), shape=shape),
        )

    def touched(self, box: NDArray[np.float64]) -> tuple[slice, slice]:
        """Return the pixels that an outline in a box (2, 2) of the image can have marked."""
        corners = np.sort(self.frame.on_level(box), axis=0)
        size = np.asarray(self.shape)
        first = np.clip(np.floor(corners[0]) - MARGIN, 0, size - 1).astype(int).tolist()
        stop = np.clip(np.ceil(corners[1]) + MARGIN + 1, 1, size).astype(int).tolist()
        return slice(first[0], stop[0]), slice(first[1], stop[1])

    def renew(self, box: NDArray[np.float64], *, at_once: bool) -> None:
        """Have the tiles under a box painted again: at once what of them is in memory, or when they are looked at."""
        rows, columns = self.touched(box)
        tiles = list(itertools.islice(itertools.product(_tiles(rows), _tiles(columns)), MANY))
        if len(tiles) == MANY:
            self.rename()
            return
        is_small = (rows.stop - rows.start) * (columns.stop - columns.start) <= AT_ONCE
        kept = [(tile, self._fresh.peek((self.key, tile))) for tile in tiles] if at_once and is_small else []
        self._fresh.outdate([(self.key, tile) for tile in tiles])
        for tile, pixels in kept:
            if pixels is not None:
                mended = partial(self._mended, pixels, tile, (rows, columns))
                self._fresh.get_many([(self.key, tile)], lambda _, mended=mended: [mended()])  # type: ignore[misc]

    def rename(self) -> Hashable:
        """Take another name in the cache, so that all tiles are painted again, and return the one before."""
        before, self.key = self.key, (uuid4().hex, self.key[1])
        self._fresh.clear()
        return before

    def _mended(self, pixels: NDArray[np.uint8], tile: Index, box: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Return a tile in which a box of the level is painted again."""
        whole = tile_box(self, tile)
        part = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, whole, strict=True)]
        inside = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, whole, strict=True))
        mended = pixels.copy()
        mended[inside] = self.painted(part[0], part[1])
        return mended


class _Fresh:
    """The cache as it is seen by one level: a tile that an edit has made out of date is not found in it any more.

    A tile that is being painted while it becomes out of date is kept under the name that it had before.
    """

    def __init__(self, cache: TileCache) -> None:
        self._cache = cache
        self._editions: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    @property
    def limit_bytes(self) -> int:
        return self._cache.limit_bytes

    def peek(self, key: Hashable) -> NDArray[Any] | None:
        return self._cache.peek(self._of(key))

    def get_many(
        self, keys: Sequence[Hashable], read: Callable[[list[int]], Sequence[NDArray[Any]]]
    ) -> list[NDArray[Any]]:
        return self._cache.get_many([self._of(key) for key in keys], read)

    def outdate(self, keys: Sequence[Hashable]) -> None:
        with self._lock:
            for key in keys:
                self._editions[key] = self._editions.get(key, 0) + 1

    def clear(self) -> None:
        with self._lock:
            self._editions.clear()

    def _of(self, key: Hashable) -> Hashable:
        if not isinstance(key, tuple):
            return key
        return (*key, self._editions.get(key, 0))


def _sizes(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the sizes of the levels, each half the one before."""
    for number in itertools.count():
        size = (-(-shape[0] * FINER // 2**number), -(-shape[1] * FINER // 2**number))
        yield size
        if max(size) <= COARSEST:
            return


def _frame(shape: tuple[int, int], flips: tuple[int, ...], size: tuple[int, int]) -> Frame:
    """Return how indices of the image as stored are mapped to a level of the image as shown."""
    scale = [flip * few / many for flip, few, many in zip(flips, size, shape, strict=True)]
    # the first pixel of what is mirrored is the last one of the image
    firsts = [0 if flip > 0 else many - 1 for flip, many in zip(flips, shape, strict=True)]
    shift = [(first + 0.5) * few / many - 0.5 for first, few, many in zip(firsts, size, shape, strict=True)]
    return Frame((scale[0], scale[1]), (shift[0], shift[1]), (0, 0), size, size)


def _tiles(side: slice) -> range:
    return range(side.start // TILE, -(-side.stop // TILE))
