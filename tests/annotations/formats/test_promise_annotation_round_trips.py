"""Two hundred random files of each format of annotations come back pixel by pixel, and other libraries see the same."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from image_region_samples import SHAPE
from pycocotools.coco import COCO
from rasterio.features import rasterize
from skimage.draw import polygon2mask
from skimage.measure import find_contours
from volume_samples import NAMES

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.annotations.formats import coco, dicom_rtstruct, dicom_seg, geojson, hubmap, luna16, yolo
from napari_medlab.annotations.formats.label_map import instance_map, regions_of_labels
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions, outlines_of
from napari_medlab.annotations.objects import Candidate, Finding
from napari_medlab.geometry import Grid, mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from conftest import Survived
    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

    Mask = NDArray[np.bool_]
    Trip = Callable[[Path, list[Mask]], tuple[list[Mask], dict[str, list[Mask]]]]

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)  # pycocotools and numpy 2
COUNT = 200
LUNA_MM = 1e-3
HALF_PIXEL = 0.5


def random_masks(rng: np.random.Generator) -> list[Mask]:
    """Return up to four objects that share no pixel: noise with holes, parts, and pixels that touch at corners."""
    owner = rng.integers(0, 5, (4, 4)).repeat(6, axis=0)[: SHAPE[0]].repeat(8, axis=1)[:, : SHAPE[1]]
    noise = rng.random(SHAPE) < rng.choice([0.05, 0.4, 0.7, 0.95])
    masks = [(owner == number) & noise for number in range(1, 5)]
    return [mask for mask in masks if mask.any()]


def rows_of(masks: Sequence[Mask]) -> list[ImageRegions]:
    rows = [
        Outline(mask_to_rings(mask), "glomerulus", f"{number:032x}") for number, mask in enumerate(masks, 1)
    ]
    return [image_regions("a.png", rows, shape=SHAPE)]


def masks_in(images: Sequence[ImageRegions]) -> list[Mask]:
    return [rings_to_mask(row.rings, SHAPE) for image in images for row in outlines_of(image)]


def by_coco(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    coco.write(path, rows_of(masks))
    return masks_in(coco.read(path)), {"pycocotools": _pycocotools(path)}


def by_coco_rle(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    coco.write(path, rows_of(masks), as_rle=True)
    return masks_in(coco.read(path)), {"pycocotools": _pycocotools(path)}


def _pycocotools(path: Path) -> list[Mask]:
    with contextlib.redirect_stdout(None):
        read = COCO(str(path))
    return [read.annToMask(each).astype(bool) for each in read.dataset["annotations"]]


def by_geojson(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    geojson.write(path, rows_of(masks))
    shapes = [feature["geometry"] for feature in _features(json.loads(path.read_text()))]
    theirs = [rasterize([shape], out_shape=SHAPE, dtype=np.uint8).astype(bool) for shape in shapes]
    return masks_in(geojson.read(path)), {"rasterio": theirs}


def _features(document: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a collection, or a list of features
    found: list[dict[str, Any]] = document["features"] if isinstance(document, dict) else document
    return found


def by_rings(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    """Go by way of outlines alone; skimage fills each ring, and where an odd number covers a pixel it is inside."""
    del path
    outlines = [mask_to_rings(mask) for mask in masks]
    theirs = [
        np.logical_xor.reduce([polygon2mask(SHAPE, ring) for ring in rings]).astype(bool)
        for rings in outlines
    ]
    return [rings_to_mask(rings, SHAPE) for rings in outlines], {"skimage": theirs}


def by_yolo(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    yolo.write(path, rows_of(masks))
    return masks_in(yolo.read(path, {"a.png": SHAPE})), {}


def by_hubmap(path: Path, masks: list[Mask]) -> tuple[list[Mask], dict[str, list[Mask]]]:
    """Go by way of run lengths, which know no objects: one mask of the whole image."""
    hubmap.write(path, rows_of(masks))
    pairs = np.array(path.read_text().splitlines()[1].partition(",")[2].strip('"').split(), int).reshape(
        -1, 2
    )
    flat = np.zeros(SHAPE[0] * SHAPE[1], bool)
    for start, length in pairs:
        flat[start - 1 : start - 1 + length] = True
    whole = [np.any(masks, axis=0)] * len(masks)
    back = np.any(masks_in(hubmap.read(path, {"a.png": SHAPE})), axis=0)
    theirs = flat.reshape(SHAPE[::-1]).T
    return _like(masks, whole, back), {"the competition": _like(masks, whole, theirs)}


def _like(masks: list[Mask], whole: list[Mask], found: Mask) -> list[Mask]:
    return [mask if np.array_equal(found, each) else ~mask for mask, each in zip(masks, whole, strict=True)]


TRIPS: dict[str, tuple[str, Trip]] = {
    "COCO polygons": (".json", by_coco), "COCO run lengths": (".json", by_coco_rle), "GeoJSON": (".geojson", by_geojson),
    "masks": ("", by_rings), "YOLO": ("", by_yolo), "HuBMAP": (".csv", by_hubmap),
}  # fmt: skip


def without_half_pixels(mask: Mask) -> Mask:
    """Return a mask whose outline was taken for one along centres, and for one along corners when it came back."""
    return rings_to_mask([ring + HALF_PIXEL for ring in mask_to_rings(mask)], SHAPE)


def along_contours(mask: Mask) -> Mask:
    """Return a mask whose outline was skimage's at one half, without the half pixel that is missing all round."""
    rings = find_contours(np.pad(mask.astype(float), 1), 0.5)
    return np.asarray(
        np.logical_xor.reduce([polygon2mask(SHAPE, np.floor(ring) - 1) for ring in rings]), bool
    )


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize("name", TRIPS)
def test_two_hundred_images_come_back_to_the_pixel(quick_folder: Path, name: str, survived: Survived) -> None:
    kept, agreed, missed = trips(quick_folder, name, COUNT)
    survived(
        "geometry", "round trips", tried=COUNT, survived=kept,
        control="half pixels left out, or taken from contours as they are: over 90 % of the masks differ",
        detail=f"{name}: 0 px",
    )  # fmt: skip
    if agreed:
        survived(
            "geometry", "other readers agree", tried=COUNT * len(agreed), survived=sum(agreed.values()),
            control="half pixels left out: over 90 % of the masks differ",
            detail=f"{name} by {', '.join(agreed)}",
        )  # fmt: skip
    assert kept == COUNT
    assert set(agreed.values()) <= {COUNT}
    assert min(missed.values()) > COUNT * 0.9


