from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from augmented_samples import assert_boxes_fit_masks, sample_of, scattered
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.models.augmentation.affine import Affine, Rotate, Zoom, box_of_moved, warped
from napari_medlab.models.augmentation.carrying import box_slices, carried, shifted
from napari_medlab.models.augmentation.elastic import Elastic, deformed, inverse_field, smooth_field
from napari_medlab.models.augmentation.flips import Flip, Symmetries, Translate
from napari_medlab.models.augmentation.scaling import HalveSize, MultiScale, resized
from napari_medlab.models.training.patches import cut_patch, lesion_places

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)
dimensions = st.sampled_from([2, 3])

EXACT = [Flip(), Flip(["x"]), Symmetries(), Symmetries(names=["identity", "rot180"]), Translate(6)]
INTERPOLATING = [
    Rotate(40, objects="box"), Zoom((0.7, 1.5)), Zoom((0.8, 1.2), each_axis=True), Affine(20, (0.8, 1.2), objects="box"),
    Elastic(0.5, 10), Elastic(0.5, 10, is_inverse=True), Elastic(0.8, 12), HalveSize(),
]  # fmt: skip


@few
@given(seeds, dimensions, st.sampled_from(EXACT))
def test_exact_moves_carry_boxes_and_masks_alike(seed: int, dims: int, move: Flip) -> None:
    rng = np.random.default_rng(seed)
    sample = scattered(rng, dims)
    moved = move(rng, sample)
    assert moved.shape == sample.shape
    assert_boxes_fit_masks(moved, 0)


@few
@given(seeds, dimensions, st.sampled_from(INTERPOLATING))
def test_interpolating_moves_carry_boxes_within_a_voxel_of_masks(seed: int, dims: int, move: Affine) -> None:
    rng = np.random.default_rng(seed)
    sample = scattered(rng, dims)
    moved = move(rng, sample)
    assert moved.shape == sample.shape
    assert_boxes_fit_masks(moved, 1.01)


