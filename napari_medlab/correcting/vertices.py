"""Single vertices of an outline: found, moved, put in, taken out; what results is a valid outline or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry.polygons import Rings

__all__ = ["Place", "insert_vertex", "move_vertex", "nearest_edge", "nearest_vertex", "remove_vertex"]


class Place(NamedTuple):
    """A place on an outline.

    Parameters
    ----------
    ring : int
    vertex : int
        The vertex itself, or the one at which the edge begins.
    distance : float
        Pixels to the point that was asked about.
    point : (y, x)
    """

    ring: int
    vertex: int
    distance: float
    point: tuple[float, float]


def nearest_vertex(rings: Sequence[ArrayLike], point: Sequence[float]) -> Place | None:
    """Return the vertex nearest to a point (y, x); None where there is none."""
    places = []
    for number, ring in enumerate(rings):
        vertices = np.asarray(ring, dtype=np.float64)
        distances = np.hypot(*(vertices - np.asarray(point)).T)
        row = int(distances.argmin())
        places.append(
            Place(number, row, float(distances[row]), (float(vertices[row, 0]), float(vertices[row, 1])))
        )
    return min(places, key=lambda place: place.distance, default=None)


def nearest_edge(rings: Sequence[ArrayLike], point: Sequence[float]) -> Place | None:
    """Return the place on an edge nearest to a point (y, x); None where there is none."""
    places = []
    for number, ring in enumerate(rings):
        start = np.asarray(ring, dtype=np.float64)
        along = np.roll(start, -1, axis=0) - start
        length = np.maximum((along**2).sum(axis=1), 1e-300)
        share = np.clip(((np.asarray(point) - start) * along).sum(axis=1) / length, 0, 1)
        feet = start + share[:, None] * along
        distances = np.hypot(*(feet - np.asarray(point)).T)
        row = int(distances.argmin())
        places.append(Place(number, row, float(distances[row]), (float(feet[row, 0]), float(feet[row, 1]))))
    return min(places, key=lambda place: place.distance, default=None)


def move_vertex(
    rings: Sequence[ArrayLike], ring: int, vertex: int, point: Sequence[float], *, mend: bool = False
) -> Rings:
    """Return the outline with a vertex at another place (y, x).

    Raises
    ------
    InputRefusedError
        Where the outline would come to cross itself or another ring, unless ``mend`` allows to mend it.
    """
    changed = _copied(rings)
    changed[ring][vertex] = point
    return _valid(changed, mend)


def insert_vertex(
    rings: Sequence[ArrayLike], ring: int, vertex: int, point: Sequence[float], *, mend: bool = False
) -> Rings:
    """Return the outline with a new vertex at ``point``, on the edge that begins at ``vertex``; raises as above."""
    changed = _copied(rings)
    changed[ring] = np.insert(changed[ring], vertex + 1, np.asarray(point, dtype=np.float64), axis=0)
    return _valid(changed, mend)


def remove_vertex(rings: Sequence[ArrayLike], ring: int, vertex: int, *, mend: bool = False) -> Rings:
    """Return the outline without a vertex; a ring of which two would be left goes away. Raises as above."""
    changed = _copied(rings)
    changed[ring] = np.delete(changed[ring], vertex, axis=0)
    if len(changed[ring]) < 3:
        del changed[ring]
    return _valid(changed, mend)


def _copied(rings: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    return [np.array(ring, dtype=np.float64) for ring in rings]


def _valid(rings: Rings, mend: bool) -> Rings:
    valid, fault = polygons.mended(rings)
    if fault and not mend:
        raise InputRefusedError(f"The vertex stays where it is: {fault}.", code="invalid-outline")
    return valid
