"""Regions changed as a whole or slice by slice; what comes back is a new region with the same id, or None for nothing.

Slices are counted along the first axis. In a planar region the only slice is ``None``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.annotations import Region, new_id
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry.polygons import Rings

__all__ = [
    "Operation",
    "Slice",
    "back_in_frame",
    "bounds",
    "combined",
    "copied_to",
    "cut",
    "in_frame",
    "joined",
    "mapped",
    "mended",
    "parts",
    "rings_on",
    "slices_of",
    "with_slice",
    "with_slices",
]

Slice = int | None
"""The number of a slice of a volume; None for a planar image."""
Operation = Literal["union", "intersection", "difference", "symmetric_difference"]


def slices_of(region: Region) -> list[Slice]:
    """Return the slices that a region lies on, in order; ``[None]`` for a planar one."""
    if any(ring.shape[1] == 2 for ring in region.rings):
        return [None]
    return sorted({_slice_of(ring) for ring in region.rings}, key=lambda z: z or 0)


def rings_on(region: Region, z: Slice) -> Rings:
    """Return the (y, x) rings of a region on a slice."""
    return [ring[:, -2:] for ring in region.rings if _slice_of(ring) == z]


def with_slice(region: Region, z: Slice, rings: Sequence[ArrayLike]) -> Region | None:
    """Return the region with these (y, x) rings on a slice; other slices keep theirs to the last bit."""
    return with_slices(region, {z: rings})


def with_slices(region: Region, planes: Mapping[Slice, Sequence[ArrayLike]]) -> Region | None:
    """Return the region with other rings on several slices, by slice."""
    changed = {
        z: [np.asarray(ring, dtype=np.float64) if z is None else np.insert(np.asarray(ring, dtype=np.float64), 0, z, axis=1)
            for ring in rings]
        for z, rings in planes.items()
    }  # fmt: skip
    kept: dict[Slice, list[NDArray[np.float64]]] = {}
    for ring in region.rings:
        if (z := _slice_of(ring)) not in changed:
            kept.setdefault(z, []).append(ring)
    all_planes = {**kept, **changed}
    rings = tuple(ring for z in sorted(all_planes, key=lambda z: z or 0) for ring in all_planes[z])
    return replace(region, rings=rings) if rings else None


def combined(first: Region, second: Region, operation: Operation) -> Region | None:
    """Return the first region united with the second, or what an other operation leaves, slice by slice.

    Slices on which nothing can change keep their rings to the last bit.
    """
    work = getattr(polygons, operation)
    own, others = set(slices_of(first)), set(slices_of(second))
    touched = own if operation == "intersection" else others & own if operation == "difference" else others
    return with_slices(first, {z: work(rings_on(first, z), rings_on(second, z)) for z in touched})


def joined(regions: Sequence[Region], gap: float = 0.0) -> Region | None:
    """Return the union of regions under the id of the first; parts up to ``gap`` pixels apart are bridged."""
    planes = {z for region in regions for z in slices_of(region)}
    return with_slices(
        regions[0], {z: polygons.join([rings_on(region, z) for region in regions], gap) for z in planes}
    )


def mapped(
    region: Region, change: Callable[[Rings], Rings], slices: Sequence[Slice] | None = None
) -> Region | None:
    """Return the region with ``change`` done to its rings, on all slices or on some.

    Parameters
    ----------
    region : Region
    change : callable
        From (y, x) rings to (y, x) rings, such as ``partial(polygons.simplify, tolerance=1.0)``.
    slices : sequence of slices, optional
    """
    chosen = [z for z in slices_of(region) if slices is None or z in slices]
    return with_slices(region, {z: change(rings_on(region, z)) for z in chosen})


def mended(region: Region, slices: Sequence[Slice] | None = None) -> tuple[Region | None, list[str]]:
    """Return the region valid on every slice, and what was mended; slices that are valid keep their rings."""
    told, changed = [], {}
    for z in slices_of(region) if slices is None else slices:
        rings, fault = polygons.mended(rings_on(region, z))
        if fault:
            changed[z] = rings
            told.append(fault if z is None else f"{fault}, on slice {z}")
    return (with_slices(region, changed) if changed else region), told


def cut(region: Region, z: Slice, line: ArrayLike) -> list[Region]:
    """Return the region after a line (n, 2) has cut through a slice of it: the first has its id, the others new ones.

    The largest piece stays with the region, and with it all other slices. One region means that nothing was cut.
    """
    pieces = polygons.cut(rings_on(region, z), line)
    if len(pieces) < 2:
        return [region]
    first = with_slice(region, z, pieces[0])
    others = [with_slice(_namesake(region), z, piece) for piece in pieces[1:]]
    return [made for made in (first, *others) if made is not None]


def parts(region: Region) -> list[Region]:
    """Return each connected part as a region, the largest first and with the region's id, the others with new ids.

    In a volume, parts of neighbouring slices are connected where they overlap.
    """
    pieces = [(z, piece) for z in slices_of(region) for piece in polygons.parts(rings_on(region, z))]
    if not pieces:
        return []
    groups = _connected([(z, polygons.to_shape(piece)) for z, piece in pieces])
    sizes = [sum(polygons.area(pieces[row][1]) for row in rows) for rows in groups]
    made: list[Region] = []
    for group in np.argsort([-size for size in sizes], kind="stable"):
        planes: dict[Slice, Rings] = {}
        for row in groups[group]:
            planes.setdefault(pieces[row][0], []).extend(pieces[row][1])
        part = with_slices(_namesake(region) if made else replace(region, rings=()), planes)
        if part is not None:
            made.append(part)
    return made


def copied_to(region: Region, z: int, target: int) -> Region:
    """Return the region with a copy of what is on slice ``z`` on the slice ``target``, in place of what was there.

    Raises
    ------
    InputRefusedError
        Where nothing is on slice ``z``.
    """
    rings = rings_on(region, z)
    if not rings:
        raise InputRefusedError(f"There is no outline on slice {z} to copy.", code="empty-slice")
    return with_slice(region, target, rings) or region


def in_frame(region: Region, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Region:
    """Return the region in other coordinates, such as those of the image as it is shown."""
    return replace(region, rings=tuple(change(ring) for ring in region.rings))


def back_in_frame(
    changed: Region,
    shown: Region,
    stored: Region,
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Region:
    """Return a region that was worked on in other coordinates in its own ones again.

    Parameters
    ----------
    changed : Region
        In the other coordinates.
    shown : Region
        What it was made of: ``in_frame(stored, …)``. Rings that are still its very arrays keep every bit of the stored.
    stored : Region
    change : callable
        From the other coordinates to those of the stored region.
    """
    known = {id(ring): own for ring, own in zip(shown.rings, stored.rings, strict=True)}
    return replace(
        changed, rings=tuple(known[id(ring)] if id(ring) in known else change(ring) for ring in changed.rings)
    )


def bounds(region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest index along each axis; raises :class:`InputRefusedError` for no rings."""
    if not region.rings:
        raise InputRefusedError("A region without rings lies nowhere.", code="empty-region")
    vertices = np.concatenate(region.rings)
    return vertices.min(axis=0), vertices.max(axis=0)


def _slice_of(ring: NDArray[np.float64]) -> Slice:
    return round(float(ring[0, 0])) if ring.shape[1] == 3 else None


def _namesake(region: Region) -> Region:
    return replace(region, rings=(), region_id=new_id())


def _connected(shapes: Sequence[tuple[Slice, object]]) -> list[list[int]]:
    """Return groups of rows that hang together from slice to slice."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from shapely import area, intersection

    at = np.asarray([0 if z is None else z for z, _ in shapes])
    pairs = [
        (row, other)
        for row in range(len(shapes))
        for other in np.flatnonzero(at == at[row] + 1).tolist()
        if area(intersection(shapes[row][1], shapes[other][1])) > 0
    ]
    rows, others = np.asarray(pairs, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, others)), shape=(len(shapes),) * 2)
    count, labels = connected_components(graph, directed=False)
    return [np.flatnonzero(labels == group).tolist() for group in range(count)]
