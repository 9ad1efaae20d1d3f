"""What a compressed tile claims to be, asked before a decoder makes room for it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_codestream", "jpeg2000_size", "jpeg_size"]

JPEG = frozenset({6, 7, 34892, 33007})
JPEG_2000 = frozenset({33003, 33004, 33005, 34712})
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
HEAD = 64 * 1024


def check_codestream(path: Path, compression: int, data: bytes, tile: tuple[int, ...]) -> None:
    """Refuse a tile whose own header claims to be much larger than its place in the image."""
    size = None
    if compression in JPEG:
        size = jpeg_size(data[:HEAD])
    elif compression in JPEG_2000:
        size = jpeg2000_size(data[:HEAD])
    # an encoder may pad to whole blocks
    if size is not None and size[0] * size[1] > 4 * max(tile[0], 16) * max(tile[1], 16):
        raise ImageRefusedError(
            f"{path.name}: a tile of {tile[0]} by {tile[1]} claims to be {size[0]} by {size[1]}.",
            code="size",
            hint="The file is damaged; copy it again from its source.",
        )


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a JPEG from its frame header, or None where there is none."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            at += 1
            continue
        marker = data[at + 1]
        if marker in START_OF_FRAME:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return int(height), int(width)
        at += 2 if marker in WITHOUT_LENGTH or marker == 0xFF else 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


def jpeg2000_size(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a JPEG 2000 codestream, boxed or bare, or None where there is none."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0 or len(data) < at + 24:
        return None
    right, bottom, left, top = struct.unpack(">IIII", data[at + 8 : at + 24])
    return int(bottom - top), int(right - left)
