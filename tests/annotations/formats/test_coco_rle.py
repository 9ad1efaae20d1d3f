from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from image_region_samples import SHAPE, masks
from numpy.typing import NDArray
from pycocotools import mask as reference
from scipy import ndimage

from napari_medlab.annotations.formats.coco_rle import (
    compress,
    counts_of_runs,
    decompress,
    mask_of_runs,
    parts_of_runs,
    rings_of_runs,
    runs_of_counts,
    runs_of_mask,
    runs_of_rings,
    union_of_runs,
)
from napari_medlab.geometry import mask_to_rings, rings_to_mask

# pycocotools was built for an older numpy; it reads right all the same
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Mask = NDArray[np.bool_]


@given(masks())
def test_the_text_is_that_of_pycocotools(mask: Mask) -> None:
    counts = counts_of_runs(runs_of_mask(mask, SHAPE), SHAPE)
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compress(counts) == theirs["counts"].decode()
    assert decompress(theirs["counts"].decode()).tolist() == counts.tolist()
    assert np.array_equal(reference.decode({"size": list(SHAPE), "counts": compress(counts).encode()}), mask)


@given(masks())
def test_masks_come_back_by_every_way(mask: Mask) -> None:
    runs = runs_of_mask(mask, SHAPE)
    assert np.array_equal(runs_of_counts(counts_of_runs(runs, SHAPE), SHAPE), runs)
    part, (top, left) = mask_of_runs(runs, SHAPE[0])
    whole = np.zeros(SHAPE, dtype=np.bool_)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    assert np.array_equal(whole, mask)
    assert np.array_equal(runs_of_rings(rings_of_runs(runs, SHAPE[0]), SHAPE), runs)
    assert np.array_equal(runs_of_rings(mask_to_rings(mask), SHAPE), runs)


@given(masks(), masks())
def test_unions_and_parts_are_those_of_the_masks(first: Mask, second: Mask) -> None:
    runs = union_of_runs([runs_of_mask(first, SHAPE), runs_of_mask(second, SHAPE)])
    assert np.array_equal(runs, runs_of_mask(first | second, SHAPE))
    parts = parts_of_runs(runs, SHAPE[0])
    assert len(parts) == ndimage.label(first | second)[1]
    assert sum(int((part[:, 1] - part[:, 0]).sum()) for part in parts) == (first | second).sum()


@pytest.mark.parametrize("fill", [0, 1])
def test_even_masks(fill: int) -> None:
    mask = np.full((3, 4), fill, dtype=np.bool_)
    counts = counts_of_runs(runs_of_mask(mask, (3, 4)), (3, 4))
    assert counts.tolist() == ([0, 12] if fill else [12])
    assert np.array_equal(runs_of_counts(counts, (3, 4)), runs_of_mask(mask, (3, 4)))


def test_long_runs() -> None:
    mask = np.zeros((3000, 500), dtype=np.bool_)
    mask[:, 100:300] = True
    mask[10, 200] = False
    counts = counts_of_runs(runs_of_mask(mask, mask.shape), mask.shape)
    assert compress(counts) == reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert decompress(compress(counts)).tolist() == counts.tolist()


def test_what_lies_outside_is_cut_off() -> None:
    ring = np.asarray([[-5.0, -5.0], [-5.0, 2.5], [40.0, 2.5], [40.0, -5.0]])
    assert np.array_equal(runs_of_rings([ring], (6, 5)), runs_of_mask(rings_to_mask([ring], (6, 5)), (6, 5)))
    assert len(runs_of_rings([ring + 100], (6, 5))) == 0
    assert len(runs_of_rings([], (6, 5))) == 0


@pytest.mark.parametrize("text", ["é", "a b", "~", "Po", "P" * 40 + "0", "oooooooooo7"])
def test_text_that_is_no_run_lengths_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="compressed run lengths"):
        decompress(text)


@pytest.mark.parametrize("counts", [[], [5], [13], [-1, 13], [2**62, 2**62, 2**62, 2**62], [6, 2**40]])
def test_run_lengths_of_another_image_are_refused(counts: list[int]) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        runs_of_counts(counts, (3, 4))


def test_masks_that_would_fill_the_memory_are_refused() -> None:
    shape = (100_000, 100_000)
    corners = np.asarray([[0, 1], [10**10 - 1, 10**10]])
    assert [ring.mean(axis=0).round().tolist() for ring in rings_of_runs(corners, shape[0])] == [
        [0, 0],
        [99999, 99999],
    ]
    with pytest.raises(ValueError, match="limit"):
        mask_of_runs(corners, shape[0])
    with pytest.raises(ValueError, match="limit"):
        rings_of_runs(np.asarray([[0, 10**10]]), shape[0])
