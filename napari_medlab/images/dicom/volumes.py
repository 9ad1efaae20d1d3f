"""Volumes of frames that say where they lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.dicom.phases import phase_of
from napari_medlab.images.dicom.pixels import RealValues, real_dtype
from napari_medlab.images.dicom.resampling import ResampledPlanes, StraightGrid, lineage_of, warnings_about
from napari_medlab.images.dicom.stacking import JITTER_MM, even_step, line_up, slice_affine, straight_grid
from napari_medlab.images.dicom.uneven import block_of, left_out, with_options
from napari_medlab.images.image import Image, ImageWarning, Window
from napari_medlab.images.tiles import PlaneTiles

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.images.decisions import Decisions
    from napari_medlab.images.dicom.frames import Frame
    from napari_medlab.images.dicom.stacking import Stack

__all__ = ["open_single", "open_volume"]

CT_WINDOWS = (
    Window("lung", -1000, 400), Window("soft tissue", -160, 240), Window("bone", -450, 1050), Window("brain", 0, 80),
)  # fmt: skip
AIR_HU = -1024
CHANGEABLE = ("gap", "shift", "tilt")


def open_volume(
    path: Path, frames: Sequence[Frame], decisions: Decisions, warnings: list[ImageWarning]
) -> Image:
    """Return the volume of frames of one series, slices in the order of their positions.

    Raises
    ------
    ImageRefusedError
        Where they make no even, straight stack and nothing was decided about it.
    """
    stack = phase_of(line_up(frames), decisions)
    try:
        return _even(path, stack, decisions, warnings)
    except ImageRefusedError as error:
        if error.code not in CHANGEABLE:
            raise
        if decisions.uneven == "split":
            return _split(path, stack, decisions, warnings)
        if decisions.uneven == "resample" and StraightGrid(stack).is_sensible:
            return _resampled(path, stack, decisions, warnings)
        raise with_options(error, stack, decisions) from None


def open_single(path: Path, frame: Frame, decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    """Return one slice as a volume."""
    assert frame.orientation is not None
    thickness = frame.thickness or 1.0
    stated = "its thickness" if frame.thickness else "a place-holder of 1 mm, for no thickness is stated"
    warnings = [*warnings, ImageWarning("single-slice", f"One slice only: spacing across it is {stated}.")]
    grid = Grid((1, *frame.shape), slice_affine(frame, np.cross(*frame.orientation) * thickness), "mm")
    return _image(path, (frame,), grid, decisions, warnings)


def _even(path: Path, stack: Stack, decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    step, off = even_step(stack)
    if off > JITTER_MM:
        warnings = [*warnings, ImageWarning("jitter", f"Slices lie up to {off:.3f} mm off an even spacing.")]
    return _image(path, stack.frames, straight_grid(stack, step), decisions, warnings)


def _split(path: Path, stack: Stack, decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    block = block_of(stack, decisions.block)
    elsewhere, single = len(stack.frames) - len(block.frames), len(left_out(stack))
    message = (
        f"Slices from {block.heights[0]:.2f} to {block.heights[-1]:.2f} mm along the stack: {elsewhere} others of the "
        f"series are not shown, {single} of which belong to no even block."
    )
    return _even(path, block, decisions, [*warnings, ImageWarning("split", message)])


def _resampled(path: Path, stack: Stack, decisions: Decisions, warnings: list[ImageWarning]) -> Image:
    target = StraightGrid(stack)
    grid, dtype = target.grid, real_dtype(stack.frames)
    planes = ResampledPlanes(target, RealValues(stack.frames, dtype), dtype, _background(stack.frames))
    image = _image(path, stack.frames, grid, decisions, [*warnings, *warnings_about(target)])
    return replace(image, sources=(PlaneTiles(grid.shape, dtype, planes),), lineage=(lineage_of(target),))


def _image(
    path: Path, frames: tuple[Frame, ...], grid: Grid, decisions: Decisions, warnings: list[ImageWarning]
) -> Image:
    first = frames[len(frames) // 2]
    _refuse_mixtures(path, frames)
    if first.file.modality == "CT" and not all(frame.has_rescale for frame in frames):
        message = "The headers have no rescale slope: values are as stored and may not be Hounsfield units."
        warnings = [*warnings, ImageWarning("no-rescale", message)]
    dtype = real_dtype(frames)
    return Image(
        path=path,
        kind="volume",
        modality=first.file.modality,
        sources=(PlaneTiles(grid.shape, dtype, RealValues(frames, dtype)),),
        grid=grid,
        windows=(*first.windows, *(CT_WINDOWS if first.file.modality == "CT" else ())),
        is_inverted=first.file.photometric == "MONOCHROME1",
        warnings=tuple(warnings),
        details=_details(frames),
        decisions=decisions,
    )


def _refuse_mixtures(path: Path, frames: Sequence[Frame]) -> None:
    if any(frame.has_table and not frame.has_rescale for frame in frames):
        raise ImageRefusedError(
            f"{path.name}: pixel values go through a look-up table, which is not read yet.",
            code="lookup-table",
            hint="Export the series with rescale slope and intercept.",
        )
    modalities = {frame.file.modality for frame in frames}
    if len(modalities) > 1:
        raise ImageRefusedError(
            f"{path.name} mixes the modalities {', '.join(sorted(modalities))} in one series.",
            code="mixed-modality",
            hint="Put the slices of each into a folder of its own.",
        )
    photometric = {frame.file.photometric for frame in frames}
    if photometric not in ({"MONOCHROME1"}, {"MONOCHROME2"}):
        raise ImageRefusedError(
            f"{path.name}: the photometric interpretation of its slices is {', '.join(sorted(photometric)) or '(none)'}.",
            code="photometric",
            hint="Export the series as MONOCHROME2 throughout.",
        )


def _background(frames: Sequence[Frame]) -> float:
    """Return the real value of what was not scanned: the padding's, or air in CT and 0 elsewhere."""
    first = frames[0]
    if first.file.padding is not None:
        return first.file.padding * first.slope + first.intercept
    low, high = first.real_range
    return min(max(AIR_HU if first.file.modality == "CT" else 0.0, low), high)


def _details(frames: tuple[Frame, ...]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "format": "DICOM",
        "slices": len(frames),
        "photometric": frames[0].file.photometric,
        "transfer_syntax": frames[0].file.syntax,
        "slopes": sorted({frame.slope for frame in frames})[:10],
    }
    padding = {f.file.padding * f.slope + f.intercept for f in frames if f.file.padding is not None}
    if padding:
        details["padding_values"] = sorted(padding)[:10]
    return details
