"""Writing NIfTI: (z, y, x) in LPS becomes (x, y, z) in RAS."""

from __future__ import annotations

import gzip
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.writers.planes import affine_mm, stack_shape, write_planes
from napari_medlab.images.writers.refusals import check_dtype
from napari_medlab.images.writers.text import remark

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.writers.watch import Watch

__all__ = ["write_nifti"]

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
CORNER_MM = 5e-4
"""How far a stored matrix may put a corner of the image from where it lies."""
MAX_AXIS = 32767
SCANNER = 1
DESCRIP = 79
"""``descrip`` has 80 bytes, the last of which ends the text for readers in C."""


def write_nifti(image: Image, path: Path, watch: Watch, *, compressed: bool) -> None:
    """Write a volume, or a planar image as a volume of one slice, with slope 1 and intercept 0.

    The sform puts every corner within 5e-4 mm of its place. NIfTI-1 keeps it in single precision, which is enough
    within some metres of the origin; where it is not, or where an axis is longer than 32,767, NIfTI-2 is written.
    An unknown pixel size stays unknown: no unit, no orientation.

    Parameters
    ----------
    image : Image
    path : Path
        A new file.
    watch : Watch
    compressed : bool
        Whether to write ``.nii.gz``.

    Raises
    ------
    InputRefusedError
        Where the image has colours, channels, or a type that NIfTI lacks.
    """
    check_dtype(image, "NIfTI", DTYPES)
    header = _header(image)
    with path.open("xb") as raw:
        if not compressed:
            header.write_to(raw)
            write_planes(image, raw, watch)
            return
        # the fastest level, as nibabel has it; gzip would note the name of the file and the time
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
            header.write_to(packed)
            write_planes(image, packed, watch)  # type: ignore[arg-type]


def _header(image: Image) -> Any:  # noqa: ANN401 - nibabel has no types
    """Return a header built from nothing but shape, type, geometry and lineage."""
    import nibabel

    shape = stack_shape(image)[::-1]
    lps = affine_mm(image)
    ras = None if lps is None else LPS_TO_RAS @ lps[:, [2, 1, 0, 3]]
    header = None if max(shape) > MAX_AXIS else _filled(nibabel.Nifti1Header(), image, shape, ras)
    if header is None or (ras is not None and _apart(header.get_sform(), ras, shape) > CORNER_MM):
        header = _filled(nibabel.Nifti2Header(), image, shape, ras)
    return header


def _filled(
    header: Any,  # noqa: ANN401 - nibabel has no types
    image: Image,
    shape: tuple[int, ...],
    ras: NDArray[np.float64] | None,
) -> Any:  # noqa: ANN401 - nibabel has no types
    header.set_data_dtype(image.dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(1.0, 0.0)
    header["descrip"] = remark(image.lineage, DESCRIP).encode("ascii")
    if ras is None:
        header.set_xyzt_units("unknown")
        return header
    header.set_xyzt_units("mm")
    header.set_sform(ras, code=SCANNER)
    header.set_qform(ras, code=SCANNER, strip_shears=True)
    # A qform holds rotations alone, and near half a turn (which LPS to RAS is) single precision may move a corner by
    # tenths of a millimetre. It is then declared absent, so that no reader prefers it to the sform.
    if _apart(header.get_qform(), ras, shape) > CORNER_MM:
        header["qform_code"] = 0
    return header


def _apart(stored: NDArray[np.float64], meant: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return how far two (4, 4) matrices put the worst corner of a shape (x, y, z) from each other, in mm."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in shape))])
    apart: NDArray[np.float64] = np.linalg.norm((corners @ (stored - meant).T)[:, :3], axis=1)
    return float(apart.max())
