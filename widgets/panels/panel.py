"""What all panels have in common."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QMetaObject, QObject, Qt, QTimer
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QScrollArea, QVBoxLayout, QWidget

from napari_medlab.widgets.controller import controller_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QShowEvent

    from napari_medlab.widgets.session import Session

__all__ = ["Panel", "button", "chooser", "note", "row"]

ROOM_BELOW = 12
"""Pixels under what is scrolled to."""
LAID_OUT_MS = 60
"""Texts that have become longer have their room after this."""


class Panel(QWidget):
    """One station of the loop; it draws what the session says and asks the controller to act.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Panels of one viewer share one controller and one session.
    """

    title = ""

    def __init__(self, napari_viewer: Any, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.controller = controller_of(napari_viewer)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(6, 6, 6, 6)
        self.column.setSpacing(6)
        connections: list[Callable[[], Any]] = []
        self._connections = connections
        self._due: dict[Callable[[], None], None] = {}
        self.build()
        # not a method of the panel, which is gone by then
        self.destroyed.connect(lambda: _disconnect(connections))

    @property
    def session(self) -> Session:
        """What the reader is doing."""
        return self.controller.session

    def build(self) -> None:
        """Make the widgets; called once."""
        raise NotImplementedError

    def listen(self, signal: Any, handler: Callable[..., Any]) -> None:
        """Call ``handler`` at a signal, of psygnal or of Qt, as long as the panel lives."""
        made = signal.connect(handler)
        # a signal of Qt whose object has gone is not to be touched: PyQt would crash; its connection may be
        is_of_qt = isinstance(made, QMetaObject.Connection)
        end = partial(QObject.disconnect, made) if is_of_qt else partial(signal.disconnect, handler)
        self._connections.append(end)

    def redraw_on(self, signal: Any, draw: Callable[[], None]) -> None:
        """Call ``draw`` at a signal; while nobody sees the panel, it waits until somebody does."""
        self.listen(signal, lambda *_: self.redraw(draw))

    def redraw(self, draw: Callable[[], None]) -> None:
        """Draw soon, once for all that asks for it until then, or when the panel is shown next."""
        if self.isVisible():
            self.controller.redrawing.put(f"{id(self)} {draw.__name__}", partial(self._draw, draw))
        else:
            self._due[draw] = None

    def reveal(self, widget: QWidget) -> None:
        """Scroll to a widget of the panel that says something new, once it has its place; nothing where it is in sight."""
        QTimer.singleShot(LAID_OUT_MS, partial(self._draw, partial(self._scroll_to, widget)))

    def _scroll_to(self, widget: QWidget) -> None:
        above = self.parentWidget()
        while above is not None and not isinstance(above, QScrollArea):
            above = above.parentWidget()
        if above is not None and widget.isVisible():
            above.ensureWidgetVisible(widget, 0, ROOM_BELOW)

    def _draw(self, draw: Callable[[], None]) -> None:
        if self._connections:  # it may have gone meanwhile
            draw()

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw what has changed while the panel was hidden."""
        super().showEvent(event)
        self.controller.attach(self.window())
        due, self._due = self._due, {}
        for draw in due:
            draw()


def button(text: str, action: Callable[[], Any], tip: str = "") -> QPushButton:
    """Return a push button that calls ``action``; Enter in a field beside it, in a dialog, does not press it."""
    made = QPushButton(text)
    made.setAutoDefault(False)
    made.clicked.connect(lambda: action())
    made.setToolTip(tip)
    return made


def chooser(*choices: str) -> QComboBox:
    """Return a box to choose from that never asks for more width than the panel has."""
    box = QComboBox()
    box.addItems(list(choices))
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    return box


def note(text: str = "") -> QLabel:
    """Return a label for plain text that wraps; what comes from files is never read as markup."""
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    return label


def row(*widgets: QWidget) -> QHBoxLayout:
    """Return a layout with widgets side by side."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def _disconnect(connections: list[Callable[[], Any]]) -> None:
    for end in connections:
        with suppress(RuntimeError, TypeError, ValueError):  # it went before the panel did
            end()
    connections.clear()
