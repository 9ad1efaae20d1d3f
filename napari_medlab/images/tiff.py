"""TIFF: whole-slide pyramids (SVS, OME-TIFF, BigTIFF) and flat pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.pixel_size import Size, from_aperio, from_ome, from_resolution, plausible
from napari_medlab.images.refusals import check_decodable_whole, check_shape
from napari_medlab.images.tiff_levels import TiffLevel, lazy_level

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da

__all__ = ["open_tiff"]

CHANNELS_FIRST = {"YX": False, "YXS": False, "SYX": True, "CYX": True}
"""The orders of axes that are read."""
COLOURS = ("RGB", "YCBCR")


def open_tiff(path: Path) -> Image:
    """Return the baseline image of a TIFF with its pyramid; label, macro and thumbnail are never touched."""
    import tifffile

    # neighbouring files that OME-XML names stay closed
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        axes = _axes(path, tiff, series)
        warnings = _check_tiles(path, series)
        levels = tuple(_level(path, number, level, axes) for number, level in enumerate(series.levels))
        is_slide = bool(page.is_tiled or len(levels) > 1 or tiff.is_svs or tiff.is_ome)
        size, unknown = plausible(_pixel_size(tiff, page, is_slide=is_slide))
        colour = getattr(page.photometric, "name", "") in COLOURS and axes != "CYX"
        details = {
            "format": "SVS" if tiff.is_svs else "OME-TIFF" if tiff.is_ome else "TIFF",
            "compression": str(getattr(page.compression, "name", page.compression)),
        }
    shape = levels[0].shape
    return Image(
        path=path,
        kind="slide" if is_slide else "photo",
        modality="SM" if is_slide else "",
        levels=levels,
        grid=Grid.axis_aligned(shape[:2], size or (1.0, 1.0), unit="um" if size else "px"),
        is_rgb=colour and shape[2:] in ((3,), (4,)),
        warnings=(*warnings, *(unknown if is_slide else ())),
        details=details,
    )


def _axes(path: Path, tiff: Any, series: Any) -> str:  # noqa: ANN401 - tifffile has no types
    axes = str(series.axes)
    if tiff.is_ome and axes in ("IYX", "QYX") and len(tiff.pages) == series.shape[0]:
        axes = "CYX"  # OME keeps channels as pages
    if axes not in CHANNELS_FIRST:
        raise ImageRefusedError(
            f"{path.name} has the axes {axes} with sizes {tuple(series.shape)}.",
            code="unsupported",
            hint="Stacks and time series are not read from TIFF: save one planar image, or a NIfTI volume.",
        )
    return axes


def _level(path: Path, number: int, level: Any, axes: str) -> da.Array:  # noqa: ANN401 - tifffile has no types
    sizes = tuple(int(size) for size in level.shape)
    check_shape(path, sizes)
    chunk = tuple(int(size) for size in level.keyframe.chunks)
    check_decodable_whole(path, chunk, level.dtype)
    first = CHANNELS_FIRST[axes]
    shape = (*sizes[1:], sizes[0]) if first else sizes
    tile = chunk[-2:] if first else chunk[:2]
    lazy = TiffLevel(path, number, shape, level.dtype, channels_first=first)
    return lazy_level(lazy, (tile[0], tile[1]))


def _check_tiles(path: Path, series: Any) -> tuple[ImageWarning, ...]:  # noqa: ANN401 - tifffile has no types
    """Refuse a file whose tiles lie beyond its end; count tiles that were never written."""
    length = path.stat().st_size
    missing = 0
    for level in series.levels:
        for page in level.pages:
            if page is None:
                continue
            offsets = np.asarray(page.dataoffsets, dtype=np.int64)
            counts = np.asarray(page.databytecounts, dtype=np.int64)
            missing += int((counts == 0).sum())
            if not 0 < len(counts) == len(offsets) or (offsets + counts).max() > length:
                raise ImageRefusedError(
                    f"{path.name} is cut short: its index names tiles beyond its {length} bytes.",
                    code="truncated",
                    hint="Copy the file again from its source.",
                )
    if missing:
        return (ImageWarning("missing-tiles", f"{missing} tiles were never written and show as 0."),)
    return ()


def _pixel_size(tiff: Any, page: Any, *, is_slide: bool) -> Size | None:  # noqa: ANN401 - tifffile has no types
    if tiff.is_ome:
        return from_ome(page.description)
    if tiff.is_svs:
        return from_aperio(page.description)
    if not is_slide:  # the resolution of a picture is that of a printer
        return None
    names = ("XResolution", "YResolution", "ResolutionUnit")
    return from_resolution({name: page.tags[name].value for name in names if name in page.tags})
