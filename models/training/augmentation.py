"""Random patches out of samples, turned, shaded and noised, with their lesions carried along."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["augment", "cut_patch"]


def cut_patch(rng: np.random.Generator, sample: Sample, shape: Sequence[int], lesion_share: float) -> Sample:
    """Return a patch of the given shape (voxels), which holds a lesion with probability ``lesion_share``.

    What lies outside the volume is filled with the volume's least value.
    """
    size = np.asarray(shape)
    room = np.asarray(sample.volume.shape) - size
    lesions = np.flatnonzero(~sample.is_ignored)
    if len(lesions) and rng.random() < lesion_share:
        # anywhere in the patch but its outermost eighth
        start = np.rint(sample.centres[rng.choice(lesions)] - rng.uniform(0.125, 0.875, 3) * size).astype(int)
    else:
        start = np.asarray([rng.integers(min(0, r), max(0, r) + 1) for r in room])
    start = np.where(room >= 0, np.clip(start, 0, np.maximum(room, 0)), np.clip(start, room, 0))
    patch = np.full(size, sample.volume.min(), dtype=sample.volume.dtype)
    low, high = np.maximum(start, 0), np.minimum(start + size, sample.volume.shape)
    source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    target = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    patch[target] = sample.volume[source]
    centres = sample.centres - start.astype(np.float32)
    # a lesion cut by the border is neither lesion nor background
    inside = ((centres >= 0) & (centres <= size - 1)).all(axis=1)
    near = ((centres > -0.5 * sample.diameters[:, None]) & (centres < size + 0.5 * sample.diameters[:, None])).all(axis=1)
    keep = inside | near
    return replace(
        sample, volume=patch, centres=centres[keep], diameters=sample.diameters[keep],
        is_ignored=(sample.is_ignored | ~inside)[keep],
    )  # fmt: skip


def augment(rng: np.random.Generator, patch: Sample) -> Sample:
    """Return the patch flipped, its in-slice axes swapped, and its brightness, contrast and noise changed, at random."""
    volume: NDArray[np.floating] = patch.volume.astype(np.float32)
    centres = patch.centres.copy()
    for axis in range(volume.ndim):
        if rng.random() < 0.5:
            volume = np.flip(volume, axis)
            centres[:, axis] = volume.shape[axis] - 1 - centres[:, axis]
    if volume.shape[-1] == volume.shape[-2] and rng.random() < 0.5:
        volume = np.swapaxes(volume, -1, -2)
        centres[:, [-1, -2]] = centres[:, [-2, -1]]
    volume = volume * rng.uniform(0.93, 1.07) + rng.uniform(-0.03, 0.03)
    if rng.random() < 0.5:
        volume = volume + rng.normal(0, rng.uniform(0, 0.02), volume.shape)
    shaded: NDArray[np.float16] = np.ascontiguousarray(volume).astype(np.float16)
    return replace(patch, volume=shaded, centres=centres)
