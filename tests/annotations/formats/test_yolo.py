from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_region_samples import (
    CROSSING,
    ISLAND_IN_HOLE,
    ONE_PIXEL,
    SHAPE,
    TOUCHING_ITSELF,
    WITH_HOLE,
    assert_same,
    images,
    one_image,
    ring_lists,
)

from napari_medlab.annotations.formats import yolo
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, image_regions, outlines_of
from napari_medlab.annotations.formats.ring_parts import bridged, without_bridges
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

SIZES = {"a.png": (10, 20)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yolo")


def written(folder: Path, given_images: list[ImageRegions], kind: str = "segment") -> Path:
    path = folder / "dataset"
    shutil.rmtree(path, ignore_errors=True)
    yolo.write(path, given_images, kind)  # type: ignore[arg-type]
    return path


def read_text(folder: Path, text: str | bytes, names: tuple[str, ...] = ("mass", "cyst")) -> list[Outline]:
    path = folder / "lines"
    path.mkdir(exist_ok=True)
    (path / "a.txt").write_bytes(text.encode() if isinstance(text, str) else text)
    (image,) = yolo.read(path, SIZES, names)
    return list(outlines_of(image))


@given(images(owned=False, excluding=False), st.sampled_from([(24, 31), (1777, 2503), (100, 99_999)]))
@settings(max_examples=60, deadline=None)
def test_a_round_trip_is_exact(
    folder: Path, given_images: list[ImageRegions], shape: tuple[int, int]
) -> None:
    resized = [image_regions(image.image, list(outlines_of(image)), shape=shape) for image in given_images]
    path = written(folder, resized)
    if resized:
        back = yolo.read(path, {image.image: shape for image in resized})
        assert_same(sorted(back, key=by_name), sorted(resized, key=by_name), with_ids=False)


def by_name(image: ImageRegions) -> str:
    return image.image


@given(images(owned=False, excluding=False, scored=True))
@settings(max_examples=30, deadline=None)
def test_boxes_come_back_exactly(folder: Path, given_images: list[ImageRegions]) -> None:
    if not given_images:
        return
    back = yolo.read(written(folder, given_images, "detect"), {image.image: SHAPE for image in given_images})
    for one, other in zip(sorted(back, key=by_name), sorted(given_images, key=by_name), strict=True):
        assert np.array_equal(one.regions.boxes, other.regions.boxes)
        assert np.array_equal(one.regions.scores, other.regions.scores)


@given(ring_lists())
@settings(max_examples=60, deadline=None)
def test_bridges_are_not_seen(rings: list[NDArray[np.float64]]) -> None:
    joined = bridged(rings)
    assert np.array_equal(rings_to_mask([joined], SHAPE), rings_to_mask(rings, SHAPE))
    assert [ring.tolist() for ring in without_bridges(joined)] == [ring.tolist() for ring in rings]


def test_what_touches_itself_is_one_ring() -> None:
    for start in range(6):
        ring = np.roll(TOUCHING_ITSELF[0], start, axis=0)
        assert [each.tolist() for each in without_bridges(ring)] == [ring.tolist()]


def test_lines_are_told_by_how_many_words_they_have(folder: Path) -> None:
    box, scored_box, polygon, scored_polygon = read_text(
        folder,
        "0 0.5 0.5 0.2 0.4\n1 0.5 0.5 0.2 0.4 0.75\n\n0 0.1 0.1 0.3 0.1 0.3 0.5\n0 0.1 0.1 0.3 0.1 0.3 0.5 1e-3\n",
    )
    assert box.rings[0].tolist() == box_ring(7.5, 2.5, 11.5, 6.5).tolist()
    assert np.isnan(box.score)
    assert (scored_box.label, scored_box.score, scored_box.region_id) == ("cyst", 0.75, "2")
    assert polygon.rings[0].tolist() == [[0.5, 1.5], [0.5, 5.5], [4.5, 5.5]]
    assert scored_polygon.score == 1e-3


def test_a_box_covers_its_pixels(folder: Path) -> None:
    (outline,) = read_text(folder, "0 0.5 0.5 0.2 0.4")
    assert rings_to_mask(outline.rings, (10, 20)).sum() == 16


def test_painters_leave_the_same_holes() -> None:
    from PIL import Image, ImageDraw

    ring = bridged([box_ring(1.5, 1.5, 20.5, 18.5), box_ring(4.5, 4.5, 9.5, 9.5)])
    canvas = Image.new("1", (SHAPE[1], SHAPE[0]))
    ImageDraw.Draw(canvas).polygon([(x, y) for y, x in ring.tolist()], fill=1)
    assert not np.asarray(canvas)[7, 7]
    assert np.asarray(canvas)[3, 3]


def test_excluded_outlines_are_not_written(folder: Path) -> None:
    path = written(folder, [one_image(ONE_PIXEL, is_excluded=True)])
    assert (path / "labels" / "a.txt").read_text() == ""
    (back,) = yolo.read(path, {"a.png": SHAPE}, [])
    assert len(back) == 0
    assert back.is_complete


def test_what_lies_outside_is_moved_to_the_border(folder: Path) -> None:
    path = written(folder, [one_image([box_ring(-5.0, -5.0, 10.0, 99.0)])])
    words = (path / "labels" / "a.txt").read_text().split()[1:]
    assert all(0 <= float(word) <= 1 for word in words)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [mass, 'a: b']", ["mass", "a: b"]),
        ("train: ../images\nnames:\n  1: cyst\n  0: mass\n", ["mass", "cyst"]),
    ],
)
def test_names_are_read_from_yaml(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    assert yolo.class_names(tmp_path) == names


def test_names_come_back(folder: Path, tmp_path: Path) -> None:
    path = written(
        folder, [one_image(ONE_PIXEL, label='"quoted": #1 é'), image_regions("b", [], shape=SHAPE)]
    )
    assert yolo.class_names(path) == ['"quoted": #1 é']
    (path / "data.yaml").unlink()
    assert yolo.class_names(path) == ['"quoted": #1 é']
    (path / "classes.txt").unlink()
    with pytest.raises(InputRefusedError, match="none of"):
        yolo.class_names(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("names: 3", "names is 3"),
        ("names: {0: a, 2: b}", "names is an object of 2"),
        ("names: [a, a]", "two classes have the same name"),
        ("names: [a, 3]", "class 1: the label is 3"),
        ('names: ["a\\u0007"]', "class 0: the label is 'a\\\\x07'"),
        ("names: [", "no YAML"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
        ("[" * 100_000, "no YAML"),
        ("- 1", "names is None"),
    ],
)
def test_faulty_names_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputRefusedError, match=fault) as caught:
        yolo.class_names(tmp_path)
    assert caught.value.code == "yolo"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0 0.5 0.5 0.2", "a.txt line 1: 3 numbers"),
        ("\n2 0.5 0.5 0.2 0.1", "a.txt line 2: the class is '2', expected a whole number from 0 to 1"),
        ("-1 0.5 0.5 0.2 0.1", "the class is '-1'"),
        ("1.0 0.5 0.5 0.2 0.1", "the class is '1.0'"),
        ("0 nan 0.5 0.2 0.1", "the line holds 'nan', expected a number"),
        ("0 1e400 0.5 0.2 0.1", "'1e400', expected a number from -2 to 2"),
        ("0 0.5 0.5 0.2 0.1 1e400", "the score holds '1e400'"),
        ("0 100 0.5 0.2 0.1", "the line holds '100', expected"),
        ("0 0.5 0.5 -0.2 0.1", "negative size"),
        ("0 0.5 0.5 0.2 0.1 " + "0.5 " * 3 + "x", "the line holds 'x'"),
        (b"\xff\xfe0 0.5", "not a text in UTF-8"),
    ],
)
def test_faulty_lines_are_refused(folder: Path, text: str | bytes, fault: str) -> None:
    with pytest.raises(InputRefusedError, match=fault) as caught:
        read_text(folder, text)
    assert caught.value.code == "yolo"


