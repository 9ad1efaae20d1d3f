"""MetaImage volumes (``.mha``, ``.mhd``): a text header, and pixels in one piece."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import check_shape
from napari_medlab.images.volumes.phases import chosen_volume
from napari_medlab.images.volumes.pixels import Pixels, tiles_of
from napari_medlab.images.volumes.text_headers import (
    damaged,
    data_file_beside,
    header_lines,
    millimetres,
    numbers,
    positive,
    sizes,
    unsupported,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_metaimage"]

TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
SYNONYMS = {
    "Position": "Offset", "Origin": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip
USED = frozenset({
    "ObjectType", "NDims", "DimSize", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "CompressedDataSize",
    "TransformMatrix", "Offset", "ElementSpacing", "ElementSize", "HeaderSize", "ElementNumberOfChannels",
    "ElementType", "ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset", "DistanceUnits",
    "ElementDataFile",
})  # fmt: skip
"""What decides what the pixels are and where they lie. Everything else is notes; the one about anatomy, and the centre of
rotation, say nothing that the matrix does not."""
TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
UNIT_LENGTH = 1e-3
Fields = dict[str, str]


def open_metaimage(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of a MetaImage file, or the chosen one where a fourth axis counts volumes."""
    fields, end = _fields(path)
    extent = _extent(path, fields)
    phase = chosen_volume(path, extent, decisions.phase)
    shape = (extent[2], extent[1], extent[0])
    pixels = _pixels(path, fields, end, extent, phase or 0)
    grid, warnings = _geometry(path, fields, shape, len(extent))
    return Image(
        path=path,
        kind="volume",
        modality="",
        sources=(tiles_of(pixels),),
        grid=grid,
        warnings=warnings,
        details={"format": "MetaImage"},
        decisions=AS_IS if phase is None else Decisions(phase=phase),
    )


def _fields(path: Path) -> tuple[Fields, int]:
    """Return what the header says, and where it ends."""
    fields: Fields = {}
    for line, end in header_lines(path):
        cut = min((line.index(sign) for sign in "=:" if sign in line), default=-1)
        name, value = line[:cut].strip(), line[cut + 1 :].strip()
        name = SYNONYMS.get(name, name)
        if cut < 0 or name not in USED:
            continue
        if fields.setdefault(name, value) != value:
            damaged(
                path, f"its header says two things about {name}: {fields[name][:60]!r} and {value[:60]!r}"
            )
        if name == "ElementDataFile":  # by definition the last line of the header
            return fields, end
    damaged(path, "it is no MetaImage, or is cut short: no line names its pixels (ElementDataFile)")


