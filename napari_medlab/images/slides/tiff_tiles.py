"""The levels of a TIFF's baseline image, decoded tile by tile."""

from __future__ import annotations

import os
import threading
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import reading
from napari_medlab.images.slides.codestreams import check_codestream
from napari_medlab.images.stamps import stamp_of

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = ["TiffTiles"]

OPEN_FILES = 8
_opening = threading.Lock()


class TiffTiles:
    """One level, its channels last; a strip counts as a tile as wide as the image.

    Parameters
    ----------
    path : Path
    series, level : int
        Of tifffile's count.
    shape : (y, x) or (y, x, channel)
    dtype : numpy dtype
    tile : tuple of int
        A tile's sides; a channel axis is cut into single channels where the file keeps them apart.
    blank_absent : bool
        Whether tiles that were never written are 0; they are an error otherwise.
    """

    def __init__(  # noqa: PLR0913 - what it takes to find a tile again in another process
        self, path: Path, series: int, level: int, shape: tuple[int, ...], dtype: DTypeLike, tile: tuple[int, ...],
        *, blank_absent: bool = False,
    ) -> None:  # fmt: skip
        self.shape, self.tile = shape, tile
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._path, self._series, self._level = path, series, level
        self._blank_absent = blank_absent
        self._stamp = stamp_of(path)

    @property
    def key(self) -> Hashable:
        """What its tiles are called in the cache."""
        return str(self._path), self._stamp, self._series, self._level

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile (y, x) or (y, x, channel)."""
        with reading(self._path):
            if stamp_of(self._path) != self._stamp:
                raise ImageRefusedError(
                    f"{self._path.name} has changed since it was opened.", code="changed", hint="Open the image again."
                )
            with _opening:
                tiff = _opened(self._path, self._stamp)  # held until read: it closes when it is let go
            return self._decoded(tiff, index)

    def _decoded(self, tiff: _OpenTiff, index: tuple[int, ...]) -> NDArray[Any]:
        is_apart = len(self.shape) == 3 and self.tile[2] == 1
        channel = index[2] if is_apart else 0
        page, plane = tiff.page(self._series, self._level, channel)
        across = -(-self.shape[1] // self.tile[1])
        down = -(-self.shape[0] // self.tile[0])
        number = (plane * down + index[0]) * across + index[1]
        height = min(self.tile[0], self.shape[0] - index[0] * self.tile[0])
        width = min(self.tile[1], self.shape[1] - index[1] * self.tile[1])
        segment = tiff.segment(page, number)
        depth = 1 if is_apart or len(self.shape) == 2 else self.shape[2]
        if segment is None:
            if not self._blank_absent:
                raise ImageRefusedError(
                    f"{self._path.name}: tile {index} of level {self._level} was never written.",
                    code="missing-tile",
                    hint="The file is incomplete: copy or export it again from its source.",
                )
            return np.zeros((height, width, *self.shape[2:]) if not is_apart else (height, width, 1), self.dtype)
        check_codestream(self._path, int(page.compression), segment, self.tile)
        decoded = page.decode(segment, number, jpegtables=page.jpegtables, jpegheader=page.jpegheader)[0]
        pixels = np.asarray(decoded, self.dtype).reshape(decoded.shape[-3:])[:height, :width, :depth]
        if pixels.shape != (height, width, depth):
            raise ImageRefusedError(
                f"{self._path.name}: tile {index} of level {self._level} decodes to {pixels.shape}, "
                f"expected {(height, width, depth)}.",
                code="unreadable",
                hint="The file is damaged; copy it again from its source.",
            )
        return np.ascontiguousarray(pixels[..., 0] if len(self.shape) == 2 else pixels)


class _OpenTiff:
    """A TIFF kept open, its directories read once; closed when nobody needs it any more."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._tiff = tifffile.TiffFile(path, _multifile=False)
        weakref.finalize(self, self._tiff.close)
        self._series = self._tiff.series
        self._pages: dict[tuple[int, int, int], tuple[Any, int]] = {}
        self._lock = threading.Lock()

    def page(self, series: int, level: int, channel: int) -> tuple[Any, int]:
        """Return the page of a level that holds a channel, and which of the page's planes it is."""
        with self._lock:
            key = series, level, channel
            if key not in self._pages:
                pages = self._series[series].levels[level]
                one_each = len(pages.pages) > 1
                page = pages.pages[channel] if one_each else pages.keyframe
                if page is None:
                    raise ValueError(f"channel {channel} has no page")
                page = page.aspage() if hasattr(page, "aspage") else page
                page.decode  # noqa: B018 - made here once, and not by several threads at the same time
                self._pages[key] = page, 0 if one_each else channel
            return self._pages[key]

    def segment(self, page: Any, number: int) -> bytes | None:  # noqa: ANN401 - tifffile has no types
        """Return the bytes of a tile or strip; None where there are none."""
        count = int(page.databytecounts[number])
        if count == 0:
            return None
        return _bytes_at(self._tiff.filehandle, int(page.dataoffsets[number]), count)


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, stamp: str) -> _OpenTiff:
    """Return an open file; the stamp is part of the key, so that a changed file is opened anew."""
    return _OpenTiff(path)


_seeking = threading.Lock()


def _bytes_at(handle: Any, offset: int, count: int) -> bytes:  # noqa: ANN401 - tifffile has no types
    if hasattr(os, "pread"):
        data = os.pread(handle.fileno(), count, offset)
    else:
        with _seeking:
            handle.seek(offset)
            data = handle.read(count)
    if len(data) < count:
        raise EOFError(f"{count} bytes at {offset}, and only {len(data)} are there")
    return bytes(data)
