"""The course of a training: the loss, and the figure on the examples that are held out, beside what the old model reaches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes
from napari_medlab.widgets.views.experiment_curve import ticks_over

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["RetrainCurves"]

SMOOTHED = 12
"""The loss is a running mean over this many steps."""

FIGURES = {
    "dice_mean": "mean Dice",
    "dice": "Dice",
    "cpm": "CPM",
    "auc": "AUC",
    "accuracy": "accuracy",
    "loss": "loss",
}
"""The first of these that the validation gives is drawn."""

HEIGHT = 170


class RetrainCurves(QWidget):
    """Two plots; the second is there where examples are held out."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._losses: dict[int, float] = {}
        self._looks: dict[int, dict[str, Any]] = {}
        self._before: dict[str, float] = {}
        self._steps = 1
        self._loss = CurveView(_axes("loss, running mean", 1, (0.0, 1.0)))
        self._figure = CurveView(_axes("held out", 1, (0.0, 1.0)))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for view in (self._loss, self._figure):
            view.setMaximumHeight(HEIGHT)
            column.addWidget(view)
        self.clear()

    @property
    def seen_steps(self) -> int:
        """How many steps have been reported."""
        return len(self._losses)

    def clear(self) -> None:
        """Forget the training before."""
        self._losses, self._looks, self._before = {}, {}, {}
        self._loss.hide()
        self._figure.hide()

    def begin(self, before: dict[str, float]) -> None:
        """Take note of what the old model reaches on what is held out."""
        self._before = before
        self._draw()

    def recall(self, course: Iterable[dict[str, Any]], steps: int) -> None:
        """Draw the steps of a training that is paused."""
        self._steps = steps
        for line in course:
            self._note(line)
        self._draw()

    def take(self, step: dict[str, Any]) -> None:
        """Draw one step more."""
        self._steps = step["steps"]
        self._note(step)
        self._draw()

    def _note(self, step: dict[str, Any]) -> None:
        self._losses[step["number"]] = step["losses"]["total"]
        if step.get("metrics"):
            self._looks[step["number"]] = step["metrics"]

    def _draw(self) -> None:
        if self._losses:
            numbers = np.asarray(sorted(self._losses), np.float64)
            values = np.asarray([self._losses[int(number)] for number in numbers])
            smooth = _running_mean(values)
            top = _top(float(smooth.max()))
            self._loss.set_axes(
                _axes("loss, running mean", self._steps, tuple(round(top * k / 4, 9) for k in range(5)))
            )
            self._loss.set_lines(Line(numbers, smooth))
            self._loss.show()
        self._draw_figure()

    def _draw_figure(self) -> None:
        names = {
            name
            for look in (*self._looks.values(), self._before)
            for name, value in look.items()
            if _is_known(value)
        }
        name = next((one for one in FIGURES if one in names), "")
        self._figure.setVisible(bool(name))
        if not name:
            return
        known = {0: self._before, **self._looks}
        points = [
            (number, known[number][name]) for number in sorted(known) if _is_known(known[number].get(name))
        ]
        x, y = (np.asarray(column, np.float64) for column in zip(*points, strict=True))
        self._figure.set_axes(_axes(f"{FIGURES[name]}, held out", self._steps, ticks_over(y.tolist())))
        lines = [Line(x, y, "new model")]
        if _is_known(self._before.get(name)):
            ends = np.asarray([0.0, self._steps])
            lines.append(Line(ends, np.full(2, self._before[name]), "old model"))
        self._figure.set_lines(*lines)


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each value and up to eleven before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - SMOOTHED, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _is_known(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _axes(label: str, steps: int, ticks: tuple[float, ...]) -> PlotAxes:
    quarters = tuple(float(round(steps * k / 4)) for k in range(5))
    return PlotAxes("step", label, quarters if steps >= 4 else (0.0, float(max(steps, 1))), ticks)


def _top(value: float) -> float:
    """Return a round number that is at least the value."""
    if value <= 0:
        return 1.0
    size = 10 ** math.floor(math.log10(value))
    return float(next(step * size for step in (1, 2, 4, 6, 8, 10) if step * size >= value))
