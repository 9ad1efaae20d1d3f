"""How well two masks agree, as a whole and class by class: Dice, IoU, the distance of their surfaces, and volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image

__all__ = [
    "TOLERANCE_MM",
    "LabelledOverlap",
    "Overlap",
    "hausdorff_95",
    "labelled_overlap_of_images",
    "overlap",
    "overlap_by_class",
    "overlap_of_images",
    "surface_dice",
]

TOLERANCE_MM = 1.0
"""How far surfaces may be apart to count as one, unless another distance is asked for."""


MANY_LABELS = 65_536
"""Labels below this are counted and boxed all at once."""
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
    surface_dice : float or None
        The share of both surfaces that lies within the tolerance of the other, from 0 to 1; 1 where both masks are empty.
        None where the pixel size is unknown.
    """

    dice: float
    iou: float
    hd95_mm: float | None
    volume_reference_ml: float | None
    volume_prediction_ml: float | None
    surface_dice: float | None

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab evaluate overlap`` prints."""
        return dict(vars(self))


@dataclass(frozen=True)
class LabelledOverlap:
    """The agreement of two label maps.

    Parameters
    ----------
    whole : Overlap
        All labels taken as one.
    by_class : dict of int to Overlap
        Of each label by itself that either map holds, rising; 0 is background.
    """

    whole: Overlap
    by_class: dict[int, Overlap]

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab evaluate overlap`` prints."""
        return {
            **self.whole.as_json(),
            "classes": {str(label): each.as_json() for label, each in self.by_class.items()},
        }


def overlap(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Sequence[float] | None,
    tolerance_mm: float = TOLERANCE_MM,
) -> Overlap:
    """Return how well two masks agree.

    Parameters
    ----------
    reference, prediction : bool arrays of one shape, (z, y, x) or (y, x)
    spacing_mm : sequence of float, in array order, or None
        None where the voxel size is unknown.
    tolerance_mm : float
        How far the surfaces may be apart to count as one, for the surface Dice.
    """
    inside, found = int(reference.sum()), int(prediction.sum())
    both = int((reference & prediction).sum())
    either = inside + found - both
    known_volume = spacing_mm is not None and reference.ndim == 3
    ml_per_voxel = float(np.prod(spacing_mm)) / 1000 if known_volume and spacing_mm is not None else None
    gaps = None if spacing_mm is None else _surface_gaps(reference, prediction, spacing_mm)
    return Overlap(
        dice=2 * both / (inside + found) if either else 1.0,
        iou=both / either if either else 1.0,
        hd95_mm=None if gaps is None else gaps.hausdorff_95,
        volume_reference_ml=None if ml_per_voxel is None else inside * ml_per_voxel,
        volume_prediction_ml=None if ml_per_voxel is None else found * ml_per_voxel,
        surface_dice=None if gaps is None else gaps.surface_dice(tolerance_mm),
    )


def overlap_by_class(
    reference: NDArray[np.integer[Any]],
    prediction: NDArray[np.integer[Any]],
    spacing_mm: Sequence[float] | None,
    tolerance_mm: float = TOLERANCE_MM,
) -> LabelledOverlap:
    """Return how well two label maps agree, as a whole and label by label.

    Parameters
    ----------
    reference, prediction : int arrays of one shape, (z, y, x) or (y, x)
        0 is background.
    spacing_mm, tolerance_mm
        As in :func:`overlap`.
    """
    whole = overlap(reference != 0, prediction != 0, spacing_mm, tolerance_mm)
    labels = [label for label in _labels_in(reference, prediction) if label != 0]
    by_class = {}
    for number, box in enumerate(_boxes_of(labels, reference, prediction)):
        label = labels[number]
        by_class[label] = overlap(reference[box] == label, prediction[box] == label, spacing_mm, tolerance_mm)
    return LabelledOverlap(whole, by_class)


def _labels_in(*maps: NDArray[np.integer[Any]]) -> list[int]:
    """Return the labels that any of the maps holds, rising."""
    found: set[int] = set()
    for each in maps:
        low, high = int(each.min(initial=0)), int(each.max(initial=0))
        if low >= 0 and high < MANY_LABELS:
            found.update(np.flatnonzero(np.bincount(each.ravel().astype(np.intp, copy=False))).tolist())
        else:
            found.update(np.unique(each).tolist())
    return sorted(found)


def _boxes_of(labels: list[int], *maps: NDArray[np.integer[Any]]) -> Iterator[tuple[slice, ...]]:
    """Yield the box around each label in all maps, so that maps of many small objects take no longer than of few."""
    from scipy.ndimage import find_objects

    if labels and (labels[0] < 0 or labels[-1] >= MANY_LABELS):
        yield from (tuple(slice(None) for _ in maps[0].shape) for _ in labels)
        return
    boxes = [find_objects(each, max_label=labels[-1] if labels else 0) for each in maps]
    for label in labels:
        known = [each[label - 1] for each in boxes if each[label - 1] is not None]
        axes = zip(*known, strict=True)
        yield tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)


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
    return _surface_gaps(reference, prediction, spacing_mm).hausdorff_95


