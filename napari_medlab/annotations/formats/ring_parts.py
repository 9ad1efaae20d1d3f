"""Rings of one outline between formats that mean a union, parts with holes, or the even-odd rule.

:class:`~napari_medlab.annotations.region_table.RegionTable` reads the rings of an outline by the even-odd rule. COCO's
list of polygons and GeoJSON's parts are unions instead, which is the same as long as they share no area.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats import coco_rle
from napari_medlab.geometry import polygons
from napari_medlab.geometry.outlines import ring_area

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = ["are_apart", "bridged", "nested_parts", "united", "without_bridges"]

INTERIORS_MEET = "T********"
"""In the dimensionally extended nine-intersection model."""
MOST_VERTICES = 20_000
MOST_WILD_VERTICES = 1000
"""Of rings that cross themselves or one another."""
MOST_PIECES = 300
"""Into which the crossings may cut them."""
Rings = list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]


def are_apart(parts: Sequence[Sequence[NDArray[np.float64]]]) -> bool:
    """Tell whether no two parts (rings each) share any area, so that their union and the even-odd rule are the same.

    Rings that cross themselves are compared pixel by pixel.
    """
    if len(parts) < 2:
        return True
    boxes = np.asarray(
        [(np.min(corners, axis=0), np.max(corners, axis=0)) for corners in map(np.concatenate, parts)]
    )
    if len(parts) <= 64 and not _boxes_meet(boxes):
        return True
    shapes = _valid_shapes(parts)
    if shapes is None:
        return _share_no_pixel(parts)
    return _share_nothing(shapes)


def united(parts: Sequence[Sequence[NDArray[np.float64]]]) -> Rings:
    """Return what any of several parts (rings each) covers: the rings as they are where no two parts share area.

    Where they do, and have very many vertices or cross themselves very often, the union follows the edges of pixels.
    """
    rings = [ring for each in parts for ring in each]
    if are_apart(parts):
        return rings
    if _is_tame(rings, is_valid=_valid_shapes(parts) is not None):
        return polygons.join(parts)
    origin, shape = _frame(rings)
    runs = coco_rle.union_of_runs(
        [coco_rle.runs_of_rings([ring - origin for ring in each], shape) for each in parts]
    )
    return [ring + origin for ring in coco_rle.rings_of_runs(runs, shape[0])]


def nested_parts(rings: Sequence[NDArray[np.float64]]) -> list[Rings]:
    """Return rings as parts, each an outer ring followed by its holes; every ring once and unchanged.

    A ring inside an even number of the others begins a part, one inside an odd number is a hole of the smallest ring
    around it. Where rings cross one another, or one has no area, they are mended first, because no parts with holes
    have that outline; where they cross very often, they are replaced by the outlines of their pixels.
    """
    if len(rings) < 2:
        return [list(rings)]
    around = _rings_around(rings)
    if around is None:
        rings = polygons.mended(rings)[0] if _is_tame(rings, is_valid=False) else _pixel_rings(rings)
        around = _rings_around(rings)
        if around is None:
            return polygons.parts(rings)
    parts: dict[int, Rings] = {row: [ring] for row, ring in enumerate(rings) if len(around[row]) % 2 == 0}
    for row, others in enumerate(around):
        if len(others) % 2:
            parts[min(others, key=lambda other: abs(ring_area(rings[other])))].append(rings[row])
    return list(parts.values())


def bridged(rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return rings as one, for formats that have no more: bridges without width join each to the first.

    The way over a bridge is gone there and back, which the even-odd rule does not see: the mask is the same.
    """
    first = rings[0]
    pieces = [first]
    for ring in rings[1:]:
        pieces += [first[:1], ring, ring[:1]]
    if len(rings) > 1:
        pieces.append(first[:1])
    return np.concatenate(pieces)


