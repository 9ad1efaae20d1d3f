"""A small network, an objective and samplers, on which the training loop is tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.training.loop import Step, train
from napari_medlab.models.training.recipe import OptimiserSettings, Recipe, ScheduleSettings
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.training.feed import Sampler

SIZE = 8

RECIPE = Recipe(
    steps=9, batch_size=4, learning_rate=0.05, seed=3, precision="float32",
    optimiser=OptimiserSettings(name="adamw"), schedule=ScheduleSettings(warmup_steps=2),
)  # fmt: skip


class SmallNet(nn.Module):
    """Says where an image is bright; with dropout and batch norm, so that random numbers and statistics count."""

    def __init__(self, norm: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.backbone(images))
        return logits


class MaskObjective:
    """The mean over the samples of the binary cross-entropy of a mask."""

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        masks = torch.from_numpy(
            np.stack([sample.mask for sample in samples if sample.mask is not None])
        ).float()
        each = F.binary_cross_entropy_with_logits(network(images).float(), masks, reduction="none").mean(
            dim=(1, 2, 3)
        )
        return {"total": each.mean(), "each": each.detach()}


def bright_sample(rng: np.random.Generator) -> Sample:
    """Return an image of noise with a bright square, and its mask."""
    image = rng.normal(0, 0.3, (1, SIZE, SIZE)).astype(np.float32)
    y, x = rng.integers(0, SIZE - 3, 2)
    image[0, y : y + 3, x : x + 3] += 2
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, y : y + 3, x : x + 3] = 1
    return Sample.without_boxes(image, mask=mask)


class MakesSamples:
    """Draws samples that did not exist before; remembers nothing."""

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        return [bright_sample(rng) for _ in range(count)]


class GoesRound:
    """Draws from a list in order: where it stands is its memory."""

    def __init__(self, count: int = 7) -> None:
        rng = np.random.default_rng(1)
        self.samples = [bright_sample(rng) for _ in range(count)]
        self.place = 0

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        del rng
        places = [(self.place + k) % len(self.samples) for k in range(count)]
        self.place = (self.place + count) % len(self.samples)
        return [self.samples[k] for k in places]

    def state(self) -> dict[str, Any]:
        return {"place": self.place}

    def restore(self, state: dict[str, Any]) -> None:
        self.place = state["place"]


def brightened(rng: np.random.Generator, sample: Sample) -> Sample:
    """Shift the brightness at random."""
    from dataclasses import replace

    return replace(sample, image=sample.image + np.float32(rng.normal(0, 0.1)))


def small_net(norm: bool = True, dropout: float = 0.2) -> SmallNet:
    torch.manual_seed(0)
    return SmallNet(norm, dropout)


def trained(
    recipe: Recipe = RECIPE, sampler: Sampler | None = None, network: nn.Module | None = None,
    cancel_after: int | None = None, **options: Any,  # noqa: ANN401 - passed on
) -> tuple[nn.Module, list[Step]]:  # fmt: skip
    """Train the small network, and return it with the steps that were reported."""
    network, steps, cancel = network or small_net(), [], CancelToken()

    def report(step: Step) -> None:
        steps.append(step)
        if step.number == cancel_after:
            cancel.cancel("that is enough")

    try:
        train(network, MaskObjective(), sampler or MakesSamples(), recipe, cancel, report, **options)
    except CancelledError:
        assert cancel_after is not None
    return network, steps


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Tell whether two networks are the same to the bit."""
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
