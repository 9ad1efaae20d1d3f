"""Header fields, checked: libraries let NaN, zeros and vectors of any length through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.values import first, numbers

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.values import Elements

__all__ = ["bits", "orientation", "padding", "pair", "positive", "rescale", "vector"]

DAMAGED = "The header is damaged; export the image again from its source."
UNIT_LENGTH = 1e-3
MIN_SLOPE, MAX_VALUE = 1e-20, 1e20


def rescale(path: Path, elements: Elements) -> tuple[float, float]:
    """Return slope and intercept, 1 and 0 where the header has none."""
    slope, intercept = (
        float(first(elements, "RescaleSlope", 1)),
        float(first(elements, "RescaleIntercept", 0)),
    )
    if not (MIN_SLOPE <= abs(slope) <= MAX_VALUE and abs(intercept) <= MAX_VALUE):  # so is NaN
        raise ImageRefusedError(
            f"{path.name}: RescaleSlope is {slope} and RescaleIntercept {intercept}.",
            code="slope",
            hint="Both must be finite, of a usual size, and the slope not 0; the header is damaged.",
        )
    return slope, intercept


def bits(path: Path, elements: Elements) -> tuple[int, int, int]:
    """Return bits allocated, bits stored and the highest bit."""
    allocated = int(first(elements, "BitsAllocated", 0))
    stored = int(first(elements, "BitsStored", 0)) or allocated
    high = int(first(elements, "HighBit", stored - 1))
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise ImageRefusedError(
            f"{path.name}: {stored} bits stored of {allocated}, highest bit {high}.",
            code="bits",
            hint="8, 16 and 32 bits a value are read; export the image in one of these.",
        )
    return allocated, stored, high


def padding(elements: Elements, allocated: int, *, signed: bool) -> int | None:
    """Return the stored value that fills what was not scanned."""
    value = first(elements, "PixelPaddingValue")
    if value is None:
        return None
    # some writers store a negative padding value as if it were unsigned
    return int(value) - (1 << allocated) if signed and value >= 1 << (allocated - 1) else int(value)


def vector(path: Path, elements: Elements, name: str, size: int) -> NDArray[np.float64] | None:
    """Return so many finite numbers, or None where the header has none."""
    values = elements.get(name)
    if values is None:
        return None
    found: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if found.shape != (size,) or not np.isfinite(found).all():
        raise ImageRefusedError(
            f"{path.name}: {name} is {values[:8]}, expected {size} finite numbers.",
            code="affine",
            hint=DAMAGED,
        )
    return found


def orientation(path: Path, elements: Elements) -> NDArray[np.float64] | None:
    """Return the directions of growing column and growing row index, (2, 3), of unit length."""
    values = vector(path, elements, "ImageOrientationPatient", 6)
    if values is None:
        return None
    axes: NDArray[np.float64] = values.reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > UNIT_LENGTH or abs(float(axes[0] @ axes[1])) > UNIT_LENGTH:
        raise ImageRefusedError(
            f"{path.name}: ImageOrientationPatient is {values.tolist()}, expected two unit vectors at right angles.",
            code="orientation",
            hint=DAMAGED,
        )
    unit: NDArray[np.float64] = axes / lengths[:, None]
    return unit


def pair(path: Path, elements: Elements, name: str) -> tuple[float, float] | None:
    """Return a distance along rows and one along columns, in mm."""
    values = vector(path, elements, name, 2)
    if values is None:
        return None
    if values.min() <= 0:
        raise ImageRefusedError(
            f"{path.name}: {name} is {values.tolist()} mm, expected positive numbers.",
            code="spacing",
            hint=DAMAGED,
        )
    return float(values[0]), float(values[1])


def positive(elements: Elements, name: str) -> float | None:
    """Return a finite positive number, or None where the header has none."""
    values = numbers(elements, name)
    return values[0] if values and np.isfinite(values[0]) and values[0] > 0 else None
