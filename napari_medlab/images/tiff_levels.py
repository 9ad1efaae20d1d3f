"""The levels of a TIFF's baseline image as lazy arrays, decoded tile by tile."""

from __future__ import annotations

import threading
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.lazy import as_dask
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da
    from numpy.typing import DTypeLike, NDArray

__all__ = ["TiffLevel", "lazy_level"]

CHUNK = 1024
"""Tiles are read in blocks of at least this many pixels a side: fewer tasks for dask to keep."""
OPEN_FILES = 8
_opening = threading.Lock()


class TiffLevel:
    """What dask slices: one level, its channels last.

    Parameters
    ----------
    path : Path
    number : int
        The level; 0 is the finest.
    shape : (y, x) or (y, x, channel)
    dtype : numpy dtype
    channels_first : bool
        Whether the file keeps its channels apart, one plane after the other.
    """

    def __init__(
        self, path: Path, number: int, shape: tuple[int, ...], dtype: DTypeLike, *, channels_first: bool
    ) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ndim = len(shape)
        self._path, self._number, self._channels_first = path, number, channels_first
        self._stamp = _stamp(path)

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401 - ints and slices, as numpy takes them
        given = index if isinstance(index, tuple) else (index,)
        wanted = (*given, *(slice(None),) * (self.ndim - len(given)))
        ranges = [
            range(int(axis), int(axis) + 1) if isinstance(axis, int | np.integer) else range(size)[axis]
            for axis, size in zip(wanted, self.shape, strict=True)
        ]
        kept = tuple(0 if isinstance(axis, int | np.integer) else slice(None) for axis in wanted)
        if not all(ranges):
            return np.empty([len(axis) for axis in ranges], self.dtype)[kept]
        block = self._read(tuple(slice(min(axis), max(axis) + 1) for axis in ranges))
        steps = tuple(slice(None, None, axis.step) for axis in ranges)
        pixels: NDArray[Any] = block[steps][kept]
        return pixels

    def _read(self, box: tuple[slice, ...]) -> NDArray[Any]:
        with reading(self._path):
            if _stamp(self._path) != self._stamp:
                raise ImageRefusedError(
                    f"{self._path.name} has changed since it was opened.",
                    code="changed",
                    hint="Open the image again.",
                )
            with _opening:
                tiff = _opened(self._path, self._stamp)  # held until read: it closes when it is let go
            level = tiff.level(self._number)
            if not self._channels_first:
                return np.asarray(level[box])
            return np.moveaxis(np.asarray(level[(box[2], box[0], box[1])]), 0, -1)


class _OpenTiff:
    """A TIFF kept open, its directories read once; closed when nobody needs it any more."""

    def __init__(self, path: Path) -> None:
        import tifffile

        self._tiff = tifffile.TiffFile(path, _multifile=False)
        weakref.finalize(self, self._tiff.close)
        self._levels: dict[int, Any] = {}
        self._lock = threading.Lock()

    def level(self, number: int) -> Any:  # noqa: ANN401 - a zarr array
        import zarr

        with self._lock:
            if number not in self._levels:
                self._levels[number] = zarr.open_array(self._tiff.series[0].aszarr(level=number), mode="r")
            return self._levels[number]


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path, stamp: tuple[int, int]) -> _OpenTiff:
    """Return an open file; the stamp is part of the key, so that a changed file is opened anew."""
    return _OpenTiff(path)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def lazy_level(level: TiffLevel, tile: tuple[int, int]) -> da.Array:
    """Return a level as a dask array whose chunks are whole numbers of tiles."""
    sides = [size * max(1, CHUNK // size) for size in tile]
    spatial = tuple(min(side, size) for side, size in zip(sides, level.shape, strict=False))
    return as_dask(level, spatial + level.shape[2:])
