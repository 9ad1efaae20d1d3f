"""PNG, JPEG, PGM and PPM pictures."""

from __future__ import annotations

import warnings as python_warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.netpbm import is_netpbm, open_netpbm
from napari_medlab.images.photo_checks import check_photo_file
from napari_medlab.images.refusals import check_decodable_whole, check_shape, reading
from napari_medlab.images.tiles import WholeTile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["open_photo"]

FORMATS = ("PNG", "JPEG")
EXIF_ORIENTATION = 0x0112
MODES = {"1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""From how a picture is stored to how it is shown; ``LA`` and transparent palettes become RGBA."""
CHANNELS = {"L": (), "RGB": (3,), "RGBA": (4,)}
PNG_CHANNELS: dict[int, tuple[int, ...]] = {0: (), 2: (3,), 4: (2,), 6: (4,)}


def open_photo(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return a picture as stored: pixel size unknown, 16 bits kept, never turned by its EXIF tag."""
    if is_netpbm(path):
        return open_netpbm(path)
    check_photo_file(path)
    width, height, mode, turned = _header(path)
    deep = _deep_png_channels(path)
    channels = CHANNELS[mode] if deep is None else deep
    shape = (height, width, *channels)
    dtype = np.dtype(np.uint8 if deep is None else np.uint16)
    check_shape(path, shape)
    check_decodable_whole(path, shape, dtype)
    message = "The picture carries a tag to turn it; it is shown and measured as it is stored."
    return Image(
        path=path,
        kind="photo",
        modality="",
        sources=(WholeTile(shape, dtype, _Picture(path, mode, deep=deep is not None)),),
        grid=Grid.axis_aligned((height, width), (1.0, 1.0), unit="px"),
        is_rgb=channels in ((3,), (4,)),
        warnings=(ImageWarning("exif-orientation", message),) if turned else (),
        details={"format": "PNG or JPEG"},
    )


@dataclass(frozen=True)
class _Picture:
    path: Path
    mode: str
    deep: bool

    def __call__(self) -> NDArray[Any]:
        import imagecodecs
        from PIL import Image as Pictures

        with reading(self.path):
            if self.deep:
                deep: NDArray[Any] = imagecodecs.png_decode(self.path.read_bytes())
                return deep
            with Pictures.open(self.path, formats=FORMATS) as picture:
                return np.asarray(picture.convert(self.mode))


def _header(path: Path) -> tuple[int, int, str, bool]:
    """Return width, height, the mode to show it in, and whether it asks to be turned."""
    from PIL import Image as Pictures

    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error", Pictures.DecompressionBombWarning)
        try:
            with Pictures.open(path, formats=FORMATS) as picture:
                width, height = picture.size
                transparent = picture.mode in ("LA", "PA") or "transparency" in picture.info
                mode = "RGBA" if transparent else MODES.get(picture.mode, "L")
                # a PNG would be decoded as a whole to look for that tag
                turned = picture.format == "JPEG" and picture.getexif().get(EXIF_ORIENTATION, 1) != 1
                return width, height, mode, turned
        except (Pictures.DecompressionBombWarning, Pictures.DecompressionBombError) as error:
            raise ImageRefusedError(
                f"{path.name} is too large for a picture: {error}",
                code="size",
                hint="Convert it to a tiled TIFF, which is read piece by piece.",
            ) from None


def _deep_png_channels(path: Path) -> tuple[int, ...] | None:
    """Return the channel axis of a PNG with 16 bits a value, None for every other picture."""
    with path.open("rb") as file:
        head = file.read(26)
    if not head.startswith(b"\x89PNG") or head[24] != 16:
        return None
    return PNG_CHANNELS.get(head[25])
