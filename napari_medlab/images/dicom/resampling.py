"""Interpolating slices that are uneven, shifted or tilted onto an even, straight grid: by explicit choice alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import Grid
from napari_medlab.images.dicom.stacking import slice_affine
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.tiles import PlaneTiles, TileArray, TileCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.stacking import Stack

__all__ = ["ResampledPlanes", "StraightGrid", "lineage_of", "warnings_about"]

ON_A_SLICE = 1e-6
"""A plane that lies nearer to a slice than this share of a gap is that slice."""
ON_A_PIXEL = 1e-4
"""Slices that lie less than this share of a pixel beside the others are left as they are."""
WIDE_GAP = 2.0
KEPT_PLANES = 8
MOST_PLANES, LARGEST_PLANE = 20, 8
"""By how many times planes and pixels may grow: beyond it, positions are damaged rather than uneven."""


@dataclass(frozen=True, eq=False)
class StraightGrid:
    """The even grid of a stack: the first and the last slice stay at the height that their headers state.

    Its spacing is the usual gap, the median, so that no usual slice is thinned out; it is stretched or shrunk until a
    whole number of gaps fits. In the plane it covers all slices, on the pixels of the first one.
    """

    stack: Stack

    @cached_property
    def heights(self) -> NDArray[np.float64]:
        """Where the planes lie along the normal, in mm."""
        own = self.stack.heights
        extent = float(own[-1] - own[0])
        planes: NDArray[np.float64] = np.linspace(
            own[0], own[-1], max(round(extent / float(np.median(np.diff(own)))), 1) + 1
        )
        return planes

    @cached_property
    def sidesteps(self) -> NDArray[np.float64]:
        """By how many (rows, columns) each slice lies beside the first, (n, 2)."""
        first = self.stack.frames[0]
        assert first.pixel_spacing is not None
        along_row, along_column = self.stack.axes
        moved = self.stack.positions - self.stack.positions[0]
        pixels: NDArray[np.float64] = np.stack([moved @ along_column, moved @ along_row], axis=1)
        pixels /= np.asarray(first.pixel_spacing)
        pixels[np.abs(pixels) < ON_A_PIXEL] = 0
        return pixels

    @property
    def is_sensible(self) -> bool:
        """Whether the result is not many times larger than what was scanned."""
        own = self.stack.heights
        rows, columns = self.stack.frames[0].shape
        planes = (own[-1] - own[0]) / float(np.median(np.diff(own)))
        sides = np.ptp(self.sidesteps, axis=0) + np.asarray((rows, columns))
        return bool(planes < MOST_PLANES * len(own) and np.prod(sides) < LARGEST_PLANE * rows * columns)

    @property
    def grid(self) -> Grid:
        """The geometry of the result."""
        step = (self.heights[1] - self.heights[0]) * self.stack.normal
        affine = slice_affine(self.stack.frames[0], step)
        whole = Grid((len(self.heights), *self.plane), affine, "mm")
        start = (0, *self.corner)
        return Grid(whole.shape, whole.cropped(start, whole.shape).affine, "mm")

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column, counted from the first slice's, at which the planes begin."""
        low = np.floor(self.sidesteps.min(axis=0)).astype(int)
        return int(low[0]), int(low[1])

    @property
    def plane(self) -> tuple[int, int]:
        """How many rows and columns the planes have."""
        rows, columns = self.stack.frames[0].shape
        high = np.ceil(self.sidesteps.max(axis=0)).astype(int)
        return rows + int(high[0]) - self.corner[0], columns + int(high[1]) - self.corner[1]


