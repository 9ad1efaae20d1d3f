"""What the dialogs for import and export have in common: a text, a bar, and work in the background that may outlive them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QProgressBar

from napari_medlab.widgets.panels.panel import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medlab.widgets.tasks import Task

__all__ = ["ExchangeDialog"]


class ExchangeDialog(QDialog):
    """A dialog that says how its work goes; closing it stops the work.

    Parameters
    ----------
    title : str
    tasks : Task
        All that it may have at work.
    parent : QWidget or None
    """

    def __init__(self, title: str, *tasks: Task, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._tasks, self._is_closed = tasks, False
        self.text = note()
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1)

    @property
    def is_busy(self) -> bool:
        """Whether anything is at work."""
        return any(task.is_running for task in self._tasks)

    def done(self, result: int) -> None:
        """Stop what is at work when the window is closed."""
        self._is_closed = True
        self._cancel()
        super().done(result)

    def _run(self, task: Task, work: Callable[..., object], on_done: Callable[..., None], text: str) -> None:
        """Begin ``work(on_progress, stop)``, and say so."""
        task.start(work, on_done=on_done, on_step=self._on_step, on_error=self._on_error)
        self.text.setText(text)
        self.bar.setRange(0, 0)
        self._enable()

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _on_step(self, done: int, total: int) -> None:
        if not self._is_closed:
            self.bar.setRange(0, total)
            self.bar.setValue(done)

    def _settle(self, text: str) -> None:
        """Say how the work ended."""
        if self._is_closed:  # what was at work tells of its end, and nothing is left to show it
            return
        self.text.setText(text)
        self.bar.setRange(0, 1)
        self.bar.reset()
        self._enable()

    def _on_error(self, error: Exception) -> None:
        raise NotImplementedError

    def _enable(self) -> None:
        raise NotImplementedError
