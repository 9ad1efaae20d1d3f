"""Tables of plain text, for people who read what a command prints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["plain_table"]

NUMBER = re.compile(r"[-+]?[\d.,]+|")
"""A number, or nothing."""


def plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their heads, in columns with two blanks between; columns of numbers end together.

    Parameters
    ----------
    heads : sequence of str
    rows : sequence of sequences of str
        Each as long as ``heads``. What would break a line becomes a blank.
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in (heads, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_number = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in columns]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in cells
    )
