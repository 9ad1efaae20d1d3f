from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, isotropic_grid, resample
from napari_medlab.images import Image
from napari_medlab.images.tiles import PlaneTiles, halved
from napari_medlab.models.preprocessing import Preprocessing

WINDOW = (-1000.0, 400.0)


def volume_of(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int = 3) -> Image:
    values = np.random.default_rng(seed).integers(-1024, 1500, shape, dtype=np.int16)
    return Image.of_arrays([values], Grid.axis_aligned(shape, spacing, (5.0, -3.0, 11.0)), modality="CT")


def slide_of(side: int = 200, levels: int = 3, spacing: float = 0.5) -> Image:
    pixels = [np.random.default_rng(1).integers(0, 256, (side, side + 31, 3), dtype=np.uint8)]
    for _ in range(levels - 1):
        pixels.append(halved(pixels[-1]))
    grid = Grid.axis_aligned(pixels[0].shape[:2], (spacing, spacing), unit="um")
    return Image.of_arrays(pixels, grid, kind="slide", is_rgb=True)


def photo_of(pixels: np.ndarray[Any, Any], **rest: Any) -> Image:  # noqa: ANN401 - fields
    grid = Grid.axis_aligned(pixels.shape[:2], (1, 1), unit="px")
    return Image.of_arrays([pixels], grid, kind="photo", is_rgb=pixels.ndim == 3, **rest)


def whole(preprocessing: Preprocessing, image: Image) -> np.ndarray[Any, Any]:
    prepared = preprocessing.prepare(image)
    return prepared.read((0,) * prepared.grid.ndim, prepared.shape)


def test_bundles_of_version_1_go_on_as_they_were() -> None:
    image = volume_of((20, 30, 25), (2.5, 0.7, 0.7))
    preprocessing = Preprocessing.from_json({"spacing_mm": 1.5, "window": [-1000.0, 400.0]})
    assert preprocessing == Preprocessing(1.5, WINDOW)
    assert preprocessing.as_json() == {"spacing_mm": 1.5, "window": [-1000.0, 400.0]}
    applied, grid = preprocessing.apply(image)
    target = isotropic_grid(image.grid, 1.5)
    expected = (resample(np.clip(image.decoded(), *WINDOW), image.grid, target, fill=-1000.0) + 1000) / 1400
    np.testing.assert_array_equal(applied, expected)
    assert grid == target


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.floats(0.4, 4)] * 3), st.floats(0.5, 3),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_box_of_a_volume_is_what_resampling_all_of_it_gives(
    shape: tuple[int, ...], spacing: tuple[float, ...], wanted: float, seed: int
) -> None:
    image = volume_of(shape, spacing, seed)
    preprocessing = Preprocessing(wanted, WINDOW)
    applied, grid = preprocessing.apply(image)
    prepared = preprocessing.prepare(image)
    assert prepared.grid == grid
    assert prepared.shape == applied.shape
    rng = np.random.default_rng(seed)
    start = [int(rng.integers(0, size)) for size in applied.shape]
    stop = [int(rng.integers(a, size)) + 1 for a, size in zip(start, applied.shape, strict=True)]
    block = prepared.read(start, stop)
    assert block.dtype == np.float32
    np.testing.assert_allclose(block[0], applied[tuple(map(slice, start, stop))], atol=2e-6)


def test_a_volume_stored_otherwise_is_the_same_volume() -> None:
    image = volume_of((20, 30, 25), (2.5, 0.7, 0.7))
    order, flips = (2, 0, 1), (-1, 1, -1)
    turned = image.decoded().transpose(order)[::-1, :, ::-1]
    other = Image.of_arrays([turned], image.grid.reordered(order, flips), modality="CT")
    preprocessing = Preprocessing(1.2, WINDOW)
    np.testing.assert_allclose(whole(preprocessing, other), whole(preprocessing, image), atol=1e-6)


def test_only_the_planes_around_a_box_are_decoded() -> None:
    planes: list[int] = []

    def plane(number: int) -> np.ndarray[Any, Any]:
        planes.append(number)
        return np.full((64, 64), number, np.int16)

    grid = Grid.axis_aligned((300, 64, 64), (1.0, 1.0, 1.0))
    image = Image(Path("scan"), "volume", "CT", (PlaneTiles((300, 64, 64), np.int16, plane, "scan"),), grid)
    prepared = Preprocessing(2.0, (0.0, 300.0)).prepare(image)
    assert planes == []
    block = prepared.read((70, 0, 0), (72, 8, 8))
    assert set(planes) <= set(range(120, 200))
    np.testing.assert_allclose(block[0, :, 4, 4], np.array([140, 142]) / 300, atol=1e-6)
    seen = len(planes)
    prepared.read((70, 8, 8), (72, 32, 32))
    assert len(planes) == seen


