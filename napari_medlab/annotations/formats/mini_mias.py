"""The table of the mini-MIAS mammograms (``Info.txt``): one line for each finding, or for each normal film.

A line reads ``mdb001 G CIRC B 535 425 197``: film, tissue, class, severity, X, Y and radius. X and Y count pixels from
the **bottom left corner** of the 1024 × 1024 film, so that the pixel at its lower left has its centre at (0.5, 0.5): as
an array index, ``x = X - 0.5`` and ``y = 1024 - Y - 0.5``. A normal film ends with ``NORM``. Where a finding is spread
over the film, ``*NOTE 3*`` stands in the place of the numbers, or nothing. Other lines are prose and left aside.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats.files import read_text, write_new
from napari_medlab.annotations.objects import Finding
from napari_medlab.annotations.tables import FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import corners_to_centres

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medlab.geometry import Grid

__all__ = ["NORMAL", "SIDE", "FilmEntry", "is_mini_mias", "placed_findings", "read_films", "write_films"]

SIDE = 1024
"""Height and width of every film, in pixels."""
NORMAL = "NORM"
CLASSES = ("CALC", "CIRC", "SPIC", "MISC", "ARCH", "ASYM")
SEVERITIES = {"B": "benign", "M": "malignant"}
TISSUES = ("F", "G", "D")
MAX_ERRORS = 10
SNIFFED_CHARACTERS = 1 << 16
FILM = re.compile(r"mdb\d{3}[a-z]{0,2}", re.ASCII)
ENTRY = re.compile(
    r"^\s*mdb\d{3}[a-z]{0,2}\s+[FGD]\s+(NORM|CALC|CIRC|SPIC|MISC|ARCH|ASYM)\b", re.ASCII | re.MULTILINE
)
NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class FilmEntry:
    """One line of the table.

    Parameters
    ----------
    film : str
        Such as ``"mdb001"``: the name of the image file without its ending.
    tissue : {"F", "G", "D"}
        Fatty, fatty-glandular or dense.
    kind : str
        ``"NORM"``, or the class of the finding: CALC, CIRC, SPIC, MISC, ARCH or ASYM.
    severity : {"B", "M", ""}
        Benign or malignant; empty for a normal film.
    place : tuple of float, optional
        X, Y and radius as in the table; None for a normal film, and where the finding is spread over the film.
    line : int
        Where it stands in the file, from 1.
    """

    film: str
    tissue: str
    kind: str
    severity: str = ""
    place: tuple[float, float, float] | None = None
    line: int = field(default=0, compare=False)

    @property
    def label(self) -> str:
        """Class and severity in words, ``"CIRC benign"``: what a finding carries."""
        return f"{self.kind} {SEVERITIES[self.severity]}"


def is_mini_mias(path: str | Path) -> bool:
    """Tell by its content whether a file is such a table; False where it cannot be read."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return ENTRY.search(file.read(SNIFFED_CHARACTERS)) is not None
    except OSError:
        return False


def read_films(path: str | Path) -> list[FilmEntry]:
    """Return the entries of a table, in the order of the file.

    Raises
    ------
    InputRefusedError
        With code ``"mini-mias"``, naming up to ten faulty lines; with ``"file"`` where there is no readable file.
    """
    path = Path(path)
    lines = read_text(path, "mini-mias").splitlines()
    entries: list[FilmEntry] = []
    errors: list[str] = []
    for number, words in enumerate(map(str.split, lines), start=1):
        if not words or FILM.match(words[0]) is None:
            continue
        try:
            entries.append(_entry(words, number))
        except ValueError as error:
            errors.append(f"{path.name} line {number}: {error}")
    if not errors and not entries:
        errors.append(f"{path.name} line 1: there is no film in it")
    if errors:
        raise InputRefusedError(
            "\n".join(errors[:MAX_ERRORS]),
            code="mini-mias",
            hint="Expected lines such as 'mdb001 G CIRC B 535 425 197'.",
        )
    return entries


