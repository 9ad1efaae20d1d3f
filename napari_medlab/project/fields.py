"""Free columns of cases, from a table: site, scanner, fold, slice thickness, or whatever a project sorts its cases by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.annotations.formats.csv_tables import TableSource, column_key
from napari_medlab.errors import InputRefusedError
from napari_medlab.project.case_names import cases_by_name
from napari_medlab.project.edits import group, set_fields

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.project import Project

__all__ = ["ImportedFields", "import_fields"]

NAMES = ("case", "seriesuid")
"""The columns that may say which case a line is about."""
WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})")
DECIMAL = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d{1,3})?")
Fields = dict[str, str | float]


@dataclass(frozen=True)
class ImportedFields:
    """What became of a table of fields.

    Parameters
    ----------
    cases, unchanged : int
        The cases that the table changed, and those that had all it says.
    fields : tuple of str
        The columns of the table.
    unmatched : tuple of str
        The names in the table for which the project has no case.
    """

    cases: int
    unchanged: int
    fields: tuple[str, ...]
    unmatched: tuple[str, ...]


def import_fields(project: Project, table: Path) -> ImportedFields:
    """Set the free columns of cases as a table says, in one edit that can be undone.

    What looks like a number becomes one; an empty cell leaves its field as it is, and so do columns that the table
    lacks.

    Parameters
    ----------
    project : Project
    table : Path
        A CSV file with a column ``case`` or ``seriesuid``, the names of the project's cases, and any others.

    Raises
    ------
    InputRefusedError
        ``csv`` or ``file`` where the table cannot be read; ``field`` where a name or a value cannot be stored;
        ``no-series`` and ``ambiguous-series`` as for :func:`napari_medlab.project.case_names.cases_by_name`.
    """
    names, rows = _read(table)
    by_name = cases_by_name(project, set(rows))
    cases = {case.case_id: case for case in project.cases()}
    edits, unchanged = [], 0
    for name, case_id in by_name.items():
        before = cases[case_id].fields
        after = {**before, **rows[name]}
        if after == before:
            unchanged += 1
        else:
            edits.append(set_fields(case_id, before, after))
    if edits:
        project.commit(group(f"fields of {len(edits)} cases", edits))
    return ImportedFields(len(edits), unchanged, names, tuple(sorted(set(rows) - set(by_name))))


def _read(table: Path) -> tuple[tuple[str, ...], dict[str, Fields]]:
    """Return the names of the columns, and what the table says of each case by name."""
    lines = TableSource(table, ()).lines
    header = [name.strip() for name in lines[0][1]] if lines else []
    key = next((name for name in NAMES if name in map(column_key, header)), NAMES[0])
    source = TableSource(table, [key])  # refuses a table without it
    place = source.columns[key]
    if len(set(header)) != len(header):
        source.refuse(1, "a column comes twice")
    rows: dict[str, Fields] = {}
    for line, cells in source.lines:
        if len(cells) != len(header):
            if cells:
                source.refuse(line, f"{len(cells)} cells, expected {len(header)}")
            continue
        name = source.checked_text(line, key, cells[place])
        if name in rows:
            source.refuse(line, f"{name} comes twice")
        told = {
            column: cell for at, (column, cell) in enumerate(zip(header, cells, strict=True)) if at != place
        }
        rows[name] = {
            column: _value(source.checked_text(line, column, cell))
            for column, cell in told.items()
            if cell.strip()
        }
    source.refuse_errors()
    if not rows:
        raise InputRefusedError(
            f"{table.name} lists no case.", code="empty", hint="Each line is about one case."
        )
    return tuple(name for at, name in enumerate(header) if at != place), rows


def _value(text: str) -> str | float:
    """Return a number where the text is one; what has leading zeros is a name made of digits."""
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text
