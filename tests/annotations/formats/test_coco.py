from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import (
    CROSSING,
    ISLAND_IN_HOLE,
    ONE_PIXEL,
    SHAPE,
    TWO_PARTS,
    WITH_HOLE,
    assert_same,
    images,
    one_image,
    ring_lists,
)
from pycocotools.coco import COCO

from napari_medlab.annotations.formats import coco
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

# pycocotools was built for an older numpy; it reads right all the same
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

HEAD: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "a.png", "height": 10, "width": 12}, {"id": 9, "file_name": "b.png"}],
    "categories": [{"id": 3, "name": "mass", "supercategory": "lesion"}, {"id": 5, "name": "cyst"}],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coco")


def read_value(folder: Path, value: object) -> list[ImageRegions]:
    path = folder / "instances.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    return coco.read(path)


def read_annotation(folder: Path, **annotation: object) -> Outline:
    entry = {"id": 1, "image_id": 7, "category_id": 3} | annotation
    return next(outlines_of(read_value(folder, HEAD | {"annotations": [entry]})[0]))


def told(folder: Path, **annotation: object) -> str:
    with pytest.raises(InputRefusedError) as caught:
        read_annotation(folder, **annotation)
    assert caught.value.code == "coco"
    return caught.value.message


def written(folder: Path, regions: list[ImageRegions], *, as_rle: bool = False) -> Path:
    path = folder / "written.json"
    path.unlink(missing_ok=True)
    coco.write(path, regions, as_rle=as_rle)
    return path


def by_pycocotools(path: Path) -> COCO:
    with contextlib.redirect_stdout(None):
        return COCO(str(path))


@given(images())
@settings(max_examples=60, deadline=None)
def test_a_round_trip_is_exact(folder: Path, given_images: list[ImageRegions]) -> None:
    path = written(folder, given_images)
    back = coco.read(path)
    assert_same(back, given_images)
    first = path.read_bytes()
    assert written(folder, back).read_bytes() == first


@given(images(ring_lists()))
@settings(max_examples=30, deadline=None)
def test_run_lengths_have_one_mask_everywhere(folder: Path, given_images: list[ImageRegions]) -> None:
    path = written(folder, given_images, as_rle=True)
    theirs = by_pycocotools(path)
    rows = [outline for image in given_images for outline in outlines_of(image)]
    ours = [outline for image in coco.read(path) for outline in outlines_of(image)]
    for outline, back, annotation in zip(rows, ours, theirs.dataset["annotations"], strict=True):
        mask = rings_to_mask(outline.rings, SHAPE)
        assert np.array_equal(theirs.annToMask(annotation), mask)
        assert np.array_equal(rings_to_mask(back.rings, SHAPE), mask)
        assert annotation["area"] == mask.sum()


def test_ids_categories_and_sizes_come_back(folder: Path) -> None:
    box = {"id": 4, "image_id": 9, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 1}
    back = json.loads(written(folder, read_value(folder, HEAD | {"annotations": [box]})).read_text())
    assert back["images"] == [
        {"id": 7, "file_name": "a.png", "width": 12, "height": 10},
        {"id": 9, "file_name": "b.png"},
    ]
    assert back["categories"] == HEAD["categories"]
    (annotation,) = back["annotations"]
    assert annotation["segmentation"] == [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]
    assert (annotation["bbox"], annotation["area"]) == ([1.0, 2.0, 3.0, 4.0], 12.0)
    assert {key: annotation[key] for key in ("id", "image_id", "category_id", "iscrowd")} == {
        "id": 4, "image_id": 9, "category_id": 5, "iscrowd": 1,
    }  # fmt: skip


def test_a_box_covers_its_pixels(folder: Path) -> None:
    (ring,) = read_annotation(folder, bbox=[1, 2, 3, 4]).rings
    assert np.array_equal(ring, box_ring(0.5, 1.5, 3.5, 5.5))
    assert np.argwhere(rings_to_mask([ring], (10, 12))).min(axis=0).tolist() == [2, 1]
    assert rings_to_mask([ring], (10, 12)).sum() == 12


