"""What is read from the header of one DICOM file: nothing that identifies a patient."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.windows import windows_of as _windows
from napari_medlab.images.refusals import check_not_shorter, check_shape

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

    from napari_medlab.images.image import Window

__all__ = ["DicomHeader", "SetAside", "read_header"]

SetAside = Literal["not-dicom", "no-pixels", "localiser", "derived"]
"""Why a file of a folder is left out of the image."""

NATIVE_SYNTAXES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
DEFLATED_SYNTAX = "1.2.840.10008.1.2.1.99"
DERIVED_MODALITIES = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG"})
TAGS = [
    "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "Rows", "Columns", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "PixelSpacingCalibrationType", "ImagerPixelSpacing", "EstimatedRadiographicMagnificationFactor",
    "SliceThickness", "ImageLaterality", "Laterality", "ViewPosition",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class DicomHeader:
    """The header of one single-frame DICOM image.

    Parameters
    ----------
    path : Path
    uid, series_uid, modality, photometric, syntax : str
        SOP instance and series; the transfer syntax by its UID.
    shape : (rows, columns) or (rows, columns, samples)
    bits : (allocated, stored, high)
    signed : bool
    slope, intercept : float
        Stored value to real value; 1 and 0 where the header has none.
    padding : int or None
        The stored value that fills what was not scanned.
    windows : tuple of Window
        In real values; a VOI LUT where the header has one.
    position : float64 array (3,) or None; world of the first pixel's centre, LPS mm
    orientation : float64 array (2, 3) or None; world directions of growing column and growing row index
    pixel_spacing, imager_spacing : (row, column) mm or None
    thickness, magnification : float or None
    more : dict
        What only one kind of image needs.
    """

    path: Path
    uid: str
    series_uid: str
    modality: str
    photometric: str
    syntax: str
    shape: tuple[int, ...]
    bits: tuple[int, int, int]
    signed: bool
    slope: float = 1.0
    intercept: float = 0.0
    padding: int | None = None
    windows: tuple[Window, ...] = ()
    position: NDArray[np.float64] | None = None
    orientation: NDArray[np.float64] | None = None
    pixel_spacing: tuple[float, float] | None = None
    imager_spacing: tuple[float, float] | None = None
    thickness: float | None = None
    magnification: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_native(self) -> bool:
        """Whether pixels are stored as they are, so that unused bits may hold anything."""
        return self.syntax in NATIVE_SYNTAXES or self.syntax == DEFLATED_SYNTAX

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type of a stored value."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.bits[0] // 8}")

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and highest value that the stored bits can hold."""
        stored = self.bits[1]
        return (-(1 << (stored - 1)), (1 << (stored - 1)) - 1) if self.signed else (0, (1 << stored) - 1)