def test_outside_the_image_is_the_fill_value() -> None:
    prepared = Preprocessing(None, WINDOW).prepare(volume_of((4, 5, 6), (1, 1, 1)))
    block = prepared.read((-2, 0, 3), (5, 5, 8))
    np.testing.assert_array_equal(block[0, :2], 0)
    np.testing.assert_array_equal(block[0, 6:], 0)
    np.testing.assert_array_equal(block[0, :, :, 3:], 0)
    np.testing.assert_array_equal(block[0, 2:6, :, :3], prepared.read((0, 0, 3), (4, 5, 6))[0])
    assert (prepared.read((50, 50, 50), (52, 52, 52)) == 0).all()


def test_outside_a_slide_is_glass() -> None:
    prepared = Preprocessing(kind="slide").prepare(slide_of())
    assert (prepared.read((0, 229), (4, 240))[:, :, 2:] == 1).all()


@pytest.mark.parametrize(("wanted", "level"), [(0.5, 0), (1.0, 1), (2.0, 2), (1.01, 1)])
def test_a_slide_is_read_from_the_level_of_the_wanted_spacing(wanted: float, level: int) -> None:
    image = slide_of(levels=3)
    prepared = Preprocessing(kind="slide", spacing_um=wanted).prepare(image)
    pixels = image.arrays[level][...]
    assert prepared.shape == pixels.shape[:2]
    np.testing.assert_allclose(
        prepared.read((0, 0), prepared.shape), np.moveaxis(pixels, -1, 0).astype(np.float32) / 255, atol=1e-6
    )
    # the middle of the first pixel of a level is the middle of the pixels that it was made of
    np.testing.assert_allclose(prepared.grid.to_world((0, 0)), 0.5 * (2**level - 1) / 2, atol=0.01)


def test_between_two_levels_the_finer_one_is_scaled() -> None:
    rows = np.arange(400, dtype=np.float32)
    ramp = np.repeat((rows[:, None, None] / 2).astype(np.uint8), 300, axis=1).repeat(3, axis=2)
    grid = Grid.axis_aligned((400, 300), (0.5, 0.5), unit="um")
    image = Image.of_arrays([ramp, halved(ramp)], grid, kind="slide", is_rgb=True)
    prepared = Preprocessing(kind="slide", spacing_um=1.6).prepare(image)
    assert prepared.shape == (125, 93)
    seen = prepared.read((10, 10), (110, 20))[0]
    rows_of_level0 = grid.to_index(
        prepared.grid.to_world(np.stack([np.arange(10, 110), np.full(100, 10)], 1))
    )[:, 0]
    np.testing.assert_allclose(seen[:, 5] * 255, rows_of_level0 / 2, atol=0.6)
    assert prepared.grid.spacing == pytest.approx((1.6, 1.6))


def test_a_photo_is_made_as_long_as_the_network_wants_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    prepared = Preprocessing(kind="photo", longest_side=45).prepare(photo_of(pixels))
    assert prepared.shape == (30, 45)
    larger = Preprocessing(kind="photo", longest_side=180).prepare(photo_of(pixels))
    assert larger.shape == (120, 180)
    assert larger.read((0, 0), (1, 1))[0, 0, 0] == pytest.approx(pixels[0, 0, 0] / 255)


def test_percentiles_are_the_image_s_own() -> None:
    values = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    seen = whole(Preprocessing(kind="photo", percentiles=(10, 90)), photo_of(values))
    assert (seen.min(), seen.max()) == (0, 1)
    assert (seen == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert seen[0, 50, 0] == pytest.approx(0.5, abs=0.01)


def test_standardising_gives_each_channel_mean_0_and_deviation_1() -> None:
    pixels = np.random.default_rng(0).integers(20, 200, (50, 60, 3), dtype=np.uint8) // np.array(
        [1, 2, 4], np.uint8
    )
    seen = whole(Preprocessing(kind="photo", standardise=True), photo_of(pixels))
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=(1, 2)), 1, atol=1e-4)


