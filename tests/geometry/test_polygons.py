from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, polygons, rings_to_mask

SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0]]
BOW_TIE = [[0, 0], [10, 10], [10, 0], [0, 10]]

coordinates = st.floats(-20, 20).map(lambda value: round(value, 2))
rings = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9)
outlines = st.lists(rings, min_size=1, max_size=3)


@given(outlines, outlines)
@settings(deadline=None, max_examples=60)
def test_areas_obey_inclusion_and_exclusion(
    first: list[list[tuple[float, float]]], second: list[list[tuple[float, float]]]
) -> None:
    """|A ∪ B| + |A ∩ B| = |A| + |B|, and the symmetric difference is what is in one alone."""
    both, either = polygons.intersection(first, second), polygons.union(first, second)
    alone = polygons.symmetric_difference(first, second)
    # each sliver that is dropped is thinner than a hundredth of a pixel
    tolerance = 0.01 * (polygons.to_shape(first).length + polygons.to_shape(second).length) + 1e-6
    total = polygons.area(first) + polygons.area(second)
    assert polygons.area(either) + polygons.area(both) == pytest.approx(total, abs=tolerance)
    assert polygons.area(alone) == pytest.approx(polygons.area(either) - polygons.area(both), abs=tolerance)
    only = polygons.area(polygons.difference(first, second)) + polygons.area(
        polygons.difference(second, first)
    )
    assert only == pytest.approx(polygons.area(alone), abs=tolerance)


@given(outlines)
@settings(deadline=None, max_examples=60)
def test_whatever_is_drawn_comes_out_valid_and_means_the_same(drawn: list[list[tuple[float, float]]]) -> None:
    """Mending keeps the even-odd rule, pixel centres on an edge or in a sliver aside."""
    mended, _ = polygons.mended(drawn)
    shape = polygons.to_shape(mended)
    assert shape.is_valid
    assert polygons.fault_of(mended) == ""
    moved = [np.asarray(ring) + 20 for ring in drawn]
    before = rings_to_mask(moved, (41, 41))
    after = rings_to_mask([ring + 20 for ring in mended], (41, 41))
    differs = np.argwhere(before != after) - 20.0
    borders = shapely.union_all([shapely.LinearRing([(x, y) for y, x in ring]) for ring in drawn])
    assert all(borders.distance(shapely.Point(x, y)) < 0.02 for y, x in differs)


