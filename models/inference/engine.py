"""The tiled engine: one for volumes and slides, and for any network that is handed to it as a :class:`Look`.

Threads read tiles ahead; each device has a thread that takes batches from one queue; results come out in the order of the
plan, whatever the devices and batches. No more is held than a few batches, however large the image.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from napari_medlab.errors import MedlabError
from napari_medlab.models.inference.planning import Plan, make_plan
from napari_medlab.models.inference.reading import Job, ReadAhead
from napari_medlab.models.inference.shortage import is_out_of_memory, release_memory
from napari_medlab.models.inference.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.looking import Look, Pending
    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.inference.tiles import Tile

__all__ = ["plan_of", "stream"]

T = TypeVar("T")
PENDING = 2
"""Batches that a device works on: one is copied while the other is computed. A CPU has one."""
WAITING_BATCHES = 2
"""Results that wait to be taken, in batches for each device, before the devices pause."""
_log = logging.getLogger(__name__)


def plan_of(prepared: Prepared, rule: TilingRule, focus: Sequence[float] | None = None) -> Plan:
    """Return the tiles of an image, those that its background fills left out as the rule says."""
    return make_plan(prepared.shape, rule, foreground=prepared.foreground(rule.skip), focus=focus)


def stream(
    prepared: Prepared,
    look: Look[T] | Sequence[Look[T]],
    rule: TilingRule | Plan,
    cancel: CancelToken,
    *,
    focus: Sequence[float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Generator[tuple[Tile, T]]:
    """Look at an image tile by tile, and yield each tile with its result.

    Results come in the order of the plan. Where memory is short, batches get smaller, then tiles (a tile that was not
    done yet is yielded in pieces), then a device hands over to the CPU; what is done stays done.

    Parameters
    ----------
    prepared : Prepared
    look : Look or sequence of Look
        The network, on each device that is to take part.
    rule : TilingRule or Plan
    cancel : CancelToken
        Checked before each result, and by each device between batches.
    focus : sequence of float, optional
        A voxel index: the tiles nearest to it come first. A plan has its order already.
    on_progress : callable, optional
        Called with the tiles done and in all; skipped ones count as done from the beginning.

    Raises
    ------
    CancelledError
        Within one batch of ``cancel`` being set.
    MedlabError
        With code ``"out-of-memory"`` where the smallest tile on the CPU is too large.
    Exception
        Whatever reading or looking raises, after the results of all tiles before. No thread is left behind.
    """
    plan = rule if isinstance(rule, Plan) else plan_of(prepared, rule, focus)
    looks = list(look) if isinstance(look, Sequence) else [look]
    with ReadAhead(prepared, [Job((number,), tile) for number, tile in enumerate(plan.tiles)]) as reading:
        work: Work[T] = Work(plan, reading, WAITING_BATCHES * plan.rule.batch * len(looks))
        threads = [
            threading.Thread(target=_Device(one, work).run, name=f"look-{one.device}") for one in looks
        ]
        try:
            for thread in threads:
                thread.start()
            for number, tile_and_result in enumerate(work.results(cancel), start=1):
                if on_progress is not None:
                    on_progress(plan.skipped + number, plan.skipped + work.total)
                yield tile_and_result
        finally:
            work.stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()


class _Device(Generic[T]):
    """One look with the batches that it is busy with; runs in a thread of its own."""

    def __init__(self, look: Look[T], work: Work[T]) -> None:
        self._look, self._work = look, work
        self._batch = work.rule.batch
        self._taken: deque[list[Job]] = deque()
        self._pending: deque[Pending[T]] = deque()

    def run(self) -> None:
        """Take batches until none is left, or the run ends."""
        try:
            while self._step():
                pass
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            self._work.fail(error)

    def _step(self) -> bool:
        """Begin a batch or end one; return False where nothing is left."""
        try:
            return self._advance()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            shortage = str(error)
        # past the handler, which held on to whatever filled the memory
        self._pending.clear()
        self._work.give_back([job for jobs in self._taken for job in jobs])
        self._taken.clear()
        release_memory()
        self._make_do(shortage)
        return True

    def _advance(self) -> bool:
        if len(self._pending) < (1 if self._look.device == "cpu" else PENDING):
            batch = self._work.take(self._batch, waits=not self._pending)
            if batch is not None:
                jobs, reading = batch
                self._taken.append(jobs)
                self._pending.append(self._look.submit(_stacked([pixels.result() for pixels in reading])))
                return True
        if not self._pending:
            return False
        results = self._pending[0].result()
        self._work.finish(self._taken[0], results)
        self._pending.popleft()
        self._taken.popleft()
        return True

    def _make_do(self, shortage: str) -> None:
        """Go on with less memory: smaller batches, then smaller tiles, then on the CPU."""
        if self._batch > 1:
            self._batch //= 2
            _log.warning(
                "%s is short of memory: going on with %d tiles at a time", self._look.device, self._batch
            )
        elif self._work.shrink():
            _log.warning("%s is short of memory: going on with smaller tiles", self._look.device)
        elif (on_cpu := self._look.on_cpu()) is not None:
            _log.warning("%s is short of memory: going on on the CPU", self._look.device)
            self._look = on_cpu
        else:
            raise MedlabError(
                f"The memory is not enough for the smallest tile on {self._look.device}: {shortage}",
                code="out-of-memory",
                hint="Close other programs, or choose a smaller model.",
            )


def _stacked(tiles: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return a batch of tiles; one alone is not copied."""
    return tiles[0][None] if len(tiles) == 1 else np.stack(tiles)
