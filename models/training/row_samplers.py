"""Samplers that choose rows of the samples by their weights, their classes or an order, and cut patches of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.patches import cut_patch
from napari_medlab.models.training.sample_store import SampleStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

    Samples = SampleStore | Sequence[Sample | Path]

__all__ = [
    "BalancedSampler",
    "OrderedSampler",
    "PatchSampler",
    "RowSampler",
    "WeightedSampler",
    "rounded_by_chance",
    "steps_for",
]


def rounded_by_chance(rng: np.random.Generator, value: float) -> int:
    """Return the whole number below or above, so that the mean is the value; a whole number is always itself."""
    return int(np.floor(value + rng.random() * (not float(value).is_integer())))


def steps_for(samples: int, batch_size: int, epochs: float = 1, times: int = 1) -> int:
    """Return how many steps so many epochs take, where an epoch goes over every sample ``times`` times."""
    return int(np.ceil(samples * times * epochs / batch_size))


class RowSampler(ABC):
    """Draws samples by their rows, whole or as patches.

    Parameters
    ----------
    samples : sequence of Sample or Path, or SampleStore
    shape : sequence of int or None
        The spatial shape of patches (voxels); None draws samples whole.
    lesion_share : float
        How many patches are cut around a lesion on purpose, where the sample holds one.
    """

    def __init__(
        self, samples: Samples, shape: Sequence[int] | None = None, lesion_share: float = 0.7
    ) -> None:
        if not 0 <= lesion_share <= 1 or (shape is not None and min(shape) < 1):
            raise InputRefusedError(
                f"Patches have a shape of at least 1 voxel and a share of lesions from 0 to 1; got {shape} and {lesion_share}.",
                code="patch-rule",
            )
        self.store = SampleStore.of(samples)
        self._shape = shape
        self._lesion_share = lesion_share

    @abstractmethod
    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return which samples are drawn next, (count,)."""

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """Return ``count`` samples, all chance taken from ``rng``."""
        return [self._cut(rng, int(row)) for row in self.rows(rng, count)]

    def _cut(self, rng: np.random.Generator, row: int) -> Sample:
        sample = self.store[row]
        if self._shape is None:
            return sample
        return cut_patch(rng, sample, self._shape, self._lesion_share, self.store.places(row, sample))


class WeightedSampler(RowSampler):
    """Draws each sample as often as its weight says.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`RowSampler`
    positive_times : float
        Samples of a class above 0, or with a lesion, are drawn so many times as often, in place of so many copies.
    """

    def __init__(
        self,
        samples: Samples,
        positive_times: float = 1.0,
        shape: Sequence[int] | None = None,
        lesion_share: float = 0.7,
    ) -> None:
        super().__init__(samples, shape, lesion_share)
        self._probability = _shares(
            self.store.weights() * np.where(self.store.classes() > 0, positive_times, 1.0)
        )

    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return rows, each drawn by its weight."""
        return rng.choice(len(self.store), size=count, p=self._probability)


class PatchSampler(WeightedSampler):
    """Draws patches, each sample as often as its weight says.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`RowSampler`
    """

    def __init__(self, samples: Samples, shape: Sequence[int], lesion_share: float = 0.7) -> None:
        super().__init__(samples, shape=shape, lesion_share=lesion_share)


class BalancedSampler(RowSampler):
    """Draws every class equally often, or positives to a set share; within a class by weight.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`RowSampler`
    positive_share : float or None
        What share of each batch is of a class above 0, or holds a lesion; None makes all classes equally frequent.
    """

    def __init__(
        self,
        samples: Samples,
        positive_share: float | None = None,
        shape: Sequence[int] | None = None,
        lesion_share: float = 0.7,
    ) -> None:
        super().__init__(samples, shape, lesion_share)
        if positive_share is not None and not 0 <= positive_share <= 1:
            raise InputRefusedError(
                f"The share of positives is from 0 to 1, got {positive_share}.", code="sampler-arguments"
            )
        classes, weights = self.store.classes(), self.store.weights()
        by = classes if positive_share is None else (classes > 0).astype(np.int64)
        present = np.unique(by)
        self._members = [np.flatnonzero(by == each) for each in present]
        self._probability = [_shares(weights[rows]) for rows in self._members]
        if positive_share is None or len(present) == 1:
            self._class_shares = np.full(len(present), 1 / len(present))
        else:
            self._class_shares = np.array([1 - positive_share, positive_share])

    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return rows of all classes in turn, as near to their shares in every batch as whole numbers allow."""
        edges = np.floor(np.append(0.0, np.cumsum(self._class_shares)) * count + rng.random()).astype(int)
        edges[0], edges[-1] = 0, count
        chosen = [
            rng.choice(members, size=int(n), p=probability)
            for members, probability, n in zip(self._members, self._probability, np.diff(edges), strict=True)
        ]
        return rng.permutation(np.concatenate(chosen))


class OrderedSampler(RowSampler):
    """Goes over all samples once in every epoch, in an order that is drawn anew for each, or in their own.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`RowSampler`
    is_shuffled : bool
    times : int
        How often every sample comes in an epoch.
    seed : int
        The orders of all epochs follow from it, whatever else is drawn.
    """

    def __init__(
        self, samples: Samples, is_shuffled: bool = True, times: int = 1, seed: int = 0,
        shape: Sequence[int] | None = None, lesion_share: float = 0.7,
    ) -> None:  # fmt: skip
        super().__init__(samples, shape, lesion_share)
        if times < 1:
            raise InputRefusedError(
                f"Samples come at least once in an epoch, got {times}.", code="sampler-arguments"
            )
        self._is_shuffled, self._times, self._seed = is_shuffled, times, seed
        self._epoch = self._position = 0
        self._order = self._order_of(0)

    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return the next rows, into the following epochs where this one ends."""
        chosen = np.empty(count, dtype=np.intp)
        filled = 0
        while filled < count:
            if self._position == len(self._order):
                self._epoch, self._position = self._epoch + 1, 0
                self._order = self._order_of(self._epoch)
            part = self._order[self._position : self._position + count - filled]
            chosen[filled : filled + len(part)] = part
            self._position += len(part)
            filled += len(part)
        return chosen

    def state(self) -> dict[str, Any]:
        """Return the epoch and how much of it is done."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an epoch."""
        self._epoch, self._position = int(state["epoch"]), int(state["position"])
        self._order = self._order_of(self._epoch)

    def _order_of(self, epoch: int) -> NDArray[np.intp]:
        rows = np.tile(np.arange(len(self.store)), self._times)
        return np.random.default_rng([self._seed, epoch]).permutation(rows) if self._is_shuffled else rows


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
        raise InputRefusedError(
            "The weights of samples are finite, none below 0 and not all 0.", code="sample-weights"
        )
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
