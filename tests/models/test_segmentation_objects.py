from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import label, regionprops

from napari_medlab.errors import ImageRefusedError, InputRefusedError
from napari_medlab.geometry import Grid, mask_to_rings, rings_to_mask
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.segmentation.objects import ObjectSettings, SegmentedObject, objects_of
from napari_medlab.models.segmentation.tracing import join_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Ring = NDArray[np.float64]

LEVELS = np.array([0, 40, 128, 200, 255], np.uint8)


@st.composite
def cut_masks(draw: st.DrawFn, dims: int) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    shape = draw(array_shapes(min_dims=dims, max_dims=dims, min_side=1, max_side=13 if dims == 2 else 6))
    levels = draw(arrays(np.uint8, shape, elements=st.integers(0, len(LEVELS) - 1)))
    block = draw(st.tuples(*[st.integers(1, 7)] * dims))
    return LEVELS[levels], block


def rings_of_plane(mask: NDArray[np.bool_]) -> list[Ring]:
    return join_pieces([np.concatenate([ring, ring[:1]]) for ring in mask_to_rings(mask)])


def whole_array_rings(mask: NDArray[np.bool_]) -> list[Ring]:
    if mask.ndim == 2:
        return rings_of_plane(mask)
    return [
        np.insert(ring, 0, float(z), axis=1) for z, plane in enumerate(mask) for ring in rings_of_plane(plane)
    ]


def check_against_whole(mask: NDArray[np.uint8], block: Sequence[int], least: int) -> None:
    found = objects_of(mask[None], ObjectSettings(0.5, least), block=block)
    labels = label(mask >= 128, connectivity=1)
    assert len(found) == sum(part.area >= least for part in regionprops(labels))
    seen = set()
    for each in found:
        # several parts may share a centre: the right one has the same outlines
        number = next(
            n for n in range(1, labels.max() + 1)
            if n not in seen and int((labels == n).sum()) == each.voxels
            and np.allclose(np.argwhere(labels == n).mean(axis=0), each.centre)
            and same(each.rings, whole_array_rings(labels == n))
        )  # fmt: skip
        seen.add(number)
        values = mask[labels == number] / 255
        assert each.score == pytest.approx(values.mean())
        assert each.peak == pytest.approx(values.max())


def same(rings: Sequence[Ring], others: Sequence[Ring]) -> bool:
    return len(rings) == len(others) and all(np.array_equal(a, b) for a, b in zip(rings, others, strict=True))


@settings(max_examples=150, deadline=None)
@given(cut_masks(2), st.sampled_from([1, 1, 3]))
def test_objects_of_a_plane_do_not_depend_on_how_it_is_cut(
    cut: tuple[NDArray[np.uint8], tuple[int, ...]], least: int
) -> None:
    check_against_whole(*cut, least)


@settings(max_examples=60, deadline=None)
@given(cut_masks(3), st.sampled_from([1, 2]))
def test_objects_of_a_volume_do_not_depend_on_how_it_is_cut(
    cut: tuple[NDArray[np.uint8], tuple[int, ...]], least: int
) -> None:
    check_against_whole(*cut, least)


def only(objects: list[SegmentedObject]) -> SegmentedObject:
    (one,) = objects
    return one


def test_a_hole_is_a_ring_of_its_own_and_comes_back_across_seams() -> None:
    mask = np.zeros((1, 20, 20), np.uint8)
    mask[0, 2:18, 3:17] = 255
    mask[0, 6:12, 7:11] = 0
    found = only(objects_of(mask, block=(7, 5)))
    assert len(found.rings) == 2
    np.testing.assert_array_equal(rings_to_mask(found.rings, (20, 20)), mask[0] > 0)
    assert found.voxels == 16 * 14 - 6 * 4
    assert found.score == found.peak == 1


def test_a_winding_object_through_many_blocks_is_one() -> None:
    mask = np.zeros((1, 17, 17), np.uint8)
    mask[0, ::2] = 200
    mask[0, 1::4, -1] = 200
    mask[0, 3::4, 0] = 200
    found = only(objects_of(mask, block=(4, 4)))
    np.testing.assert_array_equal(rings_to_mask(found.rings, (17, 17)), mask[0] > 0)
    assert len(found.rings) == 1


