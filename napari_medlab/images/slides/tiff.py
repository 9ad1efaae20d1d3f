"""TIFF: whole-slide pyramids (SVS, NDPI, SCN, OME-TIFF, BigTIFF) and flat pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import check_decodable_whole, check_shape
from napari_medlab.images.slides.tiff_kinds import baseline, channel_names, format_name, pixel_size
from napari_medlab.images.slides.pixel_size import plausible
from napari_medlab.images.slides.tiff_tiles import TiffTiles

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_tiff"]

CHANNELS_FIRST = {"YX": False, "YXS": False, "SYX": True, "CYX": True}
"""The orders of axes that are read."""
COLOURS = ("RGB", "YCBCR")


def open_tiff(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the baseline image of a TIFF with its pyramid; label, macro and thumbnail are never touched."""
    import tifffile

    # neighbouring files that OME-XML names stay closed
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        number = baseline(path, tiff)
        series = tiff.series[number]
        page = series.keyframe
        axes = _axes(path, tiff, series)
        missing = _check_tiles(path, series)
        if missing and not decisions.absent:
            raise _refused_absent(path, missing)
        blank = bool(missing)
        levels = tuple(_level(path, (number, n), level, axes, blank=blank) for n, level in enumerate(series.levels))
        is_slide = bool(page.is_tiled or len(levels) > 1 or format_name(tiff) != "TIFF")
        size, unknown = plausible(pixel_size(tiff, page, is_slide=is_slide))
        colour = getattr(page.photometric, "name", "") in COLOURS and axes != "CYX"
        names = channel_names(tiff) if axes == "CYX" else ()
        details = {
            "format": format_name(tiff),
            "compression": str(getattr(page.compression, "name", page.compression)),
        }
    shape = levels[0].shape
    message = f"{missing} tiles were never written and are shown as 0, as was decided."
    return Image(
        path=path,
        kind="slide" if is_slide else "photo",
        modality="SM" if is_slide else "",
        sources=levels,
        grid=Grid.axis_aligned(shape[:2], size or (1.0, 1.0), unit="um" if size else "px"),
        is_rgb=colour and shape[2:] in ((3,), (4,)),
        channel_names=names if len(names) == len(shape[2:]) or shape[2:] == (len(names),) else (),
        warnings=(*((ImageWarning("missing-tiles", message),) if missing else ()), *(unknown if is_slide else ())),
        details=details,
        decisions=Decisions(absent="background") if missing else AS_IS,
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


def _level(path: Path, place: tuple[int, int], level: Any, axes: str, *, blank: bool) -> TiffTiles:  # noqa: ANN401
    sizes = tuple(int(size) for size in level.shape)
    check_shape(path, sizes)
    page = level.keyframe
    tile = tuple(int(side) for side in page.chunks)
    check_decodable_whole(path, tile, level.dtype)
    first = CHANNELS_FIRST[axes]
    shape = (*sizes[1:], sizes[0]) if first else sizes
    sides = (*tile[-2:], 1) if first else tile
    return TiffTiles(path, *place, shape, level.dtype, sides, blank_absent=blank)


def _check_tiles(path: Path, series: Any) -> int:  # noqa: ANN401 - tifffile has no types
    """Refuse a file whose tiles lie beyond its end; return how many were never written."""
    length = path.stat().st_size
    missing = 0
    for level in series.levels:
        for page in level.pages:
            if page is None:
                continue
            offsets = np.asarray(page.dataoffsets, dtype=np.int64)
            counts = np.asarray(page.databytecounts, dtype=np.int64)
            missing += int((counts == 0).sum())
            expected = int(np.prod(level.keyframe.chunked))
            if not 0 < len(counts) == len(offsets) or len(counts) < expected or (offsets + counts).max() > length:
                raise ImageRefusedError(
                    f"{path.name} is cut short: its index names tiles beyond its {length} bytes.",
                    code="truncated",
                    hint="Copy the file again from its source.",
                )
    return missing


def _refused_absent(path: Path, missing: int) -> ImageRefusedError:
    return ImageRefusedError(
        f"{path.name}: {missing} of its tiles were never written, and what belongs there is not known.",
        code="missing-tiles",
        hint="Some scanners leave out glass: decide to show them as background, or copy the file again.",
        options=(Option("Show the missing tiles as background", Decisions(absent="background").as_json()),),
    )
