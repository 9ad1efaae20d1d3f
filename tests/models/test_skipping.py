from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.tiles import halved
from napari_medlab.models.inference.engine import plan_of
from napari_medlab.models.inference.planning import TilingRule
from napari_medlab.models.inference.skipping import Foreground, body_mask, breast_mask, lung_mask, tissue_mask
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.phantoms.chest_ct import ChestPhantom, chest_phantom


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom(20_003, "case")


def test_lungs_stay_in_and_the_air_around_the_body_goes(phantom: ChestPhantom) -> None:
    mask = body_mask(phantom.volume[::2, ::4, ::4])
    assert 0.4 < mask.mean() < 0.95
    for finding in phantom.findings:
        index = np.round(phantom.grid.to_index(finding.centre) / (2, 4, 4)).astype(int)
        assert mask[tuple(np.minimum(index, np.asarray(mask.shape) - 1))]
    assert not mask[:, 0, 0].any()


def test_lungs_that_the_image_cuts_open_stay_in(phantom: ChestPhantom) -> None:
    cropped = phantom.volume[::2, 30:100:4, 30:72:4]
    lungs = (cropped < -600) & (cropped > -900)
    assert lungs.mean() > 0.1
    assert body_mask(cropped)[lungs].mean() > 0.97


def test_of_a_chest_the_lungs_alone_are_looked_at_and_every_nodule_lies_there() -> None:
    for seed in range(20_010, 20_016):
        phantom = chest_phantom(seed, "case")
        steps = np.array([2, 4, 4])
        mask = lung_mask(phantom.volume[::2, ::4, ::4], np.asarray(phantom.grid.spacing) * steps)
        body = body_mask(phantom.volume[::2, ::4, ::4])
        assert mask.mean() < 0.95 * body.mean()
        inside = np.argwhere(phantom.labels > 0) / steps
        assert mask[tuple(np.minimum(np.rint(inside).astype(int), np.asarray(mask.shape) - 1).T)].all()


def test_a_consolidation_between_air_is_looked_at() -> None:
    volume = np.full((6, 40, 60), 40, np.int16)
    volume[:, 10:30, 8:24] = volume[:, 10:30, 36:52] = -850
    volume[2:4, 14:24, 8:24] = 30
    mask = lung_mask(volume, np.full(3, 5.0))
    assert mask[3, 18, 16]
    assert mask[3, 20, 30]
    assert not mask[3, 2, 30]


def test_without_lungs_the_body_is_looked_at() -> None:
    volume = np.full((6, 40, 60), -1000, np.int16)
    volume[:, 5:35, 5:55] = 40
    np.testing.assert_array_equal(lung_mask(volume, np.full(3, 5.0)), body_mask(volume))


def test_a_table_is_no_body() -> None:
    volume = np.full((8, 60, 60), -1000, np.int16)
    y, x = np.mgrid[:60, :60]
    volume[:, (y - 25) ** 2 + (x - 30) ** 2 < 18**2] = 40
    volume[:, 56, 10:50] = 200
    mask = body_mask(volume)
    assert mask[:, 25, 30].all()
    assert not mask[:, 56, 12].any()


def test_nothing_is_skipped_where_there_is_no_body() -> None:
    assert body_mask(np.full((4, 5, 6), -1000, np.int16)).all()


