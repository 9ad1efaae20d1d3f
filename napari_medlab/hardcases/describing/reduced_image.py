"""All of an image at a coarse resolution, read once and in slabs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import index_at_level0, level_factors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.images import Image

__all__ = ["ReducedImage", "block_mean", "level_for", "reduced", "single_channel"]

SLAB_PIXELS = 1 << 23
"""About this many pixels are decoded at once."""
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, eq=False)
class ReducedImage:
    """A coarse copy of an image.

    Parameters
    ----------
    pixels : float32 array, (z, y, x), (y, x) or (y, x, channel)
    spacing : (d,) float64 array
        The step between its pixels in the unit of the image's grid, array order.
    first : (d,) float64 array
        The index at level 0 of its first pixel's centre.
    factor : (d,) float64 array
        How many pixels of level 0 lie between neighbours.
    """

    pixels: NDArray[np.float32]
    spacing: NDArray[np.float64]
    first: NDArray[np.float64]
    factor: NDArray[np.float64]

    def to_coarse(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map level-0 indices (..., d) to indices of the coarse pixels."""
        mapped: NDArray[np.float64] = (np.asarray(index, dtype=np.float64) - self.first) / self.factor
        return mapped


def reduced(image: Image, step: float, stop: Callable[[], None] | None = None) -> ReducedImage:
    """Return an image with pixels of about ``step``, and never less, in the unit of its grid.

    Planes are averaged in blocks. Of the slices of a volume only every n-th is decoded, and they are not averaged.

    Parameters
    ----------
    image : Image
    step : float
    stop : callable, optional
        Called before each tile is decoded; it raises where nobody wants the pixels any more.
    """
    dims = image.grid.ndim
    spacing = np.asarray(image.grid.spacing)
    level, factor = level_for(image, np.maximum(step / spacing, 1.0))
    source = image.arrays[level]
    blocks = np.maximum(1, np.floor(step / (spacing * factor) + 1e-6)).astype(int)
    blocks = np.minimum(blocks, np.asarray(source.shape[:dims]))
    skip = int(blocks[0]) if dims == 3 else 1
    within = [1, *blocks[1:]] if dims == 3 else blocks.tolist()
    slab = _slab(source.shape[:dims], skip, int(within[0]))
    parts = [
        block_mean(source.read(slice(at, at + slab, skip), stop=stop), within)
        for at in range(0, source.shape[0] - int(within[0]) + 1, slab)
    ]
    # a stride keeps the first slice of each step, a block has its centre in the middle
    middle = np.asarray([0.0 if dims == 3 and axis == 0 else (n - 1) / 2 for axis, n in enumerate(blocks)])
    return ReducedImage(
        np.concatenate(parts), spacing * factor * blocks, index_at_level0(middle, factor), factor * blocks
    )


def level_for(image: Image, wanted: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """Return the coarsest level whose pixels span at most ``wanted`` (d,) pixels of level 0, and how many they span."""
    dims = image.grid.ndim
    factors = [np.asarray(f) for f in level_factors([source.shape[:dims] for source in image.sources])]
    # the ratio of rounded shapes may lie a little above the true factor
    fitting = [number for number, factor in enumerate(factors) if (factor <= wanted * 1.02).all()]
    level = max(fitting, default=0)
    return level, factors[level]


def block_mean(pixels: NDArray[Any], blocks: Sequence[int]) -> NDArray[np.float32]:
    """Return means over blocks of the leading axes, float32; what is left over at the far borders is dropped."""
    if all(int(n) == 1 for n in blocks):
        return pixels.astype(np.float32)
    whole = [size // int(n) for size, n in zip(pixels.shape, blocks, strict=False)]
    trimmed = pixels[tuple(slice(0, size * int(n)) for size, n in zip(whole, blocks, strict=True))]
    split = [part for size, n in zip(whole, blocks, strict=True) for part in (size, int(n))]
    shaped = trimmed.reshape(*split, *pixels.shape[len(blocks) :])
    means: NDArray[np.float32] = shaped.mean(axis=tuple(range(1, 2 * len(blocks), 2)), dtype=np.float32)
    return means


def single_channel(pixels: NDArray[np.float32], dims: int) -> NDArray[np.float32]:
    """Return brightness: the luma of red, green and blue, the mean of other channels, a single one as it is."""
    if pixels.ndim == dims:
        return pixels
    if pixels.shape[-1] in (3, 4):
        grey: NDArray[np.float32] = pixels[..., :3] @ np.asarray(LUMA, dtype=np.float32)
        return grey
    mean: NDArray[np.float32] = pixels.mean(axis=-1, dtype=np.float32)
    return mean


def _slab(shape: Sequence[int], skip: int, block: int) -> int:
    """Return how many rows or slices are read at once: a multiple of the stride and of the block."""
    unit = skip * block
    per_unit = int(np.prod(shape[1:], dtype=np.int64)) * block
    return unit * max(1, SLAB_PIXELS // max(per_unit, 1))
