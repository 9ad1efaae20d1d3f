"""Reading the header of one DICOM file: its frames, or why it is no image to be shown."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Literal, NamedTuple

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom import fields
from napari_medlab.images.dicom.decoding import check_decoder
from napari_medlab.images.dicom.elements import Encoding, HeaderReader, PixelElement
from napari_medlab.images.dicom.fragments import locate_frames
from napari_medlab.images.dicom.frames import BIG_ENDIAN, DEFLATED, NATIVE, DicomFile, PixelPlace
from napari_medlab.images.dicom.groups import frames_of
from napari_medlab.images.dicom.streams import FileBytes, InflatedBytes
from napari_medlab.images.dicom.values import first, listed, words
from napari_medlab.images.dicom.views import chest_wall, laterality, view_position
from napari_medlab.images.refusals import check_not_shorter, check_shape
from napari_medlab.images.stamps import stamp_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.dicom.frames import Frame
    from napari_medlab.images.dicom.values import Elements

__all__ = ["SetAside", "read_elements", "read_frames"]

SetAside = Literal["not-dicom", "no-pixels", "localiser", "derived", "slide"]
"""Why a file of a folder is left out of the image."""

PREAMBLE = 132
IMPLICIT = "1.2.840.10008.1.2"
DERIVED_MODALITIES = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "KO", "SR", "REG"})
SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
PIXEL_DATA = 0x7FE00010
MAX_FRAMES = 20_000
MAX_FRAME_BYTES = 256 << 20
"""More than any detector delivers; a frame is decoded in one piece."""
MAX_RATIO, RATIO_MATTERS = 250, 16 << 20
"""By how much pixels that take more than that may be compressed: noise alone keeps real ones from shrinking so far."""


class _Header(NamedTuple):
    path: Path
    file: IO[bytes]
    elements: Elements
    pixels: PixelElement
    syntax: str
    size: int
    deflated_from: int | None


def read_frames(path: Path) -> tuple[Frame, ...] | SetAside:
    """Return the frames of a DICOM image, or why the file is no image to be shown.

    Raises
    ------
    ImageRefusedError
        Where the file is an image that cannot be shown correctly.
    """
    stamp = stamp_of(path)
    with path.open("rb") as file:
        header = _read(path, file)
        if isinstance(header, str):
            return header
        elements, pixels, syntax, start = header
        aside = _aside(elements, pixels)
        if aside is not None:
            return aside
        assert pixels is not None
        return _frames(
            _Header(path, file, elements, pixels, syntax, os.fstat(file.fileno()).st_size, start), stamp
        )


def read_elements(path: Path) -> Elements | None:
    """Return what the header of an image or of a slide says; None for a file that is neither.

    Raises
    ------
    ImageRefusedError
        Where the file is damaged.
    """
    with path.open("rb") as file:
        header = _read(path, file, with_slides=True)
        if isinstance(header, str):
            return None
        elements, pixels, _, _ = header
        return elements if _aside(elements, pixels) in (None, "slide") else None


def _read(
    path: Path, file: IO[bytes], *, with_slides: bool = False
) -> tuple[Elements, PixelElement | None, str, int | None] | SetAside:
    """Return the elements, the pixel element, the transfer syntax, and where it is deflated from."""
    size = os.fstat(file.fileno()).st_size
    if file.read(PREAMBLE)[128:] != b"DICM":
        return "not-dicom"
    meta, at = HeaderReader(path, FileBytes(file, size), Encoding(explicit=True, little=True)).meta(PREAMBLE)
    # whose header describes each of its many tiles
    if listed(meta, "MediaStorageSOPClassUID") == SLIDE_CLASS and not with_slides:
        return "slide"
    syntax = listed(meta, "TransferSyntaxUID")
    encoding = Encoding(explicit=syntax != IMPLICIT, little=syntax != BIG_ENDIAN)
    if syntax == DEFLATED:
        elements, pixels = HeaderReader(path, InflatedBytes(path, file, at), encoding).dataset(0)
        return elements, pixels, syntax, at
    elements, pixels = HeaderReader(path, FileBytes(file, size), encoding).dataset(at)
    return elements, pixels, syntax, None


def _aside(elements: Elements, pixels: PixelElement | None) -> SetAside | None:
    if listed(elements, "SOPClassUID") == SLIDE_CLASS:
        return "slide"
    if listed(elements, "Modality") in DERIVED_MODALITIES:
        return "derived"
    if pixels is None or not first(elements, "Rows") or not first(elements, "Columns"):
        return "no-pixels"
    return "localiser" if "LOCALIZER" in [word.upper() for word in words(elements, "ImageType")] else None


def _frames(header: _Header, stamp: str) -> tuple[Frame, ...]:
    path, elements = header.path, header.elements
    _refuse_what_is_not_read(header)
    samples = int(first(elements, "SamplesPerPixel", 1))
    shape = (int(first(elements, "Rows")), int(first(elements, "Columns"))) + (
        (samples,) if samples > 1 else ()
    )
    count = int(first(elements, "NumberOfFrames", 1)) or 1
    check_shape(path, shape)
    _check_count(path, count)
    bits = fields.bits(path, elements)
    signed = bool(first(elements, "PixelRepresentation", 0))
    file = DicomFile(
        path=path,
        stamp=stamp,
        series_uid=listed(elements, "SeriesInstanceUID"),
        modality=listed(elements, "Modality"),
        photometric=listed(elements, "PhotometricInterpretation"),
        syntax=header.syntax,
        shape=shape,
        bits=bits,
        signed=signed,
        pixels=_place(header, count),
        frames=count,
        planar_configuration=int(first(elements, "PlanarConfiguration", 0)),
        padding=fields.padding(elements, bits[0], signed=signed),
        imager_spacing=fields.pair(path, elements, "ImagerPixelSpacing"),
        magnification=fields.positive(elements, "EstimatedRadiographicMagnificationFactor"),
        calibration=listed(elements, "PixelSpacingCalibrationType"),
        laterality=laterality(elements),
        view=view_position(elements),
        chest_wall=chest_wall(elements),
    )
    _check_size(file, header)
    return frames_of(file, elements)


def _refuse_what_is_not_read(header: _Header) -> None:
    check_decoder(header.path, header.syntax)
    if header.pixels.tag != PIXEL_DATA:
        raise ImageRefusedError(
            f"{header.path.name} holds floating-point pixels.",
            code="bits",
            hint="8, 16 and 32 bits a value are read; export the image in one of these.",
        )
    if "MOSAIC" in [word.upper() for word in words(header.elements, "ImageType")]:
        raise ImageRefusedError(
            f"{header.path.name} shows many slices side by side (a mosaic), whose places its header does not tell.",
            code="mosaic",
            hint="Export the series as one image per slice, or as enhanced multi-frame DICOM.",
        )


def _check_count(path: Path, count: int) -> None:
    if not 0 < count <= MAX_FRAMES:
        raise ImageRefusedError(
            f"{path.name} claims to hold {count} frames.",
            code="size",
            hint=f"Up to {MAX_FRAMES} are read; the header is damaged.",
        )


def _place(header: _Header, frames: int) -> PixelPlace:
    pixels, native = header.pixels, header.syntax in NATIVE or header.deflated_from is not None
    if native != (pixels.length is not None):
        raise ImageRefusedError(
            f"{header.path.name}: its transfer syntax {header.syntax} and how its pixels are stored do not agree.",
            code="syntax",
            hint="The file was converted wrongly; export it again from its source.",
        )
    words_of_two = pixels.representation == "OW"
    if native:
        return PixelPlace(pixels.offset, words_of_two, deflated_from=header.deflated_from)
    extended = [int(offset) for offset in header.elements.get("ExtendedOffsetTable") or []]
    return PixelPlace(
        pixels.offset, words_of_two, locate_frames(header.path, header.file, pixels.offset, frames, extended)
    )


def _check_size(file: DicomFile, header: _Header) -> None:
    """Refuse frames that no detector delivers, and files that cannot hold what they announce."""
    needed = file.frame_bytes
    if needed > MAX_FRAME_BYTES:
        raise ImageRefusedError(
            f"{file.path.name}: one frame takes {needed >> 20} MiB when decoded.",
            code="size",
            hint=f"Up to {MAX_FRAME_BYTES >> 20} MiB are read; the header is damaged, or the image has to be cut up.",
        )
    expected = needed * file.frames
    if header.deflated_from is not None:
        available = header.size - header.deflated_from
        check_not_shorter(file.path, expected, available, deflated=True)
    elif file.pixels.fragments:
        expected, available = needed, min(sum(size for _, size in frame) for frame in file.pixels.fragments)
    else:
        check_not_shorter(
            file.path, expected, min(header.size - file.pixels.offset, header.pixels.length or 0)
        )
        return
    if expected > RATIO_MATTERS and expected > MAX_RATIO * available:
        raise ImageRefusedError(
            f"{file.path.name}: {available} bytes are said to hold {expected} bytes of pixels.",
            code="size",
            hint="No image shrinks so far; the file is damaged or made to fill the memory.",
        )
