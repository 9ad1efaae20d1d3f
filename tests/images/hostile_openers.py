"""Openers that misbehave, each in its own way, and those of plain libraries: they show that the harness notices."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def raises(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """Raise what is not ours."""
    raise KeyError(path.name)


def nameless(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """Raise one of ours without a code."""
    raise ImageRefusedError(f"{path.name} is not read.", code="")


def hangs(path: Path) -> Any:  # noqa: ANN401 - it never returns in time
    """Never come back."""
    time.sleep(3600)
    return path


def swells(path: Path) -> Any:  # noqa: ANN401 - it never returns in time
    """Take 400 MiB, then refuse."""
    taken = np.ones(400 * MIB, np.uint8)
    time.sleep(0.2)
    raise ImageRefusedError(f"{path.name} took {taken.nbytes} bytes.", code="size")


def dies(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """End the process as a crash does."""
    os._exit(len(path.parts) and 139)


def leaks(path: Path) -> Any:  # noqa: ANN401 - what an image is asked for and no more
    """Show the bytes of whatever file it is given."""
    import dask.array as da

    pixels = np.frombuffer(path.read_bytes(), np.uint8)
    return SimpleNamespace(levels=(da.from_array(pixels, chunks=1000),))  # type: ignore[no-untyped-call]


def plainly(path: Path) -> Any:  # noqa: ANN401 - what an image is asked for and no more
    """Read a file as whoever trusts it does: with the library of its format, in the same process."""
    readers = {
        ".dcm": _by_pydicom, ".nii": _by_nibabel, ".gz": _by_nibabel, ".mha": _by_itk, ".mhd": _by_itk, ".nrrd": _by_itk,
        ".nhdr": _by_itk, ".tif": _by_tifffile, ".svs": _by_tifffile, ".zarr": _by_zarr,
    }  # fmt: skip
    pixels = readers.get(path.suffix, _by_pillow)(path)
    return SimpleNamespace(levels=(), pixels=np.asarray(pixels))


def _by_pydicom(path: Path) -> Any:  # noqa: ANN401 - as each library has it
    import pydicom

    return pydicom.dcmread(path).pixel_array


def _by_nibabel(path: Path) -> Any:  # noqa: ANN401 - as above
    import nibabel

    return nibabel.load(path).dataobj  # type: ignore[attr-defined]


def _by_itk(path: Path) -> Any:  # noqa: ANN401 - as above
    import SimpleITK

    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def _by_tifffile(path: Path) -> Any:  # noqa: ANN401 - as above
    import tifffile

    return tifffile.imread(path)


def _by_zarr(path: Path) -> Any:  # noqa: ANN401 - as above
    import zarr

    return zarr.open_group(path, mode="r")["0"][...]  # type: ignore[index]


def _by_pillow(path: Path) -> Any:  # noqa: ANN401 - as above
    from PIL import Image

    with Image.open(path) as picture:
        return picture.convert("RGB")
