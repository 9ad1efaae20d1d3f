"""Which directories of a TIFF are one image, finest level first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medlab.images.image import ImageWarning
    from napari_medlab.images.slides.pixel_size import Size
    from napari_medlab.images.slides.tiff_directories import Directory
    from napari_medlab.images.slides.tiff_tiles import Stacked

__all__ = ["Selection", "is_level_of", "levels_below", "unreadable_kind"]


@dataclass(frozen=True)
class Selection:
    """The image of a file: whatever is not in it stays closed.

    Parameters
    ----------
    format : str
    levels : tuple of tuple of Directory
        Each level's directories: one, or one for each channel or slice.
    stacked : {"", "c", "z"}
        What these directories of a level are.
    size : (y, x) µm or None
    step : float or None
        From slice to slice, µm.
    names : tuple of str
        Of the channels.
    warnings : tuple of ImageWarning
    is_slide : bool
    phase : int or None
        Which of several images was chosen by decision.
    """

    format: str
    levels: tuple[tuple[Directory, ...], ...]
    stacked: Stacked = ""
    size: Size | None = None
    step: float | None = None
    names: tuple[str, ...] = ()
    warnings: tuple[ImageWarning, ...] = ()
    is_slide: bool = True
    phase: int | None = None


def is_level_of(base: Directory, other: Directory) -> bool:
    """Tell whether a directory can be a coarser copy of another: smaller, and of the same proportions and values."""
    if not (0 < other.height < base.height and 0 < other.width < base.width):
        return False
    same = all(
        base.whole(tag, default) == other.whole(tag, default)
        for tag, default in ((258, 1), (277, 1), (339, 1))
    )
    factor = (base.height / other.height + base.width / other.width) / 2
    # writers round sizes up or down
    off = max(abs(base.height / factor - other.height), abs(base.width / factor - other.width))
    return same and off <= 1.5 + 0.005 * min(other.height, other.width)


def levels_below(base: Directory, candidates: Iterable[Directory]) -> tuple[Directory, ...]:
    """Return the candidates that are coarser copies of ``base``, finest first, each size once."""
    found: dict[int, Directory] = {}
    for directory in candidates:
        if is_level_of(base, directory):
            found.setdefault(directory.width, directory)
    ordered = sorted(found.values(), key=lambda directory: -directory.width)
    levels = [base]
    for directory in ordered:
        if directory.height < levels[-1].height:
            levels.append(directory)
    return tuple(levels[1:])


def unreadable_kind(path: Path, what: str, hint: str) -> ImageRefusedError:
    """Return the refusal of a file whose image cannot be told from what else is in it."""
    return ImageRefusedError(f"{path.name}: {what}", code="unsupported", hint=hint)
