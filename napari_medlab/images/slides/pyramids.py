"""Levels for images that have none, or not enough: made from the finer ones when asked for, and kept on disk."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.images.progress import report
from napari_medlab.images.slides.tile_store import TileStore
from napari_medlab.images.stamps import stamp_of
from napari_medlab.images.tiles import TileArray, TileCache, halved, tile_box, tile_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.tiles import TileSource

__all__ = ["COARSEST", "HalvedTiles", "with_pyramid"]

COARSEST = 1024
"""The coarsest level is at most this many pixels a side: a viewer reads it as a whole."""
KEPT_PIXELS = 16 << 20
"""Levels of images with more pixels than this are kept on disk."""
TILE = 512
TILE_BYTES = 16 << 20
CACHE_BYTES = 64 << 20
"""What is kept of a finer level, whose tiles lie across the borders of coarser ones."""


def with_pyramid(image: Image) -> Image:
    """Return a planar image with levels added, each half the one before, until the coarsest is at most 1024 a side.

    ``details["added_levels"]`` says how many; ``details["added_levels_ready"]`` whether they are on disk already.
    """
    sources = list(image.sources)
    if image.grid.ndim != 2 or max(sources[-1].shape[:2]) <= COARSEST:
        return image
    # what is made again in a moment leaves no copy behind
    is_kept = sources[-1].shape[0] * sources[-1].shape[1] > KEPT_PIXELS
    store = TileStore.of(_name(image)) if is_kept else None
    cache = TileCache(CACHE_BYTES)
    while max(sources[-1].shape[:2]) > COARSEST:
        sources.append(last := HalvedTiles(sources[-1], len(sources), store, cache))
    is_ready = all(last.is_kept(index) for index in np.ndindex(tile_counts(last)))
    details = {"added_levels": len(sources) - len(image.sources), "added_levels_ready": is_ready}
    return replace(image, sources=tuple(sources), details={**image.details, **details})


def _name(image: Image) -> str:
    """Return what tells an image from all others: its time of change too, as a fingerprint does not cover all of a file."""
    return (
        f"{fingerprint(image.path)} {stamp_of(image.path)} {image.decisions.as_json()} {len(image.sources)}"
    )


class HalvedTiles:
    """A level of half the size of a finer one, each pixel the mean of the four below it.

    Parameters
    ----------
    finer : TileSource
        (y, x) or (y, x, channel).
    number : int
        Which level this is.
    store : TileStore or None
        Where tiles are kept once they have been made.
    cache : TileCache or None
        For the tiles of the finer level; the shared one where it is None.
    """

    key = None

    def __init__(
        self, finer: TileSource, number: int, store: TileStore | None, cache: TileCache | None = None
    ) -> None:
        self.shape = (-(-finer.shape[0] // 2), -(-finer.shape[1] // 2), *finer.shape[2:])
        self.dtype: np.dtype[Any] = np.dtype(finer.dtype)
        self.tile = _tile_over(finer, self.shape)
        self._finer = TileArray(finer, cache)
        self._number, self._store = number, store

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a tile from the disk, or make it; a tile far up takes all of those below it."""
        box = tile_box(self, index)
        shape = tuple(side.stop - side.start for side in box)
        kept = (
            self._store.get(self._number, self._place(index), shape, self.dtype)
            if self._store is not None
            else None
        )
        if kept is not None:
            return kept
        below = (slice(2 * box[0].start, 2 * box[0].stop), slice(2 * box[1].start, 2 * box[1].stop), *box[2:])
        report(0, 0)  # a tile far up takes its time, and is not to be taken for a file that hangs
        tile = halved(self._finer[below])
        if self._store is not None:
            self._store.put(self._number, self._place(index), tile)
        return tile

    def is_kept(self, index: tuple[int, ...]) -> bool:
        """Tell whether a tile is on the disk already."""
        return self._store is not None and self._store.has(self._number, self._place(index))

    def _place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Return where a tile lies whatever the size of tiles, which another version may choose otherwise."""
        return (*self.tile, *index)


def _tile_over(finer: TileSource, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides of a tile that lies over whole tiles of the finer level where it can."""
    rows, columns = (
        min(side * max(1, TILE // side), size) for side, size in zip(finer.tile[:2], shape, strict=False)
    )
    deep = int(np.prod(finer.tile[2:], dtype=np.int64)) * np.dtype(finer.dtype).itemsize
    # strips as wide as a huge image: fewer rows of them
    rows = max(1, min(rows, TILE_BYTES // max(1, columns * deep)))
    return (rows, columns, *finer.tile[2:])
