"""The keys of the window, in one place: what they do, how they are changed, and the card that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QKeySequence, QShortcut
from qtpy.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget

__all__ = ["ACTIONS", "VERDICTS", "Action", "Keys", "give_keys_back", "key_of", "show_key_card"]


@dataclass(frozen=True)
class Action:
    """Something that a key does: the key to begin with, what it does, and under which heading it is listed."""

    key: str
    title: str
    group: str


ACTIONS = {
    "model_wrong": Action("1", "verdict: model wrong, then the next error", "Review"),
    "reference_wrong": Action(
        "2", "verdict: reference wrong (a change to it is proposed), then the next", "Review"
    ),
    "ambiguous": Action("3", "verdict: ambiguous, then the next error", "Review"),
    "agreed": Action("4", "verdict: agreed, then the next error", "Review"),
    "next_error": Action("N", "next error without a verdict", "Review"),
    "previous_error": Action("P", "previous error", "Review"),
    "comment": Action("C", "write a comment or #tags for the next verdict", "Review"),
    "gallery": Action("G", "gallery of all errors, and back", "Review"),
    "edit_outline": Action("E", "drag vertices of outlines; again to stop", "Correct"),
    "draw_polygon": Action("D", "draw a polygon: click each vertex, double-click to close", "Correct"),
    "draw_freehand": Action("F", "draw an outline freehand", "Correct"),
    "brush": Action("B", "paint the mask of the chosen object; again to stop", "Correct"),
    "eraser": Action("X", "erase from the mask", "Correct"),
    "grow": Action("R", "grow a region from under the mouse, as a preview", "Correct"),
    "snap": Action("S", "snap the chosen outline to the nearest edge, as a preview", "Correct"),
    "fill_between": Action("I", "fill between slices, as a preview", "Correct"),
    "take_outline": Action("T", "take the model's outline for the chosen object", "Correct"),
    "accept": Action("Return", "accept the preview", "Correct"),
    "discard": Action("Escape", "discard the preview, or stop editing", "Correct"),
    "add_finding": Action("A", "add a finding where the planes meet", "Correct"),
    "undo": Action("Ctrl+Z", "undo your last edit, in whatever case it was", "Correct"),
    "redo": Action("Ctrl+Shift+Z", "redo", "Correct"),
    "marks": Action("M", "marks on and off", "View"),
    "outlines": Action("O", "outlines on and off", "View"),
    "mask": Action("K", "mask of the model on and off", "View"),
    "window": Action(
        "W", "next window of brightness: lung, soft tissue, bone, or what the image offers", "View"
    ),
    "keys": Action("?", "this card", "View"),
}
"""Everything that has a key, by the name under which File → Preferences → MedLab changes it."""

VERDICTS = {
    "model_wrong": "model wrong",
    "reference_wrong": "reference wrong",
    "ambiguous": "ambiguous",
    "agreed": "agreed",
}
"""The verdict that each of these actions gives."""


class Keys:
    """The shortcuts of one window; text fields keep what is typed into them.

    Parameters
    ----------
    window : QWidget
        The window that the keys work in, wherever the focus is.
    actions : mapping of str to callable
        By the names of :data:`ACTIONS`.
    """

    def __init__(self, window: QWidget, actions: Mapping[str, Callable[[], Any]]) -> None:
        self._shortcuts = {name: QShortcut(window) for name in actions}
        for name, shortcut in self._shortcuts.items():
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(actions[name])
        self.assign({})

    def assign(self, chosen: Mapping[str, str]) -> None:
        """Bind the keys that were chosen; actions that are not named have the key that they begin with.

        Where two actions were given one key, the first of them in the list has it: a key never does two things.
        """
        taken: set[str] = set()
        for name, shortcut in self._shortcuts.items():
            key = key_of(name, chosen)
            sequence = QKeySequence(key).toString()
            shortcut.setKey(QKeySequence(key if sequence not in taken else ""))
            taken.add(sequence)

    def enable(self, name: str, *, on: bool) -> None:
        """Let an action have its key, or leave the key to whatever has the focus."""
        self._shortcuts[name].setEnabled(on)


def key_of(name: str, chosen: Mapping[str, str]) -> str:
    """Return the key of an action, as chosen in the preferences or as it is to begin with."""
    return chosen.get(name, "").strip() or ACTIONS[name].key


def give_keys_back(field: QWidget, to: Callable[[], Any]) -> None:
    """Call ``to``, which moves the focus elsewhere, at Return and Escape in a field: what is typed next are keys again."""
    field.installEventFilter(_Leaving(field, to))


class _Leaving(QObject):
    """Sees Return and Escape before the shortcuts of the window do."""

    def __init__(self, field: QWidget, to: Callable[[], Any]) -> None:
        super().__init__(field)
        self._to = to

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        if not isinstance(event, QKeyEvent) or event.key() not in LEAVING:
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
            return True
        if event.type() == QEvent.Type.KeyPress:
            QTimer.singleShot(0, self._to)  # the field takes over what was typed first
        return bool(event.key() == Qt.Key.Key_Escape)


LEAVING = (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape)


def show_key_card(window: QWidget, chosen: Mapping[str, str]) -> None:
    """Show the list of keys in a small window, in two columns: it has to fit small screens."""
    card = QDialog(window)
    card.setWindowTitle("Keys")
    columns = QHBoxLayout()
    columns.setSpacing(30)
    for groups in CARD:
        column = QVBoxLayout()
        for group in groups:
            column.addLayout(_listed(group, chosen))
        column.addStretch(1)
        columns.addLayout(column)
    whole = QVBoxLayout(card)
    whole.setSizeConstraint(QVBoxLayout.SizeConstraint.SetFixedSize)
    whole.addLayout(columns)
    whole.addWidget(QLabel("Keys are changed in File → Preferences → MedLab. Escape closes this card."))
    card.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    card.open()


CARD = (("Review", "View"), ("Correct",))
"""The headings in the columns of the card."""


def _listed(group: str, chosen: Mapping[str, str]) -> QGridLayout:
    """Return a heading, and the keys under it."""
    grid = QGridLayout()
    grid.setHorizontalSpacing(14)
    grid.setVerticalSpacing(5)
    heading = QLabel(group)
    font = heading.font()
    font.setBold(True)
    heading.setFont(font)
    grid.addWidget(heading, 0, 0, 1, 2)
    grid.setColumnStretch(1, 1)
    listed = [
        (key_of(name, chosen), action.title) for name, action in ACTIONS.items() if action.group == group
    ]
    for line, texts in enumerate(listed, start=1):
        for column, text in enumerate(texts):
            label = QLabel(text)
            label.setTextFormat(Qt.TextFormat.PlainText)
            grid.addWidget(label, line, column)
    return grid
