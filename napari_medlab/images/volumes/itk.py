"""What SimpleITK reads: the header first, the pixels when asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.refusals import check_decodable_whole, reading
from napari_medlab.images.tiles import PlaneTiles, WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_with_itk"]


def open_with_itk(
    path: Path,
    image_io: str,
    sizes: tuple[int, ...],
    *,
    file_format: str,
    is_compressed: bool,
    warnings: tuple[ImageWarning, ...] = (),
) -> Image:
    """Return a volume that SimpleITK reads.

    Parameters
    ----------
    path : Path
    image_io : str
        The one reader that may look at the file.
    sizes : (x, y, z)
        What the text header says; SimpleITK must agree.
    file_format : str
    is_compressed : bool
        Whether the pixels can only be decoded in one piece.
    warnings : tuple of ImageWarning
    """
    reader = _reader(path, image_io)
    reader.ReadImageInformation()
    shape = tuple(int(size) for size in reversed(sizes))
    dtype = _dtype(path, reader.GetPixelID())
    if tuple(reader.GetSize()) != tuple(sizes) or reader.GetNumberOfComponents() != 1:
        raise ImageRefusedError(
            f"{path.name}: its header says {sizes}, it reads as {reader.GetSize()} with "
            f"{reader.GetNumberOfComponents()} values a voxel.",
            code="size",
            hint="The header contradicts itself; export the image again from its source.",
        )
    if is_compressed:
        check_decodable_whole(path, shape, dtype)
    source = (
        WholeTile(shape, dtype, partial(_whole, path, image_io))
        if is_compressed
        else PlaneTiles(shape, dtype, partial(_plane, path, image_io))
    )
    return Image(
        path=path,
        kind="volume",
        modality="",
        sources=(source,),
        grid=Grid(shape, _affine(reader), "mm"),
        warnings=warnings,
        details={"format": file_format},
    )


def _reader(path: Path, image_io: str) -> Any:  # noqa: ANN401 - SimpleITK has no types
    import SimpleITK

    itk: Any = SimpleITK
    reader = itk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    return reader


def _whole(path: Path, image_io: str) -> NDArray[Any]:
    import SimpleITK

    with reading(path):
        volume: NDArray[Any] = SimpleITK.GetArrayFromImage(_reader(path, image_io).Execute())
        return volume


def _plane(path: Path, image_io: str, number: int) -> NDArray[Any]:
    import SimpleITK

    with reading(path):
        reader = _reader(path, image_io)
        reader.ReadImageInformation()
        width, height, _ = reader.GetSize()
        reader.SetExtractIndex((0, 0, number))
        reader.SetExtractSize((width, height, 1))
        plane: NDArray[Any] = SimpleITK.GetArrayFromImage(reader.Execute())
        return plane


def _dtype(path: Path, pixel_id: int) -> np.dtype[Any]:
    import SimpleITK

    names = ("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64", "Float32", "Float64")
    types = {getattr(SimpleITK, f"sitk{name}"): np.dtype(name.lower()) for name in names}
    if pixel_id not in types:
        raise ImageRefusedError(
            f"{path.name} holds values of the type number {pixel_id} in SimpleITK's count.",
            code="unsupported",
            hint="Save it as integers or real numbers.",
        )
    return types[pixel_id]


def _affine(reader: Any) -> NDArray[np.float64]:  # noqa: ANN401 - SimpleITK has no types
    direction = np.asarray(reader.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = (direction * np.asarray(reader.GetSpacing()))[:, ::-1]
    affine[:3, 3] = reader.GetOrigin()
    return affine
