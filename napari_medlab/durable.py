"""Files and folders that are there whole or not at all, and stay there when the power fails."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError, MedlabError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "DiskError",
    "make_folder",
    "new_folder",
    "replace_file",
    "state_folder",
    "sync_folder",
    "write_file",
    "writing",
]

STATE_VARIABLE = "MEDLAB_STATE_DIR"


def state_folder() -> Path:
    """Return where what this person decided is kept between sessions; it may not be there yet."""
    import platformdirs

    return Path(
        os.environ.get(STATE_VARIABLE) or platformdirs.user_state_dir("napari-medlab", appauthor=False)
    )


class DiskError(MedlabError, OSError):
    """Something cannot be written: the disk is full or broken, or who asks has no right to.

    Parameters
    ----------
    path : Path
        What was to be written.
    error : OSError
        What the system said.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path} cannot be written: {error.strerror or error}.",
            code="disk",
            hint="Make room or check the rights, and do it again; what was there before is as it was.",
        )
        self.errno = error.errno


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about writing ``path`` into :class:`DiskError`."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(path, error) from error


def write_file(path: Path, payload: bytes) -> None:
    """Write a new file and wait until it is on the disk; raise :class:`DiskError` where it cannot be."""
    with writing(path), path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, payload: bytes) -> None:
    """Put a file in the place of another in one step: a reader sees the old one or the new one, never a part.

    Raises
    ------
    DiskError
        Where it cannot be written; the old one is then still there.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        write_file(partial, payload)
        with writing(path):
            partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    with writing(path):
        sync_folder(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes its name only when the block ends well and everything is on the disk.

    What was written is removed when the block ends in any other way.

    Raises
    ------
    InputRefusedError
        Where the folder exists: nothing is overwritten.
    DiskError
        Where it cannot be written.
    """
    _refuse_existing(folder)
    names = (folder.with_name(f"{folder.name}.partial-{os.getpid()}{suffix}") for suffix in _suffixes())
    # a process of the same number may have been killed here
    partial = next(name for name in names if not name.exists())
    with writing(folder):
        make_folder(folder.parent)
        partial.mkdir()
    current = partial
    try:
        yield partial
        with writing(folder):
            _sync_folders(partial)
            _refuse_existing(folder)  # another may have written it meanwhile, and renaming could replace it
            current = partial.rename(folder)
            sync_folder(folder.parent)
    except BaseException as error:
        shutil.rmtree(current, ignore_errors=True)
        if isinstance(error, OSError) and _is_about(error, partial):
            raise DiskError(folder, error) from error
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing, and wait until they are on the disk.

    Raises
    ------
    DiskError
        Where it cannot be made.
    """
    with writing(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, on systems that can."""
    if os.name != "posix":  # Windows has no handle on folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folders(folder: Path) -> None:
    for inner in [path for path in folder.rglob("*") if path.is_dir()]:
        sync_folder(inner)
    sync_folder(folder)


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise InputRefusedError(
            f"{folder} exists already, and nothing is overwritten.",
            code="exists",
            hint="Choose another name.",
        )


def _is_about(error: OSError, partial: Path) -> bool:
    """Tell whether what the system said is about something in a folder that was being written."""
    return not isinstance(error, MedlabError) and str(error.filename or "").startswith(str(partial))


def _suffixes() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))
