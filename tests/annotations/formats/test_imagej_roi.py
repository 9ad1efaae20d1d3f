from __future__ import annotations

import contextlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_region_samples import SHAPE, WITH_HOLE
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi
from skimage.draw import ellipse

from napari_medlab.annotations.formats import imagej_roi
from napari_medlab.annotations.formats.geojson import UNCLASSIFIED
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, outlines_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SQUARE = [[2, 3], [8, 3], [8, 7], [2, 7]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imagej")


def polygon(points: object, kind: ROI_TYPE = ROI_TYPE.POLYGON, name: str = "") -> ImagejRoi:
    roi = ImagejRoi.frompoints(np.asarray(points), name=name)
    roi.roitype = kind
    return roi


def rectangle(kind: ROI_TYPE, left: int, top: int, right: int, bottom: int) -> ImagejRoi:
    roi = ImagejRoi()
    roi.version, roi.roitype = 227, kind
    roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
    return roi


def composite(path: list[float]) -> ImagejRoi:
    roi = rectangle(ROI_TYPE.RECT, 0, 0, 20, 20)
    roi.multi_coordinates = np.asarray(path, dtype=np.float32)
    roi.shape_roi_size = len(path)
    return roi


def read_bytes(folder: Path, payload: bytes) -> list[Outline]:
    path = folder / "one.roi"
    path.write_bytes(payload)
    (image,) = imagej_roi.read(path)
    return list(outlines_of(image))


def read_roi(folder: Path, roi: ImagejRoi) -> Outline:
    (outline,) = read_bytes(folder, roi.tobytes())
    return outline


def archive(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "RoiSet.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, payload in members.items():
            file.writestr(name, payload)
    return path


@given(
    st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 8000)), min_size=3, max_size=9, unique=True),
    st.sampled_from([1, 4]),
)
@settings(max_examples=60, deadline=None)
def test_polygons_are_read_exactly(folder: Path, points: list[tuple[int, int]], fraction: int) -> None:
    given_points = np.asarray(points) if fraction == 1 else np.asarray(points, dtype=np.float32) / fraction
    outline = read_roi(folder, polygon(given_points))
    assert outline.rings[0].tolist() == (np.asarray(points)[:, ::-1] / fraction - 0.5).tolist()


@pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
def test_outlines_run_along_the_corners_of_pixels(folder: Path, kind: ROI_TYPE) -> None:
    outline = read_roi(folder, polygon(SQUARE, kind))
    assert np.argwhere(rings_to_mask(outline.rings, SHAPE)).tolist() == [
        [y, x] for y in range(3, 7) for x in range(2, 8)
    ]


def test_rectangles_and_ovals(folder: Path) -> None:
    assert (
        read_roi(folder, rectangle(ROI_TYPE.RECT, 2, 3, 8, 5)).rings[0].tolist()
        == box_ring(1.5, 2.5, 7.5, 4.5).tolist()
    )
    oval = read_roi(folder, rectangle(ROI_TYPE.OVAL, 4, 3, 23, 16))
    expected = np.zeros(SHAPE, dtype=np.bool_)
    expected[ellipse(9.0, 13.0, 6.5, 9.5, shape=SHAPE)] = True
    assert np.array_equal(rings_to_mask(oval.rings, SHAPE), expected)


def test_rectangles_with_sub_pixel_resolution(folder: Path) -> None:
    roi = rectangle(ROI_TYPE.RECT, 2, 3, 9, 6)
    roi.options = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
    roi.xd, roi.yd, roi.widthd, roi.heightd = 2.25, 3.5, 6.0, 2.125
    assert read_roi(folder, roi).rings[0].tolist() == box_ring(1.75, 3.0, 7.75, 5.125).tolist()


def test_composites_keep_their_holes(folder: Path) -> None:
    path: list[float] = []
    for ring in WITH_HOLE:
        for operation, (y, x) in zip([0, 1, 1, 1], ring.tolist(), strict=True):
            path += [operation, x + 0.5, y + 0.5]
        path.append(4)
    outline = read_roi(folder, composite(path))
    assert [ring.tolist() for ring in outline.rings] == [ring.tolist() for ring in WITH_HOLE]


