"""How an object looks, as numbers to compare: brightness on a small lattice around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.hardcases.describing.descriptors import radii_of
from napari_medlab.hardcases.describing.surroundings import cut_crop

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.hardcases.describing.surroundings import Crop
    from napari_medlab.hardcases.describing.table import DescriptorTable
    from napari_medlab.images import Image

__all__ = ["APPEARANCE_VERSION", "appearances", "standardised"]

APPEARANCE_VERSION = 1
LATTICE = {2: 11, 3: 7}
"""Points along each axis, by dimensions."""
EXTENT = 1.5
"""How far the lattice goes, in radii."""


def appearances(
    image: Image,
    centres: ArrayLike,
    diameters: ArrayLike,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> NDArray[np.float32]:
    """Return the brightness around objects on a lattice that grows with them, float32 (n, points).

    Each object's values have mean 0 and deviation 1, so that shape counts and brightness does not. Parameters are those of
    :func:`napari_medlab.hardcases.describing.descriptors.describe`; an object outside the image has zeros.
    """
    turned = image.oriented()
    radii = radii_of(image, diameters)
    dims = turned.grid.ndim
    points = np.zeros((len(radii), LATTICE[dims] ** dims), np.float32)
    if not len(radii):
        return points
    index = turned.grid.to_index(np.asarray(centres, dtype=np.float64)[:, :dims])
    for done, row in enumerate(np.lexsort(index.T[::-1]).tolist(), start=1):
        if stop is not None:
            stop()
        radius = float(radii[row])
        crop = cut_crop(turned, index[row], radius, stop) if bool(turned.grid.contains(index[row])) else None
        if crop is not None:
            points[row] = _sampled(crop, radius)
        if on_progress is not None:
            on_progress(done, len(radii))
    return points


def standardised(table: DescriptorTable, looks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return descriptors and looks as one embedding, float32 (n, features), in which both weigh the same.

    Each column has mean 0 and deviation 1 over all objects; what is unknown lies at the mean.
    """
    numbers = np.stack([np.zeros(len(table)), *table.numbers.values()], axis=1)
    both = [
        _columns(block) / np.sqrt(max(block.shape[1], 1)) for block in (numbers, looks.astype(np.float64))
    ]
    return np.concatenate(both, axis=1).astype(np.float32)


def _columns(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    counts = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, values - np.where(known, values, 0).sum(axis=0) / counts, 0)
    deviation = np.sqrt((centred**2).sum(axis=0) / counts)
    # a long tail must not hide all differences among the rest
    scaled: NDArray[np.float64] = np.clip(centred / np.where(deviation > 0, deviation, 1), -4, 4)
    return scaled


def _sampled(crop: Crop, radius: float) -> NDArray[np.float32]:
    from scipy import ndimage

    dims = crop.values.ndim
    steps = np.linspace(-EXTENT, EXTENT, LATTICE[dims]) * radius
    axes = [middle + steps / step for middle, step in zip(crop.middle, crop.spacing, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(dims, -1)
    values = ndimage.map_coordinates(crop.values, places, order=1, mode="nearest")
    spread = float(values.std())
    looks: NDArray[np.float32] = (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
    return looks
