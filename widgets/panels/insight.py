"""What the two views of a whole run have in common: asked for, followed, stopped, and forgotten with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.widgets.panels.panel import button, note
from napari_medlab.widgets.tasks import Task
from napari_medlab.widgets.views.gallery_bar import tool_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.session import ReviewData

__all__ = ["Insight"]


class Insight(QWidget):
    """Something that is found out about the run under review in the background.

    Sub-classes say what is done and show what was found.

    Parameters
    ----------
    controller : Controller
    shown : QWidget
        What shows it.
    tools : QWidgets
        Buttons beside the usual ones.
    """

    asked = ""
    """What asking for it does, in a sentence."""
    start_text = ""
    task_name, task_title = "", ""

    def __init__(
        self, controller: Controller, shown: QWidget, *tools: QWidget, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self._task = Task(controller.background, self.task_name, self.task_title)
        self.start_button = button(self.start_text, self.start, self.asked)
        self.stop_button = button("Stop", self._stop)
        show_all = button(
            "Show all errors", lambda: controller.session.set_filter(QueueFilter()), "List everything again"
        )
        self._said = note(self.asked)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 0)
        column.addWidget(tool_bar(self.start_button, self.stop_button, *tools, show_all))
        column.addWidget(self._said)
        column.addWidget(shown, stretch=1)
        session = controller.session
        session.project_changed.connect(self._forget)
        session.review_changed.connect(self._on_review)
        session.operating_point_changed.connect(self.compare)
        self._show_running()

    # -- what sub-classes say -------------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """The run that something is known about; empty for none."""
        raise NotImplementedError

    def work(self, project: Project, review: ReviewData) -> Any:
        """Return what finds it out: called with ``on_progress`` and ``stop``, in a thread."""
        raise NotImplementedError

    def take(self, found: Any) -> None:
        """Keep what was found."""
        raise NotImplementedError

    def compare(self) -> None:
        """Show it at the operating point."""
        raise NotImplementedError

    def clear(self) -> None:
        """Show nothing."""
        raise NotImplementedError

    # -- what they have in common ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Find it out about the run under review."""
        project, review = self._controller.session.project, self._controller.session.review
        if project is None or review is None:
            self._said.setText("There is no run yet: run a model first.")
            return
        self._do(self.work(project, review), self._on_found, "Reading images …")

    def _do(self, work: Any, then: Callable[[Any], None], text: str) -> None:
        """Do a piece of work in the background, with its progress said."""
        self._task.start(work, on_done=then, on_step=self._on_step, on_error=self._on_error)
        self._said.setText(text)
        self._show_running()

    def _on_found(self, found: Any) -> None:
        self.take(found)
        self._show_running()
        self.compare()

    def _stop(self) -> None:
        self._task.cancel()
        self._said.setText("Stopped. What was looked at is kept for the next time.")
        self._show_running()

    def _on_step(self, done: int, total: int) -> None:
        self._said.setText(f"{done:,} of {total:,}")

    def _on_error(self, error: Exception) -> None:
        if getattr(error, "code", "") != "cancelled":
            self._said.setText(str(error))
        self._show_running()

    def _on_review(self) -> None:
        """Forget what is of another run."""
        review = self._controller.session.review
        if self.run_id and (review is None or review.run_id != self.run_id):
            self._forget()

    def _forget(self) -> None:
        self._task.cancel()
        self.clear()
        self._said.setText(self.asked)
        self._show_running()

    def _show_running(self) -> None:
        self.start_button.setEnabled(not self._task.is_running)
        self.stop_button.setEnabled(self._task.is_running)
