"""Copies of the database, three in rotation, each reopened before it counts."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import count, pairwise
from typing import TYPE_CHECKING

from napari_medlab.durable import make_folder, sync_folder
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
        Where it cannot be written or does not read back; none of the older copies is lost then but the oldest.
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
    make_folder(folder)
    _discard(partial)
    try:
        with closing(sqlite3.connect(partial)) as copy:
            db.backup(copy)
        check(partial, immutable=True)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            _discard(partial)  # it takes the room that was wanting
        raise
    return partial


def _discard(partial: Path) -> None:
    """Remove what was left half written, and first the journal with which SQLite would go on writing it."""
    partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


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
    # where an earlier rotation was cut off, there is a gap: what lies behind it stays where it is
    free = next((number for number, name in enumerate(names) if not name.exists()), KEPT - 1)
    for newer, older in reversed(list(pairwise(names[: free + 1]))):
        newer.replace(older)
    partial.replace(names[0])
    sync_folder(folder)
    return names[0]
