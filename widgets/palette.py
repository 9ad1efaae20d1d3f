"""Colours and shapes of the kinds of match: safe for the colour-blind, and never colour alone.

The colours are those of Okabe and Ito ("Color Universal Design", 2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qtpy.QtGui import QColor, QPalette

__all__ = ["CURVES", "MARKS", "Mark", "legible"]


@dataclass(frozen=True)
class Mark:
    """How one kind is drawn: its colour, the symbol of its marker, the sign in lists, and its name in full."""

    colour: str
    symbol: str
    sign: str
    title: str

    @property
    def rgb(self) -> tuple[float, ...]:
        """The colour as red, green and blue, 0 … 1."""
        return tuple(byte / 255 for byte in bytes.fromhex(self.colour[1:]))


MARKS = {
    "tp": Mark("#009E73", "disc", "●", "true positive"),
    "fp": Mark("#E69F00", "square", "■", "false positive"),
    "fn": Mark("#56B4E9", "diamond", "◆", "miss"),
    "duplicate": Mark("#CC79A7", "ring", "○", "duplicate"),
    "ignored": Mark("#999999", "disc", "·", "ignored"),
    "finding": Mark("#F0E442", "cross", "✚", "finding of the reference"),
    "poor outline": Mark("#0072B2", "triangle_up", "▲", "poor outline"),
    "disagreement": Mark("#D55E00", "star", "★", "disagreement"),
    "low confidence": Mark("#BBBBBB", "triangle_down", "▽", "low confidence"),
    "unread": Mark("#F0E442", "x", "×", "unread"),
    "below": Mark("#777777", "hbar", "–", "below the threshold"),
    "new": Mark("#F0E442", "disc", "◌", "not matched yet"),
}
"""By kind of match row or of error; "new" is a candidate whose case is still being read, "finding" one without a match."""

DARKER = 155
"""Per cent, of colours that are text on a light ground."""


def legible(colour: QColor, palette: QPalette) -> QColor:
    """Return a colour as it can be read on the ground of a palette."""
    is_light = palette.base().color().lightness() > 127
    return colour.darker(DARKER) if is_light else colour


CURVES = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7")
"""Line colours of plots, in order of use."""
