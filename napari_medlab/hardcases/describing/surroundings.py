"""One object and what is around it: a crop, and what is measured there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry import index_at_level
from napari_medlab.hardcases.describing.reduced_image import block_mean, level_for, single_channel
from napari_medlab.hardcases.describing.tubes import tubes_around

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["Crop", "Measures", "cut_crop", "measure"]

PIXELS_TO_BORDER = {2: 32.0, 3: 10.0}
"""At least this many pixels lie between the middle of a crop and its border before it is made coarser, by dimensions."""
CORE = 0.8
"""The share of the radius within which the inside is measured: further out pixels hold some of both."""
NOISE_PER_MEDIAN = 1 / (0.6745 * np.sqrt(2))
"""From the median difference between neighbours to the deviation of the noise."""


@dataclass(frozen=True, eq=False)
class Crop:
    """The surroundings of one object.

    Parameters
    ----------
    values : float32 array (z, y, x) or (y, x)
        Brightness; averaged in blocks where the object is large.
    distance : float64 array of the same shape
        From the object's centre, in ``unit``.
    spacing, middle : (d,) float64 arrays
        The steps between pixels, and the object's centre as an index of ``values``.
    unit : str
    noise : float
        The deviation between neighbours in the middle plane, as they are stored; nan where there are none.
    """

    values: NDArray[np.float32]
    distance: NDArray[np.float64]
    spacing: NDArray[np.float64]
    middle: NDArray[np.float64]
    unit: str
    noise: float


@dataclass(frozen=True)
class Measures:
    """What is measured at one object; nan where it cannot be.

    Parameters
    ----------
    mean : float
        Of the inner four fifths of the radius.
    contrast : float
        ``mean`` minus the mean of a shell around the object.
    noise : float
        As in :class:`Crop`.
    sharpness : float
        The steepest step of the mean brightness near the rim, per unit of length.
    vesselness : float
        0 to 1; how tube-like the shell is at its most tube-like.
    is_attached : bool
        Whether a tube begins at the object's rim.
    """

    mean: float
    contrast: float
    noise: float
    sharpness: float
    vesselness: float
    is_attached: bool


def reach(radius: float, pixel: float) -> float:
    """Return how far from its centre the surroundings of an object go: twice its radius, four pixels beyond it at least."""
    return radius + max(radius, 4 * pixel)


def cut_crop(
    image: Image, index: NDArray[np.float64], radius: float, stop: Callable[[], None] | None = None
) -> Crop | None:
    """Return the surroundings of the object at a level-0 index, clipped by the image; None where nothing is left.

    Parameters
    ----------
    image : Image
    index : (d,) float64 array
    radius : float
        In the unit of the grid.
    stop : callable, optional
        Called before each tile is decoded; it raises where nobody wants the crop any more.
    """
    dims = image.grid.ndim
    base = np.asarray(image.grid.spacing)
    half = reach(radius, float(base.min())) + float(base.min())
    step = half / PIXELS_TO_BORDER[dims]
    level, factor = level_for(image, np.maximum(step / base, 1.0))
    spacing = base * factor
    at = index_at_level(index, factor)
    shape = np.asarray(image.sources[level].shape[:dims])
    blocks = np.clip(np.rint(step / spacing), 1, shape).astype(int)
    start = np.maximum(0, np.floor(at - half / spacing - blocks / 2).astype(int))
    end = np.minimum(shape, np.ceil(at + half / spacing + blocks / 2).astype(int) + 1)
    end = np.minimum(shape, start + -(-(end - start) // blocks) * blocks)
    if (end - start < blocks).any():
        return None
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, end, strict=True))
    raw = single_channel(image.arrays[level].read(box, stop=stop).astype(np.float32), dims)
    values = block_mean(raw, blocks.tolist())
    middle = (at - start + 0.5) / blocks - 0.5
    steps = [(np.arange(n) - m) * s for n, m, s in zip(values.shape, middle, spacing * blocks, strict=True)]
    distance = np.sqrt(sum(np.ix_(*(step**2 for step in steps))))
    return Crop(values, distance, spacing * blocks, middle, image.grid.unit, _noise(raw))


def measure(crop: Crop, radius: float, *, is_dark: bool = False) -> Measures:
    """Return what is measured at an object.

    Parameters
    ----------
    crop : Crop
    radius : float
    is_dark : bool
        Whether vessels are darker than what is around them.
    """
    pixel = float(crop.spacing.min())
    inside = crop.distance <= max(CORE * radius, float(crop.distance.min()))
    gap = max(0.25 * radius, 0.75 * pixel)
    outer = reach(radius, pixel)
    shell = (crop.distance > radius + gap) & (crop.distance <= outer)
    mean = float(crop.values[inside].mean())
    around = float(crop.values[shell].mean()) if shell.any() else np.nan
    bright = -crop.values if is_dark else crop.values
    tubes = tubes_around(bright, crop.distance, crop.spacing, (radius, outer), crop.unit)
    return Measures(
        mean, mean - around, crop.noise, _sharpness(crop, radius), tubes.vesselness, tubes.is_attached
    )


def _noise(raw: NDArray[np.float32]) -> float:
    plane = raw[len(raw) // 2] if raw.ndim == 3 else raw
    if plane.shape[-1] < 2:
        return float("nan")
    return float(np.median(np.abs(np.diff(plane, axis=-1))) * NOISE_PER_MEDIAN)


def _sharpness(crop: Crop, radius: float) -> float:
    """Return the steepest slope of the radial profile between half the radius and one and a half of it."""
    width = max(float(crop.spacing.mean()), radius / 6)
    ring = (crop.distance / width).astype(np.intp).ravel()
    counts = np.bincount(ring)
    profile = np.bincount(ring, crop.values.ravel()) / np.maximum(counts, 1)
    middles = (np.arange(len(counts)) + 0.5) * width
    near = (counts > 0) & (middles >= 0.4 * radius - width) & (middles <= 1.6 * radius + width)
    if near.sum() < 2:
        return float("nan")
    return float(np.abs(np.diff(profile[near]) / np.diff(middles[near])).max())
