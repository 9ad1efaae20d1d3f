"""Where does it fail? The slices of the data in which the model is worse than elsewhere, each a click away from the queue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.models.workflows.describe import DescribedRun, WhereItFails, describe_run, where_it_fails
from napari_medlab.widgets.panels.panel import button, note
from napari_medlab.widgets.tasks import Task
from napari_medlab.widgets.views.gallery_bar import tool_bar
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.hardcases.failures.slices import FailureSlice
    from napari_medlab.widgets.controller import Controller

__all__ = ["FailuresView"]

ASKED = "Looks at every finding and candidate, and says in which of them the model fails more often than elsewhere."


class FailuresView(QWidget):
    """Lists slices of failure in words, the strongest evidence first.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._described: DescribedRun | None = None
        self._slices: list[tuple[FailureSlice, frozenset[str]]] = []
        self._task = Task(controller.background, "describe", "Looking where the model fails")
        self.start_button = button("Find out", self.start, ASKED)
        self.stop_button = button("Stop", self._stop)
        self._all = button(
            "Show all errors", lambda: controller.session.set_filter(QueueFilter()), "List everything again"
        )
        self._said = note(ASKED)
        self._table = RowsTable(
            ("Of", "Where", "Right here", "95 % interval", "Elsewhere", "Objects", "p"), stretch=1
        )
        self._table.setToolTip("Click a row: the queue and the gallery list the errors among these objects")
        self._table.rowChosen.connect(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 0)
        column.addWidget(tool_bar(self.start_button, self.stop_button, self._all))
        column.addWidget(self._said)
        column.addWidget(self._table, stretch=1)
        session = controller.session
        session.project_changed.connect(self._forget)
        session.review_changed.connect(self._on_review)
        session.operating_point_changed.connect(self._compare)
        self._show_running()

    def start(self) -> None:
        """Describe all objects of the run in the background, then look for slices."""
        project, review = self._controller.session.project, self._controller.session.review
        if project is None or review is None:
            self._said.setText("There is no run yet: run a model first.")
            return
        run_id = review.run_id
        self._task.start(
            lambda progress, stop: describe_run(project, run_id, on_progress=progress, stop=stop),
            on_done=self._on_described, on_step=self._on_step, on_error=self._on_error,
        )  # fmt: skip
        self._said.setText("Reading images …")
        self._show_running()

    def _stop(self) -> None:
        self._task.cancel()
        self._said.setText("Stopped. What was looked at is kept for the next time.")
        self._show_running()

    def _on_step(self, done: int, total: int) -> None:
        self._said.setText(f"{done:,} of {total:,} objects looked at")

    def _on_described(self, described: DescribedRun) -> None:
        self._described = described
        self._compare()

    def _compare(self) -> None:
        """Look for slices at the operating point."""
        described, session = self._described, self._controller.session
        if described is None or session.at_point is None:
            return
        at_point = session.at_point
        self._task.start(
            lambda _, stop: where_it_fails(described, at_point, stop=stop),
            on_done=self._show, on_step=self._on_step, on_error=self._on_error,
        )  # fmt: skip
        self._said.setText("Comparing …")
        self._show_running()

    def _show(self, found: WhereItFails) -> None:
        objects = self._described.objects if self._described is not None else None
        if objects is None:
            return
        self._slices = [(each, _ids(objects.findings, each)) for each in found.findings]
        self._slices += [(each, _ids(objects.candidates, each)) for each in found.candidates]
        kinds = ["findings"] * len(found.findings) + ["marks"] * len(found.candidates)
        self._table.set_rows(
            [
                (kind, each.text.partition(":")[0], f"{each.rate:.0%}", f"{each.interval[0]:.0%} to {each.interval[1]:.0%}",
                 f"{each.rest_rate:.0%}", each.n, f"{each.p_adjusted:.2g}")
                for kind, (each, _) in zip(kinds, self._slices, strict=True)
            ],
            tips=[each.text for each, _ in self._slices],
        )  # fmt: skip
        self._said.setText(_summary(found, len(self._described.skipped) if self._described else 0))
        self._show_running()

    def _choose(self, number: int) -> None:
        """List the errors among the objects of a slice."""
        session = self._controller.session
        session.set_filter(replace(session.filter, object_ids=self._slices[number][1]))

    def _on_error(self, error: Exception) -> None:
        if getattr(error, "code", "") != "cancelled":
            self._said.setText(str(error))
        self._show_running()

    def _on_review(self) -> None:
        review = self._controller.session.review
        if self._described is not None and (review is None or review.run_id != self._described.run_id):
            self._forget()

    def _forget(self) -> None:
        self._task.cancel()
        self._described, self._slices = None, []
        self._table.set_rows([])
        self._said.setText(ASKED)
        self._show_running()

    def _show_running(self) -> None:
        self.start_button.setEnabled(not self._task.is_running)
        self.stop_button.setEnabled(self._task.is_running)


def _ids(table: FindingTable | CandidateTable, found: FailureSlice) -> frozenset[str]:
    return frozenset(table.ids[found.rows].tolist())


def _counted(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _summary(found: WhereItFails, skipped: int) -> str:
    count = len(found.findings) + len(found.candidates)
    text = f"{_counted(count)} of the data, every test counted: click one to list its errors." if count else (
        "Nothing stands out: with this many findings, the model fails nowhere more often than chance would have it."
    )  # fmt: skip
    left_out = f" {found.undescribed:,} objects were not looked at" if found.undescribed else ""
    return text + left_out + (f", {skipped} images cannot be read." if skipped else "." if left_out else "")
