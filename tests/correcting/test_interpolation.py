from __future__ import annotations

import numpy as np
import pytest
from phantom_objects import dice, nodules

from napari_medlab.annotations import Region
from napari_medlab.correcting.interpolation import fill_between, gaps
from napari_medlab.correcting.masks import patch_in
from napari_medlab.correcting.regions import parts, rings_on, slices_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, polygons

CIRCLE = polygons.circle((30, 30), 20)


def test_a_ball_outlined_on_every_fourth_slice_comes_back_whole() -> None:
    z, y, x = np.mgrid[:33, :64, :64]
    ball = (z - 16) ** 2 + (y - 30) ** 2 + (x - 34) ** 2 <= 14**2
    drawn = Region.on_slices("c", {z: mask_to_rings(ball[z]) for z in range(2, 31, 4)})
    filled = fill_between(drawn)
    assert filled is not None
    assert slices_of(filled) == list(range(2, 31))
    assert dice(patch_in(filled, (slice(0, 33), slice(0, 64), slice(0, 64))).mask, ball) > 0.95
    assert all(any(ring is kept for kept in filled.rings) for ring in drawn.rings)


def test_nodules_outlined_on_every_second_slice_come_back() -> None:
    scores = []
    for truth in nodules():
        on = np.flatnonzero(truth.mask.any(axis=(1, 2)))
        if len(on) < 4:
            continue
        drawn = Region.on_slices("c", {int(z): mask_to_rings(truth.mask[z]) for z in on[::2]})
        filled = fill_between(drawn, truth.spacing[1:])
        assert filled is not None
        missing = np.setdiff1d(np.asarray(slices_of(filled), int), np.asarray(slices_of(drawn), int))
        got = patch_in(filled, tuple(slice(0, size) for size in truth.mask.shape)).mask
        scores.append(dice(got[missing], truth.mask[missing]))
    assert len(scores) >= 3
    assert np.mean(scores) > 0.7


def test_a_vessel_that_runs_obliquely_is_not_pinched_off() -> None:
    drawn = Region.on_slices("c", {0: [CIRCLE], 6: [CIRCLE + np.array([0.0, 30.0])]})
    filled = fill_between(drawn)
    assert filled is not None
    for z in range(1, 6):
        (ring,) = rings_on(filled, z)
        np.testing.assert_allclose(ring.mean(axis=0), (30, 30 + 5 * z), atol=0.6)
        assert polygons.area([ring]) == pytest.approx(polygons.area([CIRCLE]), rel=0.05)


def test_parts_split_and_merge_where_they_overlap() -> None:
    trunk = polygons.box((20, 10), (40, 60))
    branches = [polygons.box((20, 10), (40, 30)), polygons.box((20, 40), (40, 60))]
    filled = fill_between(Region.on_slices("c", {0: [trunk], 8: branches}))
    assert filled is not None
    assert [len(rings_on(filled, z)) for z in (1, 7)] == [1, 2]
    assert len(parts(filled)) == 1


def test_a_hole_stays_a_hole() -> None:
    ring = [polygons.circle((30, 30), 30), polygons.circle((30, 30), 12)]
    filled = fill_between(Region.on_slices("c", {0: ring, 4: ring}))
    assert filled is not None
    for z in (1, 2, 3):
        assert len(rings_on(filled, z)) == 2
        assert polygons.area(rings_on(filled, z)) == pytest.approx(polygons.area(ring), rel=0.03)


def test_what_has_no_counterpart_ends_where_it_was_drawn() -> None:
    filled = fill_between(Region.on_slices("c", {0: [CIRCLE], 3: [CIRCLE, CIRCLE + 100]}))
    assert filled is not None
    assert [len(rings_on(filled, z)) for z in range(4)] == [1, 1, 1, 2]


def test_nothing_missing_changes_nothing() -> None:
    whole = Region.on_slices("c", {0: [CIRCLE], 1: [CIRCLE]})
    assert fill_between(whole) is whole
    assert gaps(Region.on_slices("c", {0: [CIRCLE], 5: [CIRCLE], 6: [CIRCLE]})) == [(0, 5)]
    with pytest.raises(InputRefusedError, match="1999 slices"):
        fill_between(Region.on_slices("c", {0: [CIRCLE], 2000: [CIRCLE]}))
