"""Talking to the process that parses foreign files, and ending it where it hangs or takes too much."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any, Literal

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.isolation.frames import read_frame, widen, write_frame
from napari_medlab.images.isolation.messages import error_from
from napari_medlab.images.tiles.array import decoding_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Reply = tuple[dict[str, Any], list[NDArray[np.uint8]]]

__all__ = ["Limits", "ReaderProcess", "close_reader", "reader_process"]

MODULE = "napari_medlab.images.isolation.service"
POLL_SECONDS = 0.1
GRACE_SECONDS = 2.0
MIB = 1 << 20
Reason = Literal["died", "hung", "memory"]
REASONS: dict[str, tuple[str, str]] = {
    "died": ("made its reader crash", "The file is damaged, or its format is not read here: export it again from its source."),
    "hung": ("kept its reader busy for over {seconds:.0f} s", "The file is damaged, or its disk is too slow: copy it first."),
    "memory": ("made its reader take over {memory} MiB", "The file is damaged, or has to be decoded in one piece: convert it."),
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What parsing one file may cost: the budget that OSS-Fuzz gives a parser.

    Parameters
    ----------
    seconds : float
        Without any sign of progress.
    memory_bytes : int
    """

    seconds: float = 25.0
    memory_bytes: int = 2560 * MIB


@dataclass(eq=False)
class _Asked:
    """A request that is under way."""

    path: str
    started: float
    on_progress: Callable[[int, int], None] | None
    answered: threading.Event = field(default_factory=threading.Event)
    reply: Reply | None = None
    error: Exception | None = None
    is_over: bool = False


class _Gone(Exception):  # noqa: N818 - never seen by users
    """The process ended before it had answered."""

    def __init__(self, reason: Reason, *, is_culprit: bool) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
        self.is_culprit = is_culprit


