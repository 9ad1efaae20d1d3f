"""What becomes of a sample's objects when its image is moved, cut or covered: one rule for all transforms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["box_slices", "carried", "keep_rows", "shifted", "visible_places"]


def carried(
    sample: Sample, image: NDArray[Any], mask: NDArray[np.uint8] | None, boxes: NDArray[Any]
) -> Sample:
    """Return the sample with another image, mask and boxes (n, 2 · dims), one for each of its boxes, in order.

    A box is never clipped: it stays that of the whole object. An object of which nothing is left inside the image is
    dropped. One that is cut by the border so far that its centre lies outside is neither lesion nor background: it is
    ignored. Any other stays what it was.
    """
    dims = image.ndim - 1
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 2 * dims)
    last = np.asarray(image.shape[1:]) - 1
    is_touched, has_centre = visible_places(boxes, last)
    moved = replace(sample, image=image, mask=mask, boxes=boxes, is_ignored=sample.is_ignored | ~has_centre)
    return moved if is_touched.all() else keep_rows(moved, is_touched)


def visible_places(boxes: NDArray[Any], last: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes reach into the image, and which have their centres in it.

    Parameters
    ----------
    boxes : floating array (n, 2 · dims)
    last : the index of the last voxel along each axis
    """
    start, stop = boxes[:, : len(last)], boxes[:, len(last) :]
    centres = (start + stop) / 2
    is_touched: NDArray[np.bool_] = np.all((stop > -0.5) & (start < last + 0.5), axis=1)
    has_centre: NDArray[np.bool_] = np.all((centres >= 0) & (centres <= last), axis=1)
    return is_touched, has_centre


def keep_rows(sample: Sample, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Sample:
    """Return the sample with some of its boxes alone, labels and flags with them."""
    return replace(
        sample, boxes=sample.boxes[rows], labels=sample.labels[rows], is_ignored=sample.is_ignored[rows]
    )  # fmt: skip


def shifted(sample: Sample, start: Sequence[int], shape: Sequence[int], fill: float) -> Sample:
    """Return what lies at ``start`` (voxels, may be negative) in the given spatial shape.

    Parameters
    ----------
    sample : Sample
    start, shape : one integer for each spatial axis
    fill : what lies outside the image; outside the mask there is nothing
    """
    begin, size = np.asarray(start), np.asarray(shape)
    image = _cut(sample.image, begin, size, fill)
    mask = None if sample.mask is None else _cut(sample.mask, begin, size, 0)
    return carried(sample, image, mask, sample.boxes - np.tile(begin, 2).astype(np.float32))


def _cut(array: NDArray[Any], start: NDArray[Any], size: NDArray[Any], fill: float) -> NDArray[Any]:
    low, high = np.maximum(start, 0), np.minimum(start + size, array.shape[1:])
    source = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    inside = array[(slice(None), *source)]
    if inside.shape[1:] == tuple(size):
        return inside.copy()
    cut = np.full((array.shape[0], *size), fill, dtype=array.dtype)
    if inside.size:
        cut[(slice(None), *(slice(a, b) for a, b in zip(low - start, high - start, strict=True)))] = inside
    return cut


def box_slices(box: NDArray[Any], shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the voxels of a box (2 · dims,): those whose centres lie in it, and one at the least; cut at the image's border.

    Slices are empty where the box lies outside.
    """
    dims = len(shape)
    first = np.ceil(box[:dims] - 1e-4).astype(int)
    after = np.floor(box[dims:] + 1e-4).astype(int) + 1
    first = np.where(after > first, first, np.rint((box[:dims] + box[dims:]) / 2).astype(int))
    after = np.maximum(after, first + 1)
    limits = zip(first, after, shape, strict=True)
    return tuple(slice(int(min(max(a, 0), n)), int(max(min(b, n), 0))) for a, b, n in limits)
