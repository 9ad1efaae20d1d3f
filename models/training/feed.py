"""Batches made ahead of the network: drawn in order, changed at random in threads, the same for the same seed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_medlab.models.training.recipe import Recipe

__all__ = [
    "Batch",
    "BatchTransform",
    "Feed",
    "Sampler",
    "Transform",
    "Transforms",
    "of_one_shape",
    "stacked",
    "streams",
]

Transform = Callable[[np.random.Generator, Sample], Sample]
"""A random change of one sample; it never writes into the arrays it is given."""

BatchTransform = Callable[[np.random.Generator, list[Sample]], list[Sample]]
"""A random change that needs the other samples of the batch."""

Transforms = tuple[Sequence[Transform], Sequence[BatchTransform]]
"""What :func:`napari_medlab.models.augmentation.build_transforms` returns."""

Purpose = Literal["samples", "network", "mining"]
PURPOSES = ("samples", "network", "mining")

THREADS = 2
"""How many batches are made at the same time, and lie ready."""


class Sampler(Protocol):
    """Says which samples a batch is made of.

    A sampler that remembers something, such as how far it is in an order, also has ``state() -> dict`` of plain JSON
    values and ``restore(state)``. One that learns from the losses has ``feedback(samples, losses)``: it is told the
    samples that it drew and a float for each. One that mines in rounds has ``store``, all its samples, and
    ``begin_round(rng, scores)``, which is told what the network says of each. For these, batches are not made ahead.
    """

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """Return ``count`` samples, all random choice taken from ``rng``."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """What one step is taken on.

    Parameters
    ----------
    drawn : as the sampler gave them
    samples : after the transforms, all of one shape; as many as were drawn
    images : float32 tensor (batch, channel, …), on the CPU
    sampler : the state of the sampler after the draw, or None
    """

    drawn: list[Sample]
    samples: list[Sample]
    images: torch.Tensor
    sampler: Any


def streams(seed: int, number: int, purpose: Purpose, count: int = 1) -> list[np.random.Generator]:
    """Return independent random streams for a step: they depend on seed, number and purpose alone."""
    key = (number, PURPOSES.index(purpose))
    return [
        np.random.default_rng(child) for child in np.random.SeedSequence(seed, spawn_key=key).spawn(count)
    ]


class Feed:
    """Makes the batches of a training.

    Every step has random streams of its own, so that a training goes on exactly wherever it was stopped, and batches may
    be made ahead of time and side by side.

    Parameters
    ----------
    sampler : Sampler
    transforms : Transforms
    recipe : Recipe
    multiple : int
        Sizes are padded at their ends to multiples of this, with the image's least value.
    first : int
        The first step that asks.
    """

    def __init__(
        self, sampler: Sampler, transforms: Transforms, recipe: Recipe, multiple: int, first: int
    ) -> None:
        self.feedback = getattr(sampler, "feedback", None)
        self._sampler = sampler
        self._transforms = transforms
        self._recipe = recipe
        self._multiple = multiple
        self._next = first
        self.learns = self.feedback is not None or hasattr(sampler, "begin_round")
        self._ahead = 0 if self.learns else THREADS
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="samples")
        self._pending: deque[Future[Batch]] = deque()

    def take(self) -> Batch:
        """Return the batch of the next step."""
        while len(self._pending) <= self._ahead and self._next <= self._recipe.steps:
            self._begin(self._next)
            self._next += 1
        return self._pending.popleft().result()

    def sampler_state(self) -> Any:  # noqa: ANN401 - whatever the sampler remembers
        """Return what the sampler remembers now."""
        state = getattr(self._sampler, "state", None)
        return None if state is None else state()

    def close(self) -> None:
        """Forget the batches that lie ready."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, number: int) -> None:
        choosing, joint, *own = streams(self._recipe.seed, number, "samples", 2 + self._recipe.batch_size)
        drawn = self._sampler.draw(choosing, self._recipe.batch_size)
        state = self.sampler_state()
        self._pending.append(self._pool.submit(self._make, drawn, own, joint, state))

    def _make(
        self, drawn: list[Sample], own: list[np.random.Generator], joint: np.random.Generator, state: object
    ) -> Batch:
        each, together = self._transforms
        samples = []
        for rng, sample in zip(own, drawn, strict=True):
            for transform in each:
                sample = transform(rng, sample)
            samples.append(sample)
        for change in together:
            samples = change(joint, samples)
        samples = of_one_shape(samples, self._multiple)
        return Batch(drawn, samples, stacked(samples), state)


def stacked(samples: Sequence[Sample]) -> torch.Tensor:
    """Return the images of samples of one shape as a float32 tensor (batch, channel, …)."""
    import torch

    return torch.from_numpy(np.stack([sample.image for sample in samples]).astype(np.float32, copy=False))


def of_one_shape(samples: list[Sample], multiple: int) -> list[Sample]:
    """Return samples grown at the ends of their axes to one shape that is divisible by ``multiple``.

    Samples with a class of their own are not grown to the multiple: what they show lies in their middle.
    """
    if any(sample.label >= 0 for sample in samples):
        multiple = 1
    largest = np.max([sample.shape for sample in samples], axis=0)
    shape = tuple(int(-(-size // multiple) * multiple) for size in largest)
    return [sample if sample.shape == shape else _padded(sample, shape) for sample in samples]


def _padded(sample: Sample, shape: tuple[int, ...]) -> Sample:
    """Return a sample grown at the ends of its axes: boxes stay where they are."""
    room = [(0, 0), *((0, want - size) for want, size in zip(shape, sample.shape, strict=True))]
    image: NDArray[Any] = np.pad(sample.image, room, constant_values=sample.image.min())
    return replace(sample, image=image, mask=None if sample.mask is None else np.pad(sample.mask, room))
