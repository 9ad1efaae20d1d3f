from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medlab.phantoms.slide import PIXEL_UM, SlidePhantom, slide_phantom

SHAPE = (1536, 2048)


@pytest.fixture(scope="module")
def phantom() -> SlidePhantom:
    return slide_phantom(1, "slide", shape=SHAPE)


@pytest.fixture(scope="module")
def whole() -> SlidePhantom:
    return slide_phantom(2)


def test_a_seed_gives_the_same_pixels_and_another_gives_others(phantom: SlidePhantom) -> None:
    again, other = slide_phantom(1, "slide", shape=SHAPE), slide_phantom(7, "slide", shape=SHAPE)
    np.testing.assert_array_equal(phantom.pixels, again.pixels)
    np.testing.assert_array_equal(phantom.labels, again.labels)
    assert phantom.findings == again.findings
    assert (phantom.pixels != other.pixels).mean() > 0.5


def test_arrays_lie_on_a_grid_of_half_micrometres(phantom: SlidePhantom) -> None:
    assert phantom.pixels.shape == (*SHAPE, 3)
    assert phantom.labels.shape == phantom.grid.shape == SHAPE
    assert phantom.pixels.dtype == np.uint8
    assert phantom.labels.dtype == np.uint16
    assert phantom.grid.unit == "um"
    assert phantom.grid.spacing == (PIXEL_UM, PIXEL_UM)


def test_a_slide_of_the_usual_size_holds_20_to_60_glomeruli(whole: SlidePhantom) -> None:
    assert whole.pixels.shape == (4096, 6144, 3)
    assert 20 <= len(whole.findings) <= 60
    assert {finding.label for finding in whole.findings} == {"glomerulus"}
    assert len({finding.finding_id for finding in whole.findings}) == len(whole.findings)


def test_findings_are_where_the_labels_say(whole: SlidePhantom) -> None:
    boxes = ndimage.find_objects(whole.labels)
    assert len(boxes) == len(whole.findings)
    for number, (finding, box) in enumerate(zip(whole.findings, boxes, strict=True), start=1):
        row, column = np.rint(whole.grid.to_index(finding.centre)).astype(int)
        assert whole.labels[row, column] == number
        area_um2 = (whole.labels[box] == number).sum() * PIXEL_UM**2
        assert 2 * np.sqrt(area_um2 / np.pi) == pytest.approx(finding.diameter, rel=0.15)
        assert 120 < finding.diameter < 220


def test_the_glass_is_white_and_the_tissue_is_pink(whole: SlidePhantom) -> None:
    assert whole.pixels[:40, :40].mean() > 200
    tissue = whole.pixels[whole.pixels[..., 1] < 200].mean(axis=0)
    red, green, blue = tissue
    assert red > blue > green


def test_glomeruli_have_a_darker_tuft_in_a_white_halo(whole: SlidePhantom) -> None:
    green = whole.pixels[..., 1]
    for number, finding in enumerate(whole.findings, start=1):
        row, column = np.rint(whole.grid.to_index(finding.centre)).astype(int)
        radius = round(finding.diameter / 2 / PIXEL_UM)
        box = (slice(row - radius, row + radius), slice(column - radius, column + radius))
        inside = whole.labels[box] == number
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        tuft, halo = green[box][depth > 0.4 * radius], green[box][(depth > 7) & (depth < 0.11 * radius)]
        assert tuft.mean() < green[whole.labels == 0].mean() - 20
        assert np.median(halo) > tuft.mean() + 60


def test_one_piece_or_two_lie_on_the_glass() -> None:
    for seed in (1, 3):
        small = slide_phantom(seed, shape=(1024, 1536)).pixels[::8, ::8, 1]
        tissue = ndimage.binary_closing(small < 205, iterations=3)
        named, count = ndimage.label(tissue)
        sizes = ndimage.sum_labels(tissue, named, range(1, count + 1))
        assert 1 <= (sizes > 0.05 * tissue.size).sum() <= 2
        assert 0.3 < tissue.mean() < 0.85
