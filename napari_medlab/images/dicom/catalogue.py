"""What a folder of DICOM files holds: series that make volumes, planar images, and the exams they belong to."""

from __future__ import annotations

import os
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
VIEW_CODES = {
    "R-10242": "CC", "399162004": "CC", "R-10226": "MLO", "399368009": "MLO",
    "R-10224": "ML", "399260004": "ML", "R-10228": "LM", "399352003": "LM",
}  # fmt: skip
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
            stacked.setdefault(_series_of(header), []).append((path, header))
    entries = [_planar_entry(path, header) for path, header in planar]
    holding: dict[str, set[Path]] = {}
    for path, header in headers:
        holding.setdefault("planar" if _is_planar(header) else _series_of(header), set()).add(path.parent)
    for uid, members in sorted(stacked.items(), key=lambda item: _number(item[1][0][1], "SeriesNumber")):
        entries.append(_series_entry(uid, members, holding))
    return entries


def view_name(header: Any) -> str:  # noqa: ANN401 - pydicom's Dataset, or what looks like one
    """Return laterality and view of a mammogram, such as ``"LMLO"``; empty where either is not stated."""
    side = str(_value(header, "ImageLaterality") or _value(header, "Laterality") or "").strip().upper()[:1]
    items = [item for item in _value(header, "ViewCodeSequence") or [] if hasattr(item, "get")]
    codes = [str(_value(item, "CodeValue") or "") for item in items]
    stated = str(_value(header, "ViewPosition") or "").strip().upper()
    view = next((VIEW_CODES[code] for code in codes if code in VIEW_CODES), stated)
    return side + view if side in ("R", "L") and view.isalpha() and len(view) <= 6 else ""


def _header(path: Path) -> Dataset | None:
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        is_image = bool(_value(header, "Rows")) and str(_value(header, "Modality") or "") not in DERIVED
    except Exception:  # noqa: BLE001 - whatever it is, the other files are listed; it says why when it is opened alone
        return None
    words = _value(header, "ImageType") or []
    stated = [words] if isinstance(words, str) else list(words)
    return header if is_image and "LOCALIZER" not in [str(word).upper() for word in stated] else None


def _value(header: Any, keyword: str) -> Any:  # noqa: ANN401 - pydicom's Dataset, and what the attribute holds
    """Return the value of an attribute; None where it has none, or one that is no value of its kind."""
    try:
        return header.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom converts values when they are asked for
        return None


def _number(header: Any, keyword: str) -> int:  # noqa: ANN401 - as above
    try:
        return int(_value(header, keyword) or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def _is_planar(header: Any) -> bool:  # noqa: ANN401 - pydicom's Dataset
    return str(_value(header, "Modality") or "") in PLANAR


def _planar_entry(path: Path, header: Any) -> DicomEntry:  # noqa: ANN401 - pydicom's Dataset
    view = view_name(header)
    frames = _number(header, "NumberOfFrames") or 1
    title = f"{view or _value(header, 'Modality')} {path.stem}" + (f" ({frames} slices)" if frames > 1 else "")
    return DicomEntry(path, "", title, *_groups(header), view, is_planar=frames == 1, count=1)


def _series_of(header: Any) -> str:  # noqa: ANN401 - pydicom's Dataset
    return str(_value(header, "SeriesInstanceUID") or "")


def _series_entry(uid: str, members: list[tuple[Path, Any]], holding: dict[str, set[Path]]) -> DicomEntry:
    header = members[0][1]
    folder = _common_folder([path for path, _ in members])
    others = (other for key, folders in holding.items() if key != uid for other in folders)
    is_only = not any(other.is_relative_to(folder) for other in others)
    path = members[0][0] if len(members) == 1 else folder
    size = f"{_value(header, 'Rows')} × {_value(header, 'Columns')}"
    title = f"{_value(header, 'Modality') or 'image'} {folder.name}, {len(members)} images of {size}"
    series = "" if is_only or len(members) == 1 else uid
    return DicomEntry(path, series, title, *_groups(header), "", is_planar=False, count=len(members))


def _groups(header: Any) -> tuple[str, str]:  # noqa: ANN401 - pydicom's Dataset
    return str(_value(header, "StudyInstanceUID") or ""), str(_value(header, "PatientID") or "")


def _common_folder(paths: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))
