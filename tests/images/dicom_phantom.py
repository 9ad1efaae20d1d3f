"""DICOM files that prove themselves: each voxel holds round(4x + 7y + 3z) of its own LPS position in mm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.uid import generate_uid as new_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.uid import UID

    from napari_medlab.images import Image

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
ROWS, COLUMNS = 9, 7
ENCODERS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    JPEGLSLossless: lambda pixels: bytes(imagecodecs.jpegls_encode(pixels)),
    JPEG2000Lossless: lambda pixels: bytes(
        imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k")
    ),
    JPEGLosslessSV1: lambda pixels: bytes(imagecodecs.ljpeg_encode(pixels)),
    JPEGExtended12Bit: lambda pixels: bytes(imagecodecs.jpeg_encode(pixels, level=100, bitspersample=12)),
    HTJ2KLossless: lambda pixels: bytes(imagecodecs.htj2k_encode(pixels)),
}
MACROS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
    "FrameContentSequence": ("TemporalPositionIndex",),
    "CardiacSynchronizationSequence": ("NominalPercentageOfCardiacPhase",),
}
"""The functional groups of a frame, and which fields of a single slice they hold."""


def truth(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a voxel at (..., 3) LPS mm holds, before rounding."""
    value: NDArray[np.float64] = world @ np.array([4.0, 7.0, 3.0])
    return value


def worst_error(image: Image) -> float:
    """Return how far any voxel is from what its claimed position says."""
    index = np.moveaxis(np.indices(image.grid.shape), 0, -1)
    pixels = np.asarray(image.arrays[0], dtype=np.float64)
    return float(np.abs(pixels - truth(image.grid.to_world(index))).max())


@dataclass
class Series:
    """A CT series to be written, slice by slice."""

    count: int = 6
    spacing: tuple[float, float, float] = (2.5, 0.8, 0.7)
    origin: tuple[float, float, float] = (-20.0, -30.0, -40.0)
    axes: tuple[Sequence[float], Sequence[float]] = AXIAL
    slope: float = 1.0
    intercept: float = -1024.0
    uid: str = field(default_factory=new_uid)
    frame_uid: str = field(default_factory=new_uid)

    def position(self, number: int) -> NDArray[np.float64]:
        """Return the world position of the first pixel of a slice."""
        return np.asarray(self.origin) + np.cross(*self.axes) * self.spacing[0] * number

    def slice(
        self, number: int, position: NDArray[np.float64] | None = None, slope: float | None = None
    ) -> Dataset:
        """Return one slice; its pixels follow the position that its header states."""
        place = self.position(number) if position is None else np.asarray(position)
        return _ct(self, number, place, self.slope if slope is None else slope)

    def slices(self) -> list[Dataset]:
        """Return the slices in order."""
        return [self.slice(number) for number in range(self.count)]


def write(folder: Path, slices: Sequence[Dataset], *, seed: int = 3) -> Path:
    """Write slices under names that say nothing about their order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(slices))
    for name, dataset in zip(names, slices, strict=True):
        dataset.save_as(folder / f"{name:04d}-{dataset.SOPInstanceUID[-6:]}.dcm", enforce_file_format=True)
    return folder


def series_in(folder: Path, change: Callable[[list[Dataset]], None] | None = None, **settings: Any) -> Path:  # noqa: ANN401 - as Series takes them
    """Write one series, changed by ``change`` beforehand."""
    slices = Series(**settings).slices()
    if change is not None:
        change(slices)
    return write(folder, slices)


def _ct(series: Series, number: int, position: NDArray[np.float64], slope: float) -> Dataset:
    row, column = np.asarray(series.axes[0]), np.asarray(series.axes[1])
    down, right = np.mgrid[:ROWS, :COLUMNS]
    world = (
        position + down[..., None] * column * series.spacing[1] + right[..., None] * row * series.spacing[2]
    )
    stored = np.round((np.round(truth(world)) - series.intercept) / slope).astype(np.uint16)
    dataset = _dataset(CTImageStorage, "CT", series.uid, stored)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.FrameOfReferenceUID = series.frame_uid
    dataset.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
    dataset.ImageOrientationPatient = [float(f"{value:.8f}") for value in (*row, *column)]
    dataset.PixelSpacing = list(series.spacing[1:])
    # wrong on purpose: nobody may believe these
    dataset.InstanceNumber = (number * 7) % 5
    dataset.SliceLocation = -float(number)
    dataset.SliceThickness = 5.0
    dataset.SpacingBetweenSlices = 9.0
    dataset.RescaleSlope = slope
    dataset.RescaleIntercept = series.intercept
    return dataset


def encoded(dataset: Dataset, syntax: UID) -> Dataset:
    """Return a dataset with its 16-bit pixels written in another transfer syntax."""
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = pixels.astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    elif syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax in ENCODERS:
        dataset.PixelData = encapsulate([ENCODERS[syntax](frame) for frame in pixels])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def enhanced(slices: Sequence[Dataset], *, shared: Sequence[str] = (), modality: str = "CT") -> Dataset:
    """Return one multi-frame file of single slices; macros named in ``shared`` are taken from the first one alone."""
    first = slices[0]
    pixels = np.concatenate([np.frombuffer(each.PixelData, np.uint16) for each in slices])
    whole = _dataset(
        EnhancedCTImageStorage, modality, first.SeriesInstanceUID, pixels.reshape(-1, first.Columns)
    )
    whole.Rows, whole.NumberOfFrames = first.Rows, len(slices)
    whole.ImageType = first.ImageType
    groups = []
    for each in slices:
        groups.append(group := Dataset())
        for name, keywords in MACROS.items():
            if name not in shared:
                _add_macro(group, name, keywords, each)
    common = Dataset()
    for name in shared:
        _add_macro(common, name, MACROS[name], first)
    whole.SharedFunctionalGroupsSequence = [common]
    whole.PerFrameFunctionalGroupsSequence = groups
    return whole


def _add_macro(group: Dataset, name: str, keywords: tuple[str, ...], source: Dataset) -> None:
    item = Dataset()
    for keyword in keywords:
        if keyword in source:
            setattr(item, keyword, source[keyword].value)
    if len(item):
        setattr(group, name, [item])


def mammogram(pixels: NDArray[np.uint16], photometric: str = "MONOCHROME2") -> Dataset:
    """Return a mammogram without any pixel size."""
    dataset = _dataset(DigitalMammographyXRayImageStorageForPresentation, "MG", new_uid(), pixels)
    dataset.PhotometricInterpretation = photometric
    dataset.ImageLaterality = "L"
    dataset.ViewPosition = "MLO"
    return dataset


def _dataset(sop_class: str, modality: str, series_uid: str, pixels: NDArray[Any]) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = new_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = series_uid
    dataset.Modality = modality
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.dtype.kind == "u" and int(pixels.max()) < 4096:
        dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = pixels.tobytes()
    return dataset
