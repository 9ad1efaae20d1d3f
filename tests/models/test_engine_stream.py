from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looks import FunctionLook, TightLook, as_if_whole, assembled, blurred, engine_threads

from napari_medlab.errors import MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.inference.engine import plan_of, stream
from napari_medlab.models.inference.planning import TilingRule
from napari_medlab.models.inference.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = np.random.default_rng(5).random((1, 60, 75), np.float32)
RULE = TilingRule((16, 16), 4, 4, batch=3)


@pytest.fixture
def prepared() -> Prepared:
    return Prepared.of_array(IMAGE)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert engine_threads() == []


def test_tiles_give_what_the_whole_image_gives(prepared: Prepared) -> None:
    parts = list(stream(prepared, FunctionLook(blurred), RULE, CancelToken()))
    np.testing.assert_allclose(assembled(parts, prepared.shape), as_if_whole(prepared, RULE), atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.integers(1, 20)] * 3), st.sampled_from([1, 2, 4]),
    st.integers(1, 5), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_and_so_for_any_volume_and_tiling(
    shape: tuple[int, ...], core: tuple[int, ...], multiple: int, batch: int, seed: int
) -> None:
    prepared = Prepared.of_array(np.random.default_rng(seed).random((1, *shape), np.float32))
    rule = TilingRule(core, 2, multiple, batch)
    parts = list(stream(prepared, FunctionLook(blurred), rule, CancelToken()))
    np.testing.assert_allclose(assembled(parts, shape), as_if_whole(prepared, rule), atol=1e-6)


def test_a_network_gives_what_it_gives_on_the_whole_image() -> None:
    import torch
    from torch import nn

    from napari_medlab.models.inference.receptive_field import receptive_radius

    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=1),
    ).eval()  # fmt: skip
    radius = receptive_radius(network, 2, 2)
    assert radius is not None

    def answer(tile: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(tile)[None])[0])

    prepared = Prepared.of_array(IMAGE)
    rule = TilingRule((16, 16), radius, 2)
    parts = list(stream(prepared, FunctionLook(answer), rule, CancelToken()))
    whole = answer(prepared.read((0, 0), (60, 76)))[0, :, :75]
    np.testing.assert_allclose(assembled(parts, prepared.shape), whole, atol=1e-6)
    too_little = TilingRule((16, 16), tuple(side - 2 for side in radius), 2)
    parts = list(stream(prepared, FunctionLook(answer), too_little, CancelToken()))
    assert np.abs(assembled(parts, prepared.shape) - whole).max() > 1e-4


@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_results_come_in_the_order_of_the_plan(prepared: Prepared, devices: int, batch: int) -> None:
    rule = TilingRule((16, 16), 4, 4, batch=batch)
    delays = np.random.default_rng(1)

    def slow(tile: np.ndarray[Any, Any]) -> float:
        time.sleep(delays.uniform(0, 0.004))
        return float(tile.sum())

    looks = [FunctionLook(slow, f"device:{number}") for number in range(devices)]
    parts = list(stream(prepared, looks, rule, CancelToken()))
    assert [tile for tile, _ in parts] == list(plan_of(prepared, rule).tiles)
    for tile, total in parts:
        assert total == pytest.approx(float(prepared.read(tile.read_start, tile.read_stop).sum()))
    assert sum(shape[0] for look in looks for shape in look.batches) == len(parts)
    assert max(shape[0] for look in looks for shape in look.batches) == batch
    assert all(len(look.threads) <= 1 for look in looks)


def test_batches_fill_up_across_what_is_skipped() -> None:
    image = np.zeros((1, 64, 64), np.float32)
    prepared = Prepared.of_array(image)
    plan = plan_of(prepared, TilingRule((8, 8), 0, 8, batch=4))
    gappy = replace(plan, tiles=plan.tiles[::2], skipped=len(plan.tiles) - len(plan.tiles[::2]))
    look = FunctionLook(lambda tile: tile.shape)
    seen: list[tuple[int, int]] = []
    results = list(stream(prepared, look, gappy, CancelToken(), on_progress=lambda *now: seen.append(now)))
    assert [shape[0] for shape in look.batches] == [4] * 8
    assert seen == [(33 + number, 64) for number in range(len(results))]


def test_it_stops_within_one_batch_when_it_is_cancelled(prepared: Prepared) -> None:
    cancel = CancelToken()
    look = FunctionLook(lambda tile: float(tile.sum()))
    results = stream(prepared, look, TilingRule((4, 4), 0, 4), cancel)
    next(results)
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(results)
    total = plan_of(prepared, TilingRule((4, 4), 0, 4)).total
    assert len(look.batches) < total / 2


