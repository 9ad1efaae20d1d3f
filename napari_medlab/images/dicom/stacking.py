"""Where the slices of a DICOM series lie, from their positions alone, or why they make no volume.

File names, instance numbers, slice locations, thicknesses and the tags for tilt and spacing are never asked:
scanners and archives fill them in differently.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.headers import DicomHeader

__all__ = ["slice_affine", "stack"]

JITTER_MM = 0.02
"""Rounding of positions, as scanners leave it; beyond it the reader is told."""
GAP_MM, GAP_SHARE = 0.1, 0.02
"""A gap may differ from the mean by the larger of these."""
SAME_PLACE_MM = 0.01
STRAIGHT_COSINE = 0.9999
SAME_DIRECTION = 1e-4
EXPORT_AGAIN = "Export the series again from its source."


def stack(headers: Sequence[DicomHeader]) -> tuple[tuple[DicomHeader, ...], Grid, float]:
    """Return the slices in order, the grid on which they lie, and how far any slice is off it in mm.

    Raises
    ------
    ImageRefusedError
        With code ``no-position``, ``mixed-size``, ``orientation``, ``duplicate``, ``tilt``, ``shift`` or
        ``gap``.
    """
    positions, axes = _positions(headers), _common_axes(headers)
    _refuse_mixed_sizes(headers)
    normal = np.cross(axes[0], axes[1])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    heights = positions @ normal
    _refuse_duplicates(heights)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    _refuse_tilt(step, normal)
    off = _refuse_uneven(positions, heights, step)
    ordered = tuple(headers[index] for index in order)
    affine = slice_affine(ordered[0], step)
    return ordered, Grid((len(ordered), *ordered[0].shape), affine, "mm"), off


def slice_affine(header: DicomHeader, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 4 × 4 matrix from index (z, y, x, 1) to LPS mm, from ``header`` on at ``step`` mm."""
    if header.position is None or header.orientation is None or header.pixel_spacing is None:
        raise ImageRefusedError(
            f"{header.path.name} has no place: position, orientation or pixel spacing is missing.",
            code="no-position",
            hint=EXPORT_AGAIN,
        )
    between_rows, between_columns = header.pixel_spacing
    along_row, along_column = header.orientation
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = along_column * between_rows
    affine[:3, 2] = along_row * between_columns
    affine[:3, 3] = header.position
    return affine


def _positions(headers: Sequence[DicomHeader]) -> NDArray[np.float64]:
    known = [header.position for header in headers if header.position is not None]
    placed = sum(header.orientation is not None and header.pixel_spacing is not None for header in headers)
    if len(known) < len(headers) or placed < len(headers):
        missing = len(headers) - min(len(known), placed)
        raise ImageRefusedError(
            f"{missing} of {len(headers)} slices do not say where they lie: "
            "ImagePositionPatient, ImageOrientationPatient or PixelSpacing is missing.",
            code="no-position",
            hint="Open one of the files alone, or export the series again from its source.",
        )
    return np.stack(known)


def _common_axes(headers: Sequence[DicomHeader]) -> NDArray[np.float64]:
    axes = np.stack([header.orientation for header in headers if header.orientation is not None])
    strangers = int((np.abs(axes - axes[0]).max(axis=(1, 2)) > SAME_DIRECTION).sum())
    if strangers:
        raise ImageRefusedError(
            f"The slices do not lie parallel: {strangers} of {len(headers)} are turned against the first.",
            code="orientation",
            hint="Several scans share one series; put the slices of each into a folder of its own.",
        )
    first: NDArray[np.float64] = axes[0]
    return first


def _refuse_mixed_sizes(headers: Sequence[DicomHeader]) -> None:
    spacing = [tuple(round(value, 5) for value in header.pixel_spacing or ()) for header in headers]
    kinds = Counter((header.shape, step) for header, step in zip(headers, spacing, strict=True))
    if len(kinds) > 1:
        seen = ", ".join(f"{count} of {shape} at {step} mm" for (shape, step), count in kinds.most_common(5))
        raise ImageRefusedError(
            f"The slices differ in size or pixel spacing: {seen}.",
            code="mixed-size",
            hint="Several reconstructions share one series; put the slices of each into a folder of its own.",
        )


def _refuse_duplicates(heights: NDArray[np.float64]) -> None:
    repeated = np.flatnonzero(np.diff(heights) < SAME_PLACE_MM)
    if len(repeated):
        raise ImageRefusedError(
            f"{len(repeated)} slices lie where another one lies already, "
            f"the first at {heights[repeated[0]]:.3f} mm along the stack.",
            code="duplicate",
            hint="The folder holds copies, or several phases or time points: separate them.",
        )


def _refuse_tilt(step: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step))
    if cosine < STRAIGHT_COSINE:
        raise ImageRefusedError(
            f"The slices lean over by {np.degrees(np.arccos(min(cosine, 1.0))):.2f}°: the gantry was tilted, "
            "and stacking them would shift anatomy.",
            code="tilt",
            hint="Resample the series onto a straight grid first.",
        )


def _refuse_uneven(
    positions: NDArray[np.float64], heights: NDArray[np.float64], step: NDArray[np.float64]
) -> float:
    """Refuse gaps and sidesteps; return how far, in mm, the worst slice is off its place on the even grid."""
    gaps = np.diff(heights)
    mean = float(gaps.mean())
    allowed = max(GAP_MM, GAP_SHARE * mean)
    worst = int(np.abs(gaps - mean).argmax())
    if abs(gaps[worst] - mean) > allowed:
        raise ImageRefusedError(
            f"The slices are not evenly spaced: {gaps[worst]:.3f} mm after slice {worst + 1} of "
            f"{len(positions)} (at {heights[worst]:.2f} mm), {np.median(gaps):.3f} mm usually.",
            code="gap",
            hint="Slices are missing or two scans are mixed: complete the folder, or split it at the gap.",
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
            hint="Two scans are mixed, or the patient table moved: split the series.",
        )
    return float(off.max())
