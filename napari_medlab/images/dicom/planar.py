"""Single DICOM images that are no slices: mammograms, radiographs, photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.dicom.pixels import StoredValues
from napari_medlab.images.image import Image, ImageWarning, Window
from napari_medlab.images.refusals import check_decodable_whole
from napari_medlab.images.tiles import WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.dicom.frames import Frame

__all__ = ["RADIOGRAPHS", "open_planar"]

RADIOGRAPHS = frozenset({"MG", "DX", "CR", "DR"})
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def open_planar(
    path: Path, frame: Frame, decisions: Decisions = AS_IS, warnings: tuple[ImageWarning, ...] = ()
) -> Image:
    """Return a planar image with its stored values unchanged, whatever its photometric interpretation."""
    file = frame.file
    is_rgb = len(file.shape) == 3
    if file.photometric not in (COLOURS if is_rgb else ("MONOCHROME1", "MONOCHROME2")):
        raise ImageRefusedError(
            f"{path.name}: the photometric interpretation {file.photometric or '(none)'} is not read.",
            code="photometric",
            hint="Export it as MONOCHROME2 or RGB.",
        )
    check_decodable_whole(path, file.shape, file.stored_dtype)
    spacing, source = _spacing(frame)
    if spacing is None:
        message = "The header states no pixel size: nothing can be measured in millimetres."
        warnings = (*warnings, ImageWarning("unknown-spacing", message))
    grid = Grid.axis_aligned(file.shape[:2], spacing or (1.0, 1.0), unit="mm" if spacing else "px")
    return Image(
        path=path,
        kind="mammogram" if file.modality in RADIOGRAPHS else "photo",
        modality=file.modality,
        sources=(WholeTile(file.shape, file.stored_dtype, StoredValues(frame)),),
        grid=grid,
        windows=_stored_windows(frame),
        is_rgb=is_rgb,
        is_inverted=file.photometric == "MONOCHROME1",
        warnings=warnings,
        details=_details(frame, source),
        decisions=decisions,
    )


def _spacing(frame: Frame) -> tuple[tuple[float, float] | None, str]:
    """Return the pixel size (row, column) in mm: calibrated, detector, magnified or unknown."""
    file = frame.file
    pixel, imager = frame.pixel_spacing, file.imager_spacing
    if pixel is not None and (imager is None or pixel != imager or file.calibration):
        return pixel, "calibrated"
    if imager is None:
        return None, "unknown"
    if file.magnification is not None and file.magnification != 1:
        return (imager[0] / file.magnification, imager[1] / file.magnification), "magnified"
    return imager, "detector"


def _stored_windows(frame: Frame) -> tuple[Window, ...]:
    """Return the windows in stored values; a header states them in real ones."""
    windows = []
    for window in frame.windows:
        low, high = sorted((value - frame.intercept) / frame.slope for value in (window.low, window.high))
        windows.append(replace(window, low=low, high=high))
    return tuple(windows)


def _details(frame: Frame, spacing_source: str) -> dict[str, Any]:
    details: dict[str, Any] = {
        "format": "DICOM",
        "photometric": frame.file.photometric,
        "transfer_syntax": frame.file.syntax,
        "spacing_source": spacing_source,
        "laterality": frame.file.laterality,
        "view": frame.file.view,
        "chest_wall": frame.file.chest_wall,
    }
    if (frame.slope, frame.intercept) != (1.0, 0.0):
        details["rescale_not_applied"] = [frame.slope, frame.intercept]
    if frame.file.padding is not None:
        details["padding_value"] = frame.file.padding
    return details