def test_a_run_that_nobody_reads_on_ends(prepared: Prepared) -> None:
    results = stream(prepared, FunctionLook(blurred), RULE, CancelToken())
    next(results)
    results.close()
    assert engine_threads() == []


def test_devices_wait_for_who_takes_the_results(prepared: Prepared) -> None:
    look = FunctionLook(lambda tile: 0.0)
    results = stream(prepared, look, TilingRule((4, 4), 0, 4), CancelToken())
    next(results)
    time.sleep(0.2)
    assert len(look.batches) <= 8
    results.close()


def test_what_the_look_raises_reaches_the_caller_after_what_was_done(prepared: Prepared) -> None:
    def fragile(tile: np.ndarray[Any, Any]) -> float:
        if len(look.batches) > 3:
            raise ZeroDivisionError("a bug in the network")
        return 1.0

    look = FunctionLook(fragile)
    results = stream(prepared, look, TilingRule((16, 16), 4, 4), CancelToken())
    done = [next(results) for _ in range(3)]
    assert len(done) == 3
    with pytest.raises(ZeroDivisionError, match="a bug"):
        next(results)


def test_what_reading_raises_reaches_the_caller(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Prepared, start: object, stop: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Prepared, "read", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(stream(prepared, FunctionLook(blurred), RULE, CancelToken()))


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)  # fmt: skip
def test_short_of_memory_it_takes_smaller_batches_and_then_smaller_tiles(
    prepared: Prepared, error: Exception
) -> None:
    rule = TilingRule((32, 32), 4, 4, batch=4)
    look = TightLook(blurred, 30 * 30, error, cpu=None)
    parts = list(stream(prepared, look, rule, CancelToken()))
    np.testing.assert_allclose(assembled(parts, prepared.shape), as_if_whole(prepared, rule), atol=1e-6)
    assert all(np.prod(shape) <= 30 * 30 for shape in look.batches)


def test_what_was_done_before_memory_ran_short_is_kept(prepared: Prepared) -> None:
    rule = TilingRule((16, 16), 4, 4)
    seen: list[tuple[int, ...]] = []

    def tired(tile: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        seen.append(tile.shape)
        if len(seen) > 4 and tile.size > 400:
            raise MemoryError
        return blurred(tile)

    progress: list[tuple[int, int]] = []
    look = FunctionLook(tired)
    parts = list(stream(prepared, look, rule, CancelToken(), on_progress=lambda *now: progress.append(now)))
    np.testing.assert_allclose(assembled(parts, prepared.shape), as_if_whole(prepared, rule), atol=1e-6)
    plan = plan_of(prepared, rule)
    assert [tile for tile, _ in parts[:4]] == list(plan.tiles[:4])
    assert progress[-1][0] == progress[-1][1] == len(parts) > plan.total


def test_at_last_the_device_hands_over_to_the_cpu(prepared: Prepared) -> None:
    cpu = FunctionLook(blurred)
    look = TightLook(blurred, 10, MemoryError(), cpu=cpu)
    parts = list(stream(prepared, look, RULE, CancelToken()))
    np.testing.assert_allclose(assembled(parts, prepared.shape), as_if_whole(prepared, RULE), atol=1e-6)
    assert look.batches == []
    assert cpu.batches


def test_and_where_that_is_too_little_the_run_says_so(prepared: Prepared) -> None:
    with pytest.raises(MedlabError) as caught:
        list(stream(prepared, TightLook(blurred, 10, MemoryError(), cpu=None), RULE, CancelToken()))
    assert caught.value.code == "out-of-memory"


def test_several_devices_share_the_work_when_one_of_them_is_short_of_memory(prepared: Prepared) -> None:
    looks = [TightLook(blurred, 500, MemoryError(), cpu=None), FunctionLook(blurred, "cuda:1")]
    parts = list(stream(prepared, looks, RULE, CancelToken()))
    np.testing.assert_allclose(assembled(parts, prepared.shape), as_if_whole(prepared, RULE), atol=1e-6)


def test_only_so_much_is_read_ahead(monkeypatch: pytest.MonkeyPatch, prepared: Prepared) -> None:
    monkeypatch.setattr("napari_medlab.models.inference.reading.AHEAD_BYTES", 10_000)
    reads: list[object] = []
    whole = Prepared.read

    def counted(self: Prepared, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray[Any, Any]:
        reads.append(start)
        return whole(self, start, stop)

    monkeypatch.setattr(Prepared, "read", counted)
    results = stream(prepared, FunctionLook(lambda tile: 0.0), TilingRule((4, 4), 0, 4), CancelToken())
    next(results)
    time.sleep(0.1)
    assert len(reads) <= 10_000 // 64 + 10 < plan_of(prepared, TilingRule((4, 4), 0, 4)).total
    results.close()
