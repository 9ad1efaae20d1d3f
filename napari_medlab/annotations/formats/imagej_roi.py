"""ImageJ regions of interest, read only: a ``.roi`` file, or a ``RoiSet.zip`` of them.

Source: ``ij/io/RoiDecoder.java`` of ImageJ, by way of the package roifile.

**Counting.** ImageJ counts from the image's **upper left corner**: polygons, traced and freehand outlines run along
corners of pixels where their numbers are whole, and half a pixel is taken off. Points with sub-pixel resolution are float32
and taken as they are. A rectangle or oval reaches from its corner over its width and height.

**Meaning.** The files do not name their image: it is named after the file unless told otherwise. A composite's rings hold
by the even-odd rule, so that holes stay holes. Ovals become polygons that stay within a hundredth of a pixel. An outline's
id is its name where no other has it, or its number; the label is ``"group 3"`` for group 3 and ``"unclassified"`` without a
group. ``extra`` keeps ``names`` by id; ``left_out`` counts points, lines, angles, text and images, which have no area.

**Lost**: colours, strokes, arcs of rounded rectangles, properties, overlays. Outlines on several slices of a stack are
refused: there is one image.
"""

from __future__ import annotations

import logging
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.curves import ellipse_ring
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, read_bytes
from napari_medlab.annotations.formats.geojson import UNCLASSIFIED
from napari_medlab.annotations.formats.json_files import FARTHEST
from napari_medlab.annotations.formats.labels import leads_outside, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    box_ring,
    check_ring,
    image_regions,
    ring_without_end,
)
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import corners_to_centres

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from roifile import ImagejRoi

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["read", "sniff"]