def _extent(path: Path, fields: Fields) -> tuple[int, ...]:
    """Return (x, y, z) or (x, y, z, volumes)."""
    extent = sizes(path, "DimSize", fields.get("DimSize", ""))
    if sizes(path, "NDims", fields.get("NDims", "")) != (len(extent),):
        damaged(path, f"NDims is {fields.get('NDims', '')[:40]!r}, and DimSize has {len(extent)} numbers")
    if len(extent) not in (3, 4) or fields.get("ObjectType", "Image") != "Image":
        unsupported(path, f"it has {len(extent)} dimensions", "Save it as one volume.")
    if sizes(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1")) != (1,):
        unsupported(path, "it has several values a voxel", "Save one value a voxel.")
    check_shape(path, extent)
    return extent


def _pixels(path: Path, fields: Fields, end: int, extent: tuple[int, ...], phase: int) -> Pixels:
    name = fields["ElementDataFile"]
    is_local = name.upper() == "LOCAL"
    packed = _truth(path, fields, "CompressedData", default=False)
    pixels = Pixels(
        path if is_local else data_file_beside(path, name),
        (extent[2], extent[1], extent[0]),
        _stored(path, fields),
        end if is_local else 0,
        packing="zlib" if packed else "",
        volumes=int(np.prod(extent[3:], dtype=np.int64)),
        phase=phase,
    )
    return _packed(path, fields, pixels) if packed else _shifted(path, fields, pixels)


def _shifted(path: Path, fields: Fields, pixels: Pixels) -> Pixels:
    """Return pixels that begin where ``HeaderSize`` says: -1 means at the end of the file, 0 where they do anyway."""
    size = _whole(path, fields, "HeaderSize", 0)
    if size < -1:
        damaged(path, f"HeaderSize is {size}")
    if size == -1:
        size = max(0, pixels.path.stat().st_size - pixels.volumes * pixels.volume_bytes)
    if size and pixels.path == path and size < pixels.offset:
        damaged(path, f"HeaderSize is {size}, which lies within the header of {pixels.offset} bytes")
    return replace(pixels, offset=size or pixels.offset)


def _packed(path: Path, fields: Fields, pixels: Pixels) -> Pixels:
    """Return compressed pixels, their stated length proven to be there."""
    if _whole(path, fields, "HeaderSize", 0) > 0:
        unsupported(
            path,
            "compressed pixels behind a header of their own (HeaderSize)",
            "Save it without compression.",
        )
    if "CompressedDataSize" not in fields:
        return pixels
    size, available = (
        _whole(path, fields, "CompressedDataSize", 0),
        pixels.path.stat().st_size - pixels.offset,
    )
    if not 0 < size <= available:
        raise ImageRefusedError(
            f"{path.name}: CompressedDataSize is {size}, and {available} bytes follow the header.",
            code="truncated",
            hint="Copy the file again from its source.",
        )
    return replace(pixels, packed_bytes=size)


def _stored(path: Path, fields: Fields) -> np.dtype[Any]:
    name = fields.get("ElementType", "")
    if name not in TYPES:
        unsupported(path, f"values of the type {name[:60]!r}", "Save it as integers or real numbers.")
    if not _truth(path, fields, "BinaryData", default=True):
        unsupported(path, "pixels as text (BinaryData = False)", "Save it with binary pixels.")
    slope = numbers(path, "the slope", fields.get("ElementToIntensityFunctionSlope", "1"), 1)
    offset = numbers(path, "the offset", fields.get("ElementToIntensityFunctionOffset", "0"), 1)
    if (slope, offset) != ([1.0], [0.0]):
        raise ImageRefusedError(
            f"{path.name}: its values are to be scaled (ElementToIntensityFunction), by {slope[0]} and {offset[0]}.",
            code="slope",
            hint="Readers disagree about that; save the scaled values.",
        )
    order = ">" if _truth(path, fields, "BinaryDataByteOrderMSB", default=False) else "<"
    return np.dtype(order + TYPES[name])


def _geometry(
    path: Path, fields: Fields, shape: tuple[int, ...], axes: int
) -> tuple[Grid, tuple[ImageWarning, ...]]:
    stated = next((name for name in ("ElementSpacing", "ElementSize") if name in fields), "")
    if not stated:
        message = "The header states no voxel size."
        return Grid.axis_aligned(shape, (1.0, 1.0, 1.0), unit="px"), (
            ImageWarning("unknown-spacing", message),
        )
    spacing = numbers(path, stated, fields[stated], axes)
    positive(path, stated, spacing)
    scale = millimetres(path, "DistanceUnits", (fields.get("DistanceUnits", ""),))
    steps = _directions(path, fields, axes) * (np.asarray(spacing[:3]) * scale)[:, None]
    affine = np.eye(4)
    affine[:3, :3] = steps[::-1].T
    origin = numbers(path, "Offset", fields["Offset"], axes)[:3] if "Offset" in fields else [0.0] * 3
    affine[:3, 3] = np.asarray(origin) * scale
    message = "The header states no orientation; left and right are a guess."
    warnings = () if "TransformMatrix" in fields else (ImageWarning("no-orientation", message),)
    return Grid(shape, affine, "mm"), warnings


def _directions(path: Path, fields: Fields, axes: int) -> NDArray[np.float64]:
    """Return the directions of x, y and z as rows, each of length 1."""
    if "TransformMatrix" not in fields:
        return np.eye(3)
    matrix = np.asarray(numbers(path, "TransformMatrix", fields["TransformMatrix"], axes**2)).reshape(
        axes, axes
    )
    lengths = np.linalg.norm(matrix, axis=1)
    mixed = np.abs(matrix[3:, :3]).sum() + np.abs(matrix[:3, 3:]).sum()
    if np.abs(lengths - 1).max() > UNIT_LENGTH or mixed:
        raise ImageRefusedError(
            f"{path.name}: the rows of TransformMatrix have the lengths {np.round(lengths, 4).tolist()}, expected 1, "
            "and no part in the axis that counts volumes.",
            code="direction",
            hint="The header is damaged; export the image again from its source.",
        )
    return matrix[:3, :3]


def _whole(path: Path, fields: Fields, name: str, default: int) -> int:
    values = sizes(path, name, fields.get(name, str(default)))
    if len(values) != 1:
        damaged(path, f"the header field {name} is {fields[name][:60]!r}, expected one number")
    return values[0]


def _truth(path: Path, fields: Fields, name: str, *, default: bool) -> bool:
    text = fields.get(name, str(default)).lower()
    if text not in TRUTH:
        damaged(path, f"the header field {name} is {text[:60]!r}, expected True or False")
    return TRUTH[text]
