"""Bringing the database of an older version up to date: a copy first, then everything in one transaction."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from napari_medlab.project.backups import set_aside
from napari_medlab.project.connections import open_writer, transaction
from napari_medlab.project.schema import SCHEMA_VERSION, STEPS
from napari_medlab.project.sql_errors import translated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["migrate"]


def migrate(path: Path, journal_mode: str, backups: Path) -> None:
    """Copy an older project database to ``backups``, and give it the tables of our version.

    The journal is left as it is: what is new in a table has for older rows the value that stands for nothing.
    For who holds the project alone. A database that is killed on the way has its old version still.

    Raises
    ------
    ProjectError
        ``disk`` where the copy or the database cannot be written; the database is then as it was.
    """
    with translated(path.name), closing(open_writer(path, journal_mode)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        set_aside(db, backups, version)
        with transaction(db):
            for older in range(version, SCHEMA_VERSION):
                for statement in STEPS[older]:
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
