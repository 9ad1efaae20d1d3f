"""Elastic deformation that never folds, so that it can be undone; boxes are those of the deformed objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.affine import OBJECTS
from napari_medlab.models.augmentation.carrying import carried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["Elastic", "box_of_deformed", "deformed", "inverse_field", "smooth_field"]


MOST_ROUNDS = 200
"""Fields below strength 1 take far fewer; one that does not contract is told by this."""


def smooth_field(
    rng: np.random.Generator, shape: Sequence[int], strength: float, spacing: float | Sequence[float]
) -> NDArray[np.float32]:
    """Return a random smooth field of displacements (dims, *shape), in voxels.

    Random vectors on a grid of control points are joined by cubic B-splines and scaled until the steepest changes of a
    displacement from voxel to voxel, summed over the axes, are ``strength``. Below 1 the displacement contracts, so
    that no two places come to the same place, and :func:`inverse_field` undoes it.

    Parameters
    ----------
    rng : where chance comes from
    shape : the spatial shape
    strength : from 0 to below 1
    spacing : between control points, in voxels; one for all axes, or one for each

    References
    ----------
    P. Simard, D. Steinkraus and J. Platt, "Best practices for convolutional neural networks applied to visual document
    analysis", ICDAR 2003; with the splines of D. Rueckert et al., "Nonrigid registration using free-form deformations",
    IEEE Transactions on Medical Imaging 18 (1999).
    """
    dims = len(shape)
    apart = np.broadcast_to(np.asarray(spacing, dtype=float), dims)
    splines = [_spline(n, each) for n, each in zip(shape, apart, strict=True)]
    field = rng.normal(size=(dims, *(spline.shape[1] for spline in splines)))
    for axis, spline in enumerate(splines, start=1):
        field = np.moveaxis(np.tensordot(spline, field, (1, axis)), 0, axis)
    steepest = max(sum(float(np.abs(np.diff(c, axis=a)).max(initial=0)) for a in range(dims)) for c in field)
    return (field * (strength / max(steepest, 1e-6))).astype(np.float32)


def _spline(count: int, spacing: float) -> NDArray[np.float64]:
    """Return how much each control point counts at each of ``count`` voxels along an axis, (voxels, control points)."""
    from scipy.interpolate import BSpline

    # one control point before the first voxel and at least one beyond the last
    controls = np.arange(int(np.ceil(count / spacing)) + 3) - 1
    away = np.arange(count)[:, None] / spacing - controls
    weights: NDArray[np.float64] = BSpline.basis_element(np.arange(5), extrapolate=False)(away + 2)
    return np.nan_to_num(weights)


def inverse_field(field: NDArray[np.float32], tolerance: float = 1e-3) -> NDArray[np.float32]:
    """Return the displacements that undo those of a field that contracts, by fixed-point iteration.

    Where ``p = q + field(q)``, the inverse is ``q = p + inverse(p)``. Beyond the image the field is taken to be what it
    is at its border.

    Raises
    ------
    ValueError
        Where the field does not contract.

    References
    ----------
    M. Chen et al., "A simple fixed-point approach to invert a deformation field", Medical Physics 35 (2008).
    """
    from scipy.ndimage import map_coordinates

    places = np.indices(field.shape[1:], dtype=np.float32)
    inverse = np.zeros_like(field)
    for _ in range(MOST_ROUNDS):
        better = np.stack([-map_coordinates(c, places + inverse, order=1, mode="nearest") for c in field])
        change = float(np.abs(better - inverse).max(initial=0))
        inverse = better
        if change <= tolerance:
            return inverse
    msg = f"The field does not contract: after {MOST_ROUNDS} rounds its inverse still changes by {change:.2g} voxels."
    raise ValueError(msg)


def deformed(sample: Sample, field: NDArray[np.float32], objects: str = "box") -> Sample:
    """Return the sample in which each place shows what was at the displaced place before.

    Parameters
    ----------
    sample : Sample
    field : float32 array (dims, *shape), in voxels
    objects : {"box", "ellipsoid"}
        What is taken to fill a box; the box after is that of this object, deformed.
    """
    from scipy.ndimage import map_coordinates

    places = np.indices(sample.shape, dtype=np.float32) + field
    source = sample.image.astype(np.float32, copy=False)
    fill = float(source.min())
    image = np.stack([map_coordinates(c, places, order=1, mode="grid-constant", cval=fill) for c in source])
    mask = sample.mask
    if mask is not None:
        mask = np.stack([map_coordinates(c, places, order=0, mode="grid-constant", cval=0) for c in mask])
    boxes = [box_of_deformed(box, field, objects) for box in sample.boxes]
    return carried(sample, image, mask, np.asarray(boxes, dtype=np.float32))


def box_of_deformed(
    box: NDArray[Any], field: NDArray[np.float32], objects: str = "box"
) -> NDArray[np.float32]:
    """Return the box around all voxels whose displaced places lie in the object that fills a box.

    Of an object so small that it falls between the voxels, it is the box of the voxel that comes nearest to its middle.
    Beyond the image the field is taken to be what it is at its border, so that an object that is cut stays whole.
    """
    dims = len(field)
    start, stop = box[:dims], box[dims:]
    reach = np.abs(field).max(axis=tuple(range(1, dims + 1)))
    low = np.floor(start - reach).astype(int)
    size = np.ceil(stop + reach).astype(int) + 1 - low
    around = np.indices(tuple(size)).reshape(dims, -1) + low[:, None]
    inside = np.clip(around, 0, np.asarray(field.shape[1:])[:, None] - 1)
    # how far from the middle, in halves of the box
    middle, half = (start + stop) / 2, np.maximum((stop - start) / 2, 1e-3)
    away = (around + field[(slice(None), *inside)] - middle[:, None]) / half[:, None]
    distance = np.abs(away).max(axis=0) if objects == "box" else np.sqrt((away**2).sum(axis=0))
    within = around[:, distance <= 1]
    if not within.size:
        within = around[:, [int(np.argmin((away**2).sum(axis=0)))]]
    bounds: NDArray[np.float32] = np.concatenate([within.min(axis=1) - 0.5, within.max(axis=1) + 0.5]).astype(
        np.float32
    )
    return bounds


@dataclass(frozen=True)
class Elastic:
    """Random smooth deformation.

    Parameters
    ----------
    strength : float
        From 0 (nothing) to below 1 (as much as is possible without folds); each sample's is drawn evenly below it.
    spacing : float, or one for each axis
        Between control points, in voxels: small ones crumple, great ones bend.
    objects : {"box", "ellipsoid"}
        What is taken to fill a box.
    is_inverse : bool
        Whether the inverse of the field is used: what the field draws together is then spread, and the other way round.
    """

    strength: float = 0.5
    spacing: float | Sequence[float] = 24.0
    objects: str = "box"
    is_inverse: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.strength < 1 or np.min(self.spacing) < 2 or self.objects not in OBJECTS:
            msg = (
                f"An elastic deformation has a strength from 0 to below 1, a spacing of at least 2 voxels and objects "
                f"of {', '.join(OBJECTS)}; got {self.strength}, {self.spacing} and {self.objects!r}"
            )
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample deformed."""
        strength = float(rng.uniform(0, self.strength))
        field = smooth_field(rng, sample.shape, strength, self.spacing)
        return deformed(sample, inverse_field(field) if self.is_inverse else field, self.objects)
