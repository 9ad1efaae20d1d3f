"""Pixel values as greys and colours of a picture, as the window shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images import Image, Window

__all__ = ["MOST_CHANNELS", "Tones", "tones_of"]

CHANNEL_RGB = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1))
"""Nuclei, which come first by custom, in blue; then green, red and magenta."""
MOST_CHANNELS = len(CHANNEL_RGB)
PERCENTILES = (0.5, 99.5)
PATCH, PATCHES = 256, 4
"""Limits are found in squares of this many pixels, so many a side, where an image is large."""
SAMPLED_SLICES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Tones:
    """How pixel values become brightness: the same for all pictures of one image.

    Parameters
    ----------
    limits : tuple of (low, high)
        The pixel values shown black and white; one pair for each channel, one alone for grey images. For red, green
        and blue, what the type of a pixel can hold.
    curve : tuple of float
        Brightness, 0 to 1, at even steps between the limits; empty for a straight line.
    is_inverted : bool
        Whether high values are shown dark.
    is_rgb : bool
    """

    limits: tuple[tuple[float, float], ...]
    curve: tuple[float, ...] = ()
    is_inverted: bool = False
    is_rgb: bool = False

    def __call__(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a picture.

        Parameters
        ----------
        pixels : array (y, x), or (y, x, channel) for images of several channels

        Returns
        -------
        uint8 array (y, x), or (y, x, 3) where there are several channels
        """
        if self.is_rgb:
            return _as_bytes(_share(pixels[..., :3], self.limits[0]))
        if pixels.ndim == 3:
            return _as_bytes(self._composite(pixels))
        share = _share(pixels, self.limits[0])
        if self.curve:
            share = np.interp(share, np.linspace(0, 1, len(self.curve)), np.clip(self.curve, 0, 1)).astype(
                np.float32
            )
        return _as_bytes(1 - share if self.is_inverted else share)

    def _composite(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return the channels, each in its colour, added up."""
        channels = min(pixels.shape[-1], len(self.limits))
        shares = np.stack([_share(pixels[..., c], self.limits[c]) for c in range(channels)], axis=-1)
        return shares @ np.asarray(CHANNEL_RGB[:channels], np.float32)


def tones_of(image: Image, window: Window | None = None) -> Tones:
    """Return how an image is shown.

    Parameters
    ----------
    image : Image
    window : Window, optional
        The image's first where left out; where it has none, 99 of 100 pixels of a small sample lie between the limits.
    """
    if image.is_rgb:
        return Tones(
            ((0.0, float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else 1.0),), is_rgb=True
        )
    chosen = window or next(iter(image.windows), None)
    is_single = len(image.shape) == image.grid.ndim
    if chosen is not None and is_single:
        return Tones(((chosen.low, chosen.high),), chosen.curve, image.is_inverted)
    sample = _sample(image)
    channels = [sample] if is_single else [sample[..., number] for number in range(sample.shape[-1])]
    return Tones(tuple(_limits(channel) for channel in channels), is_inverted=image.is_inverted)


def _sample(image: Image) -> NDArray[Any]:
    """Return pixels from all over an image: of three slices, or of some squares of the coarsest level in the file."""
    if image.kind == "volume":
        array = image.arrays[0]
        step = [max(1, size // PATCH) for size in image.shape[1:3]]
        slices = sorted({int(share * (image.shape[0] - 1)) for share in SAMPLED_SLICES})
        return np.stack([array[number, :: step[0], :: step[1]] for number in slices])
    base = image.arrays[len(image.arrays) - 1 - int(image.details.get("added_levels", 0))]
    rows, columns = (np.linspace(0, max(0, size - PATCH), PATCHES).astype(int) for size in base.shape[:2])
    channels = (slice(0, MOST_CHANNELS),) if base.ndim == 3 else ()
    squares = [
        base[(slice(y, y + PATCH), slice(x, x + PATCH), *channels)] for y in set(rows) for x in set(columns)
    ]
    return np.concatenate([square.reshape(-1, *square.shape[2:]) for square in squares])


def _limits(pixels: NDArray[Any]) -> tuple[float, float]:
    finite = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels
    low, high = np.percentile(finite, PERCENTILES) if finite.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _share(pixels: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.float32]:
    """Return where values lie between two limits, 0 to 1; what is no number is black."""
    low, high = limits
    share = (np.asarray(pixels, np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-12))
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(share, nan=0.0), 0, 1)
    return clipped


def _as_bytes(share: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
