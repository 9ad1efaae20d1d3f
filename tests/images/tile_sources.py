"""Sources of tiles that are cut from an array in memory, and tell what was asked of them."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CutTiles", "Unreadable"]

NUMBERS = itertools.count()


class Unreadable(Exception):  # noqa: N818 - what a broken tile raises
    """The tile is broken."""


class CutTiles:
    """An array, cut.

    Parameters
    ----------
    pixels : ndarray
    tile : tuple of int
    broken : set of tuple of int
        The tiles that cannot be read.
    pause : float
        Seconds that reading a tile takes.
    on_read : callable
    """

    def __init__(
        self,
        pixels: NDArray[Any],
        tile: tuple[int, ...],
        *,
        broken: set[tuple[int, ...]] | None = None,
        pause: float = 0.0,
        on_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.pixels, self.tile, self.broken, self.pause, self.on_read = (
            pixels,
            tile,
            broken or set(),
            pause,
            on_read,
        )
        self.shape: tuple[int, ...] = pixels.shape
        self.dtype: np.dtype[Any] = pixels.dtype
        self.key: Hashable = (
            f"cut {next(NUMBERS)}"  # an id comes again, and the cache of all images outlives a test
        )
        self.read: list[tuple[int, ...]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return CutTiles, (self.pixels, self.tile)

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        self.read.append(index)
        self.on_read()
        if self.pause:
            time.sleep(self.pause)
        if index in self.broken:
            raise Unreadable(index)
        return self.pixels[tile_box(self, index)].copy()
