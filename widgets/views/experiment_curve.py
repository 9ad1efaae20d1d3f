"""The figure of every model against its round or what it rests on: a dot with its interval each, one line of descent joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen

from napari_medlab.widgets.palette import CURVES
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QMouseEvent, QPaintEvent
    from qtpy.QtWidgets import QWidget

__all__ = ["Dot", "ExperimentCurve", "ticks_over"]

RADIUS, CHOSEN_RADIUS, REACH_PX = 4.0, 6.0, 14.0
STEPS = (1, 2, 5)
WIDEST_STEPS = 5


@dataclass(frozen=True)
class Dot:
    """A figure at a place on x; the ends of its interval are None where it has none."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class ExperimentCurve(CurveView):
    """Draws dots, of which one is chosen, and a line through some of them.

    Signals
    -------
    dotChosen(int)
        The reader clicked at or near a dot.
    """

    dotChosen = Signal(int)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(PlotAxes("round of training", "figure", (0.0, 1.0)), parent=parent)
        self._dots: tuple[Dot, ...] = ()
        self._chosen = -1

    def set_dots(self, dots: Sequence[Dot], labels: tuple[str, str], joined: Sequence[int] = ()) -> None:
        """Show dots, and join some of them in the given order; ``labels`` are those of x and y."""
        self._dots = tuple(dots)
        ends = [value for dot in dots for value in (dot.y, dot.low, dot.high) if value is not None]
        across, up = ticks_over([dot.x for dot in dots], whole=True), ticks_over(ends)
        self.set_axes(PlotAxes(*labels, across, up))
        places = [self._dots[number] for number in joined]
        line = Line(np.array([dot.x for dot in places]), np.array([dot.y for dot in places]))
        self.set_lines(*([line] if len(places) > 1 else []))

    def choose(self, number: int) -> None:
        """Mark a dot as the chosen one, without telling listeners; -1 for none."""
        self._chosen = number
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Choose the dot under the mouse."""
        at = event.position()
        distances = [(self._to_pixels(dot.x, dot.y) - at).manhattanLength() for dot in self._dots]
        if distances and min(distances) <= REACH_PX:
            self.dotChosen.emit(int(np.argmin(distances)))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw the dots over what any curve has."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour, text = QColor(CURVES[0]), self.palette().windowText().color()
        for number, dot in enumerate(self._dots):
            painter.setPen(QPen(colour, 1.5))
            if dot.low is not None and dot.high is not None:
                painter.drawLine(self._to_pixels(dot.x, dot.low), self._to_pixels(dot.x, dot.high))
            is_chosen = number == self._chosen
            painter.setPen(QPen(text, 2) if is_chosen else Qt.PenStyle.NoPen)
            painter.setBrush(colour)
            radius = CHOSEN_RADIUS if is_chosen else RADIUS
            painter.drawEllipse(QPointF(self._to_pixels(dot.x, dot.y)), radius, radius)
        painter.end()


def ticks_over(values: Sequence[float], *, whole: bool = False) -> tuple[float, ...]:
    """Return round numbers, at most six steps, of which the first and the last enclose all values; ``whole`` for counts."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if whole:
        low, high = min(low, 0.0), max(high, 1.0)
    elif high - low < 0.02:
        top = min(high + 0.01, 1.0) if high <= 1.0 else high + 0.01  # no share is above 1
        low, high = min(low - 0.01, top - 0.02), top
    rough = (high - low) / WIDEST_STEPS
    scale = 10.0 ** np.floor(np.log10(rough))
    step = next((scale * each for each in (*STEPS, 10) if scale * each >= rough * (1 - 1e-9)), scale * 10)
    step = max(step, 1.0) if whole else step
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return tuple(float(round(n * step, 9)) for n in np.arange(first, last + 1))
