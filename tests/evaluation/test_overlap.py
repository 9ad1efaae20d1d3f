from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import LabelledOverlap, Resampling, overlap
from napari_medlab.evaluation.overlap import (
    hausdorff_95,
    labelled_overlap_of_images,
    overlap_by_class,
    overlap_of_images,
    surface_dice,
)
from napari_medlab.evaluation.overlap_means import overlap_means
from napari_medlab.geometry import Grid
from napari_medlab.images import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING = (2.5, 0.5, 0.7)


def box(
    start: tuple[int, ...], stop: tuple[int, ...], shape: tuple[int, ...] = (8, 20, 20)
) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def image(values: NDArray[Any], spacing: tuple[float, ...] = SPACING, **options: Any) -> Image:  # noqa: ANN401 (a grid's)
    grid = Grid.axis_aligned(values.shape[: len(spacing)], spacing, **options)
    return Image.of_arrays([values], grid, path=Path("mask"))


def test_equal_masks_agree_fully() -> None:
    mask = box((1, 2, 3), (5, 12, 13))
    result = overlap(mask, mask, SPACING)
    assert (result.dice, result.iou, result.hd95_mm) == (1.0, 1.0, 0.0)
    assert result.volume_reference_ml == pytest.approx(4 * 10 * 10 * 2.5 * 0.5 * 0.7 / 1000)


def test_half_a_mask_worked_out_by_hand() -> None:
    result = overlap(box((0, 0, 0), (2, 4, 4)), box((0, 0, 0), (1, 4, 4)), (1.0, 1.0, 1.0))
    assert result.dice == pytest.approx(2 * 16 / (32 + 16))
    assert result.iou == pytest.approx(0.5)
    assert result.volume_prediction_ml == pytest.approx(0.016)


@pytest.mark.parametrize(("axis", "distance"), [(0, 2 * 2.5), (1, 2 * 0.5), (2, 2 * 0.7)])
def test_two_points_are_their_distance_in_mm_apart(axis: int, distance: float) -> None:
    start = [3, 3, 3]
    first = box((3, 3, 3), (4, 4, 4))
    start[axis] += 2
    second = box(tuple(start), tuple(each + 1 for each in start))
    assert hausdorff_95(first, second, SPACING) == pytest.approx(distance)


def test_empty_masks_agree_and_an_empty_one_has_no_distance() -> None:
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert overlap(empty, empty, SPACING).as_json() == {
        "dice": 1.0,
        "iou": 1.0,
        "hd95_mm": 0.0,
        "volume_reference_ml": 0.0,
        "volume_prediction_ml": 0.0,
        "surface_dice": 1.0,
    }
    result = overlap(full, empty, SPACING)
    assert (result.dice, result.iou, result.hd95_mm, result.surface_dice) == (0.0, 0.0, None, 0.0)


def test_without_a_voxel_size_nothing_is_measured_in_mm() -> None:
    mask = box((1, 2), (5, 12), (20, 20))
    unscaled = image(mask, (1.0, 1.0), unit="px")
    result = overlap_of_images(unscaled, unscaled)
    assert (result.dice, result.hd95_mm, result.volume_reference_ml) == (1.0, None, None)


def test_planar_masks_have_a_distance_and_no_volume() -> None:
    first, second = box((1, 2), (2, 3), (9, 9)), box((1, 5), (2, 6), (9, 9))
    result = overlap_of_images(
        image(first, (100.0, 100.0), unit="um"), image(second, (100.0, 100.0), unit="um")
    )
    assert result.hd95_mm == pytest.approx(0.3)
    assert result.volume_prediction_ml is None


def test_every_label_is_foreground() -> None:
    labels = box((1, 2, 3), (5, 12, 13)).astype(np.int16)
    assert overlap_of_images(image(labels), image(labels * 3)).dice == 1.0


def test_a_mask_stored_in_other_axes_is_turned_first() -> None:
    mask = box((1, 2, 3), (5, 12, 13))
    flipped_affine = np.array(Grid.axis_aligned(mask.shape, SPACING).affine)
    flipped_affine[:3, 3] = flipped_affine[:3, :3] @ (mask.shape[0] - 1, 0, 0)
    flipped_affine[:3, 0] *= -1
    stored = image(mask[::-1])
    turned = Image(stored.path, "volume", "", stored.sources, Grid(mask.shape, flipped_affine))
    assert overlap_of_images(image(mask), turned).dice == 1.0


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (image(np.zeros((8, 20, 21), bool)), "shapes"),
        (image(np.zeros((8, 20, 20), bool), origin=(0.1, 0, 0)), "0.1 mm apart"),
        (image(np.zeros((8, 20, 20), bool), (2.5, 0.5, 0.71)), "apart"),
        (image(np.zeros((8, 20, 20), bool), unit="px"), "px"),
    ],
)
def test_masks_on_different_grids_are_refused(other: Image, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as refusal:
        overlap_of_images(image(np.zeros((8, 20, 20), bool)), other)
    assert refusal.value.code == "grid"


def test_rounding_of_a_header_is_no_other_grid() -> None:
    mask = np.ones((8, 20, 20), bool)
    assert overlap_of_images(image(mask), image(mask, origin=(1e-4, 0, 0))).dice == 1.0


@pytest.mark.parametrize("values", [np.full((8, 20, 20), 0.5), np.full((8, 20, 20), np.nan)])
def test_what_is_no_label_is_refused(values: NDArray[np.float64]) -> None:
    with pytest.raises(InputRefusedError, match="whole numbers"):
        overlap_of_images(image(values), image(values))


def test_colours_are_refused() -> None:
    rgb = image(np.zeros((5, 6, 3), np.uint8), (1.0, 1.0))
    with pytest.raises(InputRefusedError, match="colours"):
        overlap_of_images(rgb, rgb)


def plain_surface(mask: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    inside = {tuple(index) for index in np.argwhere(mask).tolist()}
    steps = [
        tuple(sign if a == axis else 0 for a in range(mask.ndim))
        for axis in range(mask.ndim)
        for sign in (-1, 1)
    ]
    return [
        p for p in sorted(inside) if any(tuple(map(sum, zip(p, s, strict=True))) not in inside for s in steps)
    ]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_surface_distance_agrees_with_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((3, 5, 4)) < 0.5 for _ in range(2)]
    if not all(mask.any() for mask in masks):
        return
    surfaces = [np.asarray(plain_surface(mask)) * SPACING for mask in masks]
    gaps = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=2)
    expected = max(np.percentile(gaps.min(axis=1), 95), np.percentile(gaps.min(axis=0), 95))
    assert hausdorff_95(masks[0], masks[1], SPACING) == pytest.approx(expected)


