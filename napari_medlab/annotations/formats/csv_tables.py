"""CSV tables from outside: read cell by cell, each fault told by its line; written so that they read back."""

from __future__ import annotations

import csv
import io
import math
import re
from typing import TYPE_CHECKING

from napari_medlab.annotations.formats.files import read_text, write_new
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["MAX_ERRORS", "TableRow", "TableSource", "column_key", "neutral_text", "write_rows"]

MAX_ERRORS = 10
MAX_TEXT = 256
NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE
)
FORMULA = re.compile(r"[=+\-@\t\r']")
"""How a cell begins that a spreadsheet would run as a formula, or that carries our own mark against it."""


class TableRow:
    """One line of a table, read cell by cell; what is wrong with a cell is noted by the source.

    ``object_id`` is the file's name and the line, ``"annotations:12"``.
    """

    def __init__(self, source: TableSource, line: int, cells: Sequence[str]) -> None:
        self._source = source
        self._line = line
        self._cells = cells
        self.object_id = f"{source.path.stem}:{line}"

    def text(self, column: str) -> str:
        """Return a cell of text: 1 to 256 printable characters."""
        return self._source.checked_text(self._line, column, self._cell(column))

    def number(self, column: str) -> float:
        """Return a cell that holds a finite number; 0 where it holds something else, which is noted."""
        cell = self._cell(column)
        if NUMBER.fullmatch(cell.strip()) is None:
            self._source.refuse(self._line, f"{column} is {_shown(cell)}, expected a number")
            return 0.0
        value = float(cell)
        if not math.isfinite(value):
            self._source.refuse(self._line, f"{column} is {_shown(cell)}, expected a finite number")
        return value

    def centre(self) -> tuple[float, float, float]:
        """Return the world coordinates (x, y, z) of the columns coordX, coordY and coordZ."""
        return self.number("coordX"), self.number("coordY"), self.number("coordZ")

    def _cell(self, column: str) -> str:
        return self._cells[self._source.columns[column_key(column)]]


class TableSource:
    """A CSV file: its columns, its lines, and what is wrong with it.

    Parameters
    ----------
    path : Path
    required : sequence of str
        The columns that the first line must name; none for a file without such a line.

    Raises
    ------
    InputRefusedError
        With code ``"file"`` where there is no readable file, and ``"csv"`` where it is no CSV or lacks a
        column.
    """

    def __init__(self, path: Path, required: Sequence[str]) -> None:
        self.path = path
        self.errors: list[str] = []
        self.lines = self._read_lines()
        self.columns: dict[str, int] = {}
        if required:
            header = self.lines.pop(0)[1] if self.lines else []
            self.columns = {column_key(name): at for at, name in reversed(list(enumerate(header)))}
            self._width = len(header)
            for name in required:
                if not self.has(name):
                    self.refuse(1, f"there is no column {name!r}")
            self.refuse_errors(hint=f"Expected a first line with the columns {', '.join(required)}.")

    def has(self, column: str) -> bool:
        """Tell whether there is such a column."""
        return column_key(column) in self.columns

    def first_of(self, columns: Sequence[str]) -> str:
        """Return the first of the columns that is there; refuse the file where none is."""
        for name in columns:
            if self.has(name):
                return name
        raise InputRefusedError(
            f"{self.path.name} line 1: there is no column {columns[0]!r}",
            code="csv",
            hint=f"Expected one of the columns {', '.join(columns)}.",
        )

    def rows(self) -> Iterator[TableRow]:
        """Yield the lines below the header, up to ten faults; blank lines are left out."""
        for number, cells in self.lines:
            if not cells:
                continue
            if len(cells) != self._width:
                self.refuse(number, f"{len(cells)} cells, expected {self._width}")
            else:
                yield TableRow(self, number, cells)
            if len(self.errors) >= MAX_ERRORS:
                return

    def checked_text(self, line: int, column: str, cell: str) -> str:
        """Return the text of a cell, and note it where it is empty, too long or not printable."""
        text = _genuine(cell.strip())
        if not text or len(text) > MAX_TEXT or not text.isprintable():
            self.refuse(line, f"{column} is {_shown(cell)}, expected 1 to {MAX_TEXT} printable characters")
        return text

    def refuse(self, line: int, what: str) -> None:
        """Note what is wrong at a line."""
        self.errors.append(f"{self.path.name} line {line}: {what}")

    def refuse_errors(self, hint: str = "Correct the file, or export it again from its source.") -> None:
        """Raise one error with all that was noted, where anything was."""
        if self.errors:
            raise InputRefusedError("\n".join(self.errors[:MAX_ERRORS]), code="csv", hint=hint)

    def _read_lines(self) -> list[tuple[int, list[str]]]:
        try:
            text = read_text(self.path, "csv")
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            return [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            msg = f"{self.path.name} is not a CSV file: {error}."
            raise InputRefusedError(
                msg, code="csv", hint="Save the table as CSV with commas, in UTF-8."
            ) from error


def write_rows(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file in UTF-8, whole or not at all; raises as :func:`~napari_medlab.annotations.formats.files.write_new`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_new(path, text.getvalue().encode())


def column_key(column: str) -> str:
    """Return a column's name without what varies between files: case, underscores and spaces."""
    return column.strip().lower().replace("_", "")


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")


def neutral_text(text: str) -> str:
    """Return a text cell that no spreadsheet takes for a formula."""
    return f"'{text}" if FORMULA.match(text) else text


def _genuine(cell: str) -> str:
    """Return the text that :func:`neutral_text` was given."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell
