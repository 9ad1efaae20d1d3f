from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_medlab.geometry import mask_to_rings, ring_area, rings_to_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAR = np.array(
    [(1.3, 8.2), (6.1, 9.4), (10.7, 14.6), (9.2, 8.9), (16.4, 6.2), (9.6, 5.7), (8.4, 0.8), (5.9, 5.2)]
)
HOLE = np.array([(7.1, 7.3), (7.4, 8.6), (9.3, 8.2), (8.6, 6.4)])
SHAPE = (18, 16)


@settings(deadline=None)
@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)))
def test_a_mask_comes_back_exactly(mask: NDArray[np.bool_]) -> None:
    height, width = mask.shape
    np.testing.assert_array_equal(rings_to_mask(mask_to_rings(mask), (height, width)), mask)


def test_holes_and_islands_within_holes_come_back() -> None:
    mask = np.zeros((9, 9), np.bool_)
    mask[1:8, 1:8] = True
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    rings = mask_to_rings(mask)
    assert len(rings) == 3
    np.testing.assert_array_equal(rings_to_mask(rings, (9, 9)), mask)


def test_a_polygon_is_filled_as_others_fill_it() -> None:
    from shapely import Point, Polygon
    from skimage.draw import polygon2mask

    filled = rings_to_mask([STAR], SHAPE)
    np.testing.assert_array_equal(filled, polygon2mask(SHAPE, STAR))
    with_hole = Polygon(STAR, [HOLE])
    by_shapely = [[with_hole.contains(Point(y, x)) for x in range(SHAPE[1])] for y in range(SHAPE[0])]
    np.testing.assert_array_equal(rings_to_mask([STAR, HOLE], SHAPE), by_shapely)


def test_area_is_that_of_shapely() -> None:
    from shapely import Polygon

    assert abs(ring_area(STAR)) == pytest.approx(Polygon(STAR).area)
    assert ring_area(STAR[::-1]) == pytest.approx(-ring_area(STAR))


@settings(deadline=None)
@given(st.integers(-6, 20), st.integers(-6, 20), st.integers(1, 9), st.integers(1, 9))
def test_what_lies_outside_is_cut_off(top: int, left: int, height: int, width: int) -> None:
    box = (
        np.array([(top, left), (top, left + width), (top + height, left + width), (top + height, left)]) - 0.5
    )
    expected = np.zeros((12, 14), np.bool_)
    expected[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = True
    np.testing.assert_array_equal(rings_to_mask([box], (12, 14)), expected)


def test_neighbours_that_share_an_edge_share_no_pixel() -> None:
    left = np.array([(0, 0), (0, 3), (4, 3), (4, 0)])
    right = left + np.array([0, 3])
    total = rings_to_mask([left], (6, 8)).astype(int) + rings_to_mask([right], (6, 8))
    assert total.max() == 1
    assert total.sum() == 24


def test_an_empty_mask_has_no_outline() -> None:
    assert mask_to_rings(np.zeros((3, 3), np.bool_)) == []
    assert not rings_to_mask([], (2, 2)).any()
