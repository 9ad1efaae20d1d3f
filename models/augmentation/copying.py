"""Copies of small lesions onto background, so that what is rare and hard is seen more often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import box_slices
from napari_medlab.models.augmentation.covering import free_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["CopyLesions"]

PLACES = 5
"""Of so many free places the one that looks most like where the lesion comes from is taken."""


@dataclass(frozen=True)
class CopyLesions:
    """Copies small lesions to other places of the same image, flipped at random, blended in at their edges.

    A copy never touches another object, ignored or not, nor another copy. Of some free places the one is taken whose
    brightness is nearest to that around the lesion, so that a nodule is not put into bone where there is lung.

    Parameters
    ----------
    most_diameter : float
        Lesions larger than this (voxels) are not copied.
    copies : (least, greatest)
        How many are made in an image.
    margin : int
        Voxels around the box over which the copy fades into its new surroundings.

    References
    ----------
    M. Kisantal et al., "Augmentation for small object detection", 2019.
    """

    most_diameter: float
    copies: Sequence[int] = (1, 3)
    margin: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.copies[0] <= self.copies[1] or self.margin < 0 or self.most_diameter <= 0:
            msg = (
                f"Copies are (least, greatest), the margin is no less than 0 and the diameter above 0; "
                f"got {self.copies}, {self.margin} and {self.most_diameter}"
            )
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with copies; the same where no small lesion lies wholly inside, with no other beside it."""
        small = np.flatnonzero(self._is_copied(sample))
        wanted = int(rng.integers(self.copies[0], self.copies[1] + 1))
        if not len(small) or not wanted:
            return sample
        is_taken = np.zeros(sample.shape, dtype=np.bool_)
        out = replace(
            sample,
            image=sample.image.astype(np.float32),
            mask=None if sample.mask is None else sample.mask.copy(),
        )
        for row in rng.choice(small, wanted):
            out = self._with_copy(rng, sample, out, int(row), is_taken)
        return out

    def _is_copied(self, sample: Sample) -> NDArray[np.bool_]:
        low, high = sample.boxes[:, : sample.dims], sample.boxes[:, sample.dims :]
        is_inside = ((low >= self.margin - 0.5) & (high <= np.asarray(sample.shape) - 0.5 - self.margin)).all(
            axis=1
        )
        apart = (low[:, None] >= high + self.margin) | (high[:, None] <= low - self.margin)
        is_alone = np.any(apart, axis=2).sum(axis=1) == len(low) - 1
        is_small = sample.diameters <= self.most_diameter
        copied: NDArray[np.bool_] = is_small & is_inside & is_alone & ~sample.is_ignored
        return copied

    def _with_copy(
        self, rng: np.random.Generator, sample: Sample, out: Sample, row: int, is_taken: NDArray[np.bool_]
    ) -> Sample:
        """Paste one copy into ``out``, whose arrays are written, and return it with the box; mark its place as taken."""
        box = sample.boxes[row]
        inner = box_slices(box, sample.shape)
        source = tuple(slice(s.start - self.margin, s.stop + self.margin) for s in inner)
        size = tuple(each.stop - each.start for each in source)
        alpha = _fading(size, self.margin)
        start = self._place(rng, sample, sample.image[(slice(None), *source)], alpha < 1, is_taken)
        if start is None:
            return out
        target = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        flipped = [axis for axis in range(sample.dims) if rng.random() < 0.5]
        turned = tuple(axis + 1 for axis in flipped)
        lesion = np.flip(sample.image[(slice(None), *source)], turned).astype(np.float32)
        place = out.image[(slice(None), *target)]
        place[...] = alpha * lesion + (1 - alpha) * place
        if out.mask is not None and sample.mask is not None:
            of_lesion = self._mask_of_copy(sample.mask[(slice(None), *source)], int(sample.labels[row]))
            out.mask[(slice(None), *target)] = np.flip(of_lesion, turned)
        is_taken[target] = True
        first = np.array([each.start for each in source])
        ends = np.stack([box[: sample.dims], box[sample.dims :]]) - first
        for axis in flipped:
            ends[:, axis] = size[axis] - 1 - ends[::-1, axis]
        moved = (ends + np.asarray(start)).reshape(1, -1).astype(np.float32)
        return replace(
            out, boxes=np.concatenate([out.boxes, moved]), labels=np.append(out.labels, sample.labels[row]),
            is_ignored=np.append(out.is_ignored, False),
        )  # fmt: skip

    def _place(
        self,
        rng: np.random.Generator,
        sample: Sample,
        lesion: NDArray[Any],
        is_edge: NDArray[np.bool_],
        is_taken: NDArray[np.bool_],
    ) -> tuple[int, ...] | None:
        found = [free_start(rng, sample, is_edge.shape, is_taken) for _ in range(PLACES)]
        places = [start for start in found if start is not None]
        if not places or not is_edge.any():
            return places[0] if places else None
        around = lesion[:, is_edge].mean(axis=1)

        def unlike(start: tuple[int, ...]) -> float:
            block = tuple(slice(a, a + n) for a, n in zip(start, is_edge.shape, strict=True))
            there = sample.image[(slice(None), *block)][:, is_edge].mean(axis=1)
            return float(np.abs(there - around).sum())

        return min(places, key=unlike)

    def _mask_of_copy(self, block: NDArray[np.uint8], of_class: int) -> NDArray[np.uint8]:
        """Return the lesion's part of a block of the mask: within its box, and of its class alone."""
        inner = tuple(slice(self.margin, n - self.margin) for n in block.shape[1:])
        mask = np.zeros_like(block)
        mask[of_class][inner] = block[of_class][inner]
        return mask


def _fading(size: tuple[int, ...], margin: int) -> NDArray[np.float32]:
    """Return 1 within the margin, falling to 0 beyond the block's edge along a cosine."""
    alpha = np.ones(size, dtype=np.float32)
    for axis, n in enumerate(size):
        depth = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1
        edge = 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth / (margin + 1), 1))
        alpha *= edge.reshape([n if a == axis else 1 for a in range(len(size))]).astype(np.float32)
    return alpha
