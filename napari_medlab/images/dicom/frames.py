"""One frame of a DICOM file, as much of its header as is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.image import Window

__all__ = ["DEFLATED", "NATIVE", "RLE", "DicomFile", "Fragments", "Frame", "PixelPlace"]

NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"

Fragments = tuple[tuple[int, int], ...]
"""Offset and length of the pieces of one compressed frame."""


@dataclass(frozen=True)
class PixelPlace:
    """Where the pixels of a file lie.

    Parameters
    ----------
    offset : int
        Of the first byte; counted from ``deflated_from`` on, after inflating, where that is set.
    words : bool
        Whether they are stored in words of two bytes.
    fragments : tuple of Fragments
        For each frame, where they are compressed one by one.
    deflated_from : int or None
    """

    offset: int
    words: bool
    fragments: tuple[Fragments, ...] = ()
    deflated_from: int | None = None


@dataclass(frozen=True, eq=False)
class DicomFile:
    """What all frames of one file have in common.

    Parameters
    ----------
    path : Path
    stamp : str
        From :func:`napari_medlab.images.stamps.stamp_of`, when the header was read.
    series_uid, modality, photometric, syntax : str
        The transfer syntax by its UID.
    shape : (rows, columns) or (rows, columns, samples)
    bits : (allocated, stored, high)
    signed : bool
    pixels : PixelPlace
    frames : int
        How many there are.
    planar_configuration : int
        1 where each colour is stored apart.
    padding : int or None
        The stored value that fills what was not scanned.
    imager_spacing : (row, column) mm or None
    magnification : float or None
    calibration, laterality, view : str
    chest_wall : {"left", "right", ""}
        On which side of a mammogram the chest wall is; empty where the header does not say.
    """

    path: Path
    stamp: str
    series_uid: str
    modality: str
    photometric: str
    syntax: str
    shape: tuple[int, ...]
    bits: tuple[int, int, int]
    signed: bool
    pixels: PixelPlace
    frames: int = 1
    planar_configuration: int = 0
    padding: int | None = None
    imager_spacing: tuple[float, float] | None = None
    magnification: float | None = None
    calibration: str = ""
    laterality: str = ""
    view: str = ""
    chest_wall: str = ""

    @property
    def is_native(self) -> bool:
        """Whether pixels are stored as they are, so that unused bits may hold anything."""
        return self.syntax in NATIVE or self.syntax == DEFLATED

    @property
    def is_little_endian(self) -> bool:
        """Whether the lowest byte comes first."""
        return self.syntax != BIG_ENDIAN

    @property
    def samples(self) -> int:
        """How many values a pixel has."""
        return self.shape[2] if len(self.shape) > 2 else 1

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type of a stored value."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits[0] // 8}")

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and highest value that the stored bits can hold."""
        stored = self.bits[1]
        return (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if self.signed else (0, (1 << stored) - 1)

    @property
    def frame_bytes(self) -> int:
        """How long one frame is when it is not compressed."""
        count = int(np.prod(self.shape, dtype=np.int64)) * self.bits[0] // 8
        return count // 3 * 2 if self.photometric.endswith("422") and self.is_native else count


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: a slice, a view, a moment.

    Parameters
    ----------
    file : DicomFile
    number : int
        Which frame of the file, from 0.
    slope, intercept : float
        Stored value to real value; 1 and 0 where the header has none.
    has_rescale, has_table : bool
        Whether the header states them; whether it has a modality look-up table.
    windows : tuple of Window
        In real values; a VOI LUT where the header has one.
    position : float64 array (3,) or None; world of the first pixel's centre, LPS mm
    orientation : float64 array (2, 3) or None; world directions of growing column and growing row index
    pixel_spacing : (row, column) mm or None
    thickness : float or None
    labels : dict
        What may tell it from other frames at the same place: DICOM keyword to number or text.
    """

    file: DicomFile
    number: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    has_rescale: bool = False
    has_table: bool = False
    windows: tuple[Window, ...] = ()
    position: NDArray[np.float64] | None = None
    orientation: NDArray[np.float64] | None = None
    pixel_spacing: tuple[float, float] | None = None
    thickness: float | None = None
    labels: dict[str, float | str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What messages call it: the name of its file, and which frame of several."""
        return (
            f"{self.file.path.name} (frame {self.number + 1})"
            if self.file.frames > 1
            else self.file.path.name
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples)."""
        return self.file.shape

    @property
    def is_placed(self) -> bool:
        """Whether the header says where it lies."""
        return self.position is not None and self.orientation is not None and self.pixel_spacing is not None

    @property
    def real_range(self) -> tuple[float, float]:
        """The lowest and highest real value that the stored bits can hold."""
        ends = sorted(value * self.slope + self.intercept for value in self.file.stored_range)
        return ends[0], ends[1]
