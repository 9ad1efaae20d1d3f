"""Slices that were left out between outlined ones, filled in by their shape."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.correcting.regions import bounds, rings_on, slices_of, with_slices
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.correcting.regions import Slice
    from napari_medlab.geometry.polygons import Rings

__all__ = ["fill_between", "gaps"]

Plane = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Pair = tuple[Plane, Plane]

MOST_SLICES = 1000
"""More slices than this are not filled at once."""
REACH = 1.0
"""Parts that do not overlap are taken for one that moved where no more than this many of their diameters lie between."""


def gaps(region: Region) -> list[tuple[int, int]]:
    """Return the pairs of neighbouring outlined slices that have slices without an outline between them."""
    known = [z for z in slices_of(region) if z is not None]
    return [(low, high) for low, high in pairwise(known) if high - low > 1]


def fill_between(region: Region, spacing: Sequence[float] = (1.0, 1.0)) -> Region | None:
    """Return the region with outlines on the slices that lie between outlined ones; drawn slices stay as they are.

    Shape-based interpolation: the signed distance to the outline is interpolated from slice to slice, and the new outline
    lies where it is zero (Raya and Udupa 1990; Herman, Zheng and Bucholtz 1992). Before, parts that belong together are
    moved onto one another by their centres, so that a structure that runs obliquely is not pinched off. A part that has
    no counterpart on the next outlined slice ends where it was drawn; parts merge and split where they overlap.

    Parameters
    ----------
    region : Region
        In a volume.
    spacing : (y, x)
        The distance of pixels in the slice.

    Raises
    ------
    InputRefusedError
        Where more than 1000 slices are missing.
    """
    missing = gaps(region)
    count = sum(high - low - 1 for low, high in missing)
    if count > MOST_SLICES:
        raise InputRefusedError(
            f"{count} slices between the outlines are missing; {MOST_SLICES} is the limit.", code="too-large",
            hint="Outline a few more slices in between.",
        )  # fmt: skip
    if not missing:
        return region
    low, high = bounds(region)
    corner = np.floor(low[1:]).astype(int) - 2
    shape = tuple((np.ceil(high[1:]).astype(int) + 3 - corner).tolist())
    filled: dict[Slice, Rings] = {}
    for first, last in missing:
        ends = [rings_to_mask([ring - corner for ring in rings_on(region, z)], shape) for z in (first, last)]
        pairs = _pairs(ends[0], ends[1])
        for z in range(first + 1, last):
            field = _between(
                pairs, (z - first) / (last - first), np.asarray(spacing, dtype=np.float64), shape
            )
            filled[z] = [ring + corner for ring in _zero_lines(field)]
    return with_slices(region, filled)


def _pairs(first: Plane, last: Plane) -> list[Pair]:
    """Return what belongs together on two slices: groups that overlap, and else parts that are near."""
    from scipy import ndimage

    labels = [ndimage.label(first)[0], ndimage.label(last)[0]]
    # what overlaps has one label in both, however many parts it is made of
    together, count = ndimage.label(first | last)
    pairs: list[Pair] = []
    alone: tuple[list[Plane], list[Plane]] = ([], [])
    for number in range(1, count + 1):
        inside = together == number
        if (first & last & inside).any():
            pairs.append((first & inside, last & inside))
        else:
            for side, own in enumerate(labels):
                alone[side].extend(own == value for value in np.unique(own[inside]) if value)
    return pairs + _near(*alone)


def _near(first: list[Plane], last: list[Plane]) -> list[Pair]:
    """Return the pairs of parts that are nearest to one another, each part in one pair at most."""
    found = []
    for row, one in enumerate(first):
        for column, other in enumerate(last):
            diameter = np.sqrt(4 / np.pi * max(one.sum(), other.sum()))
            found.append((float(np.hypot(*(_centre(one) - _centre(other))) / diameter), row, column))
    pairs: list[Pair] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for distance, row, column in sorted(found):
        if distance <= 1 + REACH and row not in used[0] and column not in used[1]:
            pairs.append((first[row], last[column]))
            used[0].add(row)
            used[1].add(column)
    return pairs


def _between(
    pairs: list[Pair], share: float, spacing: NDArray[np.float64],
    shape: tuple[int, ...],
) -> NDArray[np.float64]:  # fmt: skip
    """Return the signed distances (y, x), positive inside, at a share of the way from one slice to the other."""
    field = np.full(shape, -1.0)
    for first, last in pairs:
        way = _centre(last) - _centre(first)
        moved = (
            _shifted(_distances(first, spacing), way * share),
            _shifted(_distances(last, spacing), way * (share - 1)),
        )
        field = np.maximum(field, moved[0] * (1 - share) + moved[1] * share)
    return field


def _distances(mask: Plane, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance to the border of a mask, positive inside; the border lies between two pixels."""
    from scipy import ndimage

    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    half = float(spacing.min()) / 2
    signed: NDArray[np.float64] = np.where(mask, inside - half, half - outside)
    return signed


def _shifted(field: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import ndimage

    return np.asarray(ndimage.shift(field, by, order=1, mode="nearest"), dtype=np.float64)


def _centre(mask: Plane) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = np.argwhere(mask).mean(axis=0)
    return centre


def _zero_lines(field: NDArray[np.float64]) -> Rings:
    from skimage.measure import find_contours

    padded = np.pad(field, 1, constant_values=-1.0)
    return [ring[:-1] - 1.0 for ring in find_contours(padded, 0.0) if len(ring) > 3]
