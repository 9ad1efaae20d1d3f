"""A region grown from one point: as far as the brightness changes most, all around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.correcting.masks import MOST_VOXELS, Patch
from napari_medlab.correcting.snapping import grey_of
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["GrowLimits", "grow"]

RAYS = {2: 96, 3: 400}
"""In how many directions the border is looked for, by dimension."""
WORKING_RADIUS = 80.0
"""Larger objects are worked on at a lower resolution, at which the greatest radius is so many pixels."""
ROUNDS, SWEEPS = 3, 8
WIDTH = 0.45
"""An edge is the difference of what lies so far before and after it, as a share of the distance."""
STRONGEST = 1.2
"""No edge counts for more than this many typical ones: ribs must not draw the border of a nodule away."""


@dataclass(frozen=True)
class GrowLimits:
    """What is grown at least and at most.

    Parameters
    ----------
    largest, smallest : float
        The radius, in the unit of the spacing; nothing grows beyond the largest, so that nothing leaks. A smallest of 0
        stands for a tenth of the largest.
    smoothness : float
        How strongly the distance of the border follows that of its neighbours.
    blur : float
        The sigma of the Gaussian that takes the noise away, in pixels.
    """

    largest: float
    smallest: float = 0.0
    smoothness: float = 3.0
    blur: float = 0.5

    @classmethod
    def around(cls, diameter: float) -> GrowLimits:
        """Return the limits for an object of which about the diameter is known."""
        return cls(0.75 * diameter, 0.3 * diameter)


def grow(pixels: NDArray[Any], seed: Sequence[float], spacing: Sequence[float], limits: GrowLimits) -> Patch:
    """Return the mask of the object around a seed.

    From a centre, the brightness is read along rays. First the sphere (in 2D, circle) is chosen across which it changes
    most, then each ray's border moves to the steepest step of the same direction that agrees with its neighbours; then
    all is done again from the middle of what was found. It is the star-shaped optimal border of Wang, Engelmann and Li
    ("Segmentation of pulmonary nodules in three-dimensional CT images by use of a spiral-scanning technique", 2007) with
    neighbours on the sphere in place of a spiral. Nothing leaks into vessels or the chest wall, which flooding does.

    On phantoms, from seeds anywhere in the inner half of the object, the mean Dice was 0.63 for nodules and 0.86 for
    masses, and 0.69, 0.90 and for glomeruli 0.73 where the diameter was known to within 30 %. Flooding between the
    brightness of the seed and of its surroundings, with a morphological opening, came to 0.48 and 0.65, and flooding of
    an interval around the seed's brightness (confidence connected) to 0.13 and 0.39.

    Parameters
    ----------
    pixels : array (z, y, x), (y, x), or (y, x, 3) for RGB
        A part of the image.
    seed : index in it, one for each axis
    spacing : one for each axis
    limits : GrowLimits

    Returns
    -------
    Patch
        The mask of a box in ``pixels``; its origin counts from the first of them.

    Raises
    ------
    InputRefusedError
        For a seed outside, a part that is too large, and limits that leave nothing to choose.
    """
    step = np.asarray(spacing, dtype=np.float64)
    grey = grey_of(pixels) if len(step) == 2 else np.asarray(pixels, dtype=np.float64)
    centre = np.asarray(seed, dtype=np.float64)
    _check(grey, centre, limits)
    low = np.maximum(np.floor(centre - 1.5 * limits.largest / step), 0).astype(int)
    high = np.minimum(np.ceil(centre + 1.5 * limits.largest / step).astype(int) + 1, grey.shape)
    box = grey[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    small, ratio = _shrunk(box, limits.largest / step)
    rays = _Rays.of(grey.ndim)
    middle, radii = _found(small, ((centre - low) + 0.5) / ratio - 0.5, step * ratio, limits, rays)
    return Patch(rays.filled(box.shape, (middle + 0.5) * ratio - 0.5, radii, step), tuple(low.tolist()))


def _check(grey: NDArray[np.float64], centre: NDArray[np.float64], limits: GrowLimits) -> None:
    if grey.size > MOST_VOXELS:
        raise InputRefusedError(
            f"{grey.size:,} voxels are more than is grown in at once.",
            code="too-large",
            hint="Hand in a part of it.",
        )
    if centre.shape != (grey.ndim,) or (centre < -0.5).any() or (centre > np.asarray(grey.shape) - 0.5).any():
        raise InputRefusedError(
            f"The seed {centre.tolist()} lies outside the {grey.shape} voxels.", code="outside"
        )
    if not 0 <= limits.smallest < limits.largest:
        raise InputRefusedError(
            f"A radius between {limits.smallest:g} and {limits.largest:g} leaves nothing to choose.",
            code="limits",
        )


def _shrunk(
    grey: NDArray[np.float64], radius: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels at a resolution to work on, and how many of them were there for each of these."""
    from scipy import ndimage

    factor = np.maximum(1.0, radius / WORKING_RADIUS)
    if (factor == 1).all():
        return grey, np.ones(grey.ndim)
    soft = ndimage.gaussian_filter(grey, factor / 2)
    small = np.asarray(
        ndimage.zoom(soft, 1 / factor, order=1, grid_mode=True, mode="nearest"), dtype=np.float64
    )
    return small, np.asarray(grey.shape) / small.shape


