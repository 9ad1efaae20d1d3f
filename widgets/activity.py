"""What is at work, in napari's activity dock: only what takes over a second, each with its progress and a way to stop it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QApplication, QPushButton, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Activity", "SpokenActivity"]

DIALOG = "Activity"
"""The name by which napari's dock of progress bars is found."""
PATIENCE_MS = 1000
"""What is done sooner than this is not worth a line."""


class Activity(QObject):
    """One piece of work as a line of the activity dock; used on the GUI thread alone.

    Parameters
    ----------
    title : str
    cancel : callable, optional
        Stops the work; where it is given, the line has a button for it.
    """

    def __init__(
        self, title: str, cancel: Callable[[], Any] | None = None, *, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._title, self._cancel = title, cancel
        self._done, self._total, self._text = 0, 0, ""
        self._bar: Any = None
        self._is_over = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._show)
        self._timer.start(PATIENCE_MS)

    def update(self, done: int, total: int, text: str = "") -> None:
        """Say how far it has come; a ``total`` of 0 is one that nobody knows."""
        self._done, self._total, self._text = done, total, text
        if self._bar is not None:
            self._draw()

    def finish(self) -> None:
        """Take the line away; a second call does nothing."""
        if self._is_over:  # Qt may have deleted the timer since
            return
        self._is_over = True
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        self.deleteLater()

    def _show(self) -> None:
        from napari.utils import progress

        self._bar = progress(total=self._total, desc=self._title)
        self._draw()
        if self._cancel is not None and self._bar is not None:
            self._add_stop()

    def _draw(self) -> None:
        bar = self._bar  # to update it lets events happen, the end of the work among them
        if bar.total != self._total:
            bar.total = self._total
        if self._done > bar.n:
            bar.update(self._done - bar.n)
        if self._bar is bar:
            bar.set_description(f"{self._title}: {self._text}" if self._text else self._title)

    def _add_stop(self) -> None:
        """Put a button beside the bar: napari's own lines have none."""
        for dialog in (
            w for top in QApplication.topLevelWidgets() for w in top.findChildren(QWidget, DIALOG)
        ):
            line = dialog.get_pbar_from_prog(self._bar)  # type: ignore[attr-defined]  # napari's own kind of widget
            if line is not None and self._cancel is not None:
                stop = QPushButton("Stop")
                stop.setToolTip(f"Stop: {self._title}")
                stop.clicked.connect(self._cancel)
                line.layout().addWidget(stop)


class SpokenActivity(QObject):
    """A line for work that tells in words how it goes, and nothing when it is done.

    Parameters
    ----------
    title : str
    cancel : callable
    """

    def __init__(self, title: str, cancel: Callable[[], Any], *, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._title, self._cancel = title, cancel
        self._activity: Activity | None = None

    def tell(self, text: str) -> None:
        """Show what is told; an empty text ends the line."""
        if text and self._activity is None:
            self._activity = Activity(self._title, self._cancel)
        if self._activity is not None:
            if text:
                self._activity.update(0, 0, text)
            else:
                self._activity.finish()
                self._activity = None
