"""Where the slices of a DICOM series lie, from their positions alone, or why they make no volume.

File names, instance numbers, slice locations, thicknesses and the tags for tilt and spacing are never asked:
scanners and archives fill them in differently.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.frames import Frame

__all__ = [
    "JITTER_MM",
    "SAME_PLACE_MM",
    "Stack",
    "allowed_gap",
    "even_step",
    "line_up",
    "slice_affine",
    "straight_grid",
]

JITTER_MM = 0.02
"""Rounding of positions, as scanners leave it; beyond it the reader is told."""
GAP_MM, GAP_SHARE = 0.1, 0.02
"""A gap may differ from the mean by the larger of these."""
SAME_PLACE_MM = 0.01
STRAIGHT_COSINE = 0.9999
SAME_DIRECTION = 1e-4
EXPORT_AGAIN = "Export the series again from its source."


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices of one size in the order of their positions.

    Parameters
    ----------
    frames : tuple of Frame
    positions : float64 array (n, 3); LPS mm
    axes : float64 array (2, 3); directions of growing column and growing row index
    """

    frames: tuple[Frame, ...]
    positions: NDArray[np.float64]
    axes: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction across the slices."""
        return np.cross(self.axes[0], self.axes[1])

    @cached_property
    def heights(self) -> NDArray[np.float64]:
        """Where the slices lie along the normal, in mm, growing."""
        heights: NDArray[np.float64] = self.positions @ self.normal
        return heights

    @property
    def repeated(self) -> NDArray[np.intp]:
        """The numbers of slices that lie where the next one lies too."""
        return np.flatnonzero(np.diff(self.heights) < SAME_PLACE_MM)

    def part(self, start: int, stop: int) -> Stack:
        """Return the slices from ``start`` to before ``stop``."""
        return Stack(self.frames[start:stop], self.positions[start:stop], self.axes)

    def refuse_duplicates(self) -> None:
        """Refuse several slices at one place."""
        if len(self.repeated):
            raise ImageRefusedError(
                f"{len(self.repeated)} slices lie where another one lies already, "
                f"the first at {self.heights[self.repeated[0]]:.3f} mm along the stack.",
                code="duplicate",
                hint="The folder holds copies, or several scans that no tag tells apart: separate them.",
            )


def line_up(frames: Sequence[Frame]) -> Stack:
    """Return the slices in order.

    Raises
    ------
    ImageRefusedError
        With code ``no-position``, ``mixed-size`` or ``orientation``.
    """
    positions, axes = _positions(frames), _common_axes(frames)
    _refuse_mixed_sizes(frames)
    order = np.argsort(positions @ np.cross(axes[0], axes[1]), kind="stable")
    return Stack(tuple(frames[index] for index in order), positions[order], axes)


def even_step(stack: Stack) -> tuple[NDArray[np.float64], float]:
    """Return the way from one slice to the next, and how far, in mm, the worst slice is off its place.

    Raises
    ------
    ImageRefusedError
        With code ``tilt``, ``gap`` or ``shift``.
    """
    positions = stack.positions
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    _refuse_tilt(step, stack.normal)
    return step, _refuse_uneven(positions, stack.heights, step)


def allowed_gap(usual: float) -> float:
    """Return by how much, in mm, a gap may differ from the usual one."""
    return max(GAP_MM, GAP_SHARE * usual)


def slice_affine(frame: Frame, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 4 × 4 matrix from index (z, y, x, 1) to LPS mm, from ``frame`` on at ``step`` mm."""
    assert frame.position is not None
    assert frame.orientation is not None
    assert frame.pixel_spacing is not None
    between_rows, between_columns = frame.pixel_spacing
    along_row, along_column = frame.orientation
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = along_row * between_columns
    affine[:3, 3] = frame.position
    return affine