@pytest.mark.parametrize("name", TRIPS)
def test_a_few_images_come_back_to_the_pixel(tmp_path: Path, name: str) -> None:
    kept, agreed, missed = trips(tmp_path, name, 8)
    assert (kept, set(agreed.values()) | {8}) == (8, {8})
    assert min(missed.values()) >= 6


def trips(folder: Path, name: str, count: int) -> tuple[int, dict[str, int], dict[str, int]]:
    """Return how many random images came back, for how many others agree, and how many the controls spoil."""
    suffix, trip = TRIPS[name]
    rng = np.random.default_rng(13)
    kept, agreed, missed = 0, dict[str, int](), {"half pixels": 0, "contours": 0}
    for number in range(count):
        masks = random_masks(rng)
        back, others = trip(folder / f"{number}{suffix}", masks)
        kept += _same(back, masks)
        for reader, theirs in others.items():
            agreed[reader] = agreed.get(reader, 0) + _same(theirs, masks)
        missed["half pixels"] += not _same([without_half_pixels(mask) for mask in masks], masks)
        missed["contours"] += not _same([along_contours(mask) for mask in masks], masks)
    return kept, agreed, missed


def _same(found: list[Mask], masks: list[Mask]) -> bool:
    return len(found) == len(masks) and all(map(np.array_equal, found, masks))


