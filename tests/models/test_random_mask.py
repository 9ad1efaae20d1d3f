from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from augmented_samples import sample_of, scattered, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.models.augmentation.carrying import box_slices
from napari_medlab.models.augmentation.covering import Cutout, RandomMask, free_start, visible_shares
from napari_medlab.models.augmentation.negatives import CoverPositives
from napari_medlab.models.training.samples import Sample

few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)
LESION = (3.5, 3.5, 11.5, 11.5)


def named(sample: Sample) -> Sample:
    """Return the sample with a value of its own for every voxel."""
    image = np.arange(sample.image.size, dtype=np.float32).reshape(sample.image.shape)
    return replace(sample, image=image)


@few
@given(
    seeds,
    st.sampled_from([2, 3]),
    st.integers(1, 4),
    st.floats(0.1, 0.9),
    st.sampled_from([(0.1, 0.5), (0.3, 4.0)]),
)
def test_without_dropping_the_lesion_is_never_covered_entirely(
    seed: int, dims: int, blocks: int, least: float, share: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    sample = named(scattered(rng, dims, 1, 7))
    masked = RandomMask(share, no_drop=True, least_visible=least, blocks=blocks)(rng, sample)
    np.testing.assert_array_equal(masked.boxes, sample.boxes)
    assert not masked.is_ignored.any()
    for box in sample.boxes:
        place = (slice(None), *box_slices(box, sample.shape))
        assert (masked.image[place] == sample.image[place]).mean() >= least - 1e-9


@few
@given(seeds, st.sampled_from([2, 3]))
def test_blocks_come_from_where_no_object_is_and_leave_no_mask_behind(seed: int, dims: int) -> None:
    rng = np.random.default_rng(seed)
    sample = named(scattered(rng, dims))
    assert sample.mask is not None
    masked = RandomMask((0.5, 3.0), no_drop=False, lesions=0.7)(rng, sample)
    is_changed = masked.image[0] != sample.image[0]
    came_from = np.unravel_index(masked.image[0][is_changed].astype(int), sample.shape)
    is_object = np.asarray(sample.mask.any(axis=0))
    assert not is_object[came_from].any()
    assert masked.mask is not None
    assert not masked.mask[:, is_changed].any()
    np.testing.assert_array_equal(masked.mask[:, ~is_changed], sample.mask[:, ~is_changed])


def test_a_share_of_the_lesion_is_covered_as_large_as_asked_for() -> None:
    sample = named(sample_of((60, 60), [(10.5, 10.5, 30.5, 30.5)]))
    covered = []
    for seed in range(40):
        masked = RandomMask((0.1, 0.5))(np.random.default_rng(seed), sample)
        covered.append((masked.image != sample.image)[0, 11:31, 11:31].mean())
    assert 0.08 <= min(covered) < 0.2
    assert 0.4 < max(covered) <= 0.53
    assert masked.image[0, 40:].tobytes() == sample.image[0, 40:].tobytes()


def test_with_dropping_a_lesion_that_is_covered_entirely_loses_its_box() -> None:
    sample = named(sample_of((40, 40), [LESION, (20.5, 20.5, 22.5, 22.5)]))
    whole = RandomMask((4.0, 4.0), no_drop=False, blocks=6)
    left = [whole(np.random.default_rng(seed), sample) for seed in range(10)]
    assert min(len(masked.boxes) for masked in left) == 0
    kept = RandomMask((4.0, 4.0), no_drop=True, blocks=6)
    assert all(len(kept(np.random.default_rng(seed), sample).boxes) == 2 for seed in range(10))


def test_with_dropping_a_lesion_that_is_hardly_seen_is_ignored() -> None:
    sample = named(sample_of((40, 40), [LESION]))
    found = set()
    for seed in range(60):
        masked = RandomMask((0.3, 1.2), no_drop=False, least_visible=0.5)(np.random.default_rng(seed), sample)
        place = box_slices(np.asarray(LESION), sample.shape)
        visible = float((masked.image[0][place] == sample.image[0][place]).mean())
        found.add("dropped" if not len(masked.boxes) else "ignored" if masked.is_ignored[0] else "kept")
        assert len(masked.boxes) == (visible > 0)
        assert masked.is_ignored.tolist() == [visible < 0.5] * len(masked.boxes)
    assert {"ignored", "kept"} <= found


def test_a_lesion_that_fills_the_image_is_left_alone() -> None:
    sample = named(sample_of((8, 8), [(-0.5, -0.5, 7.5, 7.5)]))
    assert free_start(np.random.default_rng(0), sample, (2, 2)) is None
    masked = RandomMask((0.1, 0.5))(np.random.default_rng(0), sample)
    np.testing.assert_array_equal(masked.image, sample.image)
    assert free_start(np.random.default_rng(0), sample, (9, 2)) is None


def test_free_places_touch_neither_boxes_nor_masks_nor_what_is_taken() -> None:
    sample = sample_of((10, 10), [(-0.5, -0.5, 9.5, 3.5)])
    assert sample.mask is not None
    mask = np.zeros_like(sample.mask)
    mask[0, :, 5] = 1
    is_taken = np.zeros((10, 10), np.bool_)
    is_taken[:, 9] = True
    starts = {
        free_start(np.random.default_rng(seed), replace(sample, mask=mask), (1, 2), is_taken)
        for seed in range(60)
    }
    assert {start[1] for start in starts if start} == {6, 7}


def test_visible_shares_count_voxels() -> None:
    is_covered = np.zeros((8, 8), np.bool_)
    is_covered[:2] = True
    boxes = np.array([[-0.5, -0.5, 3.5, 3.5], [2.5, 2.5, 5.5, 5.5], [-9.0, 0.0, -6.0, 2.0]])
    np.testing.assert_allclose(visible_shares(boxes, is_covered), [0.5, 1.0, 1.0])


def test_cutout_fills_holes_and_drops_what_is_hidden() -> None:
    sample = sample_of((12, 12), [(5.5, 5.5, 6.5, 6.5), (0.5, 0.5, 1.5, 1.5)])
    before = snapshot(sample)
    drops = 0
    for seed in range(20):
        holed = Cutout(holes=2, size=(4, 6), fill=-1.0)(np.random.default_rng(seed), sample)
        is_hole = holed.image[0] == -1.0
        assert 16 <= is_hole.sum() <= 72
        assert holed.mask is not None
        assert not holed.mask[:, is_hole].any()
        assert len(holed.boxes) == 2 - int(is_hole[6, 6]) - int(is_hole[1, 1])
        drops += 2 - len(holed.boxes)
    assert drops > 0
    for array, copy in zip(snapshot(sample), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    noisy = Cutout(fill=None)(np.random.default_rng(0), sample)
    assert sample.image.min() <= noisy.image.min()
    assert noisy.image.max() <= sample.image.max()


def cube(label: int, value: float) -> Sample:
    return Sample.without_boxes(np.full((1, 8, 8, 8), value, np.float32), label=label)


def test_covered_positives_become_negatives_of_the_same_batch() -> None:
    batch = [cube(1, 10), cube(0, 1), cube(0, 2), cube(1, 20), cube(0, 3)]
    out = CoverPositives(4, share=1.0)(np.random.default_rng(0), batch)
    assert [sample.label for sample in out] == [1, 0, 0, 1, 0]
    covered = [sample for sample in out if sample.label == 0 and sample.image.max() >= 10]
    assert sorted(float(sample.image.max()) for sample in covered) == [10, 20]
    for sample in covered:
        # the border is the positive's, the middle a negative's
        assert sample.image[0, 2:6, 2:6, 2:6].max() in (1, 2, 3)
        is_middle = np.zeros((8, 8, 8), np.bool_)
        is_middle[2:6, 2:6, 2:6] = True
        assert (sample.image[0][~is_middle] >= 10).all()
    assert batch[0].image.min() == 10, "the samples handed in stay as they are"


def test_covered_positives_may_take_the_place_of_the_positive() -> None:
    batch = [cube(1, 10), cube(0, 1)]
    out = CoverPositives((2, 4, 4), share=1.0, beside=False)(np.random.default_rng(0), batch)
    assert [sample.label for sample in out] == [0, 0]
    assert (out[0].image == 1).sum() == 2 * 4 * 4
    assert out[1] is batch[1]


def test_a_covered_positive_has_no_box_and_no_mask() -> None:
    positive = replace(sample_of((12, 12), [LESION]), label=1)
    negative = replace(sample_of((12, 12), [], seed=1), label=0)
    _, covered = CoverPositives(8, share=1.0)(np.random.default_rng(0), [positive, negative])
    assert covered.label == 0
    assert len(covered.boxes) == len(covered.labels) == len(covered.is_ignored) == 0
    assert covered.mask is not None
    assert not covered.mask.any()


@pytest.mark.parametrize("labels", [(1, 1), (0, 0), (-1, -1)])
def test_a_batch_without_both_stays_what_it_is(labels: tuple[int, int]) -> None:
    batch = [cube(label, 1.0) for label in labels]
    out = CoverPositives(4, share=1.0)(np.random.default_rng(0), batch)
    assert all(a is b for a, b in zip(out, batch, strict=True))


def test_positives_are_covered_as_often_as_asked_for() -> None:
    rng = np.random.default_rng(0)
    batch = [cube(1, 10), cube(0, 1)]
    times = sum(CoverPositives(2, share=0.25)(rng, batch)[1].image.max() == 10 for _ in range(400))
    assert times == pytest.approx(100, abs=35)
