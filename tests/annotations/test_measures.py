from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Region, RegionTable
from napari_medlab.annotations.measures import measured
from napari_medlab.geometry import Grid, mask_to_rings, polygons

PLANE = Grid.axis_aligned((64, 64), (0.5, 0.25), (10.0, -4.0), unit="um")
VOLUME = Grid.axis_aligned((20, 64, 64), (2.0, 0.5, 0.25), (-40.0, 12.0, 100.0))


def of_rings(*rings: np.ndarray) -> RegionTable:
    return RegionTable.from_regions("c", [Region("c", rings)])


def on_slices(ring: np.ndarray, slices: list[int]) -> RegionTable:
    return RegionTable.from_regions("c", [Region.on_slices("c", {z: [ring] for z in slices})])


def test_a_circle_has_its_centre_and_nearly_its_diameter() -> None:
    centre, diameter = measured(of_rings(polygons.circle((20.0, 30.0), 6.0, PLANE.spacing, 400)), PLANE)
    assert centre[0] == pytest.approx(PLANE.to_world((20.0, 30.0)))
    assert diameter[0] == pytest.approx(6.0, rel=1e-4)


def test_a_hole_and_a_second_part_count_by_the_even_odd_rule() -> None:
    outer, hole, part = (
        polygons.box((0, 0), (10, 12)),
        polygons.box((2, 2), (6, 6)),
        polygons.box((20, 0), (24, 5)),
    )
    centre, diameter = measured(of_rings(outer, hole, part), PLANE)
    area = 120 - 16 + 20
    middle = (120 * np.array([5, 6]) - 16 * np.array([4, 4]) + 20 * np.array([22, 2.5])) / area
    assert centre[0] == pytest.approx(PLANE.to_world(middle))
    assert diameter[0] == pytest.approx(2 * math.sqrt(area * 0.125 / math.pi))


def test_a_box_is_as_large_as_the_mean_of_its_sides() -> None:
    centre, diameter = measured(of_rings(polygons.box((4, 8), (12, 40))), PLANE)
    assert centre[0] == pytest.approx(PLANE.to_world((8, 24)))
    assert diameter[0] == pytest.approx((8 * 0.5 + 32 * 0.25) / 2)


def test_the_same_box_on_several_slices_is_one_box() -> None:
    centre, diameter = measured(on_slices(polygons.box((0, 0), (8, 16)), [3, 4, 5]), VOLUME)
    assert centre[0] == pytest.approx(VOLUME.to_world((4, 4, 8)))
    assert diameter[0] == pytest.approx((3 * 2.0 + 8 * 0.5 + 16 * 0.25) / 3)


def test_slices_between_those_with_an_outline_count_with_them() -> None:
    ring = polygons.circle((20.0, 20.0), 8.0, VOLUME.spacing[1:], 200)
    every, second = (measured(on_slices(ring, slices), VOLUME) for slices in ([4, 5, 6, 7, 8], [4, 6, 8]))
    assert second[0][0] == pytest.approx(every[0][0])
    assert second[1][0] == pytest.approx(every[1][0] * (6 / 5) ** (1 / 3), rel=1e-6)


@pytest.mark.parametrize("ring", [[(5, 5), (5, 5), (5, 5)], [(5, 5), (5, 9), (5, 7)]])
def test_what_has_no_area_has_a_place_and_a_size(ring: list[tuple[int, int]]) -> None:
    centre, diameter = measured(of_rings(np.asarray(ring, float)), PLANE)
    assert np.isfinite(centre).all()
    assert diameter[0] >= min(PLANE.spacing)


@given(st.integers(0, 2**16 - 1))
def test_the_centre_of_a_mask_is_that_of_its_pixels_where_it_is_symmetric(bits: int) -> None:
    quarter = np.asarray([bits >> n & 1 for n in range(16)], dtype=bool).reshape(4, 4)
    quarter[0, 0] = True
    mask = np.block([[quarter[::-1, ::-1], quarter[::-1]], [quarter[:, ::-1], quarter]])
    centre, diameter = measured(of_rings(*mask_to_rings(mask)), Grid.axis_aligned((8, 8), (1.0, 1.0)))
    assert centre[0] == pytest.approx((3.5, 3.5))
    assert diameter[0] == pytest.approx(2 * math.sqrt(mask.sum() / math.pi), rel=0.3)


def test_many_outlines_are_measured_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    regions = [
        Region(
            "c",
            tuple(
                polygons.circle(rng.uniform(10, 50, 2).tolist(), rng.uniform(1, 4), PLANE.spacing)
                for _ in range(n % 3 + 1)
            ),
        )
        for n in range(40)
    ]
    centres, diameters = measured(RegionTable.from_regions("c", regions), PLANE)
    for row, region in enumerate(regions):
        centre, diameter = measured(RegionTable.from_regions("c", [region]), PLANE)
        assert centre[0] == pytest.approx(centres[row])
        assert diameter[0] == pytest.approx(diameters[row])
    nothing = measured(RegionTable.from_regions("c", []), PLANE)
    assert [len(column) for column in nothing] == [0, 0]
