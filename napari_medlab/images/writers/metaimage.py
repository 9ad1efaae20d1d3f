"""Writing MetaImage (``.mha``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.images.writers.planes import affine_mm, stack_shape, write_planes
from napari_medlab.images.writers.refusals import check_dtype
from napari_medlab.images.writers.text import remark

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medlab.images.image import Image
    from napari_medlab.images.writers.watch import Watch

__all__ = ["write_metaimage"]

TYPES = {
    "int8": "MET_CHAR", "uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "int32": "MET_INT",
    "uint32": "MET_UINT", "int64": "MET_LONG_LONG", "uint64": "MET_ULONG_LONG", "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}  # fmt: skip
COMMENT = 200
"""MetaIO keeps 255 bytes for a comment."""


def write_metaimage(image: Image, path: Path, watch: Watch) -> None:
    """Write a volume, or a planar image as a volume of one slice, its geometry in full double precision.

    The pixels are not compressed: a compressed MetaImage states its length in front of the pixels, and readers must
    inflate it in one piece, where this one is written and read plane by plane.

    Parameters
    ----------
    image : Image
    path : Path
        A new file.
    watch : Watch

    Raises
    ------
    InputRefusedError
        Where the image has colours, channels, or a type that MetaImage lacks; with code ``unknown-spacing`` where its
        pixel size is unknown, because readers take a size that is left out for 1 mm.
    """
    check_dtype(image, "MetaImage", TYPES)
    header = _header(image)
    with path.open("xb") as file:
        file.write(header.encode("ascii"))
        write_planes(image, file, watch)


def _header(image: Image) -> str:
    shape = stack_shape(image)
    affine = affine_mm(image)
    if affine is None:
        raise InputRefusedError(
            "The pixel size of this image is unknown, and a MetaImage cannot leave it open.",
            code="unknown-spacing",
            hint="Set the pixel size of the case, or write .ome.tif or .ome.zarr.",
        )
    steps = affine[:3, 2::-1].T  # one row for each of x, y, z
    spacing = np.linalg.norm(steps, axis=1)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": _numbers(np.ravel(steps / spacing[:, None]).tolist()),
        "Offset": _numbers(affine[:3, 3].tolist()),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing.tolist()),
        "DimSize": _numbers(shape[::-1]),
        **({"Comment": remark(image.lineage, COMMENT)} if image.lineage else {}),
        "ElementType": TYPES[image.dtype.name],
        "ElementDataFile": "LOCAL",  # by definition the last
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items())


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(value) for value in values)