def blobs(seed: int, shape: tuple[int, ...] = (12, 24, 20)) -> NDArray[np.int64]:
    """Return a label map of 0 to 2 in smooth patches."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return np.asarray(np.digitize(field, [0.0, 0.08]), dtype=np.int64)


# MONAI's own call of its own function warns
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("tolerance", [0.6, 1.5])
def test_every_class_measures_what_monai_measures(seed: int, tolerance: float) -> None:
    import torch
    from monai import metrics

    reference, prediction = blobs(seed), blobs(seed + 100)
    prediction = np.where(np.random.default_rng(seed).random(reference.shape) < 0.8, reference, prediction)
    result = overlap_by_class(reference, prediction, SPACING, tolerance)
    assert sorted(result.by_class) == [1, 2]
    there, here = (
        torch.from_numpy(np.stack([m == k for k in range(3)])[None]).float() for m in (prediction, reference)
    )
    monai: Any = metrics
    expected = {
        "dice": monai.compute_dice(there, here, include_background=False),
        "iou": monai.compute_iou(there, here, include_background=False),
        "hd95_mm": monai.compute_hausdorff_distance(there, here, percentile=95, spacing=SPACING),
        "surface_dice": monai.compute_surface_dice(there, here, [tolerance] * 2, spacing=SPACING),
    }
    for name, values in expected.items():
        found = [getattr(result.by_class[label], name) for label in (1, 2)]
        assert found == pytest.approx(values[0].tolist(), rel=1e-5), name


def test_surfaces_within_the_tolerance_agree() -> None:
    first, second = box((2, 5, 5), (6, 15, 15)), box((2, 6, 5), (6, 16, 15))
    assert surface_dice(first, second, SPACING, 0.5) == 1.0
    assert surface_dice(first, second, SPACING, 0.49) < 1.0
    empty = np.zeros_like(first)
    assert (surface_dice(empty, empty, SPACING), surface_dice(first, empty, SPACING)) == (1.0, 0.0)


def test_a_class_that_one_map_lacks_is_missed_entirely() -> None:
    reference = box((1, 2, 3), (5, 12, 13)).astype(np.int16) * 3
    result = labelled_overlap_of_images(image(reference), image(np.zeros_like(reference)))
    assert list(result.by_class) == [3]
    assert (result.by_class[3].dice, result.by_class[3].hd95_mm) == (0.0, None)
    assert result.as_json()["classes"]["3"]["surface_dice"] == 0.0


@pytest.mark.parametrize("offset", [0, 100_000, -50])
def test_labels_may_have_any_numbers(offset: int) -> None:
    labels = blobs(1)
    shifted = np.where(labels > 0, labels + offset, 0).astype(np.float64)
    result = labelled_overlap_of_images(image(shifted), image(np.roll(shifted, 1, axis=1)))
    plain = overlap_by_class(labels, np.roll(labels, 1, axis=1), SPACING)
    assert list(result.by_class) == [1 + offset, 2 + offset]
    assert result.whole == plain.whole
    assert list(result.by_class.values()) == list(plain.by_class.values())


def test_means_are_taken_over_the_cases_that_have_a_class() -> None:
    empty = np.zeros((8, 20, 20), dtype=np.int64)
    first = box((1, 2, 3), (5, 12, 13)).astype(np.int64)
    half = box((1, 2, 3), (3, 12, 13)).astype(np.int64)
    by_case: dict[str, LabelledOverlap] = {
        "a": overlap_by_class(first, first, SPACING),
        "b": overlap_by_class(first, half, SPACING),
        "c": overlap_by_class(first * 2, empty, SPACING),
    }
    means = overlap_means(by_case, {"a": "p", "b": "p"}, Resampling(200))
    assert list(means) == ["whole", "1", "2"]
    assert means["1"]["dice"].mean == pytest.approx((1 + 2 / 3) / 2)
    assert means["1"]["dice"].n == 2
    assert means["2"]["hd95_mm"].as_json() == {"mean": None, "interval": None, "n": 0}
    # one patient has both cases of class 1, so that nothing varies
    assert means["1"]["dice"].interval == pytest.approx((5 / 6, 5 / 6))
    low, high = means["whole"]["dice"].interval
    assert low < means["whole"]["dice"].mean < high
