"""A process of its own that takes requests and answers with events, one JSON document a line.

Torch lives in such a process, so that neither its import nor its work is ever felt in the window.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from napari_medlab.errors import InputRefusedError, MedlabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.jobs.cancellation import CancelToken

__all__ = ["Worker", "WorkerDiedError", "WorkerProcess"]

POLL_SECONDS = 0.05
GRACE_SECONDS = 3.0
STDERR_LINES = 40


class WorkerDiedError(MedlabError):
    """The process ended in the middle of a job."""


class Worker(Protocol):
    """Whoever answers requests with events: a process, or for debugging the thread that asks."""

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        ...

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        """Send a request and yield the events that answer it, until one of kind ``"done"``, which is the last."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class WorkerProcess:
    """Starts a Python module as a worker and talks to it; safe to use from several threads.

    Parameters
    ----------
    module : str
        Run as ``python -m MODULE``; it serves requests with :func:`napari_medlab.jobs.worker_service.serve`.
    threads : int or None
        How many threads numerical libraries may use; one core fewer than there are where None, so that one is left for
        the window.
    """

    def __init__(self, module: str, *, threads: int | None = None) -> None:
        count = str(threads or max(1, (os.cpu_count() or 2) - 1))
        # Without PASSIVE, the threads of two torch processes spin against each other: ten times slower on two cores.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": count, "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            # -P: no module comes from the folder that somebody happens to work in
            [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8", env=environment,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._next_job = 1
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._threads = [
            threading.Thread(target=self._read_answers, name=f"{module} answers", daemon=True),
            threading.Thread(target=self._read_stderr, name=f"{module} stderr", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        """Send a request and yield the events that answer it, until one of kind ``"done"``, which is the last.

        Raises
        ------
        MedlabError
            With the code and hint that the worker gave, where it reported an error; an
            :class:`~napari_medlab.errors.InputRefusedError` where it refused its input.
        CancelledError
            Within moments of ``cancel`` being set.
        WorkerDiedError
            Where the process ended, with the last lines it printed.
        """
        answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            job = self._next_job
            self._next_job += 1
            self._answers[job] = answers
        try:
            self._send({"job": job, **request})
            yield from self._follow(job, answers, cancel)
        except GeneratorExit:
            # whoever asked has gone away: the next job is not to wait for this one
            with suppress(WorkerDiedError):
                self._send({"job": job, "op": "cancel"})
            raise
        finally:
            with self._lock:
                del self._answers[job]

    def close(self) -> None:
        """Ask the process to end, and end it where it does not within three seconds."""
        if self.is_alive:
            try:
                self._send({"job": 0, "op": "quit"})
                self._process.wait(GRACE_SECONDS)
            except (subprocess.TimeoutExpired, WorkerDiedError):
                self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(
        self, job: int, answers: queue.SimpleQueue[dict[str, Any]], cancel: CancelToken
    ) -> Iterator[dict[str, Any]]:
        told = False
        while True:
            if cancel.is_cancelled and not told:
                self._send({"job": job, "op": "cancel"})
                told = True
            try:
                event = answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if not self.is_alive and answers.empty():
                    raise self._died() from None
                continue
            if event["event"] == "error":
                if told or event["error"]["code"] == "cancelled":
                    cancel.cancel(event["error"]["message"])
                    cancel.check()
                kind = InputRefusedError if event.get("refused") else MedlabError
                raise kind(
                    event["error"]["message"], code=event["error"]["code"], hint=event["error"]["hint"]
                )
            yield event
            if event["event"] == "done":
                return

    def _send(self, message: dict[str, Any]) -> None:
        stream = self._process.stdin
        try:
            with self._lock:
                if stream is None or stream.closed:
                    raise BrokenPipeError
                stream.write(json.dumps(message) + "\n")
                stream.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _died(self) -> WorkerDiedError:
        status = self._process.poll()
        return WorkerDiedError(
            f"The worker process ended with status {status}.\n" + "\n".join(self._stderr),
            code="worker-died",
            hint="Run again: what was finished is kept. If it was short of memory, close other programs first.",
        )

    def _read_answers(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        for line in stream:
            try:
                event = json.loads(line)
                job = event["job"]
            except (ValueError, TypeError, KeyError):
                # printed while modules were imported, before the worker put standard output out of reach
                self._stderr.append(line.rstrip())
                continue
            with self._lock:
                answers = self._answers.get(job)
            if answers is not None:
                answers.put(event)

    def _read_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        for line in stream:
            self._stderr.append(line.rstrip())


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        try:
            pipe.close()
        except BrokenPipeError:  # the other end went first: nothing is left to say
            return
