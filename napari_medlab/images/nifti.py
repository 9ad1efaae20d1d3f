"""NIfTI volumes, turned from RAS to LPS and from (x, y, z) to (z, y, x)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.lazy import WholeFile, lazy_planes
from napari_medlab.images.refusals import (
    check_decodable_whole,
    check_finite,
    check_not_shorter,
    check_shape,
    reading,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_nifti"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
FORMS_AGREE_MM = 0.1


def open_nifti(path: Path) -> Image:
    """Return the volume of a ``.nii`` or ``.nii.gz`` file."""
    deflated = path.name.lower().endswith(".gz")
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageRefusedError(
            f"{path.name} holds NIfTI, and its name does not say so.",
            code="unsupported",
            hint="Rename it to end in .nii or .nii.gz.",
        )
    image = _load(path)
    header = image.header
    shape = _shape(path, image.shape)
    stored = np.dtype(header.get_data_dtype())
    dtype = _dtype(path, stored, image.dataobj.slope, image.dataobj.inter)
    if deflated:
        check_decodable_whole(path, shape, dtype)
    pixel_bytes = math.prod(shape) * stored.itemsize
    available = path.stat().st_size - (0 if deflated else int(image.dataobj.offset))
    check_not_shorter(path, pixel_bytes, available, deflated=deflated)
    check_finite(path, "the affine", np.ravel(image.affine).tolist())
    read = WholeFile(path, _whole) if deflated else _Plane(path, shape)
    return Image(
        path=path,
        kind="volume",
        modality="",
        levels=(lazy_planes(shape, dtype, read),),
        grid=Grid(shape, _affine(image), "mm"),
        warnings=tuple(_warnings(image, shape)),
        details={"format": "NIfTI", "stored_dtype": str(stored)},
    )


@dataclass(frozen=True)
class _Plane:
    path: Path
    shape: tuple[int, ...]

    def __call__(self, number: int) -> NDArray[Any]:
        with reading(self.path):
            pixels = _load(self.path).dataobj
            # files of one plane may have no third axis to ask
            plane = np.asarray(pixels[:, :, number] if self.shape[0] > 1 else pixels)
            return plane.reshape(self.shape[2], self.shape[1]).T


def _whole(path: Path) -> NDArray[Any]:
    with reading(path):
        pixels = np.asarray(_load(path).dataobj)
        volume: NDArray[Any] = pixels.reshape((*pixels.shape, 1, 1)[:3]).T
        return volume


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


def _shape(path: Path, sizes: tuple[int, ...]) -> tuple[int, ...]:
    check_shape(path, sizes)
    spatial = (*sizes, 1, 1, 1)[:3]
    if math.prod(sizes) != math.prod(spatial):
        raise ImageRefusedError(
            f"{path.name} has {len(sizes)} dimensions: {' by '.join(map(str, sizes))}.",
            code="four-d",
            hint="Time series and vector images are not read: save one 3D volume.",
        )
    return tuple(int(size) for size in reversed(spatial))


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
