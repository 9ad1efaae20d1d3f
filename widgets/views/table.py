"""A table of rows: one line each, any number of them, chosen by click or arrow key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RowsTable"]

Cell = str | int | float | None
Index = QModelIndex | QPersistentModelIndex


class _RowsModel(QAbstractTableModel):
    def __init__(self, columns: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent)
        self._columns = tuple(columns)
        self.rows: list[tuple[Cell, ...]] = []
        self.colours: list[str | None] = []
        self.tips: list[str] = []

    def rowCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else len(self._columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802 - a name of Qt
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._columns[section]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        row, column = index.row(), index.column()
        value = self.rows[row][column]
        if role == Qt.ItemDataRole.DisplayRole:
            return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and isinstance(value, (int, float)):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column == 0 and self.colours and self.colours[row]:
            return QColor(self.colours[row])
        if role == Qt.ItemDataRole.ToolTipRole and self.tips:
            return self.tips[row]
        return None


class RowsTable(QTableView):
    """Shows rows under column names.

    Signals
    -------
    rowChosen(int)
        The reader chose a row, by mouse or keyboard; not sent when the program chooses one.
    """

    rowChosen = Signal(int)

    def __init__(self, columns: Sequence[str], *, stretch: int = 1, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = _RowsModel(columns, self)
        self.setModel(self._rows)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setAlternatingRowColors(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setResizeContentsPrecision(30)
        header.setSectionResizeMode(stretch, QHeaderView.ResizeMode.Stretch)
        self._quiet = False
        self.selectionModel().currentRowChanged.connect(self._on_current_row_changed)

    def set_rows(
        self, rows: Sequence[tuple[Cell, ...]], colours: Sequence[str | None] = (), tips: Sequence[str] = ()
    ) -> None:
        """Show these rows; ``colours`` are those of the first column, ``tips`` the tooltips, one for each row."""
        chosen = self.currentIndex().row()
        self._quiet = True
        self._rows.beginResetModel()
        self._rows.rows, self._rows.colours, self._rows.tips = list(rows), list(colours), list(tips)
        self._rows.endResetModel()
        self._quiet = False
        self.choose(chosen)

    def choose(self, row: int) -> None:
        """Make a row the current one without telling listeners; -1 for none."""
        self._quiet = True
        if 0 <= row < self._rows.rowCount():
            self.selectRow(row)
            self.scrollTo(self._rows.index(row, 0))
        else:
            self.clearSelection()
            self.setCurrentIndex(QModelIndex())
        self._quiet = False

    def _on_current_row_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        if not self._quiet and current.isValid():
            self.rowChosen.emit(current.row())
