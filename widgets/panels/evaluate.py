"""The figures of the run under review, with their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qtpy.QtWidgets import QFileDialog, QFormLayout, QVBoxLayout, QWidget

from napari_medlab.evaluation import FP_POINTS, FrocReport, Resampling
from napari_medlab.evaluation.report import report
from napari_medlab.hardcases.errors.reader_agreement import ReaderAgreement, reader_agreement
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.reading import read_review
from napari_medlab.widgets.views.curve import CurveView, Line
from napari_medlab.widgets.views.operating_point import FROC_AXES
from napari_medlab.widgets.views.table import RowsTable

__all__ = ["EvaluatePanel"]


class EvaluatePanel(Panel):
    """Shows FROC, CPM and counts of any run, on training or on frozen test cases."""

    title = "Evaluate"

    def build(self) -> None:
        """Make the choosers, the curve and the table."""
        self._run, self._split = chooser(), chooser()
        self._split.addItems(["training cases", "frozen test cases"])
        form = QFormLayout()
        form.addRow("Run", self._run)
        form.addRow("Cases", self._split)
        self.column.addLayout(form)
        self.column.addWidget(button("Evaluate", self.evaluate, "Match under the LUNA16 rules, with 95 % intervals"))
        self.summary = note("LUNA16 rules: a candidate hits a nodule when its centre lies within the nodule's radius.")
        self.column.addWidget(self.summary)
        self._curve = CurveView(FROC_AXES)
        self.column.addWidget(self._curve)
        self._table = RowsTable(("FP / scan", "Sensitivity", "95 % interval"), stretch=2)
        self.column.addWidget(self._table, stretch=1)
        self._build_readers()
        self._report: FrocReport | None = None
        self._evaluated = ""
        self._save = button("Save the plot…", self._ask_save, "As SVG or PNG")
        self._save.setEnabled(False)
        self.column.addWidget(self._save)
        self.redraw_on(self.session.review_changed, self._fill_runs)
        self.listen(self.session.project_changed, self._forget)
        self.redraw_on(self.session.cases_changed, self._fill_runs)
        self.listen(self.controller.models.bundles_changed, lambda: self.redraw(self._fill_runs))
        self._fill_runs()

    def _build_readers(self) -> None:
        """Make what compares two readers; it is shown where there are two."""
        self._first, self._second = chooser(), chooser()
        self._agreement = note("Verdicts, lesions and outlines of two readers, each as they did them by themselves.")
        self._readers = QWidget()
        column = QVBoxLayout(self._readers)
        column.setContentsMargins(0, 0, 0, 0)
        ask = button("Compare readers", self.compare_readers, "Kappa of verdicts, shared lesions, Dice of outlines")
        column.addLayout(row(self._first, self._second, ask))
        column.addWidget(self._agreement)
        self.column.addWidget(self._readers)

    def compare_readers(self) -> None:
        """Compare two readers in the background."""
        project, run_id = self.session.project, self._run.currentData()
        if project is None or not run_id:
            self._agreement.setText("There is no run yet: readers are compared by what they said about one.")
            return
        readers = (self._first.currentText(), self._second.currentText())
        self._agreement.setText("Comparing …")
        self.controller.background.run(
            "readers", reader_agreement, project, run_id, readers,
            on_done=lambda found: self._agreement.setText(_in_words(found)),
            on_error=lambda error: self._agreement.setText(str(error)),
        )  # fmt: skip

    def _fill_readers(self) -> None:
        names = [name for name in self.controller.readers if name]
        for number, box in enumerate((self._first, self._second)):
            chosen = box.currentText()
            box.clear()
            box.addItems(names)
            box.setCurrentIndex(names.index(chosen) if chosen in names else min(number, len(names) - 1))
        self._readers.setVisible(len(names) > 1)

    def _fill_runs(self) -> None:
        self._fill_readers()
        self.controller.fill_runs(self._run)

    def _forget(self) -> None:
        self._report = None
        self._save.setEnabled(False)
        self._curve.set_lines()
        self._table.set_rows([])

    def evaluate(self) -> None:
        """Match and resample in the background."""
        project, run_id = self.session.project, self._run.currentData()
        if project is None or not run_id:
            self.summary.setText("There is no run yet: run a model first.")
            return
        split = "test" if "test" in self._split.currentText() else "train"

        def work() -> FrocReport:
            groups = {c.case_id: c.patient_key or c.case_id for c in project.cases()}
            return report(read_review(project, run_id, (split,)).corrected.match, Resampling(), groups)

        self._evaluated = f"{self._run.currentText()}, {self._split.currentText()}"
        self.summary.setText("Evaluating …")
        self.controller.background.run("evaluate", work, on_done=self._show, on_error=self._explain)

    def _show(self, shown: FrocReport) -> None:
        self._report = shown
        counts, intervals = shown.match.counts, shown.intervals
        low, high = intervals.cpm if intervals else (np.nan, np.nan)
        self.summary.setText(
            f"CPM {shown.curve.cpm:.3f} (95 % interval {low:.3f} to {high:.3f}) over {len(shown.match.cases)} scans: "
            f"{shown.match.n_findings} findings as corrected, {counts['tp']} of them hit at some score; "
            f"{counts['fp']} candidates hit none."
        )
        x = np.geomspace(0.125, 8, 60)
        self._curve.set_lines(*([Line(x, shown.curve.sensitivity_at(x))] if shown.match.n_findings else []))
        rows = []
        for point in FP_POINTS:
            ends = intervals.sensitivity[point] if intervals else (np.nan, np.nan)
            rows.append((f"{point:g}", float(shown.curve.sensitivity_at(point)), f"{ends[0]:.2f} to {ends[1]:.2f}"))
        self._table.set_rows(rows)
        self._save.setEnabled(True)

    def _explain(self, error: Exception) -> None:
        reason = f"This run is not done with any of the {self._split.currentText()}: run the model on them first."
        self.summary.setText(reason if getattr(error, "code", "") == "no-cases" else str(error))

    def _ask_save(self) -> None:
        from napari_medlab.reports.plots import FrocLine, froc_png, froc_svg

        name, _ = QFileDialog.getSaveFileName(self, "Save the plot", "froc.svg", "Pictures (*.svg *.png)")
        if name and self._report is not None:
            line = FrocLine(self._evaluated, self._report.curve, self._report.intervals)
            is_png = name.endswith(".png")
            Path(name).write_bytes(froc_png([line]) if is_png else froc_svg([line]).encode())


def _in_words(found: ReaderAgreement) -> str:
    """Return the agreement of two readers as sentences."""
    verdicts, lesions, outlines = found.verdicts, found.lesions, found.outlines
    first, second = found.readers
    low, high = verdicts.interval
    said = f"kappa {verdicts.kappa:.2f} (95 % interval {low:.2f} to {high:.2f})" if np.isfinite(verdicts.kappa) else "no kappa"
    drawn = f"mean Dice {outlines.mean:.2f} over {outlines.n} that both drew" if outlines.n else "none that both drew"
    texts = [
        f"Verdicts: {said} on {verdicts.n_objects} objects that both judged.",
        f"Lesions, {lesions.n_cases} scans that both worked on: {first} has {lesions.n_first}, {second} {lesions.n_second}; "
        f"F1 {lesions.f1:.2f}, {lesions.extra_of_first:.2f} and {lesions.extra_of_second:.2f} a scan are one reader's alone.",
        f"Outlines: {drawn}.",
    ]
    return "\n".join(texts)
