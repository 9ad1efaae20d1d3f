from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from augmented_samples import assert_boxes_fit_masks, sample_of, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation import STANDARD, build_transforms
from napari_medlab.models.augmentation.colour import Colour, Stain
from napari_medlab.models.augmentation.copying import CopyLesions
from napari_medlab.models.augmentation.intensity import Blur, Brightness, Contrast, HistogramShift, Noise
from napari_medlab.models.augmentation.table import OF_BATCHES, TRANSFORMS

ARGUMENTS: dict[str, dict[str, Any]] = {
    "copy-lesions": {"most_diameter": 5.0},
    "cover-positives": {"size": 4},
    "multi-scale": {"sizes": [[8, 8], [12, 16]]},
    "translate": {"most": 3},
}
PLANAR = {"stain", "colour", "multi-scale"}
BOXES: dict[int, list[tuple[float, ...]]] = {
    2: [(2.5, 2.5, 5.5, 5.5), (9.5, 1.5, 12.5, 4.5)],
    3: [(2.5, 2.5, 3.5, 5.5, 5.5, 6.5)],
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_each_transform_follows_its_seed_and_leaves_what_it_was_given(name: str, dims: int) -> None:
    if name in PLANAR and dims == 3:
        pytest.skip("for planar images")
    single, batch = build_transforms([{"name": name, "arguments": ARGUMENTS.get(name, {})}])
    assert (len(single), len(batch)) == ((0, 1) if name in OF_BATCHES else (1, 0))
    samples = [replace(sample_of((16,) * dims, BOXES[dims], 3, seed=s), label=s % 2) for s in range(2)]
    before = [snapshot(sample) for sample in samples]

    def changed(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        out = batch[0](rng, list(samples)) if batch else [single[0](rng, sample) for sample in samples]
        assert len(out) == len(samples)
        for sample in out:
            assert sample.image.dtype == np.float32
            assert sample.boxes.dtype == np.float32
            assert len(sample.boxes) == len(sample.labels) == len(sample.is_ignored)
        return [array for sample in out for array in snapshot(sample)]

    first, again = changed(5), changed(5)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(
        any(a.shape != b.shape or (a != b).any() for a, b in zip(first, changed(seed), strict=True))
        for seed in range(6)
    )
    for sample, arrays in zip(samples, before, strict=True):
        for array, copy in zip(snapshot(sample), arrays, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_a_transform_is_applied_with_its_probability() -> None:
    (brighter,), _ = build_transforms(
        [{"name": "brightness", "arguments": {"gain": [1, 1], "shift": [1, 1]}, "probability": 0.3}]
    )
    sample, rng = sample_of((4, 4), []), np.random.default_rng(0)
    times = sum(brighter(rng, sample).image.max() > 1 for _ in range(500))
    assert times == pytest.approx(150, abs=40)


def test_the_standard_list_keeps_z() -> None:
    single, batch = build_transforms(STANDARD)
    assert not batch
    sample = sample_of((4, 8, 8), [(0.5, 1.5, 2.5, 1.5, 3.5, 6.5)])
    seen = set()
    for seed in range(60):
        moved = sample
        for transform in single:
            moved = transform(np.random.default_rng(seed), moved)
        assert_boxes_fit_masks(moved, 0)
        seen.add(moved.boxes.tobytes())
    assert moved.boxes[0, 3] - moved.boxes[0, 0] == 1
    assert len(seen) >= 4


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"name": "flop"}, "flip, halve-size"),
        ({"arguments": {}}, "has a name"),
        ({"name": "flip", "chance": 0.5}, "probability"),
        ({"name": "flip", "probability": 2}, "from 0 to 1"),
        ({"name": "noise", "arguments": {"sigma": 1}}, "It takes deviation"),
        ({"name": "noise", "arguments": [1]}, "It takes deviation"),
        ({"name": "translate"}, "It takes most"),
        ({"name": "elastic", "arguments": {"strength": 1.5}}, "strength from 0 to below 1"),
        ({"name": "zoom", "arguments": {"scale": [2, 1]}}, "Scales rise"),
        ({"name": "affine", "arguments": {"planes": "yx"}}, "planes are two"),
        ({"name": "contrast", "arguments": {"gamma": [-1, 1]}}, "above 0"),
        ({"name": "blur", "arguments": {"sigma": [2]}}, "a pair"),
        ({"name": "histogram-shift", "arguments": {"points": 2}}, "3 points"),
        ({"name": "random-mask", "arguments": {"least_visible": 0}}, "visible share above 0"),
        ({"name": "cutout", "arguments": {"holes": 0}}, "at least one hole"),
        ({"name": "copy-lesions", "arguments": {"most_diameter": 0}}, "diameter above 0"),
        ({"name": "cover-positives", "arguments": {"size": 0}}, "at least 1 voxel"),
        ({"name": "multi-scale", "arguments": {"sizes": []}}, "list of shapes"),
        ({"name": "flip", "arguments": {"axes": ["w"]}}, "flip x"),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(InputRefusedError, match=told):
        build_transforms([spec])


def test_brightness_is_a_line() -> None:
    sample = sample_of((6, 6), [], 2)
    image = Brightness((0.5, 2.0), (-1.0, 1.0))(np.random.default_rng(0), sample).image
    slope, offset = np.polyfit(sample.image.ravel(), image.ravel(), 1)
    np.testing.assert_allclose(image, slope * sample.image + offset, atol=1e-5)
    assert 0.5 <= slope <= 2.0
    assert -1.0 <= offset <= 1.0


@pytest.mark.parametrize("bend", [Contrast((0.5, 2.0)), HistogramShift(5)])
def test_grey_scales_are_bent_but_keep_their_order_and_ends(bend: Contrast) -> None:
    sample = sample_of((8, 8), [])
    image = bend(np.random.default_rng(2), sample).image
    order = np.argsort(sample.image, axis=None)
    assert (np.diff(image.ravel()[order]) >= -1e-6).all()
    np.testing.assert_allclose(
        [image.min(), image.max()], [sample.image.min(), sample.image.max()], atol=1e-5
    )
    assert np.abs(image - sample.image).max() > 0.01


def test_an_image_of_one_value_has_no_histogram_to_shift() -> None:
    flat = replace(sample_of((4, 4), []), image=np.ones((1, 4, 4), np.float32))
    assert HistogramShift()(np.random.default_rng(0), flat) is flat


def test_noise_is_no_stronger_than_asked_for_and_blur_takes_it_away() -> None:
    grey = replace(sample_of((32, 32), []), image=np.full((1, 32, 32), 0.5, np.float16))
    noisy = [Noise(0.1)(np.random.default_rng(seed), grey) for seed in range(20)]
    deviations = [float(sample.image.std()) for sample in noisy]
    assert max(deviations) < 0.11
    assert min(deviations) < 0.03
    strong = noisy[int(np.argmax(deviations))]
    assert Blur((1.0, 1.5))(np.random.default_rng(0), strong).image.std() < 0.5 * strong.image.std()
    np.testing.assert_allclose(Blur()(np.random.default_rng(0), grey).image, grey.image, atol=1e-6)


def test_stain_and_colour_stay_near_and_inside_the_range() -> None:
    slide = sample_of((8, 8), [], 3)
    for change in (Stain(0.1, 0.02), Colour(0.2, 0.1)):
        image = change(np.random.default_rng(0), slide).image
        assert image.min() >= 0
        assert image.max() <= 1
        assert 0.002 < np.abs(image - slide.image).mean() < 0.2
    np.testing.assert_allclose(Stain(0, 0)(np.random.default_rng(0), slide).image, slide.image, atol=2e-3)
    np.testing.assert_allclose(Colour(0, 0)(np.random.default_rng(0), slide).image, slide.image, atol=1e-6)


@pytest.mark.parametrize("odd", [sample_of((4, 4), [], 1), sample_of((4, 4, 4), [], 3)])
def test_stain_needs_planar_rgb(odd: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputRefusedError, match="planar images of 3 channels"):
        Stain()(np.random.default_rng(0), odd)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.integers(0, 2))
