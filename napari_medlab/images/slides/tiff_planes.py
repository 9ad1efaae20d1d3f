"""The pieces of one plane of a TIFF, in whichever way they are cut, joined and read as tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_decodable_whole
from napari_medlab.images.slides.absent import never_written
from napari_medlab.images.slides.tiff_coding import coding_of
from napari_medlab.images.slides.tiff_restarts import RestartPlane

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.slides.source_file import SourceFile
    from napari_medlab.images.slides.tiff_coding import Coding
    from napari_medlab.images.slides.tiff_directories import Directory

__all__ = ["Plane", "plane_of"]

RAW_ROWS, RAW_COLUMNS = 512, 4096
"""Pixels that are stored as they are can be cut anywhere."""
STRIP_ROWS = 256
"""Strips are joined to tiles of about this many rows."""
SLACK = 1 << 20
"""A compressed tile takes at most twice the room of its pixels, and this."""
LARGE, RATIO = 64 << 20, 200
"""A piece that is larger than a tile should be is no picture if it shrinks to less than a two-hundredth."""


class Plane(Protocol):
    """One plane of values (y, x, channel), read tile by tile."""

    coding: Coding
    missing: int
    """How many of its pieces were never written."""
    tile: tuple[int, int]

    def read(self, row: int, column: int, *, blank: bool) -> NDArray[Any]:
        """Return a tile (y, x, channel), at least as far as the image reaches; 0 where ``blank`` and never written."""
        ...


def plane_of(directory: Directory, number: int = 0) -> Plane:
    """Return plane ``number`` of a directory: the others but the first are there where it keeps its channels apart.

    Raises
    ------
    ImageRefusedError
        Where its pieces are too large, too few, or lie beyond the end of the file.
    """
    coding = coding_of(directory)
    path = directory.file.path
    if directory.is_tiled:
        tile = directory.whole(323), directory.whole(322)
    else:
        tile = (
            min(directory.whole(278, directory.height) or directory.height, directory.height),
            directory.width,
        )
    if min(tile) < 1 or directory.whole(32997, 1) != 1:
        raise ImageRefusedError(
            f"{path.name}: tiles of {tile[0]} by {tile[1]} pixels, {directory.whole(32997, 1)} deep.",
            code="size",
            hint="The file is damaged, or a volume: save it as a NIfTI volume.",
        )
    restarts = RestartPlane.of(directory, coding)
    if restarts is not None:
        return restarts
    down, across = -(-directory.height // tile[0]), -(-directory.width // tile[1])
    offsets, counts = _pieces(directory, down * across, number)
    if not directory.is_tiled and coding.is_raw and _is_one_block(offsets, counts):
        directory.file.check_inside(int(offsets[0]), directory.height * coding.row_bytes(directory.width))
        return _RawPlane(directory.file, coding, int(offsets[0]), (directory.height, directory.width))
    group = 1 if directory.is_tiled else max(1, STRIP_ROWS // tile[0])
    check_decodable_whole(path, (tile[0] * group, tile[1], coding.channels), coding.dtype)
    _check_ratio(path, counts, tile[0] * coding.row_bytes(tile[1]))
    segments = _Segments(directory.file, offsets, counts, 2 * tile[0] * coding.row_bytes(tile[1]) + SLACK)
    if directory.is_tiled:
        return _TilePlane(segments, coding, tile, across)
    return _StripPlane(segments, coding, tile, group, directory.height)


def _pieces(directory: Directory, expected: int, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets and sizes of the pieces of one plane."""
    tags = (324, 325) if 324 in directory.fields else (273, 279)
    # wide enough for any sum, and negative numbers become too large
    offsets, counts = (directory.numbers(tag, most=(number + 1) * expected).astype(np.uint64) for tag in tags)
    size = directory.file.size
    if tags[1] not in directory.fields and len(offsets) == 1:  # early writers leave it out
        counts = np.asarray([max(0, size - int(offsets[0]))], np.uint64)
    offsets, counts = offsets[number * expected :], counts[number * expected :]
    is_short = len(offsets) < expected or len(counts) < expected
    if is_short or bool(
        ((counts > 0) & ((offsets > size) | (counts > size) | (counts > size - offsets))).any()
    ):
        raise ImageRefusedError(
            f"{directory.file.path.name} is cut short: its index names {len(offsets)} of {expected} tiles or strips, "
            f"or some of them lie beyond its {size} bytes.",
            code="truncated",
            hint="Copy the file again from its source.",
        )
    return offsets.astype(np.int64), counts.astype(np.int64)


