from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from image_region_samples import BOW_TIE, ONE_PIXEL, SHAPE, assert_same, free_rings, images, masks
from skimage.draw import ellipse

from napari_medlab.annotations.formats import cvat
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, image_regions, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cvat")


def written(folder: Path, inner: str, root: str = "annotations") -> Path:
    path = folder / "annotations.xml"
    path.write_text(
        f'<?xml version="1.0"?>\n<{root}><version>1.1</version>{inner}</{root}>', encoding="utf-8"
    )
    return path


def image_element(inner: str, name: str = "a.png") -> str:
    height, width = SHAPE
    return f'<image id="0" name={quoteattr(name)} width="{width}" height="{height}">{inner}</image>'


def polygon(outline: Outline) -> str:
    pairs = ";".join(f"{x + 0.5!r},{y + 0.5!r}" for y, x in outline.rings[0].tolist())
    return f"<polygon label={quoteattr(outline.label)} points={quoteattr(pairs)}/>"


def read_shapes(folder: Path, inner: str) -> list[Outline]:
    (image,) = cvat.read(written(folder, image_element(inner)))
    return list(outlines_of(image))


def told(folder: Path, inner: str) -> str:
    with pytest.raises(InputRefusedError) as caught:
        read_shapes(folder, inner)
    assert caught.value.code == "cvat"
    return caught.value.message


@given(images(free_rings(), scored=False, excluding=False, owned=False))
@settings(max_examples=40, deadline=None)
def test_polygons_are_read_exactly(folder: Path, given_images: list[ImageRegions]) -> None:
    inner = "".join(
        image_element("".join(map(polygon, outlines_of(image))), image.image) for image in given_images
    )
    assert_same(cvat.read(written(folder, inner)), given_images, with_ids=False)


@given(masks())
@settings(max_examples=40, deadline=None)
def test_masks_are_read_exactly(folder: Path, mask: NDArray[np.bool_]) -> None:
    (top, left), (bottom, right) = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)
    part = mask[top : bottom + 1, left : right + 1]
    changes = np.flatnonzero(np.diff(np.concatenate([[False], part.ravel()]).astype(int)))
    lengths = np.diff([0, *changes.tolist(), part.size])
    (outline,) = read_shapes(
        folder,
        f'<mask label="m" rle="{", ".join(map(str, lengths.tolist()))}" left="{left}" top="{top}" '
        f'width="{part.shape[1]}" height="{part.shape[0]}"/>',
    )
    assert np.array_equal(rings_to_mask(outline.rings, SHAPE), mask)
    assert sorted(ring.tolist() for ring in outline.rings) == sorted(
        ring.tolist() for ring in mask_to_rings(mask)
    )


def test_boxes_and_their_rotation(folder: Path) -> None:
    box, turned = read_shapes(
        folder,
        '<box label="a" xtl="2" ytl="3" xbr="8.5" ybr="5"/>'
        '<box label="b" xtl="2" ytl="4" xbr="8" ybr="6" rotation="90"/>',
    )
    assert box.rings[0].tolist() == box_ring(1.5, 2.5, 8.0, 4.5).tolist()
    # upper left goes to the upper right when turned clockwise
    assert np.allclose(turned.rings[0][0], [1.5, 5.5])
    assert np.allclose(np.sort(turned.rings[0], axis=0), [[1.5, 3.5], [1.5, 3.5], [7.5, 5.5], [7.5, 5.5]])


def test_ellipses_are_those_of_skimage(folder: Path) -> None:
    (outline,) = read_shapes(folder, '<ellipse label="a" cx="15.25" cy="12.5" rx="9.3" ry="6.1"/>')
    expected = np.zeros(SHAPE, dtype=np.bool_)
    expected[ellipse(12.0, 14.75, 6.1, 9.3, shape=SHAPE)] = True
    assert np.array_equal(rings_to_mask(outline.rings, SHAPE), expected)


