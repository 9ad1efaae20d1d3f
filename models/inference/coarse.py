"""Every few pixels of an image: what its background, its limits and its outline are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import index_at_level0, level_factors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Image
    from napari_medlab.images.tiles import TileArray

__all__ = ["Coarse", "read_coarse"]

COARSE_MM = 4.0
"""How far apart the voxels of a volume are that are read."""
COARSE_PX = 1024
"""A planar image is read with at most about this many pixels a side."""


@dataclass(frozen=True, eq=False)
class Coarse:
    """Every few pixels of an image.

    Parameters
    ----------
    pixels : array (z, y, x) or (y, x[, channel]), as stored
    steps : float64 array
        How many pixels of level 0 lie between two of them, axis by axis.
    first : float64 array
        The level-0 index of the first.
    """

    pixels: NDArray[Any]
    steps: NDArray[np.float64]
    first: NDArray[np.float64]


def read_coarse(image: Image, levels: Sequence[TileArray]) -> Coarse:
    """Read a volume at about 4 mm, and a planar image from its lowest level.

    Parameters
    ----------
    image : Image
    levels : sequence of TileArray
        What reads its levels, finest first.
    """
    dims = image.grid.ndim
    lowest = levels[-1]
    factor = np.asarray(level_factors([level.shape[:dims] for level in levels])[-1])
    if image.kind == "volume":
        stride = np.maximum(1, np.round(COARSE_MM / (np.asarray(image.grid.spacing_mm) * factor)))
    else:
        stride = np.full(dims, -(-max(lowest.shape[:dims]) // COARSE_PX))
    pixels = lowest.read(tuple(slice(None, None, int(step)) for step in stride))
    return Coarse(pixels, stride * factor, index_at_level0(np.zeros(dims), factor))
