"""Other sizes: a sample resampled to a shape, half as large in the same shape, and one size for each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import carried, shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["HalveSize", "MultiScale", "resized"]


def resized(sample: Sample, shape: Sequence[int]) -> Sample:
    """Return the sample resampled to another spatial shape, smoothed first along axes that shrink.

    Voxels are taken as areas: the image's outer borders stay where they are, and boxes scale with them.
    """
    from scipy.ndimage import affine_transform, gaussian_filter

    new, old = np.asarray(shape, dtype=float), np.asarray(sample.shape, dtype=float)
    if (new == old).all():
        return sample
    step = old / new
    offset = step / 2 - 0.5
    target = tuple(int(n) for n in shape)
    blur = np.maximum(0.0, (step - 1) / 2)

    def channel(values: NDArray[Any]) -> NDArray[np.float32]:
        smooth = gaussian_filter(values.astype(np.float32), blur) if blur.any() else values.astype(np.float32)
        out: NDArray[np.float32] = affine_transform(smooth, step, offset, target, order=1, mode="nearest")
        return out

    image = np.stack([channel(values) for values in sample.image])
    mask = sample.mask
    if mask is not None:
        mask = np.stack([affine_transform(c, step, offset, target, order=0, mode="nearest") for c in mask])
    return carried(sample, image, mask, (sample.boxes + 0.5) / np.tile(step, 2) - 0.5)


@dataclass(frozen=True)
class HalveSize:
    """Shows everything at half its size, at a random place of an image of the same shape, the rest the least value."""

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample at half its size."""
        small = resized(sample, [(n + 1) // 2 for n in sample.shape])
        start = [-int(rng.integers(n - s + 1)) for n, s in zip(sample.shape, small.shape, strict=True)]
        return shifted(small, start, sample.shape, float(small.image.min()))


@dataclass(frozen=True)
class MultiScale:
    """Resamples every sample of a batch to the same shape, drawn anew for each batch.

    Parameters
    ----------
    sizes : sequence of shapes
        Each with one length (voxels) for each spatial axis, divisible by what the network asks for.
    """

    sizes: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not self.sizes or any(min(size) < 1 for size in self.sizes):
            msg = f"Sizes are a list of shapes of at least one voxel, got {self.sizes}"
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, samples: list[Sample]) -> list[Sample]:
        """Return the samples, all of one shape."""
        shape = self.sizes[int(rng.integers(len(self.sizes)))]
        return [resized(sample, shape) for sample in samples]
