"""How well outlines of candidates fit those of the findings that they hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry.outlines import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.evaluation import MatchTable

__all__ = ["dice_of_hits", "dice_of_regions"]


def dice_of_hits(
    match: MatchTable, regions: Mapping[str, Region]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the rows of a match table whose candidate and finding are both outlined, and their Dice, each (n,).

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
        dice_of_regions(regions[str(match.candidate_id[row])], regions[str(match.finding_id[row])])
        for row in rows
    ]
    return np.asarray(rows, dtype=np.intp), np.asarray(dice, dtype=np.float64)


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
