"""What is told of samples before a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_medlab.models.networks import build_network
from napari_medlab.models.training.data_summary import class_counts, reach_of_boxes, smallest_anchor
from napari_medlab.models.training.samples import Sample, write_sample

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.zeros((1, 16, 16), np.float32)
BACKBONE: dict[str, Any] = {"backbone": {"name": "resnet10", "planes": [4, 4, 8, 8]}, "channels": 8}
ANCHORS: dict[str, Any] = {"anchors": {"sizes": [16, 32], "ratios": [0.5, 1.0]}, "levels": [3, 4]}


def boxed(*sides: tuple[float, float], labels: list[int], ignored: int = 0) -> Sample:
    boxes = np.asarray([[0, 0, *side] for side in sides], np.float32)
    is_ignored = np.arange(len(sides)) >= len(sides) - ignored
    return Sample(IMAGE, boxes, np.asarray(labels, np.int64), is_ignored)


def test_classes_are_counted_as_the_task_knows_them(tmp_path: Path) -> None:
    boxes = [boxed((4, 4), (8, 8), (9, 9), labels=[0, 2, 0], ignored=1), Sample.without_boxes(IMAGE)]
    assert class_counts(boxes, "detection", ["mass", "speck"]) == {
        "mass": 1,
        "speck": 0,
        "class 2": 1,
        "ignored": 1,
    }
    labels = [Sample.without_boxes(IMAGE, label=label) for label in (0, 0, 1, -1)]
    assert class_counts(labels, "classification", ["nodule"]) == {"nodule": 1, "none": 2, "ignored": 1}
    assert class_counts(labels, "classification", ["scar", "nodule"]) == {
        "scar": 2,
        "nodule": 1,
        "ignored": 1,
    }
    mask = np.zeros((2, 16, 16), np.uint8)
    mask[1, 3] = 1
    write_sample(tmp_path / "a.npz", Sample.without_boxes(IMAGE, mask=mask))
    masks: list[Sample | Path] = [
        tmp_path / "a.npz",
        Sample.without_boxes(IMAGE, mask=mask),
        Sample.without_boxes(IMAGE),
    ]
    assert class_counts(masks, "segmentation", ["a", "b"]) == {"a": 0, "b": 2}


@pytest.mark.parametrize("name", ["one-stage", "two-stage"])
def test_boxes_are_measured_against_the_smallest_anchor(name: str) -> None:
    network = build_network(name, {"spatial_dims": 2, "in_channels": 1, "classes": 1, **BACKBONE, **ANCHORS})
    assert smallest_anchor(network) == pytest.approx(16)
    told = reach_of_boxes(
        [boxed((8, 18), (32, 8.1), (40, 40), labels=[0, 0, 0]), boxed((1, 1), labels=[0], ignored=1)], network
    )
    assert told is not None
    assert told == {
        "smallest": 12,
        "median": 16.1,
        "largest": 40,
        "smallest_anchor": 16,
        "share_below": 0.3333,
    }


def test_where_there_are_no_anchors_or_no_boxes_nothing_is_said_of_them() -> None:
    free = build_network(
        "one-stage", {"spatial_dims": 2, "in_channels": 1, "classes": 1, **BACKBONE, "anchor_free": {}}
    )
    assert smallest_anchor(free) is None
    assert smallest_anchor(build_network("centre-heatmap", {"channels": [4, 4]})) is None
    assert reach_of_boxes([Sample.without_boxes(IMAGE)], free) is None
    assert set(reach_of_boxes([boxed((4, 4), labels=[0])], free) or {}) == {"smallest", "median", "largest"}


@pytest.mark.parametrize("dims", [2, 3])
def test_a_network_with_anchors_is_built_without_memory(dims: int) -> None:
    arguments = {
        "spatial_dims": dims,
        "in_channels": 1,
        "classes": 1,
        **BACKBONE,
        "anchors": {},
        "anchor_free": {},
    }
    with torch.device("meta"):
        network = build_network("one-stage", arguments)
    assert all(parameter.is_meta for parameter in network.parameters())
