"""Which way to compute a network is the fastest here that is still right: measured, not guessed from flags.

A processor with bfloat16 units computes four times as fast with them, and one without them slower than in float32; the only
way to know is to try. The test runs for about a second, on tiles small enough for that.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.backends import Backend, NetworkLook, build_look, check_precision
from napari_medlab.models.inference.devices import choose_devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.models.inference.backends import Readout

__all__ = ["MOST_DIFFERENCE", "Choice", "TileSize", "choose_backend"]

MOST_DIFFERENCE = 0.02
"""How far a probability may be from that in float32."""

SECONDS = 1.0
"""How long the whole test may take; preparing OpenVINO or a compiler comes on top."""

TILE_SECONDS = 0.06
"""How long one tile of the test may take in float32."""

FAST_ENOUGH = 0.4
"""Of the time of float32: then no network is converted for OpenVINO, which takes seconds, more than a test may take."""
WORTH_IT = 0.9
"""What takes more than this share of float32's time is not worth a rounding."""

FIRST_SIDES = {2: 64, 3: 24}


@dataclass(frozen=True)
class TileSize:
    """What tiles of a network look like.

    Parameters
    ----------
    channels : int
    multiple : int
        Sizes are divisible by it.
    largest : tuple of int
        The sizes of the largest tile, in array order.
    is_fixed : bool
        Whether there are none but the largest, as the cubes of a classifier.
    """

    channels: int
    multiple: int
    largest: tuple[int, ...]
    is_fixed: bool = False

    def scaled(self, side: float) -> tuple[int, ...]:
        """Return the sizes of a tile of about so many voxels along each axis, and no larger than the largest."""
        if self.is_fixed:
            return self.largest
        at_most = [max(self.multiple, round(size / self.multiple) * self.multiple) for size in self.largest]
        wanted = max(self.multiple, round(side / self.multiple) * self.multiple)
        return tuple(min(wanted, most) for most in at_most)

    def example(self, side: float) -> NDArray[np.float32]:
        """Return a tile (1, channel, …), 0 … 1: blobs of several sizes under noise, always the same."""
        rng = np.random.default_rng(0)
        sizes = (1, self.channels, *self.scaled(side))
        image = rng.random(sizes, dtype=np.float32) * np.float32(0.2)
        for step in (4, 8, 16):
            coarse = rng.random(
                (1, self.channels, *(-(-size // step) for size in sizes[2:])), dtype=np.float32
            )
            for axis in range(2, coarse.ndim):
                coarse = np.repeat(coarse, step, axis=axis)
            image += coarse[tuple(slice(size) for size in sizes)] * np.float32(0.8 / 3)
        return image


@dataclass(frozen=True)
class Choice:
    """What a network runs on, and why.

    Parameters
    ----------
    devices : tuple of str
    backend : Backend
    seconds, differences : dict
        What was measured of one tile, by the title of each way that was tried: its time, and the largest difference of
        its probabilities from those in float32. Empty where there was nothing to choose.
    failed : dict
        Why others could not be tried.
    """

    devices: tuple[str, ...]
    backend: Backend
    seconds: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "devices": list(self.devices),
            **self.backend.as_json(),
            "self_test": {
                "seconds": {title: round(value, 5) for title, value in self.seconds.items()},
                "differences": {title: round(value, 5) for title, value in self.differences.items()},
                "failed": dict(self.failed),
            },
        }


def choose_backend(
    network: nn.Module, readout: Readout[Any], size: TileSize, *, device: str = "auto", precision: str = "auto",
    may_compile: bool = False,
) -> Choice:  # fmt: skip
    """Return the fastest way to compute a network on this machine that is right.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in float32, in eval mode.
    readout : Readout
    size : TileSize
    device : str
        As in :func:`~napari_medlab.models.inference.devices.choose_devices`.
    precision : str
        ``"auto"``, or one of :data:`~napari_medlab.models.inference.backends.PRECISIONS`, which is then kept to, however
        fast or exact it is.
    may_compile : bool
        Whether ``torch.compile`` may be tried, on CUDA devices, which takes a minute.

    Raises
    ------
    InputRefusedError
        ``device`` or ``precision`` where what was asked for is not to be had here.
    """
    devices = choose_devices(device)
    if precision != "auto":
        check_precision(devices[0], precision)
    candidates = list(_candidates(devices[0], precision, may_compile=may_compile))
    test = _SelfTest(network, readout, size, devices[0])
    try:
        test.run(candidates)
    except RuntimeError as error:
        if devices[0] == "cpu" or device != "auto":
            raise
        # a GPU that cannot compute this network at all, as Apple's lack some layers in three dimensions
        choice = choose_backend(network, readout, size, device="cpu", precision=precision)
        return Choice(choice.devices, choice.backend, choice.seconds, choice.differences,
                      {**choice.failed, devices[0]: str(error)})  # fmt: skip
    chosen = test.fastest() if precision == "auto" else test.fastest_of(candidates)
    return Choice(devices, chosen, test.seconds, test.differences, test.failed)


def remembered(key: tuple[str, ...], choose: Callable[[], Choice]) -> Choice:
    """Return what was chosen before under a key, in this process; else choose now."""
    with _LOCK:
        if key not in _CHOICES:
            _CHOICES[key] = choose()
        return _CHOICES[key]


_CHOICES: dict[tuple[str, ...], Choice] = {}
_LOCK = threading.Lock()


class _SelfTest:
    """Times ways to compute a network on one tile, and compares what comes out with float32."""

    def __init__(self, network: nn.Module, readout: Readout[Any], size: TileSize, device: str) -> None:
        self._network, self._readout, self._size, self._device = network, readout, size, device
        self._backends: dict[str, Backend] = {}
        self.seconds: dict[str, float] = {}
        self.differences: dict[str, float] = {}
        self.failed: dict[str, str] = {}

    def run(self, candidates: list[Backend]) -> None:
        """Measure float32, then the first of the candidates, then the others while there is time."""
        stop = time.monotonic() + SECONDS
        plain = Backend()
        tile, self.seconds[plain.title], reference = self._first(self._look(plain))
        self._backends[plain.title] = plain
        for number, backend in enumerate(candidates):
            if backend == plain or (number and time.monotonic() > stop and not backend.compiled):
                continue
            if backend.precision == "openvino" and number and self._is_fast_already():
                continue
            try:
                look = self._look(backend)
                if backend.compiled or backend.precision == "openvino":
                    began = time.monotonic()
                    _timed(look, tile)
                    stop += time.monotonic() - began
                seconds, fetched = _timed(look, tile)
            except Exception as error:  # noqa: BLE001 - whatever a backend cannot do, another can
                self.failed[backend.title] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                continue
            self.seconds[backend.title] = seconds
            self.differences[backend.title] = self._readout.difference(reference, fetched, tile.shape[2:])
            self._backends[backend.title] = backend

    def _is_fast_already(self) -> bool:
        """Tell whether some way is so much faster than float32 that converting the network for another is not worth it."""
        return min(self.seconds.values()) < FAST_ENOUGH * self.seconds[Backend().title]

    def fastest(self) -> Backend:
        """Return the fastest of those that are right: float32, unless another is well ahead of it."""
        right = {
            title: seconds
            for title, seconds in self.seconds.items()
            if self.differences.get(title, 0.0) <= MOST_DIFFERENCE
        }
        best = min(right, key=lambda title: right[title])
        plain = Backend()
        return self._backends[best] if right[best] < WORTH_IT * self.seconds[plain.title] else plain

    def fastest_of(self, wanted: list[Backend]) -> Backend:
        """Return the fastest of some that somebody asked for.

        Raises
        ------
        InputRefusedError
            Where none of them works.
        """
        tried = [backend for backend in wanted if backend.title in self.seconds]
        if not tried:
            reasons = "; ".join(self.failed.values())
            raise InputRefusedError(
                f"The model cannot run in {wanted[0].precision} on {self._device}: {reasons}.",
                code="precision",
                hint="Use 'auto' to have the fastest precision chosen that is right, or 'float32'.",
            )
        return min(tried, key=lambda backend: self.seconds[backend.title])

    def _look(self, backend: Backend) -> NetworkLook[Any]:
        import torch

        # another size than that of the test, so that what holds for one size alone is found out
        example = torch.from_numpy(self._size.example(FIRST_SIDES[len(self._size.largest)] * 2))
        return build_look(self._network, self._readout, self._device, backend, example)

    def _first(self, plain: NetworkLook[Any]) -> tuple[NDArray[np.float32], float, Any]:
        """Return a tile that is looked at within :data:`TILE_SECONDS` in float32, or the smallest, its time and answer."""
        dims = len(self._size.largest)
        tile = self._size.example(FIRST_SIDES[dims])
        seconds, fetched = _timed(plain, tile)
        factor = (TILE_SECONDS / max(seconds, 1e-4)) ** (1 / dims)
        if factor < 1.25:
            return tile, seconds, fetched
        tile = self._size.example(FIRST_SIDES[dims] * factor)
        return tile, *_timed(plain, tile)


def _candidates(device: str, precision: str, *, may_compile: bool) -> Iterator[Backend]:
    """Yield the ways to compute on a device, the likely ones first."""
    from napari_medlab.models.inference.openvino_backend import has_openvino

    if precision != "auto":
        kinds = [precision]
    elif device == "cpu":
        kinds = ["bfloat16", "float32", *["openvino"] * has_openvino()]
    else:
        kinds = ["float16", "bfloat16", "float32"] if device.startswith("cuda") else ["float16", "float32"]
    backends = [Backend(kind, last) for last in (False, True) for kind in kinds]  # type: ignore[arg-type]
    yield from (b for b in backends if b.precision != "openvino")
    yield from (b for b in backends if b.precision == "openvino" and not b.channels_last)
    if may_compile and device.startswith("cuda"):
        yield from (Backend(kind, compiled=True) for kind in kinds[:1])  # type: ignore[arg-type]


def _timed(look: NetworkLook[Any], tile: NDArray[np.float32]) -> tuple[float, Any]:
    """Return the shortest of up to four times, of which the first warms up, and what came out."""
    best, stop = float("inf"), time.monotonic() + 2 * TILE_SECONDS
    for _ in range(4):
        began = time.perf_counter()
        fetched = look.submit(tile).fetched()
        best = min(best, time.perf_counter() - began)
        if time.monotonic() > stop:
            break
    return best, fetched
