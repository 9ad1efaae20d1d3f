from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.geometry import Grid
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.inference.seams import SeamMerger


def spots(centres: list[list[float]], diameters: list[float], classes: list[int] | None = None) -> Detections:
    count = len(centres)
    labels = np.zeros(count, np.int64) if classes is None else np.asarray(classes)
    return Detections.of_centres(
        np.asarray(centres, np.float64).reshape(count, -1),
        np.asarray(diameters, np.float64),
        np.ones(count),
        labels,
    )


def kept_one_by_one(detections: Detections, least: float) -> list[int]:
    """Return the rows that the plain rule keeps: each is compared with all before."""
    kept: list[int] = []
    for row in range(len(detections)):
        near = [
            np.linalg.norm(detections.centres[row] - detections.centres[other])
            < max(least, detections.diameters[row] / 2, detections.diameters[other] / 2)
            and detections.classes[row] == detections.classes[other]
            for other in kept
        ]
        if not any(near):
            kept.append(row)
    return kept


def test_a_worked_example() -> None:
    merger = SeamMerger(5.0)
    first = merger.add(spots([[10, 10, 10], [13, 10, 10], [40, 40, 40]], [4, 4, 30]))
    np.testing.assert_array_equal(first.centres, [[10, 10, 10], [40, 40, 40]])
    second = merger.add(spots([[10, 14.9, 10], [10, 15.1, 10], [54, 40, 40], [56, 40, 40]], [1, 1, 1, 1]))
    np.testing.assert_array_equal(second.centres, [[10, 15.1, 10], [56, 40, 40]])
    assert len(merger) == 4


def test_a_large_detection_swallows_small_ones_and_is_swallowed_by_them() -> None:
    merger = SeamMerger(1.0)
    assert len(merger.add(spots([[0, 0], [30, 0]], [2, 2]))) == 2
    assert len(merger.add(spots([[15, 0]], [32]))) == 0
    assert len(merger.add(spots([[47, 0]], [32]))) == 1


def test_classes_do_not_mix() -> None:
    assert len(SeamMerger(5.0).add(spots([[0, 0], [0, 0], [0, 0]], [3, 3, 3], [0, 1, 0]))) == 2


def test_boxes_that_overlap_are_one_object() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [0, 2, 10, 12], [0, 0, 2, 2]], np.float64)
    merger = SeamMerger(iou=0.5)
    kept = merger.add(Detections(boxes, np.ones(4), np.zeros(4, np.int64)))
    np.testing.assert_array_equal(kept.boxes, boxes[[0, 1, 3]])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-40, 40), st.floats(-40, 40), st.floats(0.01, 60), st.integers(0, 1)), min_size=1, max_size=40),
    st.floats(0, 10), st.integers(1, 7),
)  # fmt: skip
def test_cells_give_what_comparing_with_all_gives(
    rows: list[tuple[float, float, float, int]], least: float, batch: int
) -> None:
    all_of_them = spots(
        [[y, x] for y, x, _, _ in rows], [d for *_, d, _ in rows], [label for *_, label in rows]
    )
    merger = SeamMerger(least)
    kept = [
        merger.add(all_of_them.where(np.arange(len(rows))[first : first + batch])).boxes
        for first in range(0, len(rows), batch)
    ]
    expected = all_of_them.boxes[kept_one_by_one(all_of_them, max(least, 1e-3))]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 4)), *kept]), expected)


def test_a_hundred_thousand_detections_touch_few_cells() -> None:
    rng = np.random.default_rng(0)
    merger = SeamMerger(4.0)
    centres = rng.uniform(0, 20_000, (100_000, 2))
    kept = 0
    for part in np.array_split(centres, 100):
        kept += len(merger.add(spots(part.tolist(), [20.0] * len(part))))
    assert 50_000 < kept < 100_000


def test_a_bundle_says_by_which_rule() -> None:
    grid = Grid.axis_aligned((9, 9, 9), (1.5, 1.5, 1.5))
    by_distance = SeamMerger.from_json({"merge_mm": 4.5}, grid)
    assert len(by_distance.add(spots([[0, 0, 0], [2.9, 0, 0], [3.1, 0, 0]], [1, 1, 1]))) == 2
    by_overlap = SeamMerger.from_json({"merge_iou": 0.5}, grid)
    assert len(by_overlap.add(spots([[0, 0, 0], [2.9, 0, 0], [3.1, 0, 0]], [1, 1, 1]))) == 2
    in_pixels = SeamMerger.from_json({"merge_px": 3}, Grid.axis_aligned((9, 9), (1, 1), unit="px"))
    assert len(in_pixels.add(spots([[0, 0], [2, 0]], [1, 1]))) == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_no_detection_is_no_detection(dims: int) -> None:
    assert len(SeamMerger(1.0).add(Detections.none(dims))) == 0
    assert len(SeamMerger(iou=0.3).add(Detections.none(dims))) == 0
