"""Decoding one compressed frame, once its own header has said that it is no larger than it should be."""

from __future__ import annotations

from functools import lru_cache
from struct import unpack
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.frames import DEFLATED, NATIVE, RLE
from napari_medlab.images.slides.codestreams import jpeg2000_size, jpeg_size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.frames import DicomFile

__all__ = ["check_decoder", "decode_compressed", "decode_native_colours"]

JPEG = "1.2.840.10008.1.2.4."
EXTENDED = JPEG + "51"
HIGH_THROUGHPUT = frozenset({JPEG + "201", JPEG + "202", JPEG + "203"})
JPEG_2000 = frozenset({JPEG + "90", JPEG + "91"}) | HIGH_THROUGHPUT
EIGHT = 8
HEAD = 64 * 1024
RLE_HEADER = 64
RLE_SLACK = 4096
"""By how much a segment may be longer than its plane: writers pad."""


def check_decoder(path: Path, syntax: str) -> None:
    """Refuse a transfer syntax that nothing here decodes."""
    known = NATIVE | HIGH_THROUGHPUT | {DEFLATED, RLE}
    if syntax not in known and not _is_available(syntax):
        from pydicom.uid import UID

        raise ImageRefusedError(
            f"{path.name} is compressed as {UID(syntax).name or 'nothing that it names'}, which cannot be decoded here.",
            code="syntax",
            hint="Convert it to an uncompressed transfer syntax, for instance with dcmdjpeg or gdcmconv.",
        )


def decode_compressed(file: DicomFile, data: bytes) -> NDArray[Any]:
    """Return one frame as (rows, columns[, samples]); colours as red, green and blue.

    Raises
    ------
    ImageRefusedError
        With code ``size`` where the frame claims to be larger or smaller than the header says.
    """
    if file.syntax == RLE:
        return _run_lengths(file, data)
    _check_claim(file, data[:HEAD])
    if file.syntax in HIGH_THROUGHPUT or (file.syntax == EXTENDED and file.bits[1] > EIGHT):
        return _by_imagecodecs(file, data)  # pydicom has no decoder for these
    from pydicom.encaps import encapsulate

    return _by_pydicom(file, encapsulate([data], has_bot=False))


def decode_native_colours(file: DicomFile, data: bytes) -> NDArray[Any]:
    """Return one uncompressed frame of several samples a pixel as (rows, columns, samples) of red, green and blue."""
    return _by_pydicom(file, data)


def _by_pydicom(file: DicomFile, data: bytes) -> NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian

    allocated, stored, _ = file.bits
    options: dict[str, Any] = {
        "rows": file.shape[0],
        "columns": file.shape[1],
        "samples_per_pixel": file.samples,
        "number_of_frames": 1,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "pixel_representation": int(file.signed),
        "photometric_interpretation": file.photometric,
        "planar_configuration": file.planar_configuration,
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW" if file.pixels.words else "OB",
    }
    syntax = str(ExplicitVRLittleEndian) if file.syntax == DEFLATED else file.syntax
    return get_decoder(syntax).as_array(data, index=0, **options)[0]


def _by_imagecodecs(file: DicomFile, data: bytes) -> NDArray[Any]:
    import imagecodecs

    decode = imagecodecs.jpeg2k_decode if file.syntax in HIGH_THROUGHPUT else imagecodecs.jpeg_decode
    pixels: NDArray[Any] = decode(data)
    return pixels


def _run_lengths(file: DicomFile, data: bytes) -> NDArray[Any]:
    """Return a frame in run-length encoding (DICOM PS3.5 G): bytes in planes, the highest of each sample first."""
    import imagecodecs

    rows, columns = file.shape[:2]
    samples, width = file.samples, file.bits[0] // 8
    planes = samples * width
    head = unpack("<16I", data[:RLE_HEADER]) if len(data) >= RLE_HEADER else (0,)
    bounds = [*head[1 : planes + 1], len(data)]
    if head[0] != planes or bounds[0] < RLE_HEADER or sorted(bounds) != bounds:
        raise ImageRefusedError(
            f"{file.path.name}: the run-length header names {head[0]} segments at {bounds[:-1]}, expected {planes}.",
            code="unreadable",
            hint="The file is damaged; copy it again from its source.",
        )
    decoded = np.empty((planes, rows * columns), np.uint8)
    room = bytearray(rows * columns + RLE_SLACK)
    for plane in range(planes):
        # never more than there is room for, however long the runs are
        segment = imagecodecs.packbits_decode(data[bounds[plane] : bounds[plane + 1]], out=room)
        decoded[plane] = np.frombuffer(segment, np.uint8, rows * columns)
    by_sample = decoded.reshape(samples, width, rows * columns)[:, ::-1]
    values = (
        np.ascontiguousarray(by_sample.transpose(2, 0, 1)).view(f"<u{width}").reshape(rows, columns, samples)
    )
    return values.view(file.stored_dtype).reshape(file.shape)


def _check_claim(file: DicomFile, head: bytes) -> None:
    size = jpeg2000_size(head) if file.syntax in JPEG_2000 else jpeg_size(head)
    expected = (*file.shape[:2], file.samples)
    if size != expected:
        raise ImageRefusedError(
            f"{file.path.name}: a compressed frame claims to be {size or 'nothing'}, its header says {expected} "
            "(rows, columns, colours).",
            code="size",
            hint="The file is damaged; copy it again from its source.",
        )


@lru_cache
def _is_available(syntax: str) -> bool:
    from pydicom.pixels.decoders.base import get_decoder

    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False
