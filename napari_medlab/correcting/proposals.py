"""Outlines for what has none yet: from a centre and a diameter, or from a model's mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.correcting.masks import MOST_VOXELS, Patch, components, region_of
from napari_medlab.correcting.regions import with_slices
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.correcting.regions import Slice
    from napari_medlab.geometry.polygons import Rings

__all__ = ["ball", "from_probabilities"]

MOST_SLICES = 2000


def ball(region: Region, centre: Sequence[float], diameter: float, spacing: Sequence[float]) -> Region | None:
    """Return the circle of a candidate, or in a volume the circles in which slices cut its ball.

    Parameters
    ----------
    region : Region
        What it becomes the outline of: case, owner, label and id are kept, rings replaced.
    centre : index, (z, y, x) or (y, x)
    diameter : float, in the unit of ``spacing``
    spacing : one for each axis

    Raises
    ------
    InputRefusedError
        Where the diameter is not positive, as -1 for an unknown one, or it spans more than 2000 slices.
    """
    if not np.isfinite(diameter) or diameter <= 0:
        raise InputRefusedError(
            "The diameter of this object is not known.",
            code="no-diameter",
            hint="Set one, or draw the outline.",
        )
    planes: dict[Slice, Rings] = (
        {None: [polygons.circle(centre, diameter, spacing)]} if len(spacing) == 2 else {}
    )
    if len(spacing) == 3:
        planes = _slices_of_ball(centre, diameter, spacing)
    return with_slices(Region(region.case_id, (), region.owner_id, region.label, region.region_id), planes)


def from_probabilities(
    region: Region, probabilities: NDArray[np.floating], origin: Sequence[int], threshold: float = 0.5,
    near: Sequence[float] | None = None,
) -> Region | None:  # fmt: skip
    """Return a region in the shape of a model's answer; None where nothing reaches the threshold.

    Parameters
    ----------
    region : Region
        What it becomes the outline of: case, owner, label and id are kept, rings replaced.
    probabilities : array (z, y, x) or (y, x), 0 … 1
    origin : the image's index of its first voxel
    threshold : float
    near : index, optional
        Only the connected part nearest to this place of the image is taken.

    Raises
    ------
    InputRefusedError
        For more than 2²⁸ voxels, and for values that are no probabilities.
    """
    if probabilities.size > MOST_VOXELS:
        raise InputRefusedError(
            f"{probabilities.size:,} voxels are more than one object has.", code="too-large"
        )
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise InputRefusedError(
            f"The model's answer runs from {probabilities.min():g} to {probabilities.max():g}; probabilities are 0 to 1.",
            code="not-probabilities", hint="Hand in the answer after the sigmoid.",
        )  # fmt: skip
    patch = Patch(probabilities >= threshold, tuple(int(first) for first in origin))
    if near is not None:
        place = np.asarray(near, dtype=np.float64) - np.asarray(patch.origin)
        patch = min(components(patch), key=lambda part: _distance(part, place), default=patch)
    return region_of(patch, Region(region.case_id, (), region.owner_id, region.label, region.region_id))


def _slices_of_ball(centre: Sequence[float], diameter: float, spacing: Sequence[float]) -> dict[Slice, Rings]:
    reach = diameter / 2 / spacing[0]
    if reach > MOST_SLICES / 2:
        raise InputRefusedError(f"A ball of {diameter:g} spans too many slices.", code="too-large")
    crossed = range(int(np.floor(centre[0] - reach)) + 1, int(np.ceil(centre[0] + reach)))
    across = {z: np.sqrt(diameter**2 - (2 * (z - centre[0]) * spacing[0]) ** 2) for z in crossed}
    # a ball between two slices is drawn on the nearer one
    across = across or {round(centre[0]): diameter}
    return {z: [polygons.circle(centre[1:], width, spacing[1:])] for z, width in across.items()}


def _distance(patch: Patch, place: NDArray[np.float64]) -> float:
    return float(((np.argwhere(patch.mask) - place) ** 2).sum(axis=1).min())