def test_crowds_and_ignored_are_excluded(folder: Path) -> None:
    counts = [25, 3, 7, 3, 82]
    crowd = read_annotation(
        folder, segmentation={"size": [10, 12], "counts": counts}, iscrowd=1, bbox=[2, 5, 2, 3]
    )
    assert crowd.is_excluded
    assert (
        rings_to_mask(crowd.rings, (10, 12)).ravel(order="F").tolist()
        == np.repeat([0, 1, 0, 1, 0], counts).tolist()
    )
    assert read_annotation(folder, bbox=[1, 1, 1, 1], ignore=True).is_excluded
    assert not read_annotation(folder, bbox=[1, 1, 1, 1], iscrowd=0).is_excluded


def test_polygons_that_overlap_are_a_union(folder: Path) -> None:
    flat = [(ring[:, ::-1] + 0.5).ravel().tolist() for ring in CROSSING]
    rings = read_annotation(folder, segmentation=flat).rings
    union = rings_to_mask(CROSSING[:1], SHAPE) | rings_to_mask(CROSSING[1:], SHAPE)
    assert np.array_equal(rings_to_mask(rings, SHAPE), union)
    flat = [(ring[:, ::-1] + 0.5).ravel().tolist() for ring in TWO_PARTS]
    assert [ring.tolist() for ring in read_annotation(folder, segmentation=flat).rings] == [
        r.tolist() for r in TWO_PARTS
    ]


def test_holes_are_run_lengths_with_their_vertices(folder: Path) -> None:
    path = written(folder, [one_image(ISLAND_IN_HOLE, mask_to_rings(rings_to_mask(WITH_HOLE, SHAPE)))])
    exact, pixels = json.loads(path.read_text())["annotations"]
    assert exact["segmentation"]["size"] == list(SHAPE)
    assert len(exact["rings"]) == 3
    assert "rings" not in pixels


def test_vertices_of_another_mask_are_not_trusted(folder: Path) -> None:
    path = written(folder, [one_image(WITH_HOLE)])
    value = json.loads(path.read_text())
    edited = rings_to_mask(WITH_HOLE[:1], SHAPE)
    lengths = np.diff(
        np.flatnonzero(np.diff(np.pad(edited.ravel(order="F").astype(int), 1, constant_values=(0, 0))))
    )
    first = int(np.flatnonzero(edited.ravel(order="F"))[0])
    counts = [first, *lengths.tolist()]
    value["annotations"][0]["segmentation"]["counts"] = [*counts, edited.size - sum(counts)]
    (outline,) = outlines_of(read_value(folder, value)[0])
    assert np.array_equal(rings_to_mask(outline.rings, SHAPE), edited)


def test_polygons_along_pixel_edges_are_those_of_pycocotools(folder: Path) -> None:
    steps = np.asarray([[1.5, 1.5], [1.5, 9.5], [4.5, 9.5], [4.5, 20.5], [14.5, 20.5], [14.5, 1.5]])
    theirs = by_pycocotools(written(folder, [one_image([box_ring(2.5, 3.5, 11.5, 9.5)], [steps])]))
    for annotation, rings in zip(
        theirs.dataset["annotations"], ([box_ring(2.5, 3.5, 11.5, 9.5)], [steps]), strict=True
    ):
        assert np.array_equal(theirs.annToMask(annotation), rings_to_mask(rings, SHAPE))


def test_other_polygons_differ_from_pycocotools_only_on_the_outline(folder: Path) -> None:
    rng = np.random.default_rng(5)
    shape = (120, 150)
    for _ in range(40):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        radius = rng.uniform(15, 50, 12)
        ring = np.column_stack([60 + radius * np.sin(angles), 70 + radius * np.cos(angles)])
        image = one_image([ring])
        theirs = by_pycocotools(
            written(folder, [type(image)(image.image, image.regions, image.is_excluded, shape)])
        )
        differs = np.argwhere(
            theirs.annToMask(theirs.dataset["annotations"][0]) != rings_to_mask([ring], shape)
        )
        assert all(distance_to(ring, point) <= 0.75 for point in differs)


def distance_to(ring: NDArray[np.float64], point: NDArray[np.int64]) -> float:
    start, along = ring, np.roll(ring, -1, axis=0) - ring
    part = np.clip(((point - start) * along).sum(axis=1) / (along**2).sum(axis=1), 0, 1)
    return float(np.hypot(*(start + part[:, None] * along - point).T).min())


