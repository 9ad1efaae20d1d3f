from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.anchors import AnchorGrid
from napari_medlab.models.detection.boxes import pairwise_iou
from napari_medlab.models.detection.matchers import BACKGROUND, IGNORED, MATCHERS, build_matcher, match

ROW = torch.tensor([(0.0, 0.0, 10.0, stop) for stop in (10.0, 7.0, 5.0, 3.0, 2.0, 1.0)])
"""Anchors that fill 1, 0.7, 0.5, 0.3, 0.2 and 0.1 of the box below: these are their overlaps with it."""
BOX = torch.tensor([(0.0, 0.0, 10.0, 10.0)])
COUNTED = torch.tensor([False])
EVERY = [{"name": name} for name in MATCHERS]


def rows_of(
    given: dict[str, Any], anchors: torch.Tensor, boxes: torch.Tensor, ignored: list[bool]
) -> list[int]:
    rows: list[int] = (
        build_matcher(given).match(anchors, boxes, torch.tensor(ignored, dtype=torch.bool)).tolist()
    )
    return rows


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        (0.5, 0.4, [0, 0, 0, -1, -1, -1]),
        (0.6, 0.4, [0, 0, -2, -1, -1, -1]),
        (0.3, 0.2, [0, 0, 0, 0, -2, -1]),
        (0.7, 0.15, [0, 0, -2, -2, -2, -1]),
    ],
)
def test_thresholds_split_anchors_in_three(positive: float, negative: float, expected: list[int]) -> None:
    given = {"name": "iou", "positive": positive - 1e-6, "negative": negative - 1e-6, "low_quality": False}
    assert rows_of(given, ROW, BOX, [False]) == expected


@pytest.mark.parametrize(("low_quality", "expected"), [(True, [0, -1, -1]), (False, [-1, -1, -1])])
def test_a_box_without_anchors_takes_the_best_if_it_may(low_quality: bool, expected: list[int]) -> None:
    assert rows_of({"name": "iou", "low_quality": low_quality}, ROW[3:], BOX, [False]) == expected


def test_low_quality_takes_no_anchor_from_another_box() -> None:
    boxes = torch.cat([BOX, torch.tensor([(0.0, 0.0, 3.0, 3.0)])])
    assert rows_of({"name": "iou"}, ROW[:2], boxes, [False, False]) == [0, 0]


def test_the_agreed_function_uses_the_usual_thresholds() -> None:
    assert match(ROW, BOX, COUNTED).tolist() == [0, 0, 0, -1, -1, -1]


def test_s3fd_gives_a_small_box_its_fair_share() -> None:
    """The big box has 3 anchors from 0.35 on, the small one none: the mean is 1.5, so it takes its 2 best above 0.1."""
    small = torch.tensor([(50.0, 0.0, 60.0, 10.0)])
    near_small = torch.tensor([(50.0, 0.0, 60.0, stop) for stop in (3.0, 2.5, 2.0, 0.5)])
    rows = rows_of({"name": "s3fd"}, torch.cat([ROW, near_small]), torch.cat([BOX, small]), [False, False])
    assert rows == [0, 0, 0, -1, -1, -1, 1, 1, -1, -1]


def test_s3fd_takes_nothing_at_or_below_the_least_overlap() -> None:
    small = torch.tensor([(50.0, 0.0, 60.0, 10.0)])
    far = torch.tensor([(50.0, 0.0, 60.0, 0.9)])
    rows = rows_of({"name": "s3fd"}, torch.cat([ROW, far]), torch.cat([BOX, small]), [False, False])
    assert rows[-1] == BACKGROUND


def test_s3fd_leaves_an_anchor_with_the_box_that_has_it_by_threshold() -> None:
    """The second box overlaps the first anchor by 0.3, which is the first box's: it takes the one that is free."""
    second = torch.tensor([(7.0, 0.0, 10.0, 10.0)])
    free = torch.tensor([(7.0, 0.0, 8.0, 9.0)])
    rows = rows_of({"name": "s3fd"}, torch.cat([ROW[:1], free]), torch.cat([BOX, second]), [False, False])
    assert rows == [0, 1]


