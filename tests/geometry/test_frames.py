from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import (
    Grid,
    centres_to_corners,
    corners_to_centres,
    index_at_level,
    index_at_level0,
    level_factors,
)

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]

spacings = st.tuples(*[st.floats(0.2, 5)] * 3)
places = st.tuples(*[st.floats(-500, 500)] * 3)
angles = st.tuples(*[st.floats(-0.6, 0.6)] * 3)


def rotation(about: tuple[float, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    from scipy.spatial.transform import Rotation

    turned: np.ndarray[tuple[int, int], np.dtype[np.float64]] = Rotation.from_euler("xyz", about).as_matrix()
    return turned


def oriented_grid(
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
    spacing: tuple[float, ...] = (2.0, 1.0, 1.5),
    origin: tuple[float, ...] = (10.0, -20.0, 30.0),
    shape: tuple[int, ...] = (3, 4, 5),
    tilt: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> Grid:
    """Return a grid whose array axis i runs along world axis order[i], forwards or backwards."""
    order, signs = orientation
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[axis]
    affine[:3, :3] = rotation(tilt) @ affine[:3, :3]
    affine[:3, 3] = origin
    return Grid(shape, affine)


@settings(deadline=None)
@given(st.sampled_from(ORIENTATIONS), spacings, places, angles, places)
def test_index_to_world_and_back(
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    tilt: tuple[float, ...],
    index: tuple[float, ...],
) -> None:
    grid = oriented_grid(orientation, spacing, origin, tilt=tilt)
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-6)
    assert grid.spacing == pytest.approx(spacing)
    assert grid.is_orthogonal
    assert Grid.from_json(grid.as_json()) == grid


def test_world_is_x_y_z_where_arrays_are_z_y_x() -> None:
    grid = Grid.axis_aligned((3, 4, 5), (2.5, 0.7, 0.5), (-10, -20, -30))
    np.testing.assert_allclose(grid.to_world((1, 2, 4)), (-10 + 4 * 0.5, -20 + 2 * 0.7, -30 + 2.5))


def test_planar_grids_are_y_x() -> None:
    grid = Grid.axis_aligned((4, 5), (0.5, 0.25), unit="um")
    np.testing.assert_allclose(grid.to_world([(2, 4)]), [(1.0, 1.0)])
    assert grid.spacing_mm == (0.0005, 0.00025)


def test_voxels_reach_half_a_step_beyond_their_centres() -> None:
    grid = Grid.axis_aligned((2, 2, 2), (1, 1, 1))
    inside = grid.contains([(-0.5, 0, 0), (1.49, 1.49, 1.49), (-0.51, 0, 0), (1.5, 0, 0)])
    assert inside.tolist() == [True, True, False, False]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_is_turned_upright_and_no_voxel_moves(
    orientation: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    grid = oriented_grid(orientation, tilt=(0.2, -0.15, 0.1))
    order, flips = grid.canonical_axes()
    upright = grid.reordered(order, flips)
    # axes now run nearest to +S, +P, +L
    assert (np.argmax(np.abs(upright.direction), axis=0) == (2, 1, 0)).all()
    assert (np.diag(np.fliplr(upright.direction)) > 0).all()
    # each voxel carries its own world position along
    positions = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    turned = positions.transpose(*order, 3)[tuple(slice(None, None, flip) for flip in flips)]
    assert turned.shape[:3] == upright.shape
    index = np.stack(np.meshgrid(*map(np.arange, upright.shape), indexing="ij"), axis=-1)
    np.testing.assert_allclose(upright.to_world(index), turned, atol=1e-9)


@settings(deadline=None)
@given(st.sampled_from(ORIENTATIONS), angles, st.tuples(*[st.integers(0, 2)] * 3))
def test_a_crop_keeps_its_place(
    orientation: tuple[tuple[int, ...], tuple[int, ...]], tilt: tuple[float, ...], start: tuple[int, ...]
) -> None:
    grid = oriented_grid(orientation, tilt=tilt)
    crop = grid.cropped(start, (1, 2, 2))
    assert crop.shape == (1, 2, 2)
    np.testing.assert_allclose(crop.to_world((0, 1, 1)), grid.to_world(np.add(start, (0, 1, 1))), atol=1e-9)


@settings(deadline=None)
@given(
    st.tuples(st.integers(64, 4000), st.integers(64, 4000)),
    st.integers(1, 6),
    st.tuples(st.floats(-10, 4000), st.floats(-10, 4000)),
)
def test_level_indices_come_back(shape: tuple[int, int], level: int, index: tuple[float, float]) -> None:
    coarse = tuple(max(1, size >> level) for size in shape)
    (one, factor) = level_factors([shape, coarse])
    assert one == (1.0, 1.0)
    np.testing.assert_allclose(index_at_level0(index_at_level(index, factor), factor), index, atol=1e-7)
    # the outer edges of both levels are the same place
    np.testing.assert_allclose(index_at_level0((-0.5, -0.5), factor), (-0.5, -0.5))
    np.testing.assert_allclose(index_at_level0(np.subtract(coarse, 0.5), factor), np.subtract(shape, 0.5))


def test_the_first_pixel_of_a_level_lies_amid_those_it_stands_for() -> None:
    np.testing.assert_allclose(index_at_level0((0, 0), (4, 4)), (1.5, 1.5))


def test_half_a_pixel_between_corners_and_centres() -> None:
    np.testing.assert_array_equal(corners_to_centres([(0, 0), (0.5, 0.5)]), [(-0.5, -0.5), (0, 0)])
    np.testing.assert_array_equal(centres_to_corners(corners_to_centres([(3, 7)])), [(3, 7)])


@pytest.mark.parametrize(
    "affine",
    [
        np.full((4, 4), np.nan),
        np.diag([1.0, 1.0, 0.0, 1.0]),
        np.array([[1.0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]),
        np.eye(3),
    ],
)
def test_a_matrix_that_is_no_geometry_is_refused(
    affine: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    with pytest.raises(ImageRefusedError):
        Grid((2, 2, 2), affine)


def test_an_unknown_pixel_size_stays_unknown() -> None:
    with pytest.raises(ImageRefusedError) as caught:
        _ = Grid.axis_aligned((2, 2), (1, 1), unit="px").spacing_mm
    assert caught.value.code == "unknown-spacing"