def test_one_pixel_is_one_pixel_everywhere(folder: Path) -> None:
    theirs = by_pycocotools(written(folder, [one_image(ONE_PIXEL)], as_rle=True))
    assert np.argwhere(theirs.annToMask(theirs.dataset["annotations"][0])).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        ({"bbox": [1, 2, 3]}, "annotations[0]: bbox"),
        ({"bbox": [1, 2, -3, 4]}, "expected x, y, width and height"),
        ({}, "bbox is None"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation[0] has 2 points"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, "5 numbers"),
        ({"segmentation": [1, 2, 3, 4, 5, 6]}, "segmentation[0] is 1, expected a list"),
        ({"segmentation": "text"}, "segmentation is 'text'"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e300]]}, "1e+300"),
        ({"segmentation": [[1, 2, 3, 4, 5, 10**400]]}, "too many digits"),
        ({"segmentation": {"size": [10, 13], "counts": [130]}}, "the image has (10, 12)"),
        ({"segmentation": {"size": [10, 12], "counts": [119]}}, "add up to 119"),
        ({"segmentation": {"size": [10, 12], "counts": [-1, 121]}}, "hold -1"),
        ({"segmentation": {"size": [10, 12], "counts": "~"}}, "the character '~'"),
        ({"segmentation": {"size": [10, 12], "counts": [1e200]}}, "1e+200"),
        ({"segmentation": {"size": 3, "counts": [120]}}, "size is 3"),
        ({"bbox": [1, 1, 1, 1], "image_id": 8}, "no such image"),
        ({"bbox": [1, 1, 1, 1], "category_id": "3"}, "category_id is '3'"),
        ({"bbox": [1, 1, 1, 1], "category_id": 4}, "no such category"),
        ({"bbox": [1, 1, 1, 1], "iscrowd": 2}, "iscrowd is 2"),
        ({"bbox": [1, 1, 1, 1], "score": "high"}, "score is 'high'"),
        ({"bbox": [1, 1, 1, 1], "region_id": "a\u0000b"}, "region_id"),
        ({"bbox": [1, 1, 1, 1], "id": -4}, "id is -4"),
    ],
)
def test_faulty_annotations_are_refused(folder: Path, annotation: dict[str, Any], fault: str) -> None:
    assert fault in told(folder, **annotation)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"images": {}}, "images is an object of 0"),
        ({"annotations": None}, "annotations is None"),
        ({"categories": [{"id": 1, "name": "a\u001b[2J"}]}, "categories[0]: name"),
        ({"categories": [{"id": 1, "name": "x" * 300}]}, "256 printable"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "there twice"),
        (
            {"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "x/../../a"}]},
            "images[1]: the image 'a'",
        ),
        ({"images": [{"id": 1, "file_name": ".."}]}, "expected the name of a file"),
        ({"images": [{"id": 1, "file_name": "a", "height": 10**9, "width": 1}]}, "height is 1000000000"),
        ({"images": [7]}, "images[0]: the image is 7"),
    ],
)
def test_faulty_files_are_refused(folder: Path, change: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_value(folder, HEAD | {"annotations": []} | change)
    assert fault in caught.value.message


def test_ten_faults_are_told_at_once(folder: Path) -> None:
    entries = [{"id": n, "image_id": 7, "category_id": 3, "bbox": [0]} for n in range(12)]
    with pytest.raises(InputRefusedError) as caught:
        read_value(folder, HEAD | {"annotations": entries})
    assert caught.value.message.count("\n") == 9
    assert "instances.json annotations[9]: bbox" in caught.value.message


def test_a_list_is_no_file_of_annotations(folder: Path) -> None:
    with pytest.raises(InputRefusedError, match="expected an object"):
        read_value(folder, [])


def test_names_do_not_lead_outside(folder: Path) -> None:
    names = ["../../etc/passwd", "/data/b.png", "C:\\scans\\c.png", "train/d.png"]
    value = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "categories": [],
        "annotations": [],
    }
    assert [image.image for image in read_value(folder, value)] == ["passwd", "b.png", "c.png", "train/d.png"]


