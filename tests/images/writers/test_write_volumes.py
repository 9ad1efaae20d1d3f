"""NIfTI and MetaImage as written, read by ourselves and by others."""

from __future__ import annotations

import gzip
import struct
import tempfile
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from writing_phantoms import PLAIN_TYPES, affine_of, affines, image_of, planar, slanted, speckle, volume

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Image, open_here, open_image
from napari_medlab.images.writers import write_image

if TYPE_CHECKING:
    from napari_medlab.geometry.frames import Unit

Reader = Callable[[Path], tuple[NDArray[Any], Grid]]

TOLERANCE_MM = {".nii": 5e-4, ".nii.gz": 5e-4, ".mha": 1e-9}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
shapes = st.tuples(*[st.integers(1, 7)] * 3)


def corners(shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.array(list(product(*((0, size - 1) for size in shape))))


def worst_mm(a: Grid, b: Grid) -> float:
    """Return how far two grids put a corner of the same voxels from each other."""
    return float(np.abs(a.to_world(corners(a.shape)) - b.to_world(corners(b.shape))).max())


def by_itk(path: Path) -> tuple[NDArray[Any], Grid]:
    read = SimpleITK.ReadImage(str(path))
    pixels = SimpleITK.GetArrayFromImage(read)
    affine = np.eye(4)
    direction = np.reshape(read.GetDirection(), (3, 3)) * read.GetSpacing()
    affine[:3, :3] = direction[:, ::-1]
    affine[:3, 3] = read.GetOrigin()
    return pixels, Grid(pixels.shape, affine)


def by_nibabel(path: Path) -> tuple[NDArray[Any], Grid]:
    read: Any = nibabel.load(path)
    pixels = np.asarray(read.dataobj).T
    return pixels, Grid(pixels.shape, (LPS_TO_RAS @ read.affine)[:, [2, 1, 0, 3]])


def nifti_header(path: Path) -> Any:  # noqa: ANN401 - nibabel has few types
    return nibabel.load(path).header


def by_ourselves(path: Path) -> tuple[NDArray[Any], Grid]:
    read = open_here(path)
    return np.asarray(read.levels[0]), read.grid


def check(image: Image, suffix: str, *readers: Reader) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(image, Path(folder) / f"a{suffix}")
        for reader in (by_ourselves, by_itk, *readers):
            pixels, grid = reader(path)
            assert pixels.dtype == image.dtype
            assert np.array_equal(pixels, np.asarray(image.levels[0]))
            assert worst_mm(grid, image.grid) <= TOLERANCE_MM[suffix]


@settings(deadline=None, max_examples=200)
@given(shapes, st.sampled_from(PLAIN_TYPES), affines)
def test_a_nifti_comes_back_as_it_was(
    shape: tuple[int, ...], dtype: str, affine: NDArray[np.float64]
) -> None:
    check(volume(speckle(shape, dtype), affine), ".nii", by_nibabel)


@settings(deadline=None, max_examples=200)
@given(shapes, st.sampled_from((*PLAIN_TYPES, "int64", "uint64")), affines)
def test_a_metaimage_comes_back_as_it_was(
    shape: tuple[int, ...], dtype: str, affine: NDArray[np.float64]
) -> None:
    check(volume(speckle(shape, dtype), affine), ".mha")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_all_48_orders_of_axes_come_back(suffix: str) -> None:
    for order, flips in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = affine_of((1, 0, 0, 0), (2.5, 0.8, 0.7), (10, -20, 30), order, flips)
        check(volume(speckle((3, 4, 5), "int16"), affine), suffix)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
def test_the_far_corner_of_a_long_scan_is_where_it_was(tmp_path: Path, suffix: str) -> None:
    grid = Grid(
        (700, 512, 512),
        affine_of((0.01, 0.02, 0.1, 0.99), (1.25, 0.976562, 0.976562), (-249.5, -431.2, 1170.3)),
    )
    image = image_of(np.zeros((700, 1, 1), "uint8"), grid=Grid((700, 1, 1), grid.affine))
    for reader in (by_ourselves, by_itk):
        affine = reader(write_image(image, tmp_path / f"{reader.__name__}{suffix}"))[1].affine
        assert worst_mm(Grid(grid.shape, affine), grid) <= TOLERANCE_MM[suffix]


def test_the_process_that_opens_foreign_files_reads_them_too(tmp_path: Path) -> None:
    image = volume(speckle((3, 4, 5), "int16"))
    for suffix, tolerance in TOLERANCE_MM.items():
        read = open_image(write_image(image, tmp_path / f"a{suffix}"))
        assert np.array_equal(np.asarray(read.levels[0]), np.asarray(image.levels[0]))
        assert worst_mm(read.grid, image.grid) <= tolerance
        assert read.warnings == ()


def test_monai_reads_the_same_nifti(tmp_path: Path) -> None:
    from monai.data.image_reader import NibabelReader

    image = volume(speckle((3, 4, 5), "int16"))
    reader = NibabelReader()
    pixels, meta = reader.get_data(reader.read(write_image(image, tmp_path / "a.nii.gz")))
    assert np.array_equal(pixels.T, np.asarray(image.levels[0]))
    assert np.abs(LPS_TO_RAS @ meta["affine"] - image.grid.affine[:, [2, 1, 0, 3]]).max() < 1e-5


def test_a_nifti_states_both_forms_where_both_can_hold_the_geometry(tmp_path: Path) -> None:
    path = write_image(volume(speckle((3, 4, 5), "int16")), tmp_path / "a.nii")
    header = nifti_header(path)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert np.abs(header.get_sform() - header.get_qform()).max() < 1e-4
    assert struct.unpack("<2f", path.read_bytes()[112:120]) == (1, 0)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_sheared_volume_has_no_qform_and_keeps_its_shear(tmp_path: Path) -> None:
    affine = slanted()
    affine[:3, 0] += 0.3 * affine[:3, 1]
    image = volume(speckle((9, 8, 7), "int16"), affine)
    path = write_image(image, tmp_path / "a.nii")
    header = nifti_header(path)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    assert worst_mm(open_here(path).grid, image.grid) <= 5e-4


def test_a_qform_that_single_precision_would_bend_is_left_out(tmp_path: Path) -> None:
    grid = Grid((400, 512, 512), affine_of((1, 1e-4, 2e-4, 3e-4), (1.0, 0.7, 0.7), (0, 0, 0)))
    image = image_of(np.zeros((400, 512, 512), "uint8"), grid=grid)
    header = nifti_header(write_image(image, tmp_path / "a.nii.gz"))
    apart = (header.get_sform() - header.get_qform()) @ (511, 511, 399, 1)
    assert np.linalg.norm(apart) > 5e-4, "the control: this is what it would have been"
    assert int(header["qform_code"]) == 0


@pytest.mark.parametrize(("length", "origin"), [(32768, 0.0), (3, 90_000.0)])
def test_what_nifti_1_cannot_hold_is_written_as_nifti_2(tmp_path: Path, length: int, origin: float) -> None:
    affine = affine_of((0.9, 0.1, -0.2, 0.3), (0.1, 0.8, 0.7), (origin + 0.123456789, origin, origin))
    image = volume(speckle((2, 2, length), "uint8"), affine)
    path = write_image(image, tmp_path / "a.nii")
    assert isinstance(nibabel.load(path), nibabel.Nifti2Image)
    assert worst_mm(open_here(path).grid, image.grid) <= 5e-4
    assert np.array_equal(np.asarray(open_here(path).levels[0]), np.asarray(image.levels[0]))


@pytest.mark.parametrize("suffix", [".nii", ".mha"])
@pytest.mark.parametrize(("spacing", "unit"), [((0.07, 0.08), "mm"), ((70.0, 80.0), "um")])
def test_a_planar_image_becomes_one_slice(
    tmp_path: Path, suffix: str, spacing: tuple[float, float], unit: Unit
) -> None:
    image = planar(speckle((4, 5), "uint16"), spacing, unit)
    pixels, grid = by_itk(write_image(image, tmp_path / f"a{suffix}"))
    assert np.array_equal(pixels, np.asarray(image.levels[0])[None])
    assert grid.spacing == pytest.approx((1, 0.07, 0.08), rel=1e-6)
    assert np.abs(grid.to_world((0, 3, 4)) - (0.32, 0.21, 0)).max() < 5e-4


def test_an_unknown_pixel_size_stays_unknown(tmp_path: Path) -> None:
    image = planar(speckle((4, 5), "uint16"), (1, 1), "px")
    header = nifti_header(write_image(image, tmp_path / "a.nii"))
    assert header.get_xyzt_units()[0] == "unknown"
    assert (int(header["sform_code"]), int(header["qform_code"])) == (0, 0)
    with pytest.raises(InputRefusedError) as caught:
        write_image(image, tmp_path / "a.mha")
    assert caught.value.code == "unknown-spacing"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha"])
@pytest.mark.parametrize(
    "image",
    [
        planar(np.zeros((4, 5, 3), "uint8"), is_rgb=True),
        planar(np.zeros((4, 5, 2), "uint8")),
        planar(np.zeros((4, 5), "float16"), unit="mm"),
        planar(np.zeros((4, 5), "uint8"), (0.25, 0.25)),
    ],
    ids=["colour", "channels", "float16", "below a micrometre"],
)
def test_what_would_not_open_again_is_not_written(tmp_path: Path, suffix: str, image: Image) -> None:
    with pytest.raises(InputRefusedError) as caught:
        write_image(image, tmp_path / f"a{suffix}")
    assert caught.value.code == "unsupported-output"
    assert ".zarr" in caught.value.hint.lower() or "OME-Zarr" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_headers_hold_what_they_must_and_the_lineage(tmp_path: Path) -> None:
    image = volume(
        speckle((2, 3, 4), "int16"),
        np.eye(4)[:, [2, 1, 0, 3]],
        lineage=("resampled (×2)\nalong z", "x" * 300),
    )
    written = {
        s: write_image(image, tmp_path / f"SMITH{s}").read_bytes() for s in (".nii", ".nii.gz", ".mha")
    }
    head = written[".mha"][: -2 * 24].decode("ascii").splitlines()
    assert head == [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        "TransformMatrix = 1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0",
        "Offset = 0.0 0.0 0.0",
        "CenterOfRotation = 0 0 0",
        "ElementSpacing = 1.0 1.0 1.0",
        "DimSize = 4 3 2",
        "Comment = " + ("resampled (?2)along z; " + "x" * 300)[:200],
        "ElementType = MET_SHORT",
        "ElementDataFile = LOCAL",
    ]
    assert written[".nii"][148:228] == ("resampled (?2)along z; " + "x" * 300)[:79].encode() + b"\0"
    assert gzip.decompress(written[".nii.gz"]) == written[".nii"]
    assert b"SMITH" not in b"".join(written.values())
    assert written[".nii.gz"][4:8] == bytes(4), "no time"
