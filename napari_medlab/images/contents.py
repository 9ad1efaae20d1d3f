"""What a file or a folder holds: one image, several series to choose from, the views of an exam, frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.opening import FORMATS, kind_of, looks_like_zarr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["VIEWS", "Entry", "contents", "contents_here"]

MAX_FILES = 20_000
VIEWS = ("RCC", "LCC", "RMLO", "LMLO")
"""The views of a mammography exam in the order in which they hang: right beside left, CC over MLO."""


@dataclass(frozen=True)
class Entry:
    """One image that can be opened.

    Parameters
    ----------
    path : Path
    title : str
        What a person reads in a list.
    decisions : Decisions
        With which it opens.
    study, patient : str
        Equal for images that belong together; they come out of headers, and are neither shown nor stored as they are.
    view : str
        Such as ``"RCC"`` for a mammogram.
    is_series : bool
        Whether it is one of several series of a folder, among which people choose.
    """

    path: Path
    title: str
    decisions: Decisions = AS_IS
    study: str = ""
    patient: str = ""
    view: str = ""
    is_series: bool = False

    def decided(self, decisions: Decisions) -> Entry:
        """Return the entry with further decisions."""
        joined = Decisions.from_json({**self.decisions.as_json(), **decisions.as_json()})
        return replace(self, decisions=joined)

    def as_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {**vars(self), "path": str(self.path), "decisions": self.decisions.as_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Entry:
        """Return the entry that :meth:`as_json` wrote."""
        return cls(
            **{**value, "path": Path(value["path"]), "decisions": Decisions.from_json(value["decisions"])}
        )


def contents(
    path: str | Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Entry]:
    """Return the images of a file or of a folder and its sub-folders; headers are read in the reader process.

    Raises
    ------
    ImageRefusedError
        Where there is nothing that is read here.
    """
    from napari_medlab.images.isolation import ask_contents

    return ask_contents(Path(path).expanduser(), on_progress=on_progress, stop=stop)


def contents_here(path: Path) -> list[Entry]:
    """Do what :func:`contents` does within this process."""
    if not path.exists():
        raise ImageRefusedError(
            f"There is nothing at {path}.", code="not-found", hint="Check the path; is its disk connected?"
        )
    if path.is_file() or looks_like_zarr(path):
        known = _dicom([path]) if _kind(path) == "dicom" else []
        return known or [Entry(path, path.name)]
    found = sorted(islice(_within(path), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise ImageRefusedError(
            f"{path.name} holds more than {MAX_FILES} files.", code="size", hint="Choose a folder within it."
        )
    kinds = {file: _kind(file) for file in found}
    entries = _dicom([file for file, kind in kinds.items() if kind == "dicom"])
    entries += [Entry(file, file.name) for file, kind in kinds.items() if kind not in ("", "dicom")]
    if not entries:
        raise ImageRefusedError(
            f"{path.name} holds no image that is read here ({len(found)} files).",
            code="empty",
            hint=f"Formats: {FORMATS}.",
        )
    return entries


def _within(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its sub-folders, a slide that is a folder as one; what is hidden is left out."""
    for root, folders, files in os.walk(folder):
        shown = [Path(root, name) for name in sorted(folders) if not name.startswith(".")]
        slides = [each for each in shown if looks_like_zarr(each)]
        folders[:] = [each.name for each in shown if each not in slides]
        yield from slides
        yield from (
            path for name in files if not name.startswith(".") and (path := Path(root, name)).is_file()
        )


def _kind(file: Path) -> str:
    try:
        return "zarr" if file.is_dir() else kind_of(file)
    except (ImageRefusedError, OSError):
        return ""


def _dicom(files: list[Path]) -> list[Entry]:
    if not files:
        return []
    from napari_medlab.images.dicom.catalogue import catalogue

    found = catalogue(files)
    are_several = sum(not entry.is_planar and not entry.view for entry in found) > 1
    return [
        Entry(
            entry.path, entry.title, Decisions(series_uid=entry.series_uid), entry.study, entry.patient, entry.view,
            is_series=are_several and not entry.is_planar and not entry.view,
        )
        for entry in found
    ]  # fmt: skip
