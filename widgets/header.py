"""The line along the top: the loop as a row of buttons, and what is being looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Header"]

SAVED_MS = 4000
"""A sentence stands for so long, at least."""
LONGEST = 60
"""Letters of a name that are shown."""
LETTER_MS = 60
"""It takes so long to read a letter."""
SAID_WIDTH = 220
"""Pixels for what is said; a longer sentence takes the whole line for as long as it stands."""


class Header(QWidget):
    """The loop as a row of buttons, and under it what is being looked at.

    Signals
    -------
    stopAsked
        What is being read is not wanted any more.
    galleryAsked
        The gallery of errors is to come up, or to go.
    keysAsked
        The card of keys is wanted.
    """

    stopAsked = Signal()
    galleryAsked = Signal()
    keysAsked = Signal()

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._parts: list[str] = []
        self._said, self._mode, self._reading, self._pending = "", "", "", 0
        self._buttons = QButtonGroup(self)
        self._text, self._saved = QLabel(), QLabel()
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._saved.setTextFormat(Qt.TextFormat.PlainText)
        self._saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        # texts that change often must not lay the whole window out anew
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._saved.setFixedWidth(SAID_WIDTH)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 2, 6, 2)
        column.setSpacing(2)
        self._bar = QHBoxLayout()
        self._bar.setSpacing(2)
        column.addLayout(self._bar)
        line = QHBoxLayout()
        self._stop = QPushButton("Stop")
        self._stop.setToolTip("Give up what is being read")
        self._stop.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        # it keeps its room, so that nothing moves when it comes and goes
        policy = self._stop.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._stop.setSizePolicy(policy)
        self._stop.hide()
        self._stop.clicked.connect(lambda: self.stopAsked.emit())
        line.addWidget(self._text, stretch=1)
        line.addWidget(self._stop)
        line.addWidget(self._saved)
        column.addLayout(line)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._fade = QTimer(self)
        self._fade.setSingleShot(True)
        self._fade.timeout.connect(self._forget_said)

    def add_stations(self, titles: list[str], show: Callable[[int], Any]) -> None:
        """Add one button for each station; ``show`` is called with its number."""
        for number, title in enumerate(titles):
            made = QPushButton(title)
            made.setCheckable(True)
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self._buttons.addButton(made, number)
            self._bar.addWidget(made)
        self._bar.addStretch(1)
        for text, tip, asked in (
            (
                "G  Gallery",
                "All errors as pictures, where the model fails, and what is alike",
                self.galleryAsked,
            ),
            ("?  Keys", "What the keys do", self.keysAsked),
        ):
            made = QPushButton(text)
            made.setFlat(True)
            made.setToolTip(tip)
            made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            made.clicked.connect(asked)
            self._bar.addWidget(made)
        self._buttons.idClicked.connect(show)

    def mark(self, number: int) -> None:
        """Show which station is in front."""
        self._buttons.button(number).setChecked(True)

    def describe(self, parts: list[str], notes: tuple[str, ...]) -> None:
        """Say which case, model, operating point and place in the queue, and what is to be known about the image."""
        # a long name must not push the place in the queue out of sight
        self._parts = [*map(_shortened, parts), *notes]
        self._text.setToolTip("\n".join([*parts[:1], *notes]))
        self.show_progress("")

    def show_progress(self, text: str) -> None:
        """Say what is being read, in place of what there is to know; empty when nothing is."""
        self._reading = text
        self._stop.setVisible(bool(text))
        self._show_state()

    def tell(self, text: str) -> None:
        """Say something for a moment."""
        self._said = text
        self._fade.start(max(SAVED_MS, LETTER_MS * len(text)))
        self._show_state()

    def show_saved(self, text: str) -> None:
        """Name the edit that is now on the disk."""
        self.tell(f"✓ {text}")

    def show_pending(self, count: int) -> None:
        """Say whether everything is on the disk."""
        self._pending = count
        self._show_state()

    def show_mode(self, text: str) -> None:
        """Say what stands where nothing else is to be said, such as that nothing can be written."""
        self._mode = text
        self._show_state()

    def _show_state(self) -> None:
        said = "saving …" if self._pending else self._said or self._mode
        is_long = self._saved.fontMetrics().horizontalAdvance(said) > SAID_WIDTH
        shown = (
            [*self._parts[:1], said if is_long else self._reading]
            if is_long or self._reading
            else self._parts
        )
        self._text.setText("   ·   ".join(shown))
        self._saved.setText("" if is_long else said)

    def _forget_said(self) -> None:
        self._said = ""
        self._show_state()


def _shortened(text: str) -> str:
    """Return a text without its middle where it is long: names of one study begin alike and differ at their ends."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2 - 1]}…{text[-LONGEST // 2 :]}"
