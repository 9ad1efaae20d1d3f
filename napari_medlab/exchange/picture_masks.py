"""Masks as pictures: grey PNG and TIFF files, and PNG files with a palette, whose values number what is on a planar image.

A picture has no geometry: a pixel of the mask lies on the pixel of the image (of a slide, of its finest level) with the same
index. What a program wants to say by colours is not guessed at.
"""

from __future__ import annotations

import struct
import zlib
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["is_picture", "look_like_masks", "read_picture"]

ENDINGS = (".png", ".tif", ".tiff")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH_AT, HEADER_BYTES = 24, 26
"""Where a PNG file tells how many bits a value has, and behind that whether values are places in its palette."""
GREY, PALETTE = 0, 3
LOOKED_AT = 4
"""So many pictures of a folder are looked at to tell masks from photographs."""
LOOKED_AT_PIXELS = 2048
"""The side of the square, in the middle of a picture, whose values are counted."""
MOST_VALUES = 32
"""A photograph has more values; a mask with more of them is taken for one where somebody says so."""


def is_picture(path: str | Path) -> bool:
    """Tell by its name whether a file may be a mask in a picture."""
    return Path(path).name.lower().endswith(ENDINGS)


def look_like_masks(paths: Iterable[Path]) -> bool:
    """Tell whether the first pictures among files are masks: without colours, and with few values.

    They are decoded here and now: this is for the process in which foreign files are parsed.
    """
    from napari_medlab.images import open_here

    first = list(islice((path for path in paths if is_picture(path)), LOOKED_AT))
    try:
        return bool(first) and all(len(np.unique(_middle(path, open_here))) <= MOST_VALUES for path in first)
    except (InputRefusedError, OSError):
        return False


def read_picture(path: Path, shape: Sequence[int]) -> NDArray[np.unsignedinteger]:
    """Return the numbers of a mask, as they are stored; those of a palette are the places in it.

    Parameters
    ----------
    path : Path
    shape : sequence of int
        The size of the image, (y, x).

    Returns
    -------
    uint8, uint16 or uint32 array, (y, x)

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.images.open_image`; ``grid`` for a mask of another size; ``labels`` where the picture is one
        in colours, of several pages, or stores white as 0.
    """
    from napari_medlab.images import open_image
    from napari_medlab.images.refusals import check_decodable_whole

    def take(image: Image) -> NDArray[Any]:
        if image.shape[:2] != tuple(shape):
            found, wanted = (" × ".join(map(str, size)) for size in (image.shape[:2], shape))
            raise InputRefusedError(
                f"{path.name}: the mask has {found} pixels (height × width), and the case's image {wanted}.",
                code="grid",
                hint="Use the mask that was made on this image, at its full size, without resampling it.",
            )
        check_decodable_whole(path, image.shape, image.dtype)
        return image.decoded()

    return _numbers(path, open_image, take)


def _middle(path: Path, opened: Callable[[Path], Image]) -> NDArray[np.unsignedinteger]:
    def take(image: Image) -> NDArray[Any]:
        corner = [max(0, (size - LOOKED_AT_PIXELS) // 2) for size in image.shape[:2]]
        box = tuple(slice(start, start + LOOKED_AT_PIXELS) for start in corner)
        return np.asarray(image.arrays[0][box])

    return _numbers(path, opened, take)


def _numbers(
    path: Path, opened: Callable[[Path], Image], take: Callable[[Image], NDArray[Any]]
) -> NDArray[np.unsignedinteger]:
    """Return the numbers of what is taken of a picture."""
    depth, colour = _png_header(path)
    if colour == PALETTE:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(_with_plain_palette(path.read_bytes()))
            shown = take(opened(copy))
            return np.ascontiguousarray(shown.reshape(*shown.shape[:2], -1)[..., 0])
    image = opened(path)
    _refuse_colours(path, image)
    values = take(image)
    # a reader stretches values of 2 and 4 bits to those of 8
    return values // (255 // ((1 << depth) - 1)) if colour == GREY and depth in (2, 4) else values


def _png_header(path: Path) -> tuple[int, int]:
    """Return how many bits a value of a PNG file has, and of what kind its colours are; -1 for other files."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    return (
        (head[DEPTH_AT], head[DEPTH_AT + 1])
        if head.startswith(SIGNATURE) and len(head) == HEADER_BYTES
        else (-1, -1)
    )


def _with_plain_palette(data: bytes) -> bytes:
    """Return a PNG file with the palette in which every place has a grey of its own: its number."""
    pieces, at = [SIGNATURE], len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"PLTE":
            places = 1 << min(data[DEPTH_AT], 8)
            colours = kind + bytes(number for number in range(places) for _ in range(3))
            pieces.append(
                struct.pack(">I", len(colours) - 4) + colours + struct.pack(">I", zlib.crc32(colours))
            )
        elif kind != b"tRNS":
            pieces.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(pieces)


def _refuse_colours(path: Path, image: Image) -> None:
    """Raise for a picture whose values do not number anything."""
    if image.kind == "volume":
        what, hint = f"{image.shape[0]} pages", "Give one mask for each image, of one page."
    elif len(image.shape) != 2:
        what = f"{image.shape[-1]} channels (colours or transparency)"
        hint = (
            "Save it as a grey picture (mode L) whose values are 0 for the background and 1, 2, … for the classes, "
            "or as a PNG with a palette."
        )
    elif image.is_inverted:
        what, hint = "white stored as 0", "Save it as a grey picture in which 0 is black, the background."
    elif image.dtype.kind not in "ub":
        what, hint = f"values of the type {image.dtype}", "Save it with 8 or 16 bits a value."
    else:
        return
    raise InputRefusedError(
        f"{path.name} has {what}: a mask has one whole number for each pixel.", code="labels", hint=hint
    )
