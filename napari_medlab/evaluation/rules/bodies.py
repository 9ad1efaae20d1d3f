"""The room that objects take, as columns, and how much of it two of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.evaluation.rules.voxels import (
    Voxels,
    shared_voxels,
    voxels_of_ball,
    voxels_of_box,
    voxels_of_polygon,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid

__all__ = ["BALL", "BOX", "POLYGON", "VOXELS", "Bodies", "Shared", "meeting", "shared"]

BALL, BOX, POLYGON, VOXELS = range(4)
DISC_QUARTER = 32
"""How many corners a quarter of a disc has where it is cut with an outline; its area is then 0.04 % short."""


@dataclass(frozen=True, eq=False)
class Bodies:
    """What room each of several objects takes, in world coordinates.

    Parameters
    ----------
    kind : int8 array, (n,)
        ``BALL`` (in a plane a disc), ``BOX``, ``POLYGON`` or ``VOXELS``.
    ndim : int8 array, (n,)
        Over how many axes each reaches: 2 or 3.
    low, high : float64 arrays, (n, d)
        The box around each, ordered (x, y[, z]); nan for one that has no area.
    shape : object array, (n,)
        The shapely geometry of a polygon, the :class:`Voxels` of what is made of these; None for others.
    """

    kind: NDArray[np.int8]
    ndim: NDArray[np.int8]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    shape: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def longest(self) -> NDArray[np.float64]:
        """The longest extent of each, (n,): of an outline the diameter of the least circle around it."""
        import shapely

        sides: NDArray[np.float64] = (self.high - self.low).max(axis=1)
        flat = self.kind == POLYGON
        sides[flat] = 2 * shapely.minimum_bounding_radius(self.shape[flat])
        return np.nan_to_num(sides)

    def on_grid(self, row: int, grid: Grid) -> Voxels:
        """Return the voxels of a grid whose centres lie inside one of the objects."""
        low, high = self.low[row, : grid.ndim], self.high[row, : grid.ndim]
        kind = self.kind[row]
        if kind == VOXELS:
            own: Voxels = self.shape[row]
            return own
        if kind == POLYGON:
            return voxels_of_polygon(self.shape[row], grid)
        return voxels_of_ball(low, high, grid) if kind == BALL else voxels_of_box(low, high, grid)


class Shared(NamedTuple):
    """Of pairs of objects: the size of what both have, and of each, float64 (p,); in one unit for each pair."""

    both: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union, (p,); 0 where neither has any size."""
        return _ratio(self.both, self.first + self.second - self.both)

    @property
    def share_of_second(self) -> NDArray[np.float64]:
        """How much of the second lies in the first, (p,), as COCO measures overlap with crowds."""
        return _ratio(self.both, self.second)


