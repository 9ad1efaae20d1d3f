"""Slides in napari without a wait: never a wrong pixel, sharper as tiles arrive."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_samples import HANG, GatedTiles, drawn, levels_of, pyramid_arrays

from napari_medlab.images.tiles import MemoryTiles, TileArray, TileCache
from napari_medlab.images.tiles.array import decoding_threads
from napari_medlab.widgets.layers.streaming import HATCH, StreamedPyramid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

PIXELS = np.random.default_rng(0).integers(0, 4000, (90, 70)).astype(np.uint16)
COLOURS = np.random.default_rng(1).integers(0, 250, (90, 70, 3)).astype(np.uint8)


def pyramid_of(
    pixels: NDArray[Any], tile: tuple[int, ...], *, channel: int | None = None, limit: int = 1 << 24
) -> tuple[StreamedPyramid, list[GatedTiles]]:
    arrays = pyramid_arrays(pixels, tile, limit=limit)
    sources: list[Any] = [array.source for array in arrays]
    return StreamedPyramid(arrays, np.asarray(sources[-1].pixels), channel), sources


def settle(pyramid: StreamedPyramid) -> None:
    """Wait until nothing is missing any more."""
    until = time.monotonic() + HANG
    while pyramid.is_waiting:
        assert time.monotonic() < until, "tiles never came"
        time.sleep(0.002)


def under(coarse: NDArray[Any], shape: Sequence[int], index: tuple[slice, ...]) -> NDArray[Any]:
    """Return the coarse pixel in which the centre of each pixel of a finer level lies, one by one."""
    rows, columns = (range(size)[side] for size, side in zip(shape, index, strict=False))
    down, across = (coarse.shape[axis] / shape[axis] for axis in (0, 1))
    picked = [
        [coarse[int((row + 0.5) * down), int((column + 0.5) * across)] for column in columns] for row in rows
    ]
    return np.asarray(picked, coarse.dtype).reshape(len(rows), len(columns), *coarse.shape[2:])


BOXES = [
    (slice(None), slice(None)),
    (slice(5, 61), slice(13, 14)),
    (slice(0, 90, 2), slice(1, 70, 3)),
    (slice(33, 2, -1), slice(69, None, -5)),
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize(
    ("pixels", "tile"),
    [(PIXELS, (16, 16)), (COLOURS, (16, 16, 3)), (COLOURS, (16, 16, 1)), (PIXELS, (7, 70))],
)
def test_what_is_missing_is_drawn_coarser_and_then_as_it_is(
    pixels: NDArray[Any], tile: tuple[int, ...], box: tuple[slice, slice]
) -> None:
    pyramid, sources = pyramid_of(pixels, tile)
    level = pyramid.levels[0]
    sources[0].gate.clear()
    at_once = drawn(level, box)
    np.testing.assert_array_equal(at_once, under(sources[-1].pixels, pixels.shape, box))
    assert pyramid.is_waiting
    sources[0].gate.set()
    settle(pyramid)
    assert pyramid.take_news()
    assert not pyramid.take_news()
    np.testing.assert_array_equal(drawn(level, box), pixels[box])
    assert not pyramid.is_waiting
    assert pyramid.take_errors() == []


def test_the_finest_level_in_memory_stands_for_what_is_missing() -> None:
    pyramid, sources = pyramid_of(PIXELS, (16, 16))
    pyramid.streamed[1].array.read(slice(None))
    sources[0].gate.clear()
    box = (slice(20, 50), slice(3, 60))
    np.testing.assert_array_equal(drawn(pyramid.levels[0], box), under(sources[1].pixels, PIXELS.shape, box))
    sources[0].gate.set()
    settle(pyramid)


def test_tiles_that_are_there_are_drawn_sharp_among_those_that_are_not() -> None:
    pyramid, sources = pyramid_of(PIXELS, (16, 16))
    pyramid.streamed[0].array.read((slice(16, 32), slice(16, 32)))
    sources[0].gate.clear()
    found = drawn(pyramid.levels[0], (slice(None), slice(None)))
    np.testing.assert_array_equal(found[16:32, 16:32], PIXELS[16:32, 16:32])
    coarse = under(sources[-1].pixels, PIXELS.shape, (slice(None), slice(None)))
    np.testing.assert_array_equal(found[32:], coarse[32:])
    sources[0].gate.set()
    settle(pyramid)


@pytest.mark.parametrize(
    "box", [(slice(5, 5), slice(None)), (slice(9, 3), slice(2, 4)), (slice(200, 300), 4)]
)
def test_nothing_is_drawn_where_nothing_is_asked_for(box: tuple[Any, ...]) -> None:
    pyramid, _ = pyramid_of(PIXELS, (16, 16))
    assert drawn(pyramid.levels[0], box).shape == PIXELS[box].shape
    assert not pyramid.is_waiting


@settings(deadline=None, max_examples=60)
@given(data=st.data(), tile=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_whoever_else_slices_gets_the_true_pixels(data: st.DataObject, tile: tuple[int, int]) -> None:
    pyramid, _ = pyramid_of(COLOURS, (*tile, 3))
    for level, expected in zip(pyramid.levels, levels_of(COLOURS, 2), strict=True):
        index = tuple(data.draw(st.slices(size)) for size in expected.shape[: data.draw(st.integers(0, 3))])
        np.testing.assert_array_equal(level[index], expected[index])
    np.testing.assert_array_equal(np.asarray(pyramid.levels[0]), COLOURS)


def test_napari_in_another_thread_waits_and_gets_the_true_pixels() -> None:
    pyramid, _ = pyramid_of(PIXELS, (16, 16))
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(drawn, pyramid.levels[0], (slice(3, 80), slice(None))).result(HANG)
    np.testing.assert_array_equal(found, PIXELS[3:80])


@pytest.mark.parametrize("tile", [(16, 16, 3), (16, 16, 1)])
@pytest.mark.parametrize("channel", [0, 2])
def test_a_channel_is_drawn_alone(tile: tuple[int, int, int], channel: int) -> None:
    pyramid, sources = pyramid_of(COLOURS, tile, channel=channel)
    level, box = pyramid.levels[0], (slice(4, 77), slice(None, None, 2))
    assert (level.shape, level.ndim) == ((90, 70), 2)
    sources[0].gate.clear()
    np.testing.assert_array_equal(
        drawn(level, box), under(sources[-1].pixels[..., channel], COLOURS.shape, box)
    )
    sources[0].gate.set()
    settle(pyramid)
    np.testing.assert_array_equal(drawn(level, box), COLOURS[..., channel][box])
    np.testing.assert_array_equal(level[box], COLOURS[..., channel][box])
    np.testing.assert_array_equal(level[5], COLOURS[5, :, channel])
    np.testing.assert_array_equal(level[..., 3:9], COLOURS[:, :, channel][..., 3:9])
    np.testing.assert_array_equal(np.asarray(level), COLOURS[..., channel])
    np.testing.assert_array_equal(pyramid.levels[-1], sources[-1].pixels[..., channel])
    if tile[2] == 1:
        assert {index[2] for index in sources[0].asked} == {channel}


def test_what_is_wanted_now_comes_before_what_was_wanted_then() -> None:
    pyramid, sources = pyramid_of(np.zeros((400, 400), np.uint8), (8, 8))
    sources[0].gate.clear()
    drawn(pyramid.levels[0], (slice(0, 80), slice(0, 80)))
    until = time.monotonic() + HANG
    while len(sources[0].asked) < 1 and time.monotonic() < until:
        time.sleep(0.002)
    begun = set(sources[0].asked)
    drawn(pyramid.levels[0], (slice(200, 216), slice(200, 216)))
    sources[0].gate.set()
    settle(pyramid)
    assert {(row, column) for row in (25, 26) for column in (25, 26)} <= set(sources[0].asked)
    wanted_then = {(row, column) for row in range(10) for column in range(10)}
    assert len(begun) <= len(wanted_then)
    assert pyramid._wanted == []


def test_the_middle_comes_first() -> None:
    pyramid, sources = pyramid_of(np.zeros((700, 700), np.uint8), (100, 100))
    asked: list[Any] = []
    pyramid._working = decoding_threads()  # as if all were at work
    drawn(pyramid.levels[0], (slice(None), slice(None)))
    asked = [tile for _, tile in reversed(pyramid._wanted)]
    pyramid._wanted, pyramid._working = [], 0
    assert asked[0] == (3, 3)
    assert asked[-1] in {(0, 0), (0, 6), (6, 0), (6, 6)}
    assert sources[0].asked == []


def test_what_cannot_be_read_is_a_pattern_and_told_once() -> None:
    pyramid, sources = pyramid_of(np.full((128, 128), 77, np.uint8), (64, 64))
    sources[0].broken = {(0, 1), (1, 1)}
    for _ in range(3):
        found = drawn(pyramid.levels[0], (slice(None), slice(None)))
        settle(pyramid)
    assert pyramid.take_news()
    found = drawn(pyramid.levels[0], (slice(None), slice(None)))
    (error,) = pyramid.take_errors()
    assert isinstance(error, OSError)
    assert pyramid.take_errors() == []
    assert (found[:, :64] == 77).all()
    assert set(np.unique(found[:, 64:]).tolist()) == {0, 255}
    assert found[0, 64] == 255
    assert found[0, 64 + HATCH] == 0
    asked = len(sources[0].asked)
    drawn(pyramid.levels[0], (slice(None), slice(None)))
    settle(pyramid)
    assert len(sources[0].asked) == asked  # it is not tried again and again
    with pytest.raises(OSError, match="broken"):
        pyramid.levels[0][:, 70]


def test_tiles_that_cannot_be_kept_are_not_read_again_and_again() -> None:
    pyramid, sources = pyramid_of(PIXELS, (90, 70), limit=1000)
    for _ in range(3):
        found = drawn(pyramid.levels[0], (slice(None), slice(None)))
        settle(pyramid)
    np.testing.assert_array_equal(found, under(sources[-1].pixels, PIXELS.shape, (slice(None), slice(None))))
    assert sources[0].asked == []
    assert len(pyramid.take_errors()) == 1
    assert not pyramid.take_news()


def test_levels_in_memory_are_drawn_as_they_are() -> None:
    levels = levels_of(PIXELS, 2)
    pyramid = StreamedPyramid(
        [TileArray(MemoryTiles(level), TileCache(1 << 20)) for level in levels], levels[-1]
    )
    np.testing.assert_array_equal(drawn(pyramid.levels[0], (slice(3, 9), slice(None))), PIXELS[3:9])
    assert not pyramid.is_waiting


def test_a_change_of_the_coarsest_level_is_news() -> None:
    pyramid, _ = pyramid_of(PIXELS, (16, 16))
    pyramid.changed()
    assert (pyramid.take_news(), pyramid.take_news()) == (True, False)


def test_any_boxes_from_any_threads_show_true_pixels_in_the_end() -> None:
    pixels = np.random.default_rng(3).integers(0, 250, (600, 500, 3)).astype(np.uint8)
    pyramid, sources = pyramid_of(pixels, (32, 32, 3), limit=400_000)  # a third of the finest level
    stop, wrong = threading.Event(), []

    def script(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            number = int(rng.integers(0, 3))
            expected = sources[number].pixels
            top, left = rng.integers(0, expected.shape[0]), rng.integers(0, expected.shape[1])
            box = (slice(top, top + 60), slice(left, left + 60))
            if not np.array_equal(pyramid.levels[number][box], expected[box]):
                wrong.append((number, box))

    rng = np.random.default_rng(9)
    threads = [threading.Thread(target=script, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            number = int(rng.integers(0, 2))
            shape = sources[number].shape
            top, left = rng.integers(0, shape[0] - 1), rng.integers(0, shape[1] - 1)
            drawn(pyramid.levels[number], (slice(top, top + 200), slice(left, left + 200)))
            pyramid.take_news()
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANG)
    settle(pyramid)
    box = (slice(40, 200), slice(100, 260))
    drawn(pyramid.levels[0], box)
    settle(pyramid)
    np.testing.assert_array_equal(drawn(pyramid.levels[0], box), pixels[box])
    settle(pyramid)
    assert wrong == []
    assert pyramid._working == 0
    assert pyramid.take_errors() == []
