"""Remembering what was written out: the last step of an export, while its folder is not yet in its place."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from napari_medlab.project.edits import add_export
from napari_medlab.project.records import ExportRecord

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medlab.project.project import Project

__all__ = ["record_export"]


def record_export(
    project: Project, folder: Path, name: str, manifest: bytes, edit_ids: Iterable[int]
) -> bool:
    """Note an export in the project, and tell whether that is open for writing.

    It is noted before the folder appears: where the project cannot be written to, an exporter that has not finished yet leaves
    nothing behind, and can be asked again.

    Parameters
    ----------
    project : Project
    folder : Path
        Where the export will lie.
    name : str
        The format.
    manifest : bytes
        What is in its manifest.
    edit_ids : iterable of int
        The edits that went into it.

    Raises
    ------
    ProjectError
        ``disk`` where it cannot be written.
    """
    if project.is_read_only:
        return False
    digest = hashlib.sha256(manifest).hexdigest()
    project.commit(add_export(ExportRecord(project.stored_path(folder), name, digest, tuple(edit_ids))))
    return True
