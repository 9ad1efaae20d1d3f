"""Two runs side by side: what was fixed, what broke; every row opens at its place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QFormLayout

from napari_medlab.models.workflows.judge import compare_runs
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note
from napari_medlab.widgets.views.curve import CurveView, Line
from napari_medlab.widgets.views.operating_point import FROC_AXES
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.evaluation import Comparison
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement

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
        self._names = ("", "")
        self.listen(self.controller.models.bundles_changed, lambda: self.redraw(self._fill_runs))
        self.listen(self.controller.models.judged, self._on_judged)
        self.listen(self.session.project_changed, self._forget)
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
        shown = partial(self._show, names=(self._a.currentText(), self._b.currentText()), cases=self._split.currentText())
        self.controller.background.run("compare", compare_runs, project, a, b, split, on_done=shown,
                                       on_error=lambda error: self.summary.setText(str(error)))  # fmt: skip

    def write_report(self, folder: Path | None = None) -> None:
        """Write the comparison as one self-contained page, into the project's exports or the given folder."""
        from napari_medlab.reports.comparison import write_comparison_report

        project, comparison = self.session.project, self._comparison
        if project is None or comparison is None:
            return
        target = folder or project.folder / "exports"
        self.controller.background.run("report", write_comparison_report, project, comparison, self._names, target,
                                       on_done=lambda path: self.summary.setText(f"Written: {path}"))  # fmt: skip

    def _fill_runs(self) -> None:
        fresh = self._a.count() == 0
        for box in (self._a, self._b):
            self.controller.fill_runs(box)
        if fresh or self._a.currentData() == self._b.currentData():
            self._a.setCurrentIndex(min(1, self._a.count() - 1))
            self._b.setCurrentIndex(0)

    def _on_judged(self, judgement: Judgement, proposed: Bundle) -> None:
        current = self.controller.models.bundle(self.controller.models.current_hash)
        self._show(judgement.comparison, (current.title if current else "current model", proposed.title), "frozen test cases")

    def _forget(self) -> None:
        self._comparison, self._places = None, []
        self.report_button.setEnabled(False)
        self.table.set_rows([])
        self._curve.set_lines()
        self.summary.setText("")

    def _show(self, comparison: Comparison, names: tuple[str, str], cases: str) -> None:
        # names and figures stay together: the boxes may have moved on
        self._comparison, self._names = comparison, names
        self.report_button.setEnabled(True)
        low, high = comparison.difference_interval
        self.summary.setText(
            f"CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}: difference {comparison.difference:+.3f} "
            f"(95 % interval {low:+.3f} to {high:+.3f}, p = {comparison.p_value:.3f}) over {comparison.n_cases} {cases}."
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
