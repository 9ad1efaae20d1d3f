"""PGM and PPM pictures (binary: P5 and P6), every value as it is stored.

Other readers stretch values to the whole range where the file states a smaller greatest one; measurements and models
need them as they are.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import Image, Window
from napari_medlab.images.refusals import check_decodable_whole, check_not_shorter, check_shape, reading
from napari_medlab.images.tiles import WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["is_netpbm", "open_netpbm"]

HEADER_BYTES = 4096
GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
"""White space and comments, as they stand between two numbers of the header."""
HEADER = re.compile(rb"P([56])" + (GAP + rb"(\d{1,10})") * 3 + rb"\s")
CHANNELS: dict[bytes, tuple[int, ...]] = {b"5": (), b"6": (3,)}


def is_netpbm(path: Path) -> bool:
    """Tell whether a file begins as a binary PGM or PPM does."""
    with path.open("rb") as file:
        return file.read(2) in (b"P5", b"P6")


def open_netpbm(path: Path) -> Image:
    """Return a PGM or PPM picture as stored: pixel size unknown, 8 or 16 bits a value."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    found = HEADER.match(head)
    if found is None:
        raise ImageRefusedError(
            f"{path.name} begins as a PGM or PPM picture, and its header cannot be read.",
            code="unreadable",
            hint="After P5 or P6 come width, height and the greatest value; export the picture again.",
        )
    width, height, greatest = (int(found[number]) for number in (2, 3, 4))
    if not 0 < greatest < 1 << 16:
        raise ImageRefusedError(
            f"{path.name} states {greatest} as its greatest value, expected 1 to 65535.",
            code="unsupported",
            hint="Export the picture again with 8 or 16 bits a value.",
        )
    dtype = np.dtype(np.uint8 if greatest < 1 << 8 else np.uint16)
    channels = CHANNELS[found[1]]
    shape = (height, width, *channels)
    check_shape(path, shape)
    needed = math.prod(shape) * dtype.itemsize
    check_not_shorter(path, needed, path.stat().st_size - found.end())
    check_decodable_whole(path, shape, dtype)
    return Image(
        path=path,
        kind="photo",
        modality="",
        sources=(WholeTile(shape, dtype, _Raster(path, found.end(), shape, dtype.itemsize)),),
        grid=Grid.axis_aligned((height, width), (1.0, 1.0), unit="px"),
        windows=() if greatest == (1 << 8 * dtype.itemsize) - 1 else (Window("full range", 0, greatest),),
        is_rgb=channels == (3,),
        details={"format": "PPM" if channels else "PGM"},
    )


@dataclass(frozen=True)
class _Raster:
    path: Path
    offset: int
    shape: tuple[int, ...]
    itemsize: int

    def __call__(self) -> NDArray[Any]:
        stored = np.dtype(f">u{self.itemsize}")
        with reading(self.path):
            values = np.fromfile(self.path, stored, math.prod(self.shape), offset=self.offset)
            whole: NDArray[Any] = values.reshape(self.shape).astype(stored.newbyteorder("="), copy=False)
            return whole