def test_a_mean_and_deviation_of_the_training_data_are_applied_channel_by_channel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    seen = whole(Preprocessing(kind="photo", mean=mean, std=std), photo_of(pixels))
    expected = (pixels / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(seen, np.moveaxis(expected, -1, 0), atol=1e-5)
    image = volume_of((4, 5, 6), (1, 1, 1))
    scaled = Preprocessing(1.0, WINDOW, mean=(0.3,), std=(0.5,))
    np.testing.assert_allclose(whole(scaled, image)[0], scaled.apply(image)[0], atol=1e-5)


def test_a_radiograph_whose_high_values_are_dark_is_turned() -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 30), dtype=np.uint16)
    grid = Grid.axis_aligned((40, 30), (0.1, 0.1))
    bright = Image.of_arrays([pixels], grid, kind="mammogram")
    dark = Image.of_arrays([4095 - pixels], grid, kind="mammogram", is_inverted=True)
    for preprocessing in (
        Preprocessing(kind="mammogram", window=(0.0, 4095.0)), Preprocessing(kind="mammogram", percentiles=(1, 99)),
        Preprocessing(kind="mammogram", window=(0.0, 4095.0), standardise=True),
    ):  # fmt: skip
        np.testing.assert_allclose(whole(preprocessing, dark), whole(preprocessing, bright), atol=1e-4)
    left = Preprocessing(kind="mammogram", window=(0.0, 4095.0), turn_inverted=False)
    np.testing.assert_allclose(whole(left, dark), 1 - whole(left, bright), atol=1e-5)


def test_colours_become_grey_and_grey_becomes_colours_where_the_network_wants_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    grey = whole(Preprocessing(kind="photo", channels=1), photo_of(pixels))
    np.testing.assert_allclose(grey[0], pixels @ np.array([0.299, 0.587, 0.114]) / 255, atol=1e-5)
    repeated = whole(Preprocessing(kind="photo", channels=3), photo_of(pixels[..., 0]))
    assert repeated.shape == (3, 5, 6)
    np.testing.assert_array_equal(repeated[0], repeated[2])
    alpha = np.concatenate([pixels, pixels[..., :1]], axis=-1)
    plain = Preprocessing(kind="photo")
    np.testing.assert_array_equal(whole(plain, photo_of(alpha)), whole(plain, photo_of(pixels)))


def test_a_wrong_kind_of_image_is_refused() -> None:
    for refused in (Preprocessing(1.5, WINDOW).prepare, Preprocessing(1.5, WINDOW).apply):
        with pytest.raises(InputRefusedError) as caught:
            refused(slide_of())
        assert caught.value.code == "wrong-kind"
    both = Preprocessing(kind=("slide", "photo"))
    assert both.prepare(slide_of()).channels == 3


def test_channels_that_do_not_fit_are_refused() -> None:
    stains = np.zeros((8, 9, 5), np.uint8)
    grid = Grid.axis_aligned((8, 9), (1, 1), unit="px")
    image = Image.of_arrays([stains], grid, kind="slide")
    assert Preprocessing(kind="slide").prepare(image).channels == 5
    with pytest.raises(InputRefusedError) as caught:
        Preprocessing(kind="slide", channels=3).prepare(image)
    assert caught.value.code == "channels"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "film"}, {"spacing_mm": 1.0, "spacing_um": 2.0}, {"spacing_mm": 0.0}, {"window": (3.0, 1.0)},
        {"window": (0.0, 1.0), "percentiles": (1.0, 99.0)}, {"mean": (0.5,)}, {"mean": (0.5,), "std": (0.0,)},
        {"channels": 2},
    ],
)  # fmt: skip
def test_settings_that_contradict_one_another_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        Preprocessing(**wrong)
    assert caught.value.code == "preprocessing"


def test_settings_survive_json_and_unknown_ones_are_refused() -> None:
    preprocessing = Preprocessing(
        (2.0, 1.0, 1.0), WINDOW, ("volume",), mean=(0.1,), std=(0.2,), channels=1, turn_inverted=False
    )
    assert Preprocessing.from_json(preprocessing.as_json()) == preprocessing
    with pytest.raises(KeyError, match="gamma"):
        Preprocessing.from_json({"gamma": 2})


def test_a_volume_can_have_a_spacing_for_each_axis() -> None:
    image = volume_of((20, 30, 25), (2.5, 0.7, 0.7))
    prepared = Preprocessing((5.0, 1.4, 1.4), WINDOW).prepare(image)
    assert prepared.grid.spacing_mm == pytest.approx((5.0, 1.4, 1.4))
    assert prepared.shape == (10, 15, 13)
