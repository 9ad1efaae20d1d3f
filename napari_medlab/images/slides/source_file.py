"""A file that stays open and is read in pieces, by several threads at the same time."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.stamps import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SourceFile"]


class SourceFile:
    """An open file that notices when another one takes its place; closed when nobody holds it any more.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    size : int
        In bytes.
    stamp : str
        What the file was when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamp = stamp_of(path)
        self._handle = path.open("rb", buffering=0)
        weakref.finalize(self, self._handle.close)
        self.size = os.fstat(self._handle.fileno()).st_size
        self._seeking = threading.Lock()

    def check(self) -> None:
        """Refuse to go on with a file that is no longer the one that was opened."""
        if stamp_of(self.path) != self.stamp:
            raise ImageRefusedError(
                f"{self.path.name} has changed since it was opened.",
                code="changed",
                hint="Open the image again.",
            )

    def read(self, offset: int, count: int) -> bytes:
        """Return ``count`` bytes at ``offset``, no fewer."""
        self.check_inside(offset, count)
        if hasattr(os, "pread"):
            data = os.pread(self._handle.fileno(), count, offset)
        else:
            with self._seeking:
                self._handle.seek(offset)
                data = self._handle.read(count)
        if len(data) < count:
            raise EOFError(f"{count} bytes at {offset}, and only {len(data)} are there")
        return data

    def check_inside(self, offset: int, count: int) -> None:
        """Refuse a range that reaches beyond the end of the file."""
        if offset < 0 or count < 0 or offset + count > self.size:
            raise ImageRefusedError(
                f"{self.path.name} is cut short: its index names {count} bytes at {offset}, it has {self.size}.",
                code="truncated",
                hint="Copy the file again from its source.",
            )
