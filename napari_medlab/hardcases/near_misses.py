"""What lies beside a finding is neither lesion nor background: nothing is to be learnt from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["AMBIGUOUS_MM", "ambiguous_reach", "is_near_miss"]

AMBIGUOUS_MM = 5.0
"""A candidate nearer to a finding's centre than this, yet outside its radius, is ambiguous."""

AMBIGUOUS_RADII = 1.25
"""The same in radii of the finding, where it is larger, or where lengths are no millimetres: 5 mm to a nodule of 8 mm."""


def is_near_miss(
    distances: ArrayLike, radii: ArrayLike, reach: ArrayLike = AMBIGUOUS_MM
) -> NDArray[np.bool_]:
    """Return which candidates hit no lesion and yet lie beside one: neither positives nor negatives to learn from.

    Parameters
    ----------
    distances : floating array (n,)
        From each candidate to the centre of the nearest lesion, in mm; infinite where there is none.
    radii : floating array (n,)
        Of that lesion, in mm.
    reach : float, or floating array (n,)
        Beyond this distance (mm) a candidate is a negative.
    """
    away = np.asarray(distances, dtype=float)
    return np.asarray((away >= np.asarray(radii)) & (away < np.asarray(reach)), dtype=np.bool_)


def ambiguous_reach(radii: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Return how far around findings candidates are ambiguous, (n,), in the unit of the radii.

    Parameters
    ----------
    radii : floating array (n,)
    unit : {"mm", "um", "px"}
        Five millimetres were measured on lung nodules. Around anything larger than those, and on slides and photos, it is
        a quarter of the radius: the border of a large mass is no background either.
    """
    sizes = AMBIGUOUS_RADII * np.asarray(radii, dtype=np.float64)
    return np.maximum(sizes, AMBIGUOUS_MM) if unit == "mm" else sizes
