"""What lies beside a finding is neither lesion nor background: nothing is to be learnt from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["AMBIGUOUS_MM", "is_near_miss"]

AMBIGUOUS_MM = 5.0
"""A candidate nearer to a finding's centre than this, yet outside its radius, is ambiguous."""


def is_near_miss(distances: ArrayLike, radii: ArrayLike, reach: float = AMBIGUOUS_MM) -> NDArray[np.bool_]:
    """Return which candidates hit no lesion and yet lie beside one: neither positives nor negatives to learn from.

    Parameters
    ----------
    distances : floating array (n,)
        From each candidate to the centre of the nearest lesion, in mm; infinite where there is none.
    radii : floating array (n,)
        Of that lesion, in mm.
    reach : float
        Beyond this distance (mm) a candidate is a negative.
    """
    away = np.asarray(distances, dtype=float)
    return np.asarray((away >= np.asarray(radii)) & (away < reach), dtype=np.bool_)
