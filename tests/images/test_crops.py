"""Pictures of places: what lies where, how large a pixel is, and how little is read."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.geometry import Grid
from napari_medlab.images import Image, Window
from napari_medlab.images.pictures.crops import PADDING, crop_planes, crops_of_case, side_around, thumbnail
from napari_medlab.images.pictures.tones import Tones, tones_of
from napari_medlab.images.tiles import PlaneTiles, halved, shared_cache

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREYS = Window("all", 0, 255)
SHAPE, SPACING, ORIGIN = (20, 60, 80), (3.0, 1.0, 1.0), (-40.0, -30.0, -30.0)
GRID = Grid.axis_aligned(SHAPE, SPACING, ORIGIN)


def volume_image(pixels: NDArray[Any], grid: Grid = GRID, window: Window = GREYS) -> Image:
    return Image.of_arrays([pixels], grid, windows=(window,))


def ramp(axis: int) -> NDArray[np.float32]:
    """Return values that grow by one for each millimetre along a world axis, x = 0."""
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    world: NDArray[np.float64] = GRID.to_world(index)[..., axis]
    return (world + 100).astype(np.float32)


def blob(centre: tuple[float, float, float], radius: float = 4.0) -> NDArray[np.uint8]:
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    inside: NDArray[np.bool_] = np.linalg.norm(GRID.to_world(index) - centre, axis=-1) <= radius
    return inside.astype(np.uint8) * np.uint8(255)


def brightest(plane: NDArray[np.uint8]) -> tuple[float, float]:
    rows, columns = np.nonzero(plane > 128)
    return float(rows.mean()), float(columns.mean())


@pytest.mark.parametrize(("plane", "down", "right"), [(0, 1, 0), (1, 2, 0), (2, 2, 1)])
def test_planes_run_as_readers_expect(plane: int, down: int, right: int) -> None:
    """Axial: down is posterior, right is the patient's left; the other two have the head up."""
    sign = 1 if down == 1 else -1
    for axis, index, direction in ((down, 0, sign), (right, 1, 1)):
        picture = crop_planes(volume_image(ramp(axis)), (0.0, 0.0, 0.0), 20.0, size_px=20).planes[plane]
        steps = np.diff(picture.astype(int), axis=index)
        assert (steps == direction).mean() > 0.95


def test_the_place_lies_in_the_middle_whatever_the_way_a_volume_is_stored() -> None:
    centre = (5.0, -4.0, 3.0)
    image = volume_image(blob(centre))
    turned = image.grid.reordered((2, 0, 1), (-1, 1, -1))
    stored = blob(centre).transpose(2, 0, 1)[::-1, :, ::-1].copy()
    straight = crop_planes(image, centre, 24.0, size_px=48)
    oblique = crop_planes(volume_image(stored, turned), centre, 24.0, size_px=48)
    np.testing.assert_array_equal(straight.planes, oblique.planes)
    for plane in straight.planes:
        assert brightest(plane) == pytest.approx((23.5, 23.5), abs=1.5)
    assert straight.pixel_size == 0.5


def test_pixels_are_square_and_slices_far_apart_are_joined_smoothly() -> None:
    coronal = crop_planes(volume_image(ramp(2)), (0.0, 0.0, 0.0), 30.0, size_px=30).planes[1]
    assert set(np.diff(coronal.astype(int), axis=0).ravel().tolist()) <= {-2, -1, 0}
    np.testing.assert_array_equal(coronal[:, 0], coronal[:, -1])


def test_what_lies_outside_of_the_image_is_neither_black_nor_white() -> None:
    picture = crop_planes(
        volume_image(np.full(SHAPE, 255, np.uint8)), (-40.0, 0.0, 0.0), 20.0, size_px=20
    ).planes
    assert (picture[0][:, :9] == PADDING).all()
    assert (picture[0][:, 11:] == 255).all()
    far = crop_planes(volume_image(np.zeros(SHAPE, np.uint8)), (900.0, 0.0, 0.0), 20.0, size_px=20).planes
    assert (far == PADDING).all()


@settings(deadline=None)
@given(st.floats(-60, 60), st.floats(-50, 50), st.floats(-50, 50), st.floats(1, 300))
def test_any_place_and_any_side_give_a_picture(x: float, y: float, z: float, side: float) -> None:
    picture = crop_planes(volume_image(np.full(SHAPE, 200, np.uint8)), (x, y, z), side, size_px=16)
    assert picture.planes.shape == (3, 16, 16)
    assert set(np.unique(picture.planes).tolist()) <= {PADDING, 200}


def test_each_slice_is_decoded_once_and_none_that_no_picture_shows() -> None:
    asked: Counter[int] = Counter()

    def read(number: int) -> NDArray[Any]:
        asked[number] += 1
        return np.full((1, *SHAPE[1:]), number, np.uint8)

    image = Image(
        volume_image(np.zeros((1, 1, 1))).path, "volume", "CT", (PlaneTiles(SHAPE, np.uint8, read, "counted"),), GRID,
        windows=(GREYS,),
    )  # fmt: skip
    shared_cache().forget(lambda key: key[0] == "counted")  # type: ignore[index]
    places = [(0.0, 0.0, z) for z in (9.0, -12.0, 6.0, -9.0)]
    rows = [row for row, _ in crops_of_case(image, places, [12.0] * 4, size_px=12)]
    assert rows == [1, 3, 2, 0]
    assert set(asked.values()) == {1}
    assert 0 not in asked
    assert 19 not in asked


