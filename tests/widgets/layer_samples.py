"""Pyramids whose tiles come when a test lets them, and slicing as napari's own drawing code does it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

from napari_medlab.images.tiles import TileArray, TileCache, halved, tile_box

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["HANG", "GatedTiles", "drawn", "levels_of", "pyramid_arrays"]

HANG = 60.0
NUMBERS = itertools.count()


class GatedTiles:
    """An array cut into tiles, which are read only while the gate is open."""

    def __init__(
        self, pixels: NDArray[Any], tile: tuple[int, ...], *, broken: set[tuple[int, ...]] | None = None
    ) -> None:
        self.pixels, self.tile, self.broken = pixels, tile, broken or set()
        self.shape: tuple[int, ...] = pixels.shape
        self.dtype: np.dtype[Any] = pixels.dtype
        self.key: Hashable = f"gated {next(NUMBERS)}"
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[tuple[int, ...]] = []

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        self.asked.append(index)
        if not self.gate.wait(HANG):
            raise TimeoutError
        if index in self.broken:
            raise OSError(f"tile {index} is broken")
        return self.pixels[tile_box(self, index)].copy()


def levels_of(pixels: NDArray[Any], count: int) -> list[NDArray[Any]]:
    levels = [pixels]
    for _ in range(count):
        levels.append(halved(levels[-1]))
    return levels


def pyramid_arrays(
    pixels: NDArray[Any], tile: tuple[int, ...], count: int = 2, limit: int = 1 << 24
) -> list[TileArray]:
    """Return the levels of an image, each with tiles of its own, in one cache."""
    cache = TileCache(limit)
    return [
        TileArray(GatedTiles(level, tuple(min(pair) for pair in zip(tile, level.shape, strict=True))), cache)
        for level in levels_of(pixels, count)
    ]


def drawn(level: Any, index: Any) -> NDArray[Any]:  # noqa: ANN401 - whatever napari slices
    """Slice a level as napari's layers do."""
    space: dict[str, Any] = {"__name__": "napari.layers.image.slicing", "level": level, "index": index}
    exec("pixels = level[index]", space)  # noqa: S102 - our own words
    pixels: NDArray[Any] = space["pixels"]
    return pixels
