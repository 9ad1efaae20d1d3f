from __future__ import annotations

import pytest

from napari_medlab.correcting.vertices import (
    insert_vertex,
    move_vertex,
    nearest_edge,
    nearest_vertex,
    remove_vertex,
)
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0]]
HOLE = [[4, 4], [4, 6], [6, 6], [6, 4]]


def test_the_nearest_vertex_and_edge_are_found_among_all_rings() -> None:
    vertex = nearest_vertex([SQUARE, HOLE], (5.7, 6.4))
    assert vertex is not None
    assert (vertex.ring, vertex.vertex) == (1, 2)
    assert vertex.distance == pytest.approx(0.5)
    edge = nearest_edge([SQUARE, HOLE], (11, 3))
    assert edge is not None
    assert (edge.ring, edge.vertex, edge.distance, edge.point) == (0, 2, 1.0, (10.0, 3.0))
    assert nearest_vertex([], (0, 0)) is None
    assert nearest_edge([], (0, 0)) is None


def test_the_last_edge_runs_back_to_the_first_vertex() -> None:
    edge = nearest_edge([SQUARE], (5, -1))
    assert edge is not None
    assert (edge.vertex, edge.point) == (3, (5.0, 0.0))
    grown = insert_vertex([SQUARE], 0, edge.vertex, (5, -2))
    assert grown[0].tolist() == [*SQUARE, [5, -2]]


def test_a_move_that_makes_the_outline_cross_itself_is_refused_or_mended() -> None:
    assert move_vertex([SQUARE], 0, 0, (1, 1))[0].tolist() == [[1, 1], *SQUARE[1:]]
    with pytest.raises(InputRefusedError, match="crosses or touches itself at y"):
        move_vertex([SQUARE], 0, 0, (12, 5))
    assert polygons.fault_of(move_vertex([SQUARE], 0, 0, (12, 5), mend=True)) == ""
    with pytest.raises(InputRefusedError, match="cross one another"):
        move_vertex([SQUARE, HOLE], 1, 0, (-3, 4))


def test_a_ring_of_two_vertices_goes_away() -> None:
    triangle = SQUARE[:3]
    assert remove_vertex([SQUARE], 0, 3)[0].tolist() == triangle
    assert remove_vertex([triangle], 0, 0) == []
    assert [len(ring) for ring in remove_vertex([SQUARE, HOLE[:3]], 1, 1)] == [4]
