"""Copies of the database, three in rotation, each reopened before it counts."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

from napari_medlab.durable import sync_folder
from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import check

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KEPT", "back_up"]

KEPT = 3


def back_up(db: sqlite3.Connection, folder: Path) -> Path:
    """Copy the database that ``db`` reads to ``folder/project-1.sqlite``, the older copies moving to 2 and 3.

    Returns
    -------
    Path
        The new copy: complete, checked and durable.

    Raises
    ------
    ProjectError
        Where it cannot be written or does not read back; the older copies are then as they were.
    """
    partial = folder / "project.sqlite.partial"
    try:
        folder.mkdir(exist_ok=True)
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as copy:
            db.backup(copy)
        check(partial, immutable=True)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        return _rotate(partial, folder)
    except OSError as error:
        raise ProjectError(f"The backup cannot be written: {error}.", code="disk") from error


def _rotate(partial: Path, folder: Path) -> Path:
    names = [folder / f"project-{number}.sqlite" for number in range(1, KEPT + 1)]
    for newer, older in reversed(list(pairwise(names))):
        if newer.exists():
            newer.replace(older)
    partial.replace(names[0])
    sync_folder(folder)
    return names[0]
