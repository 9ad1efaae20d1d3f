"""DICOM whole-slide images: each level an instance, each tile a frame.

Frames are decoded as those of all DICOM files. wsidicom reads the same files, but brings a web client, and opening a
folder with it reads labels, overviews and the patient's data as well.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.dicom.decoding import check_decoder
from napari_medlab.images.dicom.files import SLIDE_CLASS
from napari_medlab.images.dicom.fragments import locate_frames
from napari_medlab.images.dicom.frames import DEFLATED, NATIVE, DicomFile, PixelPlace
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.progress import report
from napari_medlab.images.refusals import check_decodable_whole, check_not_shorter, check_shape, reading
from napari_medlab.images.slides.absent import absent_warnings
from napari_medlab.images.slides.dicom_levels import DicomTiles, Part, parts_of_level
from napari_medlab.images.slides.pixel_size import plausible
from napari_medlab.images.stamps import stamp_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset

    from napari_medlab.images.slides.pixel_size import Size

__all__ = ["open_dicom_slide"]

MAX_OPTIONS = 64
LITTLE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
PIXEL_DATA = b"\xe0\x7f\x10\x00"
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
TAGS = [
    "SOPClassUID", "SeriesInstanceUID", "ImageType", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "NumberOfFrames", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "TotalPixelMatrixRows", "TotalPixelMatrixColumns", "TotalPixelMatrixFocalPlanes", "NumberOfOpticalPaths",
    "DimensionOrganizationType", "SharedFunctionalGroupsSequence", "ConcatenationUID", "ConcatenationFrameOffsetNumber",
]  # fmt: skip
PER_FRAME = "PerFrameFunctionalGroupsSequence"


@dataclass(frozen=True, eq=False)
class _Instance:
    """One file, and what its header says of the level that it belongs to."""

    part: Part
    matrix: tuple[int, int]
    concatenation: str
    focal_planes: int
    optical_paths: int
    spacing_um: Size | None


def open_dicom_slide(path: Path, files: Sequence[Path], decisions: Decisions = AS_IS) -> Image:
    """Return the slide that DICOM files make up; labels, overviews and thumbnails among them stay closed.

    Parameters
    ----------
    path : Path
        The file or folder that was opened.
    files : sequence of Path
        Those that say that they belong to a slide; what else is among them is left out.
    decisions : Decisions
        ``series_uid`` chooses between several slides, ``absent`` says what tiles are that were never written.
    """
    found = []
    for number, source in enumerate(sorted(files)):
        with reading(source):
            instance = _instance(source)
        report(number + 1, len(files))
        if instance is not None:
            found.append(instance)
    chosen = _one_series(path, found, decisions)
    levels, warnings = _levels(path, chosen, blank=bool(decisions.absent))
    missing = sum(level.missing for level in levels)
    base = max(chosen, key=lambda instance: instance.matrix)
    file = base.part.file
    size, unknown = plausible(base.spacing_um)
    return Image(
        path=path,
        kind="slide",
        modality="SM",
        sources=levels,
        grid=Grid.axis_aligned(levels[0].shape[:2], size or (1.0, 1.0), unit="um" if size else "px"),
        is_rgb=file.samples == 3,
        is_inverted=file.photometric == "MONOCHROME1",
        warnings=(*absent_warnings(path, missing, decisions), *warnings, *unknown),
        details={"format": "DICOM", "photometric": file.photometric, "transfer_syntax": file.syntax},
        decisions=Decisions(series_uid=decisions.series_uid, absent="background" if missing else ""),
    )


def _instance(path: Path) -> _Instance | None:
    """Return what a file holds of a slide's volume, None where it is anything else."""
    import pydicom

    stamp = stamp_of(path)
    with path.open("rb") as stream:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(TAGS))
        kinds = [str(word).upper() for word in dataset.get("ImageType") or []]
        if dataset.get("SOPClassUID") != SLIDE_CLASS or len(kinds) < 3 or kinds[2] != "VOLUME":
            return None
        file = _file(path, stream, dataset, stamp)
        positions = None
        if str(dataset.get("DimensionOrganizationType") or "") != "TILED_FULL":
            stream.seek(0, os.SEEK_SET)
            groups = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=[PER_FRAME]).get(
                PER_FRAME
            )
            positions = [_position(group) for group in groups or ()]
    matrix = int(dataset.get("TotalPixelMatrixRows") or 0), int(dataset.get("TotalPixelMatrixColumns") or 0)
    check_shape(path, (*matrix, file.samples))
    if positions is not None and len(positions) != file.frames:
        raise ImageRefusedError(
            f"{path.name}: {file.frames} frames, and the places of {len(positions)} of them.",
            code="truncated",
            hint="The header is damaged; export the slide again from its source.",
        )
    return _Instance(
        Part(file, int(dataset.get("ConcatenationFrameOffsetNumber") or 0), positions),
        matrix,
        str(dataset.get("ConcatenationUID") or path),
        max(1, int(dataset.get("TotalPixelMatrixFocalPlanes") or 1)),
        max(1, int(dataset.get("NumberOfOpticalPaths") or 1)),
        _spacing(dataset),
    )


