"""The edges of many outlines at once, fewer of them where they are too short to be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations.region_table import RegionTable

__all__ = ["Edges", "edges_of", "inside", "longest_edges"]

BLOCK = 1 << 16
"""So many rings are measured at once; bounds the memory."""


class Edges(NamedTuple):
    """The edges of some outlines, one from each vertex.

    Parameters
    ----------
    vertices : float64 array, (n, 2)
        (y, x), indices of level 0.
    after : int64 array, (n,)
        Which vertex ends the edge that begins at each.
    owners : int64 array, (n,)
        Of which of the outlines that were asked for each is.
    """

    vertices: NDArray[np.float64]
    after: NDArray[np.int64]
    owners: NDArray[np.int64]


def edges_of(
    table: RegionTable,
    rows: NDArray[np.int64],
    longest: NDArray[np.float32] | None = None,
    short: float = 0.0,
) -> Edges:
    """Return the edges of some regions of a planar table, the closing ones with them.

    Parameters
    ----------
    table : RegionTable
    rows : int64 array, (n,)
    longest : float32 array, (rings of the table,), optional
        What :func:`longest_edges` returns.
    short : float
        Vertices are left out as long as the way from one that is kept to the next is no longer than this.
    """
    ring_counts = table.region_rings[rows + 1] - table.region_rings[rows]
    rings = _ranges(table.region_rings[rows], ring_counts)
    owners = np.repeat(np.arange(len(rows)), ring_counts)
    first = table.ring_starts[rings]
    counts = table.ring_starts[rings + 1] - first
    steps: NDArray[np.int64] | int = 1
    if longest is not None and short > 0:
        steps = np.clip(short / np.maximum(longest[rings], 1e-6), 1, 1e6).astype(np.int64)
    counts = -(-counts // steps)
    vertices = table.vertices[_ranges(first, counts, steps)]
    begins = np.cumsum(counts) - counts
    after = np.arange(1, len(vertices) + 1)
    filled = counts > 0
    after[(begins + counts - 1)[filled]] = begins[filled]
    return Edges(vertices, after, np.repeat(owners, counts))


def longest_edges(table: RegionTable) -> NDArray[np.float32]:
    """Return the length of the longest edge of each ring, float32 (rings,); 0 for rings without vertices."""
    longest = np.zeros(len(table.ring_starts) - 1, np.float32)
    for low in range(0, len(longest), BLOCK):
        starts = table.ring_starts[low : low + BLOCK + 1]
        block = table.vertices[starts[0] : starts[-1]]
        begins, stops = starts[:-1] - starts[0], starts[1:] - starts[0]
        filled = np.flatnonzero(stops > begins)
        if not len(filled):
            continue
        steps = np.empty_like(block)
        np.subtract(block[1:], block[:-1], out=steps[:-1])
        last = stops[filled] - 1
        steps[last] = block[begins[filled]] - block[last]
        squares = np.einsum("ij,ij->i", steps, steps)
        longest[low + filled] = np.sqrt(np.maximum.reduceat(squares, begins[filled]))
    return longest


def inside(edges: Edges, points: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """Tell for each of several outlines whether a point of its own lies inside, by the even-odd rule.

    Parameters
    ----------
    edges : Edges
    points : float64 array, (count, 2) or (1, 2) for the same point
    count : int
        The number of outlines.
    """
    y, x = np.broadcast_to(points, (count, 2))[edges.owners].T
    end = edges.vertices[edges.after]
    crosses = (edges.vertices[:, 0] > y) != (end[:, 0] > y)
    start, end = edges.vertices[crosses], end[crosses]
    at = start[:, 1] + (y[crosses] - start[:, 0]) * (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    is_left = x[crosses] < at
    crossings = np.bincount(edges.owners[crosses][is_left], minlength=count)
    odd: NDArray[np.bool_] = crossings % 2 == 1
    return odd


def _ranges(
    first: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64] | int = 1
) -> NDArray[np.int64]:
    """Return several ranges of numbers, one after the other."""
    begins = np.cumsum(counts) - counts
    within = np.arange(int(counts.sum())) - np.repeat(begins, counts)
    if not isinstance(steps, int):
        within *= np.repeat(steps, counts)
    ranges: NDArray[np.int64] = np.repeat(first, counts) + within
    return ranges
