"""Who holds a project: a lock of the operating system, which vanishes with the process that took it."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ProjectLock"]

LOCKED_BYTE = 1 << 30
"""Where Windows locks: far behind the text, so that others can read it."""


class ProjectLock:
    """The right to write to a project, taken when this is made, if nobody else has it.

    Parameters
    ----------
    path : Path
        The lock file; it stays when the lock is let go.
    reader : str
        Who asks.

    Attributes
    ----------
    is_ours : bool
    holder : str or None
        Who holds the project where somebody else does.
    """

    def __init__(self, path: Path, reader: str) -> None:
        self.is_ours = False
        self.holder: str | None = None
        self._descriptor: int | None = None
        try:
            self._descriptor, can_write = _open(path)
        except FileNotFoundError:
            return  # nothing can be written here, and nobody ever held it
        if not _try_lock(self._descriptor, exclusive=can_write):
            self.holder = _describe(self._descriptor)
        elif can_write:
            self.is_ours = True
            _sign(self._descriptor, reader)
            return
        self.release()

    def release(self) -> None:
        """Let go of the project, if it is ours."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self.is_ours = False


def _open(path: Path) -> tuple[int, bool]:
    """Return a descriptor of the lock file and whether it can be written."""
    extra = getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | extra, 0o666), True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return os.open(path, os.O_RDONLY | extra), False


def _try_lock(descriptor: int, *, exclusive: bool) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sign(descriptor: int, reader: str) -> None:
    """Say who holds the project; on a full disk it is held without a word."""
    text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "reader": reader}).encode()
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text)


def _describe(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with suppress(ValueError, KeyError, TypeError, OSError):
        held = json.loads(os.read(descriptor, 4096))
        reader = "".join(c for c in str(held["reader"])[:256] if c.isprintable())
        return f"{reader or 'somebody'} on {str(held['host'])[:256]} (process {int(held['pid'])})"
    return "another process"
