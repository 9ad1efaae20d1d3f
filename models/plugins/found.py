"""What a function that finds objects says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Found"]


@dataclass(frozen=True)
class Found:
    """One object in the array that a function was given.

    Parameters
    ----------
    centre : sequence of float
        In voxels of the array, (z, y, x) or (y, x), 0 at the centre of the first voxel.
    size : float or sequence of float
        The diameter in voxels; or the sides of the box around the object, one for each axis.
    score : float
        0 to 1.
    label : str
        One of the classes that ``bundle.json`` names; empty for the first.
    """

    centre: Sequence[float]
    size: float | Sequence[float]
    score: float
    label: str = ""
