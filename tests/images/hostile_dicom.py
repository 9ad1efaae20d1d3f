"""Hostile DICOM files, written element by element."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from hostile_parts import MIB, Bomb, codes, deflated_zeros, saved
from hostile_tiff import jpeg_claiming

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["DICOM_BOMBS", "dicom", "element", "fragments"]

LONG_FORMS = frozenset({"OB", "OW", "SQ", "UN", "UT", "OF"})
UNDEFINED = 0xFFFFFFFF
SIDE = 64
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"
CT, CAPTURE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"
Value = bytes | str | int
PIXELS = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
SLICE: dict[int, tuple[str, Value]] = {
    0x00080008: ("CS", "ORIGINAL\\PRIMARY\\AXIAL"), 0x00080016: ("UI", CT), 0x00080018: ("UI", "1.2.3.4"),
    0x00080060: ("CS", "CT"), 0x0020000D: ("UI", "1.2.3.1"), 0x0020000E: ("UI", "1.2.3.2"),
    0x00180050: ("DS", "2"), 0x00200032: ("DS", "0\\0\\0"), 0x00200037: ("DS", "1\\0\\0\\0\\1\\0"),
    0x00200052: ("UI", "1.2.3.3"), 0x00280002: ("US", 1), 0x00280004: ("CS", "MONOCHROME2"),
    0x00280010: ("US", SIDE), 0x00280011: ("US", SIDE), 0x00280030: ("DS", "0.7\\0.7"),
    0x00280100: ("US", 16), 0x00280101: ("US", 16), 0x00280102: ("US", 15), 0x00280103: ("US", 0),
    0x00281052: ("DS", "-1024"), 0x00281053: ("DS", "1"),
}  # fmt: skip
TAGS = {"ROWS": 0x00280010, "COLUMNS": 0x00280011, "ALLOCATED": 0x00280100, "STORED": 0x00280101,
        "HIGH": 0x00280102, "SLOPE": 0x00281053, "INTERCEPT": 0x00281052, "SPACING": 0x00280030,
        "ORIENTATION": 0x00200037, "POSITION": 0x00200032, "FRAMES": 0x00280008, "SAMPLES": 0x00280002,
        "MODALITY": 0x00080060, "CLASS": 0x00080016, "WINDOW": 0x00281050, "WIDTH": 0x00281051,
        "THICKNESS": 0x00180050, "PHOTOMETRIC": 0x00280004, "PLANAR": 0x00280006}  # fmt: skip
VRS = {0x00280008: "IS", 0x00281050: "DS", 0x00281051: "DS", 0x00280006: "US"}


def element(tag: int, vr: str, value: Value, length: int | None = None) -> bytes:
    """Return one element in explicit little-endian form; its length may be a lie."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode()
    value += b"\0" * (len(value) % 2) if vr in ("UI", "OB") else b" " * (len(value) % 2)
    size = len(value) if length is None else length
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    return start + (struct.pack("<HI", 0, size) if vr in LONG_FORMS else struct.pack("<H", size)) + value


def dicom(
    pixels: bytes = bytes(2 * SIDE * SIDE),
    *,
    syntax: str = EXPLICIT,
    before: bytes = b"",
    tail: bytes | None = None,
    **changes: Value | None,
) -> bytes:
    """Return a file with one slice, changed by name.

    Parameters
    ----------
    pixels : bytes
    syntax : str
    before : bytes
        Elements to stand before the pixels.
    tail : bytes, optional
        What stands in the place of the element of pixels.
    changes
        Values by the names of :data:`TAGS`; None leaves an element out.
    """
    elements: dict[int, tuple[str, Value]] = dict(SLICE)
    for name, value in changes.items():
        tag = TAGS[name]
        if value is None:
            elements.pop(tag, None)
        else:
            elements[tag] = VRS.get(tag) or SLICE[tag][0], value
    body = b"".join(element(tag, *elements[tag]) for tag in sorted(elements)) + before
    body += element(PIXELS, "OW", pixels) if tail is None else tail
    return preamble(syntax) + (body if syntax != DEFLATED else raw_deflate(body))


def preamble(syntax: str, length: int | None = None) -> bytes:
    """Return what comes before the data set."""
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", CT)
    meta += element(0x00020003, "UI", "1.2.3.4") + element(0x00020010, "UI", syntax)
    size = struct.pack("<I", len(meta) if length is None else length)
    return bytes(128) + b"DICM" + element(0x00020000, "UL", size) + meta


