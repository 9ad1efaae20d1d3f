"""Single DICOM images that are no slices: mammograms, radiographs, photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.dicom.pixels import StoredValues
from napari_medlab.images.image import Image, ImageWarning, Window
from napari_medlab.images.refusals import check_decodable_whole
from napari_medlab.images.tiles import WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.dicom.headers import DicomHeader

__all__ = ["open_planar"]

RADIOGRAPHS = frozenset({"MG", "DX", "CR", "DR"})
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def open_planar(path: Path, header: DicomHeader, warnings: tuple[ImageWarning, ...] = ()) -> Image:
    """Return a planar image with its stored values unchanged, whatever its photometric interpretation."""
    is_rgb = len(header.shape) == 3
    if header.photometric not in (COLOURS if is_rgb else ("MONOCHROME1", "MONOCHROME2")):
        raise ImageRefusedError(
            f"{path.name}: the photometric interpretation {header.photometric or '(none)'} is not read.",
            code="photometric",
            hint="Export it as MONOCHROME2 or RGB.",
        )
    check_decodable_whole(path, header.shape, header.stored_dtype)
    spacing, source = _spacing(header)
    if spacing is None:
        message = "The header states no pixel size: nothing can be measured in millimetres."
        warnings = (*warnings, ImageWarning("unknown-spacing", message))
    grid = Grid.axis_aligned(header.shape[:2], spacing or (1.0, 1.0), unit="mm" if spacing else "px")
    return Image(
        path=path,
        kind="mammogram" if header.modality in RADIOGRAPHS else "photo",
        modality=header.modality,
        sources=(WholeTile(header.shape, header.stored_dtype, StoredValues(header)),),
        grid=grid,
        windows=_stored_windows(header),
        is_rgb=is_rgb,
        is_inverted=header.photometric == "MONOCHROME1",
        warnings=warnings,
        details=_details(header, source),
    )


def _spacing(header: DicomHeader) -> tuple[tuple[float, float] | None, str]:
    """Return the pixel size (row, column) in mm: calibrated, detector, magnified or unknown."""
    pixel, imager = header.pixel_spacing, header.imager_spacing
    if pixel is not None and (imager is None or pixel != imager or header.more["calibration"]):
        return pixel, "calibrated"
    if imager is None:
        return None, "unknown"
    if header.magnification is not None and header.magnification != 1:
        return (imager[0] / header.magnification, imager[1] / header.magnification), "magnified"
    return imager, "detector"


def _stored_windows(header: DicomHeader) -> tuple[Window, ...]:
    """Return the windows in stored values; a header states them in real ones."""
    windows = []
    for window in header.windows:
        low, high = sorted((value - header.intercept) / header.slope for value in (window.low, window.high))
        windows.append(replace(window, low=low, high=high))
    return tuple(windows)


def _details(header: DicomHeader, spacing_source: str) -> dict[str, Any]:
    details: dict[str, Any] = {
        "format": "DICOM",
        "photometric": header.photometric,
        "transfer_syntax": header.syntax,
        "spacing_source": spacing_source,
        "laterality": header.more["laterality"],
        "view": header.more["view"],
    }
    if (header.slope, header.intercept) != (1.0, 0.0):
        details["rescale_not_applied"] = [header.slope, header.intercept]
    if header.padding is not None:
        details["padding_value"] = header.padding
    return details
