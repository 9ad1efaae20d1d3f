"""Two fields for the ends of a span of numbers, either of which may be open."""

from __future__ import annotations

import math
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import QDoubleSpinBox, QWidget

from napari_medlab.hardcases.errors.filters import Span
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.panels.panel import row

__all__ = ["ANY", "NARROWEST", "SpanFields"]

ANY = "any"
WIDEST = 1e6
NARROWEST = 40
"""Pixels: the panel has to fit a narrow dock."""


class SpanFields(QWidget):
    """Two fields for the ends of a span; at its widest an end reads "any".

    Parameters
    ----------
    decimals : int
    step : float
        By which an arrow key changes an end.
    usual : float
        Where the first step of an upper end leads that was open.

    Signals
    -------
    changed()
        The reader chose other ends.
    """

    changed = Signal()

    def __init__(self, decimals: int, step: float, usual: float) -> None:
        super().__init__()
        self.low = _End("from ", 0.0, decimals, step, usual=0.0)
        self.high = _End("to ", WIDEST, decimals, step, usual=usual)
        line = row(self.low, self.high)
        line.setContentsMargins(0, 0, 0, 0)
        self.setLayout(line)
        for end in (self.low, self.high):
            end.valueChanged.connect(lambda _: self.changed.emit())
            give_keys_back(end, self.setFocus)

    @property
    def span(self) -> Span | None:
        """What lies between the ends; None where both are open."""
        if self.low.is_open and self.high.is_open:
            return None
        low = -math.inf if self.low.is_open else self.low.value()
        return Span(low, math.inf if self.high.is_open else max(low, self.high.value()))

    def show_span(self, span: Span | None) -> None:
        """Show the ends of a span."""
        low, high = (span.low, span.high) if span is not None else (0.0, WIDEST)
        self.low.setValue(max(low, 0.0))
        self.high.setValue(min(high, WIDEST))


class _End(QDoubleSpinBox):
    """One end of a span; from "any" the first step leads to where there usually is something."""

    def __init__(self, prefix: str, widest: float, decimals: int, step: float, *, usual: float) -> None:
        super().__init__()
        self._widest, self._usual = widest, usual
        self.setRange(0.0, WIDEST)
        self.setDecimals(decimals)
        self.setSingleStep(step)
        self.setPrefix(prefix)
        self.setKeyboardTracking(False)
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.setMinimumWidth(NARROWEST)
        self.setValue(widest)

    @property
    def is_open(self) -> bool:
        """Whether it asks for nothing."""
        return bool(self.value() == self._widest)

    def textFromValue(self, value: float) -> str:  # noqa: N802 - a name of Qt
        return ANY if value == self._widest else super().textFromValue(value)

    def valueFromText(self, text: str) -> float:  # noqa: N802 - a name of Qt
        typed = text.removeprefix(self.prefix()).strip()
        return self._widest if typed in ("", ANY) else float(super().valueFromText(text))

    def validate(self, text: str, at: int) -> Any:
        typed = text.removeprefix(self.prefix()).strip()
        return (
            (QValidator.State.Acceptable, text, at) if ANY.startswith(typed) else super().validate(text, at)
        )

    def stepBy(self, steps: int) -> None:  # noqa: N802 - a name of Qt
        if self.is_open and self._widest == WIDEST:
            self.setValue(self._usual)
        else:
            super().stepBy(steps)
