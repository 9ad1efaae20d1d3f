"""The header of a NIfTI file, every field that matters proven before a library answers for it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_finite, check_shape
from napari_medlab.images.volumes.pixels import MAX_HEAD_BYTES
from napari_medlab.images.volumes.streams import Inflated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NiftiHeader", "read_nifti_header"]

SIZES = (348, 540)
"""Of the headers of NIfTI-1 and NIfTI-2."""
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
GZIP = b"\x1f\x8b"
MAX_EXTENSIONS = 64
SMALLEST_EXTENSION = 16
AGAIN = "The header is damaged; export the image again from its source."


@dataclass(frozen=True)
class NiftiHeader:
    """What a sound header says.

    Parameters
    ----------
    geometry : nibabel header
        Asked for nothing but matrices and units.
    sizes : tuple of int
        (x, y, z, volumes, ...), as many as the header has.
    stored : numpy dtype
        With its byte order.
    offset : int
        Where the pixels begin, behind the header and its extensions.
    is_packed : bool
        Whether the file is gzip.
    slope, intercept : float
    """

    geometry: Any
    sizes: tuple[int, ...]
    stored: np.dtype[Any]
    offset: int
    is_packed: bool
    slope: float
    intercept: float


def read_nifti_header(path: Path) -> NiftiHeader:
    """Return the header of a ``.nii`` or ``.nii.gz`` file.

    Raises
    ------
    ImageRefusedError
        Where a field cannot be what its writer meant.
    """
    with path.open("rb") as file:
        is_packed = file.read(2) == GZIP
        file.seek(0)
        stream = Inflated(file, "gzip", path.stat().st_size) if is_packed else file
        block, order = _block(path, stream)
        kind = _kind(path, block, order)
        raw = kind(block, order, check=False)
        sizes, stored, offset = _sizes(path, raw), _stored(path, raw, order), _offset(path, raw, len(block))
        slope, intercept = _scaling(path, raw)
        if stream.read(4)[:1] not in (b"", b"\0"):
            _check_extensions(path, stream.read(offset - len(block) - 4), order)
    geometry = kind(block, order)
    _check_steps(path, raw, geometry)
    return NiftiHeader(geometry, sizes, stored, offset, is_packed, slope, intercept)


def _block(path: Path, stream: IO[bytes] | Inflated) -> tuple[bytes, Literal["<", ">"]]:
    """Return the bytes of the header and their order."""
    start = stream.read(4)
    order: Literal["<", ">"]
    for order in ("<", ">"):
        size = int.from_bytes(start, "little" if order == "<" else "big")
        if size in SIZES:
            block = start + stream.read(size - 4)
            if len(block) < size:
                raise ImageRefusedError(
                    f"{path.name} is cut short: {len(block)} of {size} bytes of its header are there.",
                    code="truncated",
                    hint="Copy the file again from its source.",
                )
            return block, order
    raise ImageRefusedError(
        f"{path.name} begins with {start!r}, expected the size of a NIfTI header, 348 or 540.",
        code="unreadable",
        hint="The file is damaged or of another format.",
    )


def _kind(path: Path, block: bytes, order: Literal["<", ">"]) -> Any:  # noqa: ANN401 - nibabel has no types
    """Return nibabel's class for a header, proven to be that of a single file."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    kind: Any = Nifti1Header if len(block) == SIZES[0] else Nifti2Header
    magic = bytes(kind(block, order, check=False)["magic"].item())
    if magic[:2] == b"ni":
        raise ImageRefusedError(
            f"{path.name} is one half of a pair: its pixels lie in an .img file.",
            code="unsupported",
            hint="Save it as one .nii or .nii.gz file.",
        )
    if magic[:3] not in (b"n+1", b"n+2"):
        raise ImageRefusedError(
            f"{path.name} is marked {magic!r}, expected n+1 or n+2.",
            code="unreadable",
            hint="The file is damaged or of another format, such as Analyze 7.5.",
        )
    return kind


def _check_steps(path: Path, raw: Any, geometry: Any) -> None:  # noqa: ANN401 - nibabel has no types
    """Refuse voxel sizes that are no size; where an sform places the voxels, theirs are not asked."""
    count = min(int(raw["dim"][0]), 3)
    steps = [float(step) for step in raw["pixdim"][1 : 1 + count]]
    check_finite(path, "pixdim", steps)
    is_asked = int(geometry["sform_code"]) == 0
    if is_asked and any(step <= 0 and size > 1 for step, size in zip(steps, raw["dim"][1:4], strict=False)):
        raise ImageRefusedError(
            f"{path.name}: its voxels have the size (pixdim) {steps}, expected numbers above 0.",
            code="spacing",
            hint=AGAIN,
        )


def _sizes(path: Path, raw: Any) -> tuple[int, ...]:  # noqa: ANN401 - as above
    count = int(raw["dim"][0])
    if not 1 <= count <= 7:
        raise ImageRefusedError(
            f"{path.name}: its header claims {count} dimensions.", code="size", hint=AGAIN
        )
    sizes = tuple(int(size) for size in raw["dim"][1 : 1 + count])
    check_shape(path, sizes)
    return sizes


def _stored(path: Path, raw: Any, order: Literal["<", ">"]) -> np.dtype[Any]:  # noqa: ANN401 - as above
    code = int(raw["datatype"])
    if code not in TYPES:
        raise ImageRefusedError(
            f"{path.name} holds values of the type number {code}.",
            code="unsupported",
            hint="Save it as integers or real numbers, one a voxel.",
        )
    return np.dtype(order + TYPES[code])


def _scaling(path: Path, raw: Any) -> tuple[float, float]:  # noqa: ANN401 - as above
    """Return slope and intercept; a slope of 0 or NaN, which nibabel takes for 1, is refused."""
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ImageRefusedError(
            f"{path.name}: scl_slope is {slope} and scl_inter {intercept}.",
            code="slope",
            hint="Both must be finite and the slope not 0; write 1 and 0 where values are not scaled.",
        )
    return slope, intercept


def _offset(path: Path, raw: Any, header_bytes: int) -> int:  # noqa: ANN401 - as above
    offset = float(raw["vox_offset"])
    if not (offset.is_integer() and header_bytes + 4 <= offset <= MAX_HEAD_BYTES):
        raise ImageRefusedError(
            f"{path.name}: its pixels should begin at byte {offset} (vox_offset).",
            code="size",
            hint=f"They begin behind the header's {header_bytes + 4} bytes and within {MAX_HEAD_BYTES >> 20} MiB; "
            "the header is damaged.",
        )
    return int(offset)


def _check_extensions(path: Path, data: bytes, order: Literal["<", ">"]) -> None:
    """Refuse extensions that do not lead to the pixels, one after the other; what they hold is not looked at."""
    at = 0
    for _ in range(MAX_EXTENSIONS):
        if at + SMALLEST_EXTENSION > len(data):
            return
        (size,) = struct.unpack_from(order + "i", data, at)
        if not SMALLEST_EXTENSION <= size <= len(data) - at:
            raise ImageRefusedError(
                f"{path.name}: an extension of its header claims {size} bytes, and {len(data) - at} follow "
                "up to the pixels.",
                code="size",
                hint=AGAIN,
            )
        at += size
    if at < len(data):
        raise ImageRefusedError(
            f"{path.name}: its header has over {MAX_EXTENSIONS} extensions.",
            code="unsupported",
            hint="Save it without them; what they hold is not read here.",
        )
