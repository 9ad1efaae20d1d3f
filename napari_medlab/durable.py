"""Files and folders that are there whole or not at all, and stay there when the power fails."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["new_folder", "replace_file", "sync_folder", "write_file"]


def write_file(path: Path, payload: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, payload: bytes) -> None:
    """Put a file in the place of another in one step: a reader sees the old one or the new one, never a part."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    write_file(partial, payload)
    partial.replace(path)
    sync_folder(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which takes its name only when the block ends well and everything is on the disk.

    Raises
    ------
    InputRefusedError
        Where the folder exists: nothing is overwritten.
    """
    if folder.exists():
        raise InputRefusedError(
            f"{folder} exists already, and nothing is overwritten.", code="exists", hint="Choose another name."
        )
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for inner in [path for path in partial.rglob("*") if path.is_dir()]:
        sync_folder(inner)
    sync_folder(partial)
    partial.rename(folder)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, on systems that can."""
    if os.name != "posix":  # Windows has no handle on folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
