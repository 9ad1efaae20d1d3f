"""An image on another spacing, one tile at a time: what resampling all of it gives, from the pixels around the tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from napari_medlab.images.tiles import TileArray

__all__ = ["ResampledTiles", "Sampling"]

FWHM_PER_SIGMA = 2.3548
SMOOTHED_FROM = 1.25
"""Axes that become coarser by more than this are smoothed first, so that finer detail does not alias."""
TRUNCATE = 2.5
"""The smoothing reaches as many sigmas."""


@dataclass(frozen=True)
class Sampling:
    """Where along one axis the samples lie, as :func:`napari_medlab.geometry.resample` places and smooths them.

    Parameters
    ----------
    size : int
        Of the source.
    count : int
        Of samples.
    ratio, offset : float
        Sample ``i`` lies at ``i * ratio + offset`` on the source.
    """

    size: int
    count: int
    ratio: float
    offset: float

    @property
    def sigma(self) -> float:
        """How far the source is smoothed, in its pixels; 0 for not at all."""
        return float(np.sqrt(self.ratio**2 - 1) / FWHM_PER_SIGMA) if self.ratio > SMOOTHED_FROM else 0.0

    def places(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return where the samples ``start`` … ``stop - 1`` lie on the source."""
        # in this order scipy rounds, on which it depends whether the last sample is just inside
        return np.asarray((np.arange(start, stop) + self.offset / self.ratio) * self.ratio)

    def source(self, start: int, stop: int) -> slice:
        """Return what the samples ``start`` … ``stop - 1`` are made of."""
        reach = int(TRUNCATE * self.sigma + 0.5)
        low = int(np.floor(start * self.ratio + self.offset)) - reach
        high = int(np.floor((stop - 1) * self.ratio + self.offset)) + reach + 2
        low = min(max(0, low), self.size - 1)
        return slice(low, max(low + 1, min(high, self.size)))


class ResampledTiles:
    """A :class:`napari_medlab.images.tiles.TileSource` of float32 samples, in the pixel values of its source.

    Parameters
    ----------
    source : TileArray
        (z, y, x) or (y, x[, channel]).
    axes : sequence of Sampling
        One for each spatial axis.
    limits : (low, high) or None
        What pixel values are cut at before they are smoothed.
    fill : float or None
        The value of samples beyond the outermost pixels' centres; None for that of the nearest pixel.
    tile : tuple of int
        The sides of a tile along the spatial axes.
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)

    def __init__(
        self,
        source: TileArray,
        axes: tuple[Sampling, ...],
        *,
        limits: tuple[float, float] | None,
        fill: float | None,
        tile: tuple[int, ...],
    ) -> None:
        channels = source.shape[len(axes) :]
        self.shape = (*(axis.count for axis in axes), *channels)
        self.tile = (*(min(side, axis.count) for side, axis in zip(tile, axes, strict=True)), *channels)
        self._source, self._axes, self._limits, self._fill = source, axes, limits, fill

    @property
    def key(self) -> Hashable:
        """Its own, as nothing else has its tiles."""
        return id(self)

    def read_tile(self, index: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the samples of one tile."""
        boxes = [
            (number * side, min((number + 1) * side, axis.count))
            for number, side, axis in zip(index, self.tile, self._axes, strict=False)
        ]
        wanted = [axis.source(*box) for axis, box in zip(self._axes, boxes, strict=True)]
        block = self._source.read(tuple(wanted)).astype(np.float32)
        if self._limits is not None:
            np.clip(block, *self._limits, out=block)
        # the axis that loses most comes first: less is left for the others
        for number in sorted(range(len(boxes)), key=lambda number: -self._axes[number].ratio):
            block = self._along(number, block, wanted[number], boxes[number])
        return block

    def _along(
        self, number: int, block: NDArray[np.float32], wanted: slice, box: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Smooth a block along one axis and interpolate it linearly at the samples' places."""
        from scipy import ndimage

        axis = self._axes[number]
        if axis.sigma > 0:
            block = ndimage.gaussian_filter1d(
                block, axis.sigma, axis=number, truncate=TRUNCATE, mode="nearest"
            )
        places = axis.places(*box)
        outside = (places < 0) | (places > axis.size - 1)
        below = np.clip(np.floor(places), 0, axis.size - 1)
        shape = [1] * block.ndim
        shape[number] = len(places)
        weight = np.clip(places - below, 0, 1).astype(np.float32).reshape(shape)
        low = below.astype(np.intp) - wanted.start
        high = np.minimum(low + 1, block.shape[number] - 1)
        base = np.take(block, low, axis=number)
        sampled = np.take(block, high, axis=number)
        sampled -= base
        sampled *= weight
        sampled += base
        if self._fill is not None and outside.any():
            sampled[(slice(None),) * number + (outside,)] = self._fill
        return np.asarray(sampled)