def read_header(path: Path) -> DicomHeader | SetAside:
    """Return the header of a DICOM image, or why the file is no image to be shown.

    Raises
    ------
    ImageRefusedError
        Where the file is an image that cannot be shown correctly.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    with path.open("rb") as file:
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
        except InvalidDicomError:
            return "not-dicom"
        following = os.fstat(file.fileno()).st_size - file.tell()
    modality = str(dataset.get("Modality") or "")
    if modality in DERIVED_MODALITIES:
        return "derived"
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    if (
        not dataset.get("Rows")
        or not dataset.get("Columns")
        or (following == 0 and syntax != DEFLATED_SYNTAX)
    ):
        return "no-pixels"
    if "LOCALIZER" in [str(word).upper() for word in _list(dataset.get("ImageType"))]:
        return "localiser"
    header = _header(path, dataset, modality, syntax)
    if syntax in NATIVE_SYNTAXES and not header.photometric.endswith("422"):
        # a header of 8 or 12 bytes comes before the pixels
        check_not_shorter(path, int(np.prod(header.shape)) * header.bits[0] // 8, following)
    _check_decoder(header)
    return header


def _header(path: Path, dataset: Dataset, modality: str, syntax: str) -> DicomHeader:
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageRefusedError(
            f"{path.name} holds {dataset.NumberOfFrames} frames in one file.",
            code="multi-frame",
            hint="Multi-frame DICOM is not read yet: export it as one file per slice.",
        )
    samples = int(dataset.get("SamplesPerPixel") or 1)
    shape = (int(dataset.Rows), int(dataset.Columns)) + ((samples,) if samples > 1 else ())
    check_shape(path, shape)
    slope, intercept = _rescale(path, dataset)
    bits = _bits(path, dataset)
    signed = bool(dataset.get("PixelRepresentation"))
    return DicomHeader(
        path=path,
        uid=str(dataset.get("SOPInstanceUID") or ""),
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        modality=modality,
        photometric=str(dataset.get("PhotometricInterpretation") or ""),
        syntax=syntax,
        shape=shape,
        bits=bits,
        signed=signed,
        slope=slope,
        intercept=intercept,
        padding=_padding(dataset, bits[0], signed=signed),
        windows=_windows(dataset),
        position=_vector(path, dataset, "ImagePositionPatient", 3),
        orientation=_orientation(path, dataset),
        pixel_spacing=_pair(path, dataset, "PixelSpacing"),
        imager_spacing=_pair(path, dataset, "ImagerPixelSpacing"),
        thickness=_positive(dataset.get("SliceThickness")),
        magnification=_positive(dataset.get("EstimatedRadiographicMagnificationFactor")),
        more={
            "has_rescale": dataset.get("RescaleSlope") is not None,
            "has_lut": dataset.get("ModalityLUTSequence") is not None,
            "calibration": str(dataset.get("PixelSpacingCalibrationType") or ""),
            "laterality": str(dataset.get("ImageLaterality") or dataset.get("Laterality") or "")[:16],
            "view": str(dataset.get("ViewPosition") or "")[:16],
        },
    )


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - pydicom gives one value or many
    if value is None:
        return []
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def _rescale(path: Path, dataset: Dataset) -> tuple[float, float]:
    values = _list(dataset.get("RescaleSlope")), _list(dataset.get("RescaleIntercept"))
    slope, intercept = (
        float(value[0]) if value else default for value, default in zip(values, (1, 0), strict=True)
    )
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ImageRefusedError(
            f"{path.name}: RescaleSlope is {slope} and RescaleIntercept {intercept}.",
            code="slope",
            hint="Both must be finite and the slope not 0; the header is damaged.",
        )
    return slope, intercept


def _bits(path: Path, dataset: Dataset) -> tuple[int, int, int]:
    allocated = int(dataset.get("BitsAllocated") or 0)
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit", stored - 1))
    if allocated not in (8, 16, 32) or not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise ImageRefusedError(
            f"{path.name}: {stored} bits stored of {allocated}, highest bit {high}.",
            code="bits",
            hint="8, 16 and 32 bits a value are read; export the image in one of these.",
        )
    return allocated, stored, high


def _padding(dataset: Dataset, allocated: int, *, signed: bool) -> int | None:
    value = _list(dataset.get("PixelPaddingValue"))
    if not value or not isinstance(value[0], int):
        return None
    # some writers store a negative padding value as if it were unsigned
    return value[0] - (1 << allocated) if signed and value[0] >= 1 << (allocated - 1) else value[0]


def _vector(path: Path, dataset: Dataset, name: str, size: int) -> NDArray[np.float64] | None:
    values = _list(dataset.get(name))
    if not values:
        return None
    vector: NDArray[np.float64] = np.asarray([float(value) for value in values])
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise ImageRefusedError(
            f"{path.name}: {name} is {values}, expected {size} finite numbers.",
            code="affine",
            hint="The header is damaged; export the image again from its source.",
        )
    return vector


def _orientation(path: Path, dataset: Dataset) -> NDArray[np.float64] | None:
    vector = _vector(path, dataset, "ImageOrientationPatient", 6)
    if vector is None:
        return None
    axes: NDArray[np.float64] = vector.reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(float(axes[0] @ axes[1])) > 1e-3:
        raise ImageRefusedError(
            f"{path.name}: ImageOrientationPatient is {vector.tolist()}, "
            "expected two unit vectors at right angles.",
            code="orientation",
            hint="The header is damaged; export the image again from its source.",
        )
    unit: NDArray[np.float64] = axes / lengths[:, None]
    return unit


def _pair(path: Path, dataset: Dataset, name: str) -> tuple[float, float] | None:
    vector = _vector(path, dataset, name, 2)
    return None if vector is None else (float(vector[0]), float(vector[1]))


def _positive(value: Any) -> float | None:  # noqa: ANN401 - whatever the header holds
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _check_decoder(header: DicomHeader) -> None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        available = get_decoder(UID(header.syntax)).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise ImageRefusedError(
            f"{header.path.name} is compressed as {UID(header.syntax).name or 'nothing that it names'}, "
            "which cannot be decoded here.",
            code="syntax",
            hint="Convert it to an uncompressed transfer syntax, for instance with dcmdjpeg or gdcmconv.",
        )
