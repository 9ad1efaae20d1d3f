from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_medlab.annotations import Region
from napari_medlab.annotations.formats.label_map import class_map, instance_map, regions_of_labels
from napari_medlab.annotations.formats.voxel_outlines import image_regions
from napari_medlab.errors import InputRefusedError

NAMES = {0: "background", 1: "nodule", 2: "vessel", 3: "ignore"}
CLASSES = {name: value for value, name in NAMES.items() if value}
MAPS = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 3))
)


@settings(max_examples=80, deadline=None)
@given(MAPS, st.booleans())
def test_maps_of_classes_come_back_voxel_by_voxel(labels: np.ndarray, split: bool) -> None:
    found = regions_of_labels("case", labels, NAMES, split=split)
    again = class_map(found, labels.shape, CLASSES)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.labels.dtype == np.uint8
    assert found.shape == labels.shape
    assert found.is_complete


@settings(max_examples=40, deadline=None)
@given(MAPS)
def test_maps_of_instances_come_back_in_order(labels: np.ndarray) -> None:
    found = regions_of_labels("case", labels, NAMES, split=False)
    again = instance_map(found, labels.shape)
    values = [value for value in np.unique(labels).tolist() if value]
    np.testing.assert_array_equal(again.labels, np.searchsorted(values, labels, side="right"))
    assert again.names == {number: NAMES[value] for number, value in enumerate(values, start=1)}
    assert list(found.extra["values"].values()) == values


def test_components_are_those_of_scipy() -> None:
    from scipy import ndimage

    labels = (np.random.default_rng(0).random((4, 12, 12)) < 0.15).astype(np.int16)
    found = regions_of_labels("case", labels)
    numbers, count = ndimage.label(labels, structure=np.ones((3, 3, 3)))
    assert len(found) == count
    mine = instance_map(found, labels.shape).labels
    pairs = set(zip(numbers.ravel().tolist(), mine.ravel().tolist(), strict=True))
    assert len(pairs) == count + 1


def test_an_empty_map_says_that_there_is_nothing() -> None:
    found = regions_of_labels("case", np.zeros((3, 4, 5), dtype=np.uint16), NAMES)
    assert len(found) == 0
    assert found.is_complete
    assert found.regions.ndim == 3
    assert not class_map(found, (3, 4, 5), CLASSES).labels.any()


def test_whole_numbers_may_be_stored_as_floats() -> None:
    labels = np.zeros((3, 4), dtype=np.float32)
    labels[1, 1:3] = 2
    found = regions_of_labels("case", labels, NAMES)
    assert found.regions.label_names == ("vessel",)


def test_ids_may_be_large_and_sparse() -> None:
    labels = np.zeros((2, 4, 4), dtype=np.uint32)
    labels[0, 0, 0], labels[1, 2:, 2:] = 7, 4_000_000_000
    found = regions_of_labels("case", labels, split=False)
    assert list(found.extra["values"].values()) == [7, 4_000_000_000]
    assert instance_map(found, labels.shape).labels.sum() == 1 + 2 * 4


def test_ignored_voxels_are_excluded() -> None:
    labels = np.asarray([[1, 0, 3], [0, 0, 0]])
    found = regions_of_labels("case", labels, NAMES)
    assert found.is_excluded.tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.asarray([[0, 9, 5]]), "holds 5, 9, and its table names 1, 2, 3"),
        (np.asarray([[0, -1]]), "holds -1"),
        (np.asarray([[0, 0.25]]), "such as 0.25"),
        (np.asarray([[0, np.nan]]), "no whole numbers"),
        (np.asarray([[0, np.inf]]), "no whole numbers"),
        (np.zeros(3), "2 or 3 axes"),
        (np.zeros((2, 2, 2, 2)), "2 or 3 axes"),
        (np.zeros((2, 2), dtype=complex), "complex"),
        (np.asarray([["a", "b"]]), "whole numbers"),
    ],
)
def test_what_is_no_label_map_is_refused(labels: np.ndarray, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as caught:
        regions_of_labels("case", labels, NAMES)
    assert caught.value.code == "labels"


def square(low: float, high: float, label: str) -> Region:
    return Region("case", (np.asarray([[low, low], [low, high], [high, high], [high, low]]),), "", label)


def test_objects_that_share_voxels_are_refused_or_the_later_one_has_them() -> None:
    both = image_regions("case", [square(-0.5, 3.5, "nodule"), square(1.5, 5.5, "vessel")], (8, 8))
    with pytest.raises(InputRefusedError, match="outline 2 shares 4 voxels") as caught:
        class_map(both, (8, 8), CLASSES)
    assert caught.value.code == "overlap"
    assert np.bincount(class_map(both, (8, 8), CLASSES, overlap="last").labels.ravel()).tolist() == [
        36,
        12,
        16,
    ]


def test_a_class_without_a_number_is_refused() -> None:
    one = image_regions("case", [square(-0.5, 3.5, "bone")], (8, 8))
    with pytest.raises(InputRefusedError, match="classes bone have no number"):
        class_map(one, (8, 8), CLASSES)


def test_what_lies_outside_of_the_image_is_cut_off() -> None:
    one = image_regions("case", [square(-3.5, 1.5, "nodule"), square(20, 30, "nodule")], (8, 8))
    assert class_map(one, (8, 8), CLASSES).labels.sum() == 4
