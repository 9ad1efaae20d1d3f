"""Opening any image: which reader a file or a folder belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.images.image import Image

__all__ = ["open_image"]

HEAD = 512
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "dicom"),
    (0, b"\x89PNG\r\n\x1a\n", "photo"),
    (0, b"\xff\xd8\xff", "photo"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"NRRD", "nrrd"),
    (344, b"n+1\0", "nifti"),
    (4, b"n+2\0", "nifti"),
)
FORMATS = "DICOM, NIfTI, MetaImage, NRRD, TIFF and SVS slides, PNG, JPEG"


def open_image(path: str | Path, *, series_uid: str | None = None) -> Image:
    """Return an image with its geometry proven and none of its pixels decoded.

    Parameters
    ----------
    path : str or Path
        A file, or a folder that holds one DICOM series.
    series_uid : str, optional
        Which DICOM series of a folder to open, where it holds several.

    Raises
    ------
    ImageRefusedError
        Where showing the image would be wrong, unsafe or impossible. Its ``code`` says why.
    """
    source = Path(path).expanduser()
    if not source.exists():
        raise ImageRefusedError(
            f"There is nothing at {source}.", code="not-found", hint="Check the path; is its disk connected?"
        )
    if not (source.is_file() or source.is_dir()):
        raise ImageRefusedError(
            f"{source.name} is neither a file nor a folder.", code="unsupported", hint="Open an image file."
        )
    with reading(source):
        if source.is_dir():
            from napari_medlab.images.dicom_folder import open_dicom_folder

            return open_dicom_folder(source, series_uid=series_uid)
        return _reader(source)(source)


def _reader(path: Path) -> Callable[[Path], Image]:
    """Return the function that opens a file, by what the file holds."""
    kind = _kind(path)
    if kind == "dicom":
        from napari_medlab.images.dicom_folder import open_dicom_file as reader
    elif kind == "nifti":
        from napari_medlab.images.nifti import open_nifti as reader
    elif kind == "metaimage":
        from napari_medlab.images.metaimage import open_metaimage as reader
    elif kind == "nrrd":
        from napari_medlab.images.nrrd import open_nrrd as reader
    elif kind == "tiff":
        from napari_medlab.images.tiff import open_tiff as reader
    elif kind == "photo":
        from napari_medlab.images.photo import open_photo as reader
    else:
        raise ImageRefusedError(
            f"{path.name} is none of the formats that are read here.",
            code="unsupported",
            hint=f"Formats: {FORMATS}. A DICOM file must begin with its 128-byte preamble.",
        )
    return reader


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise ImageRefusedError(f"{path.name} is empty.", code="empty", hint="Copy it again from its source.")
    for offset, signature, kind in SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    name = path.name.lower()
    if name.endswith((".nii.gz", ".nii")):
        return "nifti"
    return "metaimage" if name.endswith((".mha", ".mhd")) else ""
