"""NRRD volumes (``.nrrd``, ``.nhdr``): a text header, and pixels in one piece."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image
from napari_medlab.images.refusals import check_not_shorter, check_shape
from napari_medlab.images.volumes.nrrd_geometry import geometry_of
from napari_medlab.images.volumes.phases import chosen_volume
from napari_medlab.images.volumes.pixels import Pixels, tiles_of
from napari_medlab.images.volumes.text_headers import (
    damaged,
    data_file_beside,
    header_lines,
    sizes,
    unsupported,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_nrrd"]

TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8",
    "long long int": "i8", "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8",
    "ulonglong": "u8", "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip
ENDIAN: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
PACKINGS: dict[str, Literal["", "gzip", "text"]] = {
    "raw": "", "gzip": "gzip", "gz": "gzip", "text": "text", "txt": "text", "ascii": "text",
}  # fmt: skip
SYNONYMS = {
    "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip", "centers": "centerings",
    "axismins": "axis mins", "axismaxs": "axis maxs", "oldmin": "old min", "oldmax": "old max",
}  # fmt: skip
MAGIC = re.compile(r"NRRD000[1-5]")
SPATIAL = frozenset({"domain", "space", "none", "???"})
COUNTING = SPATIAL | {"time", "list"}
MAX_LINE_SKIP, MAX_SKIPPED = 10_000, 1 << 20
AS_GZIP = "Save it with the encoding raw or gzip."
Fields = dict[str, str]


def open_nrrd(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of an NRRD file, or the chosen one where a fourth and slowest axis counts volumes."""
    fields, end = _fields(path)
    extent = _extent(path, fields)
    shape = (extent[2], extent[1], extent[0])
    grid, warnings = geometry_of(path, fields, shape, len(extent))
    stored, packing = _stored(path, fields)
    phase = chosen_volume(path, extent, decisions.phase)
    detached = "data file" in fields
    pixels = Pixels(
        data_file_beside(path, fields["data file"]) if detached else path,
        shape,
        stored,
        0 if detached else _end_of_header(path, end),
        packing=packing,
        volumes=int(np.prod(extent[3:], dtype=np.int64)),
        phase=phase or 0,
    )
    return Image(
        path=path,
        kind="volume",
        modality="",
        sources=(tiles_of(_shifted(path, fields, pixels)),),
        grid=grid,
        warnings=warnings,
        details={"format": "NRRD"},
        decisions=AS_IS if phase is None else Decisions(phase=phase),
    )


def _fields(path: Path) -> tuple[Fields, int | None]:
    """Return what the header says, and where an empty line ends it; None where the whole file is header."""
    fields: Fields = {}
    lines = header_lines(path)
    if not MAGIC.fullmatch(next(lines)[0].strip()):
        damaged(path, "it does not begin with NRRD0001 to NRRD0005")
    for line, end in lines:
        if not line.strip():
            return fields, end
        name, separator, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):  # a remark, or a key of somebody's own
            continue
        name = name.strip().lower()
        name = SYNONYMS.get(name, name)
        if not separator:
            unsupported(
                path,
                f"the header line {line[:60]!r} names no field",
                "Export the image again from its source.",
            )
        if name in fields:
            damaged(path, f"the header line {line[:60]!r} is the second one of its kind")
        fields[name] = value.strip()
    return fields, None


def _end_of_header(path: Path, end: int | None) -> int:
    if end is None:
        damaged(path, "no empty line stands between its header and its pixels")
    return end


def _extent(path: Path, fields: Fields) -> tuple[int, ...]:
    """Return (x, y, z) or (x, y, z, volumes)."""
    extent = sizes(path, "sizes", fields.get("sizes", ""))
    if sizes(path, "dimension", fields.get("dimension", "")) != (len(extent),):
        damaged(
            path, f"dimension is {fields.get('dimension', '')[:40]!r}, and sizes has {len(extent)} numbers"
        )
    if len(extent) not in (3, 4):
        unsupported(path, f"it has {len(extent)} dimensions", "Save it as one volume.")
    check_shape(path, extent)
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["domain"] * len(extent)
    if len(kinds) != len(extent):
        damaged(path, f"kinds are {fields['kinds'][:100]!r}, expected {len(extent)} of them")
    if not (SPATIAL.issuperset(kinds[:3]) and COUNTING.issuperset(kinds[3:])):
        unsupported(path, f"it has axes of the kinds {fields['kinds'][:100]!r}",
                    "Save one value a voxel; the first three axes must lie in space.")  # fmt: skip
    return extent


def _stored(path: Path, fields: Fields) -> tuple[np.dtype[Any], Literal["", "gzip", "text"]]:
    """Return the type with its byte order, and how the pixels are packed."""
    name, encoding = " ".join(fields.get("type", "").split()).lower(), fields.get("encoding", "").lower()
    if name not in TYPES:
        unsupported(path, f"values of the type {name[:60]!r}", "Save it as integers or real numbers.")
    if encoding not in PACKINGS:
        unsupported(path, f"the encoding {encoding[:60]!r}", AS_GZIP)
    stored, packing = np.dtype(TYPES[name]), PACKINGS[encoding]
    if stored.itemsize == 1 or packing == "text":
        return stored, packing
    order = fields.get("endian", "").lower()
    if order not in ENDIAN:
        damaged(path, f"endian is {order[:40]!r}, expected little or big")
    return stored.newbyteorder(ENDIAN[order]), packing


def _shifted(path: Path, fields: Fields, pixels: Pixels) -> Pixels:
    """Return pixels behind the lines and bytes that are to be skipped: bytes count within what is compressed."""
    lines = sizes(path, "line skip", fields.get("line skip", "0"))
    skips = sizes(path, "byte skip", fields.get("byte skip", "0"))
    if len(lines) != 1 or len(skips) != 1 or lines[0] < 0 or skips[0] < -1:
        damaged(
            path,
            f"line skip is {fields.get('line skip', '0')[:40]}, byte skip {fields.get('byte skip', '0')[:40]}",
        )
    skip, offset = skips[0], _behind_lines(pixels, lines[0])
    if not pixels.packing:
        size = pixels.path.stat().st_size
        if skip == -1:
            check_not_shorter(path, pixels.volumes * pixels.volume_bytes, size - offset)
        offset = size - pixels.volumes * pixels.volume_bytes if skip == -1 else offset + skip
        return replace(pixels, offset=offset)
    if skip == -1 or (skip and pixels.packing == "text"):
        unsupported(path, f"a byte skip of {skip} with the encoding {fields['encoding'][:40]!r}", AS_GZIP)
    return replace(pixels, offset=offset, skip=skip)


def _behind_lines(pixels: Pixels, count: int) -> int:
    """Return where the pixels begin behind ``count`` lines."""
    if not count:
        return pixels.offset
    with pixels.path.open("rb") as file:
        file.seek(pixels.offset)
        for _ in range(min(count, MAX_LINE_SKIP + 1)):
            line = file.readline(MAX_SKIPPED)
            if not line.endswith(b"\n") or file.tell() - pixels.offset > MAX_SKIPPED:
                break
        else:
            if count <= MAX_LINE_SKIP:
                return file.tell()
    raise ImageRefusedError(
        f"{pixels.path.name} does not hold the {count} lines that are to be skipped, or more than are looked for.",
        code="truncated",
        hint=f"At most {MAX_LINE_SKIP} lines are skipped, in {MAX_SKIPPED >> 10} KiB; save it without any.",
    )