def random_grid(rng: np.random.Generator) -> Grid:
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform([0.5, 0.3, 0.3], [5.0, 1.2, 1.2])
    affine[:3, 3] = rng.uniform(-1000, 1000, 3)
    return Grid(tuple(rng.integers([1, 3, 3], 9).tolist()), affine, "mm")


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize("name", ["dicom_seg", "dicom_rtstruct"])
def test_two_hundred_volumes_come_back_to_the_voxel(
    quick_folder: Path, name: str, survived: Survived
) -> None:
    form = {"dicom_seg": dicom_seg, "dicom_rtstruct": dicom_rtstruct}[name]
    rng = np.random.default_rng(14)
    kept, moved = 0, 0
    for number in range(COUNT):
        grid = random_grid(rng)
        filled = rng.random(grid.shape) < rng.choice([0.02, 0.3, 0.6, 0.95])
        labels = (filled * rng.integers(1, 4, grid.shape)).astype(np.uint8)
        regions = regions_of_labels("4f2a" * 8, labels, NAMES, split=False)
        path = quick_folder / f"{number}.dcm"
        form.write(path, regions, grid)
        [found] = form.read(path, grid)
        wanted = instance_map(regions, grid.shape).labels
        kept += bool(np.array_equal(instance_map(found, grid.shape).labels, wanted))
        # the control: an image that lies half a slice elsewhere
        shifted = grid.affine.copy()
        shifted[:3, 3] += 0.5 * shifted[:3, 0]
        try:
            form.read(path, Grid(grid.shape, shifted, "mm"))
        except ValueError:
            moved += 1
    survived(
        "geometry", "round trips", tried=COUNT, survived=kept,
        control="on a lattice half a slice off, over half of them are refused",
        detail=f"{'DICOM Segmentation' if name == 'dicom_seg' else 'DICOM RT Structure Set'}: 0 voxels",
    )  # fmt: skip
    assert kept == COUNT
    assert moved > COUNT * 0.5


@pytest.mark.slow
@pytest.mark.promise
def test_two_hundred_tables_of_luna16_come_back(quick_folder: Path, survived: Survived) -> None:
    rng = np.random.default_rng(15)
    worst, rounded = [], 0
    for number in range(COUNT):
        centres, sizes = rng.uniform(-1000, 1000, (5, 3)), rng.uniform(3, 40, 5)
        findings = FindingTable.from_objects(
            [
                Finding(f"1.2.{n}", tuple(c), d)
                for n, (c, d) in enumerate(zip(centres.tolist(), sizes.tolist(), strict=True))
            ]
        )
        candidates = CandidateTable.from_objects(
            [Candidate(f"1.2.{n}", tuple(c), float(rng.random())) for n, c in enumerate(centres.tolist())]
        )
        luna16.write_findings(quick_folder / f"f{number}.csv", findings)
        luna16.write_candidates(quick_folder / f"c{number}.csv", candidates)
        back = luna16.read_findings(quick_folder / f"f{number}.csv")
        ours = luna16.read_candidates(quick_folder / f"c{number}.csv")
        assert np.array_equal(ours.scores, candidates.scores)
        worst.append(max(np.abs(back.centres - centres).max(), np.abs(back.diameters - sizes).max(),
                         np.abs(ours.centres - centres).max()))  # fmt: skip
        rounded += bool(np.abs(centres.round(2) - centres).max() > LUNA_MM)
    kept = sum(each <= LUNA_MM for each in worst)
    survived(
        "geometry", "round trips", tried=COUNT, survived=kept,
        control=f"with two decimals, {rounded} of {COUNT} are off by more than {LUNA_MM:g} mm",
        detail=f"LUNA16 tables: off by at most {max(worst):g} mm",
    )  # fmt: skip
    assert kept == COUNT
    assert rounded > COUNT * 0.9
