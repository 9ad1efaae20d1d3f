"""Outlines as polygons: kept valid, combined, cut, smoothed; (y, x) rings in, (y, x) rings out.

A list of rings is read by the even-odd rule, as :func:`~napari_medlab.geometry.rings_to_mask` reads it. The geometry is
that of GEOS (shapely). Distances, areas and tolerances are in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = [
    "Rings",
    "area",
    "box",
    "circle",
    "cut",
    "difference",
    "fault_of",
    "intersection",
    "is_box",
    "join",
    "mended",
    "offset",
    "parts",
    "simplify",
    "smooth",
    "symmetric_difference",
    "to_rings",
    "to_shape",
    "union",
]

Rings = list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]
"""Rings (n, 2) of (y, x) indices: a ring inside another is a hole, separate rings are parts."""

SLIVER_WIDTH_PX = 0.01
"""Parts and holes that mending or combining leaves, and that are narrower on average, are dropped."""
MOST_VERTICES = 200_000
"""An outline of more vertices than this is refused rather than worked on for minutes."""


def to_shape(rings: Iterable[ArrayLike]) -> BaseGeometry:
    """Return rings as a valid shapely geometry, x first.

    Rings that cross themselves or one another are mended so that the even-odd rule holds: a bow-tie becomes two parts,
    what two rings share becomes a hole. Where nothing has to be mended, vertices keep their order.

    Parameters
    ----------
    rings : iterable of (n, 2) arrays, (y, x) indices

    Returns
    -------
    shapely.Polygon or shapely.MultiPolygon, empty for no area

    Raises
    ------
    InputRefusedError
        Where a vertex is not finite, or there are more than 200,000.
    """
    import shapely

    polygons = [shapely.Polygon(points[:, ::-1]) for points in _checked(rings) if len(points) >= 3]
    nested = _nested(polygons)
    if nested is not None:
        return nested
    return _without_slivers(_even_odd([polygon.exterior for polygon in polygons]))


def to_rings(shape: BaseGeometry) -> Rings:
    """Return a shapely geometry as rings: each part's outer ring, followed by its holes; lines and points are left out."""
    import shapely

    rings: Rings = []
    for part in shapely.get_parts(_areas(shape)):
        rings += [
            np.asarray(ring.coords, dtype=np.float64)[:-1, ::-1] for ring in (part.exterior, *part.interiors)
        ]
    return [np.ascontiguousarray(ring) for ring in rings]


def fault_of(rings: Iterable[ArrayLike]) -> str:
    """Return what is wrong with an outline, such as that it crosses itself, and where; empty where nothing is."""
    import shapely

    given = _checked(rings)
    for points in given:
        if len(points) < 3:
            return f"an outline of {len(points)} points has no area"
        polygon = shapely.Polygon(points[:, ::-1])
        if not polygon.is_valid:
            if _even_odd([polygon.exterior]).area == 0:
                return "an outline has no area"
            return f"an outline crosses or touches itself{_place_in(shapely.is_valid_reason(polygon))}"
    if _nested([shapely.Polygon(points[:, ::-1]) for points in given]) is None:
        return "outlines of one object cross one another"
    return ""


def mended(rings: Iterable[ArrayLike]) -> tuple[Rings, str]:
    """Return the outline as a valid one, and what was wrong with it; what was valid comes back as it was."""
    given = _checked(rings)
    fault = fault_of(given)
    return (to_rings(to_shape(given)), fault) if fault else (given, "")


def area(rings: Iterable[ArrayLike]) -> float:
    """Return the area in square pixels, without that of holes."""
    return float(to_shape(rings).area)


def union(first: Iterable[ArrayLike], second: Iterable[ArrayLike]) -> Rings:
    """Return what lies in either outline."""
    return _combined("union", first, second)


def intersection(first: Iterable[ArrayLike], second: Iterable[ArrayLike]) -> Rings:
    """Return what lies in both outlines."""
    return _combined("intersection", first, second)


def difference(first: Iterable[ArrayLike], second: Iterable[ArrayLike]) -> Rings:
    """Return what lies in the first outline and not in the second."""
    return _combined("difference", first, second)


def symmetric_difference(first: Iterable[ArrayLike], second: Iterable[ArrayLike]) -> Rings:
    """Return what lies in one of the outlines and not in the other."""
    return _combined("symmetric_difference", first, second)