def write_films(path: str | Path, entries: Iterable[FilmEntry]) -> None:
    """Write a table, whole or not at all; every number reads back exactly as it was.

    Raises
    ------
    InputRefusedError, DiskError
        As :func:`napari_medlab.annotations.formats.files.write_new`.
    """
    write_new(Path(path), "".join(f"{_line(entry)}\n" for entry in entries).encode())


def placed_findings(entries: Iterable[FilmEntry], grids: Mapping[str, Grid]) -> FindingTable:
    """Return the findings that have a place, in the world of their images.

    Parameters
    ----------
    entries : iterable of FilmEntry
    grids : mapping of str to Grid
        The grids of the images by film; entries on other films are left out.

    Returns
    -------
    FindingTable
        ``case_ids`` holds films and ``labels`` class and severity; centres are world (x, y), diameters twice the
        radius, both in the unit of the grid.

    Raises
    ------
    InputRefusedError
        With code ``"size"`` where an image is not 1024 × 1024 pixels: the numbers are not about it.
    """
    found = [
        _finding(entry, entry.place, grids[entry.film])
        for entry in entries
        if entry.place and entry.film in grids
    ]
    return FindingTable.from_objects(found, ndim=2)


def _finding(entry: FilmEntry, place: tuple[float, float, float], grid: Grid) -> Finding:
    if grid.shape != (SIDE, SIDE):
        raise InputRefusedError(
            f"line {entry.line}: the image {entry.film} has {' × '.join(map(str, grid.shape))} pixels, and the table counts "
            f"on films of {SIDE} × {SIDE}.",
            code="size",
            hint="Add the films of mini-MIAS as they are distributed.",
        )
    x, y, radius = place
    centre = grid.to_world(corners_to_centres((SIDE - y, x)))
    diameter = 2.0 * radius * math.sqrt(grid.spacing[0] * grid.spacing[1])
    return Finding(
        entry.film, tuple(centre.tolist()), diameter, entry.label, finding_id=f"{entry.film}:{entry.line}"
    )


def _entry(words: Sequence[str], line: int) -> FilmEntry:
    """Read the words of a line; raise ValueError with what is wrong with them."""
    film, tissue, kind, severity, *rest = [*words, *[""] * (4 - len(words))]
    if FILM.fullmatch(film) is None:
        raise ValueError(f"the film is {_shown(film)}, expected mdb and three digits")
    _require("the tissue", tissue, TISSUES)
    _require("the class", kind, (*CLASSES, NORMAL))
    if kind == NORMAL:
        if severity:
            raise ValueError(f"a normal film is followed by {_shown(severity)}")
        return FilmEntry(film, tissue, kind, line=line)
    _require("the severity", severity, tuple(SEVERITIES))
    if not rest or rest[0].startswith("*"):
        return FilmEntry(film, tissue, kind, severity, line=line)
    return FilmEntry(film, tissue, kind, severity, _place(rest), line)


def _place(words: Sequence[str]) -> tuple[float, float, float]:
    if len(words) != 3:
        raise ValueError(f"{len(words)} words after the severity, expected X, Y and radius, or *NOTE 3*")
    for name, word in zip(("X", "Y", "the radius"), words, strict=True):
        if NUMBER.fullmatch(word) is None or not 0 <= float(word) <= SIDE:
            raise ValueError(f"{name} is {_shown(word)}, expected a number from 0 to {SIDE}")
    x, y, radius = map(float, words)
    if radius == 0:
        raise ValueError("the radius is 0, expected more")
    return x, y, radius


def _line(entry: FilmEntry) -> str:
    words = [entry.film, entry.tissue, entry.kind]
    if entry.kind != NORMAL:
        words += [entry.severity, *(["*NOTE 3*"] if entry.place is None else map(_number, entry.place))]
    return " ".join(words)


def _number(value: float) -> str:
    return np.format_float_positional(value, trim="-")


def _require(what: str, word: str, choices: Sequence[str]) -> None:
    if word not in choices:
        raise ValueError(f"{what} is {_shown(word)}, expected {', '.join(choices)}")


def _shown(word: str) -> str:
    return repr(word if len(word) <= 40 else word[:40] + "…")
