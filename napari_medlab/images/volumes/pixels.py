"""The pixels of a volume as they lie in a file: one value a voxel, x fastest, plane after plane."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.progress import report
from napari_medlab.images.refusals import check_decodable_whole, check_not_shorter, reading
from napari_medlab.images.stamps import stamp_of
from napari_medlab.images.tiles import PlaneTiles, WholeTile
from napari_medlab.images.volumes.streams import Inflated
from napari_medlab.images.volumes.text_values import check_text, values_of_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.tiles import TileSource

__all__ = ["MAX_HEAD_BYTES", "Pixels", "tiles_of"]

MAX_HEAD_BYTES = 16 << 20
"""The most that may stand in front of the pixels within a compressed stream."""
MAX_WHOLE_BYTES = 1792 << 20
"""The most that the process that decodes foreign files makes in one piece: it may take 2,560 MiB in all."""
BLOCK = 1 << 20
"""So many values are converted at once."""
GIB = 1 << 30


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of one volume lie and how they are stored.

    Parameters
    ----------
    path : Path
        The file that holds them.
    shape : (z, y, x)
    stored : numpy dtype
        With its byte order.
    offset : int
        Where in the file the pixels begin, or the compressed stream that holds them.
    packing : {"", "gzip", "zlib", "text"}
    packed_bytes : int or None
        How long the compressed stream is; None where it ends with the file.
    skip : int
        How many bytes stand before the first volume within the compressed stream.
    volumes : int
        How many volumes lie one after the other.
    phase : int
        Which of them is meant.
    slope, intercept : float
        What turns stored values into real ones.
    """

    path: Path
    shape: tuple[int, int, int]
    stored: np.dtype[Any]
    offset: int
    packing: Literal["", "gzip", "zlib", "text"] = ""
    packed_bytes: int | None = None
    skip: int = 0
    volumes: int = 1
    phase: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    stamp: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", stamp_of(self.path))

    @property
    def is_scaled(self) -> bool:
        """Whether stored values are not the real ones."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of real values, in the byte order of this machine."""
        if self.is_scaled:
            return np.dtype(np.float64 if self.stored.itemsize > 4 else np.float32)
        return self.stored.newbyteorder("=")

    @property
    def volume_bytes(self) -> int:
        """How many bytes one volume takes as stored."""
        return math.prod(self.shape) * self.stored.itemsize

    def values(self, data: bytes | NDArray[np.uint8]) -> NDArray[Any]:
        """Return stored bytes as a flat array of real values."""
        stored = np.frombuffer(data, self.stored)
        return stored * np.float64(self.slope) + np.float64(self.intercept) if self.is_scaled else stored


def tiles_of(pixels: Pixels) -> TileSource:
    """Return the pixels: planes that are read one by one, or one tile where they are compressed.

    Raises
    ------
    ImageRefusedError
        Where the file is too short for them, or they take too much memory.
    """
    available = max(0, pixels.path.stat().st_size - pixels.offset)
    if pixels.packed_bytes is not None:
        available = min(available, pixels.packed_bytes)
    needed = pixels.volumes * pixels.volume_bytes
    if not pixels.packing:
        check_not_shorter(pixels.path, needed, available)
        return PlaneTiles(pixels.shape, pixels.dtype, _Plane(pixels))
    _check_whole(pixels)
    if pixels.packing == "text":
        check_text(pixels.path, pixels.volumes * math.prod(pixels.shape), available)
    else:
        check_not_shorter(pixels.path, needed + pixels.skip, available, deflated=True)
    return WholeTile(pixels.shape, pixels.dtype, _Whole(pixels))