def test_copies_touch_no_other_object_and_bring_their_masks(seed: int, dims: int, margin: int) -> None:
    rng = np.random.default_rng(seed)
    sample = sample_of((22,) * dims, [(6.5,) * dims + (9.5,) * dims, (14.5,) * dims + (19.5,) * dims])
    assert sample.mask is not None
    copied = CopyLesions(4.0, (1, 4), margin)(rng, sample)
    new = copied.boxes[2:]
    np.testing.assert_array_equal(copied.boxes[:2], sample.boxes)
    assert set(copied.labels[2:].tolist()) <= {0}, "the large one is not copied"
    for row, box in enumerate(copied.boxes):
        for other in copied.boxes[row + 1 :]:
            assert ((box[:dims] >= other[dims:]) | (box[dims:] <= other[:dims])).any()
    assert copied.mask is not None
    assert copied.mask[0].sum() == sample.mask[0].sum() * (1 + len(new))
    for box in new:
        place = tuple(slice(int(a + 0.5), int(b + 0.5)) for a, b in zip(box[:dims], box[dims:], strict=True))
        assert copied.mask[0][place].all()
        # flips keep the values of what is copied
        values = np.sort(sample.image[0][(slice(7, 10),) * dims], axis=None)
        np.testing.assert_allclose(np.sort(copied.image[0][place], axis=None), values, atol=1e-5)
    is_object = sample.mask.any(axis=0)
    np.testing.assert_array_equal(copied.image[0][is_object], sample.image[0][is_object])


def test_copies_go_where_it_looks_alike() -> None:
    image = np.zeros((1, 40, 40), np.float32)
    image[:, :, 20:] = 1.0
    image[:, 5:8, 5:8] = 0.5
    sample = replace(sample_of((40, 40), [(4.5, 4.5, 7.5, 7.5)]), image=image)
    columns = [
        float(copied.centres[1, 1])
        for copied in (CopyLesions(5.0, (1, 1))(np.random.default_rng(seed), sample) for seed in range(30))
        if len(copied.boxes) > 1
    ]
    assert np.mean(np.array(columns) < 20) > 0.9


def test_lesions_that_are_cut_ignored_or_beside_another_are_not_copied() -> None:
    cut = sample_of((20, 20), [(-0.5, 4.5, 2.5, 7.5)])
    ignored = replace(sample_of((20, 20), [(4.5, 4.5, 7.5, 7.5)]), is_ignored=np.array([True]))
    close = sample_of((20, 20), [(4.5, 4.5, 7.5, 7.5), (7.5, 5.5, 9.5, 7.5)])
    for sample in (cut, ignored, close, sample_of((20, 20), [])):
        assert CopyLesions(9.0, (3, 3))(np.random.default_rng(0), sample) is sample
