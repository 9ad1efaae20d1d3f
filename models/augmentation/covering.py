"""Hiding parts of an image: cutout, and random mask, which covers lesions with blocks from elsewhere of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import box_slices, keep_rows
from napari_medlab.models.augmentation.intensity import changed_by, seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["Cutout", "RandomMask", "free_start", "visible_shares"]

TRIES = 20
"""How often a place is looked for before a block is given up."""


def visible_shares(boxes: NDArray[Any], is_covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return what share of each box's voxels is not covered, (n,); 1 where a box lies outside the image.

    Parameters
    ----------
    boxes : floating array (n, 2 · dims)
    is_covered : bool array of the spatial shape
    """
    places = [is_covered[box_slices(box, is_covered.shape)] for box in boxes]
    return np.array([1.0 - float(place.mean()) if place.size else 1.0 for place in places])


def free_start(
    rng: np.random.Generator, sample: Sample, size: Sequence[int], is_taken: NDArray[np.bool_] | None = None
) -> tuple[int, ...] | None:
    """Return where a block of the given size (voxels) holds no part of any object, or None where none was found.

    Parameters
    ----------
    rng : where chance comes from
    sample : neither its boxes, ignored ones among them, nor its mask are touched
    size : one length for each spatial axis
    is_taken : bool array of the spatial shape, further voxels that are not to be touched
    """
    room = np.asarray(sample.shape) - np.asarray(size)
    if (room < 0).any():
        return None
    dims = sample.dims
    for start in rng.integers(0, room + 1, (TRIES, dims)):
        stop = start + np.asarray(size)
        # a voxel reaches 0.5 to each side of its centre
        apart = (sample.boxes[:, :dims] >= stop - 0.5) | (sample.boxes[:, dims:] <= start - 0.5)
        block = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        in_mask = sample.mask is not None and sample.mask[(slice(None), *block)].any()
        if apart.any(axis=1).all() and not in_mask and (is_taken is None or not is_taken[block].any()):
            return tuple(start.tolist())
    return None


@dataclass(frozen=True)
class Cutout:
    """Fills random boxes with one value, or with noise between the image's least and greatest value.

    An object less of which stays visible than ``least_visible`` is ignored; one that is covered entirely is dropped.

    Parameters
    ----------
    holes : int
    size : (least, greatest), the sides of a hole in voxels
    fill : float or None
        None is noise.
    least_visible : float

    References
    ----------
    T. DeVries and G. W. Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """

    holes: int = 4
    size: Sequence[int] = (4, 12)
    fill: float | None = 0.0
    least_visible: float = 0.25

    def __post_init__(self) -> None:
        if self.holes < 1 or not 1 <= self.size[0] <= self.size[1]:
            msg = f"A cutout has at least one hole and a size (least, greatest), got {self.holes} and {self.size}"
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with holes."""
        from monai.transforms.intensity.array import RandCoarseDropout

        low, high = self.size
        dropout = RandCoarseDropout(
            holes=self.holes, spatial_size=(low,) * sample.dims, max_spatial_size=(high,) * sample.dims,
            fill_value=self.fill, prob=1.0,
        )  # fmt: skip
        holed = changed_by(seeded(dropout, rng), sample)
        is_covered = np.zeros(sample.shape, dtype=np.bool_)
        for hole in dropout.hole_coords:
            is_covered[hole[1:]] = True
        mask = None if sample.mask is None else np.where(is_covered, np.uint8(0), sample.mask)
        return _hidden(replace(holed, mask=mask), is_covered, self.least_visible)


@dataclass(frozen=True)
class RandomMask:
    """Covers part of a lesion's place with blocks taken from where no object is.

    With ``no_drop`` at least ``least_visible`` of every object's box stays visible, and every box stays. Without it, an
    object that is covered entirely loses its box, and one less of which is visible than ``least_visible`` is ignored.

    Parameters
    ----------
    share : (least, greatest)
        What share of a lesion's box a block is as large as; above 1 it is larger than the box.
    no_drop : bool
    least_visible : float
        Above 0, at most 1.
    blocks : int
        For each lesion that is covered.
    lesions : float
        With which probability a lesion is covered.
    """

    share: Sequence[float] = (0.1, 0.5)
    no_drop: bool = True
    least_visible: float = 0.3
    blocks: int = 1
    lesions: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share[0] <= self.share[1] or not 0 < self.least_visible <= 1 or self.blocks < 1:
            msg = (
                f"Random mask takes a share (least, greatest) above 0, a visible share above 0 and at least one block, "
                f"got {self.share}, {self.least_visible} and {self.blocks}"
            )
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with lesions covered in part."""
        image = sample.image.copy()
        mask = None if sample.mask is None else sample.mask.copy()
        is_covered = np.zeros(sample.shape, dtype=np.bool_)
        for box in sample.boxes[~sample.is_ignored]:
            for _ in range(self.blocks if rng.random() < self.lesions else 0):
                target = self._target(rng, sample, box, is_covered)
                if target is None:
                    continue
                size = tuple(each.stop - each.start for each in target)
                start = free_start(rng, sample, size)
                if start is None:
                    continue
                source = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
                image[(slice(None), *target)] = sample.image[(slice(None), *source)]
                if mask is not None:
                    mask[(slice(None), *target)] = 0
                is_covered[target] = True
        covered = replace(sample, image=image, mask=mask)
        return covered if self.no_drop else _hidden(covered, is_covered, self.least_visible)

    def _target(
        self, rng: np.random.Generator, sample: Sample, box: NDArray[Any], is_covered: NDArray[np.bool_]
    ) -> tuple[slice, ...] | None:
        """Return which voxels to cover, or None where every place that was tried would hide too much."""
        for _ in range(TRIES):
            target = self._block(rng, sample, box)
            if not self.no_drop:
                return target
            after = is_covered.copy()
            after[target] = True
            if (visible_shares(sample.boxes, after) >= self.least_visible).all():
                return target
        return None

    def _block(self, rng: np.random.Generator, sample: Sample, box: NDArray[Any]) -> tuple[slice, ...]:
        """Return a block within the box, or around it where the block is larger."""
        place = box_slices(box, sample.shape)
        first = np.array([each.start for each in place])
        sides = np.array([each.stop - each.start for each in place])
        # the sides' shares multiply to the share of the whole
        share = np.log(rng.uniform(self.share[0], self.share[1])) * rng.dirichlet(np.full(sample.dims, 4.0))
        size = np.clip(np.rint(sides * np.exp(share)), 1, sample.shape).astype(int)
        start = first + np.rint(rng.uniform(0, 1, sample.dims) * (sides - size)).astype(int)
        start = np.clip(start, 0, np.asarray(sample.shape) - size)
        return tuple(slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))


def _hidden(sample: Sample, is_covered: NDArray[np.bool_], least_visible: float) -> Sample:
    """Ignore what is covered for the most part, and drop what is covered entirely."""
    visible = visible_shares(sample.boxes, is_covered)
    return keep_rows(replace(sample, is_ignored=sample.is_ignored | (visible < least_visible)), visible > 0)
