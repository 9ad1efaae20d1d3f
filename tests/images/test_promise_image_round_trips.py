"""Two hundred random images of each format come back where they were, read by ourselves and by others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
import zarr

from napari_medlab.geometry import Grid
from napari_medlab.images import Image, open_here
from napari_medlab.images.writers import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Survived
    from numpy.typing import NDArray

    Read = Callable[[Path], tuple[NDArray[Any], Grid]]

COUNT = 200
NIFTI_MM, MHA_MM, PIXEL_SIZE = 5e-4, 1e-9, 1e-6
FLIPPED = np.diag([-1.0, -1.0, 1.0, 1.0])
TYPES = ("uint8", "int16", "uint16", "int32", "float32")


def by_ourselves(path: Path) -> tuple[NDArray[Any], Grid]:
    read = open_here(path)
    return np.asarray(read.levels[0]), read.grid


def by_itk(path: Path) -> tuple[NDArray[Any], Grid]:
    read = SimpleITK.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(read.GetDirection(), (3, 3)) * read.GetSpacing())[:, ::-1]
    affine[:3, 3] = read.GetOrigin()
    return _placed(SimpleITK.GetArrayFromImage(read), affine)


def by_nibabel(path: Path) -> tuple[NDArray[Any], Grid]:
    read: Any = nibabel.load(path)
    return _placed(np.asarray(read.dataobj).T, FLIPPED @ read.affine[:, [2, 1, 0, 3]])


def by_monai(path: Path) -> tuple[NDArray[Any], Grid]:
    from monai.data.image_reader import NibabelReader

    reader = NibabelReader()
    pixels, meta = reader.get_data(reader.read(str(path)))
    return _placed(np.asarray(pixels).T, FLIPPED @ np.asarray(meta["affine"], float)[:, [2, 1, 0, 3]])


def without_the_flip(path: Path) -> tuple[NDArray[Any], Grid]:
    """Read a NIfTI as if its x and y grew as DICOM's do: the control."""
    read: Any = nibabel.load(path)
    return _placed(np.asarray(read.dataobj).T, read.affine[:, [2, 1, 0, 3]])


def in_single_precision(path: Path) -> tuple[NDArray[Any], Grid]:
    """Read a MetaImage with the precision of a graphics card: the control."""
    pixels, grid = by_itk(path)
    return _placed(pixels, grid.affine.astype(np.float32).astype(float))


def _placed(pixels: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], Grid]:
    return pixels, Grid(pixels.shape, affine)


def random_volume(rng: np.random.Generator) -> Image:
    """Return a volume of any orientation, handedness, spacing and place within a metre."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform([0.5, 0.3, 0.3], [5.0, 1.2, 1.2])
    affine[:3, 3] = rng.uniform(-1000, 1000, 3)
    shape = (int(rng.integers(1, 400)), *rng.integers(1, 12, 2).tolist())
    pixels = rng.integers(0, 250, shape).astype(str(rng.choice(TYPES)))
    return Image.of_arrays([pixels], Grid(shape, affine), modality="CT")


def worst_mm(one: Grid, other: Grid) -> float:
    """Return how far two grids put a corner of the same voxels from each other."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in one.shape])).reshape(len(one.shape), -1).T
    return float(np.linalg.norm(one.to_world(corners) - other.to_world(corners), axis=1).max())


def worst_of(read: Read, path: Path, image: Image) -> float:
    """Return how far a reader puts a corner from where it is; infinity where a voxel has changed."""
    pixels, grid = read(path)
    return worst_mm(grid, image.grid) if np.array_equal(pixels, np.asarray(image.levels[0])) else np.inf


def check(folder: Path, suffix: str, count: int, readers: dict[str, Read]) -> dict[str, NDArray[np.float64]]:
    """Return for each reader how far it puts a corner of each of so many random volumes."""
    rng = np.random.default_rng(11)
    worst: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(count):
        image = random_volume(rng)
        path = write_image(image, folder / f"{number}{suffix}")
        for name, read in readers.items():
            worst[name].append(worst_of(read, path, image))
        path.unlink()
    return {name: np.array(found) for name, found in worst.items()}