@few
@given(seeds, dimensions)
def test_boxes_of_elastic_deformation_are_those_of_the_deformed_masks(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    sample = scattered(rng, dims)
    assert_boxes_fit_masks(deformed(sample, smooth_field(rng, sample.shape, 0.8, 8)), 1e-3)


@few
@given(seeds, dimensions, st.sampled_from([0.5, 0.8]))
def test_elastic_deformation_never_folds_and_can_be_undone(seed: int, dims: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(12, 20, dims))
    field = smooth_field(rng, shape, strength, 6)
    places = np.indices(shape)
    for axis in range(dims):
        # places keep their order along every line
        assert (np.diff(places[axis] + field[axis], axis=axis) >= 1 - strength - 1e-4).all()
    inverse = inverse_field(field)
    middle = np.asarray(shape)[:, None] / 2 + rng.uniform(-2, 2, (dims, 5))
    there = middle + sampled(inverse, middle)
    np.testing.assert_allclose(there + sampled(field, there), middle, atol=0.1)
    assert np.abs(smooth_field(rng, shape, 0.0, 6)).max() == 0


def sampled(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    return np.stack([map_coordinates(component, places, order=1, mode="nearest") for component in field])


def test_an_image_that_was_deformed_comes_back_by_the_inverse() -> None:
    smooth = np.sin(np.indices((32, 32)) / 4).sum(axis=0, keepdims=True).astype(np.float32)
    sample = replace(sample_of((32, 32), [(12.5, 10.5, 19.5, 20.5)]), image=smooth)
    field = smooth_field(np.random.default_rng(0), (32, 32), 0.6, 10)
    there = deformed(sample, field)
    back = deformed(there, inverse_field(field))
    middle = (0, slice(8, 24), slice(8, 24))
    assert np.abs(there.image - smooth)[middle].max() > 0.2
    np.testing.assert_allclose(back.image[middle], smooth[middle], atol=0.05)
    np.testing.assert_allclose(back.boxes, sample.boxes, atol=4)
    with pytest.raises(ValueError, match="does not contract"):
        inverse_field(smooth_field(np.random.default_rng(0), (32, 32), 0.9, 10) * 4)


def test_a_lesion_between_the_voxels_keeps_a_box_when_deformed() -> None:
    tiny = sample_of((16, 16), [(7.6, 7.6, 7.9, 7.9)])
    for seed in range(10):
        moved = Elastic(0.8, 6)(np.random.default_rng(seed), tiny)
        np.testing.assert_array_equal(moved.boxes[:, 2:] - moved.boxes[:, :2], [[1, 1]])


def test_a_quarter_turn_by_angle_is_the_exact_one() -> None:
    sample = sample_of((9, 9), [(0.5, 1.5, 3.5, 6.5)])
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = warped(sample, quarter, "box")
    exact = Symmetries(names=["rot90"])(np.random.default_rng(0), sample)
    np.testing.assert_allclose(turned.image, exact.image, atol=1e-5)
    np.testing.assert_allclose(turned.boxes, exact.boxes, atol=1e-5)


@few
@given(seeds, dimensions)
def test_the_box_of_a_turned_ball_is_that_of_a_ball(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    middle, half = np.full(dims, 20.0), rng.uniform(5, 9, dims)
    matrix = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    boxes = np.concatenate([middle - half, middle + half])[None].astype(np.float32)
    directions = rng.normal(size=(20_000, dims))
    surface = directions / np.linalg.norm(directions, axis=1, keepdims=True) * half @ matrix.T + middle
    expected = np.concatenate([surface.min(axis=0), surface.max(axis=0)])
    np.testing.assert_allclose(box_of_moved(boxes, matrix, middle)[0], expected, atol=0.1)
    # a box that is turned as a box is never smaller
    wide = box_of_moved(boxes, matrix, middle, "box")[0]
    assert (wide[dims:] - wide[:dims] >= expected[dims:] - expected[:dims] - 1e-3).all()


def test_a_volume_is_turned_in_the_planes_that_are_named() -> None:
    volume = sample_of((5, 9, 9), [(0.5, 2.5, 2.5, 1.5, 5.5, 4.5)])
    turned = Rotate(90)(np.random.default_rng(0), volume)
    np.testing.assert_allclose(turned.boxes[:, [0, 3]], volume.boxes[:, [0, 3]])
    tilted = Rotate(30, planes=("zy", "zx", "yx"))(np.random.default_rng(0), volume)
    assert abs(tilted.boxes[0, 0] - volume.boxes[0, 0]) > 0.01


def test_symmetries_keep_the_shape_of_a_batch() -> None:
    long = sample_of((4, 6, 8), [])
    assert {Symmetries()(np.random.default_rng(s), long).shape for s in range(20)} == {(4, 6, 8)}
    prism = sample_of((6, 6, 6), [(0.5, 0.5, 0.5, 1.5, 2.5, 3.5)])
    thin = [Symmetries("prism")(np.random.default_rng(s), prism).boxes[0] for s in range(40)]
    assert {float(box[3] - box[0]) for box in thin} == {1.0}
    assert len({box.tobytes() for box in thin}) > 8


def test_what_leaves_the_image_is_ignored_and_then_dropped() -> None:
    sample = sample_of((10, 10), [(1.5, 1.5, 5.5, 5.5)])
    # pushed out by the upper border, a voxel at a time: the centre lies at 3.5
    seen = {by: shifted(sample, (by, 0), (10, 10), 0.0) for by in (3, 4, 5, 6)}
    assert [seen[by].is_ignored.tolist() for by in (3, 4, 5, 6)] == [[False], [True], [True], []]
    np.testing.assert_array_equal(seen[4].boxes, [[-2.5, 1.5, 1.5, 5.5]])


def test_what_was_ignored_stays_so() -> None:
    sample = replace(sample_of((8, 8), [(1.5, 1.5, 3.5, 3.5)]), is_ignored=np.array([True]))
    assert carried(sample, sample.image, None, sample.boxes).is_ignored.all()


def test_translation_fills_with_the_least_value() -> None:
    sample = sample_of((6, 6), [])
    moved = Translate((0, 6))(np.random.default_rng(4), sample)
    same = (moved.image == sample.image.min()).all(axis=(0, 1))
    assert same.any()
    assert not same.all()


def test_voxels_of_a_box_are_those_whose_centres_lie_in_it() -> None:
    assert box_slices(np.array([0.5, 1.5, 2.5, 2.5]), (9, 9)) == (slice(1, 3), slice(2, 3))
    assert box_slices(np.array([3.1, 3.1, 3.4, 3.4]), (9, 9)) == (slice(3, 4), slice(3, 4))
    assert box_slices(np.array([-3.5, 7.5, 0.5, 12.5]), (9, 9)) == (slice(0, 1), slice(8, 9))
    outside = box_slices(np.array([-5.5, 2.5, -2.5, 4.5]), (9, 9))
    assert np.zeros((9, 9))[outside].size == 0


def test_resampling_keeps_borders_and_means() -> None:
    sample = sample_of((8, 8), [(-0.5, -0.5, 3.5, 7.5)])
    half = resized(sample, (4, 4))
    np.testing.assert_allclose(half.boxes, [[-0.5, -0.5, 1.5, 3.5]])
    assert half.image.mean() == pytest.approx(sample.image.mean(), abs=0.03)
    assert half.image.std() < 0.7 * sample.image.std()
    large = resized(sample, (16, 24))
    np.testing.assert_allclose(large.boxes, [[-0.5, -0.5, 7.5, 23.5]])
    assert resized(sample, (8, 8)) is sample


def test_a_batch_of_many_scales_has_one_shape_and_the_next_another() -> None:
    batch = [sample_of((12, 10), [(1.5, 1.5, 7.5, 5.5)], seed=s) for s in range(3)]
    multi = MultiScale([(8, 8), (16, 16), (24, 16)])
    shapes = []
    for seed in range(12):
        out = multi(np.random.default_rng(seed), batch)
        assert len({sample.shape for sample in out}) == 1
        shapes.append(out[0].shape)
        assert_boxes_fit_masks(out[0], 1.0)
    assert set(shapes) == {(8, 8), (16, 16), (24, 16)}


@few
@given(seeds, dimensions)
def test_patches_carry_boxes_and_masks_alike(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    sample = scattered(rng, dims)
    shape = tuple(int(n) for n in rng.integers(6, 30, dims))
    patch = cut_patch(rng, sample, shape, 0.7)
    assert patch.shape == shape
    assert_boxes_fit_masks(patch, 0)
    outside = ((patch.centres < 0) | (patch.centres > np.subtract(shape, 1))).any(axis=1)
    np.testing.assert_array_equal(patch.is_ignored, outside)


def test_a_patch_holds_what_the_image_holds_there() -> None:
    image = np.arange(2 * 20 * 30, dtype=np.float32).reshape(2, 20, 30)
    sample = replace(sample_of((20, 30), [(3.5, 3.5, 6.5, 6.5)]), image=image)
    patch = cut_patch(np.random.default_rng(3), sample, (8, 10), 0.0)
    y, x = np.unravel_index(int(patch.image[0, 0, 0]), (20, 30))
    np.testing.assert_array_equal(patch.image, image[:, y : y + 8, x : x + 10])
    patch.image[...] = 0
    assert image.sum() > 0, "a patch shares no memory with its sample"


def test_patches_hold_lesions_as_often_as_asked_for() -> None:
    sample = sample_of((60, 60), [(2.5, 2.5, 5.5, 5.5)])
    rng = np.random.default_rng(0)
    always = [cut_patch(rng, sample, (12, 12), 1.0) for _ in range(20)]
    assert all((~patch.is_ignored).sum() == 1 for patch in always)
    ignored = replace(sample, is_ignored=np.array([True]))
    assert sum(len(cut_patch(rng, ignored, (12, 12), 1.0).boxes) for _ in range(20)) < 10


def test_an_image_smaller_than_the_patch_is_filled_with_its_least_value() -> None:
    sample = sample_of((4, 6, 6), [(1.5, 1.5, 1.5, 3.5, 4.5, 4.5)])
    for seed in range(10):
        patch = cut_patch(np.random.default_rng(seed), sample, (8, 8, 5), 0.5)
        assert patch.shape == (8, 8, 5)
        assert (patch.image == sample.image.min()).sum() >= 8 * 8 * 5 - 4 * 6 * 5
    with pytest.raises(ValueError, match="dimensions"):
        cut_patch(np.random.default_rng(0), sample, (8, 8), 0.5)


def test_patches_of_masks_without_boxes_hold_rare_classes_as_often_as_frequent_ones() -> None:
    mask = np.zeros((2, 64, 64), np.uint8)
    mask[0, 2:40, 2:40] = 1
    mask[1, 60, 60] = 1
    sample = replace(sample_of((64, 64), []), mask=mask)
    places = lesion_places(sample)
    is_rare = (places == 60).all(axis=1)
    assert is_rare.mean() == pytest.approx(0.5, abs=0.01)
    assert mask[0][tuple(places[~is_rare].astype(int).T)].all()
    held = [cut_patch(np.random.default_rng(s), sample, (8, 8), 1.0, places).mask for s in range(30)]
    assert all(each is not None and each.any() for each in held)
    assert len(lesion_places(replace(sample, mask=np.zeros_like(mask)))) == 0
