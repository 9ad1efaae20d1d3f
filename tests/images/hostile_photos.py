"""Hostile PNG and JPEG pictures."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from hostile_parts import Bomb, codes, saved, zlib_zeros
from hostile_tiff import jpeg_claiming
from PIL import Image as Pictures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["PHOTO_BOMBS", "chunk", "png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGBA, PALETTE = 0, 6, 3


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int,
    height: int,
    data: bytes,
    *extra: bytes,
    depth: int = 8,
    colour: int = GREY,
    interlaced: int = 0,
) -> bytes:
    """Return a PNG that claims a size and holds the zlib stream given."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _png(name: str, width: int, height: int, **settings: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, f"{name}.png", png(width, height, zlib_zeros(1024), **settings))

    return make


def _text(name: bytes, start: bytes) -> Callable[[Path], Path]:
    """Return a maker of a small picture with a chunk of metadata that inflates to 1 GiB."""

    def make(folder: Path) -> Path:
        pixels = zlib.compress(bytes(65 * 64))
        return saved(
            folder, f"{name.decode()}.png", png(64, 64, pixels, chunk(name, start + zlib_zeros(1024)))
        )

    return make


def _many_texts(folder: Path) -> Path:
    pixels = zlib.compress(bytes(65 * 64))
    texts = chunk(b"zTXt", b"a\0\0" + zlib_zeros(1)) * 2_000
    return saved(folder, "texts.png", png(64, 64, pixels, texts))


def _excess(folder: Path) -> Path:
    return saved(folder, "excess.png", png(64, 64, zlib_zeros(1024)))


def _animated(folder: Path) -> Path:
    pixels = zlib.compress(bytes(65 * 64))
    control = chunk(b"acTL", struct.pack(">II", 0xFFFFFFFF, 0))
    return saved(folder, "animated.png", png(64, 64, pixels, control))


def _chunk_length(folder: Path) -> Path:
    data = png(64, 64, b"")
    return saved(folder, "length.png", data[:33] + struct.pack(">I", 0xFFFFFFFF) + data[37:])


def _empty_chunks(folder: Path) -> Path:
    pixels = zlib.compress(bytes(65 * 64))
    return saved(folder, "chunks.png", png(64, 64, pixels, chunk(b"IDAT", b"") * 300_000))


def _cut_png(folder: Path) -> Path:
    data = png(64, 64, zlib.compress(np.random.default_rng(0).bytes(65 * 64)))
    return saved(folder, "cut.png", data[: len(data) // 2])


def _jpeg(name: str, *, progressive: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, f"{name}.jpg", jpeg_claiming(65_500, 65_500, progressive=progressive))

    return make


def _jpeg_modest(folder: Path) -> Path:
    """Small enough for every check of size, and still 60 MB from 700 bytes."""
    return saved(folder, "modest.jpg", jpeg_claiming(9_000, 9_000, progressive=True))


def _scans(count: int) -> Callable[[Path], Path]:
    """Return a maker of a progressive JPEG in which one scan comes again and again."""

    def make(folder: Path) -> Path:
        stream = io.BytesIO()
        Pictures.fromarray(np.zeros((8192, 8192), np.uint8)).save(stream, "jpeg", progressive=True)
        data = stream.getvalue()
        first = data.index(b"\xff\xda")
        second = data.index(b"\xff\xda", first + 2)
        third = data.index(b"\xff\xda", second + 2)
        # with the tables that stand before it
        again = data[data.rindex(b"\xff\xc4", first, second) : data.rindex(b"\xff\xc4", second, third)]
        again = again or data[second:third]
        return saved(folder, "scans.jpg", data[:third] + again * count + data[third:])

    return make


def _exif(folder: Path) -> Path:
    """An EXIF directory that names itself as the next."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    body = b"Exif\0\0" + tiff
    data = jpeg_claiming(64, 64)
    segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return saved(folder, "exif.jpg", data[:2] + segment + data[2:])


SIZE = codes("size", "truncated")
PHOTO_BOMBS: dict[str, Bomb] = {
    "png-100000": Bomb(_png("huge", 100_000, 100_000), SIZE, "10¹⁰ pixels in 1 MiB"),
    "png-32000": Bomb(_png("large", 32_000, 32_000), SIZE, "10⁹ pixels in 1 MiB"),
    "png-deep": Bomb(_png("deep", 16_000, 8_000, depth=16, colour=RGBA), SIZE, "1 GiB of 16-bit colours in 1 MiB"),
    "png-2^31": Bomb(_png("sides", 0x7FFFFFFF, 0x7FFFFFFF), SIZE, "2⁶² pixels"),
    "png-0": Bomb(_png("none", 0, 0), SIZE, "no pixels"),
    "png-line": Bomb(_png("line", 0x7FFFFFFF, 1, depth=16, colour=RGBA), SIZE, "one line of 16 GiB"),
    "png-interlaced": Bomb(_png("laced", 60_000, 60_000, depth=1, interlaced=1), SIZE, "3.6 × 10⁹ pixels of 1 bit"),
    "png-depth": Bomb(_png("depth", 64, 64, depth=255), SIZE, "255 bits a value"),
    "png-text": Bomb(_text(b"zTXt", b"a\0\0"), None, "a text of 1 GiB in 1 MiB", may_open=True),
    "png-itxt": Bomb(_text(b"iTXt", b"a\0\1\0\0\0"), None, "a text of 1 GiB in 1 MiB", may_open=True),
    "png-profile": Bomb(_text(b"iCCP", b"a\0\0"), None, "a profile of 1 GiB in 1 MiB", may_open=True),
    "png-texts": Bomb(_many_texts, None, "2,000 texts of 1 MiB each in 2 MiB", may_open=True),
    "png-excess": Bomb(_excess, None, "1 GiB inflated for 64 × 64 pixels", may_open=True),
    "png-animated": Bomb(_animated, None, "2³² frames announced", may_open=True),
    "png-chunk-length": Bomb(_chunk_length, SIZE, "a chunk of 4 GiB"),
    "png-chunks": Bomb(_empty_chunks, None, "300,000 empty chunks of pixels", may_open=True),
    "png-cut": Bomb(_cut_png, SIZE, "pixels that end half way"),
    "jpeg-65500": Bomb(_jpeg("huge", progressive=False), SIZE, "4.3 × 10⁹ pixels in 400 bytes"),
    "jpeg-65500-progressive": Bomb(_jpeg("huge", progressive=True), SIZE, "the same, to be kept as a whole"),
    "jpeg-9000-progressive": Bomb(_jpeg_modest, SIZE, "81 megapixels in 400 bytes"),
    "jpeg-1000-scans": Bomb(_scans(1000), codes("scans", "unsupported"), "1,000 scans of 67 megapixels",
                            may_open=True),
    "jpeg-exif-loop": Bomb(_exif, None, "an EXIF directory that names itself", may_open=True),
}  # fmt: skip