def _found(
    grey: NDArray[np.float64],
    centre: NDArray[np.float64],
    step: NDArray[np.float64],
    limits: GrowLimits,
    rays: _Rays,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle of the object and the distance of its border along each ray."""
    from scipy import ndimage

    soft = ndimage.gaussian_filter(grey, limits.blur)
    least = max(limits.smallest or limits.largest / 10, float(step.min()))
    distances = np.arange(least, max(limits.largest, 2 * least), 0.5 * float(step.min()))
    radii = _border(soft, centre, step, distances, limits, rays)
    for _ in range(ROUNDS - 1):
        power = grey.ndim
        weight = (radii**power).sum() * (power + 1) / power
        centre = centre + (rays.directions * (radii ** (power + 1))[:, None]).sum(axis=0) / weight / step
        radii = _border(soft, centre, step, distances, limits, rays)
    return centre, radii


def _border(
    grey: NDArray[np.float64], centre: NDArray[np.float64], step: NDArray[np.float64], distances: NDArray[np.float64],
    limits: GrowLimits, rays: _Rays,
) -> NDArray[np.float64]:  # fmt: skip
    slope = _steps(rays.read(grey, centre, step, distances), distances)
    slope /= max(float(np.median(np.abs(slope).max(axis=1))), 1e-9)
    capped = np.clip(slope, -STRONGEST, STRONGEST)
    overall = capped.mean(axis=0)
    best = int(np.abs(overall).argmax())
    gain = np.maximum(capped * (np.sign(overall[best]) or 1.0), 0.0)
    radii = np.full(len(gain), distances[best])
    for _ in range(SWEEPS):
        around = rays.weights @ radii
        bent = ((distances[None] - around[:, None]) / distances[best]) ** 2
        radii = distances[(gain - limits.smoothness * bent).argmax(axis=1)]
    smoothed: NDArray[np.float64] = 0.5 * (radii + rays.weights @ radii)
    return smoothed


def _steps(brightness: NDArray[np.float64], distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much brighter each ray (n, distances) is just before a distance than just after it, on average."""
    gap = distances[1] - distances[0]
    total = np.pad(np.cumsum(brightness, axis=1), ((0, 0), (1, 0)))
    at = np.rint(distances / gap).astype(int) + 1
    half = np.maximum(np.rint(WIDTH * distances / gap).astype(int), 1)
    low = np.maximum(at - half, 0)
    before = (total[:, at] - total[:, low]) / (at - low)
    after = (total[:, at + half] - total[:, at]) / half
    steps: NDArray[np.float64] = before - after
    return steps


@dataclass(frozen=True, eq=False)
class _Rays:
    """Unit vectors (n, ndim) spread evenly, and how much each heeds every other."""

    directions: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, ndim: int) -> _Rays:
        row = np.arange(RAYS[ndim]) + 0.5
        if ndim == 2:
            angle = 2 * np.pi * row / len(row)
            columns = [np.sin(angle), np.cos(angle)]
        else:
            # the golden spiral on the sphere
            height, turn = 1 - 2 * row / len(row), np.pi * (1 + 5**0.5) * row
            radius = np.sqrt(1 - height**2)
            columns = [height, radius * np.sin(turn), radius * np.cos(turn)]
        directions: NDArray[np.float64] = np.column_stack(columns).astype(np.float64)
        weights = np.exp(10 * (directions @ directions.T - 1))
        np.fill_diagonal(weights, 0)
        shares = np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
        return cls(directions, shares)

    def read(
        self,
        grey: NDArray[np.float64],
        centre: NDArray[np.float64],
        step: NDArray[np.float64],
        distances: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the brightness (n, distances), from the centre on to beyond the last distance."""
        from scipy import ndimage

        gap = distances[1] - distances[0]
        at = np.arange(0, (1 + WIDTH) * distances[-1] + 4 * gap, gap)
        places = centre[:, None, None] + (self.directions[:, None] * at[None, :, None] / step).transpose(
            2, 0, 1
        )
        return np.asarray(ndimage.map_coordinates(grey, places, order=1, mode="nearest"), dtype=np.float64)

    def filled(
        self,
        shape: tuple[int, ...],
        centre: NDArray[np.float64],
        radii: NDArray[np.float64],
        step: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return the mask of what lies nearer to the centre than the border, as three rays around it have it."""
        from scipy.spatial import cKDTree

        grid = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij"), axis=-1)
        away = (grid - centre) * step
        distance = np.sqrt((away**2).sum(axis=-1))
        near = distance <= radii.max()
        apart, rows = cKDTree(self.directions).query(
            away[near] / np.maximum(distance[near], 1e-9)[:, None], k=3
        )
        share = 1 / (apart + 1e-3)
        mask = np.zeros(shape, bool)
        mask[near] = distance[near] <= (radii[rows] * share).sum(axis=1) / share.sum(axis=1)
        return mask