FORMATS: dict[str, tuple[float, dict[str, Read], Read]] = {
    ".nii.gz": (NIFTI_MM, {"ourselves": by_ourselves, "nibabel": by_nibabel, "SimpleITK": by_itk, "MONAI": by_monai},
                without_the_flip),
    ".mha": (MHA_MM, {"ourselves": by_ourselves, "SimpleITK": by_itk}, in_single_precision),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize("suffix", FORMATS)
def test_two_hundred_volumes_come_back(quick_folder: Path, suffix: str, survived: Survived) -> None:
    tolerance, readers, control = FORMATS[suffix]
    worst = check(quick_folder, suffix, COUNT, {**readers, "the control": control})
    missed = int((worst.pop("the control") > tolerance).sum())
    kept = int((np.max(list(worst.values()), axis=0) <= tolerance).sum())
    survived(
        "geometry", "round trips", tried=COUNT, survived=kept,
        control=f"{suffix} {' '.join(control.__name__.split('_'))}: {missed} of {COUNT} over {tolerance:g} mm",
        detail=f"{suffix}: at most {max(found.max() for found in worst.values()):.1e} mm at the farthest corner",
    )  # fmt: skip
    others = {name: found for name, found in worst.items() if name != "ourselves"}
    survived(
        "geometry", "other readers agree", tried=COUNT * len(others),
        survived=sum(int((found <= tolerance).sum()) for found in others.values()),
        control=f"{suffix} {' '.join(control.__name__.split('_'))}: {missed} of {COUNT} disagree",
        detail=f"{suffix} by {', '.join(others)}",
    )  # fmt: skip
    assert {name: found.max() for name, found in worst.items() if found.max() > tolerance} == {}
    assert missed > COUNT * 0.9


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_few_volumes_come_back(tmp_path: Path, suffix: str) -> None:
    tolerance, readers, control = FORMATS[suffix]
    worst = check(tmp_path, suffix, 5, {**readers, "the control": control})
    assert worst.pop("the control").max() > tolerance
    assert max(found.max() for found in worst.values()) <= tolerance


def stated_by_tifffile(path: Path) -> list[float]:
    """Return micrometres a pixel (y, x) as OME's description has them."""
    with tifffile.TiffFile(path) as tiff:
        told: dict[str, Any] = tifffile.xml2dict(str(tiff.ome_metadata))["OME"]["Image"]["Pixels"]
    return [float(told[f"PhysicalSize{axis}"]) for axis in "YX"]


def stated_by_zarr(path: Path) -> list[float]:
    """Return micrometres a pixel (y, x) as zarr's attributes have them."""
    told: Any = dict(zarr.open_group(path, mode="r").attrs)["ome"]
    found: list[float] = told["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    return found[-2:]


SLIDES: dict[str, Callable[[Path], list[float]]] = {".ome.tif": stated_by_tifffile, ".zarr": stated_by_zarr}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize("suffix", SLIDES)
def test_two_hundred_pixel_sizes_come_back(quick_folder: Path, suffix: str, survived: Survived) -> None:
    rng = np.random.default_rng(12)
    off, rounded = [], 0
    for number in range(COUNT):
        size = 10 ** rng.uniform(-2, 1.5, 2)
        pixels = rng.integers(0, 255, (*rng.integers(1, 40, 2).tolist(), 3), dtype=np.uint8)
        grid = Grid.axis_aligned(pixels.shape[:2], size, unit="um")
        path = write_image(Image.of_arrays([pixels], grid, is_rgb=True), quick_folder / f"{number}{suffix}")
        read = open_here(path)
        assert np.array_equal(np.asarray(read.levels[0]), pixels)
        off.append(
            max(
                np.abs(np.asarray(found) / size - 1).max()
                for found in (read.grid.spacing, SLIDES[suffix](path))
            )
        )
        # as a resolution in whole pixels a centimetre, with which many a TIFF makes do
        rounded += bool(np.abs(1e4 / np.round(1e4 / size) / size - 1).max() > PIXEL_SIZE)
    kept = sum(each <= PIXEL_SIZE for each in off)
    survived(
        "geometry", "round trips", tried=COUNT, survived=kept,
        control=f"µm/px as whole pixels a centimetre: over 90 % are off by more than {PIXEL_SIZE:g}",
        detail=f"µm/px in {suffix}: off by at most {max(off):.1e}",
    )  # fmt: skip
    assert kept == COUNT, max(off)
    assert rounded > COUNT * 0.9
