"""Tasks on the workers of a cluster: who does which, who is lost, and exactly one outcome of each."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError as AsyncCancelledError
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from napari_medlab import __version__
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cluster.carrying import TOPIC, Answer, Attempt, carry_out
from napari_medlab.jobs.spreading import Outcome, Task, TaskFunction, refuse_twins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_medlab.jobs.cancellation import CancelToken

__all__ = ["ATTEMPTS", "Advance", "Cluster", "Strength"]

ATTEMPTS = 3
"""So often a task is begun where its worker is lost, or the system fails under it; then it is the task's own fault."""

OF_WORKERS = frozenset({"device", "not-shared", "other-model", "precision"})
"""Codes of refusals that may be the worker's fault: another may see the file, or have the device."""

TICK_SECONDS = 0.1
LOOK_SECONDS = 0.5
ANSWER_SECONDS = 30.0
"""Whoever has not answered by then is taken to be gone."""


@dataclass(frozen=True)
class Advance:
    """How far a task at work is, in pieces of its own; begins anew where its worker is lost."""

    key: str
    done: int
    total: int


@dataclass(frozen=True)
class Strength:
    """How many workers there are now."""

    workers: int


class Cluster:
    """Does tasks on the workers of a dask scheduler; a :class:`~napari_medlab.jobs.spreading.Spread`.

    Each worker has one task at a time, and is named for it: distributed's own scheduling would put a task that ends its
    worker behind others that are blamed with it. A task whose worker is lost is begun again, at most :data:`ATTEMPTS` times
    in all. One that a worker refuses for what it lacks itself goes to another, until all have refused it. What a lost
    worker should still say is not listened to.

    Parameters
    ----------
    client : distributed.Client
    address : str
        Of the scheduler, for what is told to people.
    worker_seconds : float
        For how long there may be no worker.
    """

    def __init__(self, client: Any, address: str, *, worker_seconds: float) -> None:  # noqa: ANN401 - untyped there
        self._client, self._address, self._worker_seconds = client, address, worker_seconds
        self._calls: dict[str, _Call] = {}

    def __enter__(self) -> Self:
        self._client.subscribe_topic(TOPIC, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.clear()

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Yield exactly one outcome for each task, as they come; see :meth:`~napari_medlab.jobs.spreading.Spread.run`.

        Raises
        ------
        CancelledError
            After ``cancel``; workers stop at the next piece of their work.
        MedlabError
            ``cluster-lost`` where the scheduler is gone, ``no-workers`` where it has had none for too long.
        InputRefusedError
            ``other-version`` where a worker has another version of napari-medlab, or none.
        """
        for told in self.follow(function, tasks, cancel):
            if isinstance(told, Outcome):
                yield told
            elif isinstance(told, Advance) and on_progress is not None:
                on_progress(told.key, told.done, told.total)

    def follow(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken
    ) -> Iterator[Outcome | Advance | Strength]:
        """Yield what :meth:`run` yields and, between that, how far the tasks at work are and how many workers there are."""
        refuse_twins(tasks)
        if function.__module__ == "__main__" or not function.__qualname__.isidentifier():
            raise ValueError(
                f"{function.__qualname__} is not a function of a module: no worker would find it"
            )
        name = uuid4().hex
        call = self._calls[name] = _Call(
            self._client, name, f"{function.__module__}:{function.__qualname__}", deque(tasks)
        )
        last_look, last_worker = 0.0, time.monotonic()
        workers: set[str] = set()
        told = -1
        try:
            while call.waiting or call.at_work:
                cancel.check()
                if (now := time.monotonic()) >= last_look + LOOK_SECONDS:
                    last_look, workers = now, self._workers()
                    last_worker = now if workers else last_worker
                    if len(workers) != told:
                        told = len(workers)
                        yield Strength(told)
                    self._refuse_to_wait(now - last_worker)
                    yield from call.lose_all_but(workers)
                    yield from call.give_up(workers)
                call.hand_out(workers)
                call.news.wait(TICK_SECONDS)
                yield from call.take_news()
        finally:
            del self._calls[name]
            call.release()

    def _workers(self) -> set[str]:
        """Return the addresses of the workers that the scheduler knows."""
        try:
            if self._client.status != "running":
                raise ConnectionError(self._client.status)
            known = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise MedlabError(
                f"The scheduler at {self._address} is gone.", code="cluster-lost",
                hint="What was committed to a project stays: start the scheduler, and run again to go on.",
            ) from error  # fmt: skip
        return set(known)

    def _refuse_to_wait(self, seconds: float) -> None:
        if seconds > self._worker_seconds:
            raise MedlabError(
                f"The scheduler at {self._address} has had no worker for {seconds:.0f} s.", code="no-workers",
                hint=f"Start some with: napari-medlab cluster workers {self._address} --certificates DIR",
            )  # fmt: skip

    def _hear(self, event: tuple[float, Any]) -> None:
        """Take note of how far a task is; on distributed's own thread."""
        told = event[1]
        call = self._calls.get(str(told["attempt"]).partition(".")[0])
        if call is not None:
            call.advances.append((told["attempt"], int(told["done"]), int(told["total"])))
            call.news.set()


@dataclass
class _AtWork:
    """A task that a worker has."""

    task: Task
    worker: str
    future: Any


@dataclass
class _Call:
    """The tasks of one call: those that wait, and those at work by the name of the attempt."""

    client: Any
    name: str
    function: str
    waiting: deque[Task]
    at_work: dict[str, _AtWork] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, dict[str, MedlabError]] = field(default_factory=dict)
    """By task: what workers said that are not fit for it."""
    advances: deque[tuple[str, int, int]] = field(default_factory=deque)
    news: threading.Event = field(default_factory=threading.Event)

    def hand_out(self, workers: set[str]) -> None:
        """Give each worker that has nothing to do a task."""
        for worker in sorted(workers.difference(one.worker for one in self.at_work.values())):
            task = self._next_for(worker)
            if task is None:
                continue
            self.attempts[task.key] += 1
            name = f"{self.name}.{uuid4().hex}"
            future = self.client.submit(
                carry_out, Attempt(name, self.function, task.request), key=f"napari-medlab-{name}", pure=False,
                workers=[worker], allow_other_workers=False, retries=0,
            )  # fmt: skip
            self.at_work[name] = _AtWork(task, worker, future)
            future.add_done_callback(lambda _: self.news.set())

    def _next_for(self, worker: str) -> Task | None:
        """Take the first task that waits and that the worker has not refused."""
        for place, task in enumerate(self.waiting):
            if worker not in self.refusals.get(task.key, ()):
                del self.waiting[place]
                return task
        return None

    def give_up(self, workers: set[str]) -> Iterator[Outcome]:
        """Tell of the tasks that every worker has refused."""
        for task in list(self.waiting) if workers else ():
            refusals = self.refusals.get(task.key, {})
            if workers <= refusals.keys():
                self.waiting.remove(task)
                yield Outcome(task.key, error=next(reversed(refusals.values())), attempts=1)

    def lose_all_but(self, workers: set[str]) -> Iterator[Outcome | Advance]:
        """Take back what lost workers had, unless they were done with it."""
        yield from self.take_news()
        for name, one in list(self.at_work.items()):
            if one.worker not in workers:
                yield from self._take_back(name, _lost(f"Its worker {one.worker} was lost"))

    def take_news(self) -> Iterator[Outcome | Advance]:
        """Yield what has come since."""
        self.news.clear()
        while self.advances:
            name, done, total = self.advances.popleft()
            if name in self.at_work:
                yield Advance(self.at_work[name].task.key, done, total)
        for name, one in list(self.at_work.items()):
            if one.future.status != "pending":
                yield from self._take(name, one)

    def release(self) -> None:
        """Stop what is at work, and want no more of it."""
        self._cancel([one.future for one in self.at_work.values()])
        self.at_work.clear()

    def _take(self, name: str, one: _AtWork) -> Iterator[Outcome]:
        try:
            answer: Answer = one.future.result(timeout=ANSWER_SECONDS)
        except (ImportError, AttributeError) as error:
            raise _other_version(one.worker, f"in no version that knows this work ({error})") from error
        except (Exception, AsyncCancelledError) as error:  # noqa: BLE001 - of many kinds: its worker did not bring the answer
            yield from self._take_back(name, _lost(f"Its worker {one.worker} brought no answer: {error}"))
            return
        if answer.version != __version__:
            raise _other_version(one.worker, answer.version)
        told = None
        if answer.error is not None:
            told = (InputRefusedError if answer.is_refusal else MedlabError)(**answer.error)
        if told is not None and answer.may_pass:
            yield from self._take_back(name, told)
            return
        del self.at_work[name]
        if told is not None and told.code in OF_WORKERS:
            self.refusals.setdefault(one.task.key, {})[one.worker] = told
            self.attempts[one.task.key] -= 1
            self.waiting.append(one.task)
            return
        yield Outcome(one.task.key, answer.value, told, self.attempts[one.task.key])

    def _take_back(self, name: str, error: MedlabError) -> Iterator[Outcome]:
        """Let a task wait again, or give it up."""
        one = self.at_work.pop(name)
        self._cancel([one.future])
        tried = self.attempts[one.task.key]
        if tried < ATTEMPTS:
            self.waiting.append(one.task)
        else:
            yield Outcome(one.task.key, error=error, attempts=tried)

    def _cancel(self, futures: list[Any]) -> None:
        if futures and self.client.status == "running":
            self.client.cancel(futures, force=True)


def _lost(what: str) -> MedlabError:
    return MedlabError(
        f"{what}, the last of {ATTEMPTS} attempts.", code="worker-lost",
        hint="The others go on. Perhaps it needs more memory than the workers have: see what they printed.",
    )  # fmt: skip


def _other_version(worker: str, version: str) -> InputRefusedError:
    return InputRefusedError(
        f"The worker {worker} has napari-medlab {version}, and this is {__version__}.", code="other-version",
        hint="Install the same version on all machines of the cluster, and start the workers again.",
    )  # fmt: skip
