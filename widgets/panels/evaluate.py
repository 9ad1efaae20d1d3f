"""The figures of a run with their intervals: by a rule that is chosen, at any operating point, by stratum and by class."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QFormLayout, QLabel, QTabWidget

from napari_medlab.reports.plots import save_figure
from napari_medlab.reports.run_figures import RULE_TITLES, Measure, RunFigures, run_figures
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.panels.evaluate_classes import ClassesPage
from napari_medlab.widgets.panels.evaluate_curve import NARROWEST, CurvePage
from napari_medlab.widgets.panels.evaluate_errors import Evaluated
from napari_medlab.widgets.panels.evaluate_readers import ReadersPage
from napari_medlab.widgets.panels.evaluate_strata import StrataPage
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

__all__ = ["EvaluatePanel", "RuleChooser"]

SPLITS = ("training cases", "frozen test cases")
REST_MS = 200
"""Strata and classes follow the operating point once it rests so long."""


class RuleChooser:
    """Chooses the rule by which candidates hit findings, and its least overlap where it has one to choose."""

    def __init__(self) -> None:
        self.box = chooser()
        self.box.setMinimumWidth(NARROWEST)
        for name, title in RULE_TITLES.items():
            self.box.addItem(title, name)
        self.iou = QDoubleSpinBox()
        self.iou.setRange(0.01, 1.0)
        self.iou.setSingleStep(0.05)
        self.iou.setValue(Measure().iou)
        self.iou.setMinimumWidth(NARROWEST)
        self.iou.setToolTip("The least intersection over union of a hit, above 0 and at most 1")
        self._iou_title = QLabel("IoU ≥")
        self.box.currentIndexChanged.connect(lambda _: self._follow())
        self._follow()

    def add_to(self, form: QFormLayout) -> None:
        """Put both into a form; the overlap has a row of its own, which comes and goes with the rule."""
        form.addRow("Hits by", self.box)
        form.addRow(self._iou_title, self.iou)

    @property
    def measure(self) -> Measure:
        """What was chosen."""
        return Measure(str(self.box.currentData()), self.iou.value())

    def _follow(self) -> None:
        for widget in (self._iou_title, self.iou):
            widget.setVisible(self.box.currentData() == "iou")
        self.box.setToolTip(self.measure.in_words())


class EvaluatePanel(Panel):
    """Shows what any run is worth, on training or on frozen test cases."""

    title = "Evaluate"

    def build(self) -> None:
        """Make the choosers and the pages."""
        self._shown: Evaluated | None = None
        self._is_chosen = False
        self._task = Task(self.controller.background, "evaluate", "Evaluating a run")
        self._build_form()
        self.summary = note(Measure().in_words() + ".")
        self.column.addWidget(self.summary)
        self.curve_page = CurvePage(self.controller)
        self.strata_page = StrataPage(self.controller)
        self.classes_page = ClassesPage(self.controller)
        self.readers_page = ReadersPage(self.controller, lambda: str(self._run.currentData() or ""))
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        for page, name in (
            (self.curve_page, "Curve"),
            (self.strata_page, "Strata"),
            (self.classes_page, "Classes"),
            (self.readers_page, "Readers"),
        ):
            self.pages.addTab(page, name)
        self.column.addWidget(self.pages, stretch=1)
        self._save = button("Save this plot…", self._ask_save, "As SVG or PNG")
        self.column.addWidget(self._save)
        self._resting = QTimer(self)
        self._resting.setSingleShot(True)
        self._resting.setInterval(REST_MS)
        self._resting.timeout.connect(self._follow_point)
        self.curve_page.pointChosen.connect(lambda _: self._resting.start())
        self.pages.currentChanged.connect(lambda _: self._show_state())
        self.redraw_on(self.session.review_changed, self._fill_runs)
        self.redraw_on(self.session.cases_changed, self._fill_runs)
        self.listen(self.session.project_changed, self._on_project)
        self.listen(self.controller.models.bundles_changed, lambda: self.redraw(self._fill_runs))
        self._fill_runs()
        self._show_state()

    def _build_form(self) -> None:
        self._run, self._split, self._rule = chooser(), chooser(*SPLITS), RuleChooser()
        for picked in (self._run.activated, self._split.activated):
            picked.connect(self._on_picked)
        for chosen in (self._run.activated, self._split.activated, self._rule.box.currentIndexChanged,
                       self._rule.iou.valueChanged):  # fmt: skip
            chosen.connect(lambda _: self._on_asked_otherwise())
        give_keys_back(self._rule.iou, self.setFocus)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Run", self._run)
        form.addRow("Cases", self._split)
        self._rule.add_to(form)
        self.column.addLayout(form)
        self._stop = button("Stop", self._on_stop, "Leave it")
        self._start = button(
            "Evaluate", self.evaluate, "Match by this rule, with 95 % intervals over patients"
        )
        buttons = row(self._start, self._stop)
        buttons.setStretch(0, 1)
        self.column.addLayout(buttons)

    @property
    def measure(self) -> Measure:
        """The rule that is chosen."""
        return self._rule.measure

    def choose_rule(self, name: str, iou: float = 0.5) -> None:
        """Choose a rule by its name."""
        self._rule.box.setCurrentIndex(self._rule.box.findData(name))
        self._rule.iou.setValue(iou)

    def evaluate(self) -> None:
        """Match and resample in the background."""
        project, run_id = self.session.project, self._run.currentData()
        if project is None or not run_id:
            self.summary.setText("There is no run yet: run a model first.")
            return
        split, measure = self._chosen_split, self.measure
        name = f"{self._run.currentText()}, {self._split.currentText()}"

        def work(on_progress: Callable[[int, int], None], stop: Callable[[], None]) -> RunFigures:
            stop()
            return run_figures(
                project, run_id, split, measure, reader=project.reader, on_progress=on_progress
            )

        def done(figures: RunFigures) -> None:
            self._show(Evaluated(figures, name, split, measure))

        self.summary.setText("Evaluating …")
        self._task.start(work, on_done=done, on_step=self._on_step, on_error=self._explain)
        self._show_state()

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _chosen_split(self) -> str:
        return "test" if "test" in self._split.currentText() else "train"

    def _fill_runs(self) -> None:
        self.readers_page.fill()
        self.pages.setTabVisible(self.pages.indexOf(self.readers_page), self.readers_page.is_needed)
        self.controller.fill_runs(self._run)
        self._offer_what_there_is()

    def _offer_what_there_is(self) -> None:
        """Choose cases that the newest run is done with, until somebody has chosen."""
        splits = self.controller.run_splits.get(str(self._run.itemData(0)), frozenset())
        if self._is_chosen or self._shown is not None or self._task.is_running or not splits:
            return
        self._run.setCurrentIndex(0)
        self._split.setCurrentText(SPLITS["train" not in splits])

    def _on_picked(self, _: int) -> None:
        self._is_chosen = True

    def _on_project(self) -> None:
        self._is_chosen = False
        self._forget()

    def _forget(self) -> None:
        self._task.cancel()
        self._clear(self.measure.in_words() + ".")

    def _clear(self, text: str) -> None:
        """Show no figures, and say why."""
        self._shown = None
        for page in (self.curve_page, self.strata_page, self.classes_page):
            page.clear()
        self.summary.setText(text)
        self._show_state()

    def _on_asked_otherwise(self) -> None:
        """Take figures away that are no answer to what is chosen now: they would be taken for one."""
        shown, asked = self._shown, (self._run.currentData(), self._chosen_split, self.measure)
        if shown is None or (shown.run_id, shown.split, shown.measure) != asked:
            self._forget()

    def _show(self, shown: Evaluated) -> None:
        self._shown = shown
        self.summary.setText(_in_words(shown.figures))
        self.curve_page.show_run(shown)
        for page in (self.strata_page, self.classes_page):
            page.show_run(shown, self.curve_page.fp_per_scan)
        self._show_state()

    def _follow_point(self) -> None:
        for page in (self.strata_page, self.classes_page):
            page.set_point(self.curve_page.fp_per_scan)

    def _on_step(self, done: int, total: int) -> None:
        self.summary.setText(f"Evaluating … {done} of {total}")

    def _on_stop(self) -> None:
        self._task.cancel()
        self.summary.setText("Stopped.")
        self._show_state()

    def _explain(self, error: Exception) -> None:
        code = getattr(error, "code", "")
        reason = (
            f"This run is not done with any of the {self._split.currentText()}: run the model on them first."
        )
        if code != "cancelled":
            self._clear(reason if code == "no-cases" else in_words(error))
        self._show_state()

    def _show_state(self) -> None:
        self._start.setEnabled(not self._task.is_running)
        self._stop.setVisible(self._task.is_running)
        self._save.setEnabled(self._shown is not None and self.pages.currentWidget() is not self.readers_page)

    def _ask_save(self) -> None:
        page: Any = self.pages.currentWidget()
        usual = f"{page.plot_name}.svg"
        name, _ = QFileDialog.getSaveFileName(self, "Save the plot", usual, "Pictures (*.svg *.png)")
        if name:
            self.save_plot(Path(name))

    def save_plot(self, path: Path) -> None:
        """Write the plot that is shown as a new file, PNG or SVG by its name."""
        page: Any = self.pages.currentWidget()
        drawing: Callable[[], Figure] | None = page.drawing()
        if drawing is not None:
            told = partial(self.session.told.emit, f"saved: {path.name}")
            self.controller.background.run(
                "plot", lambda: save_figure(drawing(), path), on_done=lambda _: told()
            )


def _in_words(figures: RunFigures) -> str:
    """Return the figures of a run as a sentence."""
    report, table = figures.report, figures.report.match
    counts, patients = table.counts, len(set(figures.run.groups.values()))
    where = f"{len(table.cases):,} scans of {patients:,} patients"
    if not table.n_findings:
        return f"There is no finding in {where}, so there is no sensitivity; {counts['fp']:,} candidates hit none."
    low, high = report.intervals.cpm if report.intervals is not None else (np.nan, np.nan)
    area, ends = figures.recall.average_precision, figures.recall_band.average_precision
    return (
        f"CPM {report.curve.cpm:.3f} (95 % interval {low:.3f} to {high:.3f}), average precision {area:.3f} "
        f"({ends[0]:.3f} to {ends[1]:.3f}) over {where}: {table.n_findings:,} findings as corrected, "
        f"{counts['tp']:,} of them hit at some score; {counts['fp']:,} candidates hit none."
    )
