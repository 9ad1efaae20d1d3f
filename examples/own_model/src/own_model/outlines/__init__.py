"""Marks compact, dense spots of a few millimetres, voxel by voxel."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SIGMAS = (1.5, 2.5)
"""Widths in voxels of what is looked for; bundle.json asks for voxels of 1.5 mm."""


def segment(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how probably each voxel of a tile, (channel, z, y, x), belongs to a spot: (z, y, x), 0 … 1."""
    blobs = [
        ndimage.gaussian_filter(tile[0], sigma) - ndimage.gaussian_filter(tile[0], 1.6 * sigma)
        for sigma in SIGMAS
    ]
    probability: NDArray[np.float32] = 1 / (1 + np.exp(-100.0 * (np.max(blobs, axis=0) - 0.09)))
    return probability
