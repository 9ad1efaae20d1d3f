"""Work off the GUI thread, with its results brought back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Runs functions in threads and hands their results to callbacks on the GUI thread.

    napari's workers do the carrying: closing the window while one runs asks first. Every call of a kind makes the
    earlier ones of that kind stale: their results are dropped, because the reader has moved on.

    Parameters
    ----------
    on_error : callable
        Told of every error that no callback of its own takes.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._turn: dict[str, int] = {}
        self._workers: set[Any] = set()

    @property
    def is_busy(self) -> bool:
        """Whether anything is still running."""
        return bool(self._workers)

    def run(
        self, kind: str, function: Callable[..., Any], *arguments: Any, on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Call ``function(*arguments)`` in a thread and ``on_done(result)`` on the GUI thread, unless a later call came.

        Parameters
        ----------
        kind : str
            What it is about, such as ``"load case"``; a later call of the same kind makes this one's result stale.
        """
        self._start(kind, function, arguments, on_done, None, on_error)

    def stream(
        self, kind: str, generator: Callable[..., Any], *arguments: Any, on_item: Callable[[Any], None],
        on_done: Callable[[Any], None], on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run a generator function in a thread; ``on_item`` gets what it yields, ``on_done`` what it returns."""
        self._start(kind, generator, arguments, on_done, on_item, on_error)

    def _start(
        self, kind: str, function: Callable[..., Any], arguments: tuple[Any, ...], on_done: Callable[[Any], None],
        on_item: Callable[[Any], None] | None, on_error: Callable[[Exception], None] | None,
    ) -> None:  # fmt: skip
        from napari.qt.threading import create_worker

        turn = self._turn[kind] = self._turn.get(kind, 0) + 1

        def current() -> bool:
            return self._turn[kind] == turn

        worker = create_worker(function, *arguments, _start_thread=False, _ignore_errors=True)
        report = on_error or self._on_error
        worker.returned.connect(lambda result: on_done(result) if current() else None)
        worker.errored.connect(lambda error: report(error) if current() else None)
        if on_item is not None:
            worker.yielded.connect(lambda item: on_item(item) if current() else None)
        worker.finished.connect(lambda: self._workers.discard(worker))
        self._workers.add(worker)
        worker.start()

    def forget(self) -> None:
        """Make everything that still runs stale: for when the window closes."""
        for kind in self._turn:
            self._turn[kind] += 1
