"""How well two masks agree: Dice, IoU, the distance of their surfaces, and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image

__all__ = ["Overlap", "hausdorff_95", "overlap", "overlap_of_images"]

SAME_PLACE = 0.01
"""How far two grids may lie apart at any corner, as a share of the smallest spacing."""


@dataclass(frozen=True)
class Overlap:
    """The agreement of two masks.

    Parameters
    ----------
    dice, iou : float
        From 0 to 1; 1 where both masks are empty.
    hd95_mm : float or None
        The larger of the two 95th percentiles of the distance from one surface to the other, in mm. None
        where one mask alone is empty, or where the pixel size is unknown.
    volume_reference_ml, volume_prediction_ml : float or None
        None for planar images, and where the voxel size is unknown.
    """

    dice: float
    iou: float
    hd95_mm: float | None
    volume_reference_ml: float | None
    volume_prediction_ml: float | None

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab evaluate overlap`` prints."""
        return dict(vars(self))


def overlap(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Sequence[float] | None
) -> Overlap:
    """Return how well two masks agree.

    Parameters
    ----------
    reference, prediction : bool arrays of one shape, (z, y, x) or (y, x)
    spacing_mm : sequence of float, in array order, or None
        None where the voxel size is unknown.
    """
    inside, found = int(reference.sum()), int(prediction.sum())
    both = int((reference & prediction).sum())
    either = inside + found - both
    known_volume = spacing_mm is not None and reference.ndim == 3
    ml_per_voxel = float(np.prod(spacing_mm)) / 1000 if known_volume and spacing_mm is not None else None
    return Overlap(
        dice=2 * both / (inside + found) if either else 1.0,
        iou=both / either if either else 1.0,
        hd95_mm=None if spacing_mm is None else hausdorff_95(reference, prediction, spacing_mm),
        volume_reference_ml=None if ml_per_voxel is None else inside * ml_per_voxel,
        volume_prediction_ml=None if ml_per_voxel is None else found * ml_per_voxel,
    )


def hausdorff_95(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> float | None:
    """Return the larger of the two 95th percentiles of surface distance, in mm.

    The surface of a mask is its voxels that have a neighbour outside it across a face; beyond the array's
    edge counts as outside. Two empty masks are 0 apart; None where one alone is empty.

    Parameters
    ----------
    reference, prediction : bool arrays of one shape, (z, y, x) or (y, x)
    spacing_mm : sequence of float, in array order
    """
    from scipy.ndimage import distance_transform_edt

    if not reference.any() or not prediction.any():
        return 0.0 if reference.any() == prediction.any() else None
    box = _bounding_box(reference | prediction)
    surfaces = [_surface(mask[box]) for mask in (reference, prediction)]
    fields = [distance_transform_edt(~surface, sampling=list(spacing_mm)) for surface in surfaces]
    there = np.percentile(fields[1][surfaces[0]], 95)
    back = np.percentile(fields[0][surfaces[1]], 95)
    return float(max(there, back))


def overlap_of_images(reference: Image, prediction: Image) -> Overlap:
    """Return how well two label images agree; every label but 0 counts as foreground.

    Raises
    ------
    InputRefusedError
        With code ``"grid"`` where the masks do not lie on one grid, and ``"mask"`` where an image is no mask.
    """
    reference, prediction = reference.oriented(), prediction.oriented()
    _check_same_grid(reference.grid, prediction.grid)
    spacing = None if reference.grid.unit == "px" else reference.grid.spacing_mm
    return overlap(_mask_of(reference), _mask_of(prediction), spacing)


def _mask_of(image: Image) -> NDArray[np.bool_]:
    values = image.decoded()
    if values.ndim != image.grid.ndim:
        msg = f"{image.path.name} has colours, shape {image.shape}, expected a mask of one value a pixel."
        raise InputRefusedError(
            msg, code="mask", hint="Save the mask as labels: whole numbers, 0 for background."
        )
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        msg = f"{image.path.name} holds values that are not whole numbers, so it is no mask."
        raise InputRefusedError(msg, code="mask", hint="Threshold probabilities first; 0 is background.")
    return np.asarray(values != 0, dtype=np.bool_)


def _check_same_grid(reference: Grid, prediction: Grid) -> None:
    if reference.shape == prediction.shape and reference.unit == prediction.unit:
        corners = np.indices((2,) * reference.ndim).reshape(reference.ndim, -1).T * (
            np.array(reference.shape) - 1
        )
        gaps = np.linalg.norm(reference.to_world(corners) - prediction.to_world(corners), axis=1)
        if gaps.max() <= SAME_PLACE * min(reference.spacing):
            return
        found = f"their corners lie up to {gaps.max():.4g} {reference.unit} apart"
    else:
        found = f"shapes {reference.shape} and {prediction.shape}, in {reference.unit} and {prediction.unit}"
    raise InputRefusedError(
        f"The masks do not lie on one grid: {found}.",
        code="grid",
        hint="Resample the prediction onto the reference, with nearest neighbours.",
    )


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box around the mask; beyond it counts as outside, so that it needs no margin."""
    ends = [np.flatnonzero(mask.any(axis=tuple(set(range(mask.ndim)) - {axis}))) for axis in range(mask.ndim)]
    return tuple(slice(int(each[0]), int(each[-1]) + 1) for each in ends)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return np.asarray(mask & ~binary_erosion(mask), dtype=np.bool_)
