"""Small pictures of crops: to show, and to tell near-duplicates by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["picture_of", "thumbnail"]

SIDES = {2: 16, 3: 8}
"""How many parts each axis of a thumbnail has, by the number of axes."""
LEAST_CONTRAST = 1e-3


def thumbnail(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the means of equal parts of a crop (channel, …), as a vector of length 1 and mean 0; 0 where it is flat.

    The product of two of them is the correlation of what the crops look like from afar.
    """
    grey = image.mean(axis=0, dtype=np.float64)
    for axis in range(grey.ndim):
        edges = np.unique(np.linspace(0, grey.shape[axis], SIDES[image.ndim - 1] + 1).astype(int)[:-1])
        sizes = np.diff([*edges, grey.shape[axis]]).reshape(
            [-1 if a == axis else 1 for a in range(grey.ndim)]
        )
        grey = np.add.reduceat(grey, edges, axis=axis) / sizes
    flat = grey.ravel() - grey.mean()
    length = float(np.linalg.norm(flat))
    is_flat = length < LEAST_CONTRAST * np.sqrt(len(flat))
    return np.asarray(np.zeros_like(flat) if is_flat else flat / length, np.float32)


def picture_of(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the middle slice of a crop (channel, …) as grey (y, x) or colours (y, x, 3), between its 1st and 99th percentile."""
    middle = image[:, image.shape[1] // 2] if image.ndim == 4 else image
    values = np.asarray(middle, np.float32)
    low, high = np.percentile(values, (1, 99))
    scaled = np.clip((values - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(scaled, 0, -1) if len(scaled) == 3 else scaled[0])
