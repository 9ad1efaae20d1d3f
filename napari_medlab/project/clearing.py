"""Clearing up beside the database after cases were removed: masks, images, copies of the database, private names, caches."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import replace_file, sync_folder, writing
from napari_medlab.errors import ProjectError
from napari_medlab.images.slides.tile_store import cache_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from napari_medlab.project.private import PrivateNames

__all__ = ["Leftovers", "clear_files", "copies_of", "forget_note", "masks_of", "note_of", "write_note"]

NOTE = "removing.json"
CACHES = ("thumbnails", "crops")
"""The caches of pictures, beside that of the pyramids; their files are called by hashes of what they show."""


@dataclass(frozen=True)
class Leftovers:
    """What lies beside the database of cases that are removed, for as long as it is not all gone.

    Parameters
    ----------
    cases : tuple of str
    patients : tuple of str
        The keys of their patients.
    images : tuple of str
        Their images in the project's own folder, relative to that.
    has_pyramids : bool
        Whether tiles of them may be kept.
    is_copied : bool
        Whether there were copies of the database, so that a new one is due.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    images: tuple[str, ...]
    has_pyramids: bool
    is_copied: bool


def write_note(folder: Path, left: Leftovers) -> None:
    """Write down in a project's folder what there will be to clear; durable when this returns."""
    with writing(folder):
        (folder / "private").mkdir(mode=0o700, exist_ok=True)
    replace_file(folder / "private" / NOTE, json.dumps(asdict(left)).encode())


def note_of(folder: Path) -> Leftovers | None:
    """Return what was written down; None where nothing is to be cleared.

    Raises
    ------
    ProjectError
        ``private`` where it cannot be read.
    """
    try:
        said: dict[str, Any] = json.loads((folder / "private" / NOTE).read_bytes())
        lists = {name: tuple(map(str, said[name])) for name in ("cases", "patients", "images")}
        return Leftovers(**lists, has_pyramids=bool(said["has_pyramids"]), is_copied=bool(said["is_copied"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(
            f"The note {NOTE} about removed cases cannot be read: {error}.", code="private"
        ) from error


def forget_note(folder: Path) -> None:
    """Remove the note: everything is cleared, or nothing was removed."""
    _delete([folder / "private" / NOTE])


def clear_files(folder: Path, left: Leftovers, names: PrivateNames, patients: Collection[str]) -> None:
    """Delete what lies beside the database; what is gone already is no matter.

    Parameters
    ----------
    folder : Path
    left : Leftovers
    names : PrivateNames
    patients : collection of str
        The keys of the patients who have cases still.

    Raises
    ------
    DiskError, ProjectError
        Where something cannot be deleted.
    """
    _delete(copies_of(folder))
    _delete(masks_of(folder, left.cases))
    _delete(folder / one for one in left.images)
    names.forget(left.cases, set(left.patients) - set(patients))
    _delete((folder / "private").glob("*.partial*"))
    pyramids = cache_folder()
    _delete([pyramids.parent / name for name in CACHES] + ([pyramids] if left.has_pyramids else []))


def copies_of(folder: Path) -> list[Path]:
    """Return the copies of the database, and what SQLite or a crash left beside them."""
    found = sorted((folder / "backups").glob("project*.sqlite*"))
    return [*found, *sorted(folder.glob("project.sqlite.partial*"))]


def masks_of(folder: Path, case_ids: Collection[str]) -> list[Path]:
    """Return the masks of cases, of all runs."""
    masks = (folder / "masks").glob("*/*")
    return sorted(path for path in masks if path.name.split(".")[0] in case_ids)


def _delete(paths: Iterable[Path]) -> None:
    """Delete files and folders; durable when this returns."""
    for path in paths:
        with writing(path):
            if path.is_dir() and not path.is_symlink():
                _delete_folder(path)
            else:
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)


def _delete_folder(folder: Path) -> None:
    while folder.exists():
        with suppress(FileNotFoundError):  # another program deletes in it, too
            shutil.rmtree(folder)
