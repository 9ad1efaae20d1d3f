"""The coarsest level of a pyramid as an array in memory: at once from a sample, and exact once all levels are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import level_factors
from napari_medlab.images.slides.pyramids import KEPT_PIXELS
from napari_medlab.images.tiles import halved, tile_box, tile_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image

__all__ = ["Overview"]

SAMPLE = 8
"""A preview is made of at most this many tiles a side."""
BUILD_LEVEL = 3
"""Levels are made by the tiles of this one: each takes what lies below it, and is one step of progress."""


class Overview:
    """The coarsest level of a planar image.

    Parameters
    ----------
    image : Image
        Opened with ``pyramid=True``.

    Attributes
    ----------
    pixels : ndarray (y, x) or (y, x, channel)
        Changes in place while :meth:`steps` runs.
    is_exact : bool
        Whether every pixel is what its level holds, and not a preview.
    """

    def __init__(self, image: Image) -> None:
        self._arrays = image.arrays
        self._added = int(image.details.get("added_levels", 0))
        file_level = len(self._arrays) - 1 - self._added
        self._base = self._arrays[file_level]
        pixels = self._base.shape[0] * self._base.shape[1]
        self.is_exact = (
            not self._added or bool(image.details.get("added_levels_ready")) or pixels <= KEPT_PIXELS
        )
        self.pixels: NDArray[Any] = np.array(self._arrays[-1]) if self.is_exact else self._preview()

    def steps(self, stop: Callable[[], bool] | None = None) -> Iterator[tuple[int, int]]:
        """Make all levels and put them on disk, from the middle outwards; yields (done, total) after each part.

        What is done shows in ``pixels`` at once.
        """
        number = min(len(self._arrays) - 1, len(self._arrays) - 1 - self._added + BUILD_LEVEL)
        level = self._arrays[number]
        counts = np.asarray(tile_counts(level.source))
        middle = (counts - 1) / 2
        order = sorted(np.ndindex(*counts), key=lambda index: float(np.abs(np.asarray(index) - middle).sum()))
        for done, index in enumerate(order):
            if stop is not None and stop():
                return
            self._paint(number, index, level.read_tiles([index])[0])
            yield done + 1, len(order)
        self.pixels[...] = self._arrays[-1][...]
        self.is_exact = True

    def _paint(self, number: int, index: tuple[int, ...], tile: NDArray[Any]) -> None:
        """Draw a tile of a finer level where it lies."""
        box = tile_box(self._arrays[number].source, index)
        for _ in range(len(self._arrays) - 1 - number):
            tile = halved(tile)
        factor = level_factors([self._arrays[number].shape[:2], self.pixels.shape[:2]])[1]
        top, left = (round(side.start / by) for side, by in zip(box, factor, strict=False))
        target = self.pixels[top : top + tile.shape[0], left : left + tile.shape[1]]
        target = target[..., box[2]] if target.ndim == 3 else target
        target[...] = tile[: target.shape[0], : target.shape[1]]

    def _readable(self, indices: list[tuple[int, ...]]) -> list[NDArray[Any]]:
        """Return tiles, and one pixel of 0 for each that is damaged: that is told when it is looked at."""
        try:
            return self._base.read_tiles(indices)
        except ImageRefusedError:
            if len(indices) > 1:
                return [tile for index in indices for tile in self._readable([index])]
            return [np.zeros((1, 1, *self._base.tile[2:]), self._base.dtype)]

    def _preview(self) -> NDArray[Any]:
        """Return a mosaic: every part has the mean colour of the nearest of some tiles spread evenly over the image."""
        counts = tile_counts(self._base.source)
        rows, columns = (
            np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(int)) for count in counts[:2]
        )
        shape = self._arrays[-1].shape
        means = np.zeros((len(rows), len(columns), *shape[2:]), self._base.dtype)
        channels = range(counts[2]) if len(counts) == 3 else (None,)
        side = self._base.tile[2] if len(counts) == 3 else 0
        indices = [
            (int(row), int(column), *(() if c is None else (c,)))
            for c in channels
            for row in rows
            for column in columns
        ]
        tiles = iter(self._readable(indices))
        for channel in channels:
            part = (Ellipsis,) if channel is None else (Ellipsis, slice(channel * side, (channel + 1) * side))
            for row in range(len(rows)):
                for column in range(len(columns)):
                    means[(row, column, *part)] = next(tiles).mean(axis=(0, 1))
        down = np.linspace(0, len(rows) - 1, shape[0]).round().astype(int)
        across = np.linspace(0, len(columns) - 1, shape[1]).round().astype(int)
        mosaic: NDArray[Any] = means[down][:, across]
        return mosaic