def join(outlines: Iterable[Iterable[ArrayLike]], gap: float = 0.0) -> Rings:
    """Return the union of any number of outlines.

    Parameters
    ----------
    outlines : iterable of lists of rings
    gap : float
        Parts that lie no further apart than this many pixels are bridged (a morphological closing).
    """
    import shapely

    shapes = [to_shape(rings) for rings in outlines]
    joined = shapely.union_all([shape.buffer(gap / 2) for shape in shapes] if gap else shapes)
    if gap:
        joined = shapely.union_all([joined.buffer(-gap / 2), *shapes])
    return to_rings(_without_slivers(joined))


def parts(rings: Iterable[ArrayLike]) -> list[Rings]:
    """Return the separate parts of an outline, each with its holes, the largest first."""
    import shapely

    polygons = shapely.get_parts(_areas(to_shape(rings)))
    return [to_rings(polygon) for polygon in sorted(polygons, key=lambda polygon: -polygon.area)]


def cut(rings: Iterable[ArrayLike], line: ArrayLike) -> list[Rings]:
    """Return the pieces into which a line cuts an outline, the largest first.

    Parts that the line does not cross stay with the first piece. A line that crosses nothing from border to border
    leaves one piece.

    Parameters
    ----------
    rings : iterable of (n, 2) arrays
    line : array (n, 2), (y, x) indices
    """
    import shapely

    knife = shapely.LineString(_points(line)[:, ::-1])
    whole: list[BaseGeometry] = []
    pieces: list[BaseGeometry] = []
    for polygon in shapely.get_parts(_areas(to_shape(rings))):
        faces = shapely.get_parts(shapely.polygonize([shapely.union(polygon.boundary, knife)]))
        inside = [
            face for face in faces if polygon.contains(face.representative_point()) and not _is_sliver(face)
        ]
        if len(inside) > 1:
            pieces += inside
        else:
            whole.append(polygon)
    pieces.sort(key=lambda piece: -piece.area)
    first = shapely.union_all([*whole, *pieces[:1]])
    return [made for made in map(to_rings, (first, *pieces[1:])) if made]


def simplify(rings: Iterable[ArrayLike], tolerance: float) -> Rings:
    """Return the outline with as few vertices as it takes to stay within ``tolerance`` pixels; parts and holes stay.

    Douglas and Peucker (1973), held back where rings would come to cross.
    """
    return to_rings(to_shape(rings).simplify(tolerance, preserve_topology=True))


def smooth(rings: Iterable[ArrayLike], passes: int = 20, step: float = 1.0) -> Rings:
    """Return the outline without its small bends and hardly smaller.

    Parameters
    ----------
    rings : iterable of (n, 2) arrays
    passes : int
        How often neighbours are averaged and the shrinkage taken back (Taubin, "Curve and surface smoothing without
        shrinkage", 1995).
    step : float
        The rings are sampled at about this many pixels first.
    """
    smoothed = []
    for ring in to_rings(to_shape(rings)):
        points = _even(ring, step)
        for _ in range(passes):
            for weight in (0.5, -0.53):
                middle = (np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0)) / 2
                points = points + weight * (middle - points)
        smoothed.append(points)
    return to_rings(to_shape(smoothed))


def offset(rings: Iterable[ArrayLike], distance: float) -> Rings:
    """Return the outline grown by so many pixels on all sides, or shrunk where ``distance`` is negative."""
    return to_rings(_without_slivers(to_shape(rings).buffer(distance)))


def is_box(ring: ArrayLike, tolerance: float = 1e-6) -> bool:
    """Return whether a ring is a rectangle along the axes."""
    points = _points(ring)
    if len(points) != 4:
        return False
    sides = np.abs(np.roll(points, -1, axis=0) - points)
    along = sides > tolerance
    return bool((along.sum(axis=1) == 1).all() and (along[:, 0] != np.roll(along[:, 0], 1)).all())


def box(corner: Sequence[float], opposite: Sequence[float]) -> NDArray[np.float64]:
    """Return the rectangle (4, 2) between two opposite corners (y, x)."""
    (top, left), (bottom, right) = np.minimum(corner, opposite), np.maximum(corner, opposite)
    return np.asarray([[top, left], [top, right], [bottom, right], [bottom, left]], dtype=np.float64)


def circle(
    centre: Sequence[float], diameter: float, spacing: Sequence[float] = (1.0, 1.0), count: int = 0
) -> NDArray[np.float64]:
    """Return a circle (n, 2) around an index (y, x).

    Parameters
    ----------
    centre : (y, x) indices
    diameter : float, in the unit of ``spacing``
    spacing : (y, x); a circle in space is an ellipse in indices where the two differ
    count : int
        How many vertices; 0 for as many as keep it within a tenth of a pixel.
    """
    radius = np.asarray([diameter / 2 / step for step in spacing])
    count = count or int(np.clip(np.ceil(np.pi * np.sqrt(radius.max() / 0.2)), 12, 360))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring: NDArray[np.float64] = np.asarray(centre) + radius * np.column_stack([np.sin(angle), np.cos(angle)])
    return ring


