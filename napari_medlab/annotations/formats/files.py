"""Files of exchange as bytes: read up to a limit, written only where nothing was."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medlab.durable import make_folder, replace_file, writing
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAX_BYTES", "beginning", "collector_paused", "read_bytes", "read_text", "unreadable", "write_new"]

MAX_BYTES = 1 << 30
"""A file of more bytes is refused: its values would fill the memory of a common machine."""
SNIFFED_BYTES = 1 << 16


def beginning(path: Path, count: int = SNIFFED_BYTES) -> bytes:
    """Return the first bytes of a file, without a byte order mark; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count).removeprefix(b"\xef\xbb\xbf")
    except (OSError, ValueError):  # a name with a null character is no path
        return b""


@contextmanager
def collector_paused() -> Iterator[None]:
    """Leave cyclic garbage alone while millions of values without cycles are made: looking at them costs most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def unreadable(path: Path, error: OSError) -> InputRefusedError:
    """Return what is told of a file that the system does not let us read."""
    return InputRefusedError(
        f"{path.name} cannot be read: {error.strerror or error}.",
        code="file",
        hint="Check the path and who may read it.",
    )


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """Return what a file holds.

    Raises
    ------
    InputRefusedError
        With code ``"file"`` where it cannot be read, ``"too-large"`` where it has more than ``most`` bytes.
    """
    try:
        with path.open("rb") as file:
            payload = file.read(most + 1)
    except OSError as error:
        raise unreadable(path, error) from error
    if len(payload) > most:
        raise InputRefusedError(
            f"{path.name} has more than {most:,} bytes, which is the limit.",
            code="too-large",
            hint="Split it into several files.",
        )
    return payload


def read_text(path: Path, code: str, most: int = MAX_BYTES) -> str:
    """Return a text in UTF-8; raise as :func:`read_bytes`, and with ``code`` where it is no such text."""
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefusedError(
            f"{path.name} is not a text in UTF-8: {error.reason} at byte {error.start}.",
            code=code,
            hint="Save it as text in UTF-8.",
        ) from error


def write_new(path: Path, payload: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where there is such a file: nothing is overwritten.
    DiskError
        Where it cannot be written.
    """
    if path.exists():
        raise InputRefusedError(
            f"{path} exists already, and nothing is overwritten.", code="exists", hint="Choose another name."
        )
    with writing(path):
        make_folder(path.parent)
    replace_file(path, payload)
