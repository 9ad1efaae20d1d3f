from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looks import FunctionLook, TightLook, as_if_whole, blurred

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.inference.accumulating import segment
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.inference.planning import TilingRule
from napari_medlab.models.inference.prepared import Prepared
from napari_medlab.models.inference.skipping import Foreground

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.random.default_rng(5).random((1, 60, 75), np.float32)
RULE = TilingRule((16, 16), 4, 4, batch=3)
CHUNK = (20, 30)


@pytest.fixture
def prepared() -> Prepared:
    return Prepared.of_array(IMAGE)


@pytest.fixture
def store(tmp_path: Path, prepared: Prepared) -> MaskStore:
    return MaskStore.create(tmp_path / "masks", prepared.grid, ["tuft"], bundle="abc", chunk=CHUNK)


def everything(store: MaskStore) -> np.ndarray[Any, Any]:
    return store.read((0,) * store.grid.ndim, store.grid.shape)


def test_masks_on_disk_are_what_the_whole_image_gives(prepared: Prepared, store: MaskStore) -> None:
    boxes = list(chain.from_iterable(segment(prepared, FunctionLook(blurred), RULE, CancelToken(), store)))
    assert len(boxes) == len(set(boxes)) == 9
    again = MaskStore.open(store.folder)
    assert (again.is_complete, again.classes, again.bundle, again.chunk) == (True, ("tuft",), "abc", CHUNK)
    assert again.grid == prepared.grid
    np.testing.assert_allclose(everything(again)[0], as_if_whole(prepared, RULE) * 255, atol=0.51)
    np.testing.assert_array_equal(again.read((13, 20), (45, 61)), everything(again)[:, 13:45, 20:61])
    assert set(again.boxes()) == set(boxes)


@settings(deadline=None, max_examples=20)
@given(
    overlap=st.sampled_from([0.0, 0.3, 0.7]), shift=st.sampled_from([None, (8, 4), (3, 11)]), core=st.integers(8, 40),
    multiple=st.sampled_from([1, 4]),
)  # fmt: skip
def test_overlapping_and_shifted_tiles_average_to_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    overlap: float,
    shift: tuple[int, int] | None,
    core: int,
    multiple: int,
) -> None:
    prepared = Prepared.of_array(IMAGE)
    rule = TilingRule((core, core), 4, multiple, overlap=overlap, shifts=() if shift is None else (shift,))
    store = MaskStore.create(tmp_path_factory.mktemp("store") / "m", prepared.grid, ["tuft"], chunk=CHUNK)
    list(segment(prepared, FunctionLook(blurred), rule, CancelToken(), store))
    np.testing.assert_allclose(everything(store)[0], as_if_whole(prepared, rule) * 255, atol=0.52)


