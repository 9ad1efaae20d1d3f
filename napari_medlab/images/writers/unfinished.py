"""A file or a folder of images that takes its name only when all of it is on the disk."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medlab.durable import sync_folder
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["new_path"]


@contextmanager
def new_path(path: Path) -> Iterator[Path]:
    """Give a free name beside ``path`` to write a file or a folder to, which becomes ``path`` when the block ends well.

    What was written is removed when the block ends in any other way.

    Raises
    ------
    InputRefusedError
        With code ``exists`` where there is something at ``path``, before the block or after it.
    """
    _refuse_existing(path)
    current = partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
    try:
        yield partial
        _sync(partial)
        _refuse_existing(path)  # another may have written it meanwhile, and renaming would replace it
        current = partial.rename(path)
        sync_folder(path.parent)
    except BaseException:
        _remove(current)  # what may not outlive a loss of power is not there
        raise


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise InputRefusedError(
            f"{path} exists already, and nothing is overwritten.", code="exists", hint="Choose another name."
        )


def _sync(path: Path) -> None:
    """Wait until a file, or a folder with everything in it, is on the disk."""
    if path.is_dir():
        for inner in path.iterdir():
            _sync(inner)
        sync_folder(path)
        return
    with path.open("rb+") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
