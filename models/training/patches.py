"""Random patches out of samples, with their boxes and masks carried along, a set share of them around lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import shifted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["cut_patch", "lesion_places"]

BORDER = 0.125
"""A lesion that a patch is cut around lies anywhere in it but in this outermost share."""


def cut_patch(
    rng: np.random.Generator,
    sample: Sample,
    shape: Sequence[int],
    lesion_share: float,
    places: NDArray[Any] | None = None,
) -> Sample:
    """Return a patch of the given shape, which holds a lesion with probability ``lesion_share``.

    What lies outside the image is filled with the image's least value. A lesion whose centre is outside the patch is
    ignored, as :func:`~napari_medlab.models.augmentation.carrying.carried` says.

    Parameters
    ----------
    rng : where chance comes from
    sample : of any number of dimensions, with boxes, a mask or neither
    shape : voxels along each spatial axis
    lesion_share : 0 to 1
    places : array (n, dims), where lesions are; None finds them with :func:`lesion_places`
    """
    if len(shape) != sample.dims:
        msg = f"A patch of shape {tuple(shape)} cannot be cut from an image of {sample.dims} dimensions."
        raise ValueError(msg)
    size = np.asarray(shape)
    room = np.asarray(sample.shape) - size
    around_lesion = rng.random() < lesion_share
    if around_lesion and places is None:
        places = lesion_places(sample)
    if around_lesion and places is not None and len(places):
        centre = places[rng.integers(len(places))]
        start = np.rint(centre - rng.uniform(BORDER, 1 - BORDER, sample.dims) * size).astype(int)
    else:
        start = np.asarray([rng.integers(min(0, r), max(0, r) + 1) for r in room])
    start = np.clip(start, np.minimum(room, 0), np.maximum(room, 0))
    reaches_out = bool((room < 0).any())
    return shifted(sample, start.tolist(), tuple(shape), float(sample.image.min()) if reaches_out else 0.0)


def lesion_places(sample: Sample, most: int = 4096) -> NDArray[np.float32]:
    """Return where lesions are, (n, dims): the centres of the boxes that count, or voxels of the mask where there is no box.

    Of a mask's voxels evenly spaced ones are returned, the same number for each class that it holds: at most about
    ``most`` in all, so that a rare class is met as often as a frequent one.
    """
    if len(sample.boxes) or sample.mask is None:
        return sample.centres[~sample.is_ignored]
    found = [np.flatnonzero(of_class) for of_class in sample.mask]
    found = [rows for rows in found if len(rows)]
    if not found:
        return np.zeros((0, sample.dims), np.float32)
    each = max(1, most // len(found))
    rows = np.concatenate([rows[np.linspace(0, len(rows) - 1, each).astype(int)] for rows in found])
    places: NDArray[np.float32] = np.stack(np.unravel_index(rows, sample.shape), axis=1).astype(np.float32)
    return places
