"""Many soft balls stamped into a volume at once: the brush that vessels, airways and spicules are painted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["stamp_balls"]

CHUNK = 1024
"""Balls stamped in one go: bounds the memory of the index arrays."""


def stamp_balls(
    field: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
    centres_mm: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    edge_mm: float,
) -> None:
    """Raise an occupancy field, in place, to that of balls with soft edges.

    Parameters
    ----------
    field : float32 array (z, y, x), occupancy 0 to 1
    spacing_mm : (3,), spacing in array order
    centres_mm : (n, 3), centres in mm along the array axes (z, y, x), 0 at the first voxel's centre
    radii_mm : (n,)
    edge_mm : the width over which occupancy falls from 1 to 0, centred on the surface
    """
    reach = np.ceil((radii_mm[:, None] + edge_mm) / spacing_mm).astype(int)
    for size in np.unique(reach, axis=0):
        members = np.flatnonzero((reach == size).all(axis=1))
        for start in range(0, len(members), CHUNK):
            rows = members[start : start + CHUNK]
            _stamp_same_size(field, spacing_mm, centres_mm[rows], radii_mm[rows], (size, edge_mm))


def _stamp_same_size(
    field: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
    centres_mm: NDArray[np.float64],
    radii_mm: NDArray[np.float64],
    brush: tuple[NDArray[np.int64], float],
) -> None:
    size, edge_mm = brush
    base = np.rint(centres_mm / spacing_mm).astype(int)
    squares, flat, is_inside = np.zeros(()), np.zeros((), int), np.ones((), bool)
    for axis, reach in enumerate(size):
        index = base[:, axis, None] + np.arange(-reach, reach + 1)
        side = np.ones(4, int)  # (ball, z, y, x), of which this is one
        side[[0, axis + 1]] = index.shape
        squares = squares + np.square(index * spacing_mm[axis] - centres_mm[:, axis, None]).reshape(side)
        flat = flat * field.shape[axis] + index.reshape(side)
        is_inside = is_inside & ((index >= 0) & (index < field.shape[axis])).reshape(side)
    distance = np.sqrt(squares, out=squares)
    value = np.clip(0.5 + (radii_mm[:, None, None, None] - distance) / edge_mm, 0.0, 1.0).astype(np.float32)
    keep = (value > 0) & is_inside
    np.maximum.at(field.reshape(-1), flat[keep], value[keep])
