from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.boxes import pairwise_iou
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.detection.suppression import RULES, fuse, nms, suppress

if TYPE_CHECKING:
    from collections.abc import Sequence

PAIR = [(0.0, 0.0, 10.0, 10.0), (0.0, 5.0, 10.0, 15.0)]
"""Two squares that overlap by a third."""


def detections(
    boxes: Sequence[tuple[float, ...]], scores: list[float], classes: list[int] | None = None
) -> Detections:
    return Detections(
        np.array(boxes, np.float64), np.array(scores), np.array(classes or [0] * len(scores), np.int64)
    )


def scattered(count: int, dims: int, seed: int) -> Detections:
    random = np.random.default_rng(seed)
    starts = random.uniform(0, 60, (count, dims))
    boxes = np.concatenate([starts, starts + random.uniform(1, 30, (count, dims))], axis=1)
    return Detections(boxes, random.random(count), random.integers(0, 2, count))


def disjoint(count: int) -> Detections:
    starts = np.stack([np.arange(count) * 10.0, np.zeros(count)], axis=1)
    return Detections(
        np.concatenate([starts, starts + 8], axis=1), np.linspace(0.9, 0.2, count), np.zeros(count, int)
    )


def one_by_one(boxes: torch.Tensor, scores: torch.Tensor, iou: float) -> list[int]:
    """Return what the textbook's loop keeps."""
    kept: list[int] = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if not kept or pairwise_iou(boxes[row : row + 1], boxes[kept]).max() < iou:
            kept.append(row)
    return kept


@pytest.mark.parametrize(("iou", "kept"), [(0.3, [1]), (0.34, [1, 0])])
def test_the_better_of_two_boxes_that_overlap_stays(iou: float, kept: list[int]) -> None:
    assert nms(torch.tensor(PAIR), torch.tensor([0.5, 0.6]), iou).tolist() == kept


def test_a_box_that_is_gone_removes_no_other() -> None:
    """Of three in a row the middle one goes, and so the last stays."""
    row = torch.tensor([*PAIR, (0.0, 10.0, 10.0, 20.0)])
    assert nms(row, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_boxes_of_different_classes_stay() -> None:
    assert nms(torch.tensor(PAIR), torch.tensor([0.5, 0.6]), 0.3, torch.tensor([0, 1])).tolist() == [1, 0]
    assert len(suppress(detections(PAIR, [0.5, 0.6], [0, 1]), DecodeSettings(iou=0.1))) == 2


@pytest.mark.parametrize(("dims", "count"), [(2, 700), (3, 400)])
def test_blocks_give_what_the_loop_gives(dims: int, count: int) -> None:
    some = scattered(count, dims, seed=4)
    boxes, scores = torch.from_numpy(some.boxes), torch.from_numpy(some.scores)
    assert nms(boxes, scores, 0.3).tolist() == one_by_one(boxes, scores, 0.3)


def test_ten_thousand_boxes_keep_what_is_apart() -> None:
    centres = np.random.default_rng(0).permutation(10_000).astype(np.float64)[:, None] * 3
    boxes = torch.from_numpy(np.concatenate([centres, centres, centres + 2, centres + 2], axis=1))
    assert len(nms(boxes, torch.rand(10_000), 0.5)) == 10_000


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]), st.floats(0.05, 0.95))
def test_no_two_boxes_that_stay_overlap(seed: int, dims: int, iou: float) -> None:
    some = scattered(40, dims, seed)
    boxes = torch.from_numpy(some.boxes)
    kept = boxes[nms(boxes, torch.from_numpy(some.scores), iou)]
    overlaps = pairwise_iou(kept, kept).fill_diagonal_(0)
    assert (overlaps < iou).all()
    assert len(kept) >= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(RULES)), st.integers(-64, 64))
def test_every_rule_moves_with_the_image(seed: int, rule: str, shift: int) -> None:
    some = scattered(25, 2, seed)
    wanted = DecodeSettings(overlap=rule, iou=0.4)
    there = suppress(some.moved((shift, shift)), wanted)
    here = suppress(some, wanted).moved((shift, shift))
    np.testing.assert_allclose(there.boxes, here.boxes, atol=1e-9)
    np.testing.assert_allclose(there.scores, here.scores, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decay": "linear"}, [0.9, 0.6 * (1 - 1 / 3)]),
        ({"decay": "gaussian", "sigma": 0.5}, [0.9, 0.6 * np.exp(-(1 / 9) / 0.5)]),
    ],
)
def test_soft_nms_lowers_the_weaker_score(options: dict[str, Any], expected: list[float]) -> None:
    wanted = DecodeSettings(overlap="soft-nms", iou=0.3, options=options)
    assert suppress(detections(PAIR, [0.6, 0.9]), wanted).scores.tolist() == pytest.approx(expected)