def test_s3fd_gives_an_anchor_that_two_boxes_want_to_the_one_that_overlaps_it_more() -> None:
    boxes = torch.tensor([(0.0, 0.0, 10.0, 10.0), (0.0, 2.0, 10.0, 12.0)])
    anchor = torch.tensor([(0.0, 0.0, 10.0, 3.0)])
    assert rows_of({"name": "s3fd"}, anchor, boxes, [False, False]) == [0]


def test_s3fd_ignores_between_its_thresholds() -> None:
    rows = rows_of({"name": "s3fd", "negative": 0.2}, ROW - 1e-4, BOX, [False])
    assert rows == [0, 0, 0, IGNORED, BACKGROUND, BACKGROUND]


def test_atss_finds_its_threshold_from_the_anchors_around_the_box() -> None:
    """One level of 5 × 5 anchors of 8 at stride 4; the box is the middle anchor itself.

    Its 9 nearest overlap it by 1, four times by 1/3 and four times by 1/7: the mean is 0.3228, the deviation 0.2674,
    and only the middle one exceeds their sum of 0.5902.
    """
    anchors = AnchorGrid([8], [1.0], [4]).anchors([(5, 5)], (20, 20))
    box = anchors[12:13]
    assert pairwise_iou(box, anchors)[0].sort(descending=True).values[:9].tolist() == pytest.approx(
        [1, *[1 / 3] * 4, *[1 / 7] * 4]
    )
    rows = rows_of({"name": "atss"}, anchors, box, [False])
    assert [row for row, value in enumerate(rows) if value == 0] == [12]


def test_atss_looks_at_as_many_cells_of_every_level() -> None:
    """Of two levels with one candidate each, the one that fits is beyond mean and deviation of the two."""
    grid = AnchorGrid([8, 64], [1.0], [4, 16])
    anchors = grid.anchors([(4, 4), (1, 1)], (16, 16))
    rows = build_matcher({"name": "atss", "candidates": 2}).match(anchors, anchors[5:6], COUNTED, [16, 1])
    assert rows[5] == 0
    assert (rows == BACKGROUND).sum() == 16


@pytest.mark.parametrize("given", EVERY)
def test_an_image_without_boxes_is_all_background(given: dict[str, Any]) -> None:
    assert rows_of(given, ROW, torch.zeros((0, 4)), []) == [BACKGROUND] * len(ROW)


@pytest.mark.parametrize("given", EVERY)
def test_anchors_on_an_ignored_box_are_ignored(given: dict[str, Any]) -> None:
    far = torch.tensor([(50.0, 50.0, 60.0, 60.0)])
    rows = rows_of(given, torch.cat([ROW, far]), BOX, [True])
    assert rows == [IGNORED] * len(ROW) + [BACKGROUND]


@pytest.mark.parametrize("given", EVERY)
def test_rows_are_those_of_all_boxes_though_the_first_is_ignored(given: dict[str, Any]) -> None:
    grid = AnchorGrid([8], [1.0], [4])
    anchors = grid.anchors([(12, 12)], (48, 48))
    boxes = anchors[[0, 143]]
    rows = rows_of(given, anchors, boxes, [True, False])
    assert rows[143] == 1
    assert rows[0] == IGNORED
    assert 0 not in rows


@pytest.mark.parametrize("given", EVERY)
def test_every_matcher_works_in_3d(given: dict[str, Any]) -> None:
    anchors = AnchorGrid([8], [1.0], [4], spatial_dims=3).anchors([(4, 4, 4)], (16, 16, 16))
    assert rows_of(given, anchors, anchors[21:22], [False])[21] == 0


@pytest.mark.parametrize(
    "given",
    [
        {"name": "hungarian"},
        {"positive": 0.5},
        {"name": "iou", "positive": 0.3, "negative": 0.4},
        {"name": "s3fd", "least": 0.5},
        {"name": "atss", "candidates": 0},
        {"name": "atss", "neighbours": 9},
    ],
)
def test_matchers_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="matcher"):
        build_matcher(given)
