"""A confusion matrix: counts in cells that can be clicked, or reached with the arrow keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Matrix", "MatrixView"]

Index = QModelIndex | QPersistentModelIndex
RIGHT, WRONG = "#009E73", "#D55E00"
"""Cells on the diagonal and beside it, in colours that colour-blind people tell apart; the counts say it as well."""
STRONGEST = 150
"""The opacity, of 255, of a cell that holds all of its row."""
LONGEST_NAME = 16
"""Letters of a class; the rest of a longer name is in its tooltip."""
FEW_CLASSES, SHORT_NAME = 4, 7
"""Above so many classes, so many letters over each column: more of the columns are in sight."""
MOST_ROWS = 12
"""So many classes are in sight at once; further ones are scrolled to."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """What a confusion matrix shows.

    Parameters
    ----------
    rows, columns : tuple of str
        The classes of the reference, and those of the model.
    counts : int64 array, (rows, columns)
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: NDArray[np.int64]

    def is_right(self, row: int, column: int) -> bool:
        """Whether both sides say the same in a cell."""
        return self.rows[row] == self.columns[column]

    def share(self, row: int, column: int) -> float:
        """Return which share of its row a cell holds."""
        total = int(self.counts[row].sum())
        return float(self.counts[row, column]) / total if total else 0.0


class _MatrixModel(QAbstractTableModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.matrix = Matrix((), (), np.zeros((0, 0), dtype=np.int64))

    def show(self, matrix: Matrix) -> None:
        self.beginResetModel()
        self.matrix = matrix
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else len(self.matrix.rows)

    def columnCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else len(self.matrix.columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802 - a name of Qt
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return (self.matrix.columns if orientation == Qt.Orientation.Horizontal else self.matrix.rows)[
                section
            ]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        row, column = index.row(), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{self.matrix.counts[row, column]:,}"
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignCenter)
        if role == Qt.ItemDataRole.BackgroundRole:
            shade = QColor(RIGHT if self.matrix.is_right(row, column) else WRONG)
            shade.setAlpha(round(STRONGEST * self.matrix.share(row, column)))
            return shade
        if role == Qt.ItemDataRole.ToolTipRole:
            return (
                f"{self.matrix.counts[row, column]:,}: reference “{self.matrix.rows[row]}”, "
                f"model “{self.matrix.columns[column]}” ({self.matrix.share(row, column):.0%} of the row)"
            )
        return None


class MatrixView(QTableView):
    """Shows a confusion matrix: the reference's classes down, the model's across.

    Signals
    -------
    cellChosen(int, int)
        The reader chose a cell, by mouse or keyboard.
    """

    cellChosen = Signal(int, int)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._cells = _MatrixModel(self)
        self.setModel(self._cells)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setCornerButtonEnabled(False)
        letter = self.fontMetrics().averageCharWidth()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.horizontalHeader().setMinimumSectionSize(5 * letter)
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.verticalHeader().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.verticalHeader().setMaximumWidth(LONGEST_NAME * letter)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        self._quiet = False
        self.selectionModel().currentChanged.connect(self._on_current_changed)

    @property
    def matrix(self) -> Matrix:
        """What is shown."""
        return self._cells.matrix

    def show_matrix(self, matrix: Matrix) -> None:
        """Show these counts in place of those before."""
        self._quiet = True
        self._cells.show(matrix)
        self._quiet = False
        letters = LONGEST_NAME if len(matrix.columns) <= FEW_CLASSES else SHORT_NAME
        self.horizontalHeader().setMaximumSectionSize(letters * self.fontMetrics().averageCharWidth())
        rows = min(max(len(matrix.rows), 1), MOST_ROWS)
        height = (
            self.horizontalHeader().sizeHint().height() + rows * self.verticalHeader().defaultSectionSize()
        )
        # as high as all of it, with the bar that scrolls sideways where there are many classes
        self.setFixedHeight(height + 2 * self.frameWidth() + self.horizontalScrollBar().sizeHint().height())

    def _on_current_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        if not self._quiet and current.isValid():
            self.cellChosen.emit(current.row(), current.column())
