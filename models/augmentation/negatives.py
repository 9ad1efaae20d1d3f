"""Random mask for classifiers: a positive whose lesion is hidden by a negative's block is a negative of the same batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.training.samples import Sample

__all__ = ["CoverPositives"]

NEGATIVE = 0


@dataclass(frozen=True)
class CoverPositives:
    """Makes negatives out of positives, so that a network looks at the lesion and not at what is around it.

    The middle of a positive is covered by the same part of a negative of the batch, and the outcome is labelled
    negative. A batch without a positive or without a negative stays what it is.

    Parameters
    ----------
    size : int, or one for each spatial axis
        Of the block, in voxels: as large as the lesions are at least.
    share : float
        With which probability a positive is covered.
    beside : bool
        Whether the positive stays in the batch beside what was made of it, which takes the place of the negative that
        the block came from; else it takes the place of the positive.
    """

    size: int | Sequence[int]
    share: float = 0.5
    beside: bool = True

    def __post_init__(self) -> None:
        if np.min(self.size) < 1 or not 0 <= self.share <= 1:
            msg = (
                f"A block has at least 1 voxel, and a share is from 0 to 1; got {self.size} and {self.share}"
            )
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, samples: list[Sample]) -> list[Sample]:
        """Return the batch, as long as before."""
        positives = [row for row, sample in enumerate(samples) if sample.label > NEGATIVE]
        negatives = [row for row, sample in enumerate(samples) if sample.label == NEGATIVE]
        out = list(samples)
        free = [int(row) for row in rng.permutation(negatives)] if negatives else []
        for row in positives:
            if not free or rng.random() >= self.share:
                continue
            # beside it, each negative is given up once; else it can lend its block again
            donor = free.pop() if self.beside else free[int(rng.integers(len(free)))]
            out[donor if self.beside else row] = self._covered(samples[row], samples[donor])
        return out

    def _covered(self, positive: Sample, negative: Sample) -> Sample:
        sizes = np.minimum(np.broadcast_to(np.asarray(self.size), positive.dims), positive.shape)
        starts = [(n - int(s)) // 2 for n, s in zip(positive.shape, sizes, strict=True)]
        block = (slice(None), *(slice(a, a + int(s)) for a, s in zip(starts, sizes, strict=True)))
        image = positive.image.copy()
        image[block] = negative.image[block]
        dims = positive.dims
        return replace(
            positive, image=image, label=NEGATIVE, boxes=np.zeros((0, 2 * dims), np.float32),
            labels=np.zeros(0, np.int64), is_ignored=np.zeros(0, np.bool_),
            mask=None if positive.mask is None else np.zeros_like(positive.mask),
        )  # fmt: skip
