"""The pixels of one DICOM frame, decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.decoding import decode_compressed, decode_native_colours
from napari_medlab.images.dicom.frames import RLE
from napari_medlab.images.dicom.streams import InflatedBytes
from napari_medlab.images.refusals import reading
from napari_medlab.images.stamps import stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.frames import DicomFile, Frame

__all__ = ["RealValues", "StoredValues", "real_dtype", "stored_values"]


@dataclass(frozen=True)
class RealValues:
    """Reads slices of a stack as real values: Hounsfield units for CT.

    Parameters
    ----------
    frames : tuple of Frame, in the order of the stack
    dtype : the type that holds every slice, from :func:`real_dtype`
    """

    frames: tuple[Frame, ...]
    dtype: np.dtype[Any]

    def __call__(self, number: int) -> NDArray[Any]:
        """Return slice ``number`` as an array (y, x)."""
        frame = self.frames[number]
        stored = stored_values(frame)
        if self.dtype.kind == "i":
            return _exact(stored, int(frame.slope), int(frame.intercept))
        real: NDArray[Any] = stored * np.float64(frame.slope)
        real += frame.intercept
        return real.astype(self.dtype)


@dataclass(frozen=True)
class StoredValues:
    """Reads one frame as it is stored, colours as red, green and blue."""

    frame: Frame

    def __call__(self) -> NDArray[Any]:
        """Return the array (y, x) or (y, x, channel)."""
        return stored_values(self.frame)


def real_dtype(frames: Sequence[Frame]) -> np.dtype[Any]:
    """Return int16 where every value that the headers allow is a whole number within it, else float32."""
    limits = np.iinfo(np.int16)
    for slope, intercept, low, high in {(f.slope, f.intercept, *f.real_range) for f in frames}:
        if not (slope.is_integer() and intercept.is_integer() and limits.min <= low and high <= limits.max):
            return np.dtype(np.float32)
    return np.dtype(np.int16)


def stored_values(frame: Frame) -> NDArray[Any]:
    """Decode one frame into its stored values, bits that do not belong to them removed."""
    file = frame.file
    with reading(file.path):
        if stamp_of(file.path) != file.stamp:
            raise ImageRefusedError(
                f"{file.path.name} has changed since it was opened.",
                code="changed",
                hint="Open the image again.",
            )
        if file.pixels.fragments:
            pixels = decode_compressed(file, b"".join(_pieces(frame)))
            unused = file.syntax == RLE
        elif len(file.shape) > 2:
            pixels, unused = decode_native_colours(file, _native_bytes(frame).tobytes()), False
        else:
            pixels, unused = _native(frame), True
    if pixels.shape != file.shape:
        raise ImageRefusedError(
            f"{frame.name} decodes to {pixels.shape}, its header says {file.shape}.",
            code="unreadable",
            hint="The file is damaged; copy it again from its source.",
        )
    pixels = pixels.astype(file.stored_dtype, copy=False)
    return _without_unused_bits(pixels, file) if unused else pixels


def _exact(stored: NDArray[Any], slope: int, intercept: int) -> NDArray[np.int16]:
    """Return slope and intercept applied, modulo 2¹⁶: exact, for the results are known to fit."""
    values = stored.view(np.uint16) if stored.itemsize == 2 else stored.astype(np.int32).astype(np.uint16)
    if slope != 1:
        values = values * np.uint16(slope & 0xFFFF)
    return (values + np.uint16(intercept & 0xFFFF)).view(np.int16)


def _pieces(frame: Frame) -> list[bytes]:
    with frame.file.path.open("rb") as file:
        found = []
        for offset, length in frame.file.pixels.fragments[frame.number]:
            file.seek(offset)
            found.append(file.read(length))
    return found


def _native_bytes(frame: Frame) -> NDArray[np.uint8]:
    """Return the bytes of one uncompressed frame."""
    file, size = frame.file, frame.file.frame_bytes
    offset = file.pixels.offset + frame.number * size
    buffer: NDArray[np.uint8] = np.empty(size, np.uint8)
    with file.path.open("rb", buffering=0) as source:
        if file.pixels.deflated_from is not None:
            found = InflatedBytes(file.path, source, file.pixels.deflated_from, offset + size).read(
                offset, size
            )
            buffer[: len(found)] = np.frombuffer(found, np.uint8)
            got = len(found)
        else:
            source.seek(offset)
            got = 0
            while got < size and (count := source.readinto(buffer[got:].data)):
                got += count
    if got < size:
        raise ImageRefusedError(
            f"{frame.name} is cut short: {got} of {size} bytes of its pixels are there.",
            code="truncated",
            hint="Copy the file again from its source.",
        )
    return buffer


def _native(frame: Frame) -> NDArray[Any]:
    file, data = frame.file, _native_bytes(frame)
    if file.is_little_endian:
        return data.view(file.stored_dtype.newbyteorder("<")).reshape(file.shape)
    if file.bits[0] == 8 and file.pixels.words:
        return _unswapped(data, frame).reshape(file.shape)
    return data.view(file.stored_dtype.newbyteorder(">")).reshape(file.shape)


def _unswapped(data: NDArray[np.uint8], frame: Frame) -> NDArray[Any]:
    """Return single bytes that were written as words, highest byte first."""
    if len(data) % 2 or frame.file.frames > 1:
        raise ImageRefusedError(
            f"{frame.name}: odd rows of bytes are stored as big-endian words.",
            code="syntax",
            hint="Convert it to a little-endian transfer syntax.",
        )
    return data.reshape(-1, 2)[:, ::-1].reshape(-1).view(frame.file.stored_dtype)


def _without_unused_bits(pixels: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    allocated, stored, high = file.bits
    if stored == allocated:
        return pixels
    if not file.signed:
        kept: NDArray[Any] = (pixels >> (high + 1 - stored) if high + 1 > stored else pixels) & (
            (1 << stored) - 1
        )
        return kept
    # to the top and back down: the sign comes along
    cleaned: NDArray[Any] = (pixels << (allocated - 1 - high)) >> (allocated - stored)
    return cleaned