def _check_ratio(path: Path, counts: NDArray[np.int64], decoded_bytes: int) -> None:
    """Refuse what a compressor makes of nothing but zeros, where room would have to be made for all of them."""
    written = counts[counts > 0]
    if decoded_bytes > LARGE and bool((written < decoded_bytes // RATIO).any()):
        raise ImageRefusedError(
            f"{path.name}: tiles or strips of {decoded_bytes} bytes, one of which is stored in {int(written.min())}.",
            code="size",
            hint="Save it in smaller tiles, or as an uncompressed TIFF.",
        )


def _is_one_block(offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> bool:
    return bool((counts > 0).all() and (offsets[:-1] + counts[:-1] == offsets[1:]).all())


class _Segments:
    """Compressed pieces by their number."""

    def __init__(
        self, file: SourceFile, offsets: NDArray[np.int64], counts: NDArray[np.int64], most_bytes: int
    ) -> None:
        self.file = file
        self.missing = int((counts == 0).sum())
        self._offsets, self._counts = offsets, counts
        self._most_bytes = most_bytes

    def bytes(self, number: int) -> bytes | None:
        """Return a piece, None where it was never written."""
        count = int(self._counts[number])
        if count > self._most_bytes:
            raise ImageRefusedError(
                f"{self.file.path.name}: tile or strip {number} takes {count} bytes, more than its pixels.",
                code="size",
                hint="The file is damaged; copy it again from its source.",
            )
        return self.file.read(int(self._offsets[number]), count) if count else None


class _TilePlane:
    """A plane that is stored in tiles."""

    def __init__(self, segments: _Segments, coding: Coding, tile: tuple[int, int], across: int) -> None:
        self.coding, self.tile, self.missing = coding, tile, segments.missing
        self._segments, self._across = segments, across

    def read(self, row: int, column: int, *, blank: bool) -> NDArray[Any]:
        data = self._segments.bytes(row * self._across + column)
        if data is None:
            return _blank(self._segments.file, self.coding, (row, column), self.tile, blank=blank)
        return self.coding.decoded(data, *self.tile)


class _StripPlane:
    """A plane that is stored in strips, several of them joined to a tile."""

    def __init__(
        self, segments: _Segments, coding: Coding, strip: tuple[int, int], group: int, height: int
    ) -> None:
        self.coding, self.missing = coding, segments.missing
        self.tile = strip[0] * group, strip[1]
        self._segments, self._rows, self._group, self._height = segments, strip[0], group, height

    def read(self, row: int, column: int, *, blank: bool) -> NDArray[Any]:
        strips = range(row * self._group, min((row + 1) * self._group, -(-self._height // self._rows)))
        return np.concatenate([self._strip(number, blank=blank) for number in strips])

    def _strip(self, number: int, *, blank: bool) -> NDArray[Any]:
        height = min(self._rows, self._height - number * self._rows)
        data = self._segments.bytes(number)
        if data is None:
            return _blank(self._segments.file, self.coding, (number, 0), (height, self.tile[1]), blank=blank)
        return self.coding.decoded(data, height, self.tile[1], self._rows)[:height]


class _RawPlane:
    """A plane whose values lie in the file one after the other: tiles are cut out of it."""

    missing = 0

    def __init__(self, file: SourceFile, coding: Coding, offset: int, size: tuple[int, int]) -> None:
        self.coding = coding
        self.tile = min(RAW_ROWS, size[0]), min(RAW_COLUMNS, size[1])
        self._file, self._offset, self._size = file, offset, size

    def read(self, row: int, column: int, *, blank: bool) -> NDArray[Any]:
        top, left = row * self.tile[0], column * self.tile[1]
        height, width = min(self.tile[0], self._size[0] - top), min(self.tile[1], self._size[1] - left)
        stride, count = self.coding.row_bytes(self._size[1]), self.coding.row_bytes(width)
        start = self._offset + top * stride + self.coding.row_bytes(left)
        if count == stride:
            data = self._file.read(start, height * stride)
        else:
            data = b"".join(self._file.read(start + line * stride, count) for line in range(height))
        return self.coding.decoded(data, height, width)


def _blank(
    file: SourceFile, coding: Coding, place: tuple[int, int], size: tuple[int, int], *, blank: bool
) -> NDArray[Any]:
    if not blank:
        raise never_written(file.path, f"tile {place} of a level")
    return np.zeros((*size, coding.channels), coding.dtype)
