"""The keys of the window, in one place: what they do, and the card that lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

__all__ = ["KEYS", "VERDICT_KEYS", "bind_keys", "show_key_card"]

VERDICT_KEYS = {"1": "model wrong", "2": "reference wrong", "3": "ambiguous", "4": "agreed"}
"""The verdict that each digit gives."""

KEYS = {
    "1": "verdict: model wrong, then the next error",
    "2": "verdict: reference wrong, then the next error",
    "3": "verdict: ambiguous, then the next error",
    "4": "verdict: agreed, then the next error",
    "N": "next error without a verdict",
    "P": "previous error",
    "E": "edit outlines: drag the vertices; press again to stop",
    "M": "marks on and off",
    "W": "next window of brightness: lung, soft tissue, bone, or what the image offers",
    "Ctrl+Z": "undo the last edit, in whatever case it was",
    "Ctrl+Shift+Z": "redo",
    "?": "this card",
}


def bind_keys(window: QWidget, actions: dict[str, Callable[[], None]]) -> None:
    """Bind keys to actions in a whole window, wherever the focus is; text fields keep what is typed into them.

    Parameters
    ----------
    window : the window that the keys work in
    actions : by key, as in :data:`KEYS`
    """
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QKeySequence, QShortcut

    for key, action in actions.items():
        shortcut = QShortcut(QKeySequence(key), window)
        shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
        shortcut.activated.connect(action)


def show_key_card(window: QWidget) -> None:
    """Show the list of keys in a small window."""
    from qtpy.QtCore import Qt
    from qtpy.QtGui import QFontDatabase
    from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout

    width = max(map(len, KEYS))
    card = QDialog(window)
    card.setWindowTitle("Keys")
    text = QLabel("\n".join(f"{key:<{width}}   {meaning}" for key, meaning in KEYS.items()))
    text.setTextFormat(Qt.TextFormat.PlainText)
    text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
    QVBoxLayout(card).addWidget(text)
    card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    card.open()
