"""LabelMe JSON, read only: the shapes that were drawn on one image.

Source: ``labelme/label_file.py`` and the examples of github.com/wkentaro/labelme.

**Counting.** Points are (x, y) from the image's **upper left corner**, half a pixel is taken off. The two points of a mask
are its first and its last pixel.

**Meaning.** Polygons, rectangles (of two or four points), circles (a centre and a point on the line, taken as a polygon
within a hundredth of a pixel) and masks (a PNG) are outlines, numbered by their place in the file. Shapes of one label and
one ``group_id`` are one outline: a ring wholly inside another is a hole of it, for otherwise it would say nothing (LabelMe's
own scripts unite such rings); others are parts. The file is about the image ``imagePath``, of which only the last part is
kept. ``extra["left_out"]`` counts points and lines, which have no area.

**Lost**: the image inside the file (``imageData``, which is not looked at), flags and descriptions.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.coco_rle import MAX_PIXELS
from napari_medlab.annotations.formats.curves import ellipse_ring
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning
from napari_medlab.annotations.formats.json_files import as_list, as_object, integer, points, read_json
from napari_medlab.annotations.formats.labels import checked_name, checked_text, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    box_ring,
    check_ring,
    image_regions,
    ring_without_end,
)
from napari_medlab.annotations.formats.ring_parts import nested_parts, united
from napari_medlab.geometry import corners_to_centres, mask_to_rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["read", "sniff"]

HINT = "Save the file in LabelMe again."
KEYS = (re.compile(rb'"shapes"\s*:\s*\['), re.compile(rb'"(imagePath|version|flags)"\s*:'))
WITHOUT_AREA = ("point", "points", "line", "linestrip")
PNG = b"\x89PNG\r\n\x1a\n"
LARGEST_SIDE = 10_000_000
Rings = list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file is of this format."""
    start = beginning(Path(path))
    return start.lstrip()[:1] == b"{" and all(key.search(start) for key in KEYS)


def read(path: str | Path) -> list[ImageRegions]:
    """Return the outlines of a file, as one image.

    Raises
    ------
    InputRefusedError
        With code ``"labelme"`` and up to ten faulty places; otherwise as
        :func:`~napari_medlab.annotations.formats.json_files.read_json`.
    """
    path = Path(path)
    faults = Faults(path, "labelme", HINT)
    whole = read_json(path)
    try:
        name, shape, shapes = _head(whole)
    except ValueError as error:
        raise faults.refused(error) from error
    groups: dict[object, list[tuple[str, str, Rings]]] = {}
    left_out: Counter[str] = Counter()
    for position, entry in enumerate(shapes):
        try:
            given = as_object(entry, "the shape")
            kind = given.get("shape_type") or "polygon"
            if kind in WITHOUT_AREA:
                left_out[kind] += 1
                continue
            label = checked_text(given.get("label"))
            group = given.get("group_id")
            key = position if group is None else (label, str(integer(group, "group_id")))
            groups.setdefault(key, []).append((str(position + 1), label, _rings(given, kind)))
        except ValueError as error:
            faults.note(f"shapes[{position}]", error)
    faults.refuse()
    outlines = [
        Outline(_joined([rings for *_, rings in rows]), rows[0][1], rows[0][0]) for rows in groups.values()
    ]
    extra = {"left_out": dict(left_out)} if left_out else {}
    return [image_regions(name, outlines, shape=shape, extra=extra)]


def _head(whole: object) -> tuple[str, tuple[int, int] | None, list[Any]]:
    """Return the image's name and size, and the shapes."""
    value = as_object(whole, "the file")
    sides = [value.get(name) for name in ("imageHeight", "imageWidth")]
    shape = None
    if None not in sides:
        height, width = (integer(side, "the image's size", 1, LARGEST_SIDE) for side in sides)
        shape = (height, width)
    name = PurePosixPath(checked_name(value.get("imagePath"), "imagePath")).name
    return name, shape, as_list(value.get("shapes"), "shapes")


def _rings(shape: dict[str, Any], kind: object) -> Rings:
    corners = points(shape.get("points"), "points")
    if kind == "mask":
        return _mask(corners, shape.get("mask"))
    centres = np.ascontiguousarray(corners_to_centres(corners)[:, ::-1])
    if kind == "circle":
        if len(centres) != 2 or (centres[0] == centres[1]).all():
            raise ValueError(f"the circle has {len(centres)} points, expected two that differ")
        radius = float(np.hypot(*(centres[1] - centres[0])))
        return [ellipse_ring((float(centres[0, 0]), float(centres[0, 1])), (radius, radius))]
    if kind == "rectangle" and len(centres) == 2:
        (top, left), (bottom, right) = centres.min(axis=0), centres.max(axis=0)
        return [box_ring(left, top, right, bottom)]
    if kind in ("rectangle", "polygon"):
        return [check_ring(ring_without_end(centres))]
    raise ValueError(f"shape_type is {shown(kind)}, expected polygon, rectangle, circle or mask")


def _mask(corners: NDArray[np.float64], text: object) -> Rings:
    """Return the outlines of a mask: a PNG between its first pixel and its last."""
    if len(corners) != 2:
        raise ValueError(f"the mask has {len(corners)} points, expected its first pixel and its last")
    left, top = np.round(corners.min(axis=0)).astype(int).tolist()
    right, bottom = np.round(corners.max(axis=0)).astype(int).tolist()
    mask = _png(text, (bottom - top + 1, right - left + 1))
    if not mask.any():
        raise ValueError("the mask is empty")
    return [ring + np.asarray((top, left)) for ring in mask_to_rings(mask)]


def _png(text: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels of a PNG that are not 0; its size is looked at before it is unpacked."""
    from imagecodecs import png_decode

    try:
        payload = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the mask is no base64: {error}") from error
    if not payload.startswith(PNG) or len(payload) < 24:
        raise ValueError("the mask is no PNG")
    width, height = struct.unpack(">II", payload[16:24])
    if (height, width) != shape or height * width > MAX_PIXELS:
        raise ValueError(
            f"the mask has {height} × {width} pixels, and its points say {shape[0]} × {shape[1]}"
        )
    try:
        pixels = np.asarray(png_decode(payload))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the mask cannot be unpacked: {error}") from error
    inside: NDArray[np.bool_] = pixels.reshape(height, width, -1)[..., 0] != 0
    return inside


def _joined(members: list[Rings]) -> Rings:
    """Return the shapes of a group as one outline: rings inside others are holes, what overlaps is united."""
    if len(members) == 1:
        return members[0]
    rings = [ring for each in members for ring in each]
    parts = nested_parts(rings)
    if sum(map(len, parts)) == len(rings) and _are_the_same(parts, rings):
        return [ring for part in parts for ring in part]
    return united(members)


def _are_the_same(parts: list[Rings], rings: Rings) -> bool:
    """Tell whether parts are made of the very rings that were given, so that none was mended."""
    given = {id(ring) for ring in rings}
    return all(id(ring) in given for part in parts for ring in part)
