"""The pixels of one DICOM file, decoded when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images.dicom.headers import DicomHeader

__all__ = ["RealValues", "StoredValues", "real_dtype", "stored_values"]


@dataclass(frozen=True)
class RealValues:
    """Reads slices of a stack as real values: Hounsfield units for CT.

    Parameters
    ----------
    headers : tuple of DicomHeader, in the order of the stack
    dtype : the type that holds every slice, from :func:`real_dtype`
    """

    headers: tuple[DicomHeader, ...]
    dtype: np.dtype[Any]

    def __call__(self, number: int) -> NDArray[Any]:
        """Return slice ``number`` as an array (y, x)."""
        header = self.headers[number]
        stored = stored_values(header)
        if self.dtype.kind == "i":
            exact: NDArray[Any] = stored.astype(np.int32) * int(header.slope) + int(header.intercept)
            return exact.astype(self.dtype)
        real: NDArray[Any] = stored * np.float64(header.slope) + header.intercept
        return real.astype(self.dtype)


@dataclass(frozen=True)
class StoredValues:
    """Reads one file as it is stored, colours as red, green and blue."""

    header: DicomHeader

    def __call__(self) -> NDArray[Any]:
        """Return the array (y, x) or (y, x, channel)."""
        return stored_values(self.header)


def real_dtype(headers: tuple[DicomHeader, ...]) -> np.dtype[Any]:
    """Return int16 where every value that the headers allow is a whole number within it, else float32."""
    limits = np.iinfo(np.int16)
    for header in headers:
        if not (header.slope.is_integer() and header.intercept.is_integer()):
            return np.dtype(np.float32)
        ends = [value * header.slope + header.intercept for value in header.stored_range]
        if min(ends) < limits.min or max(ends) > limits.max:
            return np.dtype(np.float32)
    return np.dtype(np.int16)


def stored_values(header: DicomHeader) -> NDArray[Any]:
    """Decode one file into its stored values, bits that do not belong to them removed."""
    import pydicom
    from pydicom.pixels.utils import pixel_array

    with reading(header.path):
        dataset = pydicom.dcmread(header.path)
        if str(dataset.get("SOPInstanceUID") or "") != header.uid:
            raise ImageRefusedError(
                f"{header.path.name} has changed since it was opened.",
                code="changed",
                hint="Open the image again.",
            )
        pixels: NDArray[Any] = pixel_array(dataset)
    if pixels.shape != header.shape:
        raise ImageRefusedError(
            f"{header.path.name} decodes to {pixels.shape}, its header says {header.shape}.",
            code="unreadable",
            hint="The file is damaged; copy it again from its source.",
        )
    pixels = pixels.astype(header.stored_dtype, copy=False)
    return _without_unused_bits(pixels, header) if header.is_native else pixels


def _without_unused_bits(pixels: NDArray[Any], header: DicomHeader) -> NDArray[Any]:
    allocated, stored, high = header.bits
    if stored == allocated:
        return pixels
    # to the top and back down: the sign of signed values comes along
    cleaned: NDArray[Any] = (pixels << (allocated - 1 - high)) >> (allocated - stored)
    return cleaned