def meeting(
    a: Bodies, b: Bodies, a_case: NDArray[np.intp], b_case: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows (p,) of the pairs of one case whose boxes meet, found with an R-tree (STR: Leutenegger, 1997)."""
    import shapely

    here, there = (np.flatnonzero(~np.isnan(each.low).any(axis=1)) for each in (a, b))
    if not len(here) or not len(there):
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    corners = np.concatenate([a.low[here], a.high[here], b.low[there], b.high[there]])[:, :2]
    reach = corners.max(axis=0) - corners.min(axis=0)
    # the cases lie side by side, so that one tree serves all; what rounding adds to boxes is made up for
    step, spare = 2 * reach[0] + 1.0, 1e-9 * (reach.max() + 1.0) * (max(a_case.max(), b_case.max()) + 1)
    boxes = [
        shapely.box(
            each.low[rows, 0] + case[rows] * step - spare, each.low[rows, 1] - spare,
            each.high[rows, 0] + case[rows] * step + spare, each.high[rows, 1] + spare,
        )
        for each, rows, case in ((a, here, a_case), (b, there, b_case))
    ]  # fmt: skip
    pairs = shapely.STRtree(boxes[1]).query(boxes[0])
    i, j = here[pairs[0]], there[pairs[1]]
    # touching is enough, as planar objects have no extent along z
    met = ((a.low[i] <= b.high[j]) & (b.low[j] <= a.high[i])).all(axis=1) & (a_case[i] == b_case[j])
    return i[met], j[met]


def shared(a: Bodies, b: Bodies, i: NDArray[np.intp], j: NDArray[np.intp]) -> Shared:
    """Return how much of their room the objects ``i`` of ``a`` and ``j`` of ``b`` share, each (p,).

    Two balls or discs, two boxes and two planar outlines are measured exactly (in square or cubic world units). Beside a
    box, a ball counts as the box around it. Where one of the two is made of voxels, those voxels are counted whose
    centres lie inside the other. A disc beside an outline has 128 corners.
    """
    result = Shared(*np.zeros((3, len(i))))
    kinds = np.sort(np.stack([a.kind[i], b.kind[j]]), axis=0)
    balls, boxes = kinds[1] == BALL, kinds[1] == BOX
    voxels = kinds[1] == VOXELS
    flat = ~(balls | boxes | voxels)
    for chosen, measure in ((balls, _balls), (boxes, _boxes), (flat, _polygons), (voxels, _voxels)):
        if chosen.any():
            for column, values in zip(result, measure(a, b, i[chosen], j[chosen]), strict=True):
                column[chosen] = values
    return result


def _balls(a: Bodies, b: Bodies, i: NDArray[np.intp], j: NDArray[np.intp]) -> Shared:
    centres = [(each.low[rows] + each.high[rows]) / 2 for each, rows in ((a, i), (b, j))]
    r, s = ((each.high[rows, 0] - each.low[rows, 0]) / 2 for each, rows in ((a, i), (b, j)))
    gap = np.linalg.norm(centres[0] - centres[1], axis=1)
    solid = a.ndim[i] == 3
    sizes = [np.where(solid, 4 / 3 * np.pi * radius**3, np.pi * radius**2) for radius in (r, s)]
    apart, inside = gap >= r + s, gap <= np.abs(r - s)
    cut = ~(apart | inside)
    both = np.where(apart, 0.0, np.minimum(*sizes))
    both[cut] = np.where(
        solid[cut], _lens_volume(r[cut], s[cut], gap[cut]), _lens_area(r[cut], s[cut], gap[cut])
    )
    return Shared(both, *sizes)


def _lens_volume(
    r: NDArray[np.float64], s: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the volume that spheres of radius r and s share whose centres are d apart, each (n,)."""
    volume: NDArray[np.float64] = (
        np.pi * (r + s - d) ** 2 * (d**2 + 2 * d * (r + s) - 3 * (r - s) ** 2) / (12 * d)
    )
    return volume


def _lens_area(r: NDArray[np.float64], s: NDArray[np.float64], d: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area that discs of radius r and s share whose centres are d apart, each (n,)."""
    along = (d**2 + r**2 - s**2) / (2 * d)
    half = np.sqrt(np.maximum(r**2 - along**2, 0.0))
    first, second = np.arctan2(half, along), np.arctan2(half, d - along)
    area: NDArray[np.float64] = r**2 * first + s**2 * second - d * half
    return area


def _boxes(a: Bodies, b: Bodies, i: NDArray[np.intp], j: NDArray[np.intp]) -> Shared:
    low, high = np.maximum(a.low[i], b.low[j]), np.minimum(a.high[i], b.high[j])
    flat = a.ndim[i] == 2
    first, second = _extent(a.low[i], a.high[i], flat), _extent(b.low[j], b.high[j], flat)
    return Shared(_extent(low, high, flat), first, second)


def _extent(
    low: NDArray[np.float64], high: NDArray[np.float64], flat: NDArray[np.bool_]
) -> NDArray[np.float64]:
    sides = np.maximum(high - low, 0.0)
    sides[flat, 2:] = 1.0
    extent: NDArray[np.float64] = sides.prod(axis=1)
    return extent


def _polygons(a: Bodies, b: Bodies, i: NDArray[np.intp], j: NDArray[np.intp]) -> Shared:
    import shapely

    first, second = _geometries(a, i), _geometries(b, j)
    return Shared(
        shapely.area(shapely.intersection(first, second)), shapely.area(first), shapely.area(second)
    )


def _geometries(bodies: Bodies, rows: NDArray[np.intp]) -> NDArray[np.object_]:
    """Return planar objects as shapely geometries, each made once."""
    import shapely

    once, back = np.unique(rows, return_inverse=True)
    found = bodies.shape[once].copy()
    low, high = bodies.low[once], bodies.high[once]
    box, ball = bodies.kind[once] == BOX, bodies.kind[once] == BALL
    found[box] = shapely.box(low[box, 0], low[box, 1], high[box, 0], high[box, 1])
    middle = shapely.points((low[ball, :2] + high[ball, :2]) / 2)
    found[ball] = shapely.buffer(middle, (high[ball, 0] - low[ball, 0]) / 2, quad_segs=DISC_QUARTER)
    return np.asarray(found[back], dtype=np.object_)


def _voxels(a: Bodies, b: Bodies, i: NDArray[np.intp], j: NDArray[np.intp]) -> Shared:
    columns = np.zeros((3, len(i)))
    for at, (first, second) in enumerate(zip(i.tolist(), j.tolist(), strict=True)):
        grid = (a.shape[first] if a.kind[first] == VOXELS else b.shape[second]).grid
        columns[:, at] = shared_voxels(a.on_grid(first, grid), b.on_grid(second, grid))
    return Shared(*columns)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio = np.zeros(len(part))
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
