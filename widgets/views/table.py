"""A table of rows: one line each, any number of them, chosen by click or arrow key."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    QSizeF,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_medlab.widgets.palette import legible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QItemSelection

__all__ = ["RowsTable"]

Cell = str | int | float | None
Index = QModelIndex | QPersistentModelIndex
KEPT_ROWS = 512
"""So many rows are kept as they were made last: each is asked for once for every cell and every aspect of it."""
SAMPLED_ROWS = 30
"""Columns are made as wide as these many rows need."""


class _RowsModel(QAbstractTableModel):
    def __init__(self, columns: Sequence[str], parent: QWidget) -> None:
        super().__init__(parent)
        self._table = parent
        self._columns = tuple(columns)
        self._count = 0
        self._cells: Callable[[int], tuple[Cell, ...]] = lambda _: ()
        self._colour: Callable[[int], str | None] | None = None
        self._tip: Callable[[int], str] | None = None
        self.about: tuple[str, ...] = ()
        self.picture: Callable[[int], QImage | None] | None = None
        self.picture_column, self.picture_side, self.pixel_ratio = 0, 0, 1.0

    def show(
        self, count: int, cells: Callable[[int], tuple[Cell, ...]], colour: Callable[[int], str | None] | None,
        tip: Callable[[int], str] | None,
    ) -> None:  # fmt: skip
        self.beginResetModel()
        self._count, self._cells = count, lru_cache(KEPT_ROWS)(cells)
        self._colour, self._tip = colour, tip
        self.endResetModel()

    def rowCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else self._count

    def columnCount(self, parent: Index | None = None) -> int:  # noqa: N802 - a name of Qt
        return 0 if parent is not None and parent.isValid() else len(self._columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:  # noqa: N802 - a name of Qt
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return self._columns[section]
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal and self.about:
            return self.about[section]
        return None

    def data(self, index: Index, role: int = 0) -> Any:
        row, column = index.row(), index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            value = self._cells(row)[column]
            return "" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and isinstance(self._cells(row)[column], (int, float)):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ForegroundRole and column == 0 and self._colour is not None:
            colour = self._colour(row)
            return legible(QColor(colour), self._table.palette()) if colour else None
        if (
            role == Qt.ItemDataRole.DecorationRole
            and column == self.picture_column
            and self.picture is not None
        ):
            return _framed(self.picture(row), self.picture_side, self.pixel_ratio)
        if role == Qt.ItemDataRole.ToolTipRole and self._tip is not None:
            return self._tip(row)
        return None


class RowsTable(QTableView):
    """Shows rows under column names.

    Signals
    -------
    rowChosen(int)
        The reader chose a row, by mouse or keyboard; not sent when the program chooses one.
    rowsSelected(list)
        The reader chose other rows, where several can be chosen: all of them, in order.

    Parameters
    ----------
    columns : sequence of str
    stretch : int
        The column that takes what room is left.
    multiple : bool
        Whether several rows can be chosen, with Shift and Ctrl.
    """

    rowChosen = Signal(int)
    rowsSelected = Signal(list)

    def __init__(
        self,
        columns: Sequence[str],
        *,
        stretch: int = 1,
        multiple: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._rows = _RowsModel(columns, self)
        self.setModel(self._rows)
        modes = QAbstractItemView.SelectionMode
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(modes.ExtendedSelection if multiple else modes.SingleSelection)
        self.setShowGrid(False)
        self.setAlternatingRowColors(False)
        self.setWordWrap(False)
        self.verticalHeader().hide()
        # all rows alike: nothing is measured, however many there are
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 8)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setResizeContentsPrecision(SAMPLED_ROWS)
        header.setSectionResizeMode(stretch, QHeaderView.ResizeMode.Stretch)
        self._quiet = False
        self.selectionModel().currentRowChanged.connect(self._on_current_row_changed)
        self.selectionModel().selectionChanged.connect(self._on_selection_changed)

    def set_rows(
        self, rows: Sequence[tuple[Cell, ...]], colours: Sequence[str | None] = (), tips: Sequence[str] = ()
    ) -> None:
        """Show these rows; ``colours`` are those of the first column, ``tips`` the tooltips, one for each row."""
        kept, shades, texts = list(rows), list(colours), list(tips)
        self.set_source(
            len(kept), kept.__getitem__, shades.__getitem__ if shades else None,
            tip=texts.__getitem__ if texts else None,
        )  # fmt: skip

    def set_source(
        self, count: int, cells: Callable[[int], tuple[Cell, ...]],
        colour: Callable[[int], str | None] | None = None, *, tip: Callable[[int], str] | None = None,
    ) -> None:  # fmt: skip
        """Show rows that are made when they come in sight: tens of thousands cost no more than a few.

        The row that was current stays so.

        Parameters
        ----------
        count : int
            How many rows there are.
        cells : callable
            Returns the values of a row, one for each column.
        colour : callable, optional
            Returns the colour of the first column of a row, or None for the usual one.
        tip : callable, optional
            Returns the tooltip of a row.
        """
        chosen = self.currentIndex().row()
        self._quiet = True
        self._rows.show(count, cells, colour, tip)
        self._quiet = False
        self.choose(chosen)

    def set_title_tips(self, *tips: str) -> None:
        """Say under the mouse what each column's title means."""
        self._rows.about = tips

    def set_pictures(self, picture: Callable[[int], QImage | None], side: int, *, column: int = 0) -> None:
        """Show small pictures of ``side`` pixels in a column; ``picture`` is called for rows in sight alone.

        Where a picture is still being read, ``picture`` returns None, and :meth:`redraw` is to be called once it is there.
        """
        self._rows.picture, self._rows.picture_column, self._rows.picture_side = picture, column, side
        self._rows.pixel_ratio = self.devicePixelRatioF()
        self.setIconSize(QSize(side, side))
        self.verticalHeader().setDefaultSectionSize(max(side + 6, self.fontMetrics().height() + 8))
        self.redraw()

    def redraw(self) -> None:
        """Draw the rows in sight again, as pictures have arrived."""
        self.viewport().update()

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

    def selected_rows(self) -> list[int]:
        """Return the chosen rows in order."""
        return sorted(index.row() for index in self.selectionModel().selectedRows())

    def _on_current_row_changed(self, current: QModelIndex, previous: QModelIndex) -> None:
        if not self._quiet and current.isValid():
            self.rowChosen.emit(current.row())

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - Qt's name
        """Choose a row, also the one that is current: what could not be done at first is tried again so."""
        before = self.currentIndex().row()
        super().mousePressEvent(event)
        row = self.indexAt(event.position().toPoint()).row()
        is_plain = (
            event.button() == Qt.MouseButton.LeftButton
            and event.modifiers() == Qt.KeyboardModifier.NoModifier
        )
        if is_plain and row == before >= 0:
            self.rowChosen.emit(row)

    def _on_selection_changed(self, selected: QItemSelection, deselected: QItemSelection) -> None:
        if not self._quiet:
            self.rowsSelected.emit(self.selected_rows())


def _framed(picture: QImage | None, side: int, ratio: float) -> QImage:
    """Return a picture in the middle of a square, empty where there is none: what stands beside it keeps its place."""
    square = QImage(round(side * ratio), round(side * ratio), QImage.Format.Format_ARGB32_Premultiplied)
    square.setDevicePixelRatio(ratio)
    square.fill(Qt.GlobalColor.transparent)
    if picture is not None:
        size = QSizeF(picture.size()).scaled(QSizeF(side, side), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRectF((side - size.width()) / 2, (side - size.height()) / 2, size.width(), size.height())
        painter = QPainter(square)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.drawImage(place, picture)
        painter.end()
    return square