def test_classes_are_apart_and_each_has_its_threshold() -> None:
    mask = np.zeros((2, 8, 8), np.float32)
    mask[0, 1:4, 1:4] = 0.6
    mask[1, 2:6, 2:6] = 0.6
    mask[1, 3, 3] = 0.9
    found = objects_of(mask, ObjectSettings((0.5, 0.8)))
    assert [(one.class_index, one.voxels) for one in found] == [(0, 9), (1, 1)]
    assert found[1].centre == (3, 3)
    with pytest.raises(InputRefusedError, match="3 thresholds for 2 classes"):
        objects_of(mask, ObjectSettings((0.5, 0.5, 0.5)))


def test_the_best_come_first() -> None:
    mask = np.zeros((1, 4, 12), np.uint8)
    mask[0, 1, 1], mask[0, 1, 5], mask[0, 1, 9] = 150, 250, 200
    assert [one.centre for one in objects_of(mask)] == [(1, 5), (1, 9), (1, 1)]


@pytest.mark.parametrize(
    ("dims", "expected"), [(2, 2 * np.sqrt(9 * 4 / np.pi)), (3, np.cbrt(6 * 27 * 8 / np.pi))]
)
def test_the_diameter_is_that_of_the_same_area_or_volume(dims: int, expected: float) -> None:
    mask = np.zeros((1, *[8] * dims), np.bool_)
    inner: tuple[int | slice, ...] = (0, *[slice(2, 5)] * dims)
    mask[inner] = True
    found = only(objects_of(mask, ObjectSettings(spacing=(2.0,) * dims)))
    assert found.diameter == pytest.approx(expected)
    assert found.centre == (3.0,) * dims


def test_an_empty_mask_has_no_objects() -> None:
    assert objects_of(np.zeros((2, 5, 5, 5), np.uint8)) == []


def test_memory_holds_one_block_at_a_time() -> None:
    class Watched:
        shape = (1, 64, 64)
        largest = 0

        def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
            size = [b - a for a, b in zip(start, stop, strict=True)]
            self.largest = max(self.largest, int(np.prod(size)))
            return np.full((1, *size), 255, np.uint8)

    mask = Watched()
    found = only(objects_of(mask, block=(16, 16)))
    assert found.voxels == 64 * 64
    assert len(found.rings) == 1
    assert mask.largest == 17 * 17


def test_a_store_is_read_in_whole_chunks(tmp_path: Path) -> None:
    mask = np.full((2, 30, 40), 3, np.uint8)
    mask[0, 5:25, 10:35] = 200
    mask[1, 9:12, 20:22] = 255
    store = MaskStore.create(
        tmp_path / "masks", Grid.axis_aligned((30, 40), (1, 1)), ["one", "two"], chunk=(8, 16)
    )
    for index in np.ndindex(*store.counts):
        box = store.box(index)
        store.write(index, mask[(slice(None), *map(slice, *box))])
    store.finish()
    reads: list[Sequence[int]] = []

    class Masks:
        shape, chunk = mask.shape, store.chunk

        def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
            reads.append(start)
            return store.read(start, stop)

    found = objects_of(Masks())
    assert [(one.class_index, one.voxels) for one in found] == [(0, 20 * 25), (1, 6)]
    assert len(reads) == 1
    by_chunk = objects_of(Masks(), block=store.chunk)
    assert [same(one.rings, other.rings) for one, other in zip(found, by_chunk, strict=True)] == [True, True]


def test_stopping_leaves_between_blocks() -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        objects_of(np.ones((1, 8, 8), np.uint8), block=(4, 4), stop=stop)
    assert calls == 2


def test_the_least_size_is_read_in_the_units_of_the_bundle() -> None:
    slide = Grid.axis_aligned((10, 10), (2.0, 2.0), unit="um")
    volume = Grid.axis_aligned((10, 10, 10), (2.0, 1.0, 1.0))
    read = ObjectSettings.from_json
    assert read({"least_area_um2": 100, "threshold": 0.4}, slide) == ObjectSettings(0.4, 25, (2.0, 2.0))
    assert read({"least_volume_mm3": 7, "threshold": [0.4, 0.5]}, volume).least_voxels == 4
    assert read({"threshold": [0.4, 0.5]}, volume).threshold == (0.4, 0.5)
    pixels = Grid.axis_aligned((10, 10), (1.0, 1.0), unit="px")
    assert read({"least_voxels": 5}, pixels).least_voxels == 5
    with pytest.raises(ImageRefusedError, match="pixel size"):
        read({"least_area_um2": 100}, pixels)
