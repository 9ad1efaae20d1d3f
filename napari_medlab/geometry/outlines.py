"""Outlines to masks and back, by one rule: a pixel belongs to an outline when its centre lies inside (even-odd)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Ring", "mask_to_rings", "ring_area", "rings_to_mask"]

Ring = np.ndarray[tuple[int, int], np.dtype[np.float64]]
"""A closed outline: float64 array (n, 2) of (y, x) indices, pixel centres at integers, last vertex joined to the first."""


def rings_to_mask(rings: Iterable[ArrayLike], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (y, x) of the pixels whose centres lie inside an odd number of rings.

    Holes and several parts need no marking: a ring inside a ring is a hole. A centre that lies exactly on an edge counts
    as inside for left and upper edges and as outside for right and lower ones, so that neighbours never share a pixel.

    Parameters
    ----------
    rings : iterable of (n, 2) arrays, (y, x) indices
    shape : sizes (y, x) of the mask; what lies outside is cut off
    """
    height, width = shape
    toggles = np.zeros((height, width + 1), dtype=np.int32)
    for ring in rings:
        start = np.asarray(ring, dtype=np.float64)
        _toggle_edges(toggles, start, np.roll(start, -1, axis=0), height, width)
    inside: NDArray[np.bool_] = (np.cumsum(toggles, axis=1)[:, :width] % 2).astype(bool)
    return inside


def _toggle_edges(
    toggles: NDArray[np.int32], start: NDArray[np.float64], end: NDArray[np.float64], height: int, width: int
) -> None:
    """Count, for each row, where the edges cross the line through its pixel centres."""
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.clip(np.ceil(low), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(high), 0, height).astype(np.int64)
    counts = stop - first
    edge = np.repeat(np.arange(len(start)), counts)
    if edge.size == 0:
        return
    within = np.arange(edge.size) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = first[edge] + within
    slope = (end[edge, 1] - start[edge, 1]) / (end[edge, 0] - start[edge, 0])
    crossing = start[edge, 1] + (rows - start[edge, 0]) * slope
    columns = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
    np.add.at(toggles, (rows, columns), 1)


def mask_to_rings(mask: ArrayLike) -> list[NDArray[np.float64]]:
    """Return outlines whose :func:`rings_to_mask` is exactly the mask.

    Parameters
    ----------
    mask : bool array, (y, x)

    Returns
    -------
    list of float64 arrays (n, 2), (y, x) indices. Vertices lie half-way between a pixel inside and its neighbour outside
    (marching squares: Lorensen and Cline, 1987); diagonal neighbours are kept apart.
    """
    from skimage.measure import find_contours

    padded = np.pad(np.asarray(mask, dtype=np.float64), 1)
    return [ring[:-1] - 1.0 for ring in find_contours(padded, 0.5, fully_connected="low")]


def ring_area(ring: ArrayLike) -> float:
    """Return the signed area of a ring in square pixels (the shoelace formula); positive where x then y turns left."""
    points = np.asarray(ring, dtype=np.float64)
    y, x = points[:, 0], points[:, 1]
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
