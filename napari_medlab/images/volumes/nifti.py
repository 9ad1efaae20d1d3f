"""NIfTI volumes, turned from RAS to LPS and from (x, y, z) to (z, y, x)."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import (
    check_decodable_whole,
    check_finite,
    check_not_shorter,
    check_shape,
    reading,
)
from napari_medlab.images.tiles import PlaneTiles, WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_nifti"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
FORMS_AGREE_MM = 0.1
MAX_OPTIONS = 200


def open_nifti(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of a ``.nii`` or ``.nii.gz`` file, or the chosen one of a time series."""
    deflated = path.name.lower().endswith(".gz")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageRefusedError(
            f"{path.name} holds NIfTI, and its name does not say so.",
            code="unsupported",
            hint="Rename it to end in .nii or .nii.gz.",
        )
    image = _load(path)
    header = image.header
    phase = _phase(path, image.shape, decisions.phase)
    shape = _shape(path, image.shape)
    stored = np.dtype(header.get_data_dtype())
    dtype = _dtype(path, stored, image.dataobj.slope, image.dataobj.inter)
    if deflated:
        check_decodable_whole(path, shape, dtype)
    pixel_bytes = math.prod(image.shape) * stored.itemsize
    available = path.stat().st_size - (0 if deflated else int(image.dataobj.offset))
    check_not_shorter(path, pixel_bytes, available, deflated=deflated)
    check_finite(path, "the affine", np.ravel(image.affine).tolist())
    source = (
        WholeTile(shape, dtype, partial(_whole, path, shape, phase))
        if deflated
        else PlaneTiles(shape, dtype, partial(_plane, path, shape, phase))
    )
    return Image(
        path=path,
        kind="volume",
        modality="",
        sources=(source,),
        grid=Grid(shape, _affine(image), "mm"),
        warnings=tuple(_warnings(image, shape)),
        details={"format": "NIfTI", "stored_dtype": str(stored)},
        decisions=AS_IS if phase is None else Decisions(phase=phase),
    )


def _plane(path: Path, shape: tuple[int, ...], phase: int | None, number: int) -> NDArray[Any]:
    with reading(path):
        pixels = _load(path).dataobj
        # files of one plane may have no third axis to ask
        wanted = () if pixels.ndim < 3 else (slice(None), slice(None), number, *(0,) * (pixels.ndim - 3))
        if phase is not None:
            wanted = (slice(None), slice(None), number, phase, *(0,) * (pixels.ndim - 4))
        return np.asarray(pixels[wanted]).reshape(shape[2], shape[1]).T


def _whole(path: Path, shape: tuple[int, ...], phase: int | None) -> NDArray[Any]:
    with reading(path):
        pixels = _load(path).dataobj
        wanted = (Ellipsis,) if phase is None else (*(slice(None),) * 3, phase, *(0,) * (pixels.ndim - 4))
        return np.asarray(pixels[wanted]).reshape(shape[::-1]).T


def _load(path: Path) -> Any:  # noqa: ANN401 - nibabel has no types
    import nibabel

    _refuse_scaling(path)
    # no memory map: a file cut short under one kills the process
    return nibabel.load(path, mmap=False)


def _refuse_scaling(path: Path) -> None:
    """Refuse a slope of 0 or NaN, which nibabel takes for 1."""
    import gzip

    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        start = file.read(540)
    kind: Any = Nifti2Header if start[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else Nifti1Header
    header = kind(start[: kind.sizeof_hdr], check=False)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        raise ImageRefusedError(
            f"{path.name}: scl_slope is {slope} and scl_inter {intercept}.",
            code="slope",
            hint="Both must be finite and the slope not 0; write 1 and 0 where values are not scaled.",
        )


def _phase(path: Path, sizes: tuple[int, ...], chosen: int | None) -> int | None:
    """Return which volume of a time series is meant; None where there is one only."""
    count = sizes[3] if len(sizes) > 3 else 1
    if any(size != 1 for size in sizes[4:]):
        raise ImageRefusedError(
            f"{path.name} has {len(sizes)} dimensions: {' by '.join(map(str, sizes))}.",
            code="unsupported",
            hint="Images with several values a voxel are not read: save one value a voxel.",
        )
    if count == 1:
        return None
    if chosen is not None and 0 <= chosen < count:
        return chosen
    raise ImageRefusedError(
        f"{path.name} holds {count} volumes one after the other: {' by '.join(map(str, sizes))}.",
        code="four-d",
        hint="Choose one of them.",
        options=tuple(
            Option(f"Volume {number + 1} of {count}", Decisions(phase=number).as_json())
            for number in range(min(count, MAX_OPTIONS))
        ),
    )


def _shape(path: Path, sizes: tuple[int, ...]) -> tuple[int, ...]:
    check_shape(path, sizes)
    return tuple(int(size) for size in reversed((*sizes[:3], 1, 1)[:3]))


def _dtype(path: Path, stored: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    if stored.kind not in "iuf":
        raise ImageRefusedError(
            f"{path.name} holds values of the type {stored}.",
            code="unsupported",
            hint="Save it as integers or real numbers.",
        )
    if slope == 1 and intercept == 0:
        return stored.newbyteorder("=")
    return np.dtype(np.float64 if stored.itemsize > 4 else np.float32)


def _affine(image: Any) -> NDArray[np.float64]:  # noqa: ANN401 - nibabel has no types
    scale = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    world = np.diag([scale, scale, scale, 1.0]) @ RAS_TO_LPS @ image.affine
    affine: NDArray[np.float64] = world[:, [2, 1, 0, 3]]
    return affine


def _warnings(image: Any, shape: tuple[int, ...]) -> list[ImageWarning]:  # noqa: ANN401 - nibabel has no types
    qform, qcode = image.get_qform(coded=True)
    sform, scode = image.get_sform(coded=True)
    if not qcode and not scode:
        message = "The header states no orientation; left and right are a guess."
        return [ImageWarning("no-orientation", message)]
    if qform is not None and sform is not None:
        corner = np.array([*(size - 1 for size in reversed(shape)), 1.0])
        apart = float(np.linalg.norm((qform - sform) @ corner))
        if apart > FORMS_AGREE_MM:
            message = f"sform and qform put the far corner {apart:.2f} mm apart; the sform is used."
            return [ImageWarning("two-orientations", message)]
    return []
