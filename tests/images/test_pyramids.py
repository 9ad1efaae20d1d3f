"""Levels that are made of finer ones, where they are kept, and the overview that is shown meanwhile."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tile_sources import CutTiles

from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.slides import overview as overview_room
from napari_medlab.images.slides import pyramids
from napari_medlab.images.slides.overview import Overview
from napari_medlab.images.slides.pyramids import COARSEST, HalvedTiles, with_pyramid
from napari_medlab.images.slides.tile_store import TileStore, cache_folder
from napari_medlab.images.tiles import TileArray, TileCache, halved

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where levels are kept during a test."""
    monkeypatch.setenv("MEDLAB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDLAB_CACHE_MIB", raising=False)
    return cache_folder()


def plain_mean(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of each 2 × 2, one by one, integers rounded half up."""
    shape = (-(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2), *pixels.shape[2:])
    out = np.empty(shape, pixels.dtype)
    for row, column in np.ndindex(*shape[:2]):
        rows, columns = (
            [2 * at, min(2 * at + 1, size - 1)] for at, size in zip((row, column), pixels.shape, strict=False)
        )
        four = pixels[np.ix_(rows, columns)].reshape(4, *pixels.shape[2:])
        if pixels.dtype.kind == "f":
            out[row, column] = four.astype(np.float64).sum(axis=0) / 4
        else:
            out[row, column] = np.floor(four.astype(np.float64).sum(axis=0) / 4 + 0.5)
    return out


@settings(deadline=None, max_examples=120)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.sampled_from([(), (1,), (3,)]),
    dtype=st.sampled_from(["u1", "u2", ">u2", "i2", "u4", "i4", "f2", "f4", "f8"]),
    seed=st.integers(0, 1000),
)
def test_halving_takes_the_mean_of_each_four(
    shape: tuple[int, int], channels: tuple[int, ...], dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    form = np.dtype(dtype)
    low, high = (-60_000, 60_000) if form.kind == "f" else (np.iinfo(form).min, np.iinfo(form).max)
    drawn = rng.uniform(low, high, (*shape, *channels))
    pixels = np.where(rng.random(drawn.shape) < 0.2, high, drawn).astype(form)
    found = halved(pixels)
    assert found.dtype == pixels.dtype
    expected = plain_mean(pixels)
    if form.kind == "f":
        np.testing.assert_allclose(
            found.astype(float), expected.astype(float), rtol=2e-3 if dtype == "f2" else 1e-5, atol=0.1
        )
    else:
        np.testing.assert_array_equal(found, expected)


def test_what_is_no_number_spreads_no_further_than_its_four() -> None:
    pixels = np.ones((4, 5), np.float32)
    pixels[1, 1] = np.nan
    assert np.isnan(halved(pixels)).tolist() == [[True, False, False], [False, False, False]]


def levels_of(pixels: NDArray[Any], count: int) -> list[NDArray[Any]]:
    levels = [pixels]
    for _ in range(count):
        levels.append(halved(levels[-1]))
    return levels


def slide(pixels: NDArray[Any], tile: tuple[int, ...], path: Path, *, is_rgb: bool = False) -> Image:
    """Return an image of one level, cut into tiles, with a file of its own."""
    if not path.exists():
        path.write_bytes(os.urandom(16))
    grid = Grid.axis_aligned(pixels.shape[:2], (1.0, 1.0), unit="px")
    return Image(path, "slide", "", (CutTiles(pixels, tile),), grid, is_rgb=is_rgb)


def noise(shape: tuple[int, ...], dtype: str = "u1") -> NDArray[Any]:
    return np.random.default_rng(1).integers(0, 250, shape).astype(dtype)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_tiles_are_those_of_the_whole_halved(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.integers(1, 90)) for _ in range(2)) + data.draw(st.sampled_from([(), (3,)]))
    tile = tuple(data.draw(st.integers(1, min(size, 40))) for size in shape)
    source: Any = CutTiles(noise(shape, "u2"), tile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramids, "TILE", data.draw(st.sampled_from([1, 8, 20, 512])))
        patch.setattr(pyramids, "TILE_BYTES", data.draw(st.sampled_from([64, 4096, MIB])))
        sources = [source]
        for number in range(1, 4):
            sources.append(HalvedTiles(sources[-1], number, None))
    for level, expected in zip(sources, levels_of(source.pixels, 3), strict=True):
        assert level.shape == expected.shape
        assert all(side <= size for side, size in zip(level.tile, level.shape, strict=True))
        np.testing.assert_array_equal(TileArray(level, TileCache(0))[...], expected)


@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((1025, 700), (256, 256)),
        ((4097, 30), (1, 30)),
        ((30, 2500, 3), (30, 100, 3)),
        ((2300, 2300), (2300, 2300)),
    ],
)
def test_levels_are_added_until_the_coarsest_is_small(
    shape: tuple[int, ...], tile: tuple[int, ...], folder: Path, tmp_path: Path
) -> None:
    image = with_pyramid(slide(noise(shape), tile, tmp_path / "a"))
    assert max(image.sources[-1].shape[:2]) <= COARSEST < max(image.sources[-2].shape[:2])
    assert image.details["added_levels"] == len(image.sources) - 1
    for array, expected in zip(image.arrays, levels_of(noise(shape), len(image.sources) - 1), strict=True):
        np.testing.assert_array_equal(array[...], expected)
    assert not folder.exists()  # what is made in a moment is kept nowhere


def test_what_is_small_or_no_plane_is_left_as_it_is(tmp_path: Path) -> None:
    image = slide(noise((1024, 1024)), (256, 256), tmp_path / "a")
    assert with_pyramid(image) is image
    volume = Image.of_arrays([noise((2, 2000, 5))], Grid.axis_aligned((2, 2000, 5), (1, 1, 1), unit="mm"))
    assert with_pyramid(volume) is volume


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep levels of images of any size."""
    monkeypatch.setattr(pyramids, "KEPT_PIXELS", 0)
    monkeypatch.setattr(overview_room, "KEPT_PIXELS", 0)
    monkeypatch.setattr(pyramids, "COARSEST", 64)
    monkeypatch.setattr(pyramids, "TILE", 32)


def made(image: Image) -> tuple[int, list[NDArray[Any]]]:
    """Return how many tiles of the file were read to make all added levels, and these."""
    source: Any = image.sources[0]
    before = len(source.read)
    levels = [TileArray(level, TileCache(0))[...] for level in image.sources[1:]]
    return len(source.read) - before, levels


def opened(path: Path, pixels: NDArray[Any]) -> Image:
    return with_pyramid(slide(pixels, (32, 32, *pixels.shape[2:]), path))


PIXELS = noise((300, 200))
EXPECTED = levels_of(PIXELS, 3)[1:]


def check(levels: Sequence[NDArray[Any]]) -> None:
    for found, expected in zip(levels, EXPECTED, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("kept")
def test_levels_are_made_once_and_kept(folder: Path, tmp_path: Path) -> None:
    image = opened(tmp_path / "a", PIXELS)
    assert image.details["added_levels_ready"] is False
    reads, levels = made(image)
    assert reads > 0
    check(levels)
    again = opened(tmp_path / "a", PIXELS)
    assert again.details["added_levels_ready"] is True
    reads, levels = made(again)
    assert reads == 0
    check(levels)
    assert len(list(folder.glob("*.sqlite"))) == 1
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("kept", "folder")
def test_a_file_of_the_same_fingerprint_that_was_written_again_is_another(tmp_path: Path) -> None:
    """A fingerprint looks at a few blocks: what is drawn into an uncompressed picture may lie between them."""
    path = tmp_path / "a"
    path.write_bytes(bytes(10 * MIB))
    made(opened(path, PIXELS))
    with path.open("r+b") as file:
        file.seek(1 * MIB)
        file.write(b"changed")
    other = PIXELS // 2
    _, levels = made(opened(path, other))
    np.testing.assert_array_equal(levels[0], halved(other))


@pytest.mark.usefixtures("kept", "folder")
def test_tiles_of_another_size_are_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(opened(tmp_path / "a", PIXELS))
    monkeypatch.setattr(pyramids, "TILE_BYTES", 32 * 16)
    _, levels = made(opened(tmp_path / "a", PIXELS))
    check(levels)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("damage", ["nothing", "text", "short", "half", "one byte", "folder"])
def test_a_damaged_store_is_made_again(folder: Path, tmp_path: Path, damage: str) -> None:
    image = opened(tmp_path / "a", PIXELS)
    made(image)
    store: Any = image.sources[-1]
    store._store.close()
    file = next(folder.glob("*.sqlite"))
    data = file.read_bytes()
    file.unlink()
    contents = {
        "nothing": b"",
        "text": b"this is no database" * 500,
        "short": data[:1000],
        "half": data[: len(data) // 2],
    }
    contents["one byte"] = data[:30] + bytes([data[30] ^ 0xFF]) + data[31:]
    file.mkdir() if damage == "folder" else file.write_bytes(contents[damage])
    for _ in range(2):
        _, levels = made(opened(tmp_path / "a", PIXELS))
        check(levels)
    if damage not in ("folder",):
        assert made(opened(tmp_path / "a", PIXELS))[0] == 0


@pytest.mark.usefixtures("kept")
def test_no_flipped_byte_shows_a_wrong_pixel(folder: Path, tmp_path: Path) -> None:
    image = opened(tmp_path / "a", PIXELS)
    made(image)
    store: Any = image.sources[-1]
    store._store.close()
    file = next(folder.glob("*.sqlite"))
    data = file.read_bytes()
    rng = np.random.default_rng(5)
    # wherever the places of tiles stand, and anywhere
    places = [at for at in range(len(data) - 8) if data[at : at + 6] == b"32/32/"][:20]
    assert places
    flips = [*(at + int(rng.integers(0, 9)) for at in places), *rng.integers(0, len(data), 60).tolist()]
    for at in flips:
        for part in folder.iterdir():
            part.unlink()
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        file.write_bytes(damaged)
        again = opened(tmp_path / "a", PIXELS)
        check(made(again)[1])
        other: Any = again.sources[-1]
        other._store.close()


@pytest.mark.parametrize("value", ["text", None, 5, 1.5])
def test_a_row_of_something_else_is_no_tile(tmp_path: Path, value: object) -> None:
    store = TileStore(tmp_path / "a.sqlite")
    tile = noise((4, 4))
    store.put(1, (0, 0), tile)
    with sqlite3.connect(tmp_path / "a.sqlite") as database:
        database.execute("UPDATE tiles SET data = ?", (value,))
    database.close()
    assert store.get(1, (0, 0), (4, 4), tile.dtype) is None
    store.put(1, (0, 0), tile)
    found = store.get(1, (0, 0), (4, 4), tile.dtype)
    assert found is not None
    np.testing.assert_array_equal(found, tile)
    assert store.get(1, (0, 0), (4, 5), tile.dtype) is None
    store.close()
    assert store.get(1, (0, 0), (4, 4), tile.dtype) is None
    store.put(1, (0, 0), tile)


def test_a_store_that_is_in_use_elsewhere_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    first = TileStore(path)
    tile = noise((4, 4))
    first.put(1, (0, 0), tile)
    second = TileStore(path)
    second.put(1, (0, 1), tile)
    assert first.has(1, (0, 1))
    assert second.has(1, (0, 0))
    first.close()
    second.close()


def filled(folder: Path, name: str, used: int) -> Path:
    """Make the store of an image that takes about 100 kB and was used at a time."""
    store = TileStore(folder / f"{name}.sqlite")
    store.put(1, (0, 0), np.random.default_rng(0).integers(0, 256, (320, 320)).astype(np.uint8))
    store.close()
    os.utime(folder / f"{name}.sqlite", (used, used))
    return folder / f"{name}.sqlite"


def test_beyond_the_limit_the_least_recently_used_go(tmp_path: Path) -> None:
    files = {name: filled(tmp_path, name, used) for used, name in enumerate("bdac", start=1000)}
    (tmp_path / "b.sqlite-wal").write_bytes(b"what is left of it")
    tile = noise((4, 4))
    store = TileStore(tmp_path / "new.sqlite", limit_bytes=350_000)
    store.put(1, (0, 0), tile)
    assert {name: file.exists() for name, file in files.items()} == {
        "b": False,
        "d": False,
        "a": True,
        "c": True,
    }
    assert not (tmp_path / "b.sqlite-wal").exists()
    assert store.has(1, (0, 0))
    store.close()


def test_beyond_the_limit_nothing_more_is_written_and_what_is_there_is_read(tmp_path: Path) -> None:
    filled(tmp_path, "own", 1000)
    store = TileStore(tmp_path / "own.sqlite", limit_bytes=50_000)
    store.put(1, (5, 5), noise((4, 4)))
    assert store.has(1, (0, 0))
    assert not store.has(1, (5, 5))
    store.close()


def test_a_cache_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = TileStore(tmp_path / "file" / "sub" / "a.sqlite")
    store.put(1, (0, 0), noise((4, 4)))
    assert store.get(1, (0, 0), (4, 4), np.dtype("u1")) is None


def gradient(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return pixels that tell where they are, a little brighter from one channel to the next."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    plane = (rows * 10 + columns * 7).astype(np.uint16)
    return (
        plane if len(shape) == 2 else np.stack([plane + 40 * channel for channel in range(shape[2])], axis=2)
    )


@pytest.mark.usefixtures("kept", "folder")
@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((1500, 1100), (64, 64)),
        ((1501, 999, 3), (64, 64, 3)),
        ((1501, 999, 3), (64, 64, 1)),
        ((1283, 600), (7, 600)),
        ((1283, 601), (97, 53)),
    ],
)
def test_an_overview_comes_at_once_and_ends_exact(
    tmp_path: Path, shape: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    pixels = gradient(shape)
    image = with_pyramid(slide(pixels, tile, tmp_path / "a"))
    overview = Overview(image)
    assert not overview.is_exact
    exact = levels_of(pixels, len(image.sources) - 1)[-1].astype(int)
    assert overview.pixels.shape == exact.shape
    preview = np.abs(overview.pixels.astype(int) - exact)
    assert preview.mean() < 0.15 * exact.max()  # the right colours in about the right place
    steps, worst = [], 0.0
    before = overview.pixels.copy()
    for step in overview.steps():
        steps.append(step)
        changed = overview.pixels != before
        if step[0] < step[1]:
            worst = max(worst, float(np.abs(overview.pixels.astype(int) - exact)[changed].max(initial=0)))
        before = overview.pixels.copy()
    scale = shape[0] / exact.shape[0]
    assert worst <= 2 * scale * 17  # what was painted lay within two pixels of its place
    assert steps == [(number + 1, len(steps)) for number in range(len(steps))]
    np.testing.assert_array_equal(overview.pixels, exact)
    assert overview.is_exact
    again = Overview(with_pyramid(slide(pixels, tile, tmp_path / "a")))
    assert again.is_exact
    np.testing.assert_array_equal(again.pixels, exact)


@pytest.mark.usefixtures("kept", "folder")
def test_an_overview_that_is_stopped_is_not_called_exact(tmp_path: Path) -> None:
    image = with_pyramid(slide(gradient((1500, 1100)), (64, 64), tmp_path / "a"))
    overview = Overview(image)
    asked = iter([False, False, True])
    assert [done for done, _ in overview.steps(lambda: next(asked))] == [1, 2]
    assert not overview.is_exact


def test_the_overview_of_a_small_image_is_exact_from_the_start(tmp_path: Path) -> None:
    pixels = gradient((1300, 200))
    overview = Overview(with_pyramid(slide(pixels, (64, 64), tmp_path / "a")))
    assert overview.is_exact
    np.testing.assert_array_equal(overview.pixels, halved(pixels))
