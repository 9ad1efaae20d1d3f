"""Where the object inside an outline lies and how large it is, for objects of which a file states only the outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry import polygons

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medlab.annotations import RegionTable
    from napari_medlab.geometry import Grid

__all__ = ["measured"]

STRAIGHT = 1e-6
"""Of an edge along an axis, the most that it moves along the other, in voxels."""
SLIVER = 1e-9
"""A ring that fills less of its box than this share is no area: it crosses itself, or lies on a line."""


def measured(regions: RegionTable, grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres and the diameters of the objects that outlines enclose.

    The centre of an outline is its centroid, holes left out. Its diameter is that of the circle of equal area or, in a
    volume, of the ball of equal volume, where slices without a ring between those that have one count with them. A box
    (a rectangle along the axes, or the same one on several slices) is taken for what detectors draw around an object: its
    diameter is the mean of its sides. An outline without an area, such as one of a line, counts as its box, and one
    of a point as one voxel.

    Parameters
    ----------
    regions : RegionTable
        Every region has a vertex; in a volume, each ring lies in one slice.
    grid : Grid

    Returns
    -------
    centres : float64 array, (n, ndim), world, ordered (x, y[, z])
    diameters : float64 array, (n,), in the unit of the grid
    """
    ndim = grid.ndim
    rings = _Rings(regions)
    totals = np.zeros(len(regions))
    moments = np.zeros((len(regions), ndim))
    plain = ~rings.is_shared & ~rings.is_sliver
    np.add.at(totals, rings.owner[plain], rings.area[plain])
    np.add.at(moments, rings.owner[plain], (rings.area[:, None] * rings.centre)[plain])
    for owner, slice_index, members in rings.others(plain):
        area, centre = _enclosed([rings.points(member) for member in members])
        totals[owner] += area
        place = centre if ndim == 2 else np.asarray([slice_index, *centre])
        moments[owner] += area * place
    boxes = regions.boxes
    has_area = totals > 0
    middles = boxes.mean(axis=1)
    middles[has_area] = moments[has_area] / totals[has_area, None]
    return grid.to_world(middles), _diameters(totals, boxes, rings, grid)


def _diameters(
    totals: NDArray[np.float64], boxes: NDArray[np.float64], rings: _Rings, grid: Grid
) -> NDArray[np.float64]:
    voxel = abs(float(np.linalg.det(grid.affine[: grid.ndim, : grid.ndim])))
    spacing = np.asarray(grid.spacing)
    sides = boxes[:, 1] - boxes[:, 0]
    if grid.ndim == 3:
        step = rings.slice_steps(sides[:, 0])
        totals = totals * step
        sides[:, 0] += step  # a slice is as thick as the way to the next
        by_size = np.cbrt(6 * totals * voxel / np.pi)
    else:
        by_size = 2 * np.sqrt(totals * voxel / np.pi)
    as_box = np.maximum((sides * spacing).mean(axis=1), spacing.min())
    diameters: NDArray[np.float64] = np.where(rings.are_boxes | (totals <= 0), as_box, by_size)
    return diameters


