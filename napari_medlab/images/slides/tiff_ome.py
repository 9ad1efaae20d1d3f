"""OME-TIFF: which directory is which channel and slice, by its description; the files that it names stay closed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.slides.markup import elements, plain
from napari_medlab.images.slides.phases import chosen_phase
from napari_medlab.images.slides.pixel_size import lengths_of_ome
from napari_medlab.images.slides.tiff_selection import Selection, is_level_of, unreadable_kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.images.decisions import Decisions
    from napari_medlab.images.slides.tiff_directories import Directory, TiffIndex

__all__ = ["select_ome"]

MAX_PLANES = 1 << 20
OTHERS = ("label", "macro", "thumbnail", "overview")


@dataclass
class _OmeImage:
    """What the description says of one image."""

    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    channels: list[dict[str, str]] = field(default_factory=list)
    data: list[dict[str, str]] = field(default_factory=list)
    is_elsewhere: bool = False

    def count(self, axis: str) -> int:
        """Return the size of an axis, samples not counted as channels."""
        size = _whole(self.attributes, f"Size{axis}", 1)
        return max(1, size // self.samples) if axis == "C" else size

    @property
    def samples(self) -> int:
        """Values a pixel within one directory."""
        return max(1, _whole(self.channels[0], "SamplesPerPixel", 1)) if self.channels else 1

    @property
    def planes(self) -> int:
        """How many directories it takes."""
        return self.count("C") * self.count("Z") * self.count("T")


def select_ome(index: TiffIndex, xml: str, decisions: Decisions) -> Selection:
    """Return the first image that is no label or macro; of a series in time, the one that was decided."""
    path = index.file.path
    images = _read(index, xml)
    first = 0
    for image in images:
        if not any(word in image.name.lower().split() for word in OTHERS):
            break
        first += min(image.planes, MAX_PLANES)
    else:
        raise unreadable_kind(path, "its description names no image but labels.", "Export the slide itself.")
    if image.is_elsewhere:
        raise unreadable_kind(
            path,
            "its description says that its planes lie in other files.",
            "Export it as a single OME-TIFF.",
        )
    directories = index.directories
    if image.samples == 1 < directories[0].samples == image.count("C"):
        image.channels = [{"SamplesPerPixel": str(directories[0].samples)}]  # some writers forget to say so
    planes = _placed(index, image, first)
    c, z, t = image.count("C"), image.count("Z"), image.count("T")
    phases, channel, time = chosen_phase(path, (c, z, t), decisions)
    chosen = (
        [planes[channel, number, time] for number in range(z)]
        if z > 1
        else [planes[number, 0, time] for number in range(c)]
    )
    size, step = lengths_of_ome(image.attributes)
    names = tuple(plain(channel.get("Name", "")) for channel in image.channels)
    return Selection(
        "OME-TIFF",
        tuple(_levels(chosen)),
        "z" if z > 1 else "c" if c > 1 else "",
        size,
        step,
        names=names if len(names) == c > 1 and all(names) and z == 1 else (),
        phase=decisions.phase if phases > 1 else None,
    )


def _read(index: TiffIndex, xml: str) -> list[_OmeImage]:
    path, images, own = index.file.path, [], ""
    for element in elements(path, xml, "OME", "Image", "Pixels", "Channel", "TiffData", "UUID"):
        attributes = element.attributes
        if element.is_end:
            continue
        if element.name == "OME":
            own = attributes.get("UUID", "")
        elif element.name == "Image":
            images.append(_OmeImage(attributes.get("Name", "")))
        elif not images:
            continue
        elif element.name == "Pixels":
            images[-1].attributes = attributes
        elif element.name == "Channel":
            images[-1].channels.append(attributes)
        elif element.name == "TiffData":
            images[-1].data.append(attributes)
        elif attributes.get("FileName", path.name) != path.name and (not own or element.text != own):
            images[-1].is_elsewhere = True
    return images


def _placed(index: TiffIndex, image: _OmeImage, first: int) -> dict[tuple[int, int, int], Directory]:
    """Return the directory of each (channel, slice, point in time).

    Raises
    ------
    ImageRefusedError
        Where one of them has none.
    """
    order = list(_in_order(image)) if image.planes <= len(index.directories) else []
    numbers = {place: number for number, place in enumerate(order)}
    placed: dict[tuple[int, int, int], int] = {}
    stated = [data for data in image.data if "IFD" in data]
    for data in stated:
        start = numbers.get(tuple(_whole(data, f"First{axis}", 0) for axis in "CZT"))  # type: ignore[arg-type]
        count = _whole(data, "PlaneCount", 1 if len(stated) > 1 else len(order))
        for step in range(min(count, len(order) - start) if start is not None else 0):
            placed[order[start + step]] = _whole(data, "IFD", 0) + step  # type: ignore[operator]
    if not stated:
        placed = {place: first + number for number, place in enumerate(order)}
    if len(placed) < max(1, image.planes) or max(placed.values()) >= len(index.directories):
        raise ImageRefusedError(
            f"{index.file.path.name}: its description announces {image.planes} planes; "
            f"{len(index.directories)} are in the file.",
            code="truncated",
            hint="Copy the file again from its source, or export it as a single OME-TIFF.",
        )
    return {place: index.directories[number] for place, number in placed.items()}


def _in_order(image: _OmeImage) -> Iterator[tuple[int, int, int]]:
    """Yield (channel, slice, point in time) in the order in which their planes are numbered."""
    axes = [axis for axis in image.attributes.get("DimensionOrder", "XYCZT")[2:] if axis in "CZT"]
    if sorted(axes) != ["C", "T", "Z"]:
        axes = ["C", "Z", "T"]
    sizes = [image.count(axis) for axis in axes]
    for number in range(image.planes):
        place, rest = {}, number
        for axis, size in zip(axes, sizes, strict=True):
            rest, place[axis] = divmod(rest, size)
        yield place["C"], place["Z"], place["T"]


def _levels(planes: list[Directory]) -> Iterator[tuple[Directory, ...]]:
    """Yield the planes, and the coarser copies that hang below each of them."""
    yield tuple(planes)
    below = [plane.subdirectories() for plane in planes]
    last = planes[0]
    for level in zip(*below, strict=False):
        if is_level_of(last, level[0]):
            yield level
            last = level[0]


def _whole(attributes: dict[str, str], name: str, default: int) -> int:
    text = attributes.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 16 else default
