"""Writing images: headers of their own, and a file that is there whole or not at all."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_medlab.errors import MedlabError
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.writers.metaimage import write_metaimage
from napari_medlab.images.writers.nifti import write_nifti
from napari_medlab.images.writers.ome_tiff import write_ome_tiff
from napari_medlab.images.writers.ome_zarr import OmeZarrVersion, write_ome_zarr
from napari_medlab.images.writers.refusals import unsupported
from napari_medlab.images.writers.unfinished import new_path
from napari_medlab.images.writers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.images.image import Image

    Writer = Callable[[Image, Path, Watch], None]

__all__ = ["SUFFIXES", "OmeZarrVersion", "losses", "write_image"]

SUFFIXES = (".nii.gz", ".nii", ".mha", ".ome.tif", ".ome.tiff", ".zarr")
"""How the name of an image that is written may end."""


def write_image(
    image: Image,
    path: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    ome_zarr: OmeZarrVersion = "0.5",
) -> Path:
    """Write an image to a new file or folder of the format that its name asks for, and return where it is.

    Nothing of the source's header is copied: what is written is geometry, type, axes, pixel size, the names of channels
    and the lineage. Pixels are never all in memory. The name appears when everything is on the disk; until then, and
    whatever happens, there is only ``NAME.partial-…`` beside it, which is removed when it comes to nothing.

    Parameters
    ----------
    image : Image
    path : Path
        Ends in one of :data:`SUFFIXES`.
    progress : callable, optional
        Called with (done, total) as pieces are read.
    cancel : callable, optional
        Asked before each piece whether to stop.
    ome_zarr : {"0.5", "0.4"}
        The version of OME-Zarr, for folders that end in ``.zarr``.

    Raises
    ------
    InputRefusedError
        With code ``exists`` where there is something at ``path``; ``unsupported-output`` where the name asks for none of
        the formats, or for one that cannot hold the image; ``unknown-spacing`` where it needs a pixel size.
    MedlabError
        With code ``cancelled`` where it was asked to stop, and ``not-written`` where the disk is full or fails.
    """
    write = _writer(path, ome_zarr)
    try:
        with new_path(path) as unfinished:
            write(image, unfinished, Watch(progress, cancel))
    except OSError as error:
        raise MedlabError(
            f"{path} was not written: {error.strerror or error}.",
            code="not-written",
            hint="Check that the folder exists, may be written to, and that its disk has room.",
        ) from error
    return path


def _writer(path: Path, ome_zarr: OmeZarrVersion) -> Writer:
    name = path.name.lower()
    suffix = next((ending for ending in SUFFIXES if name.endswith(ending)), None)
    if suffix is None:
        raise unsupported(
            f"{path.name} asks for no format that is written here.", f"End it in {', '.join(SUFFIXES)}."
        )
    if suffix in (".nii.gz", ".nii"):
        return partial(write_nifti, compressed=suffix == ".nii.gz")
    if suffix == ".zarr":
        return partial(write_ome_zarr, version=ome_zarr)
    return write_metaimage if suffix == ".mha" else write_ome_tiff


def losses(image: Image, path: Path) -> tuple[ImageWarning, ...]:
    """Return what a file of the format that a name asks for cannot say about an image."""
    name = path.name.lower()
    found = []
    if image.is_inverted:
        message = "Values are as stored, and high ones are to be shown dark (MONOCHROME1): the new file does not say so."
        found.append(ImageWarning("inverted", message))
    if image.kind == "volume" and name.endswith((".ome.tif", ".ome.tiff")):
        message = "OME-TIFF holds sizes of voxels, and neither position nor orientation in the patient."
        found.append(ImageWarning("place-lost", message))
    if image.grid.ndim == 2 and name.endswith((".nii", ".nii.gz", ".mha")):
        message = "A planar image becomes a volume of one slice of 1 mm, which lies nowhere in the patient."
        found.append(ImageWarning("planar", message))
    return tuple(found)
