"""What a folder of DICOM files holds: series that make volumes, planar images, and the exams they belong to."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.images.progress import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

__all__ = ["DicomEntry", "catalogue", "view_name"]

PLANAR = frozenset({"MG", "DX", "CR", "DR", "XC", "OP", "ES", "GM"})
DERIVED = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG"})
VIEW_CODES = {"R-10242": "CC", "399162004": "CC", "R-10226": "MLO", "399368009": "MLO", "R-10224": "ML", "R-10228": "LM"}
"""Codes of mammography views in SNOMED RT and SNOMED CT (DICOM PS3.16, CID 4014)."""
TAGS = [
    "Modality", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "ImageLaterality", "Laterality", "ViewPosition",
    "ViewCodeSequence", "NumberOfFrames", "ImageType", "Rows", "Columns", "SeriesNumber",
]  # fmt: skip


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
    """Return the images of some files, planar ones one by one, volumes by series, in the order of their series numbers."""
    headers: list[tuple[Path, Any]] = []
    for number, path in enumerate(files):
        report(number, len(files))
        header = _header(path)
        if header is not None:
            headers.append((path, header))
    planar = [(path, header) for path, header in headers if _is_planar(header)]
    stacked: dict[str, list[tuple[Path, Any]]] = {}
    for path, header in headers:
        if not _is_planar(header):
            stacked.setdefault(str(header.get("SeriesInstanceUID") or ""), []).append((path, header))
    entries = [_planar_entry(path, header) for path, header in planar]
    folders = Counter(_common_folder([path for path, _ in members]) for members in stacked.values())
    for uid, members in sorted(stacked.items(), key=lambda item: _series_number(item[1][0][1])):
        entries.append(_series_entry(uid, members, folders))
    return entries


def view_name(header: Any) -> str:  # noqa: ANN401 - pydicom's Dataset, or what looks like one
    """Return laterality and view of a mammogram, such as ``"LMLO"``; empty where either is not stated."""
    side = str(header.get("ImageLaterality") or header.get("Laterality") or "").strip().upper()[:1]
    codes = [str(item.get("CodeValue") or "") for item in header.get("ViewCodeSequence") or []]
    stated = str(header.get("ViewPosition") or "").strip().upper()
    view = next((VIEW_CODES[code] for code in codes if code in VIEW_CODES), stated)
    return side + view if side in ("R", "L") and view.isalpha() and len(view) <= 6 else ""


def _header(path: Path) -> Dataset | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, EOFError, RecursionError):
        return None  # it says why when it is opened alone
    is_image = bool(header.get("Rows")) and str(header.get("Modality") or "") not in DERIVED
    words = [str(word).upper() for word in header.get("ImageType") or []]
    return header if is_image and "LOCALIZER" not in words else None


def _is_planar(header: Any) -> bool:  # noqa: ANN401 - pydicom's Dataset
    return str(header.get("Modality") or "") in PLANAR


def _planar_entry(path: Path, header: Any) -> DicomEntry:  # noqa: ANN401 - pydicom's Dataset
    view = view_name(header)
    frames = int(header.get("NumberOfFrames") or 1)
    title = f"{view or header.get('Modality')} {path.stem}" + (f" ({frames} slices)" if frames > 1 else "")
    return DicomEntry(path, "", title, *_groups(header), view, is_planar=frames == 1, count=1)


def _series_entry(uid: str, members: list[tuple[Path, Any]], folders: Counter[Path]) -> DicomEntry:
    header = members[0][1]
    folder = _common_folder([path for path, _ in members])
    is_only = folders[folder] == 1 and not any(other != folder and other.is_relative_to(folder) for other in folders)
    path = members[0][0] if len(members) == 1 else folder
    title = f"{header.get('Modality') or 'image'} {folder.name}, {len(members)} images of {header.get('Rows')} × {header.get('Columns')}"
    series = "" if is_only or len(members) == 1 else uid
    return DicomEntry(path, series, title, *_groups(header), "", is_planar=False, count=len(members))


def _groups(header: Any) -> tuple[str, str]:  # noqa: ANN401 - pydicom's Dataset
    return str(header.get("StudyInstanceUID") or ""), str(header.get("PatientID") or "")


def _common_folder(paths: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))


def _series_number(header: Any) -> int:  # noqa: ANN401 - pydicom's Dataset
    try:
        return int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0
