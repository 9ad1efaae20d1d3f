"""From tiles to masks: chunks of a store fill up as tiles come, and are written as soon as no tile can change them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.engine import plan_of, stream
from napari_medlab.models.inference.mask_store import MOST, Box, MaskStore
from napari_medlab.models.inference.planning import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.looking import Look
    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.inference.tiles import Tile

__all__ = ["segment"]

Index = tuple[int, ...]


def segment(  # noqa: PLR0913 - what stream takes, and where it is written
    prepared: Prepared,
    look: Look[NDArray[np.float32]] | Sequence[Look[NDArray[np.float32]]],
    rule: TilingRule | Plan,
    cancel: CancelToken,
    store: MaskStore,
    *,
    focus: Sequence[float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[list[Box]]:
    """Write the probabilities of a segmenter into a store; yield, tile by tile, the voxels of the chunks that are on disk now.

    Most tiles complete no chunk: what they yield is empty, and tells that the run goes on.

    What the rule skips is marked as empty. A store that a run before left partial is carried on with: only what is missing
    is looked at. The store is complete once the iterator ends; where the run ends earlier, it stays partial.

    Parameters
    ----------
    prepared : Prepared
    look : Look or sequence of Look
        Gives for each tile its probabilities, (class, …), of what it sees or of its core alone: float32, 0 … 1, or uint8,
        0 … 255.
    rule : TilingRule or Plan
    cancel : CancelToken
    store : MaskStore
        On the grid of ``prepared``.
    focus, on_progress
        As in :func:`napari_medlab.models.inference.engine.stream`.

    Raises
    ------
    InputRefusedError
        Where the store has another shape, or the look gives another number of classes.
    CancelledError, MedlabError, Exception
        As in :func:`napari_medlab.models.inference.engine.stream`.
    """
    if store.grid.shape != prepared.shape:
        raise InputRefusedError(
            f"The masks in {store.folder} have the shape {store.grid.shape}, and the image has {prepared.shape}.",
            code="masks",
            hint="Write the masks into a new folder.",
        )
    filling = _Filling(store, rule if isinstance(rule, Plan) else plan_of(prepared, rule, focus))
    for tile, probabilities in stream(prepared, look, filling.plan, cancel, on_progress=on_progress):
        yield list(filling.add(tile, probabilities))
    store.finish()


class _Filling:
    """The chunks that some tiles have reached and others will; tiles may come whole or in pieces."""

    def __init__(self, store: MaskStore, plan: Plan) -> None:
        self._store = store
        self._averages = plan.rule.overlap > 0 or bool(plan.rule.shifts)
        self._awaited = np.zeros(store.counts, np.int64)
        self._open: dict[Index, _Chunk] = {}
        done = store.done()
        wanted = [tile for tile in plan.tiles if not all(done[index] for index, _ in self._shares(tile))]
        for tile in wanted:
            for index, box in self._shares(tile):
                self._awaited[index] += _volume(box)
        self._awaited[done] = 0
        self.plan = replace(plan, tiles=tuple(wanted), skipped=plan.total - len(wanted))
        store.set_blank(store.blank() | (self._awaited == 0) & ~done)

    def add(self, tile: Tile, probabilities: NDArray[np.float32] | NDArray[np.uint8]) -> Iterator[Box]:
        """Take the result of a tile; write the chunks that it completes, and yield their voxels."""
        core = self._core(tile, probabilities)
        weights = _weights(tile) if self._averages else None
        for index, box in self._shares(tile):
            if not self._awaited[index]:
                continue
            chunk = self._open.get(index)
            if chunk is None:
                chunk = self._open[index] = _Chunk(self._store.box(index), len(core), averages=self._averages)
            chunk.add(tile, box, core, weights)
            self._awaited[index] -= _volume(box)
            if not self._awaited[index]:
                yield self._store.write(index, self._open.pop(index).masks())

    def _core(
        self, tile: Tile, probabilities: NDArray[np.float32] | NDArray[np.uint8]
    ) -> NDArray[np.uint8 | np.float32]:
        """Return what counts of a result, in the numbers that are kept of it: 0 … 255."""
        core = probabilities
        if probabilities.shape[1:] != tile.core_shape:
            core = probabilities[(slice(None), *tile.core_within())]
        if core.shape != (len(self._store.classes), *tile.core_shape):
            raise InputRefusedError(
                f"The model gives an array of {probabilities.shape} for a tile of {tile.read_shape} and "
                f"{len(self._store.classes)} classes.",
                code="masks",
                hint="The network and the classes of the bundle do not fit; import the model again.",
            )
        if core.dtype == np.uint8:
            return core
        scaled = np.multiply(core, np.float32(MOST), dtype=np.float32)
        return scaled if self._averages else _rounded(scaled)

    def _shares(self, tile: Tile) -> Iterator[tuple[Index, Box]]:
        """Yield the number of each chunk that the core of a tile touches, and the voxels that both hold."""
        axes = [
            [
                (number, max(a, number * side), min(b, (number + 1) * side))
                for number in range(a // side, -(-b // side))
            ]
            for a, b, side in zip(tile.core_start, tile.core_stop, self._store.chunk, strict=True)
        ]
        for parts in product(*axes):
            index, starts, stops = zip(*parts, strict=True)
            yield index, Box(starts, stops)


class _Chunk:
    """A chunk that is being filled: masks as they will be written or, where tiles overlap, sums with their weights."""

    def __init__(self, box: Box, classes: int, *, averages: bool) -> None:
        shape = tuple(b - a for a, b in zip(*box, strict=True))
        self._start = box.start
        self._values = np.zeros((classes, *shape), np.float32 if averages else np.uint8)
        self._weights = np.zeros(shape, np.float32) if averages else None

    def add(
        self, tile: Tile, box: Box, core: NDArray[np.uint8 | np.float32], weights: NDArray[np.float32] | None
    ) -> None:
        """Take what the core of a tile holds in a box of voxels."""
        here = _within(box, self._start)
        there = _within(box, tile.core_start)
        values = core[(slice(None), *there)]
        if self._weights is None or weights is None:
            self._values[(slice(None), *here)] = values
        else:
            self._values[(slice(None), *here)] += values * weights[there]
            self._weights[here] += weights[there]

    def masks(self) -> NDArray[np.uint8]:
        """Return the chunk, uint8 (class, …)."""
        if self._weights is None:
            return np.asarray(self._values, np.uint8)
        self._values /= np.maximum(self._weights, np.finfo(np.float32).tiny)
        return _rounded(self._values)


def _weights(tile: Tile) -> NDArray[np.float32]:
    """Return how much each voxel of a tile's core counts, float32 (…)."""
    weights = np.ones(tile.core_shape, np.float32)
    for axis, (fade, start, stop) in enumerate(
        zip(tile.fades, tile.core_start, tile.core_stop, strict=False)
    ):
        sides = [1] * weights.ndim
        sides[axis] = -1
        weights *= fade.weights(start, stop).reshape(sides)
    return weights


def _rounded(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    values += np.float32(0.5)
    return np.clip(values, 0, MOST, out=values).astype(np.uint8)


def _within(box: Box, start: Index) -> tuple[slice, ...]:
    return tuple(slice(a - first, b - first) for a, b, first in zip(*box, start, strict=True))


def _volume(box: Box) -> int:
    return int(np.prod([b - a for a, b in zip(*box, strict=True)]))
