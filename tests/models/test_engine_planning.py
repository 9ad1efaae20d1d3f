from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.planning import TilingRule, halved, make_plan, split
from napari_medlab.models.inference.skipping import Foreground

sizes = st.integers(1, 150)
cores = st.integers(1, 70)
cases = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        st.tuples(*[sizes] * min(n, 2)),
        st.tuples(*[cores] * min(n, 2)),
        st.integers(0, 20),
        st.sampled_from([1, 4, 8]),
    )
)


@settings(deadline=None)
@given(cases, st.sampled_from([0.0, 0.3, 0.9]))
def test_tiles_of_one_shape_cover_the_image_with_their_halo(
    case: tuple[tuple[int, ...], tuple[int, ...], int, int], overlap: float
) -> None:
    shape, core, halo, multiple = case
    rule = TilingRule(core, halo, multiple, overlap=overlap)
    plan = make_plan(shape, rule)
    covered = np.zeros(shape, int)
    assert len({tile.read_shape for tile in plan.tiles}) == 1
    for tile in plan.tiles:
        covered[tile.core_box()] += 1
        assert all(start % multiple == 0 for start in (*tile.read_start, *tile.core_start, *tile.read_shape))
        for axis, size in enumerate(shape):
            assert 0 <= tile.read_start[axis] <= max(0, tile.core_start[axis] - halo)
            assert min(size, tile.core_stop[axis] + halo) <= tile.read_stop[axis] < size + multiple
            assert tile.core_start[axis] < tile.core_stop[axis] <= size
    assert (covered >= 1).all()
    assert overlap > 0 or (covered == 1).all()


@settings(deadline=None)
@given(cases, st.integers(1, 40))
def test_a_shifted_grid_covers_the_image_once_more(
    case: tuple[tuple[int, ...], tuple[int, ...], int, int], shift: int
) -> None:
    shape, core, halo, multiple = case
    plain = make_plan(shape, TilingRule(core, halo, multiple)).tiles
    shifted = make_plan(shape, TilingRule(core, halo, multiple, shifts=((shift,) * len(shape),))).tiles
    covered = np.zeros(shape, int)
    for tile in shifted:
        covered[tile.core_box()] += 1
    assert len({tile.read_shape for tile in shifted}) == 1
    assert set(plain) <= set(shifted)
    assert covered.max() <= 2
    assert covered.min() >= 1


@settings(deadline=None)
@given(cases, st.sampled_from([0.1, 0.5]))
def test_overlapping_weights_add_up_to_one(
    case: tuple[tuple[int, ...], tuple[int, ...], int, int], overlap: float
) -> None:
    shape, core, halo, multiple = case
    total = np.zeros(shape)
    for tile in make_plan(shape, TilingRule(core, halo, multiple, overlap=overlap)).tiles:
        ends = zip(tile.fades, tile.core_start, tile.core_stop, strict=True)
        weights = np.ones(())
        for fade, start, stop in ends:
            weights = np.multiply.outer(weights, fade.weights(start, stop))
        total[tile.core_box()] += weights
    if all(side * (1 - overlap) >= 2 * multiple for side in core):
        np.testing.assert_allclose(total, 1, atol=1e-5)
    assert (total > 0).all()


@settings(deadline=None)
@given(cases)
def test_a_tile_in_pieces_covers_the_same_core(
    case: tuple[tuple[int, ...], tuple[int, ...], int, int],
) -> None:
    shape, core, halo, multiple = case
    rule = TilingRule(core, halo, multiple)
    smaller = halved(rule)
    if smaller is None:
        return
    pieces = []
    for tile in make_plan(shape, rule).tiles:
        covered = np.zeros(shape, int)
        for piece in split(tile, shape, smaller):
            covered[piece.core_box()] += 1
            pieces.append(piece)
            assert all(start % multiple == 0 for start in piece.read_start)
            for axis, size in enumerate(shape):
                assert piece.read_start[axis] <= max(0, piece.core_start[axis] - halo)
                assert piece.read_stop[axis] >= min(size, piece.core_stop[axis] + halo)
        expected = np.zeros(shape, int)
        expected[tile.core_box()] = 1
        np.testing.assert_array_equal(covered, expected)
    assert len({piece.read_shape for piece in pieces}) == 1


