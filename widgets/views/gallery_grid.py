"""Where the cells of a gallery lie, and which of them are chosen: plain numbers, without a widget."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import QRect

__all__ = ["CellGrid", "Selection"]


@dataclass(frozen=True)
class CellGrid:
    """Cells of one size, side by side from left to right and then down.

    Parameters
    ----------
    count : int
    width : int
        Of the viewport, in pixels.
    cell_width, cell_height : int
        With the space around the cell.
    """

    count: int
    width: int
    cell_width: int
    cell_height: int

    @property
    def columns(self) -> int:
        """How many cells stand side by side; at least one."""
        return max(1, self.width // self.cell_width)

    @property
    def height(self) -> int:
        """How high all cells are together."""
        return -(-self.count // self.columns) * self.cell_height

    @property
    def left(self) -> int:
        """How much space is left free before the first cell, so that the grid stands in the middle."""
        return max(0, self.width - self.columns * self.cell_width) // 2

    def rect(self, row: int) -> QRect:
        """Return where a cell lies, the first line at 0."""
        line, column = divmod(row, self.columns)
        left = self.left + column * self.cell_width
        return QRect(left, line * self.cell_height, self.cell_width, self.cell_height)

    def row_at(self, x: int, y: int) -> int:
        """Return the cell at a place, or -1."""
        column = (x - self.left) // self.cell_width
        row = (y // self.cell_height) * self.columns + column
        return row if 0 <= column < self.columns and 0 <= row < self.count and y >= 0 else -1

    def rows_between(self, top: int, bottom: int) -> range:
        """Return the cells of all lines that some of ``top`` to ``bottom`` lies in."""
        first = max(0, top // self.cell_height) * self.columns
        last = (max(-1, bottom // self.cell_height) + 1) * self.columns
        return range(min(first, self.count), min(last, self.count))

    def rows_touched(self, box: QRect) -> list[int]:
        """Return the cells that a rectangle touches."""
        first = max(0, (box.left() - self.left) // self.cell_width)
        last = min(self.columns - 1, (box.right() - self.left) // self.cell_width)
        lines = range(max(0, box.top() // self.cell_height), max(-1, box.bottom() // self.cell_height) + 1)
        rows = (line * self.columns + column for line in lines for column in range(first, last + 1))
        return [row for row in rows if row < self.count]


class Selection:
    """Which rows are chosen, which one is current, and from where a range is counted.

    Attributes
    ----------
    rows : set of int
    current : int
        -1 for none.
    """

    def __init__(self) -> None:
        self.rows: set[int] = set()
        self.current = -1
        self._anchor = -1

    def clear(self) -> None:
        """Choose nothing."""
        self.rows, self.current, self._anchor = set(), -1, -1

    def choose(self, row: int) -> None:
        """Choose one row alone."""
        self.rows, self.current, self._anchor = {row}, row, row

    def toggle(self, row: int) -> None:
        """Choose one more row, or one less."""
        self.rows = self.rows ^ {row}
        self.current = self._anchor = row

    def extend(self, row: int) -> None:
        """Choose all rows from where the range began."""
        if self._anchor < 0:
            self._anchor = row
        low, high = sorted((self._anchor, row))
        self.rows, self.current = set(range(low, high + 1)), row

    def replace(self, rows: set[int], current: int) -> None:
        """Choose these rows."""
        self.rows, self.current, self._anchor = rows, current, current
