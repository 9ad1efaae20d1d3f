"""Tiles read ahead of the model, by a few threads and within a budget of bytes."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future
    from typing import Self

    from numpy.typing import NDArray

    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.inference.tiles import Tile

__all__ = ["Job", "ReadAhead"]

AHEAD_BYTES = 32 << 20
"""How much is read ahead; a batch's worth is, however large it is."""
READERS = max(1, min(4, (os.cpu_count() or 2) // 2))


class Job(NamedTuple):
    """A tile with its place in the order of results; a piece of a tile comes where the tile would."""

    place: tuple[int, ...]
    tile: Tile


class ReadAhead:
    """A queue of jobs, the first of which are being read or are read already. Used by one thread at a time.

    Parameters
    ----------
    prepared : Prepared
    jobs : iterable of Job
    """

    def __init__(self, prepared: Prepared, jobs: Iterable[Job]) -> None:
        self._prepared = prepared
        self._jobs = deque(jobs)
        self._reading: deque[Future[NDArray[np.float32]]] = deque()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="reading")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def first(self) -> Job:
        """The job that comes next."""
        return self._jobs[0]

    def take(self, count: int) -> tuple[list[Job], list[Future[NDArray[np.float32]]]]:
        """Return the next jobs of one shape, at most ``count``, and what reads them; others are read meanwhile."""
        shape = self.first.tile.read_shape
        self._read_on(count)
        jobs = [self._jobs.popleft()]
        while self._jobs and len(jobs) < count and self.first.tile.read_shape == shape:
            jobs.append(self._jobs.popleft())
        reading = [self._reading.popleft() for _ in jobs]
        self._read_on(count)
        return jobs, reading

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Put jobs into the queue again, each at its place."""
        self.replace(sorted([*jobs, *self._jobs]))

    def replace(self, jobs: Iterable[Job]) -> None:
        """Put other jobs in the place of all that wait."""
        for future in self._reading:
            future.cancel()
        self._reading.clear()
        self._jobs = deque(jobs)

    def waiting(self) -> list[Job]:
        """Return all jobs that nobody took."""
        return list(self._jobs)

    def _read_on(self, least: int) -> None:
        while len(self._reading) < len(self._jobs):
            tile = self._jobs[len(self._reading)].tile
            tile_bytes = 4 * self._prepared.channels * int(np.prod(tile.read_shape))
            if len(self._reading) >= max(least, AHEAD_BYTES // tile_bytes):
                break
            self._reading.append(self._pool.submit(self._prepared.read, tile.read_start, tile.read_stop))
