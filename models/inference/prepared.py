"""An image as a network sees it, read box by box: nothing is decoded, resampled or scaled but what is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medlab.geometry import Grid
from napari_medlab.images.tiles import MemoryTiles, TileArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.inference.skipping import Foreground

__all__ = ["Intensity", "Prepared"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""What red, green and blue contribute to grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class Intensity:
    """From pixel values to a network's: cut at the limits, subtract ``shift``, multiply with ``gain``, channel by channel.

    Parameters
    ----------
    shift, gain : tuple of float
        One for each channel, or one for all.
    limits : (low, high) or None
        In pixel values.
    to_grey : bool
        Whether red, green and blue become one channel first.
    """

    shift: tuple[float, ...] = (0.0,)
    gain: tuple[float, ...] = (1.0,)
    limits: tuple[float, float] | None = None
    to_grey: bool = False

    def fill(self, pixels: NDArray[Any], out: NDArray[np.float32]) -> None:
        """Write what the network sees of pixels (…[, channel]) into ``out`` (channel, …); grey fills every channel."""
        if self.to_grey:
            pixels = pixels[..., :3].astype(np.float32) @ LUMA
        planes = pixels[None] if pixels.ndim < out.ndim else np.moveaxis(pixels, -1, 0)
        for number, plane in enumerate(out):
            values = planes[min(number, len(planes) - 1)]
            if self.limits is not None:
                values = np.clip(values.astype(np.float32, copy=False), *self.limits, out=plane)
            if shift := self.shift[number % len(self.shift)]:
                values = np.subtract(values, np.float32(shift), out=plane)
            np.multiply(values, np.float32(self.gain[number % len(self.gain)]), out=plane)

    def of(self, value: float, channels: int) -> NDArray[np.float32]:
        """Return what the network sees of one pixel value in every channel, float32 (channel,)."""
        cut = value if self.limits is None else min(max(value, self.limits[0]), self.limits[1])
        seen = (cut - np.asarray(self.shift)) * np.asarray(self.gain)
        return np.asarray(np.resize(seen, channels), np.float32)


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image, lazily, on the lattice and in the values of a network; safe to read from several threads.

    Parameters
    ----------
    samples : TileArray
        (z, y, x) or (y, x[, channel]): pixel values on the lattice.
    grid : Grid
        Of the lattice: ``grid.to_world`` takes its voxel indices to the world of the image.
    channels : int
    intensity : Intensity
    background : float
        The pixel value outside the image.
    find : callable, optional
        Takes the name of a skip rule and returns where the image can hold something.
    """

    samples: TileArray
    grid: Grid
    channels: int = 1
    intensity: Intensity = field(default_factory=Intensity)
    background: float = 0.0
    find: Callable[[str], Foreground | None] | None = None

    @classmethod
    def of_array(cls, array: NDArray[np.float32], grid: Grid | None = None) -> Self:
        """Return what was prepared before: an array (channel, …) that is seen as it is, in pixels where no grid is given."""
        shape = array.shape[1:]
        lattice = Grid.axis_aligned(shape, (1.0,) * len(shape), unit="px") if grid is None else grid
        pixels = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
        return cls(TileArray(MemoryTiles(pixels)), lattice, len(array))

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape, (z, y, x) or (y, x)."""
        return self.grid.shape

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        """Return a box of voxels as the network sees it, float32 (channel, …); outside the image is the fill value.

        Parameters
        ----------
        start, stop : sequence of int
            Voxel indices in array order; they may lie outside the image.
        """
        sides = [b - a for a, b in zip(start, stop, strict=True)]
        out = np.empty((self.channels, *sides), np.float32)
        inside = [(max(a, 0), min(b, size)) for a, b, size in zip(start, stop, self.shape, strict=True)]
        is_whole = all((a, b) == ends for a, b, ends in zip(start, stop, inside, strict=True))
        if not is_whole:
            fill = self.intensity.of(self.background, self.channels)
            out[...] = fill.reshape(-1, *(1,) * len(sides))
        if all(low < high for low, high in inside):
            pixels = self.samples.read(tuple(slice(low, high) for low, high in inside))
            box = tuple(slice(low - a, high - a) for a, (low, high) in zip(start, inside, strict=True))
            self.intensity.fill(pixels, out[(slice(None), *box)])
        return out

    def foreground(self, rule: str) -> Foreground | None:
        """Return where the image can hold something; None where the rule skips nothing, or nothing is known.

        Parameters
        ----------
        rule : {"none", "air", "glass"}
            See :func:`napari_medlab.models.inference.skipping.find_foreground`.
        """
        return None if self.find is None else self.find(rule)
