"""Ellipses and rotated boxes of other programs as rings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ellipse_ring", "rotated"]

FURTHEST_OFF_PX = 0.01


def ellipse_ring(centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.float64]:
    """Return an ellipse along the axes as a ring (n, 2) that stays within a hundredth of a pixel of it.

    Parameters
    ----------
    centre : (y, x) indices
    radii : (y, x) in pixels
    """
    largest = max(*radii, FURTHEST_OFF_PX)
    # the middle of a chord lies radius * (1 - cos(half its angle)) inside
    count = math.ceil(math.pi / math.acos(max(1 - FURTHEST_OFF_PX / largest, 0.0)))
    angle = np.linspace(0, 2 * np.pi, int(np.clip(count, 12, 3600)), endpoint=False)
    ring: NDArray[np.float64] = np.asarray(centre) + np.column_stack(
        [radii[0] * np.sin(angle), radii[1] * np.cos(angle)]
    )
    return ring


def rotated(ring: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Return a ring turned clockwise, as a screen shows it, around the middle of its rectangle; as it is for 0 degrees."""
    if degrees == 0:
        return ring
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    y, x = (ring - middle).T
    turned: NDArray[np.float64] = middle + np.column_stack([sine * x + cosine * y, cosine * x - sine * y])
    return turned
