from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_region_samples import SAMPLES, SHAPE, masks, ring_lists
from numpy.typing import NDArray
from pycocotools import mask as reference

from napari_medlab.annotations.formats import outline_runs
from napari_medlab.annotations.formats.coco_rle import counts_of_runs, runs_of_mask
from napari_medlab.annotations.formats.outline_runs import OutlineRuns, compressed_texts, runs_of_outlines
from napari_medlab.geometry import mask_to_rings, rings_to_mask

# pycocotools was built for an older numpy; it reads right all the same
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Rings = list[NDArray[np.float64]]


def runs_of(outlines: list[Rings], shapes: list[tuple[int, int]]) -> OutlineRuns:
    rings = [ring for outline in outlines for ring in outline]
    vertices = np.concatenate([np.zeros((0, 2)), *rings])
    starts = np.cumsum([0, *map(len, rings)]), np.cumsum([0, *map(len, outlines)])
    return runs_of_outlines(vertices, *starts, np.asarray(shapes, dtype=np.int64).reshape(-1, 2))


def assert_painted(outlines: list[Rings], shapes: list[tuple[int, int]]) -> None:
    """Compare with masks that are painted one by one."""
    found = runs_of(outlines, shapes)
    texts = found.compressed()
    for k, (rings, shape) in enumerate(zip(outlines, shapes, strict=True)):
        mask = rings_to_mask(rings, shape)
        runs = found.runs[found.starts[k] : found.starts[k + 1]]
        assert runs.tolist() == runs_of_mask(mask, shape).tolist()
        assert found.pixels[k] == mask.sum()
        assert texts[k] == reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert len(texts) == len(found.sizes) == len(outlines)
    assert found.starts[-1] == len(found.runs)


@st.composite
def coarse_rings(draw: st.DrawFn) -> Rings:
    """Draw rings of any vertices on halves of pixels, inside the image and outside: edges touch, cross and coincide."""
    halves = st.tuples(st.integers(-12, 60), st.integers(-12, 72)).map(
        lambda pair: (pair[0] / 2, pair[1] / 2)
    )
    rings = draw(st.lists(st.lists(halves, max_size=7), max_size=3))
    return [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]


shapes = st.tuples(st.integers(1, 30), st.integers(1, 36))
outlines_in_images = st.lists(
    st.tuples(st.one_of(coarse_rings(), ring_lists(), masks().map(mask_to_rings)), shapes), max_size=8
)


@given(outlines_in_images, st.sampled_from([1, 30, 1 << 14]))
def test_the_runs_are_those_of_painted_masks(
    several: list[tuple[Rings, tuple[int, int]]], at_once: int
) -> None:
    with mock.patch.object(outline_runs, "CROSSINGS_AT_ONCE", at_once):
        assert_painted([rings for rings, _ in several], [shape for _, shape in several])


def test_holes_parts_and_empty_outlines() -> None:
    outlines: list[Rings] = [[], *SAMPLES, [np.zeros((0, 2))], []]
    assert_painted(outlines, [SHAPE] * len(outlines))


def test_an_outline_around_everything_is_one_run() -> None:
    ring = np.asarray([[-9.0, -9.0], [-9.0, 99.0], [99.0, 99.0], [99.0, -9.0]])
    found = runs_of([[ring], [ring]], [(7, 5), (3, 4)])
    assert found.runs.tolist() == [[0, 35], [0, 12]]
    assert_painted([[ring], [ring]], [(7, 5), (3, 4)])


def test_outlines_of_the_largest_images_are_never_painted() -> None:
    side = 200_000
    ring = np.asarray([[0.0, 0.0], [0.0, side], [side, side], [side, 0.0]])
    found = runs_of([[ring], [ring[:3]]], [(side, side)] * 2)
    assert found.pixels.tolist() == [side**2, side * (side + 1) // 2]


@pytest.mark.parametrize(
    "corners",
    [[(0, 0), (0, 2), (20, 10)], [(0, 0), (0, 20), (2, 20), (2, 0)]],
    ids=["rows", "columns"],
)
def test_outlines_that_would_fill_the_memory_are_refused(corners: list[tuple[int, int]]) -> None:
    with mock.patch.object(outline_runs, "MAX_CROSSINGS", 30), pytest.raises(ValueError, match="limit"):
        runs_of([[np.asarray(corners, dtype=np.float64)]], [(30, 30)])


@given(st.lists(st.lists(st.integers(0, 1 << 40), max_size=6), max_size=6))
def test_texts_of_several_masks_are_those_of_each(several: list[list[int]]) -> None:
    counts = np.asarray([count for each in several for count in each], dtype=np.int64)
    alone = [
        compressed_texts(np.asarray(each, dtype=np.int64), np.asarray([0, len(each)]))[0] for each in several
    ]
    assert compressed_texts(counts, np.cumsum([0, *map(len, several)])) == alone


def test_a_full_mask_ends_with_itself() -> None:
    full = runs_of([[np.asarray([[-1.0, -1.0], [-1.0, 9.0], [9.0, 9.0], [9.0, -1.0]])]], [(2, 3)])
    assert full.compressed() == compressed_texts(counts_of_runs(full.runs, (2, 3)), np.asarray([0, 2]))
