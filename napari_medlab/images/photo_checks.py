"""What PNG and JPEG files claim, held against how long they are: before a decoder makes room for it."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_not_shorter

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_photo_file"]

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
MAX_CHUNKS, MAX_NOTES = 200_000, 256
MAX_NOTE_BYTES = 16 << 20
NOTES = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"})
MAX_SCANS, MAX_SEGMENTS = 100, 10_000
HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
OTHER_FRAMES = frozenset(range(0xC3, 0xD0)) - {0xC4, 0xC8, 0xCC}
START_OF_SCAN, END = 0xDA, 0xD9
READ_BYTES = 1 << 16
MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]")
"""What begins a segment: within coded values a byte of 255 is followed by 0, or by the number of a restart."""


def check_photo_file(path: Path) -> None:
    """Refuse a PNG or JPEG file that cannot hold what it announces, or costs far more to decode than a picture does."""
    with path.open("rb") as file:
        start = file.read(len(PNG))
        if start == PNG:
            _check_png(path, file)
        elif start.startswith(JPEG):
            file.seek(2)
            _check_jpeg(path, file)


def _check_png(path: Path, file: IO[bytes]) -> None:
    size, notes, pixels, head = os.fstat(file.fileno()).st_size, 0, 0, b""
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        behind = file.tell() + length + 4
        if not head and kind != b"IHDR":
            break
        if behind > size:
            _cut(path, f"its chunk {kind!r} of {length} bytes ends {behind - size} bytes behind its end")
        if kind in NOTES:
            notes += 1
            _check_note(path, kind, length, notes)
        head = head or file.read(13)
        pixels += length if kind == b"IDAT" else 0
        if kind == b"IEND":
            return _check_png_pixels(path, head, pixels)
        file.seek(behind)
    raise ImageRefusedError(
        f"{path.name} does not begin with its header (IHDR), or consists of over {MAX_CHUNKS} chunks.",
        code="unreadable",
        hint="The file is damaged; export the picture again.",
    )


def _check_note(path: Path, kind: bytes, length: int, count: int) -> None:
    if length > MAX_NOTE_BYTES or count > MAX_NOTES:
        raise ImageRefusedError(
            f"{path.name} carries {count} texts and profiles, one of {length} bytes ({kind!r}).",
            code="size",
            hint=f"At most {MAX_NOTES}, of {MAX_NOTE_BYTES >> 20} MiB each, are read: export the picture without them.",
        )


def _check_png_pixels(path: Path, head: bytes, available: int) -> None:
    width, height, depth, colour = struct.unpack(">IIBB", head[:10])
    needed = height * (width * depth * PNG_SAMPLES.get(colour, 1) // 8)
    check_not_shorter(path, needed, available, deflated=True)


@dataclass
class _Frame:
    """What the markers of a JPEG tell."""

    segments: int = 0
    scans: int = 0
    blocks: int = 0


def _check_jpeg(path: Path, file: IO[bytes]) -> None:
    size, frame = os.fstat(file.fileno()).st_size, _Frame()
    # a picture whose end is missing is shown as far as it goes, or refused, by its decoder
    while (marker := _next_marker(file)) != END:
        length = int.from_bytes(file.read(2), "big")
        behind = file.tell() + length - 2
        if length < 2 or behind > size:
            _cut(
                path, f"its segment {marker:#x} claims {length} bytes at {file.tell() - 2}, and it has {size}"
            )
        _take(path, file, marker, frame)
        file.seek(behind)
    # a block of 8 × 8 pixels takes a bit, whatever is in it
    if frame.blocks > 8 * size:
        _cut(path, f"{size} bytes cannot hold {frame.blocks} blocks of 8 by 8 pixels")


def _take(path: Path, file: IO[bytes], marker: int, frame: _Frame) -> None:
    """Note what one segment says."""
    if marker in OTHER_FRAMES:
        raise ImageRefusedError(
            f"{path.name} is a JPEG of an uncommon kind (frame {marker:#x}): lossless, hierarchical or arithmetic.",
            code="unsupported",
            hint="Export it as an ordinary JPEG, or as PNG.",
        )
    if marker in HUFFMAN_FRAMES:
        height, width = struct.unpack(">xHH", file.read(5).ljust(5, b"\0"))
        frame.blocks = max(frame.blocks, -(-height // 8) * -(-width // 8))
    frame.scans += marker == START_OF_SCAN
    frame.segments += 1
    if frame.scans > MAX_SCANS or frame.segments > MAX_SEGMENTS:
        raise ImageRefusedError(
            f"{path.name} has over {MAX_SCANS} scans, each of which may be as large as the picture, or over "
            f"{MAX_SEGMENTS} segments.",
            code="unreadable",
            hint="Progressive pictures have about ten: export it again from its source.",
        )


def _next_marker(file: IO[bytes]) -> int:
    """Return the next marker that something belongs to, the file put behind it; the end where none follows."""
    while data := file.read(READ_BYTES):
        found = MARKER.search(data)
        if found is not None:
            file.seek(found.end() - len(data), os.SEEK_CUR)
            return found[0][1]
        if data.endswith(b"\xff") and len(data) == READ_BYTES:
            file.seek(-1, os.SEEK_CUR)
    return END


def _cut(path: Path, what: str) -> None:
    raise ImageRefusedError(
        f"{path.name} is cut short: {what}.", code="truncated", hint="Copy the file again from its source."
    )
