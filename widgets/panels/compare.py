"""Two runs side by side: what was fixed, what broke; every row opens at its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QFormLayout

from napari_medlab.models.workflows.judge import compare_runs
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note
from napari_medlab.widgets.panels.review import FROC_AXES
from napari_medlab.widgets.views.curve import CurveView, Line
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.evaluation import Comparison

__all__ = ["ComparePanel"]

KINDS = {
    "fixed": ("✓", "fixed", "#009E73"),
    "regressed": ("✗", "broken", "#D55E00"),
    "still_missed": ("◆", "still missed", "#56B4E9"),
    "new_false_positive": ("■", "new false positive", "#E69F00"),
    "removed_false_positive": ("□", "removed false positive", "#999999"),
}


@dataclass(frozen=True)
class _Place:
    """Where a row of the table leads."""

    case_id: str
    centre: tuple[float, ...]
    text: str


class ComparePanel(Panel):
    """Compares two runs on the training or the frozen test cases."""

    title = "Compare"

    def build(self) -> None:
        """Make the choosers, the curves and the table."""
        self._a, self._b, self._split = chooser(), chooser(), chooser()
        self._split.addItems(["frozen test cases", "training cases"])
        form = QFormLayout()
        form.addRow("Before", self._a)
        form.addRow("After", self._b)
        form.addRow("Cases", self._split)
        self.column.addLayout(form)
        self.column.addWidget(button("Compare", self.compare, "Each at its own threshold of one false positive per scan"))
        self.summary = note()
        self.column.addWidget(self.summary)
        self._curve = CurveView(FROC_AXES)
        self.column.addWidget(self._curve)
        self.table = RowsTable(("", "What", "Case", "Score"))
        self.table.rowChosen.connect(self._on_row_chosen)
        self.column.addWidget(self.table, stretch=1)
        self.report_button = button("Write report.html", self.write_report, "One file that can be mailed and kept")
        self.report_button.setEnabled(False)
        self.column.addWidget(self.report_button)
        self._places: list[_Place] = []
        self._comparison: Comparison | None = None
        self.controller.models.bundles_changed.connect(lambda: self.redraw(self._fill_runs))
        self.controller.models.judged.connect(lambda judgement, _: self._show(judgement.comparison))
        self.redraw_on(self.session.review_changed, self._fill_runs)
        self.redraw_on(self.session.cases_changed, self._fill_runs)
        self._fill_runs()

    def compare(self) -> None:
        """Compare in the background."""
        project, a, b = self.session.project, self._a.currentData(), self._b.currentData()
        if project is None or not a or not b or a == b:
            self.summary.setText("Choose two different runs.")
            return
        split = "test" if "test" in self._split.currentText() else "train"
        self.summary.setText("Comparing …")
        self.controller.background.run("compare", compare_runs, project, a, b, split, on_done=self._show,
                                       on_error=lambda error: self.summary.setText(str(error)))  # fmt: skip

    def write_report(self, folder: Path | None = None) -> None:
        """Write the comparison as one self-contained page, into the project's exports or the given folder."""
        from napari_medlab.reports.comparison import write_comparison_report

        project, comparison = self.session.project, self._comparison
        if project is None or comparison is None:
            return
        target = folder or project.folder / "exports"
        names = (self._a.currentText(), self._b.currentText())
        self.controller.background.run("report", write_comparison_report, project, comparison, names, target,
                                       on_done=lambda path: self.summary.setText(f"Written: {path}"))  # fmt: skip

    def _fill_runs(self) -> None:
        runs = self.controller.runs
        for box, default in ((self._a, -2), (self._b, -1)):
            chosen = box.currentData()
            box.clear()
            for run in runs:
                bundle = self.controller.models.bundle(run.bundle_hash)
                box.addItem(bundle.title if bundle else run.bundle_hash[:8] or "imported", run.run_id)
            at = box.findData(chosen)
            box.setCurrentIndex(at if at >= 0 and len(runs) > 2 else max(len(runs) + default, 0))

    def _show(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self.report_button.setEnabled(True)
        low, high = comparison.difference_interval
        self.summary.setText(
            f"CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}: difference {comparison.difference:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}, p = {comparison.p_value:.3f}) over {comparison.n_cases} scans."
        )
        x = np.geomspace(0.125, 8, 60)
        self._curve.set_lines(*(
            Line(x, each.curve.sensitivity_at(x), name)
            for each, name in ((comparison.a, "before"), (comparison.b, "after"))
        ))  # fmt: skip
        self._fill_table(comparison)

    def _fill_table(self, comparison: Comparison) -> None:
        names = {case.case_id: case.name for case in self.controller.cases}
        rows, colours, self._places = [], [], []
        for kind, (sign, text, colour) in KINDS.items():
            for change in getattr(comparison.transitions, kind):
                score = getattr(change, "score", None)
                score = change.score_b if score is None else score
                rows.append((sign, text, names.get(change.case_id, ""), float(score) if np.isfinite(score) else None))
                colours.append(colour)
                self._places.append(_Place(change.case_id, change.centre, text))
        self.table.set_rows(rows, colours)

    def _on_row_chosen(self, number: int) -> None:
        place = self._places[number]
        self.controller.display.visit(place.case_id, place.centre, place.text)
