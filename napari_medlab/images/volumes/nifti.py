"""NIfTI volumes, turned from RAS to LPS and from (x, y, z) to (z, y, x)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import check_finite
from napari_medlab.images.volumes.nifti_header import NiftiHeader, read_nifti_header
from napari_medlab.images.volumes.phases import chosen_volume
from napari_medlab.images.volumes.pixels import Pixels, tiles_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_nifti"]

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
FORMS_AGREE_MM = 0.1


def open_nifti(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of a ``.nii`` or ``.nii.gz`` file, or the chosen one of a time series."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageRefusedError(
            f"{path.name} holds NIfTI, and its name does not say so.",
            code="unsupported",
            hint="Rename it to end in .nii or .nii.gz.",
        )
    header = read_nifti_header(path)
    phase = chosen_volume(path, header.sizes, decisions.phase)
    pixels = _pixels(path, header, phase or 0)
    affine = header.geometry.get_best_affine()
    check_finite(path, "the affine", np.ravel(affine).tolist())
    return Image(
        path=path,
        kind="volume",
        modality="",
        sources=(tiles_of(pixels),),
        grid=Grid(pixels.shape, _affine(header.geometry, affine), "mm"),
        warnings=tuple(_warnings(header.geometry, pixels.shape)),
        details={"format": "NIfTI", "stored_dtype": str(header.stored)},
        decisions=AS_IS if phase is None else Decisions(phase=phase),
    )


def _pixels(path: Path, header: NiftiHeader, phase: int) -> Pixels:
    x, y, z = (*header.sizes[:3], 1, 1)[:3]
    return Pixels(
        path,
        (z, y, x),
        header.stored,
        0 if header.is_packed else header.offset,
        packing="gzip" if header.is_packed else "",
        skip=header.offset if header.is_packed else 0,
        volumes=math.prod(header.sizes[3:]),
        phase=phase,
        slope=header.slope,
        intercept=header.intercept,
    )


def _affine(geometry: Any, affine: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ANN401 - nibabel has no types
    scale = MILLIMETRES.get(geometry.get_xyzt_units()[0], 1.0)
    world = np.diag([scale, scale, scale, 1.0]) @ RAS_TO_LPS @ affine
    return world[:, [2, 1, 0, 3]]


def _warnings(geometry: Any, shape: tuple[int, ...]) -> list[ImageWarning]:  # noqa: ANN401 - nibabel has no types
    qform, qcode = geometry.get_qform(coded=True)
    sform, scode = geometry.get_sform(coded=True)
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
