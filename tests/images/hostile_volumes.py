"""Hostile NIfTI, MetaImage and NRRD files."""

from __future__ import annotations

import gzip
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from hostile_parts import MIB, SECRET, Bomb, codes, gzipped_zeros, saved, zlib_zeros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["VOLUME_BOMBS", "metaimage", "nifti_header", "nrrd"]

NAN, INF = math.nan, math.inf
PIXELS = bytes(2 * 8 * 8 * 8)
OFFSETS = {"dims": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"), "vox_offset": (108, "f"),
           "slope": (112, "f"), "inter": (116, "f"), "qform": (252, "h"), "sform": (254, "h"),
           "quatern": (256, "6f"), "srow": (280, "12f"), "magic": (344, "4s"), "extension": (348, "4s")}  # fmt: skip


def nifti_header(**changes: Any) -> bytes:  # noqa: ANN401 - numbers and bytes, as struct takes them
    """Return the 352 bytes before the pixels of a volume 8 × 8 × 8 of int16, changed by name."""
    fields: dict[str, Any] = {
        "dims": (3, 8, 8, 8, 1, 1, 1, 1), "datatype": 4, "bitpix": 16, "pixdim": (1,) * 8, "vox_offset": 352,
        "slope": 1, "inter": 0, "qform": 0, "sform": 1, "quatern": (0,) * 6,
        "srow": (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "magic": b"n+1\0", "extension": bytes(4), **changes,
    }  # fmt: skip
    header = bytearray(352)
    header[:4] = (348).to_bytes(4, "little")
    for name, value in fields.items():
        offset, form = OFFSETS[name]
        struct.pack_into("<" + form, header, offset, *(value if isinstance(value, tuple) else (value,)))
    return bytes(header)


def _nifti(data: bytes = PIXELS, **changes: Any) -> Callable[[Path], Path]:  # noqa: ANN401 - as above
    def make(folder: Path) -> Path:
        return saved(folder, "a.nii", nifti_header(**changes) + data)

    return make


def _dims(*sizes: int) -> tuple[int, ...]:
    return (len(sizes), *sizes, *(1,) * (7 - len(sizes)))


def _nifti_gz(side: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        header = nifti_header(dims=_dims(side, side, side), datatype=2, bitpix=8)
        return saved(folder, f"a{side}.nii.gz", gzipped_zeros(2176, header))

    return make


def _gz_offset(folder: Path) -> Path:
    """Its pixels begin 2 GiB into what it inflates to."""
    return saved(folder, "offset.nii.gz", gzipped_zeros(2176, nifti_header(vox_offset=float(1 << 31))))


def _gz_cut(folder: Path) -> Path:
    packed = gzip.compress(
        nifti_header(dims=_dims(32, 32, 32)) + np.random.default_rng(0).bytes(2 * 32**3), mtime=0
    )
    return saved(folder, "cut.nii.gz", packed[: len(packed) // 2])


def _gz_of_gz(folder: Path) -> Path:
    return saved(folder, "twice.nii.gz", gzip.compress(gzipped_zeros(2048, nifti_header()), mtime=0))


def _extension(folder: Path) -> Path:
    size = struct.pack("<ii", (1 << 31) - 16, 6)
    header = nifti_header(extension=b"\1\0\0\0", vox_offset=float(1 << 31))
    return saved(folder, "extension.nii", header + size + PIXELS)


def _extensions(folder: Path) -> Path:
    """A hundred thousand extensions of the smallest size there is."""
    many = struct.pack("<ii8s", 16, 6, b"") * 100_000
    return saved(
        folder, "many.nii", nifti_header(extension=b"\1\0\0\0", vox_offset=352.0 + len(many)) + many + PIXELS
    )


def metaimage(data: bytes = bytes(512), **changes: str | None) -> bytes:
    """Return a volume 8 × 8 × 8 of bytes, its header changed by name; None leaves a line out."""
    fields: dict[str, str | None] = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": "1 1 1", "DimSize": "8 8 8", "ElementType": "MET_UCHAR", **changes,
    }  # fmt: skip
    last = fields.pop("ElementDataFile", "LOCAL")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    return "\n".join([*lines, f"ElementDataFile = {last}", ""]).encode() + data


def _mha(data: bytes = bytes(512), **changes: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, "a.mha", metaimage(data, **changes))

    return make


def _mha_zlib(sizes: Sequence[int], stated: int | None = None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = zlib_zeros(2048)
        size = str(len(data) if stated is None else stated)
        text = metaimage(
            data, DimSize=" ".join(map(str, sizes)), CompressedData="True", CompressedDataSize=size
        )
        return saved(folder, "zlib.mha", text)

    return make


def _naming(form: str, name: str, *, link: bool = False) -> Callable[[Path], Path]:
    """Return a maker of a header that names a pixel file, with secrets beside it and above it."""

    def make(folder: Path) -> Path:
        inner = folder / "inner"
        inner.mkdir(exist_ok=True)
        saved(folder, "secret.raw", SECRET)
        if link:
            (inner / "link.raw").symlink_to(folder / "secret.raw")
        named = name.format(folder=folder)
        if form == "mhd":
            return saved(inner, "a.mhd", metaimage(b"", DimSize="64 64 1", ElementDataFile=named))
        return saved(inner, "a.nhdr", nrrd(b"", **{"sizes": "64 64 1", "data file": named}))

    return make


def nrrd(data: bytes = bytes(512), **changes: str | None) -> bytes:
    """Return a volume 8 × 8 × 8 of bytes, its header changed by name; None leaves a line out."""
    fields: dict[str, str | None] = {
        "type": "uchar", "dimension": "3", "space": "left-posterior-superior", "sizes": "8 8 8",
        "space directions": "(1,0,0) (0,1,0) (0,0,1)", "kinds": "domain domain domain", "encoding": "raw",
        "space origin": "(0,0,0)", **changes,
    }  # fmt: skip
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\n".join(["NRRD0004", *lines, "", ""]).encode() + data


def _nrrd(data: bytes = bytes(512), **changes: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(
            folder, "a.nrrd", nrrd(data, **{name.replace("_", " "): value for name, value in changes.items()})
        )

    return make


def _nrrd_gzip(sizes: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return saved(folder, "gzip.nrrd", nrrd(gzipped_zeros(2176), sizes=sizes, encoding="gzip"))

    return make


def _long_header(folder: Path) -> Path:
    """Four MiB of comments and keys before the first empty line."""
    return saved(folder, "long.nrrd", nrrd().replace(b"\n\n", b"\n" + b"key:=value\n" * 400_000 + b"\n"))


def _long_line(folder: Path) -> Path:
    return saved(folder, "line.mha", metaimage(Comment="x" * 4 * MIB))


SIZE = codes("size", "truncated", "four-d", "unsupported")
NUMBERS = codes("affine", "spacing", "size", "orientation", "geometry", "no-orientation", "direction")
OUTSIDE = codes("reference-outside", "unsupported")
NIFTI_BOMBS: dict[str, Bomb] = {
    "nifti-gz": Bomb(_nifti_gz(1290), SIZE, "2 MiB of gzip hold a volume of 2.1 GB"),
    "nifti-gz-small": Bomb(_nifti_gz(8), None, "2 MiB of gzip hold 2.1 GB after a small volume", may_open=True),
    "nifti-gz-offset": Bomb(_gz_offset, SIZE, "its pixels begin after 2 GiB of zeros in 2 MiB of gzip",
                            may_open=True),
    "nifti-gz-cut": Bomb(_gz_cut, SIZE, "gzip that ends half way"),
    "nifti-gz-of-gz": Bomb(_gz_of_gz, None, "gzip of gzip of 2 GiB"),
    "nifti-dims-32767^5": Bomb(_nifti(dims=_dims(*(32767,) * 5)), SIZE, "2⁷⁵ voxels"),
    "nifti-dims-32767^3": Bomb(_nifti(dims=_dims(*(32767,) * 3)), SIZE, "70 TB of voxels in 1 KiB"),
    "nifti-dims-negative": Bomb(_nifti(dims=_dims(-8, 8, -8)), SIZE, "-8 voxels along two axes"),
    "nifti-dims-0": Bomb(_nifti(dims=_dims(8, 0, 8)), SIZE, "no voxels along one axis"),
    "nifti-dim0-200": Bomb(_nifti(dims=(200, *(8,) * 7)), SIZE, "200 dimensions"),
    "nifti-dim0-negative": Bomb(_nifti(dims=(-1, *(8,) * 7)), SIZE, "-1 dimensions"),
    "nifti-type": Bomb(_nifti(datatype=12345), codes("unsupported"), "values of a type that does not exist"),
    "nifti-bitpix": Bomb(_nifti(bitpix=-32768), SIZE, "-32,768 bits a value", may_open=True),
    "nifti-offset-beyond": Bomb(_nifti(vox_offset=1e9), SIZE, "its pixels begin beyond its end"),
    "nifti-offset-nan": Bomb(_nifti(vox_offset=NAN), SIZE, "its pixels begin at NaN"),
    "nifti-offset-1e30": Bomb(_nifti(vox_offset=1e30), SIZE, "its pixels begin at 10³⁰"),
    "nifti-offset-negative": Bomb(_nifti(vox_offset=-64), SIZE, "its pixels begin before it does"),
    "nifti-slope-nan": Bomb(_nifti(slope=NAN), codes("slope"), "a slope of NaN"),
    "nifti-slope-inf": Bomb(_nifti(slope=INF), codes("slope"), "an infinite slope"),
    "nifti-slope-0": Bomb(_nifti(slope=0), codes("slope"), "a slope of 0", may_open=True),
    "nifti-inter-inf": Bomb(_nifti(inter=INF), codes("slope"), "an infinite intercept"),
    "nifti-pixdim-nan": Bomb(_nifti(pixdim=(NAN,) * 8, sform=0, qform=1), NUMBERS, "a voxel size of NaN"),
    "nifti-pixdim-0": Bomb(_nifti(pixdim=(0,) * 8, sform=0, qform=1), NUMBERS, "voxels of no size"),
    "nifti-pixdim-inf": Bomb(_nifti(pixdim=(INF,) * 8, sform=0, qform=1), NUMBERS, "infinite voxels"),
    "nifti-pixdim-0-alone": Bomb(_nifti(pixdim=(0,) * 8, sform=0), NUMBERS, "no size and no orientation"),
    "nifti-quatern-nan": Bomb(_nifti(quatern=(NAN,) * 6, sform=0, qform=1), NUMBERS, "a rotation of NaN"),
    "nifti-sform-nan": Bomb(_nifti(srow=(NAN,) * 12), NUMBERS, "an affine of NaN"),
    "nifti-sform-inf": Bomb(_nifti(srow=(1, 0, 0, INF, 0, 1, 0, 0, 0, 0, 1, 0)), NUMBERS, "an infinite origin"),
    "nifti-sform-singular": Bomb(_nifti(srow=(1, 0, 0, 0) * 3), NUMBERS, "three axes that coincide"),
    "nifti-sform-0": Bomb(_nifti(srow=(0,) * 12), NUMBERS, "an affine of zeros"),
    "nifti-sform-1e30": Bomb(_nifti(srow=(1e30, 0, 0, 0, 0, 1e30, 0, 0, 0, 0, 1e30, 0)), NUMBERS,
                             "voxels of 10³⁰ mm"),
    "nifti-extension": Bomb(_extension, SIZE, "an extension of 2 GiB in 1 KiB"),
    "nifti-extensions": Bomb(_extensions, None, "100,000 extensions", may_open=True),
}  # fmt: skip
META_BOMBS: dict[str, Bomb] = {
    "mhd-passwd": Bomb(_naming("mhd", "/etc/passwd"), OUTSIDE, "/etc/passwd as pixels", needle=b"root:x:0"),
    "mhd-parent": Bomb(_naming("mhd", "../secret.raw"), OUTSIDE, "a file above it", needle=SECRET[:64]),
    "mhd-absolute": Bomb(_naming("mhd", "{folder}/secret.raw"), OUTSIDE, "an absolute path",
                         needle=SECRET[:64]),
    "mhd-link": Bomb(_naming("mhd", "link.raw", link=True), OUTSIDE, "a link to a file above it",
                     needle=SECRET[:64]),
    "mhd-backslash": Bomb(_naming("mhd", "..\\secret.raw"), codes("reference-outside", "not-found"),
                          "a path of another system", needle=SECRET[:64]),
    "mhd-list": Bomb(_naming("mhd", "LIST\n../secret.raw"), OUTSIDE, "a list of files", needle=SECRET[:64]),
    "mhd-pattern": Bomb(_naming("mhd", "../secret%d.raw 1 1 1"), OUTSIDE, "a pattern of files",
                        needle=SECRET[:64]),
    "mhd-itself": Bomb(_naming("mhd", "a.mhd"), SIZE, "itself as pixels"),
    "mha-size-huge": Bomb(_mha(DimSize="100000 100000 100000"), SIZE, "10¹⁵ voxels in 512 bytes"),
    "mha-size-overflow": Bomb(_mha(DimSize="4294967296 4294967296 4294967296"), SIZE, "2⁹⁶ voxels, 0 in 64 bits"),
    "mha-size-negative": Bomb(_mha(DimSize="-8 8 -8"), SIZE, "-8 voxels along two axes"),
    "mha-size-nan": Bomb(_mha(DimSize="nan 8 8"), codes("size", "affine"), "NaN voxels"),
    "mha-size-1e400": Bomb(_mha(DimSize="1e400 8 8"), codes("size", "affine"), "infinitely many voxels"),
    "mha-dims-200": Bomb(_mha(NDims="200"), SIZE, "200 dimensions"),
    "mha-dims-negative": Bomb(_mha(NDims="-3"), SIZE, "-3 dimensions"),
    "mha-channels": Bomb(_mha(ElementNumberOfChannels="2147483647"), SIZE, "2³¹ - 1 values a voxel"),
    "mha-header-size": Bomb(_mha(HeaderSize="2147483647"), SIZE, "its pixels begin beyond its end"),
    "mha-zlib": Bomb(_mha_zlib((1290, 1290, 1290)), SIZE, "2 MiB of zlib hold a volume of 2.1 GB"),
    "mha-zlib-small": Bomb(_mha_zlib((8, 8, 8)), None, "2 MiB of zlib hold 2 GiB for 512 voxels", may_open=True),
    "mha-zlib-lies-long": Bomb(_mha_zlib((64, 64, 64), 1 << 40), SIZE, "1 TB compressed, in 2 MiB",
                               may_open=True),
    "mha-zlib-lies-negative": Bomb(_mha_zlib((64, 64, 64), -1), SIZE, "-1 bytes compressed", may_open=True),
    "mha-spacing-0": Bomb(_mha(ElementSpacing="0 0 0"), NUMBERS, "voxels of no size"),
    "mha-spacing-nan": Bomb(_mha(ElementSpacing="nan 1 1"), NUMBERS, "a voxel size of NaN"),
    "mha-spacing-negative": Bomb(_mha(ElementSpacing="-1 1 1"), NUMBERS, "a voxel size below 0"),
    "mha-spacing-1e30": Bomb(_mha(ElementSpacing="1e30 1 1"), NUMBERS, "voxels of 10³⁰ mm"),
    "mha-matrix-0": Bomb(_mha(TransformMatrix="0 0 0 0 0 0 0 0 0"), NUMBERS, "axes of no length"),
    "mha-matrix-singular": Bomb(_mha(TransformMatrix="1 0 0 1 0 0 1 0 0"), NUMBERS, "three axes that coincide"),
    "mha-long-line": Bomb(_long_line, codes("unsupported"), "a header line of 4 MiB", may_open=True),
}  # fmt: skip
NRRD_BOMBS: dict[str, Bomb] = {
    "nrrd-gzip": Bomb(_nrrd_gzip("1290 1290 1290"), SIZE, "2 MiB of gzip hold a volume of 2.1 GB"),
    "nrrd-gzip-small": Bomb(_nrrd_gzip("8 8 8"), None, "2 MiB of gzip hold 2 GiB for 512 voxels", may_open=True),
    "nrrd-passwd": Bomb(_naming("nhdr", "/etc/passwd"), OUTSIDE, "/etc/passwd as pixels", needle=b"root:x:0"),
    "nrrd-parent": Bomb(_naming("nhdr", "../secret.raw"), OUTSIDE, "a file above it", needle=SECRET[:64]),
    "nrrd-link": Bomb(_naming("nhdr", "link.raw", link=True), OUTSIDE, "a link to a file above it",
                      needle=SECRET[:64]),
    "nrrd-list": Bomb(_naming("nhdr", "LIST\n../secret.raw"), OUTSIDE, "a list of files", needle=SECRET[:64]),
    "nrrd-pattern": Bomb(_naming("nhdr", "../secret%d.raw 1 1 1"), OUTSIDE, "a pattern of files",
                         needle=SECRET[:64]),
    "nrrd-sizes-huge": Bomb(_nrrd(sizes="100000 100000 100000"), SIZE, "10¹⁵ voxels in 512 bytes"),
    "nrrd-sizes-negative": Bomb(_nrrd(sizes="-8 8 -8"), SIZE, "-8 voxels along two axes"),
    "nrrd-sizes-twice": Bomb(_nrrd(sizes="8 8 8\nsizes: 4000 4000 4000"), SIZE, "two lines of sizes"),
    "nrrd-dimension": Bomb(_nrrd(dimension="2000000000"), SIZE, "2 × 10⁹ dimensions"),
    "nrrd-bzip2": Bomb(_nrrd(encoding="bzip2"), SIZE, "bzip2, with nothing in it"),
    "nrrd-ascii": Bomb(_nrrd(b"1 2 3 " * 10, encoding="ascii"), SIZE, "30 of 512 values as text"),
    "nrrd-byte-skip": Bomb(_nrrd(byte_skip="9223372036854775807"), SIZE, "its pixels begin beyond its end"),
    "nrrd-line-skip": Bomb(_nrrd(line_skip="2147483647"), SIZE, "2³¹ - 1 lines to skip"),
    "nrrd-block": Bomb(_nrrd(type="block", block_size="2147483647"), SIZE, "values of 2 GiB each"),
    "nrrd-directions-nan": Bomb(_nrrd(space_directions="(nan,0,0) (0,1,0) (0,0,1)"), NUMBERS, "a direction of NaN"),
    "nrrd-directions-none": Bomb(_nrrd(space_directions="none none none"), NUMBERS, "no directions"),
    "nrrd-directions-0": Bomb(_nrrd(space_directions="(0,0,0) (0,0,0) (0,0,0)"), NUMBERS, "directions of no length"),
    "nrrd-directions-singular": Bomb(_nrrd(space_directions="(1,0,0) (1,0,0) (1,0,0)"), NUMBERS,
                                     "three axes that coincide"),
    "nrrd-origin-inf": Bomb(_nrrd(space_origin="(inf,0,0)"), NUMBERS, "an infinite origin"),
    "nrrd-long-header": Bomb(_long_header, codes("size", "unsupported"), "400,000 keys", may_open=True),
}  # fmt: skip
VOLUME_BOMBS: dict[str, Bomb] = {**NIFTI_BOMBS, **META_BOMBS, **NRRD_BOMBS}
