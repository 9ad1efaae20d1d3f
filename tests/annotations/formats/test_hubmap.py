from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import CROSSING, SHAPE, WITH_HOLE, images, masks, one_image, ring_lists
from numpy.typing import NDArray
from scipy import ndimage

from napari_medlab.annotations.formats import geojson, hubmap
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hubmap")


def written(folder: Path, given_images: list[ImageRegions]) -> Path:
    path = folder / "train.csv"
    path.unlink(missing_ok=True)
    hubmap.write(path, given_images)
    return path


def told(folder: Path, text: str) -> str:
    path = folder / "faulty.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputRefusedError) as caught:
        hubmap.read(path, {"a": (3, 4)})
    assert caught.value.code == "hubmap"
    return caught.value.message


def decoded(encoding: str, shape: tuple[int, int]) -> Mask:
    """The decoder that the competition's kernels share."""
    mask = np.zeros(shape[0] * shape[1], dtype=np.bool_)
    pairs = np.asarray(encoding.split(), dtype=int).reshape(-1, 2)
    for start, length in pairs:
        mask[start - 1 : start - 1 + length] = True
    return mask.reshape(shape[1], shape[0]).T


def whole(image: ImageRegions) -> Mask:
    assert image.shape is not None
    shape = (image.shape[0], image.shape[1])
    every = [rings_to_mask(row.rings, shape) for row in outlines_of(image) if not row.is_excluded]
    return np.any(every, axis=0) if every else np.zeros(shape, dtype=np.bool_)


@given(images(ring_lists()))
@settings(max_examples=40, deadline=None)
def test_a_round_trip_has_the_same_masks(folder: Path, given_images: list[ImageRegions]) -> None:
    path = written(folder, given_images)
    back = hubmap.read(path, {image.image: SHAPE for image in given_images})
    assert [image.image for image in back] == [image.image for image in given_images]
    for one, other in zip(back, given_images, strict=True):
        assert np.array_equal(whole(one), whole(other))
        assert len(one) == ndimage.label(whole(other))[1]
    first = path.read_bytes()
    assert written(folder, back).read_bytes() == first


@given(masks())
@settings(max_examples=40, deadline=None)
def test_the_run_lengths_are_those_of_the_competition(folder: Path, mask: Mask) -> None:
    path = written(
        folder, [image_regions("a", [Outline(mask_to_rings(mask), "glomerulus", "1")], shape=SHAPE)]
    )
    header, line = path.read_text().splitlines()
    assert header == "id,encoding"
    assert np.array_equal(decoded(line.partition(",")[2], SHAPE), mask)


def test_outlines_of_parts_come_back_as_they_were(folder: Path) -> None:
    parts = [
        mask_to_rings(rings_to_mask(rings, SHAPE)) for rings in (WITH_HOLE[:2], [CROSSING[1] + (10, 17)])
    ]
    image = one_image(*parts, label=hubmap.LABEL)
    (back,) = hubmap.read(written(folder, [image]), {"a.png": SHAPE})
    assert back.regions.vertices.tolist() == image.regions.vertices.tolist()
    assert back.regions.region_rings.tolist() == image.regions.region_rings.tolist()


def test_masks_of_kidneys_come_back(test_data: Path, folder: Path) -> None:
    from skimage.io import imread

    paths = sorted((test_data / "glomeruli" / "masks").glob("*.png"))
    assert len(paths) == 12
    kidneys = {path.stem: np.asarray(imread(path)).reshape(256, 256, -1)[..., 0] > 0 for path in paths}
    given_images = [
        image_regions(
            name, [Outline(mask_to_rings(mask), "glomerulus", "1")] if mask.any() else [], shape=mask.shape
        )
        for name, mask in kidneys.items()
    ]
    back = hubmap.read(written(folder, given_images), {path.name: (256, 256) for path in paths})
    for image in back:
        assert np.array_equal(whole(image), kidneys[image.image])
        assert len(image) == ndimage.label(kidneys[image.image])[1]


def test_empty_cells_quotes_and_other_columns(folder: Path) -> None:
    path = folder / "other.csv"
    path.write_text('id,organ,rle\n"a","kidney","2 3 5 1"\nb,lung,\n', encoding="utf-8")
    first, second = hubmap.read(path, {"a.tiff": (3, 4), "b": (2, 2)}, label="unit")
    assert np.argwhere(whole(first)).tolist() == [[0, 1], [1, 0], [1, 1], [2, 0]]
    assert (len(first), len(second), first.regions.label_names) == (1, 0, ("unit",))


def test_polygons_are_a_list_of_features(folder: Path) -> None:
    path = folder / "2f6ecfcdf.json"
    image = image_regions("2f6ecfcdf", [Outline(WITH_HOLE, "glomerulus", "1")])
    hubmap.write_polygons(path, image)
    assert isinstance(json.loads(path.read_text()), list)
    assert geojson.sniff(path)
    (back,) = hubmap.read(path, {})
    assert back.image == "2f6ecfcdf"
    assert back.regions.vertices.tolist() == image.regions.vertices.tolist()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: the columns are ''"),
        ("id,mask\na,1 2\n", "expected id and encoding"),
        ("id,encoding\na,1 2,3\n", "line 2: 3 cells"),
        ("id,encoding\na,1\n", "expected pairs"),
        ("id,encoding\na,1 -2\n", "expected pairs"),
        ("id,encoding\na,1 nan\n", "expected pairs"),
        ("id,encoding\na,1 99999999999999999999\n", "expected pairs"),
        ("id,encoding\na,0 2\n", "begins at pixel 0"),
        ("id,encoding\na,12 2\n", "leave the image of 3 × 4"),
        ("id,encoding\na,5 3 2 1\n", "not in order"),
        ("id,encoding\na,1 3 2 1\n", "overlap"),
        ("id,encoding\nb,1 2\n", "the size of the image 'b' is not known"),
        ("id,encoding\na,1 2\na,1 2\n", "line 3: the id 'a' is there twice"),
        ("id,encoding\n..,1 2\n", "expected the name of a file"),
    ],
)
def test_faulty_tables_are_refused(folder: Path, text: str, fault: str) -> None:
    assert fault in told(folder, text)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    image = one_image(WITH_HOLE)
    for wrong, fault in (
        ([image_regions("a", [])], "height and width"),
        ([image, image], "there twice"),
        ([image_regions("a,b", [], shape=SHAPE)], "a comma"),
    ):
        with pytest.raises(InputRefusedError, match=fault):
            hubmap.write(tmp_path / "a.csv", wrong)
    assert not list(tmp_path.iterdir())


def test_files_are_told_apart(folder: Path) -> None:
    path = folder / "some.csv"
    for text, expected in (
        ("id,encoding\n", True),
        ("id,predicted\r\na,", True),
        ("seriesuid,coordX\n", False),
        ("", False),
    ):
        path.write_text(text, encoding="utf-8")
        assert hubmap.sniff(path) is expected
