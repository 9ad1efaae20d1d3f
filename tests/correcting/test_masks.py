from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from napari_medlab.annotations import Region
from napari_medlab.correcting.masks import Patch, components, fill, patch_in, region_of, stroke
from napari_medlab.correcting.regions import rings_on, slices_of

SQUARE = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])


@given(arrays(bool, (3, 7, 8)), arrays(bool, (3, 7, 8)))
@settings(deadline=None, max_examples=40)
def test_a_mask_survives_the_way_through_a_region(
    first: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]],
    second: np.ndarray[tuple[int, int, int], np.dtype[np.bool_]],
) -> None:
    """Whatever a region was before, it has the patch's mask after, and nothing changes where nothing was to change."""
    empty = Region("c", (), "o")
    region = region_of(Patch(first, (5, 10, 20)), empty)
    assert (region is None or not region.rings) == (not first.any())
    again = region_of(Patch(second, (5, 10, 20)), region or empty)
    box = Patch(second, (5, 10, 20)).box
    np.testing.assert_array_equal(patch_in(again, box).mask, second)
    if again is not None:
        assert region_of(patch_in(again, box), again) is again


def test_only_slices_that_changed_get_new_rings() -> None:
    region = Region.on_slices("c", {1: [SQUARE / 3], 2: [SQUARE], 9: [SQUARE]})
    patch = patch_in(region, (slice(1, 10), slice(0, 13), slice(0, 13)))
    painted = stroke(patch, [[2, 4, 11]], 2.0, (1, 1, 1), flat=True)
    after = region_of(painted, region)
    assert after is not None
    assert slices_of(after) == [1, 2, 9]
    assert after.rings[0] is region.rings[0]
    assert after.rings[-1] is region.rings[-1]
    assert not np.array_equal(rings_on(after, 2)[0], SQUARE)


def test_what_lies_outside_the_patch_stays() -> None:
    region = Region("c", (SQUARE, SQUARE + 100))
    box = (slice(0, 20), slice(5, 20))
    after = region_of(Patch(np.zeros((20, 15), bool), (0, 5)), region)
    assert after is not None
    mask = patch_in(after, (slice(0, 120), slice(0, 120))).mask
    expected = patch_in(region, (slice(0, 120), slice(0, 120))).mask
    expected[box] = False
    np.testing.assert_array_equal(mask, expected)


def test_a_region_that_crosses_the_border_of_the_patch_stays_in_one_piece() -> None:
    patch = patch_in(Region("c", (SQUARE,)), (slice(2, 8), slice(5, 30)))
    painted = stroke(patch, [[5, 15], [5, 20]], 1.5, (1, 1))
    after = region_of(painted, Region("c", (SQUARE,)))
    assert after is not None
    whole = patch_in(after, (slice(0, 40), slice(0, 40)))
    np.testing.assert_array_equal(whole.mask[2:8, 5:30], painted.mask)
    assert len(components(Patch(whole.mask[:, :12], (0, 0)))) == 1
    assert whole.mask[0:11, 0:5].sum() == 50


def test_a_ball_is_round_in_space_and_a_disc_stays_on_its_slice() -> None:
    empty = Patch(np.zeros((21, 41, 41), bool), (100, 0, 0))
    ball = stroke(empty, [[110, 20, 20]], 6.0, (2.0, 1.0, 1.0))
    assert np.ptp(np.argwhere(ball.mask), axis=0).tolist() == [6, 12, 12]
    assert ball.mask.sum() * 2 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)
    disc = stroke(empty, [[110, 20, 20], [110, 20, 30]], 4.0, (2.0, 1.0, 1.0), flat=True)
    assert np.flatnonzero(disc.mask.any(axis=(1, 2))).tolist() == [10]
    assert disc.mask.sum() == pytest.approx(np.pi * 16 + 80, rel=0.1)
    erased = stroke(ball, [[110, 20, 0], [110, 20, 40]], 50.0, (2.0, 1.0, 1.0), value=False)
    assert not erased.mask.any()
    assert stroke(empty, [[300, 20, 20]], 3.0, (1, 1, 1)).mask.sum() == 0
    assert stroke(empty, [[300, 20, 20]], 3.0, (1, 1, 1), flat=True).mask.sum() == 0


def test_what_a_polygon_encloses_is_set_or_cleared() -> None:
    patch = Patch(np.zeros((3, 20, 20), bool), (4, 0, 0))
    filled = fill(patch, [SQUARE, SQUARE / 2], 5)
    assert filled.mask.sum(axis=(1, 2)).tolist() == [0, 75, 0]
    assert not fill(filled, [SQUARE], 5, value=False).mask.any()
    assert not fill(patch, [SQUARE], 9).mask.any()
    assert fill(Patch(np.zeros((20, 20), bool), (5, 5)), [SQUARE]).mask.sum() == 25


def test_components_come_largest_first() -> None:
    mask = np.zeros((5, 9), bool)
    mask[0, 0], mask[2, 2:6], mask[4, 7:9] = True, True, True
    assert [part.mask.sum() for part in components(Patch(mask, (0, 0)))] == [4, 2, 1]