class ResampledPlanes:
    """Reads planes of a :class:`StraightGrid`: each is blended from the two slices beside it.

    Parameters
    ----------
    target : StraightGrid
    read : callable
        Decodes slice ``number`` of the stack.
    dtype : numpy dtype
    fill : float
        What is where a slice does not reach.
    """

    def __init__(
        self, target: StraightGrid, read: Callable[[int], NDArray[Any]], dtype: np.dtype[Any], fill: float
    ) -> None:
        shape = (len(target.stack.frames), *target.stack.frames[0].shape)
        source = PlaneTiles(shape, dtype, read, key="slices")
        room = KEPT_PLANES * shape[1] * shape[2] * dtype.itemsize
        self._slices = TileArray(source, TileCache(room))  # neighbouring planes ask for the same slices
        self._target, self._dtype, self._fill = target, dtype, fill

    def __call__(self, number: int) -> NDArray[Any]:
        """Return plane ``number`` as an array (y, x)."""
        below, share = self._between(self._target.heights[number])
        plane = self._placed(below) if share < 1 else self._placed(below + 1)
        if 0 < share < 1:
            plane = plane + share * (self._placed(below + 1) - plane)
        plane[np.isnan(plane)] = self._fill
        return (np.rint(plane) if self._dtype.kind == "i" else plane).astype(self._dtype)

    def _between(self, height: float) -> tuple[int, float]:
        """Return the slice below a height, and how far the height is on the way to the next, 0 to 1."""
        own = self._target.stack.heights
        below = int(np.clip(np.searchsorted(own, height, side="right") - 1, 0, len(own) - 2))
        share = float((height - own[below]) / (own[below + 1] - own[below]))
        return below, 0.0 if share < ON_A_SLICE else 1.0 if share > 1 - ON_A_SLICE else share

    def _placed(self, number: int) -> NDArray[np.float64]:
        """Return a slice where it belongs in the plane, NaN where it does not reach."""
        pixels = self._slices[number].astype(np.float64)
        down, right = self._target.sidesteps[number] - self._target.corner
        out = np.full(self._target.plane, np.nan)
        rows, columns = int(np.floor(down)), int(np.floor(right))
        moved = _shifted(_shifted(pixels, float(down) - rows, 0), float(right) - columns, 1)
        # a slice that is moved by part of a pixel reaches one pixel less far
        at = rows + int(down > rows), columns + int(right > columns)
        out[at[0] : at[0] + moved.shape[0], at[1] : at[1] + moved.shape[1]] = moved
        return out


def lineage_of(target: StraightGrid) -> str:
    """Return the sentence that says what was done to the pixels."""
    own = target.stack.heights
    spacing = float(target.heights[1] - target.heights[0])
    moved = (
        " Slices were shifted in their planes to where their headers put them."
        if target.sidesteps.any()
        else ""
    )
    return (
        f"{len(own)} slices were interpolated linearly onto {len(target.heights)} planes every {spacing:.4f} mm, from "
        f"{own[0]:.3f} to {own[-1]:.3f} mm along the stack: the usual gap is {np.median(np.diff(own)):.4f} mm.{moved}"
    )


def warnings_about(target: StraightGrid) -> list[ImageWarning]:
    """Return what the reader of an interpolated volume has to know."""
    own = target.stack.heights
    usual = float(np.median(np.diff(own)))
    found = [ImageWarning("resampled", lineage_of(target))]
    wide = [(low, high) for low, high in pairwise(own) if high - low > WIDE_GAP * usual]
    if wide:
        ranges = ", ".join(f"{low:.2f} to {high:.2f} mm" for low, high in wide[:10])
        message = f"Nothing was scanned at {ranges} along the stack: the anatomy shown there is invented."
        found.append(ImageWarning("invented", message))
    if target.sidesteps.any():
        found.append(
            ImageWarning("filled", "Voxels that no slice reaches are filled with the background's value.")
        )
    return found


def _shifted(pixels: NDArray[np.float64], part: float, axis: int) -> NDArray[np.float64]:
    """Return values between neighbours along an axis, for pixels moved on by ``part`` of a pixel; one fewer."""
    if part == 0:
        return pixels
    low, high = (pixels[:-1], pixels[1:]) if axis == 0 else (pixels[:, :-1], pixels[:, 1:])
    return high + part * (low - high)