def straight_grid(stack: Stack, step: NDArray[np.float64]) -> Grid:
    """Return the grid of evenly spaced slices."""
    first = stack.frames[0]
    return Grid((len(stack.frames), *first.shape), slice_affine(first, step), "mm")


def _positions(frames: Sequence[Frame]) -> NDArray[np.float64]:
    known = [frame.position for frame in frames if frame.position is not None and frame.is_placed]
    if len(known) < len(frames):
        raise ImageRefusedError(
            f"{len(frames) - len(known)} of {len(frames)} slices do not say where they lie: "
            "ImagePositionPatient, ImageOrientationPatient or PixelSpacing is missing.",
            code="no-position",
            hint="Open one of the files alone, or export the series again from its source.",
        )
    return np.stack(known)


def _common_axes(frames: Sequence[Frame]) -> NDArray[np.float64]:
    axes = np.stack([frame.orientation for frame in frames if frame.orientation is not None])
    strangers = int((np.abs(axes - axes[0]).max(axis=(1, 2)) > SAME_DIRECTION).sum())
    if strangers:
        raise ImageRefusedError(
            f"The slices do not lie parallel: {strangers} of {len(frames)} are turned against the first.",
            code="orientation",
            hint="Several scans share one series; put the slices of each into a folder of its own.",
        )
    first: NDArray[np.float64] = axes[0]
    return first


def _refuse_mixed_sizes(frames: Sequence[Frame]) -> None:
    kinds = Counter(
        (frame.shape, tuple(round(value, 5) for value in frame.pixel_spacing or ())) for frame in frames
    )
    if len(kinds) > 1:
        seen = ", ".join(f"{count} of {shape} at {step} mm" for (shape, step), count in kinds.most_common(5))
        raise ImageRefusedError(
            f"The slices differ in size or pixel spacing: {seen}.",
            code="mixed-size",
            hint="Several reconstructions share one series; put the slices of each into a folder of its own.",
        )


def _refuse_tilt(step: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    if cosine < STRAIGHT_COSINE:
        raise ImageRefusedError(
            f"The slices lean over by {np.degrees(np.arccos(min(cosine, 1.0))):.2f}°: the gantry was tilted, "
            "and stacking them would shift anatomy.",
            code="tilt",
            hint="Resample the series onto a straight grid.",
        )


def _refuse_uneven(
    positions: NDArray[np.float64], heights: NDArray[np.float64], step: NDArray[np.float64]
) -> float:
    """Refuse gaps and sidesteps; return how far, in mm, the worst slice is off its place on the even grid."""
    gaps = np.diff(heights)
    mean = float(gaps.mean())
    allowed = allowed_gap(mean)
    worst = int(np.abs(gaps - mean).argmax())
    if abs(gaps[worst] - mean) > allowed:
        raise ImageRefusedError(
            f"The slices are not evenly spaced: {gaps[worst]:.3f} mm after slice {worst + 1} of "
            f"{len(positions)} (at {heights[worst]:.2f} mm), {np.median(gaps):.3f} mm usually.",
            code="gap",
            hint="Slices are missing or two scans are mixed: complete the folder, split it at the gap, or resample it.",
        )
    expected = positions[0] + np.arange(len(positions))[:, None] * step
    along = np.abs((positions - expected) @ (step / np.linalg.norm(step)))
    if along.max() > allowed:
        raise ImageRefusedError(
            f"The slices are not evenly spaced: slice {along.argmax() + 1} of {len(positions)} lies "
            f"{along.max():.2f} mm from where even spacing would put it.",
            code="gap",
            hint="The spacing changes along the scan: split the series, or resample it.",
        )
    off = np.linalg.norm(positions - expected, axis=1)
    if off.max() > allowed:
        raise ImageRefusedError(
            f"Slice {off.argmax() + 1} of {len(positions)} lies {off.max():.2f} mm beside the others' line.",
            code="shift",
            hint="Two scans are mixed, or the patient table moved: split the series, or resample it.",
        )
    return float(off.max())