def test_sets_are_read_with_names_and_groups(folder: Path) -> None:
    grouped = polygon(SQUARE, name="lesion é")
    grouped.group = 3
    members = {
        "0001-0002.roi": polygon(SQUARE, name="lesion é 2").tobytes(),
        "b.roi": grouped.tobytes(),
        "c.roi": polygon(SQUARE, name="same").tobytes(),
        "d.roi": polygon(SQUARE, name="same").tobytes(),
        "e.roi": polygon([[1, 2], [3, 4]], ROI_TYPE.LINE).tobytes(),
        "readme.txt": b"text",
    }
    (image,) = imagej_roi.read(archive(folder, members), "slide")
    assert [(row.region_id, row.label) for row in outlines_of(image)] == [
        ("lesion é 2", UNCLASSIFIED), ("lesion é", "group 3"), ("3", UNCLASSIFIED), ("4", UNCLASSIFIED),
    ]  # fmt: skip
    assert image.image == "slide"
    assert image.extra["names"]["3"] == "same"
    assert image.extra["left_out"] == {"line": 1}


def test_outlines_of_several_slices_are_refused(folder: Path) -> None:
    members = {}
    for position in (1, 2):
        roi = polygon(SQUARE)
        roi.position = position
        members[f"{position}.roi"] = roi.tobytes()
    with pytest.raises(InputRefusedError, match="2 slices"):
        imagej_roi.read(archive(folder, members))


@pytest.mark.parametrize("name", ["../../evil.roi", "/etc/evil.roi", "C:\\evil.roi", "a/../../b.roi"])
def test_names_that_lead_outside_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputRefusedError, match="leads outside"):
        imagej_roi.read(archive(folder, {name: polygon(SQUARE).tobytes()}))


def test_archives_that_are_too_large_unpacked_are_refused(folder: Path) -> None:
    path = archive(folder, {"bomb.roi": bytes((1 << 24) + 1)})
    assert path.stat().st_size < 1 << 16
    with pytest.raises(InputRefusedError, match="expected a region"):
        imagej_roi.read(path)


def test_damaged_archives_are_refused(folder: Path) -> None:
    path = archive(folder, {f"{at}.roi": polygon(SQUARE).tobytes() for at in range(3)})
    payload = bytearray(path.read_bytes())
    payload[40:60] = bytes(20)
    path.write_bytes(payload)
    with pytest.raises(InputRefusedError):
        imagej_roi.read(path)


@given(st.integers(0, 200), st.integers(0, 255), st.integers(8, 260))
@settings(max_examples=150, deadline=None)
def test_damaged_regions_are_read_or_refused(folder: Path, place: int, value: int, length: int) -> None:
    payload = bytearray(polygon(np.asarray(SQUARE, dtype=np.float32) + 0.25, name="name").tobytes())
    payload[place % len(payload)] = value
    rows: list[Outline] = []
    with contextlib.suppress(InputRefusedError):
        rows = read_bytes(folder, bytes(payload[:length]))
    assert all(np.isfinite(row.rings[0]).all() for row in rows)


@pytest.mark.parametrize(
    ("roi", "fault"),
    [
        (composite([0, 1, 1, 1, 5, 1, float("nan"), 5, 1, 5, 5]), "its path cannot be followed"),
        (composite([0, 1, 1, 1, 5]), "its path cannot be followed"),
        (composite([0, 1, 1, 2, 5, 1, 3, 3]), "its path cannot be followed"),
        (composite([0, 1, 1, 1, 5, 1, 1, 1e30, 5]), "which is no coordinate"),
        (composite([0, 1, 1, 1, 5, 1]), "its path has no area"),
        (rectangle(ROI_TYPE.OVAL, 8, 3, 2, 16), "expected more than 0"),
        (polygon([[1, 2], [3, 4]]), "the outline has 2 points"),
    ],
)
def test_regions_without_a_sense_are_refused(folder: Path, roi: ImagejRoi, fault: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_roi(folder, roi)
    assert fault in caught.value.message


def test_masks_of_free_points_are_those_of_roifile(folder: Path) -> None:
    points: NDArray[np.float32] = np.random.default_rng(2).uniform(0, 20, (7, 2)).astype(np.float32)
    roi = polygon(points)
    rings = read_roi(folder, roi).rings
    assert np.array_equal(rings[0] + 0.5, np.asarray(roi.coordinates(), dtype=np.float64)[:, ::-1])


def test_files_are_told_apart(folder: Path) -> None:
    path = folder / "some.roi"
    path.write_bytes(polygon(SQUARE).tobytes())
    assert imagej_roi.sniff(path)
    assert imagej_roi.sniff(archive(folder, {"a.roi": b""}))
    assert not imagej_roi.sniff(archive(folder, {"a.txt": b""}))
    path.write_bytes(b"PK\x03\x04damaged")
    assert not imagej_roi.sniff(path)
    assert not imagej_roi.sniff(folder / "missing")
