"""Work of many seconds: in a thread, with its progress in napari's activity dock and in the panel, and a way to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari_medlab.jobs import CancelToken
from napari_medlab.widgets.activity import Activity

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.widgets.background import Background

__all__ = ["Task"]

Result = TypeVar("Result")


class Task:
    """One piece of work; a later one of the same kind takes its place.

    Parameters
    ----------
    background : Background
    kind : str
        As for :meth:`~napari_medlab.widgets.background.Background.run`.
    title : str
        What it does, as the activity dock says it.
    """

    def __init__(self, background: Background, kind: str, title: str) -> None:
        self._background, self._kind, self._title = background, kind, title
        self._cancel = CancelToken()
        self._activity: Activity | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is at work."""
        return self._activity is not None

    def start(
        self, work: Callable[[Callable[[int, int], None], Callable[[], None]], Result], *,
        on_done: Callable[[Result], None], on_step: Callable[[int, int], None],
        on_error: Callable[[Exception], None],
    ) -> None:  # fmt: skip
        """Call ``work(on_progress, stop)`` in a thread; everything else is called on the GUI thread.

        ``stop`` raises :class:`~napari_medlab.jobs.CancelledError` once :meth:`cancel` was called.
        """
        self.cancel()
        cancel = self._cancel = CancelToken()
        activity = self._activity = Activity(self._title, cancel.cancel)

        def step(done: int, total: int) -> None:
            if activity is self._activity:
                activity.update(done, total)
                on_step(done, total)

        def progress(done: int, total: int) -> None:
            cancel.check()
            self._background.tell(step, done, total)

        def done(result: Result) -> None:
            self._finish(activity)
            on_done(result)

        def failed(error: Exception) -> None:
            self._finish(activity)
            on_error(error)

        self._background.run(self._kind, work, progress, cancel.check, on_done=done, on_error=failed)

    def cancel(self) -> None:
        """Stop the work; nothing more is heard of it but that it was cancelled."""
        self._cancel.cancel()
        self._finish(self._activity)

    def _finish(self, activity: Activity | None) -> None:
        if activity is not None and activity is self._activity:
            self._activity = None
            activity.finish()
