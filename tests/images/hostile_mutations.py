"""Sound files of six formats, and damage done to them: the same for the same format and number, always."""

from __future__ import annotations

import gzip
import io
import random
import re
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pydicom
import tifffile
from hostile_dicom import DEFLATED, JPEG, JPEG_2000, JPEG_LS, SIDE, dicom, fragments
from hostile_photos import SIGNATURE, chunk
from hostile_volumes import metaimage, nifti_header, nrrd
from PIL import Image as Pictures
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FORMATS", "Seed", "mutate", "mutation", "seeds", "write_mutation"]

FORMATS = ("dicom", "nifti", "metaimage", "nrrd", "tiff", "photo")
HEAD, TAIL = 2048, 1024
HEADER_SHARE = 0.7
REPAIRED_SHARE = 0.5
"""How many of those with checksums get them set right, so that the damage lies behind them."""
EDITS = (1, 1, 1, 2, 2, 3, 6)
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE,
               0xFFFFFFFF, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
NOISE = np.random.default_rng(5)
GREY16 = NOISE.integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)
GREY8 = (GREY16 >> 4).astype(np.uint8)
COLOUR = NOISE.integers(0, 256, (96, 80, 3), dtype=np.uint8)
VOLUME = NOISE.integers(0, 256, (8, 8, 8), dtype=np.uint8)


@dataclass(frozen=True)
class Seed:
    """A sound file.

    Parameters
    ----------
    suffix : str
    data : bytes
        What is damaged: the file itself, or what its ``repair`` packs.
    repair : callable, optional
        From damaged data to a file whose checksums are right.
    pack : callable, optional
        From data to the file, where they are not the same.
    """

    suffix: str
    data: bytes
    repair: Callable[[bytes], bytes] | None = None
    pack: Callable[[bytes], bytes] | None = None

    @property
    def file(self) -> bytes:
        """The sound file."""
        return self.data if self.pack is None else self.pack(self.data)


@lru_cache(maxsize=len(FORMATS))
def seeds(kind: str) -> tuple[Seed, ...]:
    """Return the sound files of a format."""
    makers = {
        "dicom": _dicom, "nifti": _nifti, "metaimage": _metaimage, "nrrd": _nrrd, "tiff": _tiff, "photo": _photo,
    }  # fmt: skip
    return makers[kind]()


def mutation(kind: str, number: int) -> tuple[str, bytes]:
    """Return the name and the bytes of a damaged file."""
    rng = random.Random(f"{kind} {number}")
    own = seeds(kind)
    seed, donor = rng.choice(own), rng.choice(own)
    if seed.repair is not None and rng.random() < REPAIRED_SHARE:
        data = seed.repair(mutate(seed.data, rng, donor.data))
    else:
        data = mutate(seed.file, rng, donor.file)
    return f"{kind}-{number}{seed.suffix}", data


def write_mutation(folder: Path, kind: str, number: int) -> Path:
    """Write a damaged file and return its path."""
    name, data = mutation(kind, number)
    path = folder / name
    path.write_bytes(data)
    return path


def mutate(data: bytes, rng: random.Random, donor: bytes = b"") -> bytes:
    """Return data with one to six edits; ``donor`` is what a splice takes from."""
    edited = bytearray(data)
    edits = (_flip, _overwrite, _integer, _integer, _cut, _double, _remove, _digits)
    for _ in range(rng.choice(EDITS)):
        if not edited:
            break
        if donor and rng.random() < 0.06:
            _splice(edited, rng, donor)
        else:
            rng.choice(edits)(edited, rng)
    return bytes(edited)


def _place(data: bytearray, rng: random.Random, room: int = 1) -> int:
    """Return an offset, more often than not near the beginning or the end."""
    last = max(len(data) - room, 0)
    if rng.random() < HEADER_SHARE:
        head, tail = min(HEAD, last), max(last - TAIL, 0)
        return rng.randint(0, head) if rng.random() < 0.75 else rng.randint(tail, last)
    return rng.randint(0, last)


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        data[_place(data, rng)] = rng.choice((0, 0xFF, 0x7F, 0x80, 0x30, 0x2D, rng.randrange(256)))