def test_where_tiles_disagree_their_answers_fade_into_one_another(tmp_path: Path) -> None:
    prepared = Prepared.of_array(np.zeros((1, 4, 64), np.float32))
    answers = iter([0.0, 1.0])

    def flat(tile: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.full_like(tile, next(answers))

    store = MaskStore.create(tmp_path / "m", prepared.grid, ["a"])
    list(segment(prepared, FunctionLook(flat), TilingRule((4, 32), 0, 1, overlap=0.5), CancelToken(), store))
    row = everything(store)[0, 0].astype(int)
    steps = np.diff(row)
    assert (row[0], row[-1]) == (0, 255)
    assert (steps >= 0).all()
    assert steps.max() <= 255 / 16 + 1
    assert row[31] + row[32] == pytest.approx(255, abs=2)


def test_a_volume_of_several_classes_given_as_bytes(tmp_path: Path) -> None:
    prepared = Prepared.of_array(np.random.default_rng(1).random((1, 11, 30, 20), np.float32))

    def classes(tile: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        levels = np.round(tile * 255).astype(np.uint8)
        return np.concatenate([levels, 255 - levels])

    store = MaskStore.create(tmp_path / "m", prepared.grid, ["a", "b"], chunk=(4, 16, 16))
    list(segment(prepared, FunctionLook(classes), TilingRule((8, 8, 8), 0, 2), CancelToken(), store))
    seen = everything(store)
    np.testing.assert_array_equal(seen[0], np.round(prepared.read((0, 0, 0), (11, 30, 20))[0] * 255))
    np.testing.assert_array_equal(seen[1], 255 - seen[0])


def half_blank(prepared: Prepared) -> Prepared:
    mask = np.zeros((6, 8), np.bool_)
    mask[:, :2] = True
    found = Foreground(mask, (0.1, 0.1), (-0.45, -0.45))
    return Prepared(prepared.samples, prepared.grid, find=lambda rule: found if rule == "glass" else None)


def test_what_is_skipped_is_zero_and_no_file(prepared: Prepared, store: MaskStore) -> None:
    rule = TilingRule((16, 16), 4, 4, skip="glass")
    parts = segment(half_blank(prepared), FunctionLook(blurred), rule, CancelToken(), store)
    boxes = list(chain.from_iterable(parts))
    assert len(boxes) == 3
    seen = everything(store)[0]
    np.testing.assert_allclose(seen[:, :20], as_if_whole(prepared, rule)[:, :20] * 255, atol=0.51)
    assert (seen[:, 60:] == 0).all()
    assert store.blank().sum() == 6
    assert MaskStore.open(store.folder).is_complete


def test_a_chunk_that_is_lost_is_an_error_and_no_background(prepared: Prepared, store: MaskStore) -> None:
    list(segment(prepared, FunctionLook(blurred), RULE, CancelToken(), store))
    (store.folder / "c" / "0" / "1" / "1").unlink()
    again = MaskStore.open(store.folder)
    again.read((0, 0), (20, 75))
    with pytest.raises(InputRefusedError) as caught:
        again.read((0, 0), (21, 75))
    assert caught.value.code == "missing-chunk"


def test_a_chunk_that_was_changed_is_an_error(prepared: Prepared, store: MaskStore) -> None:
    list(segment(prepared, FunctionLook(blurred), RULE, CancelToken(), store))
    chunk = store.folder / "c" / "0" / "1" / "1"
    payload = bytearray(chunk.read_bytes())
    payload[len(payload) // 2] ^= 1
    chunk.write_bytes(payload)
    with pytest.raises(InputRefusedError) as caught:
        everything(MaskStore.open(store.folder))
    assert caught.value.code == "damaged"


def cancelled_after(count: int, prepared: Prepared, store: MaskStore) -> None:
    cancel = CancelToken()
    parts = chain.from_iterable(segment(prepared, FunctionLook(blurred), RULE, cancel, store))
    for _ in range(count):
        next(parts)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(parts)


def test_a_run_that_was_cancelled_leaves_partial_masks_that_say_so(
    prepared: Prepared, store: MaskStore
) -> None:
    cancelled_after(2, prepared, store)
    partial = MaskStore.open(store.folder)
    assert not partial.is_complete
    done = partial.done()
    assert 2 <= done.sum() < 9
    (first, *_) = partial.boxes()
    assert partial.read(*first).shape == (1, *CHUNK)
    with pytest.raises(InputRefusedError) as caught:
        everything(partial)
    assert caught.value.code == "partial"
    with pytest.raises(InputRefusedError, match="not done"):
        partial.finish()


def test_and_the_next_run_looks_only_at_what_is_missing(prepared: Prepared, store: MaskStore) -> None:
    cancelled_after(3, prepared, store)
    partial = MaskStore.open(store.folder)
    before = set(partial.boxes())
    look = FunctionLook(blurred)
    progress: list[tuple[int, int]] = []
    parts = segment(
        prepared, look, RULE, CancelToken(), partial, on_progress=lambda *now: progress.append(now)
    )
    boxes = list(chain.from_iterable(parts))
    assert before.isdisjoint(boxes)
    assert len(before) + len(boxes) == 9
    assert 0 < sum(shape[0] for shape in look.batches) < 25
    assert progress[-1][0] == progress[-1][1]
    np.testing.assert_allclose(everything(partial)[0], as_if_whole(prepared, RULE) * 255, atol=0.51)


@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_tiles_that_come_in_pieces_fill_chunks_all_the_same(
    prepared: Prepared, store: MaskStore, overlap: float
) -> None:
    rule = TilingRule((32, 32), 4, 4, batch=2, overlap=overlap)
    look = TightLook(blurred, 30 * 30, MemoryError(), cpu=None)
    list(segment(prepared, look, rule, CancelToken(), store))
    np.testing.assert_allclose(everything(store)[0], as_if_whole(prepared, rule) * 255, atol=0.52)


def test_chunks_are_written_as_soon_as_nothing_can_change_them(prepared: Prepared, store: MaskStore) -> None:
    tiles: list[int] = []
    parts = segment(
        prepared,
        FunctionLook(blurred),
        RULE,
        CancelToken(),
        store,
        on_progress=lambda done, _: tiles.append(done),
    )
    seen_at = [(box.start, tiles[-1]) for boxes in parts for box in boxes]
    assert len(tiles) > len(seen_at), "tiles that complete nothing are told of, too"
    assert seen_at[0][1] < 25 / 2
    assert [start for start, _ in seen_at] == sorted(start for start, _ in seen_at)


def test_masks_of_another_shape_or_number_of_classes_are_refused(prepared: Prepared, tmp_path: Path) -> None:
    other = MaskStore.create(tmp_path / "a", Grid.axis_aligned((10, 10), (1, 1), unit="px"), ["tuft"])
    with pytest.raises(InputRefusedError, match="shape"):
        list(segment(prepared, FunctionLook(blurred), RULE, CancelToken(), other))
    two = MaskStore.create(tmp_path / "b", prepared.grid, ["a", "b"])
    with pytest.raises(InputRefusedError, match="2 classes"):
        list(segment(prepared, FunctionLook(blurred), RULE, CancelToken(), two))


def test_nothing_is_overwritten(store: MaskStore) -> None:
    with pytest.raises(InputRefusedError) as caught:
        MaskStore.create(store.folder, store.grid, ["tuft"])
    assert caught.value.code == "exists"


@pytest.mark.parametrize("damage", ["{", "{}", '{"attributes": {}}', None])
def test_a_folder_that_holds_no_masks_is_refused(store: MaskStore, damage: str | None) -> None:
    header = store.folder / "zarr.json"
    if damage is None:
        document = json.loads(header.read_text())
        document["shape"] = [1, 60, 76]
        damage = json.dumps(document)
    header.write_text(damage)
    with pytest.raises(InputRefusedError) as caught:
        MaskStore.open(store.folder)
    assert caught.value.code == "masks"