class _Child:
    """One life of the process."""

    def __init__(self, threads: int, limits: Limits) -> None:
        environment = os.environ | {
            "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "4",
        }  # fmt: skip
        self._process = subprocess.Popen(
            # -P: what lies in the current folder, perhaps beside the images, is no module to be imported
            [sys.executable, "-P", "-m", MODULE, str(threads), str(limits.memory_bytes)], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._requests, self._answers = self._process.stdin, self._process.stdout
        assert self._requests is not None
        assert self._answers is not None
        widen(self._answers.fileno())
        self._limits = limits
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._next = 1
        self._gone: tuple[Reason, _Asked | None] | None = None
        self._listener = threading.Thread(
            target=self._listen, args=(self._answers,), name="image reader", daemon=True
        )
        self._listener.start()

    @property
    def is_alive(self) -> bool:
        return self._gone is None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(
        self,
        request: dict[str, Any],
        on_progress: Callable[[int, int], None] | None,
        stop: Callable[[], bool] | None,
    ) -> Reply:
        asked = _Asked(str(request.get("path", "")), time.monotonic(), on_progress)
        with self._lock:
            if (gone := self._gone) is not None:  # nobody would tell of its end any more
                raise _Gone(gone[0], is_culprit=False)
            number, self._next = self._next, self._next + 1
            self._asked[number] = asked
        try:
            self._send({"id": number, **request})
            told = False
            while not asked.answered.wait(POLL_SECONDS):
                self._watch(asked)
                if stop is not None and not told and stop():
                    self._send({"id": number, "op": "stop"})
                    told = True
        finally:
            with self._lock:
                self._asked.pop(number, None)
            if not asked.is_over and self.is_alive:  # whoever asked has gone away
                self._send({"id": number, "op": "stop"})
        if asked.error is not None:
            raise asked.error
        if asked.reply is None:
            reason, culprit = self._gone or ("died", None)
            raise _Gone(reason, is_culprit=culprit is asked)
        return asked.reply

    def end(self, reason: Reason) -> None:
        """Kill the process; everyone who waits is told."""
        with self._lock:
            self._blame(reason)
        self._process.kill()

    def close(self) -> None:
        """End the process and wait for it."""
        with self._lock:
            if self._gone is None:
                self._gone = "died", None
        for stream in (self._requests, self._answers):
            if stream is self._requests and stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join()
        if self._answers is not None:
            self._answers.close()

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending, suppress(BrokenPipeError, ValueError):  # the listener tells of its end
            if self._requests is not None:
                write_frame(self._requests, message)

    def _blame(self, reason: Reason) -> None:
        """Note why the process ended, and because of whom where only one can be at fault; the lock is held."""
        if self._gone is None:
            # one that hangs may keep all others waiting, and earlier files may have left too much in memory
            is_clear = len(self._asked) == 1 and reason != "memory"
            self._gone = reason, next(iter(self._asked.values())) if is_clear else None

    def _watch(self, asked: _Asked) -> None:
        if time.monotonic() - asked.started > self._limits.seconds:
            self.end("hung")
        elif _resident_bytes(self._process.pid) > self._limits.memory_bytes:
            self.end("memory")

    def _listen(self, answers: IO[bytes]) -> None:
        with suppress(Exception):  # it has gone, or says what makes no sense
            while True:
                message, pixels = read_frame(answers)
                with self._lock:
                    asked = self._asked.get(message["id"])
                if asked is not None:
                    self._take(asked, message, pixels)
        with self._lock:
            self._blame("died")
            waiting = list(self._asked.values())
        self._process.kill()
        for asked in waiting:
            asked.answered.set()
        self._process.wait()

    def _take(self, asked: _Asked, message: dict[str, Any], pixels: list[NDArray[np.uint8]]) -> None:
        if message["event"] == "progress":
            self._tell(asked, message["done"], message["total"])
            return
        asked.is_over = True
        if message["event"] == "error":
            asked.error = error_from(message["error"])
        else:
            asked.reply = message, pixels
        asked.answered.set()

    def _tell(self, asked: _Asked, done: int, total: int) -> None:
        with self._lock:
            for other in self._asked.values():
                if other.path == asked.path:  # these wait until the image is open
                    other.started = time.monotonic()
        if asked.on_progress is None:
            return
        try:
            asked.on_progress(done, total)
        except Exception as error:  # noqa: BLE001 - whoever asked gets what their own function raised
            asked.error = error
            asked.answered.set()


class ReaderProcess:
    """The process that parses and decodes; started when first asked, and again after it has died.

    Parameters
    ----------
    limits : Limits
    threads : int
        How many requests it works on at once.
    """

    def __init__(self, limits: Limits | None = None, threads: int | None = None) -> None:
        self.limits = limits or Limits()
        self._threads = threads or decoding_threads()
        self._slots = threading.Semaphore(self._threads)
        self._one = threading.Lock()
        self._starting = threading.Lock()
        self._child: _Child | None = None

    @property
    def pid(self) -> int | None:
        """The id of the process; None where none runs."""
        child = self._child
        return child.pid if child is not None and child.is_alive else None

    def ask(
        self,
        request: dict[str, Any],
        *,
        on_progress: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Reply:
        """Send a request and wait for its answer; from any thread.

        Raises
        ------
        MedlabError
            What the reader raised; an :class:`~napari_medlab.errors.ImageRefusedError` with code ``reader-died``,
            ``reader-hung`` or ``reader-memory`` where the file made it crash, hang or take too much.
        """
        try:
            with self._slots:
                return self._living().ask(request, on_progress, stop)
        except _Gone as gone:
            if gone.is_culprit:
                raise self._refusal(request, gone.reason) from None
        # another file may have been at fault: this one is tried again, alone
        with self._alone():
            try:
                return self._living().ask(request, on_progress, stop)
            except _Gone as gone:
                raise self._refusal(request, gone.reason) from None

    def start(self) -> None:
        """Start the process and let it import what it will need; returns at once."""
        threading.Thread(target=self._warm, name="warm reader", daemon=True).start()

    def close(self) -> None:
        """End the process; the next request starts another."""
        with self._starting:
            child, self._child = self._child, None
        if child is not None:
            child.close()

    def _warm(self) -> None:
        with suppress(Exception):
            self.ask({"op": "warm"})

    def _living(self) -> _Child:
        with self._starting:
            if self._child is None or not self._child.is_alive:
                if self._child is not None:
                    self._child.close()
                self._child = _Child(self._threads, self.limits)
            return self._child

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._one:
            for _ in range(self._threads):
                self._slots.acquire()
            try:
                yield
            finally:
                self._slots.release(self._threads)

    def _refusal(self, request: dict[str, Any], reason: Reason) -> ImageRefusedError:
        what, hint = REASONS[reason]
        from pathlib import Path

        text = what.format(seconds=self.limits.seconds, memory=self.limits.memory_bytes // MIB)
        return ImageRefusedError(
            f"{Path(request.get('path', '')).name} {text}.", code=f"reader-{reason}", hint=hint
        )


@lru_cache(maxsize=1)
def _reader_of(pid: int) -> ReaderProcess:
    reader = ReaderProcess()
    atexit.register(reader.close)
    return reader


def reader_process() -> ReaderProcess:
    """Return the reader that all of this process share."""
    return _reader_of(os.getpid())


def close_reader() -> None:
    """End the shared reader; the next image starts another."""
    reader_process().close()


def _resident_bytes(pid: int) -> int:
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