@given(images(scored=True, excluding=False, owned=False))
@settings(max_examples=30, deadline=None)
def test_results_come_back(folder: Path, given_images: list[ImageRegions]) -> None:
    reference = written(folder, given_images)
    boxes, segments = folder / "boxes.json", folder / "segments.json"
    for path, kind in ((boxes, "bbox"), (segments, "segm")):
        path.unlink(missing_ok=True)
        coco.write_results(path, given_images, reference, kind)  # type: ignore[arg-type]
    for outline, box, segment in zip(
        *(rows(each) for each in (given_images, *back(reference, boxes, segments))), strict=True
    ):
        assert (box.label, box.score) == (segment.label, segment.score) == (outline.label, outline.score)
        vertices = np.concatenate(outline.rings)
        assert box.rings[0].min(axis=0).tolist() == vertices.min(axis=0).tolist()
        assert box.rings[0].max(axis=0).tolist() == vertices.max(axis=0).tolist()
        assert np.array_equal(rings_to_mask(segment.rings, SHAPE), rings_to_mask(outline.rings, SHAPE))


def rows(given_images: list[ImageRegions]) -> list[Outline]:
    return [outline for image in given_images for outline in outlines_of(image)]


def back(reference: Path, *paths: Path) -> list[list[ImageRegions]]:
    return [coco.read_results(path, reference) for path in paths]


def test_results_are_those_that_pycocotools_loads(folder: Path) -> None:
    images = [one_image(ONE_PIXEL, WITH_HOLE, score=0.25)]
    reference, path = written(folder, images), folder / "loaded.json"
    coco.write_results(path, images, reference, "segm")
    with contextlib.redirect_stdout(None):
        loaded = by_pycocotools(reference).loadRes(str(path))
    for annotation, rings in zip(loaded.dataset["annotations"], (ONE_PIXEL, WITH_HOLE), strict=True):
        assert np.array_equal(loaded.annToMask(annotation), rings_to_mask(rings, SHAPE))
        assert annotation["score"] == 0.25


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ({"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}, "[0]: image_id is 99"),
        ({"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}, "score is None"),
        ({"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1e400}, "score is inf"),
        ([1], "the result is a list"),
    ],
)
def test_faulty_results_are_refused(folder: Path, result: object, fault: str) -> None:
    reference, path = written(folder, [one_image(ONE_PIXEL)]), folder / "faulty.json"
    path.write_text(json.dumps([result]).replace("Infinity", "1e400"), encoding="utf-8")
    with pytest.raises(InputRefusedError) as caught:
        coco.read_results(path, reference)
    assert fault in caught.value.message


def test_results_on_images_that_the_reference_does_not_have_stand_apart(folder: Path) -> None:
    reference, path = written(folder, [one_image(ONE_PIXEL)]), folder / "strange.json"
    numbers = [1, 99, 99]
    results = [
        {"image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5} for number in numbers
    ]
    path.write_text(json.dumps(results), encoding="utf-8")
    first, strange = coco.read_results(path, reference)
    assert (len(first), strange.image, len(strange), strange.shape) == (1, "image_id 99", 2, None)


def test_what_results_cannot_say_is_refused(folder: Path, tmp_path: Path) -> None:
    reference = written(folder, [one_image(ONE_PIXEL)])
    with pytest.raises(InputRefusedError, match="no score"):
        coco.write_results(tmp_path / "r.json", [one_image(ONE_PIXEL)], reference)
    with pytest.raises(InputRefusedError, match="no such category"):
        coco.write_results(tmp_path / "r.json", [one_image(ONE_PIXEL, label="other", score=1.0)], reference)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    image = one_image(WITH_HOLE)
    unsized = type(image)(image.image, image.regions, image.is_excluded)
    with pytest.raises(InputRefusedError, match="height and width"):
        coco.write(tmp_path / "a.json", [unsized])
    with pytest.raises(InputRefusedError, match="two images"):
        coco.write(tmp_path / "a.json", [image, image])
    with pytest.raises(InputRefusedError, match="2 points"):
        coco.write(tmp_path / "a.json", [one_image([np.zeros((2, 2))])])
    coco.write(tmp_path / "a.json", [image])
    with pytest.raises(InputRefusedError) as caught:
        coco.write(tmp_path / "a.json", [image])
    assert caught.value.code == "exists"


def test_files_are_told_apart(folder: Path) -> None:
    annotations, results = folder / "s.json", folder / "r.json"
    annotations.write_text(json.dumps({"info": {}, **HEAD, "annotations": []}), encoding="utf-8")
    results.write_text(
        '[\n {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]', encoding="utf-8"
    )
    assert (coco.sniff(annotations), coco.sniff_results(annotations)) == (True, False)
    assert (coco.sniff(results), coco.sniff_results(results)) == (False, True)
    assert not coco.sniff(folder / "missing.json")
    assert not coco.sniff(folder)
