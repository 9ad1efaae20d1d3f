"""What a picture of a lesion shows: the place in its middle, and outlines where they belong."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as Pictures

from napari_medlab.geometry import Grid
from napari_medlab.images import Image, Window
from napari_medlab.reports.pictures import OUTLINE_COLOURS, picture_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GREYS = Window("all", 0, 255)
GREEN = tuple(bytes.fromhex(OUTLINE_COLOURS["reference"][1:]))


def drawn(
    image: Image, centre: tuple[float, ...], rings: list[NDArray[Any]], diameter: float = -1.0
) -> NDArray[np.uint8]:
    picture = picture_of(image, centre, diameter, {"reference": rings})
    return np.asarray(Pictures.open(io.BytesIO(picture)).convert("RGB"))


def middle_of(pixels: NDArray[np.bool_]) -> list[float]:
    middle: list[float] = np.argwhere(pixels).mean(axis=0).tolist()
    return middle


def square(y: float, x: float, half: float) -> NDArray[np.float64]:
    corners = [(-half, -half), (-half, half), (half, half), (half, -half)]
    return np.asarray([(y + dy, x + dx) for dy, dx in corners])


@pytest.mark.parametrize("directions", [(1, 1, 1), (1, -1, -1), (-1, 1, -1)])
def test_an_outline_lies_around_its_object_however_the_volume_is_stored(directions: tuple[int, ...]) -> None:
    pixels = np.zeros((10, 120, 140), np.uint8)
    pixels[6, 40:49, 70:79] = 255
    affine = np.eye(4)
    affine[:3, :3] = np.fliplr(np.diag([0.8, 0.5, 2.0]) * directions[::-1])
    grid = Grid(pixels.shape, affine)
    image = Image.of_arrays([pixels], grid, windows=(GREYS,))
    centre = tuple(grid.to_world(np.asarray([[6.0, 44.0, 74.0]]))[0].tolist())
    ring = np.column_stack([np.full(4, 6.0), square(44, 74, 12)])
    elsewhere = np.column_stack([np.full(4, 2.0), square(44, 74, 20)])
    picture = drawn(image, centre, [ring, elsewhere])
    outline = (picture == GREEN).all(axis=-1)
    bright = picture.min(axis=-1) > 200
    bright[[*range(8), *range(-8, 0)]] = False  # the ticks
    bright[:, [*range(8), *range(-8, 0)]] = False
    assert middle_of(outline) == pytest.approx([99.5, 99.5], abs=1)
    assert middle_of(bright) == pytest.approx([99.5, 99.5], abs=1)
    height, width = np.ptp(np.argwhere(outline), axis=0).tolist()
    assert (height, width) == pytest.approx((24 * 0.5 * 4, 24 * 0.8 * 4), abs=3)


@pytest.mark.parametrize("wall", ["left", "right"])
def test_a_mammogram_hangs_as_in_the_window_and_its_outlines_with_it(wall: str) -> None:
    pixels = np.zeros((300, 300), np.uint8)
    pixels[100:110, 120:130] = 255
    grid = Grid.axis_aligned(pixels.shape, (0.5, 0.5))
    details = {"chest_wall": wall, "laterality": "R"}
    image = Image.of_arrays([pixels], grid, kind="mammogram", windows=(GREYS,), details=details)
    away = grid.to_world(np.asarray([[104.5, 104.5]]))[0]
    picture = drawn(image, tuple(away.tolist()), [square(104.5, 124.5, 8)])
    outline, bright = (picture == GREEN).all(axis=-1), picture.min(axis=-1) > 200
    bright[[*range(8), *range(-8, 0)]] = False
    bright[:, [*range(8), *range(-8, 0)]] = False
    assert middle_of(outline) == pytest.approx(middle_of(bright), abs=1)
    assert (middle_of(bright)[1] > 99.5) == (wall == "right")