def without_bridges(ring: NDArray[np.float64]) -> Rings:
    """Return the rings that :func:`bridged` joined; any other ring comes back alone and as it is."""
    start = ring[0]
    back = np.flatnonzero((ring == start).all(axis=1)).tolist()
    if len(back) < 2 or back[-1] != len(ring) - 1:
        return [ring]
    rings = [ring[: back[1]]]
    for begin, end in itertools.pairwise(back[1:]):
        piece = ring[begin + 1 : end]
        if len(piece) < 4 or (piece[0] != piece[-1]).any():
            return [ring]
        rings.append(piece[:-1])
    return rings if len(rings) > 1 else [ring]


def _boxes_meet(boxes: NDArray[np.float64]) -> bool:
    low, high = boxes[:, 0], boxes[:, 1]
    meet = (low[:, None] < high[None]).all(axis=2) & (low[None] < high[:, None]).all(axis=2)
    return bool(np.count_nonzero(meet) > len(boxes))


def _valid_shapes(parts: Sequence[Sequence[NDArray[np.float64]]]) -> list[BaseGeometry] | None:
    """Return parts, each an outer ring with its holes, as valid shapes; None where one is none."""
    import shapely

    shapes = [shapely.Polygon(rings[0][:, ::-1], [ring[:, ::-1] for ring in rings[1:]]) for rings in parts]
    return shapes if all(shapely.is_valid(shapes)) else None


def _share_nothing(shapes: list[BaseGeometry]) -> bool:
    import shapely

    first, second = shapely.STRtree(shapes).query(shapes)
    pairs = first < second
    given = np.asarray(shapes, dtype=object)
    return not shapely.relate_pattern(given[first[pairs]], given[second[pairs]], INTERIORS_MEET).any()


def _share_no_pixel(parts: Sequence[Sequence[NDArray[np.float64]]]) -> bool:
    origin, shape = _frame([ring for rings in parts for ring in rings])
    several = [coco_rle.runs_of_rings([ring - origin for ring in rings], shape) for rings in parts]
    return _pixels(coco_rle.union_of_runs(several)) == sum(map(_pixels, several))


def _pixels(runs: NDArray[np.int64]) -> int:
    return int((runs[:, 1] - runs[:, 0]).sum())


def _pixel_rings(rings: Sequence[NDArray[np.float64]]) -> Rings:
    origin, shape = _frame(rings)
    runs = coco_rle.runs_of_rings([ring - origin for ring in rings], shape)
    return [ring + origin for ring in coco_rle.rings_of_runs(runs, shape[0])]


def _frame(rings: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """Return the first pixel (y, x) of a rectangle around rings, and its height and width."""
    vertices = np.concatenate(rings)
    origin = np.floor(vertices.min(axis=0)).astype(np.int64)
    height, width = (np.ceil(vertices.max(axis=0)).astype(np.int64) - origin + 1).tolist()
    return origin, (height, width)


def _is_tame(rings: Sequence[NDArray[np.float64]], *, is_valid: bool) -> bool:
    """Tell whether rings have so few vertices and crossings that combining them exactly takes no time to speak of."""
    import shapely

    count = sum(map(len, rings))
    if is_valid or count > MOST_WILD_VERTICES:
        return is_valid and count <= MOST_VERTICES
    nodes = shapely.node(shapely.MultiLineString([shapely.LinearRing(ring) for ring in rings]))
    return bool(len(shapely.get_parts(nodes)) <= MOST_PIECES)


def _rings_around(rings: Sequence[NDArray[np.float64]]) -> list[list[int]] | None:
    """Return for each ring the others that it lies in; None where two cross or are the same."""
    import shapely

    if not rings:
        return []
    shapes = [shapely.Polygon(ring[:, ::-1]) for ring in rings]
    if not all(shape.is_valid for shape in shapes):
        return None
    around: list[list[int]] = [[] for _ in rings]
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    for row, other in zip(first.tolist(), second.tolist(), strict=True):
        if row == other:
            continue
        if shapes[row].within(shapes[other]):
            if shapes[row].equals(shapes[other]):
                return None
            around[row].append(other)
        elif not shapes[other].within(shapes[row]) and shapes[row].intersection(shapes[other]).area > 0:
            return None
    return around
