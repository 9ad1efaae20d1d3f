"""CVAT XML 1.1 "for images", read only: the shapes that were drawn on the images of a task.

Source: "XML annotation format" at docs.cvat.ai.

**Counting.** Points are (x, y) from the image's **upper left corner**, half a pixel is taken off. A box reaches from
(``xtl``, ``ytl``) to (``xbr``, ``ybr``), turned clockwise by ``rotation`` degrees around its middle. A mask's run lengths
cover its own rectangle **row by row**, beginning outside.

**Meaning.** All images of the file count as looked at. Outlines are numbered by their place in the image. Ellipses become
polygons that stay within a hundredth of a pixel. ``extra`` keeps ``attributes`` by id, and ``tags``, the labels of the
whole image; ``left_out`` counts shapes without area (points, polylines) and cuboids and skeletons.

**Lost**: who drew what (``source``), occlusion, the order of drawing, groups, and all of ``meta``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.coco_rle import MAX_PIXELS
from napari_medlab.annotations.formats.curves import ellipse_ring, rotated
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning
from napari_medlab.annotations.formats.labels import checked_name, checked_text, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    box_ring,
    check_ring,
    image_regions,
    ring_without_end,
)
from napari_medlab.annotations.formats.plain_numbers import finite_numbers, whole_number
from napari_medlab.annotations.formats.xml_files import parse
from napari_medlab.geometry import corners_to_centres, mask_to_rings

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["read", "sniff"]

HINT = "Export the task from CVAT again, as 'CVAT for images 1.1'."
LARGEST_SIDE = 10_000_000
WITHOUT_AREA = ("points", "polyline", "cuboid", "skeleton")
Rings = list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file is of this format."""
    start = beginning(Path(path))
    return (
        start.lstrip()[:1] == b"<"
        and b"<annotations>" in start
        and (b"<image " in start or b"<meta>" in start)
    )


def read(path: str | Path) -> list[ImageRegions]:
    """Return what a file says about each of its images, in its order.

    Raises
    ------
    InputRefusedError
        With code ``"cvat"`` and up to ten faulty places, and for tracks of a video; otherwise as
        :func:`~napari_medlab.annotations.formats.xml_files.parse`.
    """
    path = Path(path)
    faults = Faults(path, "cvat", HINT)
    root = parse(path)
    if root.tag != "annotations":
        raise faults.refused(f"it begins with <{root.tag[:40]}>, expected <annotations>")
    if root.find("track") is not None:
        raise faults.refused("it holds tracks of a video, expected images")
    images: dict[str, ImageRegions] = {}
    for position, element in enumerate(root.findall("image"), start=1):
        try:
            name = checked_name(element.get("name"))
            if name in images:
                raise ValueError(f"there are two images called {shown(name)}")
            images[name] = _image(element, name, faults)
        except ValueError as error:
            faults.note(f"image {position}", error)
    faults.refuse()
    return list(images.values())


def _image(element: Element, name: str, faults: Faults) -> ImageRegions:
    height, width = (whole_number(element.get(side), side, 1, LARGEST_SIDE) for side in ("height", "width"))
    outlines: list[Outline] = []
    attributes: dict[str, dict[str, str]] = {}
    left_out: Counter[str] = Counter()
    tags = []
    for position, shape in enumerate(element, start=1):
        try:
            if shape.tag == "tag":
                tags.append(checked_text(shape.get("label")))
            elif shape.tag in WITHOUT_AREA:
                left_out[shape.tag] += 1
            else:
                label = checked_text(shape.get("label"))
                outlines.append(Outline(_rings(shape), label, str(position)))
                said = _attributes(shape)
                if said:
                    attributes[str(position)] = said
        except ValueError as error:
            faults.note(f"image {shown(name)} shape {position} ({shape.tag[:40]})", error)
    extra: dict[str, Any] = {"attributes": attributes, "tags": tags, "left_out": dict(left_out)}
    kept = {key: value for key, value in extra.items() if value}
    return image_regions(name, outlines, shape=(height, width), extra=kept)


def _attributes(shape: Element) -> dict[str, str]:
    return {
        checked_text(entry.get("name"), "an attribute's name"): checked_text(entry.text, "an attribute")
        for entry in shape.findall("attribute")
        if (entry.text or "").strip()
    }


def _rings(shape: Element) -> Rings:
    reader = READERS.get(shape.tag)
    if reader is None:
        raise ValueError(f"there is no shape <{shape.tag[:40]}>, expected {', '.join(READERS)}")
    return reader(shape)


def _values(shape: Element, *names: str) -> NDArray[np.float64]:
    return np.concatenate([finite_numbers([shape.get(name) or ""], name) for name in names])


def _turned(ring: NDArray[np.float64], shape: Element) -> Rings:
    return [rotated(ring, float(finite_numbers([shape.get("rotation") or "0"], "rotation", 3600)[0]))]


def _polygon(shape: Element) -> Rings:
    words = [word for pair in (shape.get("points") or "").split(";") if pair for word in pair.split(",")]
    pairs = (shape.get("points") or "").count(",")
    if len(words) != 2 * pairs:
        raise ValueError(f"points is {shown(shape.get('points'))}, expected pairs such as '1.5,2;3,4'")
    corners = finite_numbers(words, "points").reshape(-1, 2)
    return [check_ring(ring_without_end(np.ascontiguousarray(corners_to_centres(corners)[:, ::-1])))]


def _box(shape: Element) -> Rings:
    left, top, right, bottom = corners_to_centres(_values(shape, "xtl", "ytl", "xbr", "ybr")).tolist()
    return _turned(box_ring(left, top, right, bottom), shape)


def _ellipse(shape: Element) -> Rings:
    x, y, radius_x, radius_y = _values(shape, "cx", "cy", "rx", "ry").tolist()
    if radius_x <= 0 or radius_y <= 0:
        raise ValueError(f"the radii are {radius_x:g} and {radius_y:g}, expected more than 0")
    return _turned(ellipse_ring((y - 0.5, x - 0.5), (radius_y, radius_x)), shape)


def _mask(shape: Element) -> Rings:
    left, top = (whole_number(shape.get(name), name, 0, LARGEST_SIDE) for name in ("left", "top"))
    width, height = (whole_number(shape.get(name), name, 1, LARGEST_SIDE) for name in ("width", "height"))
    if width * height > MAX_PIXELS:
        raise ValueError(f"the mask has {height} × {width} pixels, {MAX_PIXELS:,} is the limit")
    lengths = finite_numbers(
        [word for word in (shape.get("rle") or "").split(",") if word.strip()], "rle", MAX_PIXELS
    )
    if (lengths < 0).any() or (lengths % 1).any() or lengths.sum() > width * height:
        raise ValueError(f"the run lengths do not fit the mask's {height} × {width} pixels")
    mask = np.zeros(height * width, dtype=np.bool_)
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths.astype(np.int64))
    mask[: len(inside)] = inside
    if not mask.any():
        raise ValueError("the mask is empty")
    return [ring + np.asarray((top, left)) for ring in mask_to_rings(mask.reshape(height, width))]


READERS: dict[str, Callable[[Element], Rings]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}
