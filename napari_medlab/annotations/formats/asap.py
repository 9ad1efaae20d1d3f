"""ASAP XML, read only: the annotations of one slide, as CAMELYON's reference comes.

Source: the "Automated Slide Analysis Platform" (computationalpathologygroup/ASAP, ``XmlRepository``), and the data page of
the CAMELYON challenges.

**Counting.** Coordinates are (x, y) in pixels of level 0 from the slide's **upper left corner**; half a pixel is taken
off, so that :func:`~napari_medlab.geometry.rings_to_mask` fills the pixels whose centres lie inside, as OpenSlide's level 0
counts them.

**Meaning.** The file does not name its image: it is named after the file unless told otherwise. The label is the group
(``PartOfGroup``), or ``"unclassified"`` for the group ``None``. Outlines are numbered by their place in the file; a spline
is taken as the polygon of its points, as ASAP's own conversion to masks does. Groups that mean a hole (CAMELYON's
``Exclusion``, ``_2`` or ``normal``) are outlines of their own: what they mean is the dataset's to say. ``extra`` keeps
``names`` by id, ``colours`` by label, and in ``left_out`` how many dots, point sets and measurements there were, which have
no area.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning
from napari_medlab.annotations.formats.geojson import UNCLASSIFIED
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    check_ring,
    image_regions,
    ring_without_end,
)
from napari_medlab.annotations.formats.plain_numbers import finite_numbers, whole_number
from napari_medlab.annotations.formats.xml_files import parse
from napari_medlab.geometry import corners_to_centres

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["read", "sniff"]

HINT = "Save the annotations in ASAP again."
COLOUR = re.compile(r"#[0-9a-fA-F]{6}", re.ASCII)
WITH_AREA = ("Polygon", "Spline", "Rectangle")
WITHOUT_AREA = ("Dot", "PointSet", "Measurement", "None")


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file is of this format."""
    return b"<ASAP_Annotations" in beginning(Path(path), 4096)


def read(path: str | Path, image: str | None = None) -> list[ImageRegions]:
    """Return the outlines of a file, as one image.

    Parameters
    ----------
    path : path
    image : str, optional
        What the slide is called; the file's name without its ending where it is left out.

    Raises
    ------
    InputRefusedError
        With code ``"asap"`` and up to ten faulty places; otherwise as
        :func:`~napari_medlab.annotations.formats.xml_files.parse`.
    """
    path = Path(path)
    faults = Faults(path, "asap", HINT)
    root = parse(path)
    if root.tag != "ASAP_Annotations":
        raise faults.refused(f"it begins with <{root.tag[:40]}>, expected <ASAP_Annotations>")
    outlines: list[Outline] = []
    names: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    for position, element in enumerate(root.iterfind("Annotations/Annotation"), start=1):
        try:
            kind = element.get("Type")
            if kind in WITHOUT_AREA:
                left_out[kind] += 1
                continue
            if kind not in WITH_AREA:
                raise ValueError(f"Type is {shown(kind)}, expected {', '.join(WITH_AREA)}")
            outlines.append(Outline([_ring(element)], _label(element.get("PartOfGroup")), str(position)))
            if (element.get("Name") or "").strip():
                names[str(position)] = checked_text(element.get("Name"), "Name")
        except ValueError as error:
            faults.note(f"annotation {position}", error)
    faults.refuse()
    extra: dict[str, Any] = {"names": names, "colours": _colours(root), "left_out": dict(left_out)}
    kept = {key: value for key, value in extra.items() if value}
    return [image_regions(path.stem if image is None else image, outlines, extra=kept)]


def _label(group: str | None) -> str:
    return UNCLASSIFIED if (group or "None") == "None" else checked_text(group, "PartOfGroup")


def _ring(element: Element) -> NDArray[np.float64]:
    entries = element.findall("Coordinates/Coordinate")
    order = [
        whole_number(entry.get("Order", str(position)), "Order") for position, entry in enumerate(entries)
    ]
    x, y = (finite_numbers([entry.get(name) or "" for entry in entries], name) for name in ("X", "Y"))
    ring = corners_to_centres(np.column_stack([y, x])[np.argsort(order, kind="stable")])
    return check_ring(ring_without_end(ring))


def _colours(root: Element) -> dict[str, list[int]]:
    """Return red, green and blue by label: of the groups, and of annotations without one."""
    coloured = [(group.get("Name"), group.get("Color")) for group in root.iterfind("AnnotationGroups/Group")]
    colours = {}
    for name, colour in coloured:
        if name and name.isprintable() and COLOUR.fullmatch(colour or ""):
            colours[name] = list(bytes.fromhex(str(colour)[1:]))
    return colours
