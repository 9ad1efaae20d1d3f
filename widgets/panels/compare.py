"""Two runs side by side: what was fixed, what broke; every row opens at its place with the outlines of both."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QFormLayout, QGridLayout, QLabel, QPushButton, QToolButton, QWidget

from napari_medlab.reports.lesion_outlines import Side
from napari_medlab.reports.plots import FrocLine, RecallLine, froc_figure, recall_figure, save_figure
from napari_medlab.reports.run_figures import ComparedRuns, Measure, compared_at, compared_runs
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.palette import legible
from napari_medlab.widgets.panels.compare_outlines import ComparedOutlines, legend
from napari_medlab.widgets.panels.compare_rows import COLUMNS, KINDS, LesionRow, chosen_rows, lesion_rows
from napari_medlab.widgets.panels.evaluate import SPLITS, RuleChooser
from napari_medlab.widgets.panels.evaluate_curve import (
    RECALL_AXES,
    fp_at_recall,
    froc_line,
    point_controls,
    recall_line,
)
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task
from napari_medlab.widgets.views.curve import CurveView
from napari_medlab.widgets.views.operating_point import FROC_AXES
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtGui import QHideEvent

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement
    from napari_medlab.project import Project

__all__ = ["ComparePanel"]

STEPS = {Qt.Key.Key_J: 1, Qt.Key.Key_K: -1}
"""Keys that go on and back in the list, beside the arrows, while it has the keyboard."""
REST_MS = 80
"""The lists follow the operating point once it rests so long."""
FEWEST_ROWS = 8
HIGHEST_CURVE = 170
"""Pixels: the list needs the rest."""


class ComparePanel(Panel):
    """Compares two runs on the training or the frozen test cases."""

    title = "Compare"

    def build(self) -> None:
        """Make the choosers, the curves and the table."""
        self._compared: ComparedRuns | None = None
        self._names = ("", "")
        self._rows: list[LesionRow] = []
        self._shown: list[LesionRow] = []
        self._sort: tuple[int, bool] | None = None
        self._resting = QTimer(self)
        self._resting.setSingleShot(True)
        self._resting.setInterval(REST_MS)
        self._resting.timeout.connect(self._move_point)
        self._task = Task(self.controller.background, "compare", "Comparing two runs")
        self._writing = Task(self.controller.background, "report", "Writing the report")
        self._outlines = ComparedOutlines(self.controller)
        self._build_form()
        self.summary = note()
        self.column.addWidget(self.summary)
        self._build_curve()
        self._build_lists()
        self.report_button = button("Write report.html", self.write_report,
                                    "One file that can be mailed and kept; cases have keys in place of names")  # fmt: skip
        self._save = button("Save this plot…", self._ask_save, "As SVG or PNG")
        self.column.addLayout(row(self.report_button, self._save))
        session, models = self.session, self.controller.models
        self.listen(models.bundles_changed, lambda: self.redraw(self._fill_runs))
        self.listen(models.judged, self._on_judged)
        self.listen(session.project_changed, self._forget)
        self.listen(session.case_changed, self._outlines.follow_case)
        self.listen(session.view_changed, lambda _: self._outlines.follow_view())
        self.redraw_on(session.review_changed, self._fill_runs)
        self.redraw_on(session.cases_changed, self._fill_runs)
        self._fill_runs()
        self._fill_table()
        self._show_state()

    def _build_form(self) -> None:
        self._a, self._b, self._split, self._rule = (
            chooser(),
            chooser(),
            chooser(*reversed(SPLITS)),
            RuleChooser(),
        )
        give_keys_back(self._rule.iou, self.setFocus)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Before", self._a)
        form.addRow("After", self._b)
        form.addRow("Cases", self._split)
        self._rule.add_to(form)
        self._form = QWidget()
        self._form.setLayout(form)
        self._fold = QToolButton()
        self._fold.setText("Runs, cases and rule")
        self._fold.setToolTip("Show what is compared, or give its room to the list")
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.setAutoRaise(True)
        self._fold.setCheckable(True)
        self._fold.setChecked(True)
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(True)
        self.column.addWidget(self._fold)
        self.column.addWidget(self._form)
        self._start = button("Compare", self.compare, "The same cases, the same patients drawn for both")
        self._stop = button("Stop", self._on_stop, "Leave it")
        buttons = row(self._start, self._stop)
        buttons.setStretch(0, 1)
        self.column.addLayout(buttons)

    def _on_fold(self, is_open: bool) -> None:
        self._form.setVisible(is_open)
        self._fold.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)

    def _build_curve(self) -> None:
        self._spin, self._kind = point_controls(
            "Each model stands at its own threshold of so many false positives per scan",
            self.set_point, self._on_kind, self.setFocus,
        )  # fmt: skip
        self._curve = CurveView(FROC_AXES)
        self._curve.setToolTip("Drag the operating point along")
        self._curve.setMaximumHeight(HIGHEST_CURVE)
        self._curve.markerDragged.connect(self._on_drag)
        self.column.addLayout(row(QLabel("FP per scan ≤"), self._spin, self._kind))
        self.column.addWidget(self._curve)

    def _build_lists(self) -> None:
        """Make the buttons that list kinds of change, the list, and the line that says whose outline is whose."""
        grid = QGridLayout()
        grid.setSpacing(4)
        self._chips: dict[str, QPushButton] = {}
        for number, (kind, about) in enumerate(KINDS.items()):
            chip = QPushButton()
            chip.setCheckable(True)
            chip.setChecked(True)
            chip.setToolTip(f"List what is {about.title}, or not")
            chip.toggled.connect(lambda _: self._fill_table())
            self._chips[kind] = chip
            grid.addWidget(chip, number // 2, number % 2)
        self.column.addLayout(grid)
        self._legend = QLabel(legend())
        self._legend.setTextFormat(Qt.TextFormat.RichText)
        self._legend.setToolTip("Whose outline is whose on the canvas; circles stand for what has no outline")
        self.column.addWidget(self._legend)
        self.table = RowsTable(COLUMNS)
        self.table.setToolTip(
            "Choose a row to see its place; J and K or the arrow keys step through. Click a title to sort"
        )
        self.table.setMinimumHeight(FEWEST_ROWS * self.table.verticalHeader().defaultSectionSize())
        self.table.rowChosen.connect(self._on_row_chosen)
        header = self.table.horizontalHeader()
        header.setSectionsClickable(True)
        header.sectionClicked.connect(self._on_header)
        self.table.installEventFilter(self)
        self.column.addWidget(self.table, stretch=1)

    # -- what is asked for ----------------------------------------------------------------------------------------

    @property
    def compared(self) -> ComparedRuns | None:
        """What is shown; None for nothing yet."""
        return self._compared

    def choose_rule(self, name: str, iou: float = 0.5) -> None:
        """Choose a rule by its name."""
        self._rule.box.setCurrentIndex(self._rule.box.findData(name))
        self._rule.iou.setValue(iou)

    def compare(self) -> None:
        """Compare in the background."""
        a, b = self._a.currentData(), self._b.currentData()
        if not a or not b or a == b:
            self.summary.setText("Choose two different runs.")
            return
        names = (self._a.currentText(), self._b.currentText())
        self._compare((a, b), names, self._split.currentText(), self._rule.measure)

    def compare_pair(self, before: str, after: str) -> None:
        """Compare two runs on the frozen test cases."""
        self._fill_runs()
        for box, run_id in ((self._a, before), (self._b, after)):
            box.setCurrentIndex(box.findData(run_id))
        self._split.setCurrentText(SPLITS[1])
        self.compare()

    def set_point(self, fp_per_scan: float) -> None:
        """Compare lesions at another operating point."""
        self._spin.blockSignals(True)
        self._spin.setValue(fp_per_scan)
        self._spin.blockSignals(False)
        self._place_marker()
        self._resting.start()

    def write_report(self, folder: Path | None = None) -> None:
        """Write the comparison as one self-contained page, into the project's exports or the given folder."""
        from napari_medlab.reports.comparison import ReportOptions, write_comparison_report

        project, compared = self.session.project, self._compared
        if project is None or compared is None:
            return
        target, names = folder or project.folder / "exports", self._names
        runs = (compared.a.run.run_id, compared.b.run.run_id)

        def work(on_progress: Callable[[int, int], None], stop: Callable[[], None]) -> Path:
            stop()
            options = ReportOptions(runs, compared.measure, on_progress=on_progress, dice=compared.dice)
            return write_comparison_report(project, compared.comparison, names, target, options)

        self._writing.start(
            work, on_done=lambda path: self._end_report(f"Written: {path}"),
            on_step=lambda done, total: self.summary.setText(f"Writing the report: {done} of {total} cases"),
            on_error=lambda error: self._end_report(in_words(error)),
        )  # fmt: skip
        self._show_state()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _compare(self, runs: tuple[str, str], names: tuple[str, str], cases: str, measure: Measure) -> None:
        project, split = self.session.project, "test" if "test" in cases else "train"
        if project is None:
            return
        fp_per_scan = self._spin.value()

        def work(
            on_progress: Callable[[int, int], None], stop: Callable[[], None]
        ) -> tuple[ComparedRuns, list[LesionRow]]:
            stop()
            compared = compared_runs(
                project, runs, split, measure, fp_per_scan=fp_per_scan, on_progress=on_progress
            )
            return compared, lesion_rows(compared)

        self.summary.setText("Comparing …")
        self._task.start(
            work, on_done=lambda found: self._show(*found, names, cases),
            on_step=lambda done, total: self.summary.setText(f"Comparing … {done} of {total}"),
            on_error=self._explain,
        )  # fmt: skip
        self._show_state()

    def _on_judged(self, judgement: Judgement, proposed: Bundle) -> None:
        """Show what the frozen test set was asked about."""
        project, current = self.session.project, self.controller.models.bundle(judgement.against_hash)
        if project is None:
            return
        names = (current.title if current is not None else judgement.against_hash[:8], proposed.title)
        hashes = (judgement.against_hash, judgement.bundle_hash)
        self.controller.background.run(
            "judged runs", newest_runs, project, hashes,
            on_done=lambda runs: self._compare(runs, names, SPLITS[1], Measure()) if all(runs) else None,
        )  # fmt: skip

    def _fill_runs(self) -> None:
        fresh = self._a.count() == 0
        for box in (self._a, self._b):
            self.controller.fill_runs(box)
        if fresh or self._a.currentData() == self._b.currentData():
            self._a.setCurrentIndex(min(1, self._a.count() - 1))
            self._b.setCurrentIndex(0)

    def _forget(self) -> None:
        self._task.cancel()
        self._writing.cancel()
        self._compared, self._rows = None, []
        self._outlines.clear()
        self._curve.set_lines()
        self._curve.set_marker(None)
        self.summary.setText("")
        self._fill_table()
        self._show_state()

    def _show(
        self, compared: ComparedRuns, rows: list[LesionRow], names: tuple[str, str], cases: str
    ) -> None:
        # names and figures stay together: the boxes may have moved on
        self._compared, self._names = compared, names
        self.summary.setText(_in_words(compared, names, cases))
        self._draw_curves()
        self._take_rows((compared, rows))
        self._fold.setChecked(False)
        self._show_state()

    def _move_point(self) -> None:
        """Compare lesions at the operating point, unless another comparison has come meanwhile."""
        compared, point = self._compared, self._spin.value()
        if compared is None:
            return

        def work() -> tuple[ComparedRuns, list[LesionRow]]:
            moved = compared_at(compared, point)
            return moved, lesion_rows(moved)

        def done(found: tuple[ComparedRuns, list[LesionRow]]) -> None:
            if self._compared is compared:
                self._take_rows(found)

        self.controller.background.run("compare point", work, on_done=done)

    def _take_rows(self, found: tuple[ComparedRuns, list[LesionRow]]) -> None:
        self._compared, self._rows = found
        self._fill_table()

    def _draw_curves(self) -> None:
        compared = self._compared
        if compared is None:
            return
        line = recall_line if self._kind.isChecked() else froc_line
        if compared.comparison.a.match.n_findings:
            self._curve.set_lines(line(compared.a, "before"), line(compared.b, "after"))
            self._place_marker()
        else:
            self._curve.set_lines()

    def _place_marker(self) -> None:
        if self._compared is not None and self._compared.comparison.a.match.n_findings:
            curve, point = self._compared.a.report.curve, self._spin.value()
            self._curve.set_marker(float(curve.sensitivity_at(point)) if self._kind.isChecked() else point)

    def _on_kind(self, is_recall: bool) -> None:
        self._kind.setText("PR" if is_recall else "FROC")
        self._curve.set_axes(RECALL_AXES if is_recall else FROC_AXES)
        self._draw_curves()

    def _on_drag(self, x: float) -> None:
        if self._compared is not None:
            self.set_point(fp_at_recall(self._compared.a, x) if self._kind.isChecked() else x)

    # -- the list -------------------------------------------------------------------------------------------------

    def _fill_table(self) -> None:
        counts = {kind: sum(row.kind == kind for row in self._rows) for kind in KINDS}
        for kind, chip in self._chips.items():
            count = f"{counts[kind]:,}" if self._compared is not None else "–"
            chip.setText(f"{KINDS[kind].sign} {count} {KINDS[kind].title}")
            chip.setEnabled(self._compared is not None)
            colour = legible(QColor(KINDS[kind].colour), self.palette()).name()
            chip.setStyleSheet(
                f"QPushButton:checked:enabled {{ border: 1px solid {colour}; }} "
                "QPushButton:checked:disabled { background-color: transparent; }"
            )
        kinds = [kind for kind, chip in self._chips.items() if chip.isChecked()]
        names = {case.case_id: case.name for case in self.controller.cases}
        place = self.table.currentIndex().row()
        current = self._shown[place].object_id if 0 <= place < len(self._shown) else ""
        self._shown = shown = chosen_rows(self._rows, kinds, names, self._sort)

        def cells(number: int) -> tuple[str | float | None, ...]:
            lesion = shown[number]
            scores = (score if np.isfinite(score) else None for score in (lesion.before, lesion.after))
            return (KINDS[lesion.kind].sign, names.get(lesion.case_id, ""), *scores)

        self.table.set_source(
            len(shown),
            cells,
            lambda number: KINDS[shown[number].kind].colour,
            tip=lambda number: KINDS[shown[number].kind].title,
        )
        self.table.choose(
            next((number for number, lesion in enumerate(shown) if lesion.object_id == current), -1)
        )

    def _on_header(self, column: int) -> None:
        """Sort by a column, the other way round at the second click, and as they come at the third."""
        before = self._sort
        first = (column, column >= COLUMNS.index("Before"))
        if before is None or before[0] != column:
            self._sort = first
        else:
            self._sort = (column, not before[1]) if before == first else None
        header = self.table.horizontalHeader()
        header.setSortIndicatorShown(self._sort is not None)
        if self._sort is not None:
            orders = Qt.SortOrder
            header.setSortIndicator(
                column, orders.DescendingOrder if self._sort[1] else orders.AscendingOrder
            )
        self._fill_table()

    def _on_row_chosen(self, number: int) -> None:
        compared, lesion = self._compared, self._shown[number]
        if compared is not None:
            sides = (
                Side(compared.a.run.run_id, compared.comparison.threshold_a),
                Side(compared.b.run.run_id, compared.comparison.threshold_b),
            )
            self._outlines.visit(lesion, sides, KINDS[lesion.kind].title)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        """Step through the list by J and K while it has the keyboard: the shortcuts of the window leave them to it."""
        if (
            watched is not self.table
            or not isinstance(event, QKeyEvent)
            or event.modifiers() != Qt.KeyboardModifier.NoModifier
        ):
            return super().eventFilter(watched, event)
        step = STEPS.get(Qt.Key(event.key()))
        if step is None:
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
        elif event.type() == QEvent.Type.KeyPress and self._shown:
            place = self.table.currentIndex().row()
            self.table.selectRow(min(max(place + step, 0), len(self._shown) - 1))
        return True

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802 - a name of Qt
        """Give the canvas back to the outlines that can be edited."""
        self._outlines.clear()
        super().hideEvent(event)

    # -- messages and files ---------------------------------------------------------------------------------------

    def _on_stop(self) -> None:
        self._task.cancel()
        self._writing.cancel()
        self.summary.setText("Stopped.")
        self._show_state()

    def _explain(self, error: Exception) -> None:
        if getattr(error, "code", "") != "cancelled":
            self.summary.setText(in_words(error))
        self._show_state()

    def _end_report(self, text: str) -> None:
        self.summary.setText(text)
        self._show_state()

    def _show_state(self) -> None:
        is_busy = self._task.is_running or self._writing.is_running
        self._start.setEnabled(not is_busy)
        self._stop.setVisible(is_busy)
        self.report_button.setEnabled(self._compared is not None and not is_busy)
        self._save.setEnabled(self._compared is not None)

    def _ask_save(self) -> None:
        from pathlib import Path

        from qtpy.QtWidgets import QFileDialog

        usual = "precision-recall.svg" if self._kind.isChecked() else "froc.svg"
        name, _ = QFileDialog.getSaveFileName(self, "Save the plot", usual, "Pictures (*.svg *.png)")
        if name:
            self.save_plot(Path(name))

    def save_plot(self, path: Path) -> None:
        """Write the curves that are shown as a new file, PNG or SVG by its name."""
        compared, names = self._compared, self._names
        if compared is None:
            return
        both = list(zip(names, (compared.a, compared.b), strict=True))
        if self._kind.isChecked():
            draw = partial(
                recall_figure, [RecallLine(name, each.recall, each.recall_band) for name, each in both]
            )
        else:
            draw = partial(froc_figure, [FrocLine(name, each.report.curve, each.band) for name, each in both])
        told = partial(self.session.told.emit, f"saved: {path.name}")
        self.controller.background.run("plot", lambda: save_figure(draw(), path), on_done=lambda _: told())


