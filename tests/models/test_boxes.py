from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.models.detection.boxes import (
    Overlap,
    aligned_iou,
    area,
    centres,
    clip,
    distances_to_sides,
    pairwise_inside,
    pairwise_iou,
    sizes,
)
from napari_medlab.models.detection.coding import decode, decode_distances, encode, encode_distances

if TYPE_CHECKING:
    from collections.abc import Callable

PAIR = torch.tensor([(0.0, 0.0, 4.0, 4.0), (2.0, 2.0, 6.0, 6.0)])
CUBES = torch.tensor([(0.0, 0.0, 0.0, 2.0, 2.0, 2.0), (1.0, 1.0, 1.0, 3.0, 3.0, 3.0)])


def random_boxes(dims: int, count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.rand((count, dims), generator=generator) * 40
    return torch.cat([starts, starts + 1 + torch.rand((count, dims), generator=generator) * 30], dim=1)


def test_the_measures_of_a_box() -> None:
    box = torch.tensor([(1.0, 2.0, 3.0, 2.0, 4.0, 6.0)])
    assert sizes(box).tolist() == [[1, 2, 3]]
    assert centres(box).tolist() == [[1.5, 3, 4.5]]
    assert area(box).tolist() == [6]


def test_a_box_that_stops_before_it_starts_is_empty() -> None:
    upside_down = torch.tensor([(5.0, 5.0, 3.0, 3.0)])
    assert area(upside_down).tolist() == [0]
    assert pairwise_iou(upside_down, upside_down).tolist() == [[0]]


def test_overlaps_worked_by_hand() -> None:
    """Squares of 16 share 4; cubes of 8 share 1."""
    assert pairwise_iou(PAIR, PAIR)[0].tolist() == pytest.approx([1, 4 / 28])
    assert pairwise_iou(CUBES, CUBES)[1].tolist() == pytest.approx([1 / 15, 1])
    assert pairwise_inside(PAIR[:1], torch.tensor([(0.0, 0.0, 2.0, 9.0)])).item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kind", "expected"), [("iou", 4 / 28), ("giou", 4 / 28 - 8 / 36), ("diou", 4 / 28 - 8 / 72)]
)
def test_overlaps_of_partners_worked_by_hand(kind: Overlap, expected: float) -> None:
    """The hull of the squares is one of 36 with a diagonal of √72; their centres are √8 apart."""
    assert aligned_iou(PAIR[:1], PAIR[1:], kind).item() == pytest.approx(expected)


def test_an_unknown_overlap_is_refused() -> None:
    with pytest.raises(ValueError, match="no overlap called 'ciou'"):
        aligned_iou(PAIR, PAIR, "ciou")  # type: ignore[arg-type]


@pytest.mark.parametrize("dims", [2, 3])
def test_overlaps_agree_with_those_of_monai(dims: int) -> None:
    from monai.data.box_utils import box_iou, box_pair_giou

    a, b = random_boxes(dims, 12), random_boxes(dims, 12, seed=1)
    torch.testing.assert_close(pairwise_iou(a, b), box_iou(a, b))
    torch.testing.assert_close(aligned_iou(a, b, "giou"), box_pair_giou(a, b))


@pytest.mark.parametrize("kind", ["giou", "diou"])
def test_boxes_apart_still_pull_at_each_other(kind: Overlap) -> None:
    box = torch.tensor([(0.0, 0.0, 2.0, 2.0)], requires_grad=True)
    aligned_iou(box, torch.tensor([(10.0, 0.0, 12.0, 2.0)]), kind).sum().backward()
    assert box.grad is not None
    assert box.grad[0, 2] > 0  # moving the far side towards the other box brings the two together


@given(
    st.sampled_from([2, 3]),
    st.integers(0, 100),
    st.floats(-50, 50, width=32),
    st.sampled_from(get_args(Overlap)),
)
def test_overlaps_do_not_change_when_everything_moves(
    dims: int, seed: int, shift: float, kind: Overlap
) -> None:
    a, b = random_boxes(dims, 5, seed).double(), random_boxes(dims, 5, seed + 1).double()
    torch.testing.assert_close(
        aligned_iou(a + shift, b + shift, kind), aligned_iou(a, b, kind), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(aligned_iou(a, b, kind), aligned_iou(b, a, kind), atol=1e-12, rtol=0)
    assert (aligned_iou(a, b, kind) <= aligned_iou(a, b)).all()


def test_clipping_reaches_to_the_outer_faces_of_the_outer_voxels() -> None:
    assert clip(torch.tensor([(-3.0, 2.0, 30.0, 40.0)]), (8, 50)).tolist() == [[-0.5, 2, 7.5, 40]]


def test_distances_to_the_sides_are_negative_outside() -> None:
    assert distances_to_sides(torch.tensor([(1.0, 7.0)]), PAIR[:1]).tolist() == [[1, 7, 3, -3]]


def test_the_code_of_a_box_worked_by_hand() -> None:
    """Half an anchor further down, twice as high."""
    anchor, box = torch.tensor([(0.0, 0.0, 4.0, 8.0)]), torch.tensor([(0.0, 0.0, 8.0, 8.0)])
    assert encode(anchor, box)[0].tolist() == pytest.approx([0.5, 0, 0.693147, 0])
    assert encode(anchor, box, (10, 10, 5, 5))[0].tolist() == pytest.approx([5, 0, 5 * 0.693147, 0])


def test_the_code_of_distances_worked_by_hand() -> None:
    cell, box = torch.tensor([(4.0, 4.0, 8.0, 8.0)]), torch.tensor([(2.0, 5.0, 14.0, 7.0)])
    expected = torch.tensor([(4.0, 1.0, 8.0, 1.0)]) / 4
    torch.testing.assert_close(encode_distances(cell, box), expected.log())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("weights", [None, 10.0])
def test_shifts_of_anchors_lead_back_to_the_boxes(dims: int, weights: float | None) -> None:
    anchors, boxes = random_boxes(dims, 20), random_boxes(dims, 20, seed=3)
    scale = None if weights is None else (weights,) * (2 * dims)
    torch.testing.assert_close(
        decode(anchors, encode(anchors, boxes, scale), scale), boxes, atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_distances_from_within_lead_back_to_the_boxes(dims: int) -> None:
    boxes = random_boxes(dims, 20)
    middles = centres(boxes) + 0.3
    cells = torch.cat([middles - 2, middles + 2], dim=1)
    torch.testing.assert_close(
        decode_distances(cells, encode_distances(cells, boxes)), boxes, atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("code", [encode, encode_distances])
def test_an_empty_box_has_a_finite_code(code: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    empty = torch.tensor([(3.0, 3.0, 3.0, 3.0)])
    assert code(PAIR[:1], empty).isfinite().all()


@pytest.mark.parametrize("back", [decode, decode_distances])
def test_whatever_a_network_says_is_a_finite_box(
    back: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    assert back(PAIR[:1], torch.full((1, 4), 1000.0, dtype=torch.bfloat16)).isfinite().all()
