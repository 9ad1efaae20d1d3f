"""Opening any image: which reader a file or a folder belongs to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.refusals import reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.images.image import Image

    Reader = Callable[[Path, Decisions], Image]

__all__ = ["kind_of", "looks_like_zarr", "open_here", "open_image"]

HEAD = 512
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (128, b"DICM", "dicom"),
    (0, b"\x89PNG\r\n\x1a\n", "photo"),
    (0, b"\xff\xd8\xff", "photo"),
    (0, b"P5", "photo"),
    (0, b"P6", "photo"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"NRRD", "nrrd"),
    (344, b"n+1\0", "nifti"),
    (4, b"n+2\0", "nifti"),
)
FORMATS = "DICOM, NIfTI, MetaImage, NRRD, TIFF, SVS, NDPI and SCN slides, OME-Zarr, PNG, JPEG, PGM"
ZARR_MARKERS = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def open_image(
    path: str | Path,
    decisions: Decisions = AS_IS,
    *,
    pyramid: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Image:
    """Return an image with its geometry proven and none of its pixels decoded.

    The file is parsed, and later decoded, in a process of its own with limits: one that hangs or crashes its parser is
    refused like any other that cannot be read.

    Parameters
    ----------
    path : str or Path
        A file, or a folder that holds one DICOM series, one DICOM slide or an OME-Zarr.
    decisions : Decisions
        What was decided about an image that is refused otherwise; a refusal lists these as its ``options``.
    pyramid : bool
        Whether to add levels to a planar image until the coarsest is at most 1024 pixels a side. They are made from
        the finer ones when they are asked for, and kept on disk.
    on_progress : callable, optional
        Called with (done, total) while many files are being read, from another thread.
    stop : callable, optional
        Asked now and then whether to give up.

    Raises
    ------
    ImageRefusedError
        Where showing the image would be wrong, unsafe or impossible. Its ``code`` says why.
    MedlabError
        With code ``cancelled`` where ``stop`` said so.
    """
    from napari_medlab.images.isolation import open_isolated

    source = _existing(path)
    return open_isolated(source, decisions, pyramid=pyramid, on_progress=on_progress, stop=stop)


def open_here(path: str | Path, decisions: Decisions = AS_IS, *, pyramid: bool = False) -> Image:
    """Do what :func:`open_image` does within this process: for files that are known to be harmless."""
    source = _existing(path)
    with reading(source):
        image = (_folder_reader(source) if source.is_dir() else _file_reader(source))(source, decisions)
        if decisions.pixel_size_um is not None:
            from napari_medlab.images.stated_size import with_stated_size

            stated = replace(image.decisions, pixel_size_um=decisions.pixel_size_um)
            image = with_stated_size(replace(image, decisions=stated))
        if pyramid:
            from napari_medlab.images.slides.pyramids import with_pyramid

            image = with_pyramid(image)
        return image


def _existing(path: str | Path) -> Path:
    source = Path(path).expanduser()
    try:
        is_there = source.exists()
    except OSError:  # a name too long for the disk, or a folder that may not be looked into
        is_there = False
    if not is_there:
        raise ImageRefusedError(
            f"There is nothing at {source}.", code="not-found", hint="Check the path; is its disk connected?"
        )
    if not (source.is_file() or source.is_dir()):
        raise ImageRefusedError(
            f"{source.name} is neither a file nor a folder.", code="unsupported", hint="Open an image file."
        )
    return source


def _folder_reader(folder: Path) -> Reader:
    if looks_like_zarr(folder):
        from napari_medlab.images.slides.ome_zarr import open_ome_zarr as reader
    else:
        from napari_medlab.images.dicom.folder import open_dicom_folder as reader
    return reader


def _file_reader(path: Path) -> Reader:
    """Return the function that opens a file, by what the file holds."""
    kind = kind_of(path)
    if kind == "dicom":
        from napari_medlab.images.dicom.folder import open_dicom_file as reader
    elif kind == "nifti":
        from napari_medlab.images.volumes.nifti import open_nifti as reader
    elif kind == "metaimage":
        from napari_medlab.images.volumes.metaimage import open_metaimage as reader
    elif kind == "nrrd":
        from napari_medlab.images.volumes.nrrd import open_nrrd as reader
    elif kind == "tiff":
        from napari_medlab.images.slides.tiff import open_tiff as reader
    elif kind == "photo":
        from napari_medlab.images.photos import open_photo as reader
    else:
        raise ImageRefusedError(
            f"{path.name} is none of the formats that are read here.",
            code="unsupported",
            hint=f"Formats: {FORMATS}. A DICOM file must begin with its 128-byte preamble.",
        )
    return reader


def looks_like_zarr(folder: Path) -> bool:
    """Tell whether a folder is a Zarr group or array."""
    return any((folder / name).is_file() for name in ZARR_MARKERS)


def kind_of(path: Path) -> str:
    """Return which reader a file belongs to, empty for none, by what it holds."""
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
