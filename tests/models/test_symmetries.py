from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from augmented_samples import box_of_mask
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation.symmetries import (
    GROUPS,
    Symmetry,
    by_name,
    group,
)

MEMBERS = {2: group("square", 2), 3: group("cube", 3)}
SHAPES = {2: (3, 5), 3: (2, 3, 5)}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Symmetry, Symmetry]:
    members = MEMBERS[draw(st.sampled_from([2, 3]))]
    return draw(st.sampled_from(members)), draw(st.sampled_from(members))


def arrays(dims: int) -> np.ndarray:
    return np.arange(2 * np.prod(SHAPES[dims])).reshape(2, *SHAPES[dims])


@pytest.mark.parametrize(
    ("name", "dims", "order", "rotations"),
    [
        ("square", 2, 8, 4),
        ("square rotations", 2, 4, 4),
        ("cube", 3, 48, 24),
        ("cube rotations", 3, 24, 24),
        ("prism", 3, 16, 8),
        ("prism rotations", 3, 8, 8),
        ("flips", 2, 4, 2),
        ("flips", 3, 8, 4),
    ],
)
def test_a_group_is_closed_and_has_its_order(name: str, dims: int, order: int, rotations: int) -> None:
    members = group(name, dims)
    assert len(set(members)) == len(members) == order
    assert sum(member.is_rotation for member in members) == rotations
    assert members[0] == by_name("identity", dims)
    assert {a.compose(b) for a, b in product(members, members)} == set(members)
    assert {member.inverse for member in members} == set(members)


def test_a_prism_keeps_z_and_the_named_orders_are_groups() -> None:
    assert all(member.permutation[0] == 0 for member in group("prism", 3))


@given(pairs())
def test_composing_is_doing_one_after_the_other(pair: tuple[Symmetry, Symmetry]) -> None:
    first, second = pair
    array = arrays(first.dims)
    np.testing.assert_array_equal(first.compose(second).apply(array), second.apply(first.apply(array)))
    assert first.compose(second).is_rotation == (first.is_rotation == second.is_rotation)


@given(pairs())
def test_the_inverse_undoes_arrays_points_vectors_and_boxes(pair: tuple[Symmetry, Symmetry]) -> None:
    symmetry, _ = pair
    dims, shape = symmetry.dims, SHAPES[symmetry.dims]
    array = arrays(dims)
    turned = symmetry.apply(array)
    assert turned.shape[1:] == symmetry.shape(shape)
    np.testing.assert_array_equal(symmetry.inverse.apply(turned), array)
    points = np.random.default_rng(0).uniform(-1, 5, (4, dims))
    there = symmetry.apply_points(points, shape)
    np.testing.assert_allclose(symmetry.inverse.apply_points(there, turned.shape[1:]), points)
    np.testing.assert_array_equal(symmetry.inverse.apply_vectors(symmetry.apply_vectors(points)), points)
    boxes = np.concatenate([points, points + 1.5], axis=1)
    back = symmetry.inverse.apply_boxes(symmetry.apply_boxes(boxes, shape), turned.shape[1:])
    np.testing.assert_allclose(back, boxes)


@given(pairs(), st.integers(0, 2**32 - 1))
def test_carried_boxes_are_the_boxes_of_carried_masks(pair: tuple[Symmetry, Symmetry], seed: int) -> None:
    symmetry, _ = pair
    dims, shape = symmetry.dims, SHAPES[symmetry.dims]
    rng = np.random.default_rng(seed)
    start = rng.integers(0, shape)
    stop = rng.integers(start, shape)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, b + 1) for a, b in zip(start, stop, strict=True))] = 1
    box = np.concatenate([start - 0.5, stop + 0.5])[None].astype(np.float32)
    carried = symmetry.apply_boxes(box, shape)
    assert carried.dtype == np.float32
    np.testing.assert_array_equal(carried[0], box_of_mask(symmetry.apply(mask)))
    centre = symmetry.apply_points((box[:, :dims] + box[:, dims:]) / 2, shape)
    np.testing.assert_array_equal(centre, (carried[:, :dims] + carried[:, dims:]) / 2)


@given(pairs())
def test_tensors_are_turned_as_arrays_are(pair: tuple[Symmetry, Symmetry]) -> None:
    symmetry, _ = pair
    shape = SHAPES[symmetry.dims]
    array = arrays(symmetry.dims).astype(np.float32)
    np.testing.assert_array_equal(symmetry.apply(torch.from_numpy(array)).numpy(), symmetry.apply(array))
    boxes = np.random.default_rng(1).uniform(0, 5, (3, 2 * symmetry.dims)).astype(np.float32)
    tensor = symmetry.apply_boxes(torch.from_numpy(boxes), shape)
    np.testing.assert_array_equal(tensor.numpy(), symmetry.apply_boxes(boxes, shape))


def test_vectors_follow_the_difference_of_points() -> None:
    for symmetry in group("cube", 3):
        ends = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 4.0]])
        moved = symmetry.apply_points(ends, (4, 5, 6))
        np.testing.assert_array_equal(symmetry.apply_vectors(ends[1] - ends[0]), moved[1] - moved[0])


@pytest.mark.parametrize("dims", [2, 3])
def test_names_mean_what_numpy_means(dims: int) -> None:
    array = arrays(dims)
    axes = (dims - 1, dims)
    expected = {
        "identity": array,
        "flip x": array[..., ::-1],
        "flip y": array[..., ::-1, :],
        "rot90": np.rot90(array, 1, axes),
        "rot180": np.rot90(array, 2, axes),
        "rot270": np.rot90(array, 3, axes),
        "transpose": np.swapaxes(array, *axes),
    }
    for name, turned in expected.items():
        np.testing.assert_array_equal(by_name(name, dims).apply(array), turned)
    if dims == 3:
        np.testing.assert_array_equal(by_name("flip z", 3).apply(array), array[:, ::-1])


def test_every_symmetry_comes_back_by_its_name() -> None:
    for dims, members in MEMBERS.items():
        assert [by_name(member.name, dims) for member in members] == members
    assert by_name("z,-x,y", 3) == Symmetry((0, 2, 1), (False, True, False))


@pytest.mark.parametrize("name", ["rot45", "flip z", "y,y", "y", "y,-", "--y,x"])
def test_other_names_are_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InputRefusedError, match="rot180"):
        by_name(name, 2)


def test_groups_of_other_dimensions_are_refused() -> None:
    for name in ("cube", "square rotation", "flips rotations", "circle"):
        with pytest.raises(InputRefusedError, match=", ".join(GROUPS)):
            group(name, 2)
    with pytest.raises(ValueError, match="each of 2 axes once"):
        Symmetry((0, 0), (False, False))