def test_label_files_find_their_images(tmp_path: Path) -> None:
    for place in ("train/labels/a.txt", "valid/labels/a.txt", "valid/labels/b.txt"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("0 0.5 0.5 0.5 0.5", encoding="utf-8")
    (tmp_path / "README.txt").write_text("about", encoding="utf-8")
    sizes = {"train/labels/a.jpg": (2, 2), "valid/labels/a.jpg": (4, 4), "c/b.png": (6, 6)}
    images = yolo.read(tmp_path, sizes, ["mass"])
    assert [(image.image, image.shape) for image in images] == [(name, sizes[name]) for name in sizes]
    with pytest.raises(InputRefusedError, match="no images are called 'b'"):
        yolo.read(tmp_path, dict(list(sizes.items())[:2]), ["mass"])
    with pytest.raises(InputRefusedError, match="2 images are called 'a'"):
        yolo.read(tmp_path, {"x/a.jpg": (2, 2), "y/a.jpg": (4, 4), "b": (2, 2)}, ["mass"])


def test_folders_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="no label file"):
        yolo.read(tmp_path, {}, [])


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new"
    for wrong, fault in (
        ([image_regions("a", [])], "height and width"),
        ([image_regions(name, [], shape=SHAPE) for name in ("a.png", "A.jpg")], "another image's too"),
        ([one_image([np.zeros((2, 2))])], "2 points"),
    ):
        with pytest.raises(InputRefusedError, match=fault):
            yolo.write(path, wrong)
    assert not path.exists()
    yolo.write(path, [])
    with pytest.raises(InputRefusedError, match="exists already"):
        yolo.write(path, [])


def test_names_do_not_lead_outside(tmp_path: Path) -> None:
    yolo.write(tmp_path / "inner" / "new", [image_regions("../../evil.png", [], shape=SHAPE)])
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    assert (tmp_path / "inner" / "new" / "labels" / "evil.txt").is_file()


def test_folders_are_told_apart(folder: Path, tmp_path: Path) -> None:
    assert yolo.sniff(written(folder, [one_image(WITH_HOLE, ISLAND_IN_HOLE, CROSSING)]))
    assert yolo.sniff(folder / "dataset" / "labels" / "a.txt")
    assert yolo.sniff(written(folder, [one_image()]))
    assert not yolo.sniff(tmp_path)
    (tmp_path / "Info.txt").write_text("mdb001 G CIRC B 535 425 197\n", encoding="utf-8")
    assert not yolo.sniff(tmp_path)
    assert not yolo.sniff(tmp_path / "missing")
