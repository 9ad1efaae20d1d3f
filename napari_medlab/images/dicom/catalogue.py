"""What a folder of DICOM files holds: series that make volumes, planar images, and the exams they belong to."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import NAMELESS
from napari_medlab.images.dicom.files import read_elements
from napari_medlab.images.dicom.values import first, listed, numbers
from napari_medlab.images.dicom.views import view_name
from napari_medlab.images.progress import report
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.images.dicom.values import Elements

    Member = tuple[Path, Elements]

__all__ = ["DicomEntry", "catalogue"]

PLANAR = frozenset({"MG", "DX", "CR", "DR", "XC", "OP", "ES", "GM"})


@dataclass(frozen=True)
class DicomEntry:
    """One image that a folder holds.

    Parameters
    ----------
    path : Path
        A file for a planar image, the folder of its files for a series.
    series_uid : str
        Empty where the path holds no other series.
    title : str
    study, patient : str
        What groups images; never stored and never shown.
    view : str
        Such as ``"RCC"``; empty for what is no mammogram.
    is_planar : bool
    count : int
        How many files it has.
    """

    path: Path
    series_uid: str
    title: str
    study: str
    patient: str
    view: str
    is_planar: bool
    count: int


def catalogue(files: Sequence[Path]) -> list[DicomEntry]:
    """Return the images of some files, planar ones one by one, volumes by series, in the order of their series numbers.

    What is damaged is left out: it says why when it is opened alone.
    """
    planar: list[Member] = []
    stacked: dict[str, list[Member]] = {}
    holding: dict[str, set[Path]] = {}
    for number, path in enumerate(files):
        report(number, len(files))
        header = None
        with suppress(ImageRefusedError), reading(path):
            header = read_elements(path)
        if header is None:
            continue
        is_planar, uid = listed(header, "Modality") in PLANAR, listed(header, "SeriesInstanceUID")
        (planar if is_planar else stacked.setdefault(uid, [])).append((path, header))
        holding.setdefault("planar" if is_planar else uid, set()).add(path.parent)
    entries = [_planar_entry(path, header) for path, header in planar]
    for uid, members in sorted(stacked.items(), key=lambda item: _number(item[1][0][1], "SeriesNumber", 0)):
        entries.append(_series_entry(uid, members, holding))
    return entries


def _planar_entry(path: Path, header: Elements) -> DicomEntry:
    view = view_name(header)
    frames = _number(header, "NumberOfFrames", 1)
    title = f"{view or listed(header, 'Modality')} {path.stem}" + (
        f" ({frames} slices)" if frames > 1 else ""
    )
    return DicomEntry(path, "", title, *_groups(header), view, is_planar=frames == 1, count=1)


def _series_entry(uid: str, members: list[Member], holding: dict[str, set[Path]]) -> DicomEntry:
    header = members[0][1]
    folder = Path(os.path.commonpath([path.parent for path, _ in members]))
    others = (other for key, folders in holding.items() if key != uid for other in folders)
    is_only = not any(other.is_relative_to(folder) for other in others)
    path = members[0][0] if len(members) == 1 else folder
    size = f"{first(header, 'Rows')} × {first(header, 'Columns')}"
    title = f"{listed(header, 'Modality') or 'image'} {folder.name}, {len(members)} images of {size}"
    series = "" if is_only or len(members) == 1 else uid or NAMELESS
    return DicomEntry(path, series, title, *_groups(header), "", is_planar=False, count=len(members))


def _groups(header: Elements) -> tuple[str, str]:
    return listed(header, "StudyInstanceUID"), listed(header, "PatientID")


def _number(header: Elements, keyword: str, default: int) -> int:
    number = (numbers(header, keyword) or [default])[0]
    return int(number) if math.isfinite(number) else default