def test_what_is_said_beside_is_kept(folder: Path) -> None:
    inner = (
        '<tag label="blurred"/><points label="p" points="1,2"/><polyline label="l" points="1,2;3,4"/>'
        '<box label="a" xtl="0" ytl="0" xbr="1" ybr="1"><attribute name="kind">solid</attribute>'
        '<attribute name="note"></attribute></box>'
    )
    (image,) = cvat.read(written(folder, image_element(inner)))
    assert image.extra == {
        "attributes": {"4": {"kind": "solid"}},
        "tags": ["blurred"],
        "left_out": {"points": 1, "polyline": 1},
    }
    assert [outline.region_id for outline in outlines_of(image)] == ["4"]


def test_images_without_shapes_were_looked_at(folder: Path) -> None:
    (image,) = cvat.read(written(folder, image_element("", "x/../../b.png")))
    assert (image.image, image.shape, len(image), image.is_complete) == ("b.png", SHAPE, 0, True)


@pytest.mark.parametrize(
    ("inner", "fault"),
    [
        (
            '<polygon label="a" points="1,2;3,4"/>',
            "image 'a.png' shape 1 (polygon): the outline has 2 points",
        ),
        ('<polygon label="a" points="1,2;3;5,6"/>', "expected pairs"),
        ('<polygon label="a" points="1,2;3,nan;5,6"/>', "points holds 'nan'"),
        ('<polygon label="a" points="1,2;3,1e300;5,6"/>', "points holds '1e300'"),
        ('<polygon label="a"/>', "the outline has 0 points"),
        ('<polygon points="1,2;3,4;5,6"/>', "the label is None"),
        (f"<polygon label={quoteattr('x' * 300)} points='1,2;3,4;5,6'/>", "256 printable"),
        ('<polygon label="a&#9;b&#133;" points="1,2;3,4;5,6"/>', "printable"),
        ('<box label="a" xtl="1" ytl="1" xbr="2"/>', "ybr holds ''"),
        ('<ellipse label="a" cx="1" cy="1" rx="0" ry="2"/>', "the radii are 0 and 2"),
        ('<mask label="a" rle="1, 2" left="0" top="0" width="1" height="2"/>', "do not fit"),
        ('<mask label="a" rle="2" left="0" top="0" width="1" height="2"/>', "the mask is empty"),
        ('<mask label="a" rle="0.5, 1" left="0" top="0" width="1" height="2"/>', "do not fit"),
        ('<mask label="a" rle="1" left="0" top="0" width="1000000" height="1000000"/>', "is the limit"),
        ('<mask label="a" rle="1" left="-1" top="0" width="1" height="1"/>', "left is '-1'"),
        ('<circle label="a"/>', "there is no shape <circle>"),
    ],
)
def test_faulty_shapes_are_refused(folder: Path, inner: str, fault: str) -> None:
    assert fault in told(folder, inner)


def test_faulty_files_are_refused(folder: Path) -> None:
    for text, root, fault in (
        ("", "html", "begins with <html>"),
        ("<track/>", "annotations", "tracks of a video"),
        (image_element("") * 2, "annotations", "two images called 'a.png'"),
        (
            '<image name="a.png" width="0" height="1"/>',
            "annotations",
            "image 1: width is '0'|image 1: height",
        ),
        ('<image width="1" height="1"/>', "annotations", "name is None"),
    ):
        with pytest.raises(InputRefusedError, match=fault) as caught:
            cvat.read(written(folder, text, root))
        assert caught.value.code == "cvat"


def test_truncated_and_declaring_files_are_refused(folder: Path) -> None:
    path = folder / "hostile.xml"
    whole = written(folder, image_element(polygon(Outline(BOW_TIE, "a", "1")))).read_text()
    for text in (whole[: len(whole) // 2], whole.replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', 1), ""):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputRefusedError):
            cvat.read(path)


def test_files_are_told_apart(folder: Path) -> None:
    assert cvat.sniff(written(folder, image_element("")))
    assert not cvat.sniff(written(folder, "", "ASAP_Annotations"))
    assert not cvat.sniff(folder / "missing.xml")


def test_one_pixel(folder: Path) -> None:
    image = image_regions("a.png", [Outline(ONE_PIXEL, "a", "1")], shape=SHAPE)
    inner = image_element(polygon(next(outlines_of(image))))
    assert_same(cvat.read(written(folder, inner)), [image])
