"""Compressed tiles: what they claim to be is asked before a decoder makes room for it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Codestream", "check_codestream", "jpeg2000_size", "jpeg_size", "rgb_of_ycbcr", "webp_size"]

Codestream = Literal["jpeg", "jpeg2000", "webp"]
Size = tuple[int, int, int]
START_OF_FRAME = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
WITHOUT_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
BOXED = b"\0\0\0\x0cjP  \r\n\x87\n"
BARE = b"\xff\x4f\xff\x51"


def check_codestream(path: Path, form: Codestream, data: bytes, tile: tuple[int, ...]) -> None:
    """Refuse a tile (y, x[, samples]) whose own header claims to be much larger than its place in the image."""
    size = {"jpeg": jpeg_size, "jpeg2000": jpeg2000_size, "webp": webp_size}[form](data)
    if size is None:
        raise ImageRefusedError(
            f"{path.name}: a tile that should be {form} does not say how large it is.",
            code="unreadable",
            hint="The file is damaged; copy it again from its source.",
        )
    samples = max(4, *tile[2:])
    # an encoder may pad to whole blocks
    if size[0] * size[1] > 4 * max(tile[0], 16) * max(tile[1], 16) or size[2] > samples:
        raise ImageRefusedError(
            f"{path.name}: a tile of {tile[0]} by {tile[1]} claims to be {size[0]} by {size[1]} "
            f"with {size[2]} components.",
            code="size",
            hint="The file is damaged; copy it again from its source.",
        )


def jpeg_size(data: bytes) -> Size | None:
    """Return (height, width, components) of a JPEG or JPEG-LS from its frame header, or None where there is none."""
    at = data.find(b"\xff")
    while at >= 0 and at + 10 <= len(data):
        marker = data[at + 1]
        if marker in START_OF_FRAME:
            height, width, components = struct.unpack(">HHB", data[at + 5 : at + 10])
            return int(height), int(width), int(components)
        if marker == 0xFF:
            at += 1
            continue
        step = 2 if marker in WITHOUT_LENGTH else 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        at = data.find(b"\xff", at + step)
    return None


def jpeg2000_size(data: bytes) -> Size | None:
    """Return (height, width, components) of a JPEG 2000 codestream, boxed or bare, or None where there is none."""
    at = _boxed_codestream(data) if data.startswith(BOXED) else 0
    if data[at : at + 4] != BARE or len(data) < at + 42:
        return None
    right, bottom, left, top = struct.unpack(">IIII", data[at + 8 : at + 24])
    components = int(struct.unpack(">H", data[at + 40 : at + 42])[0])
    return int(bottom - top), int(right - left), components


def webp_size(data: bytes) -> Size | None:
    """Return (height, width, components) of a WebP image, or None where it is none."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little"), 4
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 4
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return int(height & 0x3FFF), int(width & 0x3FFF), 3
    return None


def rgb_of_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (y, x, 3) as red, green and blue from full-range luma and colour differences, as JFIF has them."""
    luma, blue, red = (pixels[..., channel].astype(np.float32) for channel in range(3))
    blue, red = blue - 128, red - 128
    colours = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    rounded: NDArray[np.uint8] = np.stack(colours, axis=-1).round().clip(0, 255).astype(np.uint8)
    return rounded


def _boxed_codestream(data: bytes) -> int:
    """Return where the codestream of a boxed JPEG 2000 file begins, or its end where there is none."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        head = 8
        if length == 1:
            length, head = int(struct.unpack(">Q", data[at + 8 : at + 16])[0]), 16
        if kind == b"jp2c":
            return at + head
        if length < head:
            break
        at += length
    return len(data)