def _file(path: Path, stream: IO[bytes], dataset: Dataset, stamp: str) -> DicomFile:
    """Return the form of a file's frames and where they lie; the stream stands where the pixels begin."""
    samples, frames = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("NumberOfFrames") or 1)
    allocated, photometric = (
        int(dataset.get("BitsAllocated") or 0),
        str(dataset.get("PhotometricInterpretation")),
    )
    stored = int(dataset.get("BitsStored") or allocated)
    high, syntax = (
        int(dataset.get("HighBit", stored - 1)),
        str(dataset.file_meta.get("TransferSyntaxUID", "")),
    )
    known = COLOURS if samples == 3 else ("MONOCHROME1", "MONOCHROME2") if samples == 1 else ()
    if photometric not in known or allocated not in (8, 16) or not 0 < stored <= high + 1 <= allocated:
        raise _unsupported(path, f"{samples} values of {allocated} bits as {photometric[:32]}", "photometric")
    if syntax == DEFLATED or (syntax in NATIVE and syntax not in LITTLE):
        raise _unsupported(path, f"the transfer syntax {syntax}", "syntax")
    check_decoder(path, syntax)
    shape = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0), samples
    check_shape(path, (*shape, frames))
    check_decodable_whole(path, shape, np.uint8 if allocated == 8 else np.uint16)
    place = _place(path, stream, syntax, frames)
    file = DicomFile(
        path, stamp, str(dataset.get("SeriesInstanceUID") or ""), "SM", photometric, syntax,
        shape if samples > 1 else shape[:2], (allocated, stored, high), bool(dataset.get("PixelRepresentation")), place,
        frames=frames, planar_configuration=int(dataset.get("PlanarConfiguration") or 0),
    )  # fmt: skip
    if syntax in NATIVE:
        check_not_shorter(path, file.frame_bytes * frames, os.fstat(stream.fileno()).st_size - place.offset)
    return file


def _place(path: Path, stream: IO[bytes], syntax: str, frames: int) -> PixelPlace:
    at = stream.tell()
    head = stream.read(8)
    has_type = syntax != LITTLE[0]
    offset = at + (12 if has_type else 8)
    if head[:4] != PIXEL_DATA:
        raise ValueError("no pixels follow the header")
    if syntax in NATIVE:
        return PixelPlace(offset, head[4:6] == b"OW" or not has_type)
    return PixelPlace(offset, words=False, fragments=locate_frames(path, stream, offset, frames, None))


