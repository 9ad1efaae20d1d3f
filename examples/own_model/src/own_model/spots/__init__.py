"""Finds round, dense spots of a few millimetres: a difference of two blurs, and its peaks."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medlab.models.plugins import Found

SIGMAS = (1.5, 2.5, 4.0)
"""Widths in voxels of what is looked for; bundle.json asks for voxels of 1.5 mm."""


def detect(tile: NDArray[np.float32]) -> Iterator[Found]:
    """Yield what is found in a tile, (channel, z, y, x), 0 … 1; coordinates are those of the tile."""
    blobs = [
        ndimage.gaussian_filter(tile[0], sigma) - ndimage.gaussian_filter(tile[0], 1.6 * sigma)
        for sigma in SIGMAS
    ]
    strength = np.max(blobs, axis=0)
    is_peak = (strength > 0.05) & (strength == ndimage.maximum_filter(strength, 5))
    for z, y, x in np.argwhere(is_peak).tolist():
        sigma = SIGMAS[int(np.argmax([blob[z, y, x] for blob in blobs]))]
        yield Found((z, y, x), size=3.5 * sigma, score=min(4 * float(strength[z, y, x]), 1.0))
