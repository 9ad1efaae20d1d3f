from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_frames import ORIENTATIONS, oriented_grid

from napari_medlab.geometry import Grid, isotropic_grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEEPNESS = np.array([4.0, 7.0, 3.0])
"""The ramp is 4 x + 7 y + 3 z in world millimetres."""


def ramp(grid: Grid) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    values: NDArray[np.float64] = grid.to_world(index) @ STEEPNESS
    return values


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(ORIENTATIONS), st.tuples(*[st.floats(0.6, 3)] * 3), st.floats(0.8, 2.5))
def test_a_ramp_is_the_same_on_another_spacing(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], spacing: tuple[float, ...], wanted: float
) -> None:
    grid = oriented_grid(orientation, spacing, shape=(20, 24, 22), tilt=(0.1, 0.2, -0.1))
    target = isotropic_grid(grid, wanted)
    result = resample(ramp(grid).astype(np.float32), grid, target)
    # smoothing reaches a few voxels of the source inwards from its border
    reach = np.ceil(2.5 * wanted / np.asarray(spacing) + 1)
    index = grid.to_index(
        target.to_world(np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"), -1))
    )
    inner = ((index >= reach) & (index <= np.asarray(grid.shape) - 1 - reach)).all(axis=-1)
    np.testing.assert_allclose(result[inner], ramp(target)[inner], atol=2e-2)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(ORIENTATIONS), st.tuples(*[st.floats(0.6, 3)] * 3), st.floats(0.8, 2.5))
def test_no_voxel_of_the_border_is_taken_for_outside(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], spacing: tuple[float, ...], wanted: float
) -> None:
    grid = oriented_grid(orientation, spacing, (-183.1, 77.7, 401.3), (6, 7, 8), (0.1, 0.2, -0.1))
    target = isotropic_grid(grid, wanted)
    result = resample(np.full(grid.shape, 5.0), grid, target, fill=-1000)
    np.testing.assert_allclose(result, 5.0, rtol=1e-5)


def test_the_isotropic_grid_begins_at_the_same_voxel_and_never_leaves_the_volume() -> None:
    grid = Grid.axis_aligned((10, 20, 30), (2.5, 0.7, 0.7), (-10, -20, -30))
    target = isotropic_grid(grid, 1.5)
    np.testing.assert_allclose(target.to_world((0, 0, 0)), (-10, -20, -30))
    assert target.spacing == pytest.approx((1.5, 1.5, 1.5))
    assert target.shape == (16, 9, 14)
    last = grid.to_index(target.to_world(np.subtract(target.shape, 1)))
    assert (last <= np.asarray(grid.shape) - 1 + 1e-6).all()


def test_what_lies_outside_gets_the_fill() -> None:
    grid = Grid.axis_aligned((4, 4, 4), (1, 1, 1))
    beside = grid.cropped((0, 0, -8), (4, 4, 4))
    assert (resample(np.ones((4, 4, 4)), grid, beside, fill=-1000) == -1000).all()


def test_fine_stripes_do_not_alias() -> None:
    grid = Grid.axis_aligned((4, 4, 64), (1, 1, 1))
    stripes = np.broadcast_to(np.arange(64) % 2 * 100.0, (4, 4, 64))
    coarse = resample(stripes, grid, Grid.axis_aligned((4, 4, 30), (1, 1, 2)))
    assert np.abs(coarse[..., 3:-3] - 50).max() < 12
