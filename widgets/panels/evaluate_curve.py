"""The curve of a run, as FROC or as precision against recall, and what it is worth at any point of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medlab.evaluation import FP_POINTS
from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.reports.plots import (
    BAND_POINTS,
    RECALLS,
    FrocLine,
    RecallLine,
    froc_figure,
    recall_figure,
    recalls_of,
)
from napari_medlab.reports.run_figures import point_figures
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.panels.evaluate_errors import open_review
from napari_medlab.widgets.panels.panel import button, note, row
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes
from napari_medlab.widgets.views.operating_point import FROC_AXES
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from napari_medlab.reports.run_figures import PointFigures, RunFigures
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.panels.evaluate_errors import Evaluated

__all__ = ["RECALL_AXES", "CurvePage", "froc_line", "in_words", "point_controls", "recall_line"]

RECALL_AXES = PlotAxes("recall (share of findings)", "precision", (0.0, 0.25, 0.5, 0.75, 1.0))
LEAST_FP, MOST_FP = 0.01, 10_000.0
USUAL_POINT = 1.0
NARROWEST = 60
"""Pixels: the panel has to fit a narrow dock."""
REST_MS = 120
"""The interval at a point is found once the point rests so long."""


def point_controls(
    about: str, on_point: Callable[[float], None], on_kind: Callable[[bool], None], leave: Callable[[], None]
) -> tuple[QDoubleSpinBox, QPushButton]:
    """Return the box for an operating point, which says what it is about, and the button that changes the kind of curve.

    ``leave`` takes the keyboard back once a number was typed.
    """
    spin = QDoubleSpinBox()
    spin.setDecimals(3)
    spin.setMinimumWidth(NARROWEST)
    spin.setRange(LEAST_FP, MOST_FP)
    spin.setValue(USUAL_POINT)
    spin.setKeyboardTracking(False)
    spin.setToolTip(about)
    spin.valueChanged.connect(on_point)
    give_keys_back(spin, leave)
    kind = QPushButton("FROC")
    kind.setCheckable(True)
    kind.setMinimumWidth(NARROWEST - 12)
    kind.setToolTip("FROC, or precision against recall")
    kind.toggled.connect(on_kind)
    return spin, kind


class CurvePage(QWidget):
    """Shows both curves in turn, the operating point on them, and the seven points of LUNA16.

    Signals
    -------
    pointChosen(float)
        The reader chose how many false positives per scan are allowed.
    """

    pointChosen = Signal(float)

    def __init__(self, controller: Controller, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._shown: Evaluated | None = None
        self.fp_per_scan = USUAL_POINT
        self._resting = QTimer(self)
        self._resting.setSingleShot(True)
        self._resting.setInterval(REST_MS)
        self._resting.timeout.connect(self._measure)
        self._spin, self._kind = point_controls(
            "Any number of false positives per scan: the sensitivity there, with its interval",
            self.set_point, self._on_kind, self.setFocus,
        )  # fmt: skip
        self.curve = CurveView(FROC_AXES)
        self.curve.setToolTip("Drag the point along; click to see its errors in Review")
        self.curve.markerDragged.connect(lambda x: self.set_point(self._fp_at(x)))
        self.curve.pointClicked.connect(lambda x: self._open(self._fp_at(x)))
        self.point_text = note()
        self.table = RowsTable(("FP / scan", "Sensitivity", "95 % interval"), stretch=2)
        self.table.setToolTip("Choose a row: it becomes the operating point")
        self.table.rowChosen.connect(lambda number: self.set_point(FP_POINTS[number]))
        self.table.setMinimumHeight(
            (len(FP_POINTS) + 1) * self.table.verticalHeader().defaultSectionSize() + 8
        )
        self.review_button = button("Review the errors at this point", lambda: self._open(self.fp_per_scan),
                                    "The operating point of the review becomes this one")  # fmt: skip
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addLayout(row(QLabel("FP per scan ≤"), self._spin, self._kind))
        for widget in (self.curve, self.point_text, self.review_button, self.table):
            column.addWidget(widget)
        column.addStretch(1)
        self.clear()

    def show_run(self, shown: Evaluated) -> None:
        """Show the curves of a run."""
        self._shown = shown
        self.review_button.setEnabled(shown.split == "train")
        report = shown.figures.report
        rows = []
        for point in FP_POINTS:
            low, high = (
                report.intervals.sensitivity[point] if report.intervals is not None else (np.nan, np.nan)
            )
            rows.append((f"{point:g}", float(report.curve.sensitivity_at(point)), f"{low:.2f} to {high:.2f}"))
        self.table.set_rows(rows)
        self._draw()
        self._measure()

    def clear(self) -> None:
        """Show no run."""
        self._shown = None
        self.table.set_rows([])
        self.curve.set_lines()
        self.curve.set_marker(None)
        self.point_text.setText("")
        self.review_button.setEnabled(False)

    def set_point(self, fp_per_scan: float) -> None:
        """Go to another operating point."""
        fp_per_scan = float(np.clip(fp_per_scan, LEAST_FP, MOST_FP))
        if fp_per_scan == self.fp_per_scan:
            return
        self.fp_per_scan = fp_per_scan
        self._spin.blockSignals(True)
        self._spin.setValue(fp_per_scan)
        self._spin.blockSignals(False)
        self._place_marker()
        self._resting.start()
        self.pointChosen.emit(fp_per_scan)

    def drawing(self) -> Callable[[], Figure] | None:
        """Return what draws the curve that is shown as a figure, in any thread."""
        shown = self._shown
        if shown is None:
            return None
        figures, name = shown.figures, shown.name
        if self._kind.isChecked():
            return lambda: recall_figure([RecallLine(name, figures.recall, figures.recall_band)])
        return lambda: froc_figure([FrocLine(name, figures.report.curve, figures.band)])

    @property
    def plot_name(self) -> str:
        """What a file of the plot is called."""
        return "precision-recall" if self._kind.isChecked() else "froc"

    # -- inside ---------------------------------------------------------------------------------------------------

    def _on_kind(self, is_recall: bool) -> None:
        self._kind.setText("PR" if is_recall else "FROC")
        self.curve.set_axes(RECALL_AXES if is_recall else FROC_AXES)
        self._draw()

    def _draw(self) -> None:
        shown = self._shown
        if shown is None or shown.figures.report.curve.n_findings == 0:
            self.curve.set_lines()
            self.curve.set_marker(None)
            return
        line = recall_line if self._kind.isChecked() else froc_line
        self.curve.set_lines(line(shown.figures))
        self._place_marker()

    def _place_marker(self) -> None:
        if self._shown is not None and self._shown.figures.report.curve.n_findings:
            curve = self._shown.figures.report.curve
            x = float(curve.sensitivity_at(self.fp_per_scan)) if self._kind.isChecked() else self.fp_per_scan
            self.curve.set_marker(x)

    def _fp_at(self, x: float) -> float:
        """Return the false positives per scan at a point of the axis that is shown."""
        if self._shown is None or not self._kind.isChecked():
            return x
        return fp_at_recall(self._shown.figures, x)

    def _measure(self) -> None:
        """Say what the run is worth at this point, with the interval at just this one."""
        if self._shown is None:
            return
        work = partial(point_figures, self._shown.figures, self.fp_per_scan, self._shown.measure.resampling)
        self._controller.background.run(
            "evaluate point", work, on_done=lambda point: self.point_text.setText(in_words(point))
        )

    def _open(self, fp_per_scan: float) -> None:
        self.set_point(fp_per_scan)
        if self._shown is not None and open_review(
            self._controller, self._shown, QueueFilter(), self.fp_per_scan
        ):
            self._controller.station_asked.emit("Review")


def froc_line(figures: RunFigures, name: str = "") -> Line:
    """Return the FROC of a run with its band."""
    x = np.asarray(BAND_POINTS)
    return Line(
        x, figures.report.curve.sensitivity_at(x), name, np.asarray(list(figures.band.sensitivity.values()))
    )


def recall_line(figures: RunFigures, name: str = "") -> Line:
    """Return precision against recall of a run with its band."""
    x, ends = recalls_of(figures.recall), figures.recall_band.precision
    band = np.column_stack([np.interp(x, RECALLS, ends[:, 0]), np.interp(x, RECALLS, ends[:, 1])])
    return Line(x, figures.recall.precision_at(x), name, band)


def fp_at_recall(figures: RunFigures, recall: float) -> float:
    """Return the false positives per scan of the highest threshold with at least a recall, or of all candidates."""
    threshold, curve = figures.recall.threshold_at(recall), figures.report.curve
    last = int(np.searchsorted(-curve.thresholds, -threshold, side="right")) - 1
    return max(float(curve.fps_per_scan[last]), LEAST_FP)


def in_words(point: PointFigures) -> str:
    """Return the figures at an operating point as a sentence."""
    if not np.isfinite(point.sensitivity):
        return "There is no finding in these cases, so there is no sensitivity."
    low, high = point.interval
    precision = f", precision {point.precision:.2f}" if np.isfinite(point.precision) else ""
    at = f"threshold {point.threshold:.3f}" if np.isfinite(point.threshold) else "no candidate counts"
    return (
        f"Sensitivity {point.sensitivity:.3f} (95 % interval {low:.3f} to {high:.3f}) at {point.fp_per_scan:.3g} false "
        f"positives per scan. At {at}: {point.tp:,} found, {point.fn:,} missed, {point.fp:,} false positives{precision}."
    )
