"""Copies of the database, three in rotation, each reopened before it counts."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from itertools import count, pairwise
from typing import TYPE_CHECKING

from napari_medlab.durable import sync_folder
from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["KEPT", "back_up", "set_aside"]

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
    with _writing():
        return _rotate(_copy(db, folder), folder)


def set_aside(db: sqlite3.Connection, folder: Path, version: int) -> Path:
    """Copy a database of an older version to a name of its own in ``folder``, which no later backup takes.

    Returns and raises as :func:`back_up` does.
    """
    with _writing():
        partial = _copy(db, folder)
        names = (folder / f"project-of-version-{version}{suffix}.sqlite" for suffix in _suffixes())
        path = next(name for name in names if not name.exists())
        partial.replace(path)
        sync_folder(folder)
        return path


def _copy(db: sqlite3.Connection, folder: Path) -> Path:
    """Write a copy under a passing name, checked and durable."""
    partial = folder / "project.sqlite.partial"
    folder.mkdir(exist_ok=True)
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as copy:
        db.backup(copy)
    check(partial, immutable=True)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    return partial


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProjectError(f"The backup cannot be written: {error}.", code="disk") from error


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))


def _rotate(partial: Path, folder: Path) -> Path:
    names = [folder / f"project-{number}.sqlite" for number in range(1, KEPT + 1)]
    for newer, older in reversed(list(pairwise(names))):
        if newer.exists():
            newer.replace(older)
    partial.replace(names[0])
    sync_folder(folder)
    return names[0]
