"""The half pixel between formats that count from pixel corners and arrays that count from pixel centres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["centres_to_corners", "corners_to_centres"]


def corners_to_centres(points: ArrayLike) -> NDArray[np.float64]:
    """Return points of a pixel-corner format (COCO, GeoJSON, ImageJ) as indices with 0 at a pixel's centre."""
    return np.asarray(points, dtype=np.float64) - 0.5


def centres_to_corners(points: ArrayLike) -> NDArray[np.float64]:
    """Return indices with 0 at a pixel's centre as points counted from the image's corner."""
    return np.asarray(points, dtype=np.float64) + 0.5