HINT = "Save the regions in ImageJ again (ROI Manager, More, Save)."
MOST_MEMBERS = 200_000
MOST_MEMBER_BYTES = 1 << 24
MOST_UNPACKED_BYTES = 1 << 30
UNREADABLE = (
    AttributeError, IndexError, NotImplementedError, OverflowError, RuntimeError, TypeError, ValueError, struct.error,
)  # fmt: skip
"""What roifile raises on bytes that are none of its own."""
DAMAGED = (
    EOFError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What zipfile raises on an archive that is damaged."""


def sniff(path: str | Path) -> bool:
    """Tell whether a file is a region, or an archive that begins with one."""
    path = Path(path)
    start = beginning(path, 64)
    if start[:4] == b"Iout":
        return True
    if start[:2] != b"PK":
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.lower().endswith(".roi") for name in archive.namelist()[:64])
    except DAMAGED:
        return False


def read(path: str | Path, image: str | None = None) -> list[ImageRegions]:
    """Return the outlines of a file, as one image.

    Parameters
    ----------
    path : path
    image : str, optional
        What the image is called; the file's name without its ending where it is left out.

    Raises
    ------
    InputRefusedError
        With code ``"imagej"`` and up to ten faulty places, for an archive that is too large unpacked, or whose names lead
        outside; with ``"file"`` where it cannot be read.
    """
    path = Path(path)
    faults = Faults(path, "imagej", HINT)
    outlines: list[Outline] = []
    names: list[str] = []
    left_out: Counter[str] = Counter()
    slices: set[int] = set()
    for place, payload in _members(path, faults):
        try:
            roi = _decoded(payload)
            rings = _rings(roi)
        except ValueError as error:
            faults.note(place, error)
            continue
        if not rings:
            left_out[roi.roitype.name.lower()] += 1
            continue
        slices.add(roi.z_position or roi.position)
        label = f"group {roi.group}" if roi.group else UNCLASSIFIED
        outlines.append(Outline(rings, label, str(len(outlines) + 1)))
        names.append(roi.name if _is_name(roi.name) else PurePosixPath(place).stem)
    faults.refuse()
    if len(slices - {0}) > 1:
        raise faults.refused(f"the outlines lie on {len(slices - {0})} slices of a stack, expected one image")
    counts = Counter(names)
    rows = [
        row._replace(region_id=name) if _is_id(name, counts) else row
        for row, name in zip(outlines, names, strict=True)
    ]
    said = {row.region_id: name for row, name in zip(rows, names, strict=True) if _is_name(name)}
    extra: dict[str, Any] = {"names": said, "left_out": dict(left_out)}
    kept = {key: value for key, value in extra.items() if value}
    return [image_regions(path.stem if image is None else image, rows, extra=kept)]


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name) <= 256 and name.isprintable()


def _is_id(name: str, counts: Counter[str]) -> bool:
    """Tell whether a name can be an id: no other outline has it, and it is none of the numbers that others get."""
    return counts[name] == 1 and _is_name(name) and not name.isdecimal()


def _members(path: Path, faults: Faults) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the bytes of the regions in a file; nothing is written anywhere."""
    if not zipfile.is_zipfile(path):
        yield path.name, read_bytes(path, MOST_MEMBER_BYTES)
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
            _check_archive(entries, faults)
            for entry in entries:
                if entry.filename.lower().endswith(".roi"):
                    with archive.open(entry) as file:
                        yield entry.filename, file.read(MOST_MEMBER_BYTES)
    except InputRefusedError:
        raise
    except DAMAGED as error:
        raise faults.refused(f"it is no archive that can be unpacked: {error}") from error


def _check_archive(entries: list[zipfile.ZipInfo], faults: Faults) -> None:
    """Refuse an archive by its table of contents, before anything is unpacked; what it says is a bound that holds."""
    if len(entries) > MOST_MEMBERS or sum(entry.file_size for entry in entries) > MOST_UNPACKED_BYTES:
        raise faults.refused("it is too large unpacked: 1 GiB and 200,000 files are the limit")
    for entry in entries:
        if leads_outside(entry.filename):
            raise faults.refused(f"it holds the name {shown(entry.filename)}, which leads outside")
        if entry.file_size > MOST_MEMBER_BYTES:
            raise faults.refused(f"{shown(entry.filename)} has {entry.file_size:,} bytes, expected a region")


def _decoded(payload: bytes) -> ImagejRoi:
    from roifile import ImagejRoi

    logger = logging.getLogger("roifile")
    was_disabled, logger.disabled = (
        logger.disabled,
        True,
    )  # what it warns of is refused here, or makes no difference
    try:
        return ImagejRoi.frombytes(payload)
    except UNREADABLE as error:
        raise ValueError(f"it is no region of ImageJ: {error}") from error
    finally:
        logger.disabled = was_disabled


def _rings(roi: ImagejRoi) -> list[NDArray[np.float64]]:
    """Return the rings of a region; none where it has no area."""
    from roifile import ROI_SUBTYPE, ROI_TYPE

    if roi.subtype in (ROI_SUBTYPE.TEXT, ROI_SUBTYPE.ARROW, ROI_SUBTYPE.IMAGE):
        return []
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.OVAL) and not roi.composite:
        left, top, width, height = _finite([_rectangle(roi)])[0]
        if width <= 0 or height <= 0:
            raise ValueError(f"it is {width:g} wide and {height:g} high, expected more than 0")
        if roi.roitype == ROI_TYPE.RECT:
            return [box_ring(*corners_to_centres([left, top, left + width, top + height]).tolist())]
        centre = corners_to_centres([top + height / 2, left + width / 2])
        return [ellipse_ring((float(centre[0]), float(centre[1])), (height / 2, width / 2))]
    if roi.roitype not in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED, ROI_TYPE.RECT):
        return []
    try:
        given = roi.coordinates(multi=True)
    except UNREADABLE as error:
        raise ValueError(f"its path cannot be followed: {error}") from error
    rings = [ring_without_end(corners_to_centres(_finite(each)[:, ::-1])) for each in given]
    if not roi.composite:
        check_ring(rings[0])
    kept = [np.ascontiguousarray(ring) for ring in rings if len(ring) >= 3]
    if not kept:
        raise ValueError("its path has no area")
    return kept


def _rectangle(roi: ImagejRoi) -> list[float]:
    if roi.subpixelrect:
        return [roi.xd, roi.yd, roi.widthd, roi.heightd]
    return [roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top]


def _finite(values: object) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if not (np.abs(array) <= FARTHEST).all():
        raise ValueError(f"it holds {array[~(np.abs(array) <= FARTHEST)][0]:g}, which is no coordinate")
    return array
