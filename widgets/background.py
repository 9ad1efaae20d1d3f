"""Work off the GUI thread, with its results brought back to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Background"]


class Background:
    """Runs functions in threads and hands their results to callbacks on the GUI thread.

    Long work runs in napari's workers: closing the window meanwhile asks first. Short reads run in plain ones. Every call
    of a kind makes the earlier ones of that kind stale: their results are dropped, because the reader has moved on.

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
        from superqt.utils import create_worker

        worker = create_worker(_guarded, function, *arguments, _start_thread=False)
        self._start(kind, worker, on_done, None, on_error)

    def stream(
        self, kind: str, generator: Callable[..., Any], *arguments: Any, on_item: Callable[[Any], None],
        on_done: Callable[[Any], None], on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        """Run a generator function in a thread; ``on_item`` gets what it yields, ``on_done`` what it returns."""
        from napari.qt.threading import create_worker

        worker = create_worker(_guarded_generator, generator, *arguments, _start_thread=False)
        self._start(kind, worker, on_done, on_item, on_error)

    def _start(
        self, kind: str, worker: Any, on_done: Callable[[Any], None], on_item: Callable[[Any], None] | None,
        on_error: Callable[[Exception], None] | None,
    ) -> None:  # fmt: skip
        turn = self._turn[kind] = self._turn.get(kind, 0) + 1
        report = on_error or self._on_error

        def current() -> bool:
            return self._turn[kind] == turn

        def finish(result: Any) -> None:
            if current():
                report(result.error) if isinstance(result, _Failure) else on_done(result)

        worker.returned.connect(finish)
        if on_item is not None:
            worker.yielded.connect(lambda item: on_item(item) if current() else None)
        worker.finished.connect(lambda: self._workers.discard(worker))
        self._workers.add(worker)
        worker.start()

    def forget(self) -> None:
        """Make everything that still runs stale: for when the window closes."""
        for kind in self._turn:
            self._turn[kind] += 1


@dataclass(frozen=True)
class _Failure:
    """An error on its way to the GUI thread."""

    error: Exception


def _guarded(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function and return what it raises: napari 0.9.2 stumbles over a worker's own error signal."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - handed to the GUI thread, which shows it
        return _Failure(error)


def _guarded_generator(generator: Callable[..., Any], *arguments: Any) -> Generator[Any, None, Any]:
    """Do the same for a generator function."""
    try:
        return (yield from generator(*arguments))
    except Exception as error:  # noqa: BLE001 - handed to the GUI thread, which shows it
        return _Failure(error)