def test_linear_soft_nms_leaves_what_overlaps_less_than_the_setting() -> None:
    wanted = DecodeSettings(overlap="soft-nms", iou=0.5, options={"decay": "linear"})
    assert suppress(detections(PAIR, [0.6, 0.9]), wanted).scores.tolist() == [0.9, 0.6]


def test_what_soft_nms_lowers_below_the_threshold_is_gone() -> None:
    wanted = DecodeSettings(threshold=0.5, overlap="soft-nms", iou=0.3, options={"decay": "linear"})
    assert len(suppress(detections(PAIR, [0.6, 0.9]), wanted)) == 1


def test_fusion_averages_two_models_that_agree() -> None:
    """Weights of the corners are 0.9 and 0.3; the score is the mean of the two, as both models voted."""
    fused = fuse([detections(PAIR[:1], [0.9]), detections(PAIR[1:], [0.3])], [1, 1], 0.3)
    np.testing.assert_allclose(fused.boxes, [(0, 1.25, 10, 11.25)])
    np.testing.assert_allclose(fused.scores, [0.6])


def test_what_only_one_of_two_models_found_counts_half() -> None:
    fused = fuse([detections(PAIR[:1], [0.8]), Detections.none(2)], [1, 1], 0.5)
    np.testing.assert_allclose(fused.scores, [0.4])


def test_a_model_that_counts_more_pulls_the_box_to_itself() -> None:
    """Scores weigh 3 · 0.5 and 1 · 0.5; their mean of 1 times two votes over weights of four is a half."""
    fused = fuse([detections(PAIR[:1], [0.5]), detections(PAIR[1:], [0.5])], [3, 1], 0.3)
    np.testing.assert_allclose(fused.boxes, [(0, 1.25, 10, 11.25)])
    np.testing.assert_allclose(fused.scores, [0.5])


def test_the_best_score_may_be_that_of_the_fused_box() -> None:
    wanted = DecodeSettings(overlap="wbf", iou=0.3, options={"score": "max"})
    assert suppress(detections(PAIR, [0.6, 0.9]), wanted).scores.tolist() == pytest.approx([0.9])


def test_classes_are_fused_apart() -> None:
    fused = fuse([detections(PAIR[:1], [0.8], [0]), detections(PAIR[:1], [0.8], [1])], None, 0.5)
    assert sorted(fused.classes.tolist()) == [0, 1]


@given(st.integers(1, 12), st.floats(0.05, 0.95))
def test_fusing_one_model_leaves_boxes_that_are_apart(count: int, iou: float) -> None:
    some = disjoint(count)
    fused = fuse([some], [1.0], iou)
    np.testing.assert_array_equal(fused.boxes, some.boxes)
    np.testing.assert_array_equal(fused.scores, some.scores)


@pytest.mark.parametrize("rule", sorted(RULES))
@pytest.mark.parametrize("dims", [2, 3])
def test_nothing_in_nothing_out(rule: str, dims: int) -> None:
    assert suppress(Detections.none(dims), DecodeSettings(overlap=rule)).boxes.shape == (0, 2 * dims)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_only_the_best_above_the_threshold_are_left_in_order(rule: str) -> None:
    left = suppress(disjoint(20), DecodeSettings(threshold=0.5, most=7, overlap=rule))
    np.testing.assert_allclose(left.scores, disjoint(20).scores[:7])
    assert len(suppress(disjoint(20), DecodeSettings(threshold=0.89, overlap=rule))) == 1


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("matrix-nms", {}),
        ("nms", {"sigma": 0.5}),
        ("soft-nms", {"decay": "cubic"}),
        ("soft-nms", {"sigma": 0.0}),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: str, options: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="rule for overlaps"):
        suppress(Detections.none(2), DecodeSettings(overlap=rule, options=options))


@pytest.mark.parametrize(("weights", "score"), [([1.0, 2.0], "mean"), ([0.0], "mean"), ([1.0], "median")])
def test_fusions_that_make_no_sense_are_refused(weights: list[float], score: str) -> None:
    with pytest.raises(ValueError, match=r"weight|score"):
        fuse([disjoint(2)], weights, 0.5, score=score)
