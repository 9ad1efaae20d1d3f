"""Leica's SCN: several images in one file, told apart by where on the glass they lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medlab.images.image import ImageWarning
from napari_medlab.images.slides.markup import elements
from napari_medlab.images.slides.tiff_selection import Selection, is_level_of, unreadable_kind

if TYPE_CHECKING:
    from napari_medlab.images.slides.tiff_directories import Directory, TiffIndex

__all__ = ["select_scn"]

WHOLE_GLASS = 0.95
"""The macro image is the one that shows all of it."""


@dataclass
class _Area:
    """One image: its size on the glass in nm, in pixels, and the directories by level, slice and channel."""

    view: tuple[int, int] = (0, 0)
    pixels: tuple[int, int] = (0, 0)
    directories: dict[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def size(self) -> tuple[float, float] | None:
        """(y, x) µm."""
        if min(self.view) < 1 or min(self.pixels) < 1:
            return None
        return self.view[0] / self.pixels[0] / 1000, self.view[1] / self.pixels[1] / 1000


def select_scn(index: TiffIndex, xml: str) -> Selection:
    """Return the largest scanned area."""
    glass, areas = _read(index, xml)
    scanned = [area for area in areas if area.directories and not _is_macro(area, glass)]
    if not scanned:
        raise unreadable_kind(
            index.file.path, "it holds no scanned area, only an overview.", "Export it again."
        )
    area = max(scanned, key=lambda one: one.pixels[0] * one.pixels[1])
    channels = sorted({c for level, slice_, c in area.directories if level == 0 and slice_ == 0})
    levels: list[tuple[Directory, ...]] = []
    for number in sorted({level for level, _, _ in area.directories}):
        found = [area.directories.get((number, 0, c)) for c in channels]
        directories = tuple(
            index.directories[d] for d in found if d is not None and 0 <= d < len(index.directories)
        )
        if len(directories) == len(channels) and (not levels or is_level_of(levels[-1][0], directories[0])):
            levels.append(directories)
    if not levels:
        raise unreadable_kind(
            index.file.path, "its description names images that are not there.", "Copy it again."
        )
    warnings = []
    if len(scanned) > 1:
        message = f"The slide has {len(scanned)} scanned areas; the largest is shown."
        warnings.append(ImageWarning("several-areas", message))
    if any(slice_ for _, slice_, _ in area.directories):
        warnings.append(
            ImageWarning("focal-planes", "The slide has several focal planes; the first is shown.")
        )
    return Selection(
        "SCN", tuple(levels), "c" if len(channels) > 1 else "", area.size, warnings=tuple(warnings)
    )


def _read(index: TiffIndex, xml: str) -> tuple[tuple[int, int], list[_Area]]:
    """Return the size of the glass in nm, and the images on it."""
    glass, areas = (0, 0), []
    for element in elements(index.file.path, xml, "collection", "image", "view", "pixels", "dimension"):
        sizes = _whole(element.attributes, "sizeY"), _whole(element.attributes, "sizeX")
        if element.is_end:
            continue
        if element.name == "collection":
            glass = sizes
        elif element.name == "image":
            areas.append(_Area())
        elif areas and element.name == "view":
            areas[-1].view = sizes
        elif areas and element.name == "pixels":
            areas[-1].pixels = sizes
        elif areas:
            place = tuple(_whole(element.attributes, name) for name in ("r", "z", "c"))
            areas[-1].directories[place[0], place[1], place[2]] = _whole(element.attributes, "ifd", -1)
    return glass, areas


def _is_macro(area: _Area, glass: tuple[int, int]) -> bool:
    return min(glass) < 1 or all(
        seen >= WHOLE_GLASS * whole for seen, whole in zip(area.view, glass, strict=True)
    )


def _whole(attributes: dict[str, str], name: str, default: int = 0) -> int:
    text = attributes.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 16 else default
