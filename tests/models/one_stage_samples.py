"""Tiny detectors and images with bright boxes for tests of one-stage detection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.models.detection.one_stage import OneStageDetector
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.detection.one_stage_objective import OneStageObjective

BACKBONE = {"name": "resnet10", "planes": [8, 8, 8, 8], "stem_kernel": 3, "stages": 3}


def detector(**settings: Any) -> OneStageDetector:  # noqa: ANN401 - plain settings
    torch.manual_seed(0)
    given = {"backbone": BACKBONE, "levels": (2, 3, 4), "channels": 8, "convs": 1, **settings}
    return OneStageDetector(**given)


def bright_box(
    start: Sequence[int],
    stop: Sequence[int],
    shape: Sequence[int] = (32, 32),
    label: int = 0,
    *,
    ignored: bool = False,
) -> Sample:
    """Return a noisy image with one bright box of voxels from ``start`` up to before ``stop``."""
    image = np.random.default_rng(0).normal(0, 0.1, (1, *shape)).astype(np.float32)
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    image[0][inside] += 1
    box = np.concatenate([np.array(start) - 0.5, np.array(stop) - 0.5])[None].astype(np.float32)
    return Sample(image, box, np.array([label], np.int64), np.array([ignored]))


def images_of(samples: Sequence[Sample]) -> torch.Tensor:
    return torch.from_numpy(np.stack([sample.image for sample in samples])).float()


def train(
    network: OneStageDetector,
    objective: OneStageObjective,
    samples: Sequence[Sample],
    steps: int,
    rate: float = 2e-3,
) -> list[dict[str, float]]:
    """Train for a few steps on the same images; return the terms of each step."""
    images = images_of(samples)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    network.train()
    history = []
    for _ in range(steps):
        losses = objective.losses(network, images, samples)
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
        history.append({name: value.item() for name, value in losses.items()})
    return history
