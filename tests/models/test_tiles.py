from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.models.inference.tiles import Tile, plan_tiles

sizes = st.integers(1, 70)
planes = st.integers(2, 3).flatmap(
    lambda n: st.tuples(st.tuples(*[sizes] * n), st.tuples(*[st.integers(1, 6).map(lambda k: 8 * k)] * n))
)


def shape_of(start: tuple[int, ...], stop: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


@settings(deadline=None)
@given(planes, st.integers(0, 20))
def test_cores_cover_every_voxel_once(plan: tuple[tuple[int, ...], tuple[int, ...]], halo: int) -> None:
    shape, core = plan
    covered = np.zeros(shape, int)
    for tile in plan_tiles(shape, core, halo, 8):
        covered[shape_of(tile.core_start, tile.core_stop)] += 1
        assert all(b - a <= most for a, b, most in zip(tile.core_start, tile.core_stop, core, strict=True))
    assert (covered == 1).all()


@settings(deadline=None)
@given(planes, st.integers(0, 20))
def test_tiles_see_a_halo_around_their_core_and_begin_on_one_lattice(
    plan: tuple[tuple[int, ...], tuple[int, ...]], halo: int
) -> None:
    shape, core = plan
    for tile in plan_tiles(shape, core, halo, 8):
        assert all(start % 8 == 0 for start in (*tile.read_start, *tile.core_start))
        for axis, size in enumerate(shape):
            assert tile.read_start[axis] <= max(0, tile.core_start[axis] - halo)
            assert tile.read_stop[axis] >= min(size, tile.core_stop[axis] + halo)
            assert 0 <= tile.read_start[axis] < tile.read_stop[axis] <= size


@settings(deadline=None)
@given(planes, st.integers(0, 2**32 - 1))
def test_every_place_counts_in_one_tile(plan: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    shape, core = plan
    places = np.random.default_rng(seed).uniform(-0.5, np.asarray(shape) - 0.5, (50, len(shape)))
    counts = sum(tile.in_core(places).astype(int) for tile in plan_tiles(shape, core, 8, 8))
    assert (np.asarray(counts) == 1).all()


def test_a_worked_example() -> None:
    tiles = plan_tiles((100,), (64,), 10, 8)
    assert tiles == [Tile((0,), (72,), (0,), (56,)), Tile((40,), (100,), (56,), (100,))]
    assert tiles[1].read_box() == (slice(40, 100),)


@pytest.mark.parametrize("shape", [(1, 1, 1), (64, 128, 128)])
def test_what_fits_is_one_tile(shape: tuple[int, ...]) -> None:
    (tile,) = plan_tiles(shape, (64, 128, 128), 16, 8)
    assert (tile.read_start, tile.read_stop) == ((0, 0, 0), shape)
