"""What vendors put into their TIFFs: which directory is the slide, its pixel size, its channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.images.slides.pixel_size import Size, from_aperio, from_ome, from_resolution

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["baseline", "channel_names", "format_name", "pixel_size"]


def format_name(tiff: Any) -> str:  # noqa: ANN401 - tifffile has no types
    """Return what kind of TIFF it is."""
    return "SVS" if tiff.is_svs else "OME-TIFF" if tiff.is_ome else "TIFF"


def baseline(path: Path, tiff: Any) -> int:  # noqa: ANN401 - tifffile has no types
    """Return the number of the series that holds the slide."""
    return 0


def pixel_size(tiff: Any, page: Any, *, is_slide: bool) -> Size | None:  # noqa: ANN401 - tifffile has no types
    """Return (y, x) µm, or None where the file does not say."""
    if tiff.is_ome:
        return from_ome(page.description)
    if tiff.is_svs:
        return from_aperio(page.description)
    if not is_slide:  # the resolution of a picture is that of a printer
        return None
    names = ("XResolution", "YResolution", "ResolutionUnit")
    return from_resolution({name: page.tags[name].value for name in names if name in page.tags})


def channel_names(tiff: Any) -> tuple[str, ...]:  # noqa: ANN401 - tifffile has no types
    """Return the names of an OME-TIFF's channels."""
    return ()