def test_whoever_wants_no_more_pictures_is_heard_between_two() -> None:
    class Enough(Exception):  # noqa: N818
        pass

    def stop() -> None:
        if made:
            raise Enough

    made: list[int] = []
    pictures = crops_of_case(
        volume_image(np.zeros(SHAPE)), [(0.0, 0.0, 0.0)] * 3, [10.0] * 3, size_px=8, stop=stop
    )
    made.append(next(pictures)[0])
    with pytest.raises(Enough):
        next(pictures)


def planar_image(pixels: NDArray[Any], levels: int = 1, **rest: Any) -> Image:  # noqa: ANN401 - fields
    arrays = [pixels]
    for _ in range(levels - 1):
        arrays.append(halved(arrays[-1]))
    grid = Grid.axis_aligned(pixels.shape[:2], (0.5, 0.5), unit="um")
    return Image.of_arrays(arrays, grid, **{"kind": "slide", **rest})


def test_a_slide_is_read_from_the_level_that_fits_and_keeps_its_colours() -> None:
    pixels = np.zeros((256, 256, 3), np.uint8)
    pixels[96:160, 96:160] = (200, 100, 50)
    image = planar_image(pixels, 4, is_rgb=True)
    for side in (16.0, 32.0, 64.0, 100.0, 128.0):
        picture = crop_planes(image, (63.75, 63.75), side, size_px=32)
        assert picture.planes.shape == (1, 32, 32, 3)
        assert picture.planes[0, 16, 16].tolist() == [200, 100, 50]
        bright = (picture.planes[0, ..., 0] > 100).mean() * side**2
        assert bright == pytest.approx(min(32.0, side) ** 2, rel=0.1)


def test_only_the_level_that_fits_is_touched() -> None:
    image = planar_image(np.zeros((256, 256), np.uint8), 3, windows=(GREYS,))
    asked: list[int] = []

    def counting(number: int) -> PlaneTiles:
        def read(row: int) -> NDArray[Any]:
            asked.append(number)
            return np.zeros((1, *shape[1:]), np.uint8)

        shape = image.arrays[number].shape
        return PlaneTiles(shape, np.uint8, read, None)

    counted = Image(
        image.path, "slide", "", tuple(counting(n) for n in range(3)), image.grid, windows=(GREYS,)
    )
    crop_planes(counted, (60.0, 60.0), 20.0, size_px=20)
    assert set(asked) == {1}


def test_monochrome1_is_shown_inverted_and_hung_as_in_the_window() -> None:
    pixels = np.zeros((40, 40), np.uint16)
    pixels[:, 30:] = 4000
    grid = Grid.axis_aligned((40, 40), (1.0, 1.0))
    details = {"chest_wall": "left", "laterality": "R"}
    image = Image.of_arrays([pixels], grid, kind="mammogram", windows=(Window("", 0, 4000),), is_inverted=True,
                            details=details)  # fmt: skip
    plane = crop_planes(image, (19.5, 19.5), 40.0, size_px=40).planes[0]
    assert (plane[:, :9] == 0).all()
    assert (plane[:, 11:] == 255).all()


def test_channels_are_added_up_in_their_colours() -> None:
    pixels = np.zeros((64, 64, 2), np.uint16)
    pixels[:32, :, 0] = 1000
    pixels[:, :32, 1] = 3000
    plane = crop_planes(planar_image(pixels), (15.75, 15.75), 32.0, size_px=16).planes[0]
    assert plane[2, 2].tolist() == [0, 255, 255]
    assert plane[2, 13].tolist() == [0, 0, 255]
    assert plane[13, 13].tolist() == [0, 0, 0]


def test_a_curve_of_brightness_is_followed() -> None:
    tones = Tones(((0.0, 100.0),), curve=(0.0, 0.0, 1.0))
    assert tones(np.array([[0.0, 50.0, 75.0, 100.0]])).tolist() == [[0, 0, 128, 255]]


def test_images_without_a_window_get_limits_from_a_sample() -> None:
    rng = np.random.default_rng(0)
    image = Image.of_arrays([rng.normal(50, 10, SHAPE).astype(np.float32)], GRID)
    low, high = tones_of(image).limits[0]
    assert 20 < low < 30 < 70 < high < 80


def test_sixteen_bits_of_colour_and_a_transparent_channel() -> None:
    pixels = np.full((64, 64, 4), 65535, np.uint16)
    plane = crop_planes(planar_image(pixels, is_rgb=True), (15.0, 15.0), 16.0, size_px=8).planes[0]
    assert plane.shape == (8, 8, 3)
    assert (plane == 255).all()


def test_a_large_object_is_shown_whole_and_a_small_one_with_what_is_around_it() -> None:
    assert side_around(GRID, 6.0) == 40.0
    assert side_around(GRID, 30.0) == 75.0
    assert side_around(GRID, -1.0) == 40.0


def test_a_thumbnail_of_a_volume_is_its_middle_slice_in_true_proportions() -> None:
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[9] = 255
    small = thumbnail(volume_image(pixels), 40)
    assert small.shape == (30, 40)
    assert (small == 255).all()


def test_a_thumbnail_of_a_planar_image_shows_all_of_it() -> None:
    pixels = np.zeros((1500, 3000, 3), np.uint8)
    pixels[:, 1500:] = (10, 200, 30)
    small = thumbnail(planar_image(pixels, is_rgb=True), 64)
    assert small.shape == (32, 64, 3)
    assert small[:, 34:].reshape(-1, 3).mean(axis=0).tolist() == [10, 200, 30]
    assert (small[:, :30] == 0).all()
