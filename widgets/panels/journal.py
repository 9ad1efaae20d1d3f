"""The journal of experiments: every model with what changed, how good it is and what was concluded from it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QFileDialog, QLabel, QPlainTextEdit

from napari_medlab.errors import MedlabError
from napari_medlab.models.workflows.experiments import experiments_of, shareable_experiments
from napari_medlab.project.edits import set_conclusion
from napari_medlab.reports.experiments import AXES, as_csv, as_markdown, metrics_of, points_of
from napari_medlab.widgets.panels.journal_rows import (
    COLUMNS,
    DATE,
    DIFFERENCE,
    FIGURE,
    MODEL,
    cells,
    descent,
    sign,
    sorted_experiments,
    tip,
    told,
)
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task
from napari_medlab.widgets.views.experiment_curve import Dot, ExperimentCurve
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QHideEvent

    from napari_medlab.project import Project
    from napari_medlab.reports.experiments import Experiment

__all__ = ["JournalPanel"]

AXIS_TITLES = {"round": "round of training", "corrected": "corrected objects it rests on"}
FEWEST_ROWS, CONCLUSION_LINES = 5, 4


class JournalPanel(Panel):
    """Lists models and foreign runs, draws their figures, and keeps what the reader concludes.

    Signals
    -------
    compareAsked(str, str)
        Two runs are to be compared: that of the parent, and that of the model.
    """

    title = "Journal"
    compareAsked = Signal(str, str)

    def build(self) -> None:
        """Make the table, the details, the conclusion and the curve."""
        self._rows: list[Experiment] = []
        self._shown: list[Experiment] = []
        self._conclusions: dict[str, str] = {}
        self._about, self._stored, self._dotted = "", "", list[str]()
        self._sort: tuple[int, bool] = (DATE, True)
        self._task = Task(self.controller.background, "journal", "Measuring models")
        self._build_table()
        self._build_details()
        self._build_curve()
        session, models = self.session, self.controller.models
        self.listen(session.project_changed, self._forget)
        self.redraw_on(session.project_changed, self.reload)
        self.redraw_on(models.bundles_changed, self.reload)
        self.redraw_on(models.judged, self.reload)
        self.redraw_on(session.saved, self._read_conclusions)
        self.redraw_on(session.review_changed, self._read_conclusions)
        self.redraw(self.reload)
        self._show_row()

    def _build_table(self) -> None:
        self.table = RowsTable(COLUMNS, stretch=MODEL)
        self.table.setToolTip(
            "Choose a model to see what changed; a double click compares it with its parent"
        )
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setMinimumHeight((FEWEST_ROWS + 1) * self.table.verticalHeader().defaultSectionSize())
        self.table.rowChosen.connect(self._on_row)
        self.table.doubleClicked.connect(lambda _: self.compare())
        header = self.table.horizontalHeader()
        header.setSectionsClickable(True)
        header.setSortIndicatorShown(True)
        header.sectionClicked.connect(self.sort_by)
        self.said = note()
        self._stop = button("Stop", self._on_stop, "Leave models unmeasured that were never judged")
        line = row(self.said, self._stop)
        line.setStretch(0, 1)
        self.column.addWidget(self.table, stretch=1)
        self.column.addLayout(line)
        self._stop.hide()

    def _build_details(self) -> None:
        self.details = note()
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._compare = button("Compare with parent", self.compare, "Side by side, lesion by lesion")
        self._export = button(
            "Export…", self._ask_export, "The whole table as Markdown or CSV, without names of the project"
        )
        self.conclusion = QPlainTextEdit()
        self.conclusion.setPlaceholderText("What do you conclude? Ctrl+Enter keeps it.")
        self.conclusion.setToolTip("Kept in the project for everybody; Ctrl+Z takes it back")
        self.conclusion.setFixedHeight(CONCLUSION_LINES * self.fontMetrics().lineSpacing() + 14)
        self.conclusion.setTabChangesFocus(True)
        self.conclusion.textChanged.connect(self._show_tick)
        self.conclusion.installEventFilter(self)
        self._tick = QLabel()
        self._keep = button("Keep", self.keep_conclusion, "Write the conclusion into the project")
        line = row(QLabel("Conclusion"), self._tick, self._keep)
        line.setStretch(1, 1)
        self.column.addWidget(self.details)
        self.column.addLayout(row(self._compare, self._export))
        self.column.addLayout(line)
        self.column.addWidget(self.conclusion)

    def _build_curve(self) -> None:
        self._metric, self._axis = chooser(), chooser()
        for axis in AXES:
            self._axis.addItem(
                f"by {AXIS_TITLES[axis].split()[0]}" if axis == "round" else "by corrections", axis
            )
        for box in (self._metric, self._axis):
            box.setMinimumContentsLength(6)
            box.currentIndexChanged.connect(lambda _: self._draw_curve())
        self.curve = ExperimentCurve()
        self.curve.setToolTip(
            "Each model with its 95 % interval; those that the chosen one comes from are joined"
        )
        self.curve.dotChosen.connect(self._on_dot)
        self.column.addLayout(row(self._metric, self._axis))
        self.column.addWidget(self.curve)

    # -- what is asked for ----------------------------------------------------------------------------------------

    @property
    def chosen(self) -> Experiment | None:
        """The row that is looked at; None for none."""
        return next((each for each in self._rows if each.about == self._about), None)

    def reload(self) -> None:
        """Read the journal in the background, and then measure what was never judged."""
        project = self.session.project
        if project is None:
            return

        def read() -> tuple[list[Experiment], dict[str, str]]:
            return experiments_of(project, evaluate=False), project.conclusions()

        self.controller.background.run("journal rows", read, on_done=partial(self._on_read, project))

    def choose(self, about: str) -> None:
        """Look at a row, by the hash of its model or the id of its run."""
        self.keep_conclusion()
        self._about = about
        self._stored = self._conclusions.get(about, "")
        self.conclusion.setPlainText(self._stored)
        self._show_row()

    def compare(self) -> None:
        """Ask for the comparison of the chosen model with its parent, or with what it was held against."""
        chosen = self.chosen
        if chosen is not None and chosen.run_id and chosen.against_run_id:
            self.compareAsked.emit(chosen.against_run_id, chosen.run_id)
        elif chosen is not None:
            self.said.setText(
                "Run both models on the frozen test cases first: there is nothing to compare yet."
            )

    def sort_by(self, column: int) -> None:
        """Sort by a column, and the other way round where it is sorted by it already."""
        is_same = self._sort[0] == column
        self._sort = (column, not self._sort[1] if is_same else column in (DATE, FIGURE, DIFFERENCE))
        self._fill_table()

    def keep_conclusion(self) -> None:
        """Write what was typed into the project; the tick comes once it is on the disk."""
        text, about, before = self._typed, self._about, self._stored
        if not about or text == before:
            return
        if self.controller.editing.writable() is None:
            return
        try:
            edit = set_conclusion(about, before, text)
        except MedlabError as error:
            self.controller.show_error(error)
            return
        self._stored = self._conclusions[about] = text
        self._tick.setText("saving …")
        self.controller.editing.commit(edit, lambda _: self.session.saved.emit("conclusion · saved"))

    def export(self, path: Path) -> None:
        """Write the table as a new file, CSV or Markdown by its name, without names of the project."""
        project = self.session.project
        rows = [replace(each, conclusion=self._conclusions.get(each.about, "")) for each in self._rows]
        if project is not None:
            work = partial(_write_table, project, rows, path)
            told = partial(self.said.setText, f"Written: {path}")
            self.controller.background.run("journal file", work, on_done=lambda _: told())

    @property
    def _typed(self) -> str:
        return self.conclusion.toPlainText().strip()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _on_read(self, project: Project, read: tuple[list[Experiment], dict[str, str]]) -> None:
        if project is not self.session.project:
            return
        rows, conclusions = read
        self._take(rows)
        self._on_conclusions(conclusions)
        if not any(each.figure is None for each in rows):
            return

        def work(on_progress: Callable[[int, int], None], stop: Callable[[], None]) -> list[Experiment]:
            stop()
            return experiments_of(project, on_progress=on_progress)

        self._task.start(
            work, on_done=self._on_measured,
            on_step=lambda done, total: self.said.setText(f"Measuring model {done + 1} of {total} …"),
            on_error=self._on_failed,
        )  # fmt: skip
        self._stop.show()

    def _on_measured(self, rows: list[Experiment]) -> None:
        self._stop.hide()
        self._take(rows)

    def _on_failed(self, error: Exception) -> None:
        self._stop.hide()
        if getattr(error, "code", "") != "cancelled":
            self.said.setText(in_words(error))

    def _on_stop(self) -> None:
        self._task.cancel()
        self._stop.hide()
        self.said.setText("Stopped: models that were never judged have no figure yet.")

    def _take(self, rows: list[Experiment]) -> None:
        self._rows = rows
        if self.chosen is None:
            newest = next((each for each in rows if each.is_current), rows[-1] if rows else None)
            self._about = newest.about if newest is not None else ""
        count = len(rows)
        self.said.setText(
            f"{count} model{'' if count == 1 else 's'}, newest first." if count
            else "No model yet: run one, and it stands here."
        )  # fmt: skip
        metrics, before = metrics_of(rows), self._metric.currentText()
        self._metric.blockSignals(True)
        self._metric.clear()
        self._metric.addItems(metrics)
        self._metric.setCurrentIndex(max(self._metric.findText(before), 0 if metrics else -1))
        self._metric.blockSignals(False)
        self._fill_table()
        self._show_row()

    def _forget(self) -> None:
        self._task.cancel()
        self._about, self._stored, self._conclusions = "", "", {}
        self.conclusion.clear()
        self._take([])

    def _fill_table(self) -> None:
        column, is_falling = self._sort
        order = Qt.SortOrder.DescendingOrder if is_falling else Qt.SortOrder.AscendingOrder
        self.table.horizontalHeader().setSortIndicator(column, order)
        self._shown = sorted_experiments(self._rows, column, is_falling)
        self.table.set_rows(
            cells(self._shown), [sign(each)[1] for each in self._shown],
            [tip(each) for each in self._shown],
        )  # fmt: skip
        self.table.choose(next((n for n, each in enumerate(self._shown) if each.about == self._about), -1))

    def _show_row(self) -> None:
        chosen, project = self.chosen, self.session.project
        self.details.setText("" if chosen is None else told(chosen))
        self.conclusion.setEnabled(chosen is not None)
        self.conclusion.setReadOnly(project is None or project.is_read_only)
        self._compare.setEnabled(chosen is not None and bool(chosen.against_run_id))
        self._export.setEnabled(bool(self._rows))
        self.table.choose(next((n for n, each in enumerate(self._shown) if each.about == self._about), -1))
        self._show_tick()
        self._draw_curve()

    def _show_tick(self) -> None:
        is_kept = self._typed == self._stored
        self._tick.setText("" if is_kept and not self._typed else "✓ saved" if is_kept else "not kept yet")
        self._keep.setEnabled(not is_kept)

    def _draw_curve(self) -> None:
        metric, axis = self._metric.currentText(), self._axis.currentData()
        points = points_of(self._rows, metric, axis)
        self._dotted = [each.about for _, each in points]
        line = descent(self._rows, self._about)
        dots = [
            Dot(x, each.figure.value, each.figure.low, each.figure.high)
            for x, each in points
            if each.figure is not None
        ]
        joined = [number for number, about in enumerate(self._dotted) if about in line]
        self.curve.set_dots(dots, (AXIS_TITLES[axis], metric or "figure"), joined)
        self.curve.choose(self._dotted.index(self._about) if self._about in self._dotted else -1)

    def _on_row(self, number: int) -> None:
        self.choose(self._shown[number].about)

    def _on_dot(self, number: int) -> None:
        self.choose(self._dotted[number])

    def _read_conclusions(self) -> None:
        """Show what is stored: something was saved or taken back."""
        project = self.session.project
        if project is not None and self._rows:
            self.controller.background.run("conclusions", project.conclusions, on_done=self._on_conclusions)

    def _on_conclusions(self, stored: dict[str, str]) -> None:
        """Show the conclusion that is stored; what is being typed stays."""
        was_kept = self._typed == self._stored
        self._conclusions = dict(stored)
        self._stored = stored.get(self._about, "")
        if was_kept and self._typed != self._stored:
            self.conclusion.setPlainText(self._stored)
        self._show_tick()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        """Keep the conclusion at Ctrl+Enter, and when the keyboard goes elsewhere."""
        if watched is self.conclusion and event.type() == QEvent.Type.FocusOut:
            self.keep_conclusion()
        if (
            watched is self.conclusion
            and event.type() == QEvent.Type.KeyPress
            and isinstance(event, QKeyEvent)
        ):
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
                self.keep_conclusion()
                return True
        return super().eventFilter(watched, event)

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - a name of Qt
        """Lose nothing that was typed."""
        self.keep_conclusion()
        super().hideEvent(event)

    def _ask_export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export the journal", "journal.md", "Tables (*.md *.csv)")
        if name:
            self.export(Path(name))


def _write_table(project: Project, rows: Sequence[Experiment], path: Path) -> None:
    from napari_medlab.annotations.formats.files import write_new

    safe = shareable_experiments(project, rows)
    write_new(path, (as_csv(safe) if path.suffix.lower() == ".csv" else as_markdown(safe)).encode())
