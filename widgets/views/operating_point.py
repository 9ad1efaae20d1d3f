"""The operating point as a curve to drag along: FROC or precision-recall, by the reference as given and as corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes

if TYPE_CHECKING:
    from napari_medlab.widgets.session import Figures, ReviewData

__all__ = ["FROC_AXES", "OperatingPoint"]

FROC_AXES = PlotAxes("false positives per scan", "sensitivity", (0.125, 0.25, 0.5, 1, 2, 4, 8), is_log=True)
RECALL_AXES = PlotAxes("recall (sensitivity)", "precision", (0.0, 0.25, 0.5, 0.75, 1.0))
POINTS = 120
"""So many points of a curve are drawn."""
TITLES = ("FROC", "PR")
NARROWEST = 60
"""Pixels: the panel has to fit a narrow dock."""


class OperatingPoint(QWidget):
    """Shows the curve of a run and the point on it at which its errors are looked at.

    Signals
    -------
    fpPerScanChosen(float)
        The reader chose how many false positives per scan are allowed, by dragging or by typing; while the mouse is
        dragged, only the latest place is told once there is time for it.
    """

    fpPerScanChosen = Signal(float)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._review: ReviewData | None = None
        self._shown = self._dragged = 1.0
        self._spin = QDoubleSpinBox()
        self._spin.setRange(0.01, 100.0)
        self._spin.setDecimals(3)
        self._spin.setKeyboardTracking(False)
        self._spin.setMinimumWidth(NARROWEST)
        self._spin.setToolTip("How many false positives per scan are allowed: the operating point")
        self._spin.valueChanged.connect(self.fpPerScanChosen)
        give_keys_back(self._spin, self.setFocus)
        self._kind = QPushButton(TITLES[0])
        self._kind.setCheckable(True)
        self._kind.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._kind.setToolTip("FROC, or precision against recall")
        self._kind.toggled.connect(self._on_kind)
        self.curve = CurveView(FROC_AXES)
        self.curve.setToolTip("Curve of the training cases; drag along it to move the operating point")
        self.curve.setMaximumHeight(190)
        self.curve.markerDragged.connect(self._on_drag)
        top = QHBoxLayout()
        top.setSpacing(4)
        top.addWidget(QLabel("FP per scan ≤"))
        top.addWidget(self._spin, stretch=1)
        top.addWidget(self._kind)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(top)
        column.addWidget(self.curve)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(lambda: self.fpPerScanChosen.emit(self._dragged))

    def show_curves(self, review: ReviewData | None, fp_per_scan: float) -> None:
        """Draw the curves of a run, and the marker at an operating point."""
        self._review, self._shown = review, fp_per_scan
        self._spin.blockSignals(True)
        self._spin.setValue(fp_per_scan)
        self._spin.blockSignals(False)
        is_recall = self._kind.isChecked()
        self.curve.set_axes(RECALL_AXES if is_recall else FROC_AXES)
        if review is None or review.given.curve.n_findings == 0:
            self.curve.set_lines()
            self.curve.set_marker(None)
            return
        both = [(review.given, "as given"), (review.corrected, "as corrected")]
        shown = both if review.corrected is not review.given else [(review.given, "")]
        self.curve.set_lines(*[_line(figures, name, is_recall=is_recall) for figures, name in shown])
        at = float(review.given.curve.sensitivity_at(fp_per_scan)) if is_recall else fp_per_scan
        self.curve.set_marker(at)

    def _on_kind(self, is_recall: bool) -> None:
        self._kind.setText(TITLES[int(is_recall)])
        self.show_curves(self._review, self._shown)

    def _on_drag(self, x: float) -> None:
        if self._review is None:
            return
        self._dragged = x
        if self._kind.isChecked():
            threshold = self._review.given.precision_recall.threshold_at(x)
            curve = self._review.given.curve
            last = int(np.searchsorted(-curve.thresholds, -threshold, side="right")) - 1
            reached = float(curve.fps_per_scan[last]) if last >= 0 else 0.0
            self._dragged = max(reached, self._spin.minimum())
        self.curve.set_marker(x)
        if not self._timer.isActive():
            self._timer.start(0)


def _line(figures: Figures, name: str, *, is_recall: bool) -> Line:
    if is_recall:
        x = np.linspace(0, 1, POINTS)
        return Line(x, figures.precision_recall.precision_at(x), name)
    x = np.geomspace(FROC_AXES.x_ticks[0], FROC_AXES.x_ticks[-1], POINTS)
    return Line(x, figures.curve.sensitivity_at(x), name)
