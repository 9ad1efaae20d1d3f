"""What lies in the folder of a project, and how an empty one is made."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_medlab.durable import sync_folder
from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import build, translated

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.locking import ProjectLock

__all__ = ["BUNDLES", "DATABASE", "LOCK", "has_log", "make_empty", "make_folders"]

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
    partial.replace(database)
    sync_folder(folder)


def make_folders(folder: Path) -> None:
    """Make the folders of a project."""
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    (folder / "private").mkdir(mode=0o700, exist_ok=True)


def has_log(database: Path) -> bool:
    """Tell whether the database has a write-ahead log that still holds something, as after a crash."""
    with suppress(FileNotFoundError):
        return database.with_name(f"{database.name}-wal").stat().st_size > 0
    return False
