"""Opening DICOM: a folder that holds one series, or a single file."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.dicom.stacking import JITTER_MM, slice_affine, stack
from napari_medlab.images.dicom.headers import DicomHeader, read_header
from napari_medlab.images.dicom.pixels import RealValues, real_dtype
from napari_medlab.images.dicom.planar import open_planar
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning, Window
from napari_medlab.images.refusals import reading
from napari_medlab.images.tiles import PlaneTiles

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_dicom_file", "open_dicom_folder"]

MAX_FILES = 20_000
CT_WINDOWS = (
    Window("lung", -1000, 400), Window("soft tissue", -160, 240), Window("bone", -450, 1050), Window("brain", 0, 80),
)  # fmt: skip
VOLUME_MODALITIES = frozenset({"CT", "MR", "PT", "NM"})
SET_ASIDE = {
    "not-dicom": "are no DICOM files",
    "no-pixels": "hold no pixels",
    "localiser": "are localisers",
    "derived": "are derived objects, not images",
}


def open_dicom_file(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the image of one DICOM file: a planar image, or a volume of one slice."""
    header = read_header(path)
    if isinstance(header, DicomHeader):
        return _single(path, header, [])
    raise ImageRefusedError(
        f"{path.name} holds no image to show: it is one of those files that {SET_ASIDE[header]}.",
        code="empty",
        hint="Open the folder that holds the images.",
    )


def open_dicom_folder(folder: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the one series of a folder and its sub-folders, slices in the order of their positions."""
    headers, warnings = _read_folder(folder)
    chosen = _choose_series(folder, headers, decisions.series_uid or None)
    if len(chosen) == 1:
        return _single(folder, chosen[0], warnings)
    if any(len(header.shape) > 2 for header in chosen) or all(header.position is None for header in chosen):
        raise ImageRefusedError(
            f"{folder.name} holds {len(chosen)} planar images that make no volume.",
            code="several-images",
            hint="Open one of the files.",
        )
    ordered, grid, off = stack(chosen)
    if off > JITTER_MM:
        warnings.append(ImageWarning("jitter", f"Slices lie up to {off:.3f} mm off an even spacing."))
    return _volume(folder, ordered, grid, warnings)


def _read_folder(folder: Path) -> tuple[list[DicomHeader], list[ImageWarning]]:
    files = list(islice((path for path in folder.rglob("*") if path.is_file()), MAX_FILES + 1))
    if len(files) > MAX_FILES:
        raise ImageRefusedError(
            f"{folder.name} holds more than {MAX_FILES} files.",
            code="size",
            hint="Open the folder of one series.",
        )
    headers: list[DicomHeader] = []
    aside: Counter[str] = Counter()
    for path in sorted(files):
        with reading(path):
            header = read_header(path)
        if isinstance(header, DicomHeader):
            headers.append(header)
        else:
            aside[header] += 1
    warnings = [
        ImageWarning(f"set-aside-{why}", f"{count} files of the folder {SET_ASIDE[why]}; they are left out.")
        for why, count in aside.items()
    ]
    if not headers:
        found = ", ".join(f"{count} {SET_ASIDE[why]}" for why, count in aside.items()) or "it is empty"
        raise ImageRefusedError(
            f"{folder.name} holds no DICOM images: {found}.",
            code="empty",
            hint="Open the folder of one series.",
        )
    return headers, warnings


def _choose_series(folder: Path, headers: list[DicomHeader], series_uid: str | None) -> list[DicomHeader]:
    counts = Counter(header.series_uid for header in headers)
    if series_uid is None and len(counts) == 1:
        return headers
    chosen = [header for header in headers if header.series_uid == series_uid]
    if chosen:
        return chosen
    listing = "; ".join(f"{uid or '(none)'} ({count} images)" for uid, count in counts.most_common(20))
    if series_uid is not None:
        raise ImageRefusedError(
            f"{folder.name} holds no series {series_uid}; it holds {listing}.",
            code="no-such-series",
            hint="Choose one of these.",
        )
    raise ImageRefusedError(
        f"{folder.name} holds {len(counts)} series: {listing}.",
        code="several-series",
        hint="Choose one by its UID (--series UID on the command line).",
    )


def _single(path: Path, header: DicomHeader, warnings: list[ImageWarning]) -> Image:
    placed = (
        header.position is not None and header.orientation is not None and header.pixel_spacing is not None
    )
    if header.modality not in VOLUME_MODALITIES or not placed or len(header.shape) > 2:
        return open_planar(path, header, tuple(warnings))
    assert header.orientation is not None
    thickness = header.thickness or 1.0
    stated = "its thickness" if header.thickness else "a place-holder of 1 mm, for no thickness is stated"
    warnings = [*warnings, ImageWarning("single-slice", f"One slice only: spacing across it is {stated}.")]
    affine = slice_affine(header, np.cross(*header.orientation) * thickness)
    return _volume(path, (header,), Grid((1, *header.shape), affine, "mm"), warnings)


def _volume(path: Path, ordered: tuple[DicomHeader, ...], grid: Grid, warnings: list[ImageWarning]) -> Image:
    first = ordered[len(ordered) // 2]
    if any(header.more["has_lut"] and not header.more["has_rescale"] for header in ordered):
        raise ImageRefusedError(
            f"{path.name}: pixel values go through a look-up table, which is not read yet.",
            code="lookup-table",
            hint="Export the series with rescale slope and intercept.",
        )
    modalities = {header.modality for header in ordered}
    if len(modalities) > 1:
        raise ImageRefusedError(
            f"{path.name} mixes the modalities {', '.join(sorted(modalities))} in one series.",
            code="mixed-modality",
            hint="Put the slices of each into a folder of its own.",
        )
    if first.modality == "CT" and not all(header.more["has_rescale"] for header in ordered):
        message = "The headers have no rescale slope: values are as stored and may not be Hounsfield units."
        warnings = [*warnings, ImageWarning("no-rescale", message)]
    dtype = real_dtype(ordered)
    presets = CT_WINDOWS if first.modality == "CT" else ()
    return Image(
        path=path,
        kind="volume",
        modality=first.modality,
        sources=(PlaneTiles(grid.shape, dtype, RealValues(ordered, dtype)),),
        grid=grid,
        windows=(*first.windows, *presets),
        warnings=tuple(warnings),
        details=_details(ordered),
    )


def _details(ordered: tuple[DicomHeader, ...]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "format": "DICOM",
        "slices": len(ordered),
        "photometric": ordered[0].photometric,
        "transfer_syntax": ordered[0].syntax,
        "slopes": sorted({header.slope for header in ordered})[:10],
    }
    padding = {
        header.padding * header.slope + header.intercept for header in ordered if header.padding is not None
    }
    if padding:
        details["padding_values"] = sorted(padding)[:10]
    return details
