"""The cache of tiles, and arrays that read through it."""

from __future__ import annotations

import itertools
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tile_sources import CutTiles, Unreadable

from napari_medlab.images.progress import listening, report
from napari_medlab.images.tiles import MemoryTiles, TileArray, TileCache, Turned, tile_box, tile_counts
from napari_medlab.images.tiles.array import decoding_threads, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hypothesis.strategies import DrawFn
    from numpy.typing import NDArray

HANG = 60.0
"""Seconds after which something that waits is taken to wait for ever."""
often = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
sometimes = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def tile_of(key: int, size: int) -> NDArray[np.uint8]:
    return np.full(size, key % 251, np.uint8)


@often
@given(limit=st.integers(0, 40), calls=st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=25))
def test_a_cache_hands_out_the_right_tiles_and_keeps_no_more_than_its_limit(
    limit: int, calls: list[list[int]]
) -> None:
    cache = TileCache(limit)
    for keys in calls:
        read: list[int] = []

        def load(
            places: list[int], keys: list[int] = keys, read: list[int] = read
        ) -> list[NDArray[np.uint8]]:
            read.extend(keys[place] for place in places)
            return [tile_of(keys[place], 3 + keys[place]) for place in places]

        kept = {key for key in keys if cache.peek(key) is not None}
        tiles = cache.get_many(list(keys), load)
        assert [tile.tolist() for tile in tiles] == [tile_of(key, 3 + key).tolist() for key in keys]
        assert sorted(read) == sorted(set(keys) - kept)
        shown = [tile for key in range(13) if (tile := cache.peek(key)) is not None]
        assert cache.used_bytes == sum(tile.nbytes for tile in shown) <= limit
        assert len(cache) == len(shown)


def test_the_tiles_used_last_stay() -> None:
    cache = TileCache(30)
    for key in (1, 2, 3, 1, 4):
        cache.get(key, lambda: tile_of(0, 10))
    assert [key for key in range(6) if cache.peek(key) is not None] == [1, 3, 4]


def test_a_tile_larger_than_the_limit_is_handed_through_and_drives_nothing_out() -> None:
    cache = TileCache(30)
    cache.get("small", lambda: tile_of(0, 20))
    assert cache.get("large", lambda: tile_of(1, 31)).size == 31
    assert cache.peek("large") is None
    assert cache.peek("small") is not None


def test_a_kept_tile_cannot_be_written_to() -> None:
    tile = TileCache(100).get("a", lambda: tile_of(1, 4))
    with pytest.raises(ValueError, match="read-only"):
        tile[0] = 5


def test_what_is_forgotten_is_read_again() -> None:
    cache = TileCache(100)
    for key in range(4):
        cache.get(key, lambda: tile_of(0, 10))
    cache.forget(lambda key: key in (1, 2))
    assert (cache.used_bytes, len(cache), cache.peek(1)) == (20, 2, None)
    assert cache.get(1, lambda: tile_of(9, 10))[0] == 9


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Return what ``work(number)`` returned or raised, all of them begun at the same time."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Any:  # noqa: ANN401 - whatever work returns
        barrier.wait(HANG)
        try:
            return work(number)
        except Exception as error:  # noqa: BLE001 - handed to the test
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result(HANG) for future in [pool.submit(begin, number) for number in range(count)]]


def test_readers_of_the_same_tile_wait_for_the_first() -> None:
    cache, reads, everyone = TileCache(1000), [], threading.Event()

    def read() -> NDArray[np.uint8]:
        reads.append(1)
        everyone.wait(0.2)  # the others come meanwhile
        return tile_of(7, 10)

    tiles = in_threads(8, lambda _: cache.get("a", read))
    assert [int(tile[0]) for tile in tiles] == [7] * 8
    assert len(reads) == 1


def test_an_error_reaches_everyone_who_waits_and_nothing_is_kept() -> None:
    cache, reads, pause = TileCache(1000), [], threading.Event()

    def read(places: list[int]) -> list[NDArray[np.uint8]]:
        reads.append(len(places))
        pause.wait(0.2)
        raise OSError("a broken disk")

    errors = in_threads(6, lambda _: cache.get_many(["a", "b"], read))
    assert all(isinstance(error, OSError) for error in errors)
    assert (len(cache), cache.used_bytes) == (0, 0)
    assert cache.get("a", lambda: tile_of(3, 4))[0] == 3  # nobody is waited for any more


@pytest.mark.parametrize("wrong", [[], [np.zeros(3)] * 3, [None, None]])
def test_a_reader_that_returns_something_else_leaves_nobody_waiting(wrong: list[Any]) -> None:
    cache = TileCache(1000)
    with pytest.raises((ValueError, AttributeError)):
        cache.get_many(["a", "b"], lambda _: wrong)
    answers = in_threads(2, lambda number: cache.get("ab"[number], lambda: tile_of(5, 4))[0])
    assert answers == [5, 5]
    assert cache.used_bytes == 8