def raw_deflate(data: bytes, zeros: int = 0) -> bytes:
    """Return data, deflated, with that many MiB of zeros after it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH) + deflated_zeros(zeros)


def fragments(*parts: bytes, table: bytes = b"", closed: bool = True) -> bytes:
    """Return encapsulated pixels: an offset table and fragments."""
    items = b"".join(ITEM + struct.pack("<I", len(part)) + part for part in (table, *parts))
    end = SEQUENCE_END + bytes(4) if closed else b""
    return element(PIXELS, "OB", b"", UNDEFINED) + items + end


def _file(name: str, **settings: Any) -> Callable[[Path], Path]:  # noqa: ANN401 - as dicom takes them
    def make(folder: Path) -> Path:
        return saved(folder, f"{name}.dcm", dicom(**settings))

    return make


def _deflated(folder: Path) -> Path:
    """A private element of 2.1 GB before the pixels."""
    start = dicom(tail=element(0x00330010, "LO", "BOMB") + element(0x00331001, "OB", b"", 2048 * MIB))
    body = start[len(preamble(EXPLICIT)) :]
    return saved(folder, "deflated.dcm", preamble(DEFLATED) + raw_deflate(body, 2048))


def _deflated_pixels(folder: Path) -> Path:
    start = dicom(tail=element(PIXELS, "OW", b"", 2048 * MIB), ROWS=32768, COLUMNS=32768)
    body = start[len(preamble(EXPLICIT)) :]
    return saved(folder, "deflated-pixels.dcm", preamble(DEFLATED) + raw_deflate(body, 2048))


def rle_zeros(mebibytes: int) -> bytes:
    """Return one RLE frame of two segments; each byte pair is a run of 128."""
    runs = b"\x81\x00" * (mebibytes * MIB // 256)
    return struct.pack("<16I", 2, 64, 64 + len(runs), *(0,) * 13) + runs * 2


def _rle(side: int, mebibytes: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = dicom(syntax=RLE, tail=fragments(rle_zeros(mebibytes)), ROWS=side, COLUMNS=side)
        return saved(folder, f"rle-{side}.dcm", data)

    return make


def _rle_offsets(folder: Path) -> Path:
    frame = struct.pack("<16I", 0xFFFFFFFF, *(0xFFFFFFF0,) * 15) + bytes(64)
    return saved(folder, "rle-offsets.dcm", dicom(syntax=RLE, tail=fragments(frame)))


def _nested(folder: Path) -> Path:
    opening = element(0x0040A730, "SQ", b"", UNDEFINED) + ITEM + struct.pack("<I", UNDEFINED)
    closing = ITEM_END + bytes(4) + SEQUENCE_END + bytes(4)
    return saved(folder, "nested.dcm", dicom(before=opening * 5000 + closing * 5000))


def _nested_lengths(folder: Path) -> Path:
    """Sequences of stated length, which need no delimiters: 5,000 deep within a tag that is read."""
    inner, modality_lut = b"", 0x00283000
    for _ in range(5000):
        item = ITEM + struct.pack("<I", len(inner)) + inner
        inner = element(modality_lut, "SQ", item)
    return saved(folder, "nested-lengths.dcm", dicom(before=inner))


def _wide_sequence(folder: Path) -> Path:
    items = (ITEM + bytes(4)) * 400_000
    return saved(folder, "wide.dcm", dicom(before=element(0x00283000, "SQ", items)))


def _open_sequence(folder: Path) -> Path:
    data = element(0x0040A730, "SQ", b"", UNDEFINED) + ITEM + struct.pack("<I", UNDEFINED)
    return saved(folder, "open.dcm", dicom(before=data))


def _private_length(folder: Path) -> Path:
    return saved(folder, "private.dcm", dicom(before=element(0x00331001, "UN", b"\0" * 16, 0xFFFFFFFE)))


def _many_elements(folder: Path) -> Path:
    many = b"".join(element(0x40010000 + number, "LO", "") for number in range(0xFFFF)) * 9
    return saved(folder, "many.dcm", dicom(before=many))


def _meta_length(folder: Path) -> Path:
    data = dicom()
    return saved(folder, "meta.dcm", preamble(EXPLICIT, 0xFFFFFFF0) + data[len(preamble(EXPLICIT)) :])


def jpeg2000_claiming(width: int, height: int, *, tile: int | None = None) -> bytes:
    """Return a JPEG 2000 codestream whose header claims a size that its data does not have."""
    data = bytearray(imagecodecs.jpeg2k_encode(np.zeros((SIDE, SIDE), np.uint16), codecformat="j2k", level=0))
    at = data.index(b"\xff\x51") + 6
    data[at : at + 8] = struct.pack(">II", width, height)
    data[at + 16 : at + 24] = struct.pack(">II", tile or width, tile or height)
    return bytes(data)


def jpeg_ls_claiming(width: int, height: int) -> bytes:
    """Return a JPEG-LS stream whose frame header claims a size that its data does not have."""
    data = bytearray(imagecodecs.jpegls_encode(np.zeros((SIDE, SIDE), np.uint16)))
    at = data.index(b"\xff\xf7")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


EIGHT_BITS: dict[str, Any] = {"ALLOCATED": 8, "STORED": 8, "HIGH": 7}


CLAIMING: dict[str, tuple[str, Callable[[int, int], bytes]]] = {
    "jpeg": (JPEG, jpeg_claiming),
    "jpeg2000": (JPEG_2000, jpeg2000_claiming),
    "jpeg-ls": (JPEG_LS, jpeg_ls_claiming),
}


def _compressed(name: str, agreed: bool, side: int = 60_000) -> Callable[[Path], Path]:
    """Return a maker of a stream that claims a size; the header claims it as well where they agree."""
    syntax, claiming = CLAIMING[name]

    def make(folder: Path) -> Path:
        size: dict[str, Any] = {"ROWS": side, "COLUMNS": side} if agreed else {}
        bits = EIGHT_BITS if name == "jpeg" else {}
        data = dicom(syntax=syntax, tail=fragments(claiming(side, side)), **size, **bits)
        return saved(folder, f"{name}-{agreed}.dcm", data)

    return make


def _jpeg2000_tiles(folder: Path) -> Path:
    data = jpeg2000_claiming(4096, 4096, tile=1)
    return saved(
        folder, "j2k-tiles.dcm", dicom(syntax=JPEG_2000, tail=fragments(data), ROWS=4096, COLUMNS=4096)
    )


def _frames_compressed(folder: Path) -> Path:
    """As many frames as fragments, each of them nothing."""
    tail = fragments(*[b""] * 20_000)
    return saved(folder, "frames.dcm", dicom(syntax=JPEG, tail=tail, FRAMES="20000", **EIGHT_BITS))


def _slide(folder: Path) -> Path:
    """A slide of 2³² - 1 pixels a side in one tile."""
    size = struct.pack("<I", 0xFFFFFFFF)
    matrix = element(0x00480006, "UL", size) + element(0x00480007, "UL", size)
    data = dicom(
        before=matrix, CLASS="1.2.840.10008.5.1.4.1.1.77.1.6", MODALITY="SM", FRAMES="1", **EIGHT_BITS
    )
    return saved(folder, "slide.dcm", data)


def _table_lies(folder: Path) -> Path:
    stream = jpeg_claiming(SIDE, SIDE)
    stream += b"\0" * (len(stream) % 2)
    table = struct.pack("<4I", 0xFFFFFFFE, 7, 0, 0x80000000)
    return saved(folder, "table.dcm", dicom(syntax=JPEG, tail=fragments(stream, table=table), **EIGHT_BITS))


def _fragment_beyond(folder: Path) -> Path:
    tail = element(PIXELS, "OB", b"", UNDEFINED) + ITEM + bytes(4) + ITEM + struct.pack("<I", 0xFFFFFFF0)
    return saved(folder, "beyond.dcm", dicom(syntax=JPEG, tail=tail + bytes(100), **EIGHT_BITS))


def _many_fragments(folder: Path) -> Path:
    tail = fragments(*[b""] * 500_000, closed=False)
    return saved(folder, "fragments.dcm", dicom(syntax=JPEG, tail=tail, **EIGHT_BITS))


def _many_in_folder(folder: Path) -> Path:
    """Three hundred slices that all claim to hold 65535 × 65535 pixels, each a JPEG of nothing."""
    series = folder / "series"
    series.mkdir()
    for number in range(300):
        data = dicom(syntax=JPEG, tail=fragments(b"\xff\xd8\xff\xd9"), ROWS=65_535, COLUMNS=65_535,
                     POSITION=f"0\\0\\{number}", **EIGHT_BITS)  # fmt: skip
        saved(series, f"{number}.dcm", data)
    return series


NUMBERS = codes("affine", "spacing", "size", "orientation", "no-position", "geometry")
DAMAGED = codes("truncated", "size")
BITS = codes("bits", "truncated", "unsupported", "photometric")
SLOPE = codes("slope")
DICOM_BOMBS: dict[str, Bomb] = {
    "dicom-deflated": Bomb(_deflated, DAMAGED, "2 MiB of deflate hold a private element of 2 GiB"),
    "dicom-deflated-pixels": Bomb(_deflated_pixels, DAMAGED, "2 MiB of deflate hold pixels of 2 GiB"),
    "dicom-rle": Bomb(_rle(SIDE, 256), DAMAGED, "RLE of 8 KiB of pixels runs to 256 MiB", may_open=True),
    "dicom-rle-claims": Bomb(_rle(60_000, 256), DAMAGED, "7 GB of pixels in 4 MiB of RLE, at most 64 to 1"),
    "dicom-rle-offsets": Bomb(_rle_offsets, DAMAGED, "2³² RLE segments"),
    "dicom-nested": Bomb(_nested, None, "5,000 sequences, one in the other", may_open=True),
    "dicom-nested-lengths": Bomb(_nested_lengths, None, "5,000 sequences of stated length", may_open=True),
    "dicom-wide-sequence": Bomb(_wide_sequence, None, "a sequence of 400,000 empty items", may_open=True),
    "dicom-open-sequence": Bomb(_open_sequence, codes("truncated", "empty"), "a sequence without an end"),
    "dicom-private-length": Bomb(_private_length, codes("truncated", "empty", "size"),
                                 "a private element of 4 GiB"),
    "dicom-many-elements": Bomb(_many_elements, None, "590,000 empty elements", may_open=True),
    "dicom-meta-length": Bomb(_meta_length, codes("truncated", "empty", "syntax"),
                              "file meta information of 4 GiB", may_open=True),
    "dicom-65535": Bomb(_file("huge", ROWS=65_535, COLUMNS=65_535), DAMAGED, "8.6 GB of pixels in 8 KiB"),
    "dicom-no-rows": Bomb(_file("no-rows", ROWS=0), codes("empty", "size"), "no rows"),
    "dicom-frames": Bomb(_file("frames", FRAMES="2147483647"), codes("multi-frame", "truncated", "size"),
                         "2³¹ - 1 frames in 8 KiB"),
    "dicom-frames-negative": Bomb(_file("frames", FRAMES="-5"), codes("multi-frame", "size"), "-5 frames",
                                  may_open=True),
    "dicom-samples": Bomb(_file("samples", SAMPLES=65_535), codes("truncated", "size", "photometric"),
                          "65,535 values a pixel"),
    "dicom-bits-64": Bomb(_file("bits", ALLOCATED=64, STORED=64, HIGH=63), BITS, "64 bits a value"),
    "dicom-bits-1": Bomb(_file("bits", ALLOCATED=1, STORED=1, HIGH=0), BITS, "1 bit a value"),
    "dicom-bits-0": Bomb(_file("bits", ALLOCATED=0, STORED=0, HIGH=0), BITS, "0 bits a value"),
    "dicom-bits-stored": Bomb(_file("bits", STORED=4000, HIGH=3999), BITS, "4,000 of 16 bits stored"),
    "dicom-slope-nan": Bomb(_file("slope", SLOPE="nan"), SLOPE, "a slope of NaN"),
    "dicom-slope-inf": Bomb(_file("slope", SLOPE="inf"), SLOPE, "an infinite slope"),
    "dicom-slope-0": Bomb(_file("slope", SLOPE="0"), SLOPE, "a slope of 0"),
    "dicom-slope-1e300": Bomb(_file("slope", SLOPE="1e300"), SLOPE, "a slope beyond 32 bits"),
    "dicom-intercept-nan": Bomb(_file("slope", INTERCEPT="nan"), SLOPE, "an intercept of NaN"),
    "dicom-spacing-0": Bomb(_file("spacing", SPACING="0\\0"), NUMBERS, "pixels of no size"),
    "dicom-spacing-nan": Bomb(_file("spacing", SPACING="nan\\nan"), NUMBERS, "a spacing of NaN"),
    "dicom-spacing-negative": Bomb(_file("spacing", SPACING="-1\\1"), NUMBERS, "a spacing below 0"),
    "dicom-spacing-1e9": Bomb(_file("spacing", SPACING="1e9\\1e9"), NUMBERS, "pixels of 1,000 km"),
    "dicom-thickness-1e30": Bomb(_file("thick", THICKNESS="1e30"), NUMBERS, "a slice thicker than space"),
    "dicom-thickness-nan": Bomb(_file("thick", THICKNESS="nan"), NUMBERS, "a thickness of NaN",
                                may_open=True),
    "dicom-orientation": Bomb(_file("unit", ORIENTATION="2\\0\\0\\0\\2\\0"), NUMBERS, "axes not of unit length"),
    "dicom-orientation-0": Bomb(_file("zero", ORIENTATION="0\\0\\0\\0\\0\\0"), NUMBERS, "axes of no length"),
    "dicom-orientation-skew": Bomb(_file("skew", ORIENTATION="1\\0\\0\\1\\0\\0"), NUMBERS, "axes that coincide"),
    "dicom-position-nan": Bomb(_file("nan", POSITION="nan\\0\\0"), NUMBERS, "a position of NaN"),
    "dicom-position-1e300": Bomb(_file("far", POSITION="1e300\\0\\0"), NUMBERS, "a position beyond space",
                                 may_open=True),
    "dicom-window-nan": Bomb(_file("window", WINDOW="nan", WIDTH="-5"), None, "a window of NaN",
                             may_open=True),
    "dicom-jpeg": Bomb(_compressed("jpeg", False), DAMAGED, "its JPEG claims 60000 × 60000"),
    "dicom-jpeg-agreed": Bomb(_compressed("jpeg", True), DAMAGED, "3.6 GB in a JPEG of 400 bytes"),
    "dicom-jpeg2000": Bomb(_compressed("jpeg2000", False), DAMAGED, "its JPEG 2000 claims 60000 × 60000"),
    "dicom-jpeg2000-agreed": Bomb(_compressed("jpeg2000", True), DAMAGED, "7.2 GB in 200 bytes"),
    "dicom-jpeg2000-tiles": Bomb(_jpeg2000_tiles, DAMAGED, "16.8 × 10⁶ tiles of one pixel"),
    "dicom-jpeg-ls": Bomb(_compressed("jpeg-ls", False), DAMAGED, "its JPEG-LS claims 60000 × 60000"),
    "dicom-jpeg-ls-agreed": Bomb(_compressed("jpeg-ls", True), DAMAGED, "7.2 GB in 100 bytes"),
    "dicom-jpeg-modest": Bomb(_compressed("jpeg", True, 15_000), DAMAGED, "225 MB in a JPEG of 400 bytes"),
    "dicom-jpeg2000-modest": Bomb(_compressed("jpeg2000", True, 11_000), DAMAGED, "242 MB in 200 bytes",
                                  may_open=True),
    "dicom-jpeg-ls-modest": Bomb(_compressed("jpeg-ls", True, 11_000), DAMAGED, "242 MB in 100 bytes"),
    "dicom-frames-20000": Bomb(_file("frames", FRAMES="20000"), codes("multi-frame", "truncated", "size"),
                               "20,000 frames in 8 KiB"),
    "dicom-frames-nothing": Bomb(_frames_compressed, codes("multi-frame", "truncated", "size"),
                                 "20,000 frames of 0 bytes"),
    "dicom-slide": Bomb(_slide, None, "a slide of 2⁶⁴ pixels"),
    "dicom-table-lies": Bomb(_table_lies, DAMAGED, "its offset table points anywhere", may_open=True),
    "dicom-fragment-beyond": Bomb(_fragment_beyond, codes("truncated", "empty", "size"),
                                  "a fragment of 4 GiB in 100 bytes"),
    "dicom-fragments-many": Bomb(_many_fragments, DAMAGED, "500,000 empty fragments"),
    "dicom-syntax": Bomb(_file("syntax", syntax="1.2.3.4.5.6"), codes("syntax", "unsupported"),
                         "a transfer syntax that nobody knows"),
    "dicom-folder-claims": Bomb(_many_in_folder, codes("size", "truncated"),
                                "300 slices of 4.3 GB, 4 bytes each"),
}  # fmt: skip
