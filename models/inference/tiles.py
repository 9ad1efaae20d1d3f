"""Cutting an image into tiles: which parts are read, which of their results count."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Fade", "Tile", "plan_tiles"]


class Fade(NamedTuple):
    """How much the answers of a tile count along one axis, where neighbours overlap.

    The weight rises in a straight line over the voxels ``begin - reach`` … ``begin + reach`` and falls again around
    ``end``, so that those of two neighbours add up to 1. A side at the border of the image does not fade.
    """

    begin: int | None
    end: int | None
    reach: int

    def weights(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return the weights of the voxels ``start`` … ``stop - 1``, float32."""
        places = np.arange(start, stop) + 0.5
        rising = np.inf if self.begin is None else (places - self.begin) / (2 * self.reach) + 0.5
        falling = np.inf if self.end is None else (self.end - places) / (2 * self.reach) + 0.5
        return np.clip(np.minimum(rising, falling) + np.zeros(len(places)), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Tile:
    """One tile of an image; all starts and stops are voxel indices of the whole image, in array order.

    Parameters
    ----------
    read_start, read_stop : tuple of int
        What the network sees; it may reach beyond the end of the image, where the fill value stands.
    core_start, core_stop : tuple of int
        What counts of its answer.
    fades : tuple of Fade
        One for each axis where cores overlap; empty where they don't, and all of the core counts alike.
    """

    read_start: tuple[int, ...]
    read_stop: tuple[int, ...]
    core_start: tuple[int, ...]
    core_stop: tuple[int, ...]
    fades: tuple[Fade, ...] = ()

    @property
    def read_shape(self) -> tuple[int, ...]:
        """The sides of what the network sees."""
        return tuple(b - a for a, b in zip(self.read_start, self.read_stop, strict=True))

    @property
    def core_shape(self) -> tuple[int, ...]:
        """The sides of what counts."""
        return tuple(b - a for a, b in zip(self.core_start, self.core_stop, strict=True))

    def read_box(self) -> tuple[slice, ...]:
        """Return what the network sees, as slices of the whole image."""
        return tuple(slice(a, b) for a, b in zip(self.read_start, self.read_stop, strict=True))

    def core_box(self) -> tuple[slice, ...]:
        """Return what counts, as slices of the whole image."""
        return tuple(slice(a, b) for a, b in zip(self.core_start, self.core_stop, strict=True))

    def core_within(self) -> tuple[slice, ...]:
        """Return what counts, as slices of what the network sees."""
        return tuple(
            slice(a - start, b - start)
            for a, b, start in zip(self.core_start, self.core_stop, self.read_start, strict=True)
        )

    def in_core(self, index: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which voxel indices (n, dims) of the whole image lie in the part that counts."""
        low, high = np.asarray(self.core_start) - 0.5, np.asarray(self.core_stop) - 0.5
        return np.asarray(((index >= low) & (index < high)).all(axis=1))


def plan_tiles(shape: Sequence[int], core: Sequence[int], halo: int, multiple: int) -> list[Tile]:
    """Return tiles whose cores cover the image once and without overlap, clipped at the image's borders.

    Parameters
    ----------
    shape : of the image, array order
    core : the largest core along each axis
    halo : voxels read around a core, so that its border is judged in context
    multiple : tiles begin at multiples of this, so that the network's cells fall on one lattice everywhere
    """
    axes = [_cuts(size, step, multiple) for size, step in zip(shape, core, strict=True)]
    margin = -(-halo // multiple) * multiple
    tiles = []
    for spans in product(*axes):
        starts, stops = zip(*spans, strict=True)
        tiles.append(
            Tile(
                tuple(max(0, a - margin) for a in starts),
                tuple(min(size, b + margin) for b, size in zip(stops, shape, strict=True)),
                tuple(starts),
                tuple(stops),
            )
        )
    return tiles


def _cuts(size: int, step: int, multiple: int) -> list[tuple[int, int]]:
    """Return consecutive (start, stop) of nearly equal length, at most ``step`` rounded to the multiple."""
    count = max(1, -(-size // max(step, multiple)))
    length = -(-size // count)
    length = -(-length // multiple) * multiple
    return [(start, min(start + length, size)) for start in range(0, size, length)]
