"""Samples whose mask has a class of its own for each box, so that what becomes of every object can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import box_slices
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def sample_of(
    shape: Sequence[int], boxes: Sequence[Sequence[float]], channels: int = 1, seed: int = 0
) -> Sample:
    """Return a sample of noise from 0 to 1; box ``k`` has the label ``k`` and fills class ``k`` of the mask."""
    image = np.random.default_rng(seed).random((channels, *shape)).astype(np.float32)
    places = np.asarray(boxes, dtype=np.float32).reshape(-1, 2 * len(shape))
    mask = np.zeros((max(1, len(places)), *shape), dtype=np.uint8)
    for row, box in enumerate(places):
        mask[row][box_slices(box, shape)] = 1
    return Sample(image, places, np.arange(len(places)), np.zeros(len(places), np.bool_), mask)


def scattered(rng: np.random.Generator, dims: int, least: int = 2, most: int = 6) -> Sample:
    """Return a sample with three boxes of whole voxels, anywhere inside."""
    shape = tuple(int(n) for n in rng.integers(14, 22, dims))
    size = rng.integers(least, most, (3, dims))
    start = rng.integers(0, np.asarray(shape) - size + 1)
    return sample_of(shape, np.concatenate([start - 0.5, start + size - 0.5], axis=1).tolist())


def box_of_mask(mask: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Return the box of all voxels that are set, or None."""
    places = np.argwhere(mask)
    return np.concatenate([places.min(axis=0) - 0.5, places.max(axis=0) + 0.5]) if len(places) else None


def assert_boxes_fit_masks(sample: Sample, tolerance: float) -> int:
    """Compare every box, as far as it lies in the image, with that of its class of the mask; returns how many were compared.

    Where a tolerance says that objects are bent, what is seen of one that is cut by the border has a smaller box.
    """
    assert sample.mask is not None
    assert sample.mask.shape[1:] == sample.shape
    dims = sample.dims
    high = np.tile(np.asarray(sample.shape) - 0.5, 2)
    compared = 0
    for label, box in zip(sample.labels, sample.boxes, strict=True):
        seen, inside = box_of_mask(sample.mask[label]), np.clip(box, -0.5, high)
        if seen is None:
            continue
        compared += 1
        if tolerance and (inside != box).any():
            assert (inside[:dims] <= seen[:dims] + tolerance).all()
            assert (inside[dims:] >= seen[dims:] - tolerance).all()
        else:
            np.testing.assert_allclose(inside, seen, atol=tolerance)
    for label in set(range(len(sample.mask))) - set(sample.labels.tolist()):
        assert not sample.mask[label].any(), "an object that is still seen lost its box"
    return compared


def snapshot(sample: Sample) -> list[NDArray[Any]]:
    """Return copies of all arrays of a sample."""
    arrays = [sample.image, sample.boxes, sample.labels, sample.is_ignored]
    return [each.copy() for each in (*arrays, *([] if sample.mask is None else [sample.mask]))]