@pytest.mark.parametrize("background", [0, 300])
def test_a_breast_stands_out_from_its_own_background(background: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.normal(background, 3, (120, 80))
    y, x = np.mgrid[:120, :80]
    breast = (y - 60) ** 2 / 50**2 + x**2 / 55**2 < 1
    pixels[breast] += 60 + 40 * rng.random(int(breast.sum()))
    mask = breast_mask(np.clip(pixels, 0, None))
    assert mask[breast].all()
    assert mask[~breast].mean() < 0.1


GLASSES = [(244, 242, 245), (215, 228, 205), (250, 236, 200)]


def section(
    glass: tuple[int, int, int], rng: np.random.Generator
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    pixels = np.asarray(glass) + rng.normal(0, 2, (150, 200, 3))
    tissue = np.zeros((150, 200), np.bool_)
    tissue[30:90, 40:120] = True
    pixels[tissue] *= (0.85, 0.6, 0.8)
    pale = np.zeros_like(tissue)
    pale[100:130, 60:100] = True
    pixels[pale] *= (0.97, 0.88, 0.95)
    return np.clip(pixels, 0, 255).astype(np.uint8), tissue | pale


@pytest.mark.parametrize("glass", GLASSES)
def test_tissue_stands_out_from_the_slide_s_own_glass_even_where_it_is_pale(
    glass: tuple[int, int, int],
) -> None:
    pixels, tissue = section(glass, np.random.default_rng(0))
    mask = tissue_mask(pixels)
    assert mask[tissue].all()
    assert mask[~tissue].mean() < 0.1


def test_grey_and_black_tissue_stands_out_too() -> None:
    pixels = np.full((100, 100, 3), 240, np.uint8)
    pixels[20:40, 20:60] = 120
    pixels[60:80, 20:60] = 10
    mask = tissue_mask(pixels)
    assert mask[20:40, 20:60].all()
    assert mask[60:80, 20:60].all()
    assert mask.mean() < 0.3


def test_a_slide_without_clear_glass_is_looked_at_as_a_whole() -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((15, 20, 3)), np.ones((10, 10, 1)))
    assert tissue_mask((120 + 110 * smooth).astype(np.uint8)).all()


def test_a_foreground_knows_which_boxes_it_touches() -> None:
    mask = np.zeros((4, 5), np.bool_)
    mask[1, 3] = True
    foreground = Foreground(mask, (0.1, 0.1), (-0.45, -0.45))
    np.testing.assert_array_equal(
        foreground.along(1, (0, 0), (40, 50), np.arange(0, 51, 10)), [False, False, False, True, False]
    )
    np.testing.assert_array_equal(foreground.along(1, (20, 0), (40, 50), np.arange(0, 51, 10)), [False] * 5)
    np.testing.assert_array_equal(
        foreground.along(0, (0, 35), (40, 36), np.array([0, 10, 20, 40])), [False, True, False]
    )
    assert foreground.share == 0.05


def test_no_tissue_is_left_out_on_any_lattice() -> None:
    pixels = [np.full((400, 600, 3), 243, np.uint8)]
    pixels[0][90:130, 200:330] = (200, 120, 180)
    for _ in range(2):
        pixels.append(halved(pixels[-1]))
    grid = Grid.axis_aligned((400, 600), (0.5, 0.5), unit="um")
    image = Image.of_arrays(pixels, grid, kind="slide", is_rgb=True)
    for spacing in (0.5, 0.8, 1.0, 2.0):
        prepared = Preprocessing(kind="slide", spacing_um=spacing).prepare(image)
        plan = plan_of(prepared, TilingRule((32, 32), 4, 4, skip="glass"))
        covered = np.zeros(prepared.shape, np.bool_)
        for tile in plan.tiles:
            covered[tile.core_box()] = True
        tissue = prepared.read((0, 0), prepared.shape)[1] < 0.8
        assert covered[tissue].all()
        assert plan.skipped > 0 or spacing > 1
        assert plan_of(prepared, TilingRule((32, 32), 4, 4)).skipped == 0


def test_a_volume_s_tiles_are_laid_over_the_body(phantom: ChestPhantom) -> None:
    volume = np.pad(phantom.volume, ((0, 0), (40, 30), (50, 20)), constant_values=-1010)
    image = Image.of_arrays([volume], phantom.grid.cropped((0, -40, -50), volume.shape), modality="CT")
    prepared = Preprocessing(1.5, (-1000.0, 400.0)).prepare(image)
    plan = plan_of(prepared, TilingRule((16, 16, 16), 8, 8, skip="air"))
    assert plan.skipped > 0
    for finding in phantom.findings:
        index = prepared.grid.to_index([finding.centre])
        assert any(tile.in_core(index)[0] for tile in plan.tiles)


def test_an_inverted_mammogram_s_background_is_found() -> None:
    pixels = np.full((200, 160), 4000, np.uint16)
    pixels[50:150, :70] = 1500
    image = Image.of_arrays(
        [pixels], Grid.axis_aligned((200, 160), (0.1, 0.1)), kind="mammogram", is_inverted=True
    )
    prepared = Preprocessing(kind="mammogram", percentiles=(1, 99)).prepare(image)
    found = prepared.foreground("air")
    assert found is not None
    assert 0.2 < found.share < 0.3
    assert found.mask[60:140, :60].all()
