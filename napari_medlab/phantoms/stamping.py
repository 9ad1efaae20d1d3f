"""Many soft balls stamped into a volume at once: the brush that vessels, airways and spicules are painted with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["stamp_balls"]

CHUNK = 4096
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
    offsets = np.stack(np.meshgrid(*[np.arange(-s, s + 1) for s in size], indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    base = np.rint(centres_mm / spacing_mm).astype(int)
    index = base[:, None, :] + offsets[None]
    distance = np.linalg.norm(index * spacing_mm - centres_mm[:, None, :], axis=-1)
    value = np.clip(0.5 + (radii_mm[:, None] - distance) / edge_mm, 0.0, 1.0).astype(np.float32)
    keep = (value > 0) & (index >= 0).all(axis=-1) & (index < field.shape).all(axis=-1)
    flat = np.ravel_multi_index(tuple(index[keep].T), field.shape)
    np.maximum.at(field.reshape(-1), flat, value[keep])
