"""Slides of every vendor's kind, written byte by byte with pixels that are known."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hostile_tiff import LONG, directory, head, page
from PIL import Image as Pictures

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_here

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["MACRO", "RGB", "Entry", "grey_jpeg", "levels_are", "ndpi", "pieces_of", "refusal", "tiff_of"]

Entry = tuple[int, int, int, "int | bytes"]
Picture = tuple[list[Entry], bytes]
RGB = np.random.default_rng(7).integers(0, 200, (600, 500, 3), dtype=np.uint8)
MACRO = np.full((600, 500, 3), 251, np.uint8)
"""The pixels of a label or macro image: nothing of a slide has this value."""
FLOAT, SHORT, RATIONAL = 11, 3, 5


def levels_are(image: Image, *expected: NDArray[Any]) -> None:
    """Check that an image has these levels and no others, every pixel of them."""
    assert [array.shape for array in image.arrays] == [pixels.shape for pixels in expected]
    for array, pixels in zip(image.arrays, expected, strict=True):
        assert np.array_equal(array[...], pixels)


def refusal(path: Path) -> ImageRefusedError:
    """Return why a file is refused, when it is opened or when all its pixels are read."""
    with pytest.raises(ImageRefusedError) as caught:
        _read(path)
    return caught.value


def _read(path: Path) -> None:
    for array in open_here(path).arrays:
        array[...]


def tiff_of(path: Path, pictures: Sequence[Picture], *, gap: int = 0) -> Path:
    """Write directories in a chain, each with the bytes of its one strip or tiles after it.

    Offsets within the entries count from the beginning of these bytes.
    """
    moved = {273, 324}
    with path.open("wb") as file:
        at = 8
        file.write(head(at))
        for number, (entries, data) in enumerate(pictures):
            length = len(directory(entries, at))
            start = at + length + gap
            placed = [
                (tag, kind, count, _shifted(value, start) if tag in moved else value)
                for tag, kind, count, value in entries
            ]
            following = start + len(data) + len(data) % 2
            file.seek(at)
            file.write(directory(placed, at, following if number + 1 < len(pictures) else 0))
            file.seek(start)
            file.write(data)
            at = following
    return path


def _shifted(value: int | bytes, start: int) -> int | bytes:
    if isinstance(value, bytes):
        return (np.frombuffer(value, "<u4") + np.uint32(start)).astype("<u4").tobytes()
    return value + start


def grey_jpeg(pixels: NDArray[np.uint8], restart_blocks: int = 0) -> bytes:
    """Return a grey baseline JPEG, one with a restart after so many blocks."""
    stream = io.BytesIO()
    options: dict[str, Any] = {"restart_marker_blocks": restart_blocks} if restart_blocks else {}
    Pictures.fromarray(pixels).save(stream, "jpeg", quality=95, **options)
    return stream.getvalue()


def pieces_of(jpeg: bytes) -> list[int]:
    """Return where in a JPEG its pixels begin, and begin anew after each restart."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        at += 2 + int(struct.unpack(">H", jpeg[at + 2 : at + 4])[0])
    at += 2 + int(struct.unpack(">H", jpeg[at + 2 : at + 4])[0])
    return [at, *(n + 2 for n in range(at, len(jpeg) - 1) if jpeg[n] == 0xFF and 0xD0 <= jpeg[n + 1] <= 0xD7)]


def ndpi(
    size: tuple[int, int], jpeg: bytes, lens: float, *, starts: Sequence[int] = (), focus: int = 0
) -> Picture:
    """Return a grey picture as Hamamatsu stores it, 0.25 by 0.5 µm a pixel (x, y)."""
    entries = page(size[1], size[0], compression=7, offsets=0, counts=len(jpeg))
    entries += [
        (282, RATIONAL, 1, struct.pack("<II", 40_000, 1)),
        (283, RATIONAL, 1, struct.pack("<II", 20_000, 1)),
        (296, SHORT, 1, 3),
        (65420, LONG, 1, 1),
        (65421, FLOAT, 1, struct.pack("<f", lens)),
        (65424, 9, 1, struct.pack("<i", focus)),
    ]
    if starts:
        entries.append((65426, LONG, len(starts), np.asarray(starts, "<u4").tobytes()))
    return entries, jpeg
