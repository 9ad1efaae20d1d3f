"""The bytes of a file from front to back, inflated where they are deflated, never more than are asked for."""

from __future__ import annotations

import zlib
from typing import IO, TYPE_CHECKING, Protocol

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileBytes", "Forward", "InflatedBytes"]

CHUNK = 1 << 16
MAX_INFLATED_HEADER = 64 << 20


class Forward(Protocol):
    """Bytes that are asked for at growing offsets; ``size`` is None where it is unknown."""

    size: int | None

    def read(self, at: int, count: int) -> bytes:
        """Return up to ``count`` bytes from offset ``at`` on: fewer at the end."""
        ...


class FileBytes:
    """The bytes of an open file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size: int | None = size
        self._file = file

    def read(self, at: int, count: int) -> bytes:
        """Return up to ``count`` bytes from offset ``at`` on."""
        self._file.seek(at)
        return self._file.read(count)


class InflatedBytes:
    """What the bytes of a file from ``start`` on inflate to.

    Parameters
    ----------
    path : Path
        For messages.
    file : binary file
    start : int
    limit : int
        Up to which offset anything is inflated: a megabyte of file can hold a gigabyte of zeros.
    """

    def __init__(self, path: Path, file: IO[bytes], start: int, limit: int = MAX_INFLATED_HEADER) -> None:
        self.size: int | None = None
        self._path, self._file, self._limit = path, file, limit
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._at = 0
        file.seek(start)

    def read(self, at: int, count: int) -> bytes:
        """Return up to ``count`` bytes from offset ``at`` on, which is not before the end of the last ones.

        Raises
        ------
        ImageRefusedError
            With code ``size`` beyond the limit.
        """
        if at < self._at:
            raise ValueError("bytes that were inflated already are asked for again")
        if at + count > self._limit:
            count = self._limit - at
        if count <= 0:
            raise ImageRefusedError(
                f"{self._path.name} inflates to more than {self._limit >> 20} MiB where {at >> 20} MiB were expected.",
                code="size",
                hint="The file is damaged or made to fill the memory; export it again from its source.",
            )
        while self._at < at and self._next(min(CHUNK, at - self._at)):
            pass
        wanted = bytearray()
        while len(wanted) < count and (piece := self._next(min(CHUNK, count - len(wanted)))):
            wanted += piece
        return bytes(wanted)

    def _next(self, count: int) -> bytes:
        """Return the next bytes, at most ``count``; none at the end."""
        while not self._inflater.eof:
            waiting = self._inflater.unconsumed_tail or self._file.read(CHUNK)
            piece = self._inflater.decompress(waiting, count)
            if piece or not waiting:
                self._at += len(piece)
                return piece
        return b""