def test_a_worked_example() -> None:
    plan = make_plan((100,), TilingRule((40,), 10, 8))
    assert [(tile.read_start[0], tile.read_stop[0]) for tile in plan.tiles] == [(0, 72), (32, 104)]
    assert [(tile.core_start[0], tile.core_stop[0]) for tile in plan.tiles] == [(0, 56), (56, 100)]


def test_what_fits_into_a_tile_with_its_halo_is_one_tile() -> None:
    (tile,) = make_plan((90, 20), TilingRule((64, 64), 16, 8)).tiles
    assert (tile.read_start, tile.read_stop, tile.core_stop) == ((0, 0), (96, 24), (90, 20))


def test_the_tiles_nearest_to_the_focus_come_first() -> None:
    plan = make_plan((256, 256), TilingRule((64, 64), 0), focus=(200.0, 10.0))
    assert plan.tiles[0].core_start == (192, 0)
    assert {tile.core_start for tile in plan.tiles[1:4]} <= {(128, 0), (128, 64), (192, 64)}
    assert plan.tiles[-1].core_start == (0, 192)


@settings(deadline=None)
@given(cases, st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]))
def test_tiles_are_laid_over_the_foreground_alone(
    case: tuple[tuple[int, ...], tuple[int, ...], int, int], seed: int, overlap: float
) -> None:
    shape, core, halo, multiple = case
    rule = TilingRule(core, halo, multiple, overlap=overlap)
    mask = np.random.default_rng(seed).random([-(-size // 10) for size in shape]) < 0.1
    foreground = Foreground(mask, (0.1,) * len(shape), (-0.45,) * len(shape))
    plan = make_plan(shape, rule, foreground=foreground)
    covered = np.zeros(shape, int)
    for tile in plan.tiles:
        covered[tile.core_box()] += 1
        assert all(start % multiple == 0 for start in (*tile.read_start, *tile.core_start, *tile.read_shape))
        for axis, size in enumerate(shape):
            assert tile.read_start[axis] <= max(0, tile.core_start[axis] - halo)
            assert tile.read_stop[axis] >= min(size, tile.core_stop[axis] + halo)
    assert len({tile.read_shape for tile in plan.tiles}) == bool(mask.any())
    needed = mask
    for axis in range(len(shape)):
        needed = needed.repeat(10, axis=axis)
    assert (covered[needed[tuple(slice(size) for size in shape)]] > 0).all()
    assert overlap > 0 or covered.max() <= 1


def test_a_worked_example_of_skipping() -> None:
    mask = np.zeros((8, 8), np.bool_)
    mask[1, 2:4] = mask[6, 0] = mask[6, 7] = True
    foreground = Foreground(mask, (1 / 8,) * 2, (-0.4375,) * 2)
    plan = make_plan((64, 64), TilingRule((16, 16), 0, 8), foreground=foreground)
    assert [tile.core_start for tile in plan.tiles] == [(8, 16), (48, 0), (48, 56)]
    assert [tile.read_start for tile in plan.tiles] == [(8, 16), (48, 0), (48, 48)]
    assert (plan.skipped, plan.total) == (13, 16)


def test_nothing_to_look_at_is_no_tile() -> None:
    nothing = Foreground(np.zeros((4, 4), np.bool_), (0.1, 0.1), (0.0, 0.0))
    plan = make_plan((40, 40), TilingRule((16, 16), 0, 8), foreground=nothing)
    assert plan.tiles == ()
    assert plan.total > 0


def test_a_rule_survives_json_in_the_forms_that_bundles_use() -> None:
    rule = TilingRule((64, 128, 128), (8, 16, 16), 8, 4, 0.25, ((0, 32, 32),), "air")
    assert TilingRule.from_json(rule.as_json()) == rule
    assert TilingRule.from_json(
        {"core": [64, 64], "halo": 8, "skip": {"rule": "glass"}}, multiple=16
    ) == TilingRule((64, 64), 8, 16, skip="glass")


@pytest.mark.parametrize(
    "wrong",
    [{"core": (0, 4)}, {"halo": -1}, {"halo": (1, 2, 3)}, {"overlap": 1.0}, {"batch": 0}, {"skip": "water"}],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        TilingRule(**{"core": (8, 8), **wrong})  # type: ignore[arg-type]
    assert next(iter(wrong)) in caught.value.message


def test_an_image_with_other_axes_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="2 axes"):
        make_plan((64, 64), TilingRule((16, 16, 16)))