def _in_words(compared: ComparedRuns, names: tuple[str, str], cases: str) -> str:
    """Return the figures of both runs and their difference as a sentence."""
    comparison = compared.comparison
    where = f"over {comparison.n_cases:,} {cases}"
    if not comparison.a.match.n_findings:
        return f"{names[0]} → {names[1]}: no difference in sensitivity can be told, as there is no finding {where}."
    low, high = comparison.difference_interval
    each = [
        f"{report.curve.cpm:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
        for report in (compared.a.report, compared.b.report)
        for ends in (report.intervals.cpm if report.intervals is not None else (np.nan, np.nan),)
    ]
    return (
        f"{names[0]} → {names[1]}: {_dice_in_words(compared)}CPM {each[0]} → {each[1]}, difference {comparison.difference:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}, p = {comparison.p_value:.3f}) {where}."
    )


def _dice_in_words(compared: ComparedRuns) -> str:
    """Return how well the outlines agree, which says more of segmenters than the CPM; empty where there are none."""
    if (dice := compared.dice) is None:
        return ""
    low, high = dice.interval
    return f"Dice {dice.a:.3f} → {dice.b:.3f}, difference {dice.difference:+.3f} (95 % interval {low:+.3f} to {high:+.3f}); "


def newest_runs(project: Project, hashes: tuple[str, str]) -> tuple[str, str]:
    """Return the newest run of each of two bundles that is done with frozen test cases; empty where there is none."""
    frozen = {case.case_id for case in project.cases() if case.frozen}
    newest = {
        run.bundle_hash: run.run_id for run in project.runs() if frozen & project.cases_done(run.run_id)
    }
    return newest.get(hashes[0], ""), newest.get(hashes[1], "")
