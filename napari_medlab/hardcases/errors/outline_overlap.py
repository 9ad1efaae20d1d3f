"""How well outlines of candidates fit those of the findings that they hit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.geometry.outlines import ring_area, rings_to_mask
from napari_medlab.geometry.polygons import box

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medlab.evaluation import MatchTable

__all__ = ["box_around", "dice_of_hits", "dice_of_regions"]


def dice_of_hits(
    match: MatchTable, regions: Mapping[str, Region]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of a match table whose candidate and finding are both outlined, and their Dice, each (n,).

    A box says how far something reaches, and nothing of its shape: where one of the two outlines is a plain box along
    the axes, such as those of detectors, the boxes around both are compared.

    Parameters
    ----------
    match : MatchTable
        Only true positives count.
    regions : mapping of str to Region
        By the id of the object that is outlined.
    """
    rows = [
        row
        for row in np.flatnonzero(match.kind == "tp")
        if str(match.candidate_id[row]) in regions and str(match.finding_id[row]) in regions
    ]
    dice = [
        _dice_alike(regions[str(match.candidate_id[row])], regions[str(match.finding_id[row])])
        for row in rows
    ]
    return np.asarray(rows, dtype=np.intp), np.asarray(dice, dtype=np.float64)


def _dice_alike(a: Region, b: Region) -> float:
    """Return the Dice of two outlines, or of the boxes around them where one is no more than a box."""
    return (
        dice_of_regions(box_around(a), box_around(b)) if _is_box(a) or _is_box(b) else dice_of_regions(a, b)
    )


def box_around(region: Region) -> Region:
    """Return the smallest box along the axes that holds a region: on every slice between its first and its last in a volume."""
    points = np.concatenate([np.zeros((0, 2)), *(ring[:, -2:] for ring in region.rings)])
    if not len(points):
        return region
    ring = box(points.min(axis=0).tolist(), points.max(axis=0).tolist())
    slices = [round(float(ring[0, 0])) for ring in region.rings if ring.shape[1] == 3]
    if not slices:
        return replace(region, rings=(ring,))
    on_slices = {z: [ring] for z in range(min(slices), max(slices) + 1)}
    return replace(region, rings=Region.on_slices(region.case_id, on_slices).rings)


def _is_box(region: Region) -> bool:
    """Tell whether a region is the box around it: a polygon is, where it has the area of its box."""
    boxed = box_around(region)
    return len(region.rings) == len(boxed.rings) > 0 and all(
        np.isclose(abs(ring_area(ring[:, -2:])), abs(ring_area(around[:, -2:])))
        for ring, around in zip(region.rings, boxed.rings, strict=True)
    )


def dice_of_regions(a: Region, b: Region) -> float:
    """Return the Dice coefficient (Dice, 1945) of two regions of one image: 0 for none in common, 1 for the same pixels.

    Pixels count by the rule of :func:`~napari_medlab.geometry.outlines.rings_to_mask`. Regions without any are alike.
    """
    both = size = 0
    for rings_a, rings_b in _slices(a, b):
        low, shape = _frame([*rings_a, *rings_b])
        mask_a = rings_to_mask([ring - low for ring in rings_a], shape)
        mask_b = rings_to_mask([ring - low for ring in rings_b], shape)
        both += int((mask_a & mask_b).sum())
        size += int(mask_a.sum()) + int(mask_b.sum())
    return 2 * both / size if size else 1.0


def _slices(a: Region, b: Region) -> list[tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]]:
    """Return the planar rings of both regions, slice by slice."""
    if all(ring.shape[1] == 2 for ring in (*a.rings, *b.rings)):
        return [(list(a.rings), list(b.rings))]
    slices = sorted({round(float(ring[0, 0])) for ring in (*a.rings, *b.rings) if len(ring)})
    return [(a.rings_on_slice(z), b.rings_on_slice(z)) for z in slices]


def _frame(rings: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the whole-numbered first index (2,) and the shape of a mask that holds all rings."""
    points = np.concatenate([np.zeros((0, 2)), *rings])
    if not len(points):
        return np.zeros(2), (0, 0)
    low = np.floor(points.min(axis=0))
    height, width = (np.ceil(points.max(axis=0)) - low + 1).astype(int).tolist()
    return low, (height, width)