def surface_dice(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
) -> float:
    """Return the share of both surfaces, 0 to 1, that lies within a tolerance of the other.

    Parameters
    ----------
    reference, prediction : bool arrays of one shape, (z, y, x) or (y, x)
    spacing_mm : sequence of float, in array order
    tolerance_mm : float

    Notes
    -----
    S. Nikolov et al., "Clinically Applicable Segmentation of Head and Neck Anatomy for Radiotherapy: Deep Learning
    Algorithm Development and Validation Study", J Med Internet Res 23 (2021), first published as arXiv:1809.04430 (2018).
    The surface is that of :func:`hausdorff_95`, each of its voxels counting once, as in MONAI's ``compute_surface_dice``
    without subvoxels. Two empty masks agree fully; where one alone is empty the value is 0.
    """
    return _surface_gaps(reference, prediction, spacing_mm).surface_dice(tolerance_mm)


class _SurfaceGaps(NamedTuple):
    """How far each voxel of one surface is from the other, in mm, either way, each (n,)."""

    there: NDArray[np.float64]
    back: NDArray[np.float64]

    @property
    def hausdorff_95(self) -> float | None:
        if len(self.there) and len(self.back):
            return float(max(np.percentile(self.there, 95), np.percentile(self.back, 95)))
        return None if len(self.there) or len(self.back) else 0.0

    def surface_dice(self, tolerance_mm: float) -> float:
        near = int((self.there <= tolerance_mm).sum()) + int((self.back <= tolerance_mm).sum())
        total = len(self.there) + len(self.back)
        return near / total if total else 1.0


def _surface_gaps(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> _SurfaceGaps:
    from scipy.ndimage import distance_transform_edt

    if not reference.any() or not prediction.any():
        sizes = (int(reference.any()), int(prediction.any()))
        return _SurfaceGaps(*(np.full(size, np.inf) for size in sizes))
    box = _bounding_box(reference | prediction)
    surfaces = [_surface(mask[box]) for mask in (reference, prediction)]
    fields = [distance_transform_edt(~surface, sampling=list(spacing_mm)) for surface in surfaces]
    return _SurfaceGaps(fields[1][surfaces[0]], fields[0][surfaces[1]])


def overlap_of_images(reference: Image, prediction: Image, tolerance_mm: float = TOLERANCE_MM) -> Overlap:
    """Return how well two label images agree; every label but 0 counts as foreground.

    Raises
    ------
    InputRefusedError
        With code ``"grid"`` where the masks do not lie on one grid, and ``"mask"`` where an image is no mask.
    """
    here, there, spacing = _label_maps(reference, prediction)
    return overlap(here != 0, there != 0, spacing, tolerance_mm)


def labelled_overlap_of_images(
    reference: Image, prediction: Image, tolerance_mm: float = TOLERANCE_MM
) -> LabelledOverlap:
    """Return how well two label images agree, as a whole and label by label.

    Raises :class:`InputRefusedError` as :func:`overlap_of_images` does.
    """
    return overlap_by_class(*_label_maps(reference, prediction), tolerance_mm)


def _label_maps(
    reference: Image, prediction: Image
) -> tuple[NDArray[np.integer[Any]], NDArray[np.integer[Any]], Sequence[float] | None]:
    """Return the labels of both images on one grid, and its spacing in mm where that is known."""
    reference, prediction = reference.oriented(), prediction.oriented()
    _check_same_grid(reference.grid, prediction.grid)
    spacing = None if reference.grid.unit == "px" else reference.grid.spacing_mm
    return _labels_of(reference), _labels_of(prediction), spacing


def _labels_of(image: Image) -> NDArray[np.integer[Any]]:
    values = image.decoded()
    if values.ndim != image.grid.ndim:
        msg = f"{image.path.name} has colours, shape {image.shape}, expected a mask of one value a pixel."
        raise InputRefusedError(
            msg, code="mask", hint="Save the mask as labels: whole numbers, 0 for background."
        )
    if not np.isfinite(values).all() or not np.array_equal(values, np.round(values)):
        msg = f"{image.path.name} holds values that are not whole numbers, so it is no mask."
        raise InputRefusedError(msg, code="mask", hint="Threshold probabilities first; 0 is background.")
    if np.issubdtype(values.dtype, np.integer):
        return np.asarray(values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    return values.astype(np.int64 if np.abs(values).max(initial=0) > np.iinfo(np.int32).max else np.int32)


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
