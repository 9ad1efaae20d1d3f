"""Pixels that are decoded when somebody looks at them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import dask.array as da
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Source", "WholeFile", "as_dask", "lazy_planes", "lazy_whole"]


class Source(Protocol):
    """What dask slices: decodes what ``source[index]`` asks for, with ints and slices as numpy takes them."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ndim: int

    def __getitem__(self, index: Any) -> NDArray[Any]: ...  # noqa: ANN401 - as above


def as_dask(source: Source, chunks: tuple[int, ...]) -> da.Array:
    """Return a lazy array over a source."""
    import dask.array as da

    lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]
        source, chunks=chunks, name=False, meta=np.empty((0,) * source.ndim, source.dtype)
    )
    return lazy


class _Planes:
    """What dask slices: an array whose planes along axis 0 are read one by one."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[int], NDArray[Any]]) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ndim = len(shape)
        self._read = read

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401 - ints and slices, as numpy takes them
        parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        first, rest = parts[0], parts[1:]
        if isinstance(first, int | np.integer):
            plane: NDArray[Any] = self._plane(int(first))[rest]
            return plane
        numbers = range(self.shape[0])[first]
        if not numbers:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
        return np.stack([self._plane(number)[rest] for number in numbers])

    def _plane(self, number: int) -> NDArray[Any]:
        return np.asarray(self._read(number), dtype=self.dtype).reshape(self.shape[1:])


class _Whole:
    """What dask slices: an array that is read in one piece."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[], NDArray[Any]]) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ndim = len(shape)
        self._read = read

    def __getitem__(self, index: Any) -> NDArray[Any]:  # noqa: ANN401 - ints and slices, as numpy takes them
        pixels: NDArray[Any] = np.asarray(self._read(), dtype=self.dtype).reshape(self.shape)[index]
        return pixels


class WholeFile:
    """A compressed file that can only be decoded from its beginning: decoded once, then kept.

    Parameters
    ----------
    path : Path
    read : callable
        A module-level function that decodes the whole file into an array (z, y, x).
    """

    def __init__(self, path: Path, read: Callable[[Path], NDArray[Any]]) -> None:
        self._path, self._decode = path, read
        self._lock = threading.Lock()
        self._pixels: NDArray[Any] | None = None

    def __call__(self, number: int) -> NDArray[Any]:
        """Return plane ``number`` along axis 0."""
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode(self._path)
            plane: NDArray[Any] = self._pixels[number]
            return plane

    def __reduce__(self) -> tuple[Any, ...]:
        # another process decodes for itself: neither lock nor pixels travel
        return WholeFile, (self._path, self._decode)


def lazy_planes(shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[int], NDArray[Any]]) -> da.Array:
    """Return a dask array with one chunk per plane of axis 0, each filled by ``read(number)``."""
    return as_dask(_Planes(shape, dtype, read), (1, *shape[1:]))


def lazy_whole(shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[], NDArray[Any]]) -> da.Array:
    """Return a dask array of one chunk, filled by ``read()``."""
    return as_dask(_Whole(shape, dtype, read), shape)
