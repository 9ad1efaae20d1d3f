"""What lies in the folder of a project, and how an empty one is made."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING

from napari_medlab.durable import sync_folder
from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import build, open_writer, stamps
from napari_medlab.project.schema import APPLICATION_ID, SCHEMA_VERSION
from napari_medlab.project.sql_errors import translated

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.locking import ProjectLock

__all__ = ["BUNDLES", "DATABASE", "LOCK", "has_log", "make_empty", "make_folders", "take_back_unfinished"]

DATABASE, LOCK, BUNDLES = "project.sqlite", "project.lock", "bundles"
FOLDERS = ("images", BUNDLES, "exports", "backups")


def make_empty(folder: Path, lock: ProjectLock) -> None:
    """Make an empty project in a folder that is there; durable when this returns.

    Raises
    ------
    ProjectError
        ``exists``, ``held`` or ``disk``.
    OSError
        Where a folder cannot be made.
    """
    database = folder / DATABASE
    if database.exists():
        raise ProjectError(f"{folder} holds a project already.", code="exists", hint="Open it instead.")
    if not lock.is_ours:
        held = lock.holder is not None
        reason = f"{lock.holder} holds it" if held else "the folder cannot be written"
        raise ProjectError(f"No project can be made in {folder}: {reason}.", code="held" if held else "disk")
    make_folders(folder)
    partial = folder / f"{DATABASE}.partial"
    with translated(partial.name):
        build(partial)
    try:
        partial.replace(database)
        sync_folder(folder)
    except OSError:
        database.unlink(missing_ok=True)
        raise


def make_folders(folder: Path) -> None:
    """Make the folders of a project."""
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    (folder / "private").mkdir(mode=0o700, exist_ok=True)


def has_log(database: Path) -> bool:
    """Tell whether the database has a log that still holds something, as while it is written and after a crash."""
    return any(_size(database, kind) > 0 for kind in ("wal", "journal"))


def take_back_unfinished(database: Path) -> None:
    """Take back the edit that a crash cut off where the database has a rollback journal; for who holds the project.

    A database of a newer version is left as it is.

    Raises
    ------
    ProjectError
        ``disk`` or ``corrupt``.
    """
    if _size(database, "journal") == 0:
        return
    application, version = stamps(database)
    if application != APPLICATION_ID or version > SCHEMA_VERSION:
        return
    with translated(database.name), closing(open_writer(database, "DELETE")) as db:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _size(database: Path, kind: str) -> int:
    """Return the size of the file that SQLite keeps beside a database; 0 where there is none."""
    with suppress(FileNotFoundError):
        return database.with_name(f"{database.name}-{kind}").stat().st_size
    return 0
