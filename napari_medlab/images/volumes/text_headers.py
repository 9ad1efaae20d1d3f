"""The text headers of MetaImage and NRRD, checked before any library acts on them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_finite

__all__ = ["data_file_beside", "numbers", "refuse_dimensions", "sizes", "text_lines"]

MAX_HEADER = 64 * 1024


def text_lines(path: Path) -> list[str]:
    """Return the lines at the beginning of a file, up to 64 KiB; what follows the header is noise in them."""
    with path.open("rb") as file:
        return file.read(MAX_HEADER).decode("latin-1").split("\n")


def numbers(path: Path, field: str, text: str) -> list[float]:
    """Return the finite numbers of a header field; NRRD's brackets and commas count as spaces."""
    try:
        values = [float(word) for word in text.translate(str.maketrans("(),", "   ")).split()]
    except ValueError:
        raise ImageRefusedError(
            f"{path.name}: the header field {field} is {text[:100]!r}, expected numbers.",
            code="unreadable",
            hint="The header is damaged; export the image again from its source.",
        ) from None
    check_finite(path, field, values)
    return values


def refuse_dimensions(path: Path, dimensions: int, channels: int = 1) -> None:
    """Refuse everything but one 3D volume of single values."""
    if dimensions != 3 or channels != 1:
        raise ImageRefusedError(
            f"{path.name} has {dimensions} dimensions and {channels} values a voxel.",
            code="four-d" if dimensions > 3 else "unsupported",
            hint="3D volumes of single values are read: save one of these.",
        )


def data_file_beside(path: Path, name: str) -> Path:
    """Return the file of pixels that a header names, proven to lie in the header's folder or below it."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    folder = path.parent.resolve()
    target = (folder / name).resolve()
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in (*posix.parts, *windows.parts)
    if outside or not target.is_relative_to(folder):
        raise ImageRefusedError(
            f"{path.name} names a pixel file outside its own folder: {name[:200]!r}.",
            code="reference-outside",
            hint="Put the pixel file beside the header and name it without a folder.",
        )
    if not target.is_file():
        raise ImageRefusedError(
            f"{path.name} names a pixel file that is not there: {name[:200]!r}.",
            code="not-found",
            hint="Put the pixel file beside the header.",
        )
    return target


def sizes(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a header field."""
    values = np.asarray(numbers(path, field, text))
    if not np.array_equal(values, np.round(values)):
        raise ImageRefusedError(
            f"{path.name}: the header field {field} is {text[:100]!r}, expected whole numbers.",
            code="size",
            hint="The header is damaged; export the image again from its source.",
        )
    return tuple(int(value) for value in values)
