from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import BOW_TIE, CROSSING, ISLAND_IN_HOLE, SHAPE, TWO_PARTS, WITH_HOLE, masks

from napari_medlab.annotations.formats.curves import ellipse_ring, rotated
from napari_medlab.annotations.formats.outline_rows import box_ring
from napari_medlab.annotations.formats.ring_parts import are_apart, nested_parts, united, without_bridges
from napari_medlab.geometry import mask_to_rings, polygons, rings_to_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray


def alone(rings: list[NDArray[np.float64]]) -> list[list[NDArray[np.float64]]]:
    return [[ring] for ring in rings]


@pytest.mark.parametrize(
    ("rings", "expected"),
    [(TWO_PARTS, True), (WITH_HOLE, False), (CROSSING, False), (BOW_TIE, True), ([], True)],
)
def test_what_shares_no_area_is_apart(rings: list[NDArray[np.float64]], expected: bool) -> None:
    assert are_apart(alone(rings)) is expected


def test_neighbours_and_islands_are_apart() -> None:
    tiles = [box_ring(x - 0.5, y - 0.5, x + 0.5, y + 0.5) for x in range(10) for y in range(10)]
    assert are_apart(alone(tiles))
    assert len(united(alone(tiles))) == 100
    diagonal = [
        np.asarray([[0.0, 0.0], [0.0, 5.0], [5.0, 0.0]]),
        np.asarray([[5.0, 0.5], [5.0, 5.0], [0.5, 5.0]]),
    ]
    assert are_apart(alone(diagonal))
    assert are_apart([ISLAND_IN_HOLE[:2], ISLAND_IN_HOLE[2:]])


def test_a_union_covers_what_any_part_covers() -> None:
    every = united(alone([*CROSSING, *TWO_PARTS]))
    covered = np.any([rings_to_mask([ring], SHAPE) for ring in [*CROSSING, *TWO_PARTS]], axis=0)
    assert np.array_equal(rings_to_mask(every, SHAPE), covered)


@given(masks())
@settings(max_examples=60, deadline=None)
def test_parts_are_the_same_rings(mask: NDArray[np.bool_]) -> None:
    rings = mask_to_rings(mask)
    parts = nested_parts(rings)
    assert {id(ring) for part in parts for ring in part} == {id(ring) for ring in rings}
    for part in parts:
        assert polygons.fault_of(part) == ""
        inside = rings_to_mask(part, SHAPE)
        assert not any((inside & rings_to_mask(other, SHAPE)).any() for other in parts if other is not part)


@pytest.mark.parametrize("count", [40, 1200])
def test_wild_scribbles_are_united_by_pixels(count: int) -> None:
    rng = np.random.default_rng(4)
    scribbles = [rng.uniform(-5, 60, (count, 2)) for _ in range(2)]
    shape = (70, 70)
    masks = [rings_to_mask([ring + 6], shape) for ring in scribbles]
    assert np.array_equal(
        rings_to_mask([ring + 6 for ring in united(alone(scribbles))], shape), masks[0] | masks[1]
    )
    parts = [ring + 6 for part in nested_parts(scribbles) for ring in part]
    assert np.array_equal(rings_to_mask(parts, shape), masks[0] ^ masks[1])


def test_scribbles_that_share_no_pixel_are_kept() -> None:
    far = [ring + np.asarray([0.0, 3.0]) for ring in BOW_TIE]
    other = [np.asarray([[3.0, 2.0], [9.0, 2.0], [6.0, 5.0]])]
    assert are_apart([far, other])
    assert [ring.tolist() for ring in united([far, other])] == [ring.tolist() for ring in [*far, *other]]


def test_many_vertices_that_overlap_are_united_by_pixels() -> None:
    angle = np.linspace(0, 2 * np.pi, 15_000, endpoint=False)
    circle = 20.3 + 15 * np.column_stack([np.sin(angle), np.cos(angle)])
    masks = [rings_to_mask([circle + shift], (60, 60)) for shift in (0.0, 9.0)]
    assert np.array_equal(rings_to_mask(united([[circle], [circle + 9.0]]), (60, 60)), masks[0] | masks[1])


def test_the_same_ring_twice_is_nothing() -> None:
    assert nested_parts([WITH_HOLE[0], WITH_HOLE[0].copy()]) == []


@pytest.mark.parametrize(
    "ring",
    [[[0, 0], [1, 1], [0, 0]], [[0, 0], [4, 0], [0, 0], [1, 1], [2, 2], [0, 0]], [[0, 0], [0, 0], [0, 0]]],
)
def test_what_only_looks_like_bridges_is_left_alone(ring: list[list[float]]) -> None:
    given_ring = np.asarray(ring, dtype=np.float64)
    assert [each.tolist() for each in without_bridges(given_ring)] == [given_ring.tolist()]


@pytest.mark.parametrize("radii", [(0.3, 0.2), (5.0, 80.0), (1000.0, 1000.0)])
def test_ellipses_stay_within_a_hundredth_of_a_pixel(radii: tuple[float, float]) -> None:
    ring = ellipse_ring((3.0, 4.0), radii)
    middles = (ring + np.roll(ring, -1, axis=0)) / 2 - (3.0, 4.0)
    assert (1 - np.hypot(*(middles / radii).T)).max() * max(radii) <= 0.0101
    assert polygons.area([ring]) == pytest.approx(np.pi * radii[0] * radii[1], rel=0.05)


def test_a_turn_of_a_right_angle_goes_clockwise() -> None:
    ring = box_ring(0.0, 0.0, 4.0, 2.0)
    assert np.allclose(rotated(ring, 90)[0], [-1, 3])
    assert rotated(ring, 0) is ring
    assert np.allclose(rotated(ring, 360), ring)
