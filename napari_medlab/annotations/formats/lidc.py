"""Readings of LIDC-IDRI: XML files with the nodules that up to four radiologists outlined on a CT series (read only).

The format is that of *LIDC XML file documentation* (The Cancer Imaging Archive, 2006) and Armato and others (Med. Phys. 38,
2011). An outline runs through the first pixels **outside** of the nodule: what it encloses without those pixels is the
nodule, and likewise for a hole (``inclusion`` FALSE), whose own outline belongs to the nodule. Nodules below 3 mm and
non-nodules are points. X and Y count pixels from 0 at the upper left; slices are told by ``imageZposition``, the z of
ImagePositionPatient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats import xml_files
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.annotations.formats.voxel_outlines import (
    Patch,
    image_regions,
    patch_of_voxels,
    region_of_patch,
)
from napari_medlab.annotations.objects import Finding
from napari_medlab.annotations.tables import FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar
    from xml.etree.ElementTree import Element

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.geometry import Grid

    Told = TypeVar("Told")

__all__ = [
    "NODULE",
    "NON_NODULE",
    "SMALL_NODULE",
    "Contour",
    "Mark",
    "Nodule",
    "Readings",
    "Session",
    "read",
    "read_points",
    "read_sessions",
    "series_of",
    "sniff",
]  # fmt: skip

NODULE, SMALL_NODULE, NON_NODULE = "nodule", "nodule < 3 mm", "non-nodule"
CT_MESSAGE, XRAY_MESSAGE = "LidcReadMessage", "IdriReadMessage"
CHARACTERISTICS = (
    "subtlety", "internalStructure", "calcification", "sphericity", "margin", "lobulation", "spiculation", "texture",
    "malignancy",
)  # fmt: skip
FARTHEST_PIXEL = 1 << 15
FARTHEST_MM = 1e5
OFF_SLICE = 0.1
"""How far, in slices, a stated height may lie beside the slice that it is nearest to."""
HINT = "Get the file again from The Cancer Imaging Archive."


@dataclass(frozen=True, eq=False)
class Contour:
    """One closed outline: (n, 2) whole (y, x) through the pixels just outside of what it encloses, at ``z_mm``."""

    z_mm: float
    is_hole: bool
    pixels: NDArray[np.int64]


@dataclass(frozen=True)
class Nodule:
    """A nodule of at least 3 mm as one reader drew it, with the ratings from 1 to 6 that were given."""

    name: str
    characteristics: dict[str, int]
    contours: tuple[Contour, ...]


@dataclass(frozen=True)
class Mark:
    """A point, (x, y) in pixels and ``z_mm``: a nodule below 3 mm or a non-nodule."""

    name: str
    label: str
    x: int
    y: int
    z_mm: float


@dataclass(frozen=True)
class Session:
    """What one reader said; ``reader`` is as the file has it, mostly ``"anonymous"``."""

    reader: str
    nodules: tuple[Nodule, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Readings:
    """The readings of one CT series."""

    series_uid: str
    sessions: tuple[Session, ...]


def sniff(path: str | Path) -> bool:
    """Tell by the beginning of a file whether it is a reading of LIDC-IDRI, of CT or of chest X-rays; never raises."""
    return xml_files.begins_with(path, CT_MESSAGE.encode(), XRAY_MESSAGE.encode())


def series_of(path: str | Path) -> tuple[str, ...]:
    """Return the UID of the series that a file is about; raise as :func:`read_sessions`."""
    return (read_sessions(path).series_uid,)


def read(path: str | Path, grid: Grid) -> list[ImageRegions]:
    """Return the outlined nodules of a file, one :class:`ImageRegions` for each reader.

    Parameters
    ----------
    path : str or Path
    grid : Grid
        Of the CT series, its rows and columns as in the DICOM files.

    Returns
    -------
    list of ImageRegions
        In the order of the sessions. ``image`` is the series' UID. Regions cover the voxels of the nodules. ``extra`` holds
        ``session`` (from 1), ``reader``, and for each region id in ``nodules`` its ``name`` and ``characteristics``. A
        nodule whose outlines enclose no pixel has no region; ``not_drawn`` names it.

    Raises
    ------
    InputRefusedError
        As :func:`read_sessions`; with code ``"geometry"`` where a height is none of the image's slices, or an outline lies
        outside of it.
    """
    path = Path(path)
    readings = read_sessions(path)
    found = []
    for number, session in enumerate(readings.sessions, start=1):
        regions, nodules, not_drawn = [], {}, []
        for nodule in session.nodules:
            patch = _patch(path, nodule, grid)
            if patch is None:
                not_drawn.append(nodule.name)
                continue
            regions.append(region_of_patch(readings.series_uid, patch, NODULE))
            nodules[regions[-1].region_id] = {"name": nodule.name, "characteristics": nodule.characteristics}
        extra = {"session": number, "reader": session.reader, "nodules": nodules, "not_drawn": not_drawn}
        found.append(image_regions(readings.series_uid, regions, grid.shape, extra=extra))
    return found


def read_points(path: str | Path, grid: Grid) -> FindingTable:
    """Return the points of all readers: nodules below 3 mm, and non-nodules.

    They are excluded, as LUNA16 has them: neither found nor missed. Ids are the file's name, session and name. Parameters
    and errors are those of :func:`read`.
    """
    path = Path(path)
    readings = read_sessions(path)
    findings = []
    for number, session in enumerate(readings.sessions, start=1):
        for mark in session.marks:
            z = _slice(path, mark.name, mark.z_mm, grid)
            centre = tuple(grid.to_world((z, mark.y, mark.x)).tolist())
            finding_id = f"{path.stem}:{number}:{mark.name}"
            findings.append(Finding(readings.series_uid, centre, -1.0, mark.label, True, finding_id))
    return FindingTable.from_objects(findings, ndim=3)


def read_sessions(path: str | Path) -> Readings:
    """Return what a file says, without an image.

    Raises
    ------
    InputRefusedError
        With code ``"lidc-chest-xray"`` for a reading of a chest X-ray; with ``"lidc"`` for anything else that is no reading
        of a CT, naming up to ten faults; as :func:`napari_medlab.annotations.formats.xml_files.parse`.
    """
    path = Path(path)
    root = xml_files.parse(path)
    name = xml_files.local_name(root)
    if name == XRAY_MESSAGE:
        raise InputRefusedError(
            f"{path.name} is a reading of a chest X-ray (its root is {XRAY_MESSAGE}), and not of a CT.",
            code="lidc-chest-xray",
            hint="Each patient of LIDC-IDRI may have both: take the file of the CT series.",
        )
    faults = Faults(path, "lidc", HINT)
    if name != CT_MESSAGE:
        raise faults.refused(f"its root is {shown(name)}, expected {CT_MESSAGE}")
    series = (
        _told(faults, "ResponseHeader", partial(_text, root, "ResponseHeader", "SeriesInstanceUid")) or ""
    )
    sessions = tuple(
        _session(faults, number, element)
        for number, element in enumerate(_named(root, "readingSession"), start=1)
    )
    if not sessions:
        faults.note("", "there is no reading session in it")
    faults.refuse()
    return Readings(series, sessions)


def _session(faults: Faults, number: int, element: Element) -> Session:
    nodules: list[Nodule] = []
    marks: list[Mark] = []
    for at, drawn in enumerate(_named(element, "unblindedReadNodule"), start=1):
        nodule = _told(faults, f"readingSession {number}, nodule {at}", partial(_nodule, drawn))
        if isinstance(nodule, Mark):
            marks.append(nodule)
        elif nodule is not None:
            nodules.append(nodule)
    for at, marked in enumerate(_named(element, "nonNodule"), start=1):
        mark = _told(faults, f"readingSession {number}, nonNodule {at}", partial(_non_nodule, marked))
        if mark is not None:
            marks.append(mark)
    reader = next(_named(element, "servicingRadiologistID"), None)
    name = (reader.text or "").strip() if reader is not None else ""
    return Session(
        name if name.isprintable() and 0 < len(name) <= 256 else f"reader {number}",
        tuple(nodules),
        tuple(marks),
    )


def _nodule(element: Element) -> Nodule | Mark:
    """Return a nodule, or a mark where all there is of it is one pixel."""
    name = _text(element, "noduleID")
    contours = tuple(_contour(roi) for roi in _named(element, "roi"))
    if not contours:
        raise ValueError("there is no outline of it")
    if sum(len(contour.pixels) for contour in contours) == 1:
        y, x = contours[0].pixels[0].tolist()
        return Mark(name, SMALL_NODULE, x, y, contours[0].z_mm)
    ratings = {}
    for told in (rating for group in _named(element, "characteristics") for rating in group):
        key, value = xml_files.local_name(told), (told.text or "").strip()
        if key in CHARACTERISTICS and value in set("123456"):
            ratings[key] = int(value)
    return Nodule(name, ratings, contours)


def _contour(roi: Element) -> Contour:
    inclusion = _text(roi, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise ValueError(f"inclusion is {shown(inclusion)}, expected TRUE or FALSE")
    pixels = [(_pixel(edge, "yCoord"), _pixel(edge, "xCoord")) for edge in _named(roi, "edgeMap")]
    if not pixels:
        raise ValueError("an outline has no edgeMap")
    return Contour(_height(roi), inclusion == "FALSE", np.asarray(pixels, dtype=np.int64))


def _non_nodule(element: Element) -> Mark:
    locus = next(_named(element, "locus"), element)
    return Mark(
        _text(element, "nonNoduleID"),
        NON_NODULE,
        _pixel(locus, "xCoord"),
        _pixel(locus, "yCoord"),
        _height(element),
    )


def _patch(path: Path, nodule: Nodule, grid: Grid) -> Patch | None:
    """Return the voxels of a nodule: what its outlines enclose, without what the outlines of its holes enclose."""
    slices: dict[int, list[Contour]] = {}
    for contour in nodule.contours:
        z = _slice(path, nodule.name, contour.z_mm, grid)
        if (contour.pixels > np.asarray(grid.shape[1:])).any():
            raise _misplaced(path, f"an outline of {nodule.name} lies outside of the image")
        slices.setdefault(z, []).append(contour)
    voxels = []
    for z, contours in slices.items():
        low = np.min([contour.pixels.min(axis=0) for contour in contours], axis=0)
        high = np.max([contour.pixels.max(axis=0) for contour in contours], axis=0)
        mask = np.zeros(tuple((high - low + 1).tolist()), dtype=np.bool_)
        for contour in sorted(contours, key=lambda contour: contour.is_hole):
            mask[_enclosed(contour.pixels - low, mask.shape)] = not contour.is_hole
        inside = np.argwhere(mask) + low
        inside = inside[(inside < grid.shape[1:]).all(axis=1)]
        voxels.append(np.insert(inside, 0, z, axis=1))
    total = np.concatenate(voxels)
    return patch_of_voxels(total) if len(total) else None


def _enclosed(outline: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels that an outline encloses, those that it runs through left out."""
    mask = rings_to_mask([outline], (shape[0], shape[1]))
    steps = np.roll(outline, -1, axis=0) - outline
    counts = np.maximum(np.gcd(steps[:, 0], steps[:, 1]), 1)
    edge = np.repeat(np.arange(len(outline)), counts)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    passed = outline[edge] + within[:, None] * (steps[edge] // counts[edge, None])
    mask[tuple(passed.T)] = False
    return mask


def _slice(path: Path, name: str, z_mm: float, grid: Grid) -> int:
    """Return the slice whose first pixel lies at a height."""
    step = float(grid.affine[2, 0]) if grid.ndim == 3 else 0.0
    if abs(step) < 0.5 * grid.spacing[0]:
        raise _misplaced(path, "its heights are along the body, and the slices of the image are not axial")
    index = (z_mm - float(grid.affine[2, 3])) / step
    nearest = round(index)
    if not 0 <= nearest < grid.shape[0] or abs(index - nearest) > OFF_SLICE:
        raise _misplaced(
            path, f"{name} lies at z = {z_mm:g} mm, which is slice {index:.2f} of {grid.shape[0]}"
        )
    return nearest


def _named(element: Element, name: str) -> Iterator[Element]:
    return (child for child in element if xml_files.local_name(child) == name)


def _text(element: Element, *names: str) -> str:
    """Return the text of an element below; ValueError where there is none."""
    inner: Element | None = element
    for name in names:
        inner = next(_named(inner, name), None) if inner is not None else None
    return checked_text(inner.text if inner is not None else None, names[-1])


def _pixel(element: Element, name: str) -> int:
    text = _text(element, name)
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) >= FARTHEST_PIXEL:
        raise ValueError(f"{name} is {shown(text)}, expected a whole number from 0 to {FARTHEST_PIXEL - 1}")
    return int(text)


def _height(element: Element) -> float:
    text = _text(element, "imageZposition")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= FARTHEST_MM:
        raise ValueError(f"imageZposition is {shown(text)}, expected a number of millimetres")
    return value


def _told(faults: Faults, place: str, read: Callable[[], Told]) -> Told | None:
    try:
        return read()
    except ValueError as error:
        faults.note(place, error)
        return None


def _misplaced(path: Path, what: str) -> InputRefusedError:
    return InputRefusedError(
        f"{path.name}: {what}.",
        code="geometry",
        hint="Open the CT series that the file names, without resampling it.",
    )
