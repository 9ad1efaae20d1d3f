"""A small plot: labelled axes, several lines with their intervals, and a marker that can be dragged along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_medlab.widgets.palette import CURVES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QPaintEvent

__all__ = ["CurveView", "Line", "PlotAxes"]

CLICK_PX = 4
"""A mouse that was let go no further from where it was pressed did not drag."""
BAND_ALPHA = 55
"""Of 255: lines and other bands have to be seen through it."""


@dataclass(frozen=True)
class Line:
    """One line of a plot.

    Parameters
    ----------
    x, y : float arrays, (n,)
    name : str
        In the legend; empty for none.
    band : float array, (n, 2), optional
        The lower and the upper end of an interval around y; nan where there is none.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    name: str = ""
    band: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class PlotAxes:
    """What the axes mean and where they begin and end.

    Parameters
    ----------
    x_label, y_label : str
        With unit.
    x_ticks, y_ticks : sequences of float
        The first and the last are the ends of the axis.
    is_log : bool
        Whether x is drawn by its logarithm.
    """

    x_label: str
    y_label: str
    x_ticks: tuple[float, ...]
    y_ticks: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    is_log: bool = False


class CurveView(QWidget):
    """Draws lines and, where one is set, a marker on x that follows the mouse.

    Signals
    -------
    markerDragged(float)
        The x value under the mouse while it is dragged.
    pointClicked(float)
        The x value at which the mouse was pressed and let go.
    """

    markerDragged = Signal(float)
    pointClicked = Signal(float)

    def __init__(self, axes: PlotAxes, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._axes = axes
        self._lines: tuple[Line, ...] = ()
        self._marker: float | None = None
        self._pressed_at = QPointF()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setMinimumHeight(150)

    def sizeHint(self) -> QSize:  # noqa: N802 - a name of Qt
        """Return the size at which labels do not collide."""
        return QSize(300, 190)

    def set_lines(self, *lines: Line) -> None:
        """Draw these lines."""
        self._lines = lines
        self.update()

    def set_axes(self, axes: PlotAxes) -> None:
        """Change what the axes span."""
        self._axes = axes
        self.update()

    def set_marker(self, x: float | None) -> None:
        """Put the marker at x, or take it away; says nothing to listeners."""
        self._marker = x
        self.setCursor(Qt.CursorShape.ArrowCursor if x is None else Qt.CursorShape.SizeHorCursor)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Move the marker to the mouse."""
        self._pressed_at = event.position()
        self._drag(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Move the marker along with the mouse."""
        self._drag(event)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Tell where the mouse was pressed and let go without being dragged."""
        moved = (event.position() - self._pressed_at).manhattanLength()
        if self._marker is not None and event.button() == Qt.MouseButton.LeftButton and moved <= CLICK_PX:
            self.pointClicked.emit(self._value_at(event.position()))

    def _drag(self, event: QMouseEvent) -> None:
        if self._marker is not None and event.buttons() & Qt.MouseButton.LeftButton:
            self.markerDragged.emit(self._value_at(event.position()))

    def _value_at(self, position: QPointF) -> float:
        """Return the x value under a position of the widget."""
        plot = self._plot_area()
        share = float(np.clip((position.x() - plot.left()) / plot.width(), 0, 1))
        low, high = self._x_scale(self._axes.x_ticks[0]), self._x_scale(self._axes.x_ticks[-1])
        value = low + share * (high - low)
        return float(2**value) if self._axes.is_log else float(value)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw grid, labels, lines, legend and marker in the colours of the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().windowText().color()
        faint = QColor(text)
        faint.setAlpha(60)
        self._paint_grid(painter, text, faint)
        painter.setClipRect(self._plot_area().adjusted(-1, -1, 1, 1))
        for number, line in enumerate(self._lines):
            self._paint_band(painter, number, line)
        for number, line in enumerate(self._lines):
            # lines that lie on one another stay told apart
            style = Qt.PenStyle.DashLine if number % 2 else Qt.PenStyle.SolidLine
            painter.setPen(QPen(QColor(CURVES[number % len(CURVES)]), 2, style))
            painter.drawPolyline(self._polygon(line))
        if self._marker is not None:
            self._paint_marker(painter, text)
        painter.setClipping(False)
        self._paint_legend(painter, text)
        painter.end()

    def _plot_area(self) -> QRectF:
        metrics = self.fontMetrics()
        left = metrics.horizontalAdvance("0.000") + metrics.height() + 6
        bottom = 2 * metrics.height() + 6
        return QRectF(left, 8, max(self.width() - left - 14, 10), max(self.height() - bottom - 12, 10))

    def _x_scale(self, value: float) -> float:
        return float(np.log2(max(value, 1e-12))) if self._axes.is_log else value

    def _to_pixels(self, x: float, y: float) -> QPointF:
        plot, axes = self._plot_area(), self._axes
        low, high = self._x_scale(axes.x_ticks[0]), self._x_scale(axes.x_ticks[-1])
        across = (self._x_scale(x) - low) / (high - low)
        up = (y - axes.y_ticks[0]) / (axes.y_ticks[-1] - axes.y_ticks[0])
        return QPointF(plot.left() + across * plot.width(), plot.bottom() - up * plot.height())

    def _polygon(self, line: Line) -> QPolygonF:
        return QPolygonF([self._to_pixels(float(x), float(y)) for x, y in zip(line.x, line.y, strict=True)])

    def _paint_band(self, painter: QPainter, number: int, line: Line) -> None:
        """Draw the interval around a line, as far as there is one."""
        if line.band is None:
            return
        known = np.isfinite(line.band).all(axis=1)
        x, low, high = line.x[known], line.band[known, 0], line.band[known, 1]
        there = [self._to_pixels(float(a), float(b)) for a, b in zip(x, low, strict=True)]
        back = [self._to_pixels(float(a), float(b)) for a, b in zip(x[::-1], high[::-1], strict=True)]
        shade = QColor(CURVES[number % len(CURVES)])
        shade.setAlpha(BAND_ALPHA)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(shade)
        painter.drawPolygon(QPolygonF([*there, *back]))
        painter.setBrush(Qt.BrushStyle.NoBrush)

    def _paint_grid(self, painter: QPainter, text: QColor, faint: QColor) -> None:
        plot, height = self._plot_area(), self.fontMetrics().height()
        for x in self._axes.x_ticks:
            at = self._to_pixels(x, self._axes.y_ticks[0])
            painter.setPen(faint)
            painter.drawLine(QPointF(at.x(), plot.top()), at)
            painter.setPen(text)
            painter.drawText(
                QRectF(at.x() - 30, plot.bottom() + 5, 60, height),
                _CENTRED,
                _short(x, is_log=self._axes.is_log),
            )
        for y in self._axes.y_ticks:
            at = self._to_pixels(self._axes.x_ticks[0], y)
            painter.setPen(faint)
            painter.drawLine(at, QPointF(plot.right(), at.y()))
            painter.setPen(text)
            box = QRectF(height + 2, at.y() - height / 2, plot.left() - height - 6, height)
            painter.drawText(box, _RIGHT, _short(y, is_log=False))
        painter.drawText(QRectF(plot.left(), plot.bottom() + height + 2, plot.width(), height + 4), _CENTRED,
                         self._axes.x_label)  # fmt: skip
        painter.save()
        painter.translate(0, plot.bottom())
        painter.rotate(-90)
        painter.drawText(QRectF(0, 0, plot.height(), height), _CENTRED, self._axes.y_label)
        painter.restore()

    def _paint_marker(self, painter: QPainter, text: QColor) -> None:
        marker = float(np.clip(self._marker or 0.0, self._axes.x_ticks[0], self._axes.x_ticks[-1]))
        top = self._to_pixels(marker, self._axes.y_ticks[-1])
        bottom = self._to_pixels(marker, self._axes.y_ticks[0])
        painter.setPen(QPen(text, 1.5, Qt.PenStyle.DashLine))
        painter.drawLine(top, bottom)
        if self._lines and len(self._lines[0].x):
            y = float(np.interp(marker, self._lines[0].x, self._lines[0].y))
            painter.setBrush(QColor(CURVES[0]))
            painter.setPen(QPen(text, 1.5))
            painter.drawEllipse(self._to_pixels(marker, y), 5, 5)

    def _paint_legend(self, painter: QPainter, text: QColor) -> None:
        plot, height = self._plot_area(), self.fontMetrics().height()
        named = [(number, line.name) for number, line in enumerate(self._lines) if line.name]
        for place, (number, name) in enumerate(named):
            y = plot.top() + 4 + place * height
            painter.setPen(QPen(QColor(CURVES[number % len(CURVES)]), 3))
            painter.drawLine(
                QPointF(plot.left() + 6, y + height / 2), QPointF(plot.left() + 22, y + height / 2)
            )
            painter.setPen(text)
            painter.drawText(QRectF(plot.left() + 28, y, plot.width() - 30, height), _LEFT, name)


_CENTRED = int(Qt.AlignmentFlag.AlignCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


def _short(value: float, *, is_log: bool) -> str:
    """Return the label of a tick; steps of a logarithmic axis are fractions."""
    fractions = {0.125: "1/8", 0.25: "1/4", 0.5: "1/2"} if is_log else {}
    return fractions.get(value, f"{value:g}")