def _position(group: Dataset) -> tuple[int, int, float, str]:
    """Return row and column of a frame's first pixel, from 0, its height and its optical path."""
    place = group.PlanePositionSlideSequence[0]
    paths = group.get("OpticalPathIdentificationSequence")
    return (
        int(place.RowPositionInTotalImagePixelMatrix) - 1,
        int(place.ColumnPositionInTotalImagePixelMatrix) - 1,
        float(place.get("ZOffsetInSlideCoordinateSystem") or 0),
        str(paths[0].get("OpticalPathIdentifier") or "") if paths else "",
    )


def _spacing(dataset: Dataset) -> Size | None:
    """Return (y, x) µm."""
    shared = dataset.get("SharedFunctionalGroupsSequence")
    measures = shared[0].get("PixelMeasuresSequence") if shared else None
    spacing: Any = measures[0].get("PixelSpacing") if measures else None
    if spacing is None or len(spacing) != 2:
        return None
    values = np.asarray([float(value) for value in spacing]) * 1000
    return (float(values[0]), float(values[1])) if np.isfinite(values).all() and (values > 0).all() else None


def _one_series(path: Path, found: list[_Instance], decisions: Decisions) -> list[_Instance]:
    uids = sorted({instance.part.file.series_uid for instance in found})
    if not found:
        raise ImageRefusedError(
            f"{path.name} holds no slide: its images are labels, overviews or thumbnails.",
            code="empty",
            hint="Open the folder that holds all files of the slide.",
        )
    wanted = decisions.series_uid or (uids[0] if len(uids) == 1 else "")
    chosen = [instance for instance in found if instance.part.file.series_uid == wanted]
    if not chosen:
        raise ImageRefusedError(
            f"{path.name} holds {len(uids)} slides: {', '.join(uids[:20])}.",
            code="no-such-series" if decisions.series_uid else "several-series",
            hint="Choose one of these, or open the folder of one slide.",
            options=tuple(
                Option(f"Slide {uid}", Decisions(series_uid=uid).as_json()) for uid in uids[:MAX_OPTIONS]
            ),
        )
    return chosen


def _unsupported(path: Path, what: str, code: str) -> ImageRefusedError:
    return ImageRefusedError(
        f"{path.name} has {what}, which is not read in slides.",
        code=code,
        hint="Convert it to 8-bit RGB, uncompressed or as JPEG or JPEG 2000.",
    )


def _levels(
    path: Path, instances: list[_Instance], *, blank: bool
) -> tuple[tuple[DicomTiles, ...], tuple[ImageWarning, ...]]:
    """Return the levels, finest first, and what was left out of them."""
    warnings: dict[str, str] = {}
    by_size: dict[tuple[int, int], dict[str, list[_Instance]]] = {}
    for instance in instances:
        by_size.setdefault(instance.matrix, {}).setdefault(instance.concatenation, []).append(instance)
    levels: list[DicomTiles] = []
    for matrix, alternatives in sorted(by_size.items(), reverse=True):
        parts = next(iter(alternatives.values()))
        if len(alternatives) > 1:
            warnings["left-out"] = f"Of {len(alternatives)} images of the same size the first is shown."
        if parts[0].focal_planes > 1:
            warnings["focal-planes"] = (
                f"The slide has {parts[0].focal_planes} focal planes; the first is shown."
            )
        counts = parts[0].optical_paths, parts[0].focal_planes
        level = parts_of_level(path, matrix, counts, [instance.part for instance in parts], blank=blank)
        if levels and not _is_coarser(levels[0], level):
            warnings["left-out"] = "Images whose proportions are not those of the slide are left out."
            continue
        levels.append(level)
    return tuple(levels), tuple(ImageWarning(code, message) for code, message in warnings.items())


def _is_coarser(base: DicomTiles, other: DicomTiles) -> bool:
    factors = [whole / part for whole, part in zip(base.shape[:2], other.shape[:2], strict=True)]
    # sizes are rounded up or down
    allowed = 0.01 + 1.5 / min(other.shape[:2])
    alike = base.shape[2:] == other.shape[2:] and base.dtype == other.dtype
    return alike and min(factors) > 1 and abs(factors[0] / factors[1] - 1) <= allowed
