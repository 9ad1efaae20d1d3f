"""Tiny images with squares, and the smallest two-stage detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.models.detection.two_stage import TwoStageDetector
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKBONE = {"name": "resnet10", "planes": [4, 8, 8, 8], "stem_kernel": 3, "pool": False, "stages": 3}
"""Three stages at strides 2, 4 and 8."""

SMALL: dict[str, Any] = {
    "in_channels": 1, "classes": 2, "backbone": BACKBONE, "levels": [2, 3, 4], "channels": 8,
    "anchors": {"sizes": [6, 12, 24], "ratios": [0.5, 1.0, 2.0]}, "rpn": {"before": 100, "after": 30},
    "roi": {"bins": 3, "canonical_size": 24.0}, "head": {"name": "faster", "hidden": 16},
}  # fmt: skip


def detector(**changed: Any) -> TwoStageDetector:  # noqa: ANN401 - arguments as JSON has them
    """Return a small detector, the same each time, in training mode."""
    torch.manual_seed(4)
    return TwoStageDetector(**{**SMALL, **changed})


def square_image(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int] = (),
    ignored: Sequence[bool] = (),
    shape: Sequence[int] = (32, 32),
) -> Sample:
    """Return an image of noise, in which boxes with whole numbers for sides are bright."""
    rng = np.random.default_rng(len(boxes))
    image = rng.normal(0, 0.1, (1, *shape)).astype(np.float32)
    dims = len(shape)
    for box in boxes:
        image[0][tuple(slice(int(box[axis] + 0.5), int(box[dims + axis] + 0.5)) for axis in range(dims))] += 1
    return Sample(
        image, np.array(boxes, np.float32).reshape(-1, 2 * dims), np.array(labels or [0] * len(boxes), np.int64),
        np.array(ignored or [False] * len(boxes), np.bool_),
    )  # fmt: skip


def batch_of(samples: Sequence[Sample]) -> torch.Tensor:
    """Return the images of samples."""
    return torch.from_numpy(np.stack([sample.image for sample in samples]))


PAIR = [
    square_image([[3.5, 4.5, 15.5, 15.5], [19.5, 17.5, 27.5, 29.5]], [0, 1]),
    square_image([[8.5, 9.5, 20.5, 21.5]], [1]),
]
"""Two images with three squares."""
