"""Two small windows to decide in: which of several images, and how to open one that is refused as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medlab.errors import ImageRefusedError

__all__ = ["ask_how", "ask_which"]

MIN_WIDTH, MIN_HEIGHT = 520, 260


def ask_which(
    parent: QWidget | None, question: str, titles: Sequence[str], on_chosen: Callable[[list[int]], None]
) -> QDialog:
    """Ask which of several images to open, all of them ticked to begin with; ``on_chosen`` gets their numbers."""
    dialog, items = _dialog(parent, "Which images?", question, titles)
    for row in range(items.count()):
        item = items.item(row)
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
        item.setCheckState(Qt.CheckState.Checked)

    def ticked() -> list[int]:
        rows = ((row, items.item(row)) for row in range(items.count()))
        return [row for row, item in rows if item.checkState() == Qt.CheckState.Checked]

    dialog.accepted.connect(lambda: on_chosen(ticked()))
    dialog.open()
    return dialog


def ask_how(
    parent: QWidget | None, error: ImageRefusedError, on_chosen: Callable[[list[int]], None]
) -> QDialog:
    """Say why an image is not opened as it is, and ask which of the ways to open it; several may be taken."""
    titles = [option.title for option in error.options]
    dialog, items = _dialog(parent, "How to open this image?", f"{error.message}\n{error.hint}", titles)
    items.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    items.setCurrentRow(0)
    items.itemDoubleClicked.connect(lambda _: dialog.accept())
    dialog.accepted.connect(lambda: on_chosen(sorted(index.row() for index in items.selectedIndexes())))
    dialog.open()
    return dialog


def _dialog(
    parent: QWidget | None, title: str, question: str, rows: Sequence[str]
) -> tuple[QDialog, QListWidget]:
    dialog = QDialog(parent)
    dialog.setWindowTitle(title)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setMinimumSize(MIN_WIDTH, MIN_HEIGHT)
    text = QLabel(question)
    text.setTextFormat(Qt.TextFormat.PlainText)
    text.setWordWrap(True)
    items = QListWidget()
    for row in rows:
        items.addItem(QListWidgetItem(row))
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    column = QVBoxLayout(dialog)
    column.addWidget(text)
    column.addWidget(items, stretch=1)
    column.addWidget(buttons)
    items.setFocus()
    return dialog, items