@sometimes
@given(
    limit=st.sampled_from([0, 20, 60, 1000]),
    asked=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True), min_size=2, max_size=8),
)
def test_readers_in_any_order_all_get_their_tiles(limit: int, asked: list[list[int]]) -> None:
    cache = TileCache(limit)

    def work(number: int) -> list[int]:
        keys = asked[number]
        tiles = cache.get_many(list(keys), lambda places: [tile_of(keys[place], 10) for place in places])
        assert cache.used_bytes <= limit
        return [int(tile[0]) for tile in tiles]

    assert in_threads(len(asked), work) == asked


@st.composite
def cut_arrays(draw: DrawFn) -> CutTiles:
    shape = tuple(draw(st.lists(st.integers(1, 11), min_size=1, max_size=3)))
    tile = tuple(draw(st.integers(1, size)) for size in shape)
    return CutTiles(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), tile)


@st.composite
def indices(draw: DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    parts: list[Any] = []
    for size in shape:
        number = st.integers(-size, size - 1)
        parts.append(
            draw(st.one_of(number, number.map(np.int64), st.slices(size), st.just(slice(None, None, -1))))
        )
    cut = draw(st.integers(0, len(shape)))
    end = draw(st.integers(cut, len(shape)))
    if draw(st.booleans()):
        return (*parts[:cut], Ellipsis, *parts[end:])
    return tuple(parts[:end])


@often
@given(data=st.data(), source=cut_arrays(), keep=st.booleans())
def test_any_index_gives_what_numpy_gives(data: st.DataObject, source: CutTiles, *, keep: bool) -> None:
    array = TileArray(source, TileCache(data.draw(st.sampled_from([0, 64, 10_000]))))
    for _ in range(3):
        index = data.draw(indices(array.shape))
        given_index = index[0] if len(index) == 1 else index
        expected = source.pixels[given_index]
        found = array.read(given_index, keep=keep)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(found, expected)


@often
@given(data=st.data(), size=st.integers(1, 40), side=st.integers(1, 12))
def test_pieces_cover_a_range_once_and_in_order(data: st.DataObject, size: int, side: int) -> None:
    wanted = range(size)[data.draw(st.slices(size))]
    found: list[int] = []
    for piece in pieces(wanted, side):
        inside = range(min(side, size - piece.tile * side))[piece.inside]
        assert len(inside) == piece.out.stop - piece.out.start
        assert piece.out.start == len(found)
        found += [piece.tile * side + at for at in inside]
    assert found == list(wanted)


@pytest.mark.parametrize(
    "index",
    [3, -4, (0, 6), (0, 0, 0), 1.0, (slice(None), 2.5), [0, 1], np.array([1]), None, "a", True, (..., ...)],
)
def test_an_index_that_is_none_is_refused_and_not_guessed_at(index: Any) -> None:  # noqa: ANN401 - anything
    array = TileArray(CutTiles(np.zeros((3, 6)), (2, 2)))
    with pytest.raises((IndexError, TypeError)):
        array[index]


def test_whole_arrays_come_out_as_numpy_has_them() -> None:
    source = CutTiles(np.arange(63, dtype=np.uint16).reshape(7, 9), (3, 4))
    array = TileArray(source)
    np.testing.assert_array_equal(np.asarray(array), source.pixels)
    assert np.asarray(array, dtype=np.float32).dtype == np.float32
    assert (len(array), array.ndim, array.size, array.chunks) == (7, 2, 63, ((3, 3, 1), (4, 4, 1)))
    copied = pickle.loads(pickle.dumps(array))  # noqa: S301 - our own
    np.testing.assert_array_equal(copied[2:5, ::-1], source.pixels[2:5, ::-1])


def test_what_is_not_to_be_kept_is_not() -> None:
    source, cache = CutTiles(np.arange(100).reshape(10, 10), (3, 3)), TileCache(10_000)
    array = TileArray(source, cache)
    array.read((slice(2, 9), 4), keep=False)
    assert len(cache) == 0
    array.read((slice(2, 9), 4))
    before = len(source.read)
    array.read((slice(2, 9), 4))
    assert (len(cache), len(source.read)) == (3, before)


@sometimes
@given(source=cut_arrays(), data=st.data())
def test_turned_axes_are_those_of_numpy(source: CutTiles, data: st.DataObject) -> None:
    orders = itertools.permutations(range(len(source.shape)))
    for order in orders:
        flips = tuple(data.draw(st.sampled_from([1, -1])) for _ in order)
        turned = Turned(TileArray(source, TileCache(1000)), order, flips)
        expected = source.pixels.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
        array = TileArray(turned, TileCache(data.draw(st.sampled_from([0, 1000]))))
        np.testing.assert_array_equal(array[...], expected)
        index = data.draw(indices(array.shape))
        np.testing.assert_array_equal(array[index], expected[index])
        for place in np.ndindex(*tile_counts(turned)):
            np.testing.assert_array_equal(turned.read_tile(place), expected[tile_box(turned, place)])


def test_turned_tiles_are_kept_apart_from_those_of_their_source() -> None:
    cache = TileCache(10_000)
    source = CutTiles(np.arange(16).reshape(4, 4), (2, 2))
    array = TileArray(source, cache)
    mirrored, turned = (
        TileArray(Turned(array, order, flips), cache)
        for order, flips in [((0, 1), (1, -1)), ((1, 0), (1, 1))]
    )
    for _ in range(2):
        np.testing.assert_array_equal(array[...], source.pixels)
        np.testing.assert_array_equal(mirrored[...], source.pixels[:, ::-1])
        np.testing.assert_array_equal(turned[...], source.pixels.T)
    assert Turned(TileArray(MemoryTiles(source.pixels)), (0, 1), (1, -1)).key is None


def test_arrays_that_read_through_others_do_not_wait_for_each_other() -> None:
    """Threads of every kind read the same turned tiles at once: those that hold a tile never need a decoder."""
    for _ in range(15):
        cache = TileCache(1 << 20)
        source = CutTiles(np.arange(64 * 64, dtype=np.int32).reshape(64, 64), (8, 8), pause=0.0005)
        below = TileArray(source, cache)
        for _ in range(2):
            below = TileArray(Turned(below, (0, 1), (-1, -1)), cache)
        array = TileArray(Turned(below, (0, 1), (1, -1)), cache)
        expected = source.pixels[:, ::-1]
        boxes = [(slice(None), slice(None)), (slice(0, 8), slice(0, 8)), (slice(50, 58), slice(3, 21))]

        def read(number: int, array: TileArray = array, boxes: Sequence[Any] = boxes) -> NDArray[Any]:
            return array[boxes[number % 3]]

        for number, found in enumerate(in_threads(4 * decoding_threads(), read)):
            np.testing.assert_array_equal(found, expected[boxes[number % 3]])


def test_a_decoder_that_waits_for_a_tile_does_not_keep_the_one_who_reads_it_waiting() -> None:
    """One thread is in the middle of a tile that takes decoders, and all decoders come to wait for that tile."""
    cache, begun, filled = TileCache(1 << 20), threading.Event(), threading.Event()

    class Slow(Turned):
        def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
            begun.set()
            filled.wait(0.5)  # until the others are there
            return super().read_tile(index)

    source = CutTiles(np.arange(400).reshape(20, 20), (2, 2))
    slow = Slow(TileArray(source, TileCache(0)), (0, 1), (1, -1))
    slow.tile = (20, 20)
    array = TileArray(slow, cache)
    with ThreadPoolExecutor(1) as one:
        first = one.submit(array.read, slice(None))
        assert begun.wait(HANG)
        # as many arrays over the slow one as there are decoders, and more
        wrapped = [
            TileArray(Turned(array, (0, 1), (1, 1)), TileCache(0)) for _ in range(3 * decoding_threads())
        ]
        for each in wrapped:
            each.source.tile = (5, 5)  # type: ignore[misc]  # a protocol's property, an attribute here
            each.tile = (5, 5)
        for found in in_threads(len(wrapped), lambda number: wrapped[number][...]):
            np.testing.assert_array_equal(found, source.pixels[:, ::-1])
        np.testing.assert_array_equal(first.result(HANG), source.pixels[:, ::-1])


@sometimes
@given(source=cut_arrays())
def test_a_dask_array_holds_the_same(source: CutTiles) -> None:
    lazy = TileArray(source, TileCache(1000)).as_dask()
    assert (lazy.shape, lazy.dtype) == (source.shape, source.dtype)
    np.testing.assert_array_equal(np.asarray(lazy), source.pixels)


def test_chunks_of_dask_are_whole_tiles() -> None:
    strips = TileArray(CutTiles(np.zeros((3000, 50), np.uint8), (1, 50))).as_dask()
    assert strips.chunks[0] == (1024, 1024, 952)
    planes = TileArray(CutTiles(np.zeros((5, 60, 50), np.uint8), (1, 60, 50))).as_dask()
    assert planes.chunks[0] == (1,) * 5


def test_stopping_raises_what_was_raised_and_leaves_most_tiles_unread() -> None:
    class StopError(Exception):
        pass

    calls = itertools.count()

    def stop() -> None:
        if next(calls) >= 2:
            raise StopError

    source = CutTiles(np.zeros((100, 100)), (1, 100), pause=0.001)
    with pytest.raises(StopError):
        TileArray(source, TileCache(1000)).read(slice(None), stop=stop)
    assert len(source.read) <= 60


def test_a_tile_that_cannot_be_read_is_an_error_and_the_rest_can_be_read() -> None:
    source = CutTiles(np.arange(100).reshape(10, 10), (2, 2), broken={(2, 3)})
    array = TileArray(source, TileCache(10_000))
    with pytest.raises(Unreadable):
        array[...]
    np.testing.assert_array_equal(array[:4], source.pixels[:4])
    with pytest.raises(Unreadable):
        array[4, 6]


def test_progress_reaches_whoever_listens_from_every_decoder() -> None:
    source = CutTiles(np.zeros((40, 40)), (2, 2), pause=0.001, on_read=lambda: report(1, 2))
    told: list[tuple[int, int]] = []
    with listening(lambda done, total: told.append((done, total))):
        TileArray(source, TileCache(0)).read(...)
    assert told == [(1, 2)] * 400
