"""The figures of a run by stratum: where is it worse? Each row is a click away from its errors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.reports.plots import Series, strata_figure
from napari_medlab.reports.run_strata import StratumFigures, strata_of, stratifications
from napari_medlab.widgets.panels.evaluate_errors import open_review
from napari_medlab.widgets.panels.panel import chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.panels.evaluate_errors import Evaluated

__all__ = ["StrataPage", "errors_of"]

COLUMNS = ("Stratum", "n", "Sens.", "95 %", "FP/scan")
EXPLAINED = "Sensitivity at the operating point, of n findings. Choose a row: the queue lists its errors."


class StrataPage(QWidget):
    """Lists strata of one kind: sizes, classes, or any field of the cases."""

    plot_name = "strata"

    def __init__(self, controller: Controller, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._shown: Evaluated | None = None
        self._fp_per_scan = 1.0
        self._strata: list[StratumFigures] = []
        self._by = chooser()
        self._by.setToolTip(
            "By what: the size of findings, their class, or a field of the cases such as site or fold"
        )
        self._by.activated.connect(lambda _: self._find())
        self.text = note(EXPLAINED)
        self.table = RowsTable(COLUMNS, stretch=0)
        self.table.rowChosen.connect(self._choose)
        self.table.setMinimumHeight(9 * self.table.verticalHeader().defaultSectionSize())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        by = row(QLabel("By"), self._by)
        by.setStretch(1, 1)
        column.addLayout(by)
        column.addWidget(self.text)
        column.addWidget(self.table, stretch=1)

    def show_run(self, shown: Evaluated, fp_per_scan: float) -> None:
        """Show the strata of a run at an operating point."""
        self._shown, self._fp_per_scan = shown, fp_per_scan
        chosen = self._by.currentText()
        self._by.clear()
        self._by.addItems(stratifications(shown.figures.run))
        self._by.setCurrentIndex(max(self._by.findText(chosen), 0))
        self._find()

    def set_point(self, fp_per_scan: float) -> None:
        """Go to another operating point."""
        self._fp_per_scan = fp_per_scan
        self._find()

    def clear(self) -> None:
        """Show no run."""
        self._shown, self._strata = None, []
        self._by.clear()
        self.table.set_rows([])
        self.text.setText(EXPLAINED)

    def drawing(self) -> Callable[[], Figure] | None:
        """Return what draws the strata that are shown as a figure, in any thread."""
        if self._shown is None or not self._strata:
            return None
        series = Series(self._shown.name, [stratum.estimate for stratum in self._strata])
        title = f"By {self._by.currentText()}, at {self._fp_per_scan:.3g} false positives per scan"
        return partial(strata_figure, [series], title)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        shown = self._shown
        if shown is None:
            return
        threshold = shown.figures.report.curve.threshold_at(self._fp_per_scan)
        work = partial(
            strata_of, shown.figures.run, self._by.currentText(), threshold, shown.measure.resampling
        )
        self._controller.background.run("strata", work, on_done=self._show, on_error=self._explain)

    def _show(self, strata: list[StratumFigures]) -> None:
        self._strata = strata
        rows = []
        for stratum in strata:
            low, high = stratum.interval
            known = np.isfinite(stratum.sensitivity)
            rows.append((
                stratum.name, stratum.findings, stratum.sensitivity if known else None,
                f"{low:.2f}–{high:.2f}" if known and np.isfinite(low) else "",
                stratum.fp_per_scan if np.isfinite(stratum.fp_per_scan) else None,
            ))  # fmt: skip
        tips = [
            f"{stratum.name}: {stratum.findings:,} findings in {stratum.cases:,} cases" for stratum in strata
        ]
        self.table.set_rows(rows, tips=tips)
        self.table.setColumnHidden(
            len(COLUMNS) - 1, not any(np.isfinite(stratum.fp_per_scan) for stratum in strata)
        )
        self.text.setText(EXPLAINED)

    def _explain(self, error: Exception) -> None:
        self.table.set_rows([])
        self.text.setText(in_words(error))

    def _choose(self, number: int) -> None:
        if self._shown is not None:
            open_review(self._controller, self._shown, errors_of(self._strata[number]), self._fp_per_scan)


def errors_of(stratum: StratumFigures) -> QueueFilter:
    """Return the filter for the errors of a stratum: of its cases, or of its findings where it divides these."""
    if stratum.is_of_cases:
        return QueueFilter(case_ids=stratum.case_ids)
    return QueueFilter(object_ids=stratum.finding_ids)
