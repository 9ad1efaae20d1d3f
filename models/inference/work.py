"""The work of one run, shared by the devices that do it and the caller who waits for results."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from napari_medlab.models.inference.planning import halved, split
from napari_medlab.models.inference.reading import Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.planning import Plan, TilingRule
    from napari_medlab.models.inference.reading import ReadAhead
    from napari_medlab.models.inference.tiles import Tile

__all__ = ["Work"]

T = TypeVar("T")
POLL_SECONDS = 0.05
"""How often who waits for results looks whether the run was cancelled."""


class Work(Generic[T]):
    """Jobs that wait, jobs that are done, and the order in which results are handed out; safe to use from any thread.

    Parameters
    ----------
    plan : Plan
    reading : ReadAhead
        The plan's tiles, numbered in order.
    most_waiting : int
        Where so many results wait to be handed out, no further job is, except the one that all of them wait for.
    """

    def __init__(self, plan: Plan, reading: ReadAhead, most_waiting: int) -> None:
        self.rule: TilingRule = plan.rule
        self.total = len(reading)
        self._shape = plan.shape
        self._reading = reading
        self._most_waiting = most_waiting
        self._missing = sorted(job.place for job in reading.waiting())  # which is a heap
        self._done: dict[tuple[int, ...], tuple[Tile, T]] = {}
        self._error: BaseException | None = None
        self._is_stopped = False
        self._changed = threading.Condition()

    def take(self, count: int, *, waits: bool) -> tuple[list[Job], list[Future[NDArray[np.float32]]]] | None:
        """Return the next jobs, at most ``count`` of one shape, and what reads them; None where there are none.

        Parameters
        ----------
        count : int
        waits : bool
            Whether to wait while others may still give jobs back.
        """
        with self._changed:
            while self._missing and not self._is_stopped:
                if len(self._reading) and self._may_begin():
                    return self._reading.take(count)
                if not waits:
                    break
                self._changed.wait()
            return None

    def finish(self, jobs: Sequence[Job], results: Sequence[T]) -> None:
        """Take the results of jobs."""
        with self._changed:
            for job, result in zip(jobs, results, strict=True):
                self._done[job.place] = (job.tile, result)
            self._changed.notify_all()

    def give_back(self, jobs: Sequence[Job]) -> None:
        """Take jobs back that were not done."""
        with self._changed:
            self._reading.put_back(jobs)
            self._changed.notify_all()

    def shrink(self) -> bool:
        """Cut the tiles of all jobs that wait into smaller ones; return False where they are as small as makes sense."""
        with self._changed:
            smaller = halved(self.rule)
            if smaller is None:
                return False
            self.rule = smaller
            waiting = self._reading.waiting()
            pieces = [
                Job((*job.place, number), piece)
                for job in waiting
                for number, piece in enumerate(split(job.tile, self._shape, smaller))
            ]
            gone = {job.place for job in waiting}
            self._missing = sorted(
                [place for place in self._missing if place not in gone] + [p.place for p in pieces]
            )
            self.total += len(pieces) - len(waiting)
            self._reading.replace(pieces)
            return True

    def fail(self, error: BaseException) -> None:
        """End the run with an error, which reaches the caller after the results of all jobs before."""
        with self._changed:
            self._error = self._error or error
            self._is_stopped = True
            self._changed.notify_all()

    def stop(self) -> None:
        """End the run: no further job is handed out."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def results(self, cancel: CancelToken) -> Iterator[tuple[Tile, T]]:
        """Yield tiles with their results in order, as they are done."""
        while self._missing:
            cancel.check()
            with self._changed:
                if (first := self._missing[0]) in self._done:
                    heapq.heappop(self._missing)
                    ready = self._done.pop(first)
                    self._changed.notify_all()
                elif self._error is not None:
                    raise self._error
                else:
                    self._changed.wait(POLL_SECONDS)
                    continue
            yield ready

    def _may_begin(self) -> bool:
        return len(self._done) < self._most_waiting or self._reading.first.place == self._missing[0]
