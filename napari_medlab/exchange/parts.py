"""Files that several processes make for one folder: every attempt by itself, and of each case only one gets in.

A process that was given up for lost may still be writing. So each attempt at a case has a folder of its own, beside the folder
that is being made, and whoever makes that folder moves in the files of the attempt that was answered, and no others.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.annotations import new_id
from napari_medlab.durable import DiskError, writing
from napari_medlab.errors import InputRefusedError, MedlabError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["attempt_in", "move_in", "parts_of"]


@contextmanager
def parts_of(folder: Path) -> Iterator[Path]:
    """Give a folder for the attempts at a folder that is being made; it is gone at the end of the block.

    Raises
    ------
    DiskError
        Where it cannot be made.
    """
    parts = folder.with_name(f"{folder.name}.parts").absolute()
    with writing(parts):
        parts.mkdir()
    try:
        yield parts
    finally:
        shutil.rmtree(parts, ignore_errors=True)


@contextmanager
def attempt_in(parts: str | Path) -> Iterator[Path]:
    """Give a new folder to one attempt at a case; nothing is left of one that fails.

    Raises
    ------
    InputRefusedError
        ``not-shared`` where there is no folder for attempts: it is on another machine, or nobody waits for them any more.
    DiskError
    """
    own = Path(parts) / new_id()
    if not own.parent.is_dir():
        raise InputRefusedError(
            f"There is no folder {own.parent} to write to.", code="not-shared",
            hint="Images, models and what is written lie where every worker finds them under the same path.",
        )  # fmt: skip
    with writing(own):
        own.mkdir()
    try:
        yield own
    except BaseException as error:
        shutil.rmtree(own, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, MedlabError) and _is_in(own, error):
            raise DiskError(own, error) from error
        raise


def move_in(part: Path, place: Path) -> None:
    """Give a file of an attempt its place in the folder that is being made.

    Raises
    ------
    DiskError
    """
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part.rename(place)


def _is_in(folder: Path, error: OSError) -> bool:
    """Tell whether what the system said is about a file of a folder."""
    return str(error.filename or "").startswith(str(folder))
