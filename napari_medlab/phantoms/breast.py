"""The outline of a compressed breast in one mammographic view, and where things in the breast are seen in it.

All positions are (y, x) in mm with the chest wall at x = 0, as left breasts are shown; right ones are mirrored at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HEIGHT_MM", "Breast", "Outline", "View", "draw_breasts", "outline_of"]

View = Literal["CC", "MLO"]

HEIGHT_MM = 204.8
"""The height of the detector; pixels are as large as the number of rows makes them."""

NIPPLE_MM = 4.5
FAR_MM = 60.0
"""Skin farther away than this is not measured exactly: nothing depends on it."""


@dataclass(frozen=True)
class Breast:
    """What the two views of one breast have in common.

    Parameters
    ----------
    depth_mm : from the chest wall to the nipple
    half_width_mm : half the extent along the chest wall
    density : 0 (fatty) to 1 (extremely dense)
    pectoral_mm : width of the pectoral muscle at the upper border of an MLO view
    pectoral_length_mm : how far down the chest wall it reaches
    """

    depth_mm: float
    half_width_mm: float
    density: float
    pectoral_mm: float
    pectoral_length_mm: float


@dataclass(frozen=True)
class Outline:
    """The outline of one breast in one view, in mm.

    Parameters
    ----------
    depth : from the chest wall to the skin beside the nipple
    axis : the row of the nipple's axis at the chest wall
    above, below : half widths to the two sides of the axis
    droop : how far the axis sinks for every mm away from the chest wall
    pectoral : width at the upper border and length down the chest wall of the muscle; zeros in CC views
    """

    depth: float
    axis: float
    above: float
    below: float
    droop: float
    pectoral: tuple[float, float]

    @property
    def nipple(self) -> tuple[float, float]:
        """The nipple's base on the skin, (y, x)."""
        return self.axis + self.droop * self.depth, self.depth

    def place(self, depth: float, across: float) -> tuple[float, float]:
        """Return the (y, x) of what lies ``depth`` behind the nipple and ``across`` to the upper side of its axis.

        The depth runs straight to the chest wall in CC views, and at a right angle to the pectoral muscle in MLO views:
        measured so, it is the same in both.
        """
        width, length = self.pectoral
        slant = np.arctan2(width, length)
        y, x = self.nipple
        return (
            float(y - depth * np.sin(slant) - across * np.cos(slant)),
            float(x - depth * np.cos(slant) + across * np.sin(slant)),
        )

    def skin_distance(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance (mm) from the skin, positive inside, of points whose coordinates broadcast."""
        across = y - self.axis - self.droop * x
        width = np.where(across < 0, np.float32(self.above), np.float32(self.below))
        far, side = x / np.float32(self.depth), np.abs(across) / width
        level = 1 - far**2 - side ** np.float32(2.3)
        slope_y = 2.3 * side ** np.float32(1.3) / width
        slope_x = 2 * far / self.depth - np.sign(across) * slope_y * self.droop
        steepness = np.maximum(np.hypot(slope_y, slope_x), np.float32(1 / FAR_MM))
        distance = (level / steepness).astype(np.float32, copy=False)
        if self.pectoral[0] > 0:
            distance = _joined(distance, self._abdomen_distance(y, x), 16.0)
        nipple_y, nipple_x = self.nipple
        bump = NIPPLE_MM - np.hypot(y - nipple_y, (x - nipple_x + 0.5) * np.float32(0.9))
        return _joined(distance, bump, 2.5)

    def pectoral_distance(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance (mm) from the front of the pectoral muscle, positive within; it bulges slightly."""
        width, length = self.pectoral
        along = np.clip(y / length, 0, 1)
        front = width * (1 - y / length) + 0.09 * width * np.sin(np.pi * along)
        distance: NDArray[np.float32] = (front - x) * np.float32(np.cos(np.arctan2(width, length)))
        return distance

    def _abdomen_distance(self, y: NDArray[np.float32], x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distance from the skin below the inframammary fold."""
        distance: NDArray[np.float32] = 0.15 * self.depth + 0.55 * (y - self.axis - self.below) - x
        return distance


def draw_breasts(rng: np.random.Generator, density: tuple[float, float]) -> tuple[Breast, Breast]:
    """Return the right and the left breast of a patient: alike, not identical."""
    depth = rng.uniform(72, 112)
    typical = (
        depth, depth * rng.uniform(0.72, 0.86), rng.uniform(*density), rng.uniform(44, 66), rng.uniform(105, 145),
    )  # fmt: skip
    right, left = (_varied(rng, typical) for _ in range(2))
    return right, left


def outline_of(rng: np.random.Generator, breast: Breast, view: View) -> Outline:
    """Return the outline of a breast in a view; positioning varies."""
    if view == "CC":
        half = min(breast.half_width_mm, 0.46 * HEIGHT_MM)
        axis = HEIGHT_MM * rng.uniform(0.48, 0.52)
        return Outline(
            breast.depth_mm, axis, half * rng.uniform(0.96, 1.08), half * rng.uniform(0.94, 1.04),
            rng.uniform(-0.04, 0.04), (0.0, 1.0),
        )  # fmt: skip
    axis = HEIGHT_MM * rng.uniform(0.55, 0.60)
    return Outline(
        breast.depth_mm * rng.uniform(0.97, 1.08), axis, rng.uniform(145, 175), breast.half_width_mm * 0.88,
        rng.uniform(0.10, 0.2), (breast.pectoral_mm, breast.pectoral_length_mm),
    )  # fmt: skip


def _varied(rng: np.random.Generator, typical: tuple[float, ...]) -> Breast:
    depth, half, density, pectoral, length = (value * rng.uniform(0.96, 1.04) for value in typical)
    return Breast(depth, half, min(density, 1.0), pectoral, length)


def _joined(first: NDArray[np.float32], second: NDArray[np.float32], soft_mm: float) -> NDArray[np.float32]:
    """Return the larger of two distances, rounded off where they meet."""
    gap = np.clip(1 - np.abs(first - second) / np.float32(soft_mm), 0, 1)
    union: NDArray[np.float32] = np.maximum(first, second) + gap**2 * np.float32(soft_mm / 4)
    return union
