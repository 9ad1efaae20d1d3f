"""NIfTI, MetaImage and NRRD against the libraries that wrote them."""

from __future__ import annotations

import gzip
import struct
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Image, open_image

nibabel = pytest.importorskip("nibabel")
SimpleITK = pytest.importorskip("SimpleITK")
SIZES = (5, 6, 7)
"""(x, y, z)"""


def slanted() -> np.ndarray[Any, np.dtype[np.float64]]:
    a, b = np.radians((20, 35))
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x)


def affine_lps() -> np.ndarray[Any, np.dtype[np.float64]]:
    affine = np.eye(4)
    affine[:3, :3] = slanted() * (0.7, 0.8, 2.5)
    affine[:3, 3] = (-90.0, -120.0, 300.0)
    return affine


def speaking_pixels(
    affine: np.ndarray[Any, np.dtype[np.float64]],
) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Return (x, y, z) pixels that hold round(4x + 7y + 3z) of their LPS place."""
    index = np.moveaxis(np.indices(SIZES), 0, -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return np.round(world @ (4.0, 7.0, 3.0)).astype(np.int16)


def worst_error(image: Image) -> float:
    index = np.moveaxis(np.indices(image.grid.shape), 0, -1)
    return float(np.abs(np.asarray(image.levels[0]) - image.grid.to_world(index) @ (4.0, 7.0, 3.0)).max())


def nifti(path: Path, affine: np.ndarray[Any, np.dtype[np.float64]], byte_order: str = "<") -> Path:
    header = nibabel.Nifti1Header(endianness=byte_order)
    header.set_data_dtype(np.int16)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    image = nibabel.Nifti1Image(speaking_pixels(affine), ras, header)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def itk(path: Path, *, compress: bool = False) -> Path:
    image = SimpleITK.GetImageFromArray(speaking_pixels(affine_lps()).T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-90.0, -120.0, 300.0))
    image.SetDirection(slanted().ravel().tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=compress)
    return path


def code_of(path: Path) -> str:
    with pytest.raises(ImageRefusedError) as caught:
        open_image(path)
    return caught.value.code


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_nifti_tells_where_its_voxels_lie(tmp_path: Path, name: str, byte_order: str) -> None:
    path = nifti(tmp_path / name, affine_lps(), byte_order)
    image = open_image(path)
    assert image.shape == SIZES[::-1]
    assert image.dtype == np.dtype(np.int16)
    assert worst_error(image) <= 0.51
    corner = nibabel.load(path).affine @ (4, 5, 6, 1) * (-1, -1, 1, 1)
    assert np.abs(image.grid.to_world((6, 5, 4)) - corner[:3]).max() < 5e-4


def test_nifti_slopes_are_applied(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.eye(4))
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 0.5, -3.0)
    path.write_bytes(content)
    expected = speaking_pixels(np.eye(4)).T * 0.5 - 3
    image = open_image(path)
    assert image.dtype == np.float32
    assert np.array_equal(np.asarray(image.levels[0]), expected)


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf")])
def test_nifti_slopes_that_are_none_are_refused(tmp_path: Path, slope: float) -> None:
    path = nifti(tmp_path / "a.nii", np.eye(4))
    content = bytearray(path.read_bytes())
    content[112:116] = struct.pack("<f", slope)
    path.write_bytes(content)
    assert code_of(path) in ("slope", "unreadable")


def test_nifti_with_a_time_axis_is_refused(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)), tmp_path / "a.nii")
    assert code_of(tmp_path / "a.nii") == "four-d"


def test_nifti_with_an_affine_of_nan_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.eye(4))
    content = bytearray(path.read_bytes())
    content[280:284] = struct.pack("<f", float("nan"))
    path.write_bytes(content)
    assert code_of(path) == "affine"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_that_promises_more_than_it_holds_is_refused(tmp_path: Path, name: str) -> None:
    path = nifti(tmp_path / name, np.eye(4))
    content = bytearray(gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes())
    content[42:48] = struct.pack("<3h", 400, 500, 600)
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert code_of(path) in ("truncated", "size")


def test_nifti_without_orientation_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros(SIZES, np.int16), None)
    nibabel.save(image, tmp_path / "a.nii")
    assert [w.code for w in open_image(tmp_path / "a.nii").warnings] == ["no-orientation"]


@pytest.mark.parametrize(
    ("order", "flips"), list(product(permutations(range(3)), product((1, -1), repeat=3)))
)
def test_orienting_keeps_every_voxel_in_its_place(
    tmp_path: Path, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([0.7, 0.8, 2.5]) * flips)[:, list(order)]
    affine[:3, 3] = (10, -20, 30)
    oriented = open_image(nifti(tmp_path / "a.nii", affine)).oriented()
    assert worst_error(oriented) <= 0.51
    assert oriented.grid.canonical_axes() == ((0, 1, 2), (1, 1, 1))
    assert oriented.grid.spacing == pytest.approx((2.5, 0.8, 0.7))


@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("compress", [False, True])
def test_itk_formats_tell_where_their_voxels_lie(tmp_path: Path, name: str, compress: bool) -> None:
    path = itk(tmp_path / name, compress=compress)
    image = open_image(path)
    read = SimpleITK.ReadImage(str(path))
    assert image.shape == SIZES[::-1]
    assert worst_error(image) <= 0.51
    far = image.grid.to_world((6, 5, 4))
    assert np.abs(far - read.TransformIndexToPhysicalPoint((4, 5, 6))).max() < 1e-9
    assert np.array_equal(np.asarray(image.levels[0][3]), SimpleITK.GetArrayFromImage(read)[3])


def test_a_nrrd_in_ras_is_turned(tmp_path: Path) -> None:
    path = itk(tmp_path / "a.nrrd")
    lps = open_image(path).grid
    content = path.read_bytes()
    stated = b"space: left-posterior-superior"
    assert stated in content
    path.write_bytes(content.replace(stated, b"space: right-anterior-superior"))
    ras = open_image(path).grid
    assert np.allclose(ras.to_world((6, 5, 4)), lps.to_world((6, 5, 4)) * (-1, -1, 1))


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../secret.raw", "C:\\secret.raw", "..\\secret.raw", "//host/x.raw"]
)
@pytest.mark.parametrize("header", ["a.mhd", "a.nhdr"])
def test_pixels_outside_the_folder_are_never_read(tmp_path: Path, header: str, name: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(1000))
    path = itk(folder / header)
    raw = next(p.name for p in folder.iterdir() if p.name != header)
    path.write_text(path.read_text().replace(raw, name))
    assert code_of(path) == "reference-outside"


@pytest.mark.skipif(not hasattr(Path, "symlink_to"), reason="needs links")
def test_a_link_out_of_the_folder_is_never_followed(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    path = itk(folder / "a.mhd")
    raw = next(p for p in folder.iterdir() if p.name != "a.mhd")
    raw.rename(tmp_path / "elsewhere.raw")
    raw.symlink_to(tmp_path / "elsewhere.raw")
    assert code_of(path) == "reference-outside"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("DimSize = 5 6 7", "DimSize = 5 6 -7", "size"),
        ("DimSize = 5 6 7", "DimSize = 50 60 70", "truncated"),
        ("DimSize = 5 6 7", "DimSize = 9999999 9999999 7", "size"),
        ("DimSize = 5 6 7", "DimSize = 5 6.5 7", "size"),
        ("ElementSpacing = 0.69999999999999996", "ElementSpacing = nan", "affine"),
        ("ElementSpacing = 0.69999999999999996", "ElementSpacing = 0.0", "spacing"),
        ("NDims = 3\n", "NDims = 3\nElementNumberOfChannels = 3\n", "unsupported"),
    ],
)
def test_metaimage_headers_are_checked(tmp_path: Path, old: str, new: str, code: str) -> None:
    path = itk(tmp_path / "a.mhd")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert code_of(path) == code


def test_a_nrrd_of_four_dimensions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 4\nsizes: 2 2 2 2\nendian: little\nencoding: raw\n\n" + bytes(32)
    )
    assert code_of(tmp_path / "a.nrrd") == "four-d"
