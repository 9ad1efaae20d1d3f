"""Hamamatsu's levels: one JPEG as large as the slide, cut where its decoder may start anew."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_decodable_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images.slides.source_file import SourceFile
    from napari_medlab.images.slides.tiff_coding import Coding
    from napari_medlab.images.slides.tiff_directories import Directory

__all__ = ["RestartPlane"]

STARTS, STARTS_HIGH = 65426, 65432
MAX_HEAD = 1 << 20
JPEG = 7
ROWS = 256
"""Pieces of 8 or 16 rows are joined to tiles of about this many."""


class Head(NamedTuple):
    """What the header of such a JPEG says.

    Parameters
    ----------
    size_at : int
        Where in the header height and width stand.
    block : (height, width)
        Of the smallest unit that is coded by itself.
    interval : int
        How many of these lie between two restarts, 0 where there are none.
    end : int
        Where the pixels begin.
    """

    size_at: int
    block: tuple[int, int]
    interval: int
    end: int


class RestartPlane:
    """A plane of one JPEG, its pieces between restart markers joined to tiles."""

    missing = 0

    def __init__(
        self, file: SourceFile, coding: Coding, starts: NDArray[np.int64], head: bytes, form: Head, size: tuple[int, int]
    ) -> None:  # fmt: skip
        self.coding = coding
        piece = form.block[0], form.block[1] * form.interval
        self._down, self._across = (-(-side // by) for side, by in zip(size, piece, strict=True))
        self._group = max(1, ROWS // piece[0])
        self.tile = piece[0] * self._group, piece[1]
        self._file, self._starts, self._head, self._form = file, starts, head, form

    @classmethod
    def of(cls, directory: Directory, coding: Coding) -> RestartPlane | None:
        """Return the plane of a directory, None where it is no JPEG that can be cut."""
        low, high = (directory.numbers(tag).astype(np.int64) for tag in (STARTS, STARTS_HIGH))
        size = directory.height, directory.width
        if directory.is_tiled or coding.compression != JPEG or len(low) < 2:
            return None
        starts = low + (high << 32 if len(high) == len(low) else 0)
        base, count = directory.whole(273), directory.whole(279)
        directory.file.check_inside(base, count)
        starts = np.append(starts, count)
        if not 0 < starts[0] <= MAX_HEAD or bool((np.diff(starts) <= 2).any()):
            return None
        head = directory.file.read(base, int(starts[0]))
        form = _head(head)
        if form is None or form.end != len(head) or form.interval == 0:
            return None
        columns = -(-size[1] // form.block[1])
        pieces = -(-columns // form.interval) * -(-size[0] // form.block[0])
        if columns % form.interval or pieces != len(starts) - 1:
            return None
        plane = cls(directory.file, coding, starts + base, head, form, size)
        check_decodable_whole(directory.file.path, (*plane.tile, coding.channels), coding.dtype)
        return plane

    def read(self, row: int, column: int, *, blank: bool) -> NDArray[Any]:
        """Return a tile: as one JPEG, its pieces stand below one another and are numbered anew."""
        rows = range(row * self._group, min((row + 1) * self._group, self._down))
        height, width = len(rows) * self._form.block[0], self.tile[1]
        at = self._form.size_at
        parts = [self._head[:at], struct.pack(">HH", height, width), self._head[at + 4 :]]
        for place, number in enumerate(line * self._across + column for line in rows):
            start, end = int(self._starts[number]), int(self._starts[number + 1])
            if end - start > 4 * self._form.block[0] * width + (1 << 16):
                raise ImageRefusedError(
                    f"{self._file.path.name}: piece {number} of a JPEG takes {end - start} bytes.",
                    code="size",
                    hint="The file is damaged; copy it again from its source.",
                )
            data = self._file.read(start, end - start)
            # each piece ends with a marker of its own
            parts += [data[:-2] if data[-2] == 0xFF else data, bytes((0xFF, 0xD0 + place % 8))]
        parts[-1] = b"\xff\xd9"
        return self.coding.decoded(b"".join(parts), height, width)


def _head(data: bytes) -> Head | None:
    """Return what a baseline JPEG's header says, None where it is none."""
    size_at, block, interval, at = 0, (8, 8), 0, 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        inside = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xC0 and len(inside) >= 6 + 3 * inside[5]:
            factors = [inside[6 + 3 * number + 1] for number in range(inside[5])]
            size_at = at - len(inside) + 1
            # one component is coded without regard to its factors
            one = len(factors) == 1
            block = (8, 8) if one else (8 * max(f & 15 for f in factors), 8 * max(f >> 4 for f in factors))
        elif marker == 0xDD and len(inside) >= 2:
            interval = int(struct.unpack(">H", inside[:2])[0])
        elif marker == 0xDA:
            return Head(size_at, block, interval, at) if size_at else None
    return None