@dataclass(frozen=True)
class _Plane:
    pixels: Pixels

    def __call__(self, number: int) -> NDArray[Any]:
        pixels = self.pixels
        size = pixels.volume_bytes // pixels.shape[0]
        with _decoding(pixels), pixels.path.open("rb", buffering=0) as file:
            file.seek(pixels.offset + pixels.phase * pixels.volume_bytes + number * size)
            data = np.empty(size, np.uint8)
            got = 0
            while got < size:
                more = file.readinto(data.data[got:])
                if not more:
                    raise EOFError(f"plane {number} ends after {got} of {size} bytes")
                got += more
            return pixels.values(data).reshape(pixels.shape[1:])


@dataclass(frozen=True)
class _Whole:
    pixels: Pixels

    def __call__(self) -> NDArray[Any]:
        with _decoding(self.pixels):
            values = np.empty(math.prod(self.pixels.shape), self.pixels.dtype)
            at = 0
            for block in self._blocks():
                values[at : at + block.size] = block
                at += block.size
                report(at, values.size)
            return values.reshape(self.pixels.shape)

    def _blocks(self) -> Iterator[NDArray[Any]]:
        """Yield the values of the volume, a million at a time."""
        pixels, count = self.pixels, math.prod(self.pixels.shape)
        with pixels.path.open("rb") as file:
            file.seek(pixels.offset)
            if pixels.packing == "text":
                yield from values_of_text(
                    file, pixels.stored, pixels.phase * count, count, pixels.volumes * count
                )
                return
            limit = pixels.path.stat().st_size if pixels.packed_bytes is None else pixels.packed_bytes
            stream = Inflated(file, "gzip" if pixels.packing == "gzip" else "zlib", limit)
            stream.skip(pixels.skip + pixels.phase * pixels.volume_bytes)
            for start in range(0, count, BLOCK):
                yield pixels.values(stream.exactly(min(BLOCK, count - start) * pixels.stored.itemsize))
            if pixels.phase == pixels.volumes - 1:
                stream.finish()


@contextmanager
def _decoding(pixels: Pixels) -> Iterator[None]:
    """Refuse by name what can go wrong with pixels whose header is sound."""
    name, code, hint = pixels.path.name, "", "Copy the file again from its source."
    with reading(pixels.path):
        if stamp_of(pixels.path) != pixels.stamp:
            raise ImageRefusedError(
                f"{name} has changed since it was opened.", code="changed", hint="Open the image again."
            )
        try:
            yield
        except EOFError as error:
            code, text = "truncated", f"{name} is cut short: {error}."
        except OverflowError as error:
            code, text = "size", f"{name} holds more than its header announces: {error}."
        except MemoryError:
            code, text = (
                "size",
                f"{name} takes {_gib(pixels)} GiB when decoded, for which there is no room now.",
            )
            hint = "Close other images, or save it without compression: it is then read plane by plane."
        if code:
            raise ImageRefusedError(text, code=code, hint=hint)


def _check_whole(pixels: Pixels) -> None:
    """Refuse a compressed volume that is too large to be decoded in one piece."""
    check_decodable_whole(pixels.path, pixels.shape, pixels.dtype)
    if math.prod(pixels.shape) * pixels.dtype.itemsize > MAX_WHOLE_BYTES:
        raise ImageRefusedError(
            f"{pixels.path.name} is compressed and takes {_gib(pixels)} GiB when decoded, which it is in one piece; "
            f"the most is {MAX_WHOLE_BYTES / GIB:.2f} GiB.",
            code="size",
            hint="Save it without compression (.nii, .mha, raw .nrrd): it is then read plane by plane, however large.",
        )
    if pixels.skip > MAX_HEAD_BYTES:
        raise ImageRefusedError(
            f"{pixels.path.name}: its header puts {pixels.skip} bytes in front of the pixels within the compressed stream.",
            code="size",
            hint=f"At most {MAX_HEAD_BYTES >> 20} MiB are read there; the header is damaged, or save without compression.",
        )


def _gib(pixels: Pixels) -> str:
    return f"{math.prod(pixels.shape) * pixels.dtype.itemsize / GIB:.2f}"
