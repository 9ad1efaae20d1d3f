"""Objects made of the voxels or pixels of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry.outlines import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid

__all__ = [
    "Voxels",
    "shared_voxels",
    "voxels_of_ball",
    "voxels_of_box",
    "voxels_of_polygon",
    "voxels_of_rings",
]

MOST_VOXELS = 100_000_000
"""Around an object of more than this there is a mistake."""


@dataclass(frozen=True, eq=False)
class Voxels:
    """A mask that is as large as its object.

    Parameters
    ----------
    mask : bool array, (z, y, x) or (y, x)
    start : tuple of int
        The index in the image of the mask's first voxel; it may lie outside the image.
    grid : Grid
        The image's.
    """

    mask: NDArray[np.bool_]
    start: tuple[int, ...]
    grid: Grid

    @cached_property
    def size(self) -> int:
        """How many voxels there are."""
        return int(np.count_nonzero(self.mask))

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """The least and the greatest world coordinates of the box around the voxels, faces included, (2, n)."""
        n = self.mask.ndim
        corners = (
            np.indices((2,) * n).reshape(n, -1).T * np.asarray(self.mask.shape) + np.asarray(self.start) - 0.5
        )
        world = self.grid.to_world(corners)
        return np.stack([world.min(axis=0), world.max(axis=0)])

    def contains(self, points: NDArray[np.float64], margin: float = 0.0) -> NDArray[np.bool_]:
        """Tell which world points, (p, n), lie in a voxel, or less than ``margin`` from the centre of one."""
        index = np.round(self.grid.to_index(points)).astype(np.int64) - np.asarray(self.start)
        known = ((index >= 0) & (index < self.mask.shape)).all(axis=1)
        inside = np.zeros(len(points), dtype=np.bool_)
        inside[known] = self.mask[tuple(index[known].T)]
        if margin > 0 and self.size:
            from scipy.spatial import cKDTree

            centres = self.grid.to_world(np.argwhere(self.mask) + np.asarray(self.start))
            inside |= cKDTree(centres).query(points, distance_upper_bound=margin)[0] < margin
        return inside


def shared_voxels(a: Voxels, b: Voxels) -> tuple[int, int, int]:
    """Return how many voxels two objects share, and how many each has.

    Raises
    ------
    InputRefusedError
        With code ``"grid"`` where they lie on different grids.
    """
    if a.grid is not b.grid and not np.allclose(
        a.grid.affine, b.grid.affine, rtol=0, atol=1e-4 * min(a.grid.spacing)
    ):
        raise InputRefusedError(
            f"Masks of one case do not lie on one grid: spacings {a.grid.spacing} and {b.grid.spacing} {a.grid.unit}.",
            code="grid",
            hint="Resample the prediction onto the reference, with nearest neighbours.",
        )
    first, second = np.asarray(a.start), np.asarray(b.start)
    low = np.maximum(first, second)
    high = np.minimum(first + a.mask.shape, second + b.mask.shape)
    if (high <= low).any():
        return 0, a.size, b.size
    here, there = (
        each.mask[tuple(slice(*ends) for ends in np.stack([low - start, high - start], axis=1).tolist())]
        for each, start in ((a, first), (b, second))
    )
    return int(np.count_nonzero(here & there)), a.size, b.size


def voxels_of_ball(low: NDArray[np.float64], high: NDArray[np.float64], grid: Grid) -> Voxels:
    """Return the voxels whose centres lie in the ball that fills a box of world coordinates, (n,) each."""
    start, world = _centres(low, high, grid)
    radius = float(high[0] - low[0]) / 2
    mask = ((world - (low + high) / 2) ** 2).sum(axis=-1) < radius**2
    return Voxels(np.asarray(mask, dtype=np.bool_), start, grid)


def voxels_of_box(low: NDArray[np.float64], high: NDArray[np.float64], grid: Grid) -> Voxels:
    """Return the voxels whose centres lie in a box of world coordinates, (n,) each."""
    start, world = _centres(low, high, grid)
    return Voxels(np.asarray(((world >= low) & (world < high)).all(axis=-1), dtype=np.bool_), start, grid)


def voxels_of_polygon(geometry: object, grid: Grid) -> Voxels:
    """Return the pixels whose centres lie in a shapely geometry in world coordinates."""
    import shapely

    low, high = np.reshape(shapely.bounds(geometry), (2, 2))
    start, world = _centres(low, high, grid)
    shapely.prepare(geometry)
    mask = shapely.contains_xy(geometry, world[..., 0].ravel(), world[..., 1].ravel()).reshape(
        world.shape[:-1]
    )
    return Voxels(np.asarray(mask, dtype=np.bool_), start, grid)


def voxels_of_rings(rings: Sequence[NDArray[np.float64]], grid: Grid) -> Voxels:
    """Return the voxels inside rings that each lie in one slice, (n, 3) indices, by the even-odd rule.

    The rule is that of :func:`~napari_medlab.geometry.outlines.rings_to_mask`.
    """
    points = np.concatenate([np.zeros((0, 3)), *rings])
    if not len(points):
        return Voxels(np.zeros((0, 0, 0), dtype=np.bool_), (0, 0, 0), grid)
    low, high = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int) + 1
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for ring in rings:
        if len(ring):
            planes.setdefault(round(float(ring[0, 0])), []).append(ring[:, 1:] - low[1:])
    first = min(planes)
    depth = max(planes) - first + 1
    height, width = (high - low)[1:].tolist()
    _check_extent((depth, height, width))
    mask = np.zeros((depth, height, width), dtype=np.bool_)
    for z, planar in planes.items():
        mask[z - first] = rings_to_mask(planar, (height, width))
    return Voxels(mask, (first, int(low[1]), int(low[2])), grid)


def _centres(
    low: NDArray[np.float64], high: NDArray[np.float64], grid: Grid
) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return the first index of the voxels around a box of world coordinates, and the world place of each centre."""
    n = grid.ndim
    ends = np.stack([low, high])
    corners = np.array([[ends[bit, axis] for axis, bit in enumerate(bits)] for bits in np.ndindex(*(2,) * n)])
    index = grid.to_index(corners)
    start, stop = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int) + 1
    _check_extent((stop - start).tolist())
    lattice = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(start, stop, strict=True)), indexing="ij"), axis=-1
    )
    return tuple(start.tolist()), grid.to_world(lattice)


def _check_extent(shape: Sequence[int]) -> None:
    if math.prod(shape) > MOST_VOXELS:
        raise InputRefusedError(
            f"An object reaches over {' × '.join(map(str, shape))} voxels, more than {MOST_VOXELS:,}.",
            code="extent",
            hint="Check its diameter or box, and the unit of these.",
        )