def _integer(data: bytearray, rng: random.Random) -> None:
    width = rng.choice((2, 4, 4, 8))
    if len(data) < width:
        return
    at = _place(data, rng, width)
    at -= at % 2 if rng.random() < 0.8 else 0
    order = rng.choice(("little", "little", "big"))
    here = int.from_bytes(data[at : at + width], "little")
    value = rng.choice(
        (rng.choice(INTERESTING), here + rng.choice((-1, 1)), here * 2, rng.getrandbits(8 * width))
    )
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, "big" if order == "big" else "little")


def _cut(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.5:
        del data[rng.randint(0, len(data)) :]
    else:
        del data[len(data) - min(len(data), rng.randint(1, 64)) :]


def _double(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    block = data[at : at + rng.choice((1, 2, 4, 16, 64, 512))]
    data[at:at] = block * rng.choice((1, 1, 2, 16))


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 16, 64, 512))]


def _digits(data: bytearray, rng: random.Random) -> None:
    """Replace a number that is written out, of which text headers and DICOM hold many."""
    numbers = list(re.finditer(rb"[0-9]+(\.[0-9]+)?", bytes(data[:HEAD])))
    if numbers:
        found = rng.choice(numbers)
        value = rng.choice(
            (b"0", b"-1", b"nan", b"inf", b"1e30", b"65535", b"2147483647", b"4294967296", b"99999")
        )
        fill = value.ljust(found.end() - found.start()) if rng.random() < 0.5 else value
        data[found.start() : found.end()] = fill


def _splice(data: bytearray, rng: random.Random, donor: bytes) -> None:
    at = _place(data, rng)
    start = rng.randrange(len(donor))
    data[at:] = donor[start:]


def _dicom() -> tuple[Seed, ...]:
    short: dict[str, Any] = {"ALLOCATED": 8, "STORED": 8, "HIGH": 7}
    streams: tuple[tuple[str, bytes, dict[str, Any]], ...] = (
        (JPEG_2000, bytes(imagecodecs.jpeg2k_encode(GREY16, codecformat="j2k", level=0)), {}),
        (JPEG_LS, bytes(imagecodecs.jpegls_encode(GREY16)), {}),
        (JPEG, bytes(imagecodecs.jpeg8_encode(GREY8)), short),
    )
    native = dicom(GREY16.tobytes())
    coloured = dicom(
        COLOUR[:SIDE, :SIDE].tobytes(), SAMPLES=3, PHOTOMETRIC="RGB", PLANAR=0, MODALITY="OT", **short
    )
    return tuple(
        Seed(".dcm", data)
        for data in (
            native,
            coloured,
            implicit(native),
            run_lengths(native),
            dicom(GREY16.tobytes(), syntax=DEFLATED),
            *(
                dicom(syntax=syntax, tail=fragments(stream + bytes(len(stream) % 2)), **bits)
                for syntax, stream, bits in streams
            ),
        )
    )


def run_lengths(explicit: bytes) -> bytes:
    """Return the same slice, its pixels run-length encoded."""
    dataset = pydicom.dcmread(io.BytesIO(explicit))
    dataset.compress(RLELossless, generate_instance_uid=False)
    return _dataset(dataset)


def implicit(explicit: bytes) -> bytes:
    """Return the same slice in implicit form."""
    dataset = pydicom.dcmread(io.BytesIO(explicit))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return _dataset(dataset, implicit_vr=True, little_endian=True)


def _dataset(dataset: pydicom.Dataset, **options: bool) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True, **options)
    return stream.getvalue()


def _packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def _nifti() -> tuple[Seed, ...]:
    short = NOISE_VOLUME.tobytes()
    single = nifti_header(datatype=16, bitpix=32, qform=1, sform=0) + VOLUME.astype("<f4").tobytes()
    scaled = nifti_header(slope=0.5, inter=-10) + short
    extended = (
        nifti_header(extension=b"\1\0\0\0", vox_offset=384) + struct.pack("<ii24s", 32, 6, b"note") + short
    )
    double = nifti2_header() + short
    plain = nifti_header() + short
    return (
        *(Seed(".nii", data) for data in (plain, single, scaled, extended, double)),
        *(Seed(".nii.gz", data, repair=_packed, pack=_packed) for data in (plain, single, scaled)),
    )


NOISE_VOLUME = NOISE.integers(-1000, 1000, (8, 8, 8), dtype=np.int16)


