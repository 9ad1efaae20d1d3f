"""What vendors put into their TIFFs: which directories are the slide, and how large its pixels are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_medlab.images.image import ImageWarning
from napari_medlab.images.slides.pixel_size import Size, from_aperio, from_resolution
from napari_medlab.images.slides.tiff_ome import select_ome
from napari_medlab.images.slides.tiff_scn import select_scn
from napari_medlab.images.slides.tiff_selection import Selection, levels_below, unreadable_kind

if TYPE_CHECKING:
    from napari_medlab.images.decisions import Decisions
    from napari_medlab.images.slides.tiff_directories import Directory, TiffIndex

__all__ = ["select"]

NDPI_FORMAT, SOURCE_LENS, FOCAL_OFFSET, CAPTURE_MODE = 65420, 65421, 65424, 65441
FLUORESCENCE = 6
XMP, SOFTWARE = 700, 305
HEAD = 4096
"""How much of a description says what kind it is."""
OTHER_IMAGE = re.compile(r"\b(?:label|macro|thumbnail|overview|barcode)\b", re.IGNORECASE)
STACKS = re.compile(
    r"^ImageJ=.*?^images=(?!1\b)\d+|^\{\"shape\": \[(?!1,|\d+, \d+(?:, [1-4])?\])", re.DOTALL | re.MULTILINE
)
"""How ImageJ and tifffile say that one directory stands for many planes."""


def select(index: TiffIndex, decisions: Decisions) -> Selection:
    """Return the one image of a file.

    Raises
    ------
    ImageRefusedError
        Where it cannot be told which directory that is.
    """
    description = index.first.description
    if NDPI_FORMAT in index.first.fields:
        return _ndpi(index)
    if description.startswith("Aperio"):
        return _svs(index)
    if re.search(r"<(?:\w+:)?scn\b", description[:HEAD]):
        return select_scn(index, description)
    if re.search(r"<(?:\w+:)?OME\b", description[:HEAD]):
        return select_ome(index, description, decisions)
    return _plain(index)


def _svs(index: TiffIndex) -> Selection:
    """Levels are tiled; label, macro and thumbnail are not."""
    base = index.first
    others = [
        directory
        for directory in index.directories[1:]
        if directory.is_tiled and not OTHER_IMAGE.search(directory.description[:HEAD])
    ]
    levels = tuple((level,) for level in (base, *levels_below(base, others)))
    return Selection("SVS", levels, size=from_aperio(base.description[: 16 * HEAD]))


def _ndpi(index: TiffIndex) -> Selection:
    """Levels are seen through a lens; macro and map say -1 and -2 there."""
    path = index.file.path
    seen = [directory for directory in index.directories if (directory.real(SOURCE_LENS) or 0) > 0]
    if not seen:
        raise unreadable_kind(path, "none of its images is seen through a lens.", "Export the slide again.")
    if any(directory.whole(CAPTURE_MODE) >= FLUORESCENCE for directory in index.directories):
        raise unreadable_kind(
            path, "it is a fluorescence slide.", "Convert it to an OME-TIFF with its channels."
        )
    offsets = {directory.real(FOCAL_OFFSET) or 0.0 for directory in seen}
    focus = min(offsets, key=abs)
    seen = [directory for directory in seen if (directory.real(FOCAL_OFFSET) or 0.0) == focus]
    base = max(seen, key=lambda directory: directory.width)
    warnings: tuple[ImageWarning, ...] = ()
    if len(offsets) > 1:
        message = f"The slide has {len(offsets)} focal planes; the one at {focus:g} is shown."
        warnings = (ImageWarning("focal-planes", message),)
    levels = tuple((level,) for level in (base, *levels_below(base, seen)))
    return Selection("NDPI", levels, size=_resolution(base), warnings=warnings)


def _plain(index: TiffIndex) -> Selection:
    """Return the first image that is no copy, with its copies: those that say so, or halves in tiles of one size."""
    path, first = index.file.path, index.first
    if b"<iScan" in first.raw(XMP):
        raise unreadable_kind(
            path, "it is a Ventana slide, whose tiles overlap.", "Convert it to an OME-TIFF."
        )
    if STACKS.search(first.description[:HEAD]):
        raise _stack(index, "its description speaks of several planes")
    own = [d for d in index.directories if not (d.is_reduced or d.is_mask)]
    if not own:
        raise unreadable_kind(path, "all its images are copies of others.", "Export the image itself.")
    base = own[0]
    if OTHER_IMAGE.search(base.description[:HEAD]):
        raise unreadable_kind(
            path,
            "its first image calls itself a label, macro or overview image.",
            "Convert it to an OME-TIFF.",
        )
    if any((d.width, d.height) == (base.width, base.height) for d in own[1:]):
        raise _stack(index, f"{len(own)} images")
    flagged = [d for d in (*base.subdirectories(), *index.directories) if d.is_reduced and not d.is_mask]
    unflagged = [d for d in own[1:] if _is_half(base, d)]
    below = levels_below(
        base, [d for d in (*flagged, *unflagged) if not OTHER_IMAGE.search(d.description[:HEAD])]
    )
    left_out = len(own) - 1 - sum(level in unflagged for level in below)
    message = f"{left_out} other images of the file are left out."
    is_slide = base.is_tiled or bool(below)
    return Selection(
        "TIFF",
        tuple((level,) for level in (base, *below)),
        # the resolution of a picture is that of a printer
        size=_resolution(base) if is_slide else None,
        warnings=(ImageWarning("left-out", message),) if left_out else (),
        is_slide=is_slide,
    )


def _is_half(base: Directory, other: Directory) -> bool:
    """Tell whether a directory that does not call itself a copy is tiled like one, 2, 4, 8, … times smaller."""
    alike = base.is_tiled and all(base.whole(tag) == other.whole(tag) for tag in (259, 322, 323))
    return alike and any(
        abs(base.width / other.width / (1 << power) - 1) < 0.02 for power in range(1, 12) if other.width
    )


def _stack(index: TiffIndex, found: str) -> Exception:
    return unreadable_kind(
        index.file.path,
        f"{found} of {index.first.height} by {index.first.width} pixels, and nothing says what they are.",
        "Save it as an OME-TIFF with its axes, or as a NIfTI volume.",
    )


def _resolution(directory: Directory) -> Size | None:
    values = {"XResolution": directory.real(282), "YResolution": directory.real(283)}
    return from_resolution({**values, "ResolutionUnit": directory.whole(296, 2)})
