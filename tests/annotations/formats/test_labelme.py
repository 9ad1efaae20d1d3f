from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import CROSSING, SHAPE, WITH_HOLE, assert_same_outline, free_rings, masks
from PIL import Image
from skimage.draw import disk

from napari_medlab.annotations.formats import labelme
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

HEAD: dict[str, Any] = {"version": "5.4.1", "flags": {}, "imagePath": "../images/a.png", "imageData": "AAAA",
                        "imageHeight": SHAPE[0], "imageWidth": SHAPE[1]}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("labelme")


def read_value(folder: Path, value: object) -> ImageRegions:
    path = folder / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    (image,) = labelme.read(path)
    return image


def read_shapes(folder: Path, *shapes: object) -> list[Outline]:
    return list(outlines_of(read_value(folder, HEAD | {"shapes": list(shapes)})))


def shape(points: object, kind: str | None = "polygon", **more: object) -> dict[str, Any]:
    return {"label": "mass", "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def corners(ring: NDArray[np.float64]) -> list[list[float]]:
    return (ring[:, ::-1] + 0.5).tolist()  # type: ignore[no-any-return]


def png(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@given(free_rings())
@settings(max_examples=40, deadline=None)
def test_polygons_are_read_exactly(folder: Path, rings: list[NDArray[np.float64]]) -> None:
    (outline,) = read_shapes(folder, shape(corners(rings[0])))
    assert_same_outline(outline, Outline(rings, "mass", "1"))


@given(masks())
@settings(max_examples=40, deadline=None)
def test_masks_are_read_exactly(folder: Path, mask: NDArray[np.bool_]) -> None:
    (top, left), (bottom, right) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
    text = png(mask[top : bottom + 1, left : right + 1])
    (outline,) = read_shapes(
        folder, shape([[int(left), int(top)], [int(right), int(bottom)]], "mask", mask=text)
    )
    assert np.array_equal(rings_to_mask(outline.rings, SHAPE), mask)


def test_rectangles_and_circles(folder: Path) -> None:
    two, four, circle = read_shapes(
        folder,
        shape([[8.5, 5], [2, 3]], "rectangle"),
        shape([[2, 3], [8, 3], [8, 5], [2, 5]], "rectangle"),
        shape([[12.5, 11.5], [12.5, 17.0]], "circle"),
    )
    assert two.rings[0].tolist() == box_ring(1.5, 2.5, 8.0, 4.5).tolist()
    assert four.rings[0].tolist() == box_ring(1.5, 2.5, 7.5, 4.5).tolist()
    expected = np.zeros(SHAPE, dtype=np.bool_)
    expected[disk((11.0, 12.0), 5.5, shape=SHAPE)] = True
    assert np.array_equal(rings_to_mask(circle.rings, SHAPE), expected)


def test_a_group_is_one_outline(folder: Path) -> None:
    hole, parts, alone = read_shapes(
        folder,
        shape(corners(WITH_HOLE[0]), group_id=1),
        shape(corners(box_ring(22.0, 1.0, 26.0, 3.0)), group_id=2),
        shape(corners(WITH_HOLE[1]), group_id=1),
        shape(corners(box_ring(26.5, 5.0, 28.0, 7.0)), group_id=2),
        shape(corners(WITH_HOLE[1]), label="cyst", group_id=1),
    )
    assert_same_outline(hole, Outline(WITH_HOLE[:2], "mass", "1"))
    assert len(parts.rings) == 2
    assert (alone.label, len(alone.rings)) == ("cyst", 1)


def test_what_overlaps_in_a_group_is_united(folder: Path) -> None:
    (outline,) = read_shapes(folder, *(shape(corners(ring), group_id=1) for ring in CROSSING))
    union = rings_to_mask(CROSSING[:1], SHAPE) | rings_to_mask(CROSSING[1:], SHAPE)
    assert np.array_equal(rings_to_mask(outline.rings, SHAPE), union)


def test_points_and_lines_are_counted_and_names_stay_inside(folder: Path) -> None:
    value = HEAD | {
        "shapes": [shape([[1, 2]], "point"), shape([[1, 2], [3, 4]], "line"), shape([[1, 2]], "point")]
    }
    image = read_value(folder, value)
    assert (image.image, image.shape, len(image)) == ("a.png", SHAPE, 0)
    assert image.extra == {"left_out": {"point": 2, "line": 1}}
    assert (
        read_value(folder, HEAD | {"imagePath": "..\\x\\b.jpg", "shapes": [], "imageHeight": None}).image
        == "b.jpg"
    )


def bomb() -> str:
    """A PNG whose header says 100,000 × 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return base64.b64encode(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    ).decode()


@pytest.mark.parametrize(
    ("given_shape", "fault"),
    [
        (7, "shapes[0]: the shape is 7"),
        (shape([[1, 2], [3, 4]]), "the outline has 2 points"),
        (shape([[1, 2], [3, "4"], [5, 6]]), "points holds '4'"),
        (shape([[1, 2], [3, 1e300], [5, 6]]), "points holds 1e+300"),
        (shape([[1, 2], [1, 2]], "circle"), "two that differ"),
        (shape([[1, 2]], "blob"), "shape_type is 'blob'"),
        (shape([[1, 2]], label="\u0000"), "the label is"),
        (shape([[1, 2], [3, 4], [5, 6]], group_id="a"), "group_id is 'a'"),
        (shape([[0, 0]], "mask", mask=""), "the mask has 1 points"),
        (shape([[0, 0], [1, 1]], "mask", mask="***"), "no base64"),
        (shape([[0, 0], [1, 1]], "mask", mask=None), "no PNG"),
        (
            shape([[0, 0], [1, 1]], "mask", mask=png(np.ones((3, 3), bool))),
            "has 3 × 3 pixels, and its points say 2 × 2",
        ),
        (shape([[0, 0], [1, 1]], "mask", mask=png(np.zeros((2, 2), bool))), "the mask is empty"),
        (
            shape([[0, 0], [1, 1]], "mask", mask=png(np.ones((2, 2), bool))[:40]),
            "cannot be unpacked|no base64",
        ),
        (shape([[0, 0], [99_999, 99_999]], "mask", mask=bomb()), "has 100000 × 100000 pixels"),
    ],
)
def test_faulty_shapes_are_refused(folder: Path, given_shape: object, fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_shapes(folder, given_shape)
    assert caught.value.code == "labelme"
    assert any(each in caught.value.message for each in fault.split("|"))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([], "the file is a list of 0"),
        (HEAD, "shapes is None"),
        (HEAD | {"shapes": [], "imageHeight": "24"}, "the image's size is '24'"),
        (HEAD | {"shapes": [], "imagePath": None}, "imagePath is None"),
        (HEAD | {"shapes": [], "imagePath": ".."}, "expected the name of a file"),
    ],
)
def test_faulty_files_are_refused(folder: Path, value: object, fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_value(folder, value)
    assert caught.value.code == "labelme"
    assert fault in caught.value.message


def test_files_are_told_apart(folder: Path) -> None:
    path = folder / "some.json"
    path.write_text(json.dumps(HEAD | {"shapes": []}), encoding="utf-8")
    assert labelme.sniff(path)
    path.write_text('{"images": [], "annotations": []}', encoding="utf-8")
    assert not labelme.sniff(path)
    assert not labelme.sniff(folder)
