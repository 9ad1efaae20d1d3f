"""Bringing the database of an older version up to date: all but the journal is made anew from the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from napari_medlab.project.applying import kind_of
from napari_medlab.project.backups import set_aside
from napari_medlab.project.connections import open_reader, open_writer, transaction
from napari_medlab.project.journal import entry_of, read_row, stamp_of
from napari_medlab.project.lookups import Lookups
from napari_medlab.project.schema import DERIVED, REVERSIBLE_INDEX, SCHEMA_VERSION
from napari_medlab.project.sql_errors import translated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["copy_up_to_date", "migrate", "replay"]

TABLES = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'journal' AND name NOT GLOB 'sqlite_*'"
)


def migrate(path: Path, journal_mode: str, backups: Path) -> None:
    """Copy an older project database to ``backups``, and make its tables anew as our version has them.

    For who holds the project alone. A database that is killed on the way has its old version still.

    Raises
    ------
    ProjectError
        ``disk`` where the copy or the database cannot be written, ``bit-rot`` where the journal is damaged; the
        database is then as it was.
    """
    with translated(path.name), closing(open_writer(path, journal_mode)) as db:
        set_aside(db, backups, db.execute("PRAGMA user_version").fetchone()[0])
        _rebuild(db)


def copy_up_to_date(path: Path, folder: Path, *, immutable: bool) -> Path:
    """Copy an older project database into a folder, bring the copy up to date, and return it.

    Raises
    ------
    ProjectError
        ``disk`` or ``bit-rot``, as :func:`migrate`.
    """
    copy = folder / path.name
    with translated(path.name), closing(open_reader(path, immutable=immutable)) as db:
        with closing(sqlite3.connect(copy)) as target:
            db.backup(target)
        with closing(open_writer(copy, "DELETE")) as target:
            _rebuild(target)
    return copy


def _rebuild(db: sqlite3.Connection) -> None:
    """Replace all tables but the journal by those that follow from it, in one transaction."""
    db.execute("PRAGMA foreign_keys = OFF")  # tables go in any order
    with transaction(db):
        for (name,) in db.execute(TABLES).fetchall():
            quoted = name.replace('"', '""')
            db.execute(f'DROP TABLE "{quoted}"')
        db.execute("DROP INDEX IF EXISTS journal_reversible")
        for statement in (REVERSIBLE_INDEX + DERIVED).split(";"):
            db.execute(statement)
        replay(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")


def replay(db: sqlite3.Connection) -> None:
    """Make every edit of the journal again, in empty tables beside it."""
    # the rows are read by their ids: a cursor that stays open would see the tables change
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()
    lookups = Lookups()
    for journal_id in range(1, last + 1):
        entry = entry_of(read_row(db, journal_id))
        kind_of(entry.kind).apply(db, entry.payload, stamp_of(entry, lookups=lookups))