def nifti2_header() -> bytes:
    """Return the 544 bytes before the pixels of a volume 8 × 8 × 8 of int16."""
    header = bytearray(544)
    struct.pack_into("<i8shh8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, 8, 8, 8, 1, 1, 1, 1)
    struct.pack_into("<8d", header, 104, *(1.0,) * 8)
    struct.pack_into("<q2d", header, 168, 544, 1.0, 0.0)
    struct.pack_into("<ii", header, 344, 0, 1)
    struct.pack_into("<12d", header, 400, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    return bytes(header)


def _metaimage() -> tuple[Seed, ...]:
    raw = VOLUME.tobytes()
    packed = zlib.compress(raw)
    compressed = metaimage(packed, CompressedData="True", CompressedDataSize=str(len(packed)))
    shorts = metaimage(NOISE_VOLUME.tobytes(), ElementType="MET_SHORT", ElementSpacing="0.7 0.7 2.5")
    return tuple(Seed(".mha", data) for data in (metaimage(raw), shorts, compressed))


def _nrrd() -> tuple[Seed, ...]:
    raw = VOLUME.tobytes()
    return (
        Seed(".nrrd", nrrd(raw)),
        Seed(".nrrd", nrrd(NOISE_VOLUME.tobytes(), type="short", endian="little")),
        Seed(".nrrd", nrrd(_packed(raw), encoding="gzip")),
        Seed(".nrrd", nrrd(" ".join(map(str, raw)).encode(), encoding="ascii")),
    )


def _tiff() -> tuple[Seed, ...]:
    pyramids = [
        _pyramid(compression=compression, predictor=predictor, bigtiff=big)
        for compression, predictor, big in (
            ("zlib", False, False), ("jpeg", False, False), ("lzw", True, False), ("zstd", False, True),
        )
    ]  # fmt: skip
    ome = re.sub(
        rb"urn:uuid:[0-9a-f-]{36}", b"urn:uuid:" + b"0" * 36, _written(GREY16, ome=True, tile=(32, 32))
    )
    flat = _written(GREY8, compression="packbits", rowsperstrip=8)
    deep = _written(GREY16, byteorder=">", compression="zlib", resolution=(300, 300))
    return tuple(Seed(".tif", data) for data in (*pyramids, ome, flat, deep))


def _pyramid(**options: Any) -> bytes:  # noqa: ANN401 - as tifffile takes them
    stream, big = io.BytesIO(), options.pop("bigtiff")
    common: dict[str, Any] = {"tile": (32, 32), "photometric": "rgb", **options}
    if options["compression"] == "jpeg":
        common["photometric"] = "ycbcr"
    with tifffile.TiffWriter(stream, bigtiff=big) as writer:
        writer.write(COLOUR, subifds=1, resolution=(40_000, 40_000), resolutionunit=3, **common)
        writer.write(COLOUR[::2, ::2], subfiletype=1, **common)
    return stream.getvalue()


def _written(pixels: Any, **options: Any) -> bytes:  # noqa: ANN401 - as tifffile takes them
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, photometric="minisblack", **options)
    return stream.getvalue()


def _photo() -> tuple[Seed, ...]:
    coloured, grey = Pictures.fromarray(COLOUR), Pictures.fromarray(GREY8)
    clear = coloured.convert("P")
    pngs = (
        _saved(coloured, "png"),
        _saved(clear, "png", transparency=3),
        bytes(imagecodecs.png_encode(GREY16)),
        _saved(grey.convert("1"), "png"),
    )
    exif = Pictures.Exif()
    exif[0x0112] = 6
    jpegs = (
        _saved(coloured, "jpeg"),
        _saved(coloured, "jpeg", progressive=True),
        _saved(grey, "jpeg", exif=exif),
        _saved(coloured.convert("CMYK"), "jpeg"),
    )
    return (
        *(Seed(".png", data, repair=_checksums) for data in pngs),
        *(Seed(".jpg", data) for data in jpegs),
        Seed(".pgm", _saved(grey, "ppm")),
    )


def _saved(picture: Pictures.Image, form: str, **options: Any) -> bytes:  # noqa: ANN401 - as PIL takes them
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def _checksums(data: bytes) -> bytes:
    """Return a PNG with the checksum of every chunk set right, as far as lengths lead from one to the next."""
    fixed, at = data[: len(SIGNATURE)], len(SIGNATURE)
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        fixed += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + size])
        at += 12 + size
    return fixed + data[at:]
