"""Deflated bytes, inflated as far as they are asked for and never further."""

from __future__ import annotations

import zlib
from typing import IO, Literal

__all__ = ["Inflated", "Packing"]

Packing = Literal["gzip", "zlib"]
WINDOW: dict[Packing, int] = {"gzip": 31, "zlib": 15}
"""How zlib is told which of the two frames stands around the deflated bytes; it checks the sum in both."""
READ_BYTES = 1 << 18
STEP_BYTES = 1 << 22
EXCESS_BYTES = 1 << 16
"""Padding behind the pixels: more than this is another content than the header announces."""


class Inflated:
    """What a deflated stream holds, from its beginning; gzip may consist of several members.

    Parameters
    ----------
    file : binary file
        Stands where the stream begins.
    packing : {"gzip", "zlib"}
    limit : int
        How many bytes of the file belong to the stream at most.
    """

    def __init__(self, file: IO[bytes], packing: Packing, limit: int) -> None:
        self._file, self._packing, self._left = file, packing, limit
        self._inflater = zlib.decompressobj(WINDOW[packing])
        self._waiting = b""

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer only where the stream ends."""
        parts: list[bytes] = []
        missing = count
        while missing and self._goes_on():
            if not self._waiting:
                self._waiting = self._packed()
            was_fed = bool(self._waiting)
            part = self._inflater.decompress(self._waiting, missing)
            self._waiting = self._inflater.unconsumed_tail
            if not part and not was_fed:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def exactly(self, count: int) -> bytes:
        """Return the next ``count`` bytes.

        Raises
        ------
        EOFError
            Where the stream ends before.
        """
        data = self.read(count)
        if len(data) < count:
            raise EOFError(f"the compressed bytes end {count - len(data)} bytes too early")
        return data

    def skip(self, count: int) -> None:
        """Leave out the next ``count`` bytes."""
        while count:
            count -= len(self.exactly(min(count, STEP_BYTES)))

    def finish(self) -> None:
        """Check that the stream ends here, but for some padding, and that its checksum is right.

        Raises
        ------
        EOFError
            Where its end is missing.
        OverflowError
            Where it goes on.
        """
        if len(self.read(EXCESS_BYTES + 1)) > EXCESS_BYTES:
            raise OverflowError("the compressed bytes go on behind the last pixel")
        if not self._inflater.eof:
            raise EOFError("the compressed bytes have no end")

    def _goes_on(self) -> bool:
        """Tell whether anything may follow, and begin the next member of gzip."""
        if not self._inflater.eof:
            return True
        if self._packing == "zlib":
            return False
        rest = (self._inflater.unused_data or self._packed()).lstrip(b"\0")
        if not rest:
            return False
        self._inflater, self._waiting = zlib.decompressobj(WINDOW[self._packing]), rest
        return True

    def _packed(self) -> bytes:
        data = self._file.read(min(READ_BYTES, self._left))
        self._left -= len(data)
        return data
