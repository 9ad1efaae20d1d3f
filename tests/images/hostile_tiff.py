"""Hostile TIFF files, written byte by byte."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from hostile_parts import MIB, SECRET, Bomb, codes, saved, zlib_zeros
from PIL import Image as Pictures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["TIFF_BOMBS", "jpeg_claiming"]

SHORT, LONG, RATIONAL, LONG8, ASCII = 3, 4, 5, 16, 2
SIZES = {SHORT: 2, LONG: 4, RATIONAL: 8, LONG8: 8, ASCII: 1}
Entry = tuple[int, int, int, int | bytes]
JPEG, ADOBE_DEFLATE, LZW, ZSTD = 7, 8, 5, 50_000


def directory(entries: Sequence[Entry], at: int = 8, following: int = 0, *, big: bool = False) -> bytes:
    """Return a directory to stand at ``at``; values given as bytes come after it."""
    width, head_bytes = (8, 8) if big else (4, 2)
    form = "<HHQ" if big else "<HHI"
    outside = at + head_bytes + len(entries) * (4 + 2 * width) + width
    table, tail = len(entries).to_bytes(head_bytes, "little"), b""
    for tag, kind, count, value in sorted(entries, key=lambda entry: entry[0]):
        table += struct.pack(form, tag, kind, count)
        if isinstance(value, bytes) and len(value) > width:
            table += (outside + len(tail)).to_bytes(width, "little")
            tail += value
        else:
            inside = value if isinstance(value, bytes) else value.to_bytes(width, "little")
            table += inside.ljust(width, b"\0")
    return table + following.to_bytes(width, "little") + tail


def head(at: int = 8, *, big: bool = False) -> bytes:
    """Return the header of a little-endian file whose first directory stands at ``at``."""
    return b"II+\0\x08\0\0\0" + at.to_bytes(8, "little") if big else b"II*\0" + at.to_bytes(4, "little")


def page(width: int = 64, height: int = 64, **changes: int | bytes | tuple[int, int, Any]) -> list[Entry]:
    """Return the entries of a grey picture in one strip, changed by name."""
    names = {"bits": 258, "compression": 259, "photometric": 262, "description": 270, "offsets": 273,
             "samples": 277, "rows": 278, "counts": 279, "x_resolution": 282, "tile_width": 322,
             "tile_height": 323, "tile_offsets": 324, "tile_counts": 325, "subifds": 330}  # fmt: skip
    entries: dict[int, Entry] = {
        number: (number, LONG, 1, value)
        for number, value in {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height,
                              279: width * height}.items()
    }  # fmt: skip
    for name, value in changes.items():
        number = names[name]
        if isinstance(value, tuple):
            entries[number] = (number, *value)
        elif isinstance(value, bytes):
            entries[number] = (number, ASCII, len(value), value)
        else:
            entries[number] = (number, LONG, 1, value)
    if "tile_width" in changes:
        for number in (273, 278, 279):
            entries.pop(number)
    return list(entries.values())


def one_tile(
    folder: Path, name: str, tile: bytes, compression: int, side: int = 256, size: int = 256
) -> Path:
    """Write a picture whose one tile holds the bytes given."""
    entries = page(
        size, size, compression=compression, tile_width=side, tile_height=side, tile_offsets=0,
        tile_counts=len(tile),
    )  # fmt: skip
    at = 8 + len(directory(entries))
    entries = [(tag, kind, n, at if tag == 324 else value) for tag, kind, n, value in entries]
    return saved(folder, name, head() + directory(entries) + tile)


def jpeg_claiming(width: int, height: int, *, progressive: bool = False, side: int = 64) -> bytes:
    """Return a grey JPEG whose frame header claims a size that its data does not have."""
    stream = io.BytesIO()
    Pictures.fromarray(np.zeros((side, side), np.uint8)).save(stream, "jpeg", progressive=progressive)
    data = bytearray(stream.getvalue())
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _self_loop(folder: Path) -> Path:
    return saved(folder, "loop.tif", head() + directory(page(), following=8))


def _long_chain(folder: Path) -> Path:
    """Directories of three entries, each of which names the next."""
    count, size = 100_000, 42
    first = head() + directory(page(1, 1, offsets=0), following=122)
    entries = struct.pack("<HHHIIHHIIHHII", 3, 256, LONG, 1, 1, 257, LONG, 1, 1, 273, LONG, 1, 8)
    chain = (entries + (122 + (n + 1) * size).to_bytes(4, "little") for n in range(count - 1))
    return saved(folder, "chain.tif", first + b"".join(chain) + entries + bytes(4))


def _subifd_loop(folder: Path) -> Path:
    return saved(folder, "subifds.tif", head() + directory(page(8, 8, subifds=8)))


def _subifds_many(folder: Path) -> Path:
    offsets = struct.pack("<I", 8) * 100_000
    return saved(folder, "many-subifds.tif", head() + directory(page(8, 8, subifds=(LONG, 100_000, offsets))))


def _strips(folder: Path) -> Path:
    many = 10**9
    entries = page(64, many, rows=1, offsets=(LONG, many, 8), counts=(LONG, many, 8))
    return saved(folder, "strips.tif", head() + directory(entries) + bytes(4096))


def _tiles(side: int, *, size: int = 64, offset: int = 8, count: int = 64) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        entries = page(size, size, tile_width=side, tile_height=side, tile_offsets=offset, tile_counts=count)
        return saved(folder, f"tiles-{side}.tif", head() + directory(entries) + bytes(4096))

    return make


def _jpeg_tile(folder: Path) -> Path:
    return one_tile(folder, "jpeg.tif", jpeg_claiming(65500, 65500), JPEG)


def _jpeg_tile_agreed(folder: Path) -> Path:
    return one_tile(folder, "jpeg-agreed.tif", jpeg_claiming(65488, 65488), JPEG, side=65488, size=65488)


def _deflate_tile(folder: Path) -> Path:
    return one_tile(folder, "deflate.tif", zlib_zeros(1024), ADOBE_DEFLATE)


def _deflate_tile_agreed(folder: Path) -> Path:
    return one_tile(folder, "deflate-agreed.tif", zlib_zeros(1024), ADOBE_DEFLATE, side=32768, size=32768)


def lzw_zeros(repeated: int) -> bytes:
    """Return LZW of zeros, 56 MiB for each time that it is repeated."""
    words = [(256, 9), (0, 9)]
    # each word stands for one zero more than the one before; 4094 of them fill the table
    words += [
        (256 + n, max(9, (256 + n).bit_length() + ((257 + n).bit_count() == 1))) for n in range(2, 3838)
    ]
    period = "".join(f"{word:0{width}b}" for word, width in words[:-1]) + f"{words[-1][0]:012b}"
    # the last word before a clear still has 12 bits, and so has the clear
    later = f"{256:012b}" + period[9:]
    bits = period + later * (8 * repeated - 1) + f"{257:012b}"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def _lzw_tile(folder: Path) -> Path:
    return one_tile(folder, "lzw.tif", lzw_zeros(9), LZW)


def _zstd_tile(folder: Path) -> Path:
    """A frame of 8192 blocks, each 128 KiB of one byte in four bytes."""
    blocks = 8192
    block = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    last = (128 * 1024 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"
    frame = b"\x28\xb5\x2f\xfd\xa0" + (1 << 30).to_bytes(4, "little") + block * (blocks - 1) + last
    return one_tile(folder, "zstd.tif", frame, ZSTD)


def _bigtiff_count(folder: Path) -> Path:
    entries = page(offsets=(LONG8, 1 << 63, 8), counts=(LONG8, 1 << 63, 8))
    return saved(folder, "count.tif", head(16, big=True) + directory(entries, 16, big=True) + bytes(4096))


def _bigtiff_entries(folder: Path) -> Path:
    return saved(folder, "entries.tif", head(16, big=True) + b"\xff" * 7 + b"\x7f" + bytes(4096))


def _sparse_giant(folder: Path) -> Path:
    side = 65_535 * 16
    tiles = (side // 16) ** 2
    entries = page(side, side, tile_width=16, tile_height=16, tile_offsets=(LONG, tiles, 8),
                   tile_counts=(LONG, tiles, 8))  # fmt: skip
    return saved(folder, "sparse.tif", head() + directory(entries) + bytes(4096))


def _never_written(folder: Path) -> Path:
    """A million tiles, none of them written: each is 256 KiB of nothing."""
    side, count = 512 * 700, 700 * 700
    entries = page(side, side, tile_width=512, tile_height=512, tile_offsets=(LONG, count, bytes(4 * count)),
                   tile_counts=(LONG, count, bytes(4 * count)))  # fmt: skip
    return saved(folder, "never-written.tif", head() + directory(entries))


def _page(name: str, **changes: int | bytes | tuple[int, int, Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, f"{name}.tif", head() + directory(page(**changes)) + bytes(4096))  # type: ignore[arg-type]

    return make


def _ome(name: str, xml: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(
            folder, f"{name}.ome.tif", head() + directory(page(description=xml + b"\0")) + bytes(4096)
        )

    return make


def ome_xml(*planes: tuple[int, str], size_c: int = 1) -> bytes:
    """Return OME-XML whose planes lie in the files named."""
    data = "".join(
        f'<TiffData FirstC="{c}" FirstT="0" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{c:032x}</UUID></TiffData>'
        for c, name in planes
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:00000000000000000000000000000000">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'SizeX="64" SizeY="64" SizeC="{size_c}" SizeZ="1" SizeT="1">{data}</Pixels></Image></OME>'
    ).encode()


def _ome_naming(name: str, neighbour: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        inner = folder / "inner"
        inner.mkdir(exist_ok=True)
        for place in (folder, inner):
            saved(place, "secret.tif", head() + directory(page(offsets=130)) + bytes(8) + SECRET)
        named = neighbour.format(folder=folder)
        return _ome(name, ome_xml((0, f"{name}.ome.tif"), (1, named), size_c=2))(inner)

    return make


def _laughs() -> bytes:
    """A billion of them: each entity is ten of the one before."""
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return (
        f'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY l0 "{"ha" * 50}">{entities}]>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="64" SizeY="64" SizeC="1" SizeZ="1" '
        'SizeT="1"><TiffData IFD="0"/></Pixels></Image><Description>&l9;</Description></OME>'
    ).encode()


def _entity_file() -> bytes:
    return (
        b'<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + ome_xml()[38:]
    ).replace(b"</OME>", b"<Description>&x;</Description></OME>")


def _long_xml() -> bytes:
    filler = '<StructuredAnnotations><A B="C">text</A></StructuredAnnotations>'
    return ome_xml((0, "")).replace(b"</OME>", filler.encode() * (10 * MIB // len(filler)) + b"</OME>")


def _many_planes() -> bytes:
    planes = '<TiffData FirstC="0" IFD="0" PlaneCount="1"/>' * 40_000
    xml = ome_xml().replace(b"</Pixels>", planes.encode() + b"</Pixels>")
    return xml.replace(b'SizeZ="1"', b'SizeZ="2147483647"').replace(b'SizeT="1"', b'SizeT="2147483647"')


DAMAGED = codes("size", "truncated", "unsupported")
TIFF_BOMBS: dict[str, Bomb] = {
    "tiff-self-loop": Bomb(_self_loop, DAMAGED, "its directory names itself as the next", may_open=True),
    "tiff-long-chain": Bomb(_long_chain, DAMAGED, "100,000 directories in a chain", may_open=True),
    "tiff-subifd-loop": Bomb(_subifd_loop, DAMAGED, "its directory is its own sub-directory", may_open=True),
    "tiff-subifds-many": Bomb(_subifds_many, DAMAGED, "100,000 sub-directories, all itself", may_open=True),
    "tiff-billion-strips": Bomb(_strips, DAMAGED, "10⁹ strips in 4 KiB"),
    "tiff-tile-0": Bomb(_tiles(0), DAMAGED, "tiles of no size"),
    "tiff-tile-2^31": Bomb(_tiles(1 << 31), DAMAGED, "tiles of 2³¹ × 2³¹"),
    "tiff-tile-60000": Bomb(_tiles(60_000, size=60_000), DAMAGED, "one tile of 3.6 GB in 4 KiB"),
    "tiff-tiles-beyond": Bomb(_tiles(64, offset=1 << 31), DAMAGED, "its tile lies beyond its end"),
    "tiff-tiles-too-long": Bomb(_tiles(64, count=1 << 31), DAMAGED, "its tile ends beyond its end"),
    "tiff-jpeg-tile": Bomb(_jpeg_tile, DAMAGED, "a tile of 256 × 256 whose JPEG claims 65500 × 65500"),
    "tiff-jpeg-tile-agreed": Bomb(_jpeg_tile_agreed, DAMAGED, "tile and JPEG both claim 65488 × 65488"),
    "tiff-deflate-tile": Bomb(_deflate_tile, DAMAGED, "a tile of 64 KiB decodes to 1 GiB", may_open=True),
    "tiff-deflate-agreed": Bomb(_deflate_tile_agreed, DAMAGED, "one tile of 1 GiB in 1 MiB"),
    "tiff-lzw-tile": Bomb(_lzw_tile, DAMAGED, "a tile of 64 KiB decodes to 512 MiB", may_open=True),
    "tiff-zstd-tile": Bomb(_zstd_tile, DAMAGED, "a tile of 64 KiB decodes to 1 GiB", may_open=True),
    "tiff-big-count": Bomb(_bigtiff_count, DAMAGED, "2⁶³ offsets"),
    "tiff-big-entries": Bomb(_bigtiff_entries, DAMAGED, "2⁶³ entries in its directory"),
    "tiff-sparse-giant": Bomb(_sparse_giant, DAMAGED, "4.29 × 10⁹ tiles announced in 4 KiB"),
    "tiff-never-written": Bomb(_never_written, None, "490,000 tiles, none of them written", may_open=True),
    "tiff-bits-65535": Bomb(_page("bits", bits=65_535), DAMAGED, "65,535 bits a value"),
    "tiff-samples-65535": Bomb(_page("samples", samples=65_535), DAMAGED, "65,535 values a pixel"),
    "tiff-no-width": Bomb(_page("no-width", width=0), DAMAGED, "no columns"),
    "tiff-unknown-codec": Bomb(_page("codec", compression=60_001), codes("syntax", "unsupported", "codec"),
                               "compressed in a way nobody knows"),
    "tiff-resolution-nan": Bomb(_page("resolution", x_resolution=(RATIONAL, 1, bytes(8))), None,
                                "a resolution of 0/0", may_open=True),
    "ome-laughs": Bomb(_ome("laughs", _laughs()), None, "entities that expand to 10⁹ words", may_open=True),
    "ome-entity-file": Bomb(_ome("entity", _entity_file()), None, "an entity that names /etc/passwd",
                            may_open=True, needle=b"root:x:0"),
    "ome-long": Bomb(_ome("long", _long_xml()), None, "10 MiB of XML", may_open=True),
    "ome-many-planes": Bomb(_ome("planes", _many_planes()), None, "2⁶² planes announced", may_open=True),
    "ome-neighbour": Bomb(_ome_naming("neighbour", "secret.tif"), None, "pixels of the file beside it",
                          may_open=True, needle=SECRET[:64]),
    "ome-parent": Bomb(_ome_naming("parent", "../secret.tif"), None, "pixels of a file above it",
                       may_open=True, needle=SECRET[:64]),
    "ome-absolute": Bomb(_ome_naming("absolute", "{folder}/secret.tif"), None, "pixels by an absolute path",
                         may_open=True, needle=SECRET[:64]),
    "ome-passwd": Bomb(_ome_naming("passwd", "/etc/passwd"), None, "/etc/passwd as pixels",
                       may_open=True, needle=b"root:x:0"),
}  # fmt: skip
