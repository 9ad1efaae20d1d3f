"""TIFF: whole-slide pyramids (SVS, NDPI, SCN, OME-TIFF, BigTIFF) and flat pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.slides.absent import absent_warnings
from napari_medlab.images.slides.pixel_size import plausible, stack_spacing
from napari_medlab.images.slides.tiff_coding import PALETTE, RGB, WHITE_IS_ZERO, YCBCR, coding_of
from napari_medlab.images.slides.tiff_directories import read_index
from napari_medlab.images.slides.tiff_kinds import select
from napari_medlab.images.slides.tiff_tiles import TiffTiles

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.slides.tiff_selection import Selection

__all__ = ["open_tiff"]


def open_tiff(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the one image of a TIFF with its pyramid; label, macro and thumbnail are never touched."""
    selection = select(read_index(path), decisions)
    coding = coding_of(selection.levels[0][0])
    levels = tuple(
        TiffTiles(directories, selection.stacked, number, blank_absent=bool(decisions.absent))
        for number, directories in enumerate(selection.levels)
    )
    missing = sum(level.missing for level in levels)
    absent = absent_warnings(path, missing, decisions)
    grid, unknown = _grid(levels[0], selection)
    is_volume = selection.stacked == "z"
    channels = levels[0].shape[2:]
    in_colour = selection.stacked == "" and coding.photometric in (RGB, PALETTE, YCBCR)
    return Image(
        path=path,
        kind="volume" if is_volume else "slide" if selection.is_slide else "photo",
        modality="SM" if selection.is_slide and not is_volume else "",
        sources=levels,
        grid=grid,
        is_rgb=in_colour and channels in ((3,), (4,)),
        is_inverted=coding.photometric == WHITE_IS_ZERO,
        channel_names=selection.names if channels == (len(selection.names),) else (),
        warnings=(*absent, *selection.warnings, *unknown),
        details={"format": selection.format, "compression": coding.name},
        decisions=Decisions(phase=selection.phase, absent="background" if missing else ""),
    )


def _grid(level: TiffTiles, selection: Selection) -> tuple[Grid, tuple[ImageWarning, ...]]:
    if selection.stacked == "z":
        spacing, unit, warnings = stack_spacing(selection.step, selection.size)
        return Grid.axis_aligned(level.shape, spacing, unit=unit), warnings
    size, unknown = plausible(selection.size, is_exact=selection.format == "OME-TIFF")
    grid = Grid.axis_aligned(level.shape[:2], size or (1.0, 1.0), unit="um" if size else "px")
    return grid, unknown if selection.is_slide else ()
