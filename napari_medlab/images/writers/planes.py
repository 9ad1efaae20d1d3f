"""Images as the plain formats hold them: one value a voxel, planes one after the other, in millimetres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.writers.refusals import unsupported

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.writers.watch import Watch

__all__ = ["affine_mm", "stack_shape", "write_planes"]

SLAB_BYTES = 128 << 20
"""The most that is decoded at once."""
MILLIMETRES = {"mm": 1.0, "um": 1e-3}
USE_OME = "Write it as .ome.tif or .ome.zarr."


def stack_shape(image: Image) -> tuple[int, int, int]:
    """Return the shape of an image as a volume, (z, y, x); planar images are one slice.

    Raises
    ------
    InputRefusedError
        Where the image has colours or channels.
    """
    if len(image.shape) != image.grid.ndim:
        raise unsupported(
            f"The image has {image.shape[-1]} values a pixel, and this format is written with one.", USE_OME
        )
    z, y, x = (1, *image.shape)[-3:]
    return z, y, x


def affine_mm(image: Image) -> NDArray[np.float64] | None:
    """Return the (4, 4) matrix from array index (z, y, x, 1) to LPS millimetres; None where the size is unknown.

    Planar images lie at z = 0 and get a slice of 1 mm: they state no thickness, and every volume must.

    Raises
    ------
    InputRefusedError
        Where the pixels are too small to be told in millimetres.
    """
    scale = MILLIMETRES.get(image.grid.unit)
    if scale is None:
        return None
    n = image.grid.ndim
    affine = np.eye(4)
    if n == 2:
        affine[:3, :3] = np.fliplr(np.eye(3))
    affine[:n, 3 - n : 3] = image.grid.affine[:n, :n] * scale
    affine[:n, 3] = image.grid.affine[:n, n] * scale
    try:
        Grid(stack_shape(image), affine)
    except ImageRefusedError as error:
        raise unsupported(
            f"Pixels of {image.grid.spacing} {image.grid.unit} are outside what is read from volumes in millimetres.",
            USE_OME,
        ) from error
    return affine


def write_planes(image: Image, file: BinaryIO, watch: Watch) -> None:
    """Write the pixels, x fastest, little-endian, without ever holding more than a slab of them."""
    level = image.levels[0]
    little = image.dtype.newbyteorder("<")
    slabs = _slabs(level)
    watch.expect(len(slabs))
    for slab in watch.over(slabs):
        file.write(np.ascontiguousarray(level[slab], dtype=little).data)


def _slabs(level: Any) -> list[slice]:  # noqa: ANN401 - dask has no types
    """Return slices along axis 0 that follow the chunks, so that each is decoded once, and are cut where too large."""
    most = max(1, SLAB_BYTES // max(1, level[0].nbytes))
    found, start = [], 0
    for size in level.chunks[0]:
        found += [slice(at, min(at + most, start + size)) for at in range(start, start + size, most)]
        start += size
    return found
