"""MetaImage volumes (``.mha``, ``.mhd``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.volumes.itk import open_with_itk
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.refusals import check_not_shorter, check_shape
from napari_medlab.images.volumes.text_headers import data_file_beside, numbers, refuse_dimensions, sizes, text_lines

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.image import Image

__all__ = ["open_metaimage"]

GEOMETRY_FIELDS = (
    *("ElementSpacing", "ElementSize", "Offset", "Position", "Origin"),
    *("TransformMatrix", "Rotation", "Orientation"),
)
BYTES = {"CHAR": 1, "UCHAR": 1, "SHORT": 2, "USHORT": 2, "INT": 4, "UINT": 4, "FLOAT": 4, "DOUBLE": 8}


def open_metaimage(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of a MetaImage file, its header checked before it is parsed."""
    fields = _fields(path)
    shape = sizes(path, "DimSize", fields.get("DimSize", ""))
    refuse_dimensions(path, len(shape), int(fields.get("ElementNumberOfChannels", "1")))
    check_shape(path, shape)
    for name in GEOMETRY_FIELDS:
        if name in fields:
            numbers(path, name, fields[name])
    pixels = _pixel_file(path, fields.get("ElementDataFile", ""))
    is_compressed = fields.get("CompressedData", "False").lower() == "true"
    if not is_compressed:
        width = BYTES.get(fields.get("ElementType", "").removeprefix("MET_"), 1)
        check_not_shorter(path, math.prod(shape) * width, pixels.stat().st_size)
    else:
        check_not_shorter(path, math.prod(shape), pixels.stat().st_size, deflated=True)
    return open_with_itk(path, "MetaImageIO", shape, file_format="MetaImage", is_compressed=is_compressed)


def _fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text_lines(path):
        name, separator, value = line.partition("=")
        if not separator:
            continue
        fields[name.strip()] = value.strip()
        if name.strip() == "ElementDataFile":  # by definition the last line of the header
            return fields
    raise ImageRefusedError(
        f"{path.name} is no MetaImage: no line names its pixels (ElementDataFile).",
        code="unreadable",
        hint="The file is damaged or of another format.",
    )


def _pixel_file(path: Path, name: str) -> Path:
    if name.upper() == "LOCAL":
        return path
    if name.upper().startswith("LIST") or "%" in name or not name:
        raise ImageRefusedError(
            f"{path.name} spreads its pixels over several files ({name[:100]!r}).",
            code="unsupported",
            hint="Save it as one .mha file.",
        )
    return data_file_beside(path, name)