class _Rings:
    """The rings of many outlines as columns: whose they are, on which slice, how large."""

    def __init__(self, regions: RegionTable) -> None:
        counts = np.diff(regions.ring_starts)
        kept = counts > 0
        self._table = regions
        self._starts = regions.ring_starts[:-1][kept]
        self._counts = counts[kept]
        self.owner = np.repeat(np.arange(len(regions)), np.diff(regions.region_rings))[kept]
        first = regions.vertices[self._starts]
        self.slice = first[:, 0] if regions.ndim == 3 else np.zeros(len(first))
        self.area, planar = self._areas(first[:, -2:])
        self.centre = planar if regions.ndim == 2 else np.column_stack([self.slice, planar])
        extent = np.prod(self._extents(), axis=1)
        self.is_sliver = self.area <= SLIVER * np.maximum(extent, SLIVER)
        places = np.column_stack([self.owner, self.slice])
        _, group, sizes = np.unique(places, axis=0, return_inverse=True, return_counts=True)
        self._group = group.reshape(-1)
        self.is_shared = sizes[self._group] > 1
        self.are_boxes = self._find_boxes(len(regions))

    def points(self, ring: int) -> NDArray[np.float64]:
        """Return the vertices (y, x) of one ring."""
        start = self._starts[ring]
        points: NDArray[np.float64] = self._table.vertices[start : start + self._counts[ring], -2:]
        return points

    def others(self, done: NDArray[np.bool_]) -> Iterator[tuple[int, float, NDArray[np.intp]]]:
        """Yield, for what is not done, each outline, the slice, and its rings there."""
        rows = np.flatnonzero(~done)
        ordered = rows[np.argsort(self._group[rows], kind="stable")]
        ends = np.flatnonzero(np.diff(self._group[ordered])) + 1
        for members in np.split(ordered, ends):
            if len(members):
                yield int(self.owner[members[0]]), float(self.slice[members[0]]), members

    def slice_steps(self, extents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far the slices of each outline lie apart, 1 where it has one slice; ``extents`` is (n,) in slices."""
        places = np.unique(np.column_stack([self.owner, self.slice]), axis=0)
        slices = np.bincount(places[:, 0].astype(np.intp), minlength=len(extents))
        steps: NDArray[np.float64] = np.where(slices > 1, extents / np.maximum(slices - 1, 1), 1.0)
        return steps

    def _areas(self, first: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the area and the centroid (y, x) of each ring, by the shoelace formula around its first vertex."""
        if not len(self._starts):
            return np.zeros(0), np.zeros((0, 2))
        rows = np.repeat(self._starts, self._counts) + self._within()
        follower = rows + 1
        ends = np.cumsum(self._counts) - 1
        follower[ends] = self._starts
        here = self._table.vertices[rows, -2:] - np.repeat(first, self._counts, axis=0)
        there = self._table.vertices[follower, -2:] - np.repeat(first, self._counts, axis=0)
        cross = here[:, 1] * there[:, 0] - there[:, 1] * here[:, 0]
        begins = ends - self._counts + 1
        double = np.add.reduceat(cross, begins)
        moment = np.add.reduceat((here + there) * cross[:, None], begins)
        with np.errstate(divide="ignore", invalid="ignore"):
            centre = first + moment / (3 * double[:, None])
        return np.abs(double) / 2, np.nan_to_num(centre)

    def _within(self) -> NDArray[np.int64]:
        total = int(self._counts.sum())
        begins = np.cumsum(self._counts) - self._counts
        within: NDArray[np.int64] = np.arange(total) - np.repeat(begins, self._counts)
        return within

    def _extents(self) -> NDArray[np.float64]:
        if not len(self._starts):
            return np.zeros((0, 2))
        rows = np.repeat(self._starts, self._counts) + self._within()
        begins = np.cumsum(self._counts) - self._counts
        points = self._table.vertices[rows, -2:]
        high: NDArray[np.float64] = np.maximum.reduceat(points, begins)
        return high - np.minimum.reduceat(points, begins)

    def _find_boxes(self, count: int) -> NDArray[np.bool_]:
        """Tell which outlines are one rectangle along the axes, on one slice or the same on all."""
        fours = np.flatnonzero(self._counts == 4)
        is_box = np.zeros(len(self._counts), dtype=np.bool_)
        if len(fours):
            points = self._table.vertices[self._starts[fours][:, None] + np.arange(4), -2:]
            sides = np.abs(np.roll(points, -1, axis=1) - points) > STRAIGHT
            runs = sides[:, :, 0] != sides[:, :, 1]
            is_box[fours] = runs.all(axis=1) & (sides[:, :, 0] != np.roll(sides[:, :, 0], 1, axis=1)).all(
                axis=1
            )
        not_boxes = np.bincount(self.owner[~is_box | self.is_shared], minlength=count) > 0
        places = np.unique(np.column_stack([self.owner, self.centre[:, -2:], self._extents()]), axis=0)
        kinds = np.bincount(places[:, 0].astype(np.intp), minlength=count)
        one: NDArray[np.bool_] = ~not_boxes & (kinds == 1)
        return one


def _enclosed(rings: list[NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
    """Return area and centroid (y, x) of what rings of one slice enclose by the even-odd rule."""
    usable = [ring for ring in rings if len(ring) >= 3]
    if not usable:
        return 0.0, np.zeros(2)
    shape = polygons.to_shape(usable)
    if shape.area == 0:
        return 0.0, np.zeros(2)
    return float(shape.area), np.asarray([shape.centroid.y, shape.centroid.x])
