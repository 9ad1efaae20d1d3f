"""The outlines by which candidates and findings are compared, by the id of the object that is outlined."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.rules.bodies import BALL, BOX, POLYGON, VOXELS, Bodies
from napari_medlab.evaluation.rules.voxels import Voxels, voxels_of_rings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable, RegionTable
    from napari_medlab.geometry import Grid

__all__ = ["Shapes"]

BoxCorners = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, eq=False)
class Shapes:
    """Which outline, box or mask each object has.

    An object that is not in it is a ball, on a planar image a disc, of its stated diameter around its centre. Candidates
    and findings may be outlined in different ways: everything is compared in world coordinates. Made with
    :meth:`of_regions`, :meth:`of_boxes` and :meth:`of_masks`, and put together with :meth:`joined`.

    Parameters
    ----------
    outlines : mapping of str to (RegionTable, int)
        By object id, the table that holds its outline and the row there.
    boxes : mapping of str to pair of points
        By object id, the least and the greatest world coordinates, (x, y[, z]).
    masks : mapping of str to Voxels
    grids : mapping of str to Grid
        By case. Also tells which cases are planar.
    """

    outlines: Mapping[str, tuple[RegionTable, int]] = field(default_factory=dict)
    boxes: Mapping[str, BoxCorners] = field(default_factory=dict)
    masks: Mapping[str, Voxels] = field(default_factory=dict)
    grids: Mapping[str, Grid] = field(default_factory=dict)

    @classmethod
    def of_regions(cls, regions: Iterable[RegionTable], grids: Mapping[str, Grid]) -> Shapes:
        """Return the outlines of tables of regions.

        Parameters
        ----------
        regions : iterable of RegionTable
            An outline belongs to its owner or, where it has none, to an object of the outline's own id. Of several that
            belong to one object the last counts. In a volume, rings lie in slices, and voxels are what is compared.
        grids : mapping of str to Grid
            By case; the image's.

        Raises
        ------
        InputRefusedError
            With code ``"no-grid"`` where a case with outlines has none.
        """
        outlines: dict[str, tuple[RegionTable, int]] = {}
        for table in regions:
            if len(table) and table.case_id not in grids:
                raise InputRefusedError(
                    f"The geometry of case {table.case_id!r} is unknown, so its {len(table)} outlines have no place.",
                    code="no-grid",
                    hint="Name the image of the case, or its spacing.",
                )
            owners = np.where(table.owner_ids == b"", table.ids, table.owner_ids).tolist()
            outlines.update((owner.decode(), (table, row)) for row, owner in enumerate(owners))
        return cls(outlines=outlines, grids=dict(grids))

    @classmethod
    def of_boxes(cls, ids: Sequence[str], boxes: ArrayLike) -> Shapes:
        """Return boxes in world coordinates, (n, 2, d): the least and the greatest (x, y[, z]) of each object."""
        corners = np.asarray(boxes, dtype=np.float64).tolist()
        return cls(
            boxes={key: (tuple(low), tuple(high)) for key, (low, high) in zip(ids, corners, strict=True)}
        )

    @classmethod
    def of_masks(cls, masks: Mapping[str, Voxels]) -> Shapes:
        """Return masks by object id."""
        return cls(masks=dict(masks))

    @classmethod
    def joined(cls, several: Iterable[Shapes]) -> Shapes:
        """Return the outlines of several: of findings and of candidates, say."""
        parts = list(several)
        return cls(
            outlines={key: value for part in parts for key, value in part.outlines.items()},
            boxes={key: value for part in parts for key, value in part.boxes.items()},
            masks={key: value for part in parts for key, value in part.masks.items()},
            grids={key: value for part in parts for key, value in part.grids.items()},
        )

    def bodies(
        self,
        table: FindingTable | CandidateTable,
        rows: NDArray[np.intp],
        unknown_diameter: float | None = None,
    ) -> Bodies:
        """Return the room that some rows of a table take, in the order of ``rows``.

        Parameters
        ----------
        table : FindingTable or CandidateTable
        rows : int array, (n,)
        unknown_diameter : float, optional
            What a negative diameter stands for where there is no outline, either.

        Raises
        ------
        InputRefusedError
            With code ``"no-extent"`` where an object has neither an outline nor a diameter, and ``unknown_diameter`` is
            None.
        """
        bodies = _balls(table, rows, self.grids)
        ids = table.ids[rows].tolist()
        bare = np.fromiter((not self._has(key) for key in ids), dtype=np.bool_, count=len(ids))
        unknown = bare & (table.diameters[rows] < 0)
        if unknown.any() and unknown_diameter is None:
            raise _without_extent(ids[int(np.flatnonzero(unknown)[0])], int(unknown.sum()))
        radii = np.where(unknown, unknown_diameter or 0.0, np.maximum(table.diameters[rows], 0.0)) / 2
        flat = bodies.ndim == 2
        reach = np.repeat(radii[:, None], bodies.low.shape[1], axis=1)
        reach[flat, 2:] = 0.0
        bodies.low[:] -= reach
        bodies.high[:] += reach
        self._fill(bodies, ids, np.flatnonzero(~bare).tolist())
        return bodies

    def _has(self, key: str) -> bool:
        return key in self.outlines or key in self.masks or key in self.boxes

    def _fill(self, bodies: Bodies, ids: list[str], places: list[int]) -> None:
        """Replace the balls of those objects that have an outline, a mask or a box."""
        by_table: dict[int, tuple[RegionTable, list[int], list[int]]] = {}
        for place in places:
            key = ids[place]
            if key in self.masks:
                _put_voxels(bodies, place, self.masks[key])
            elif key in self.outlines:
                table, row = self.outlines[key]
                entry = by_table.setdefault(id(table), (table, [], []))
                entry[1].append(row)
                entry[2].append(place)
            else:
                low, high = self.boxes[key]
                _put_box(bodies, [place], np.array([low]), np.array([high]))
        for table, rows, at in by_table.values():
            grid = self.grids[table.case_id]
            if table.ndim == 3:
                for row, place in zip(rows, at, strict=True):
                    _put_voxels(bodies, place, voxels_of_rings(table.region(row).rings, grid))
            else:
                _put_polygons(bodies, at, _polygons(table.where(rows), grid))


def _balls(table: FindingTable | CandidateTable, rows: NDArray[np.intp], grids: Mapping[str, Grid]) -> Bodies:
    """Return points at the centres, that are to be filled; third coordinates of planar cases are 0."""
    n, d = len(rows), table.centres.shape[1]
    flat_cases = {case for case, grid in grids.items() if grid.ndim == 2}
    flat = np.fromiter(
        (case in flat_cases for case in table.case_ids[rows].tolist()), dtype=np.bool_, count=n
    )
    ndim = np.where(flat | (d == 2), 2, 3).astype(np.int8)
    centres = table.centres[rows].astype(np.float64)
    centres[ndim == 2, 2:] = 0.0
    return Bodies(
        np.full(n, BALL, dtype=np.int8), ndim, centres, centres.copy(), np.full(n, None, dtype=np.object_)
    )


def _put_voxels(bodies: Bodies, place: int, voxels: Voxels) -> None:
    n = voxels.grid.ndim
    bodies.kind[place], bodies.ndim[place] = VOXELS, n
    bodies.shape[place] = voxels
    ends = voxels.bounds if voxels.size else np.full((2, n), np.nan)
    for column, end in ((bodies.low, ends[0]), (bodies.high, ends[1])):
        column[place] = 0.0
        column[place, :n] = end


def _put_box(bodies: Bodies, at: list[int], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    n = low.shape[1]
    bodies.kind[at], bodies.ndim[at] = BOX, n
    for column, end in ((bodies.low, low), (bodies.high, high)):
        column[at] = 0.0
        column[at, :n] = end


def _put_polygons(bodies: Bodies, at: list[int], geometries: NDArray[np.object_]) -> None:
    """Put outlines where they belong; those that are upright rectangles become boxes."""
    import shapely

    bounds = shapely.bounds(geometries)
    places = np.asarray(at)
    upright = np.isclose(
        shapely.area(geometries), shapely.area(shapely.envelope(geometries)), rtol=1e-12, atol=0
    )
    upright &= ~shapely.is_empty(geometries)
    _put_box(bodies, places.tolist(), bounds[:, :2], bounds[:, 2:])
    outlined = places[~upright]
    bodies.kind[outlined] = POLYGON
    bodies.shape[outlined] = geometries[~upright]


def _polygons(table: RegionTable, grid: Grid) -> NDArray[np.object_]:
    """Return planar outlines as valid shapely geometries in world coordinates, (n,)."""
    import shapely

    from napari_medlab.geometry.polygons import to_shape

    geometries = np.full(len(table), shapely.Polygon(), dtype=np.object_)
    lengths = np.diff(table.ring_starts)
    single = np.flatnonzero(np.diff(table.region_rings) == 1)
    single = single[lengths[table.region_rings[single]] >= 3]
    if len(single):
        chosen = table.where(single)
        rings = np.repeat(np.arange(len(single)), np.diff(chosen.ring_starts))
        geometries[single] = shapely.polygons(shapely.linearrings(chosen.vertices[:, ::-1], indices=rings))
    plain = np.zeros(len(table), dtype=np.bool_)
    plain[single] = shapely.is_valid(geometries[single])
    for row in np.flatnonzero(~plain).tolist():
        geometries[row] = to_shape(table.region(row).rings)
    return np.asarray(shapely.transform(geometries, lambda xy: grid.to_world(xy[:, ::-1])), dtype=np.object_)


def _without_extent(key: str, count: int) -> InputRefusedError:
    return InputRefusedError(
        f"Overlap cannot be measured: {count} objects have neither an outline nor a diameter, {key!r} among them.",
        code="no-extent",
        hint="Use the rule 'luna16', which goes by centres, or give outlines, boxes or diameters.",
    )
