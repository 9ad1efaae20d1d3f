"""Work off the GUI thread, with its results brought back to it."""

from __future__ import annotations

import queue
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Background"]

THREADS = 6
POLL_MS = 10
HELPING_MS = 8.0
"""Results are taken over for at most this long at a time, so that keys and mouse get in between."""


class Background(QObject):
    """Runs functions in threads and hands their results to callbacks on the GUI thread.

    Threads put what they have into an inbox which the GUI thread empties by a timer: no Qt object is ever touched from
    another thread. Every call of a kind makes the earlier ones of that kind stale: their results are dropped, because
    the reader has moved on.

    Parameters
    ----------
    on_error : callable
        Told of every error that no callback of its own takes.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        super().__init__()
        self._on_error = on_error
        self._turn: dict[str, int] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="medlab")
        self._inbox: queue.SimpleQueue[tuple[bool, Callable[[], Any]]] = queue.SimpleQueue()
        self._pending = 0
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._empty_inbox)

    def run(
        self, kind: str, function: Callable[..., Any], *arguments: Any, on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:  # fmt: skip
        """Call ``function(*arguments)`` in a thread and ``on_done(result)`` on the GUI thread, unless a later call came.

        Parameters
        ----------
        kind : str
            What it is about, such as ``"load case"``; a later call of the same kind makes this one's result stale.
        """
        finish = self._finisher(kind, on_done, on_error)
        self._expect(self._pool.submit(function, *arguments), finish)

    def stream(
        self, kind: str, generator: Callable[..., Any], *arguments: Any, on_item: Callable[[Any], None],
        on_done: Callable[[Any], None], on_error: Callable[[Exception], None] | None = None,
    ) -> None:  # fmt: skip
        """Run a generator function in a thread; ``on_item`` gets what it yields, ``on_done`` what it returns."""
        finish = self._finisher(kind, on_done, on_error)
        turn = self._turn[kind]

        def take(item: Any) -> None:
            if self._turn[kind] == turn:
                on_item(item)

        def work() -> Any:
            steps = generator(*arguments)
            while True:
                try:
                    item = next(steps)
                except StopIteration as end:
                    return end.value
                self._inbox.put((False, partial(take, item)))

        self._expect(self._pool.submit(work), finish)

    def deliver(self, future: Future[Any], action: Callable[[Future[Any]], None]) -> None:
        """Call ``action(future)`` on the GUI thread once a future is done, stale or not."""
        self._expect(future, action)

    def tell(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Call ``action(*arguments)`` on the GUI thread soon; for work that :meth:`run` has begun, from its thread."""
        self._inbox.put((False, partial(action, *arguments)))

    def forget(self) -> None:
        """Make everything that still runs stale: for when the project or the window goes."""
        for kind in self._turn:
            self._turn[kind] += 1

    def close(self) -> None:
        """Take no more work; what runs is let go on to its end. The timer may have gone with the window before."""
        self.forget()
        with suppress(RuntimeError):
            self._timer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finisher(
        self, kind: str, on_done: Callable[[Any], None], on_error: Callable[[Exception], None] | None
    ) -> Callable[[Future[Any]], None]:
        turn = self._turn[kind] = self._turn.get(kind, 0) + 1
        report = on_error or self._on_error

        def finish(future: Future[Any]) -> None:
            if self._turn[kind] != turn or future.cancelled():
                return
            error = future.exception()
            if error is None:
                on_done(future.result())
            else:
                report(error if isinstance(error, Exception) else RuntimeError(repr(error)))

        return finish

    def _expect(self, future: Future[Any], action: Callable[[Future[Any]], None]) -> None:
        self._pending += 1
        self._timer.start()
        future.add_done_callback(lambda done: self._inbox.put((True, partial(action, done))))

    def _empty_inbox(self) -> None:
        until = time.perf_counter() + HELPING_MS / 1000
        while time.perf_counter() < until:
            try:
                is_last, call = self._inbox.get_nowait()
            except queue.Empty:
                break
            self._pending -= is_last
            call()
        if self._pending == 0:
            self._timer.stop()