def _combined(operation: str, first: Iterable[ArrayLike], second: Iterable[ArrayLike]) -> Rings:
    import shapely

    return to_rings(_without_slivers(getattr(shapely, operation)(to_shape(first), to_shape(second))))


def _points(points: ArrayLike) -> NDArray[np.float64]:
    """Return points (n, 2) as float64, without a last one that repeats the first."""
    given = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    return given[:-1] if len(given) > 1 and (given[0] == given[-1]).all() else given


def _checked(rings: Iterable[ArrayLike]) -> Rings:
    given = [_points(ring) for ring in rings]
    total = sum(map(len, given))
    if total > MOST_VERTICES:
        raise InputRefusedError(
            f"An outline has {total:,} vertices; {MOST_VERTICES:,} is the limit.", code="too-large",
            hint="Simplify it, or split it into several objects.",
        )  # fmt: skip
    if not all(np.isfinite(ring).all() for ring in given):
        raise InputRefusedError("An outline holds a vertex that is not a finite number.", code="not-finite")
    return given


def _nested(polygons: list[BaseGeometry]) -> BaseGeometry | None:
    """Return polygons as parts with holes where each lies wholly inside or outside every other; None otherwise."""
    import shapely

    if not all(polygon.is_valid for polygon in polygons):
        return None
    if len(polygons) < 2:
        return polygons[0] if polygons else shapely.MultiPolygon()
    inner, outer = shapely.STRtree(polygons).query(polygons, predicate="within")
    around: dict[int, list[int]] = {row: [] for row in range(len(polygons))}
    for row, other in zip(inner.tolist(), outer.tolist(), strict=True):
        if row != other:
            around[row].append(other)
    holes: dict[int, list[BaseGeometry]] = {row: [] for row in around if len(around[row]) % 2 == 0}
    for row, others in around.items():
        if len(others) % 2:
            parents = [other for other in others if len(around[other]) == len(others) - 1]
            if len(parents) != 1:
                return None
            holes[parents[0]].append(polygons[row].exterior)
    whole = shapely.MultiPolygon(
        [shapely.Polygon(polygons[row].exterior, inside) for row, inside in holes.items()]
    )
    return whole if whole.is_valid else None


def _even_odd(lines: list[BaseGeometry]) -> BaseGeometry:
    """Return what an odd number of closed lines surrounds, wherever they cross or run along one another.

    GEOS's own mending would count an edge once that is run through twice.
    """
    import shapely

    faces = shapely.get_parts(shapely.polygonize([shapely.union_all(lines)]))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    x, y = inside[:, :1], inside[:, 1:]
    crossings = np.zeros(len(faces), dtype=np.int64)
    for line in lines:
        start = shapely.get_coordinates(line)[:-1]
        end = shapely.get_coordinates(line)[1:]
        spans = (start[:, 1] > y) != (end[:, 1] > y)
        rise = np.where(spans, end[:, 1] - start[:, 1], 1.0)
        crossings += (spans & (start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / rise > x)).sum(
            axis=1
        )
    return shapely.union_all(faces[crossings % 2 == 1])


def _areas(shape: BaseGeometry) -> BaseGeometry:
    """Return what of a geometry has an area."""
    import shapely

    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.union_all([part for part in shapely.get_parts(shape) if shapely.get_dimensions(part) == 2])


def _without_slivers(shape: BaseGeometry) -> BaseGeometry:
    import shapely

    kept = []
    for part in shapely.get_parts(_areas(shape)):
        if not _is_sliver(part):
            holes = [hole for hole in part.interiors if not _is_sliver(shapely.Polygon(hole))]
            kept.append(shapely.Polygon(part.exterior, holes))
    return kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept)


def _is_sliver(polygon: BaseGeometry) -> bool:
    return bool(2 * polygon.area <= SLIVER_WIDTH_PX * polygon.exterior.length)


def _place_in(reason: str) -> str:
    """Return where GEOS found a fault, as indices."""
    numbers = reason.partition("[")[2].rstrip("]").split()
    return f" at y {float(numbers[1]):.1f}, x {float(numbers[0]):.1f}" if len(numbers) == 2 else ""


def _even(ring: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return points at even distances along a ring."""
    closed = np.vstack([ring, ring[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = int(np.clip(round(along[-1] / step), 8, MOST_VERTICES // 10))
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.column_stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)])
