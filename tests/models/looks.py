"""Looks for tests of the engine: small functions of a batch in place of a network."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.inference.prepared import Prepared


class Now:
    """A batch that is done already."""

    def __init__(self, results: list[Any]) -> None:
        self._results = results

    def result(self) -> list[Any]:
        return self._results


class FunctionLook:
    """Calls a function on each tile (channel, …) in float64, and keeps what it saw."""

    def __init__(self, function: Callable[[NDArray[Any]], Any], device: str = "cpu") -> None:
        self.device = device
        self.batches: list[tuple[int, ...]] = []
        self.threads: set[str] = set()
        self._function = function

    def submit(self, batch: NDArray[np.float32]) -> Now:
        self.batches.append(batch.shape)
        self.threads.add(threading.current_thread().name)
        return Now([self._function(tile) for tile in batch])

    def on_cpu(self) -> FunctionLook | None:
        return None


class TightLook(FunctionLook):
    """Runs out of memory where a batch has more voxels than it can take."""

    def __init__(
        self,
        function: Callable[[NDArray[Any]], Any],
        most_voxels: int,
        error: Exception,
        *,
        cpu: FunctionLook | None,
    ) -> None:
        super().__init__(function, "cuda:0" if cpu is not None else "cpu")
        self._most, self._error, self._cpu = most_voxels, error, cpu

    def submit(self, batch: NDArray[np.float32]) -> Now:
        if batch.size > self._most:
            raise self._error
        return super().submit(batch)

    def on_cpu(self) -> FunctionLook | None:
        return self._cpu


def blurred(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a mean over 5 voxels a side, zeros outside: a network of one class whose receptive radius is 2."""
    from scipy import ndimage

    return np.asarray(ndimage.uniform_filter(tile[0], 5, mode="constant"))[None]


def engine_threads() -> list[str]:
    """Return the threads of runs that have not ended."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("look-", "reading"))]


def assembled(
    parts: Sequence[tuple[Any, NDArray[np.float32]]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the image that the cores of tiles make up; NaN where none does."""
    whole = np.full(shape, np.nan, np.float32)
    for tile, answer in parts:
        whole[tile.core_box()] = answer[(0, *tile.core_within())]
    return whole


def as_if_whole(prepared: Prepared, rule: TilingRule) -> NDArray[np.float32]:
    """Return what the blur gives on the whole image, padded to the rule's multiple."""
    padded = [-(-size // rule.multiple) * rule.multiple for size in prepared.shape]
    answer = blurred(prepared.read([0] * len(padded), padded))[0]
    return np.asarray(answer[tuple(slice(size) for size in prepared.shape)])