@given(arrays(bool, (9, 11)))
@settings(deadline=None, max_examples=60)
def test_a_mask_survives_as_polygons(mask: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> None:
    """Mask → rings → shape → rings → mask is exact, holes and diagonal neighbours included."""
    shape = polygons.to_shape(mask_to_rings(mask))
    assert shape.is_valid
    np.testing.assert_array_equal(rings_to_mask(polygons.to_rings(shape), mask.shape), mask)


@given(rings, st.floats(0.05, 3))
@settings(deadline=None, max_examples=60)
def test_simplify_stays_within_its_tolerance(drawn: list[tuple[float, float]], tolerance: float) -> None:
    before = polygons.to_shape([drawn])
    after = polygons.to_shape(polygons.simplify([drawn], tolerance))
    assert after.is_valid
    assert len(polygons.to_rings(after)) == len(polygons.to_rings(before))
    if not before.is_empty:
        assert shapely.hausdorff_distance(after.boundary, before.boundary) <= tolerance * (1 + 1e-6) + 1e-9


def test_a_bow_tie_becomes_two_triangles_and_says_where_it_crossed() -> None:
    mended, fault = polygons.mended([BOW_TIE])
    assert [len(ring) for ring in mended] == [3, 3]
    assert polygons.area(mended) == pytest.approx(50)
    assert fault == "an outline crosses or touches itself at y 5.0, x 5.0"


def test_what_is_valid_comes_back_vertex_by_vertex() -> None:
    hole = [[2, 2], [4, 2], [4, 4], [2, 4]]
    island = [[2.5, 2.5], [3.5, 2.5], [3.5, 3.5]]
    rings_back, fault = polygons.mended([SQUARE, hole, island])
    assert fault == ""
    assert [ring.tolist() for ring in rings_back] == [SQUARE, hole, island]
    assert polygons.area(rings_back) == pytest.approx(100 - 4 + 0.5)
    assert [ring.tolist() for ring in polygons.to_rings(polygons.to_shape([SQUARE, hole]))] == [SQUARE, hole]


def test_what_two_rings_share_becomes_a_hole_as_in_the_mask() -> None:
    other = (np.asarray(SQUARE) + 5).tolist()
    mended, fault = polygons.mended([SQUARE, other])
    assert fault == "outlines of one object cross one another"
    assert polygons.area(mended) == pytest.approx(150)
    assert polygons.area([SQUARE, SQUARE]) == 0


def test_a_line_cuts_off_pieces_and_leaves_other_parts_alone() -> None:
    apart = (np.asarray(SQUARE) + 30).tolist()
    pieces = polygons.cut([SQUARE, apart], [[3, -1], [3, 11]])
    assert [polygons.area(piece) for piece in pieces] == pytest.approx([170, 30])
    assert [polygons.area(piece) for piece in polygons.cut([SQUARE], [[5, -1], [5, 5]])] == pytest.approx(
        [100]
    )


def test_a_cut_through_a_hole_opens_it() -> None:
    hole = [[4, 4], [4, 6], [6, 6], [6, 4]]
    pieces = polygons.cut([SQUARE, hole], [[5, -1], [5, 11]])
    assert [polygons.area(piece) for piece in pieces] == pytest.approx([48, 48])
    assert [len(piece) for piece in pieces] == [1, 1]


def test_joining_bridges_a_gap_only_where_asked() -> None:
    near = (np.asarray(SQUARE) + np.array([0, 11])).tolist()
    assert len(polygons.join([[SQUARE], [near]])) == 2
    bridged = polygons.join([[SQUARE], [near]], gap=2)
    assert len(bridged) == 1
    assert 200 < polygons.area(bridged) <= 210.5
    assert polygons.area(polygons.difference([SQUARE, near], bridged)) == 0


def test_parts_come_largest_first_with_their_holes() -> None:
    small = [[20, 20], [20, 22], [22, 22], [22, 20]]
    hole = [[4, 4], [4, 6], [6, 6], [6, 4]]
    assert [polygons.area(part) for part in polygons.parts([small, SQUARE, hole])] == pytest.approx([96, 4])


def test_smoothing_takes_the_steps_out_of_a_mask_and_keeps_its_size() -> None:
    y, x = np.mgrid[:60, :60]
    stepped = mask_to_rings((y - 30) ** 2 + (x - 30) ** 2 <= 400)
    smoothed = polygons.smooth(stepped)
    assert polygons.area(smoothed) == pytest.approx(polygons.area(stepped), rel=0.01)
    assert np.hypot(*(smoothed[0] - 30).T).std() < 0.7 * np.hypot(*(stepped[0] - 30).T).std()


def test_offset_grows_and_shrinks() -> None:
    assert polygons.area(polygons.offset([SQUARE], 1)) == pytest.approx(140 + np.pi, abs=0.05)
    assert polygons.area(polygons.offset([SQUARE], -1)) == pytest.approx(64)
    assert polygons.offset([SQUARE], -6) == []


def test_boxes_are_told_from_other_rings() -> None:
    made = polygons.box((5, 9), (1, 2))
    assert polygons.is_box(made)
    assert polygons.is_box(np.roll(made, 1, axis=0)[::-1])
    assert not polygons.is_box(made + np.array([[0.1, 0], [0, 0], [0, 0], [0, 0]]))
    assert not polygons.is_box(BOW_TIE)
    assert not polygons.is_box(made[:3])
    assert polygons.area([made]) == 28


def test_a_circle_follows_the_spacing() -> None:
    ring = polygons.circle((10, 20), 8.0, (2.0, 1.0))
    assert np.ptp(ring[:, 0]) == pytest.approx(4, abs=0.1)
    assert np.ptp(ring[:, 1]) == pytest.approx(8, abs=0.1)
    np.testing.assert_allclose(ring.mean(axis=0), (10, 20), atol=1e-9)


@pytest.mark.parametrize(
    ("given_rings", "code"),
    [([[[0, 0], [0, np.nan], [1, 1]]], "not-finite"), ([np.zeros((200_002, 2))], "too-large")],
)
def test_outlines_that_cannot_be_worked_on_are_refused(given_rings: list[object], code: str) -> None:
    with pytest.raises(InputRefusedError) as refused:
        polygons.to_shape(given_rings)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_an_edge_that_is_run_through_twice_bounds_nothing() -> None:
    there_and_back = [[0, 0], [2, 0], [0, 0], [0, 3], [2, 0], [0, 3]]
    assert not rings_to_mask([there_and_back], (4, 4)).any()
    assert polygons.mended([there_and_back]) == ([], "an outline has no area")


def test_outlines_without_area_are_named() -> None:
    assert polygons.fault_of([[[0, 0], [1, 1]]]) == "an outline of 2 points has no area"
    assert polygons.mended([[[0, 0], [0, 5], [0, 9]]]) == ([], "an outline has no area")
    assert polygons.to_shape([]).is_empty
