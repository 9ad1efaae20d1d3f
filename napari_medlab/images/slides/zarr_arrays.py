"""Zarr arrays on disk: their chunks, read one at a time.

The files are read here rather than by the zarr package: that one shows a chunk that is missing as background, and lets
whatever package registers a codec decode.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.slides.zarr_codecs import decoded, without_checksum

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Index", "ZarrArray", "inside"]

CHECKED_CHUNKS = 50_000
"""Up to so many chunks are looked for when an image is opened; of more, each when it is read."""
NEVER = (1 << 64) - 1
INDEX_ENTRY = 16

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """One array, its chunks in files below a folder.

    Parameters
    ----------
    root : Path
        Nothing outside this folder is read.
    folder : Path
    shape, chunk : tuple of int
        A chunk is what is decoded in one piece.
    dtype : numpy dtype
        As stored.
    fill : float
        What a chunk that was never written holds, if that is decided.
    codecs : tuple of str
    order : tuple of int
        The axes of a chunk as they are stored.
    prefix, separator : str
        How the files of chunks are called.
    shard : tuple of int
        How many chunks one file holds along each axis.
    is_sharded : bool
    has_index_first, has_index_checksum : bool
        Where in such a file its index stands, and whether it is followed by a checksum.
    """

    root: Path
    folder: Path
    shape: Index
    chunk: Index
    dtype: np.dtype[Any]
    fill: float
    codecs: tuple[str, ...]
    order: Index
    prefix: str
    separator: str
    shard: Index
    is_sharded: bool = False
    has_index_first: bool = False
    has_index_checksum: bool = True

    def read(self, index: Index) -> NDArray[Any] | None:
        """Return a chunk in full, also where it reaches over the edge; None where it was never written."""
        data = self._stored(index)
        if data is None:
            return None
        sides = tuple(self.chunk[axis] for axis in self.order)
        values = np.frombuffer(decoded(data, self.codecs, math.prod(sides) * self.dtype.itemsize), self.dtype)
        turned: NDArray[Any] = values.reshape(sides).transpose(np.argsort(self.order))
        return turned.astype(self.dtype.newbyteorder("="), copy=False)

    def missing(self) -> int:
        """Return how many chunks were never written; 0 where they are too many to look for."""
        counts = self._counts()
        if math.prod(counts) > CHECKED_CHUNKS:
            return 0
        files = itertools.product(*(range(-(-n // by)) for n, by in zip(counts, self.shard, strict=True)))
        return sum(self._missing_of(file, counts) for file in files)

    def _counts(self) -> Index:
        return tuple(-(-size // side) for size, side in zip(self.shape, self.chunk, strict=True))

    def _missing_of(self, file: Index, counts: Index) -> int:
        path = self._path(file)
        held = [
            range(number * by, min((number + 1) * by, n))
            for number, by, n in zip(file, self.shard, counts, strict=True)
        ]
        if not os.path.isfile(path):
            return math.prod(map(len, held))
        if not self.is_sharded:
            return 0
        with path.open("rb") as shard:
            index = self._shard_index(shard.fileno())
        return sum(int(index[self._within(chunk)][0]) == NEVER for chunk in itertools.product(*held))

    def _path(self, file: Index) -> Path:
        name = self.separator.join(map(str, file)) or "0"
        joined = f"{self.prefix}{self.separator}{name}" if self.prefix else name
        return inside(self.root, self.folder / joined)

    def _stored(self, index: Index) -> bytes | None:
        try:
            with self._path(tuple(n // by for n, by in zip(index, self.shard, strict=True))).open(
                "rb"
            ) as file:
                size = os.fstat(file.fileno()).st_size
                offset, count = 0, size
                if self.is_sharded:
                    offset, count = (
                        int(number) for number in self._shard_index(file.fileno())[self._within(index)]
                    )
                    if offset == NEVER:
                        return None
                # what is not compressible takes a little more
                most = 2 * math.prod(self.chunk) * self.dtype.itemsize + (1 << 16)
                if offset + count > size or count > most:
                    raise ValueError(
                        f"chunk {index} takes {count} bytes at {offset} of {size}, expected at most {most}"
                    )
                file.seek(offset)
                return file.read(count)
        except FileNotFoundError:
            return None

    def _within(self, index: Index) -> Index:
        return tuple(n % by for n, by in zip(index, self.shard, strict=True))

    def _shard_index(self, descriptor: int) -> NDArray[np.uint64]:
        """Return (offset, size) of each chunk of a shard."""
        size = math.prod(self.shard) * INDEX_ENTRY + (4 if self.has_index_checksum else 0)
        end = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, 0 if self.has_index_first else max(0, end - size), os.SEEK_SET)
        data = os.read(descriptor, size)
        body = without_checksum(data) if self.has_index_checksum else data
        return np.frombuffer(body, "<u8").reshape(*self.shard, 2)


def inside(root: Path, path: Path) -> Path:
    """Return a path with its links followed, which must not lead out of ``root``."""
    real = os.path.realpath(path)
    if real != str(root) and not real.startswith(str(root) + os.sep):
        raise ImageRefusedError(
            f"{root.name}: its metadata or a link in it names a file outside of the folder.",
            code="path",
            hint="An image must lie in one folder: copy it there, with links followed.",
        )
    return Path(real)
