"""Every way in which NIfTI, MetaImage and NRRD may say the same, against other readers of them."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hostile_volumes import metaimage, nifti_header, nrrd

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions, Image, open_here

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIZES = (4, 3, 5)
"""(x, y, z)"""
COUNT = 60
TYPES = {
    "i1": ("MET_CHAR", "int8", 256), "u1": ("MET_UCHAR", "uchar", 2), "i2": ("MET_SHORT", "short", 4),
    "u2": ("MET_USHORT", "unsigned short", 512), "i4": ("MET_INT", "int", 8), "u4": ("MET_UINT", "uint32_t", 768),
    "i8": ("MET_LONG_LONG", "long long", 1024), "u8": ("MET_ULONG_LONG", "uint64", 1280),
    "f4": ("MET_FLOAT", "float", 16), "f8": ("MET_DOUBLE", "double", 64),
}  # fmt: skip
MATRIX = "0.6 0.8 0 -0.8 0.6 0 0 0 1"
DIRECTIONS = "(0.42,0.56,0) (-0.64,0.48,0) (0,0,2.5)"
GEOMETRY = {"TransformMatrix": MATRIX, "Offset": "-90.5 12 300", "ElementSpacing": "0.7 0.8 2.5"}
RAMP = bytes(range(1, 241))


def values(code: str) -> NDArray[Any]:
    """Return (z, y, x) values over the whole range of a type."""
    rng = np.random.default_rng(3)
    dtype = np.dtype(code)
    if dtype.kind == "f":
        return rng.normal(0, 1e6, SIZES[::-1]).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, SIZES[::-1], dtype=dtype, endpoint=True)


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def mha(data: bytes = RAMP, **changes: str | None) -> bytes:
    return metaimage(data, **{"DimSize": "4 3 5", **GEOMETRY, **changes})


def nrrd_of(data: bytes = RAMP, **changes: str | None) -> bytes:
    own = {name.replace("_", " "): value for name, value in changes.items()}
    stated = {"sizes": "4 3 5", "space directions": DIRECTIONS, "space origin": "(-90.5,12,300)"}
    return nrrd(data, **{**stated, **own})


def pixels(image: Image) -> NDArray[Any]:
    return np.asarray(image.arrays[0])


def agrees_with_itk(path: Path) -> None:
    """Hold values and places against SimpleITK."""
    image, judge = open_here(path), SimpleITK.ReadImage(str(path))
    expected = SimpleITK.GetArrayFromImage(judge)
    assert image.dtype == expected.dtype
    assert np.array_equal(pixels(image), expected)
    for index in ((0, 0, 0), (4, 2, 3), (1, 0, 2)):
        place = judge.TransformContinuousIndexToPhysicalPoint([float(at) for at in reversed(index)])
        assert np.abs(image.grid.to_world(index) - place).max() < 1e-9


def refusal(path: Path, decisions: Decisions | None = None) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        pixels(open_here(path, decisions or Decisions()))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_every_type_comes_back_in_both_byte_orders(
    tmp_path: Path, code: str, order: str, packed: bool
) -> None:
    expected = values(code)
    data = expected.astype(order + code).tobytes()
    met, name, number = TYPES[code]
    msb, endian = ("True", "big") if order == ">" else ("False", "little")
    squeezed = zlib.compress(data)
    meta = {"CompressedData": "True", "CompressedDataSize": str(len(squeezed))} if packed else {}
    paths = [
        saved(tmp_path, "a.mha", mha(squeezed if packed else data, ElementType=met, BinaryDataByteOrderMSB=msb, **meta)),
        saved(tmp_path, "a.nrrd", nrrd_of(gzip.compress(data) if packed else data, type=name, endian=endian,
                                          encoding="gzip" if packed else "raw")),
    ]  # fmt: skip
    for path in paths:
        agrees_with_itk(path)
    header = nifti_header(dims=(3, *SIZES, 1, 1, 1, 1), datatype=number, bitpix=8 * np.dtype(code).itemsize)
    if order == ">":
        header = big_endian(header)
    content = header + data
    paths.append(saved(tmp_path, f"a.nii{'.gz' * packed}", gzip.compress(content) if packed else content))
    judge: Any = nibabel.load(paths[-1])
    assert np.array_equal(np.asarray(judge.dataobj).T, expected)
    for path in paths:
        image = open_here(path)
        assert image.dtype == np.dtype(code)
        assert np.array_equal(pixels(image), expected)
        assert np.array_equal(np.asarray(image.levels[0][2]), expected[2])


def big_endian(header: bytes) -> bytes:
    swapped = nibabel.Nifti1Header(header[:348], check=False).as_byteswapped(">")
    return bytes(swapped.binaryblock) + header[348:]


@pytest.mark.parametrize(
    "content",
    [
        mha(BinaryDataByteOrderMSB="True", ElementType="MET_USHORT"),
        mha(BinaryDataByteOrderMSB=None, ElementByteOrderMSB="True", ElementType="MET_USHORT"),
        mha(BinaryDataByteOrderMSB="T", ElementType="MET_USHORT"),
        mha(ElementType="MET_LONG"),
        mha(HeaderSize="0"),
        mha(HeaderSize="-1"),
        mha(HeaderSize="400", data=bytes(200) + RAMP),
        mha(CenterOfRotation="10 20 30"),
        mha(AnatomicalOrientation="LPI"),
        mha(AnatomicalOrientation="???", DistanceUnits="mm"),
        mha(Offset=None, Position="-90.5 12 300"),
        mha(Offset=None, Origin="-90.5 12 300"),
        mha(TransformMatrix=None, Rotation=MATRIX),
        mha(TransformMatrix=None, Orientation=MATRIX),
        mha(TransformMatrix="0 1 0 0 0 1 1 0 0"),
        mha(TransformMatrix=None),
        mha(ElementSpacing=None, ElementSize="0.7 0.8 2.5"),
        mha(ElementSize="9 9 9"),
        mha(BinaryData=None, ObjectType=None),
        mha(Comment="DimSize and = and : in it", Modality="MET_MOD_CT", Somebody="s own"),
        mha().replace(b" = ", b": "),
        mha(b"").replace(b"\n", b"\r\n") + RAMP,
    ],
)  # fmt: skip
def test_metaimage_says_it_as_other_readers_have_it(tmp_path: Path, content: bytes) -> None:
    agrees_with_itk(saved(tmp_path, "a.mha", content))


@pytest.mark.parametrize("changes", [{}, {"HeaderSize": "7"}, {"HeaderSize": "-1"}])
def test_metaimage_beside_its_pixels(tmp_path: Path, changes: dict[str, str | None]) -> None:
    saved(tmp_path, "a.raw", RAMP)
    agrees_with_itk(saved(tmp_path, "a.mhd", mha(b"", ElementDataFile="a.raw", **changes)))


@pytest.mark.parametrize(
    "content",
    [
        *(nrrd_of(space=space) for space in ("LPS", "RAS", "LAS", "right-anterior-superior", "left-anterior-superior")),
        nrrd_of(space_origin=None),
        nrrd_of(space_units='"mm" "mm" "mm"', kinds="space space space"),
        nrrd_of(kinds=None, centerings="cell cell cell", thicknesses="2 2 2", content="anything"),
        nrrd_of(space=None, space_directions=None, space_origin=None, spacings="0.7 0.8 2.5"),
        nrrd_of(byte_skip="7"),
        nrrd_of(byte_skip="-1"),
        nrrd_of(b"one\ntwo\n" + RAMP, line_skip="2"),
        nrrd_of(b"one\ntwo\n" + RAMP, line_skip="2", byte_skip="7"),
        nrrd_of(gzip.compress(RAMP[:67]), byte_skip="7", encoding="gzip"),
        nrrd_of(b"one\n" + gzip.compress(RAMP[:60]), line_skip="1", encoding="gz"),
        nrrd_of(gzip.compress(RAMP[:30]) + gzip.compress(RAMP[30:60]), encoding="gzip"),
        nrrd_of(" ".join(map(str, RAMP[:60])).encode(), encoding="ascii"),
        nrrd_of(b"".join(b"%d\n" % value for value in range(-30, 30)), encoding="text", type="short"),
        nrrd_of(b"".join(b" %.3e" % value for value in range(60)), encoding="txt", type="float"),
        nrrd_of(b"").replace(b"\n", b"\r\n") + RAMP,
        nrrd_of().replace(b"NRRD0004\n", b"NRRD0005\n# a remark: with a colon\nkey:=value\nkey:=value\n"),
    ],
)  # fmt: skip
def test_nrrd_says_it_as_other_readers_have_it(tmp_path: Path, content: bytes) -> None:
    agrees_with_itk(saved(tmp_path, "a.nrrd", content))


@pytest.mark.parametrize("end", ["\n\n", "\n"])
def test_nrrd_beside_its_pixels(tmp_path: Path, end: str) -> None:
    saved(tmp_path, "a.raw", RAMP)
    header = nrrd_of(b"", data_file="a.raw", byte_skip="3").rstrip(b"\n") + end.encode()
    agrees_with_itk(saved(tmp_path, "a.nhdr", header))


@pytest.mark.parametrize("unit", ["um", "cm"])
def test_other_units_of_length_are_turned_into_millimetres(tmp_path: Path, unit: str) -> None:
    factor = {"um": 1e-3, "cm": 10}[unit]
    for name, content in (
        ("a.mha", mha(DistanceUnits=unit, ElementSpacing="70 80 250")),
        ("a.nrrd", nrrd_of(space_units=f'"{unit}" ' * 3, space_directions="(42,56,0) (-64,48,0) (0,0,250)")),
    ):
        grid = open_here(saved(tmp_path, name, content)).grid
        assert grid.unit == "mm"
        assert grid.spacing == pytest.approx(np.array([250, 80, 70]) * factor)
        assert grid.to_world((0, 0, 0)) == pytest.approx(np.array([-90.5, 12, 300]) * factor)


def test_a_voxel_size_that_is_not_stated_stays_unknown(tmp_path: Path) -> None:
    for name, content in (
        ("a.mha", mha(ElementSpacing=None)),
        ("a.nrrd", nrrd_of(space=None, space_directions=None, space_origin=None)),
    ):
        image = open_here(saved(tmp_path, name, content))
        assert (image.grid.unit, image.as_json()["spacing"]) == ("px", None)
        assert [warning.code for warning in image.warnings] == ["unknown-spacing"]


def four_dimensional(form: str) -> bytes:
    """Return three volumes one after the other: 60 values counted through 180."""
    data = bytes(range(180))
    if form == "a.mha":
        fourth = {"NDims": "4", "Offset": "1 2 3 0", "ElementSpacing": "1 1 2 9"}
        return mha(data, DimSize="4 3 5 3", TransformMatrix=" ".join(map(str, np.eye(4).ravel())), **fourth)
    if form == "a.nrrd":
        more = {"sizes": "4 3 5 3", "kinds": "domain domain domain time", "dimension": "4"}
        return nrrd_of(gzip.compress(data), space_directions=DIRECTIONS + " none", encoding="gzip", **more)
    content = nifti_header(dims=(4, *SIZES, 3, 1, 1, 1), datatype=2, bitpix=8) + data
    return gzip.compress(content) if form.endswith("gz") else content


@pytest.mark.parametrize("form", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
def test_one_volume_of_several_is_opened_by_decision(tmp_path: Path, form: str) -> None:
    path = saved(tmp_path, form, four_dimensional(form))
    error = refusal(path)
    assert error.code == "four-d"
    assert [option.decisions for option in error.options] == [{"phase": number} for number in range(3)]
    for number, option in enumerate(error.options):
        image = open_here(path, Decisions.from_json(option.decisions))
        assert image.decisions == Decisions(phase=number)
        assert np.array_equal(pixels(image).ravel(), np.arange(60) + 60 * number)
    assert refusal(path, Decisions(phase=3)).code == "four-d"


def test_a_volume_is_found_in_gzip_without_what_follows_it(tmp_path: Path) -> None:
    content = gzip.compress(nifti_header(dims=(4, *SIZES, 3, 1, 1, 1), datatype=2, bitpix=8) + bytes(120))
    path = saved(tmp_path, "a.nii.gz", content)
    assert pixels(open_here(path, Decisions(phase=1))).shape == SIZES[::-1]
    assert refusal(path, Decisions(phase=2)).code == "truncated"


def deflated(form: str, data: bytes) -> bytes:
    """Return a file whose 60 bytes of pixels are packed, and are these."""
    if form == "a.mha":
        return mha(zlib.compress(data), CompressedData="True")
    if form == "a.nrrd":
        return nrrd_of(gzip.compress(data), encoding="gzip")
    return gzip.compress(nifti_header(dims=(3, *SIZES, 1, 1, 1, 1), datatype=2, bitpix=8) + data)


@pytest.mark.parametrize("form", ["a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize(("size", "code"), [(59, "truncated"), (60, ""), (500, ""), (200_000, "size")])
def test_what_is_packed_must_be_as_long_as_it_should(tmp_path: Path, form: str, size: int, code: str) -> None:
    path = saved(tmp_path, form, deflated(form, bytes(size)))
    if code:
        assert refusal(path).code == code
    else:
        assert pixels(open_here(path)).shape == SIZES[::-1]


@pytest.mark.parametrize("form", ["a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("place", [-1, -6])
def test_checksums_of_what_is_packed_are_checked(tmp_path: Path, form: str, place: int) -> None:
    content = bytearray(deflated(form, RAMP[:60]))
    content[place] ^= 16
    assert refusal(saved(tmp_path, form, bytes(content))).code in ("unreadable", "truncated")


@pytest.mark.parametrize("form", ["a.nii.gz", "a.mha", "a.nrrd"])
def test_packed_files_that_are_cut_are_refused(tmp_path: Path, form: str) -> None:
    content = deflated(form, np.random.default_rng(0).bytes(60))
    for lost in (1, 4, 12, 40):
        assert refusal(saved(tmp_path, form, content[:-lost])).code == "truncated"


def test_padding_behind_gzip_is_left_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.nii.gz", deflated("a.nii.gz", RAMP[:60]) + bytes(512))
    assert np.array_equal(pixels(open_here(path)).ravel(), list(RAMP[:60]))


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (mha(NDims="2", DimSize="4 3"), "unsupported"),
        (mha(NDims="4"), "unreadable"),
        (mha(ObjectType="Tube"), "unsupported"),
        (mha(ElementSpacing="1 1"), "unreadable"),
        (mha(Offset="1 2"), "unreadable"),
        (mha(TransformMatrix="2 0 0 0 1 0 0 0 1"), "direction"),
        (mha(ElementType="MET_FLOAT_ARRAY"), "unsupported"),
        (mha(ElementToIntensityFunctionSlope="2"), "slope"),
        (mha(BinaryData="False"), "unsupported"),
        (mha(BinaryDataByteOrderMSB="perhaps"), "unreadable"),
        (mha(BinaryDataByteOrderMSB="False", ElementByteOrderMSB="True"), "unreadable"),
        (mha(Offset="1 1 1\nOffset = 2 2 2"), "unreadable"),
        (mha(DistanceUnits="furlong"), "unsupported"),
        (mha(HeaderSize="3"), "unreadable"),
        (mha(HeaderSize="-2"), "unreadable"),
        (mha(zlib.compress(RAMP[:60]), CompressedData="True", CompressedDataSize="0"), "truncated"),
        (mha(zlib.compress(RAMP[:60]), CompressedData="True", HeaderSize="10"), "unsupported"),
        (mha(CompressedData="True"), "unreadable"),
        (mha().replace(b"DimSize", b"dimsize"), "unreadable"),
    ],
)
def test_metaimages_that_are_not_understood_are_refused(tmp_path: Path, content: bytes, code: str) -> None:
    assert refusal(saved(tmp_path, "a.mha", content)).code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (nrrd_of(encoding="hex"), "unsupported"),
        (nrrd_of(encoding=None), "unsupported"),
        (nrrd_of(type="long"), "unsupported"),
        (nrrd_of(type="short"), "unreadable"),
        (nrrd_of(sizes="4 3", dimension="2", kinds=None), "unsupported"),
        (nrrd_of(dimension=None), "unreadable"),
        (nrrd_of(kinds="RGB-color domain domain"), "unsupported"),
        (nrrd_of(kinds="domain domain"), "unreadable"),
        (nrrd_of(sizes="2 4 3 5", dimension="4", kinds=None, space_directions=f"none {DIRECTIONS}"), "unsupported"),
        (nrrd_of(sizes="2 4 3 5", dimension="4", kinds="vector domain domain domain"), "unsupported"),
        (nrrd_of(space="scanner-xyz"), "space"),
        (nrrd_of(space_directions="(1,0,0) (0,1,0)"), "direction"),
        (nrrd_of(space_origin="(1,2)"), "unreadable"),
        (nrrd_of(space_units='"mm" "mm" "um"'), "unsupported"),
        (nrrd_of(space=None, space_directions=None, spacings="1 1 -1"), "spacing"),
        (nrrd_of(axis_mins="10 20 30"), "unsupported"),
        (nrrd_of(space_dimension="2"), "unreadable"),
        (nrrd_of(byte_skip="-2"), "unreadable"),
        (nrrd_of(byte_skip="-1", encoding="gzip"), "unsupported"),
        (nrrd_of(byte_skip="99999999", encoding="gzip"), "size"),
        (nrrd_of(line_skip="5"), "truncated"),
        (nrrd_of(b"1 " * 59 + b"1.5", encoding="ascii"), "unreadable"),
        (nrrd_of(b"1 " * 59 + b"256", encoding="ascii"), "unreadable"),
        (nrrd_of(b"1 " * 59 + b"1_0", encoding="ascii"), "unreadable"),
        (nrrd_of(b"1 " * 59 + b"          ", encoding="ascii"), "truncated"),
        (nrrd_of(b"1 " * 61, encoding="ascii"), "size"),
        (nrrd_of(b"").rstrip(b"\n"), "unreadable"),
        (nrrd_of().replace(b"NRRD0004", b"NRRD0009"), "unreadable"),
        (nrrd_of().replace(b"encoding", b"what is this\nencoding"), "unsupported"),
    ],
)  # fmt: skip
def test_nrrds_that_are_not_understood_are_refused(tmp_path: Path, content: bytes, code: str) -> None:
    assert refusal(saved(tmp_path, "a.nrrd", content)).code == code


EIGHT = bytes(1024)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (nifti_header(magic=b"ni1\0") + EIGHT, "unsupported"),
        (nifti_header(magic=b"what") + EIGHT, "unreadable"),
        (nifti_header(datatype=32, bitpix=64) + EIGHT, "unsupported"),
        (nifti_header(vox_offset=348) + EIGHT, "size"),
        (nifti_header(vox_offset=352.5) + EIGHT, "size"),
        (nifti_header(dims=(5, 4, 4, 4, 1, 8, 1, 1)) + EIGHT, "unsupported"),
        (nifti_header(pixdim=(1, 1, -1, 1, 1, 1, 1, 1), sform=0, qform=1) + EIGHT, "spacing"),
        (nifti_header(extension=b"\1\0\0\0", vox_offset=384) + struct.pack("<ii24x", 48, 6) + EIGHT, "size"),
        (nifti_header(extension=b"\1\0\0\0", vox_offset=384) + struct.pack("<ii24x", 0, 6) + EIGHT, "size"),
        (nifti_header(extension=b"\1\0\0\0", vox_offset=384) + struct.pack("<ii24x", -16, 6) + EIGHT, "size"),
        (nifti_header()[:300], "truncated"),
        (b"\0\0\0\0" + nifti_header()[4:] + EIGHT, "unreadable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_niftis_that_are_not_understood_are_refused(
    tmp_path: Path, content: bytes, code: str, packed: bool
) -> None:
    path = saved(tmp_path, "a.nii", gzip.compress(content) if packed else content)
    assert refusal(path).code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"pixdim": (0,) * 8},  # the sform places the voxels: nobody asks for their size
        {"pixdim": (1, 1, 1, 0, 1, 1, 1, 1), "sform": 0, "qform": 1, "dims": (3, 8, 8, 1, 1, 1, 1, 1)},
        {"pixdim": (1, 1, 1, 0, 0, 0, 0, 0), "sform": 0, "qform": 1, "dims": (2, 8, 8, 1, 1, 1, 1, 1)},
        {"dims": (5, 8, 8, 8, 1, 1, 1, 1)},
    ],
)
def test_niftis_that_can_be_understood_are_not_turned_away(tmp_path: Path, changes: dict[str, Any]) -> None:
    image = open_here(saved(tmp_path, "a.nii", nifti_header(**changes) + EIGHT))
    assert pixels(image).shape == image.shape
    assert image.grid.spacing == (1, 1, 1)


def test_extensions_of_a_nifti_are_passed_over(tmp_path: Path) -> None:
    extensions = struct.pack("<ii24s", 32, 6, b"one") + struct.pack("<ii40s", 48, 4, b"two")
    header = nifti_header(extension=b"\1\0\0\0", vox_offset=352 + 80, dims=(3, *SIZES, 1, 1, 1, 1))
    content = header + extensions + values("i2").tobytes()
    for name, data in (("a.nii", content), ("a.nii.gz", gzip.compress(content))):
        assert np.array_equal(pixels(open_here(saved(tmp_path, name, data))), values("i2"))


@pytest.mark.parametrize("code", ["i2", "f4", "i4", "f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_scaled_niftis_are_as_nibabel_has_them(tmp_path: Path, code: str, packed: bool) -> None:
    number = TYPES[code][2]
    header = nifti_header(dims=(3, *SIZES, 1, 1, 1, 1), datatype=number, bitpix=1, slope=0.37, inter=-1024.5)
    content = header + values(code).tobytes()
    path = saved(tmp_path, f"a.nii{'.gz' * packed}", gzip.compress(content) if packed else content)
    judge: Any = nibabel.load(path)
    image = open_here(path)
    assert image.dtype == (np.float64 if code == "f8" else np.float32)
    assert np.allclose(pixels(image), judge.get_fdata().T, rtol=1e-6, atol=0)


@pytest.mark.parametrize("form", ["a.nii", "a.nii.gz"])
def test_a_volume_that_changed_after_it_was_opened_is_refused(tmp_path: Path, form: str) -> None:
    content = nifti_header() + EIGHT
    path = saved(tmp_path, form, gzip.compress(content) if form.endswith("gz") else content)
    image = open_here(path)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageRefusedError) as caught:
        pixels(image)
    assert caught.value.code == "changed"
