"""The CSV tables of the LUNA16 challenge: annotations, excluded findings, candidates and lists of series.

Coordinates are world (x, y, z) in LPS millimetres, in columns ``coordX``, ``coordY`` and ``coordZ``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats.csv_tables import (
    MAX_ERRORS,
    TableSource,
    column_key,
    neutral_text,
    write_rows,
)
from napari_medlab.annotations.formats.files import beginning
from napari_medlab.annotations.objects import Candidate, Finding
from napari_medlab.annotations.tables import CandidateTable, FindingTable
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "read_candidates",
    "read_findings",
    "read_reference",
    "read_series",
    "sniff",
    "write_candidates",
    "write_findings",
    "write_series",
]

FINDING_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
CANDIDATE_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability")
SCORE_COLUMNS = ("probability", "score", "class")
"""Where a candidate's score is taken from: the first of these that the file has."""

CLASS_NAMES = {"0": "non-nodule", "1": "nodule"}


def sniff(path: str | Path) -> bool:
    """Tell by its first line whether a file is a table of findings or candidates; never raises."""
    first = beginning(Path(path)).partition(b"\n")[0].decode("utf-8", "replace")
    return {"seriesuid", "coordx"} <= {column_key(name) for name in first.split(",")}


def read_findings(path: str | Path, *, is_excluded: bool = False) -> FindingTable:
    """Return the findings of an annotations file.

    Parameters
    ----------
    path : str or Path
        A CSV file with the columns ``seriesuid, coordX, coordY, coordZ, diameter_mm``; others are left aside.
        A diameter is in mm, and -1 where it is unknown.
    is_excluded : bool
        True for a file of irrelevant findings, which count neither as found nor as missed.

    Returns
    -------
    FindingTable
        In the order of the file. The id of a finding is the file's name and the line, ``"annotations:12"``.

    Raises
    ------
    InputRefusedError
        With code ``"csv"``, naming up to ten faulty cells by line and column; with ``"file"`` where there is
        no readable file.
    """
    source = TableSource(Path(path), FINDING_COLUMNS)
    findings = [
        Finding(
            case_id=row.text("seriesuid"),
            centre=row.centre(),
            diameter=row.number("diameter_mm"),
            is_excluded=is_excluded,
            finding_id=row.object_id,
        )
        for row in source.rows()
    ]
    source.refuse_errors()
    return FindingTable.from_objects(findings)


def read_reference(annotations: str | Path, excluded: str | Path | None = None) -> FindingTable:
    """Return the findings of an annotations file, then those of a file of excluded findings.

    Raises :class:`InputRefusedError` as :func:`read_findings` does.
    """
    included = read_findings(annotations)
    if excluded is None:
        return included
    return FindingTable.joined([included, read_findings(excluded, is_excluded=True)])


def read_candidates(path: str | Path) -> CandidateTable:
    """Return the candidates of a submission or candidates file.

    Parameters
    ----------
    path : str or Path
        A CSV file with ``seriesuid, coordX, coordY, coordZ`` and one of ``probability``, ``score`` or
        ``class`` (the first that is there gives the score). ``diameter_mm`` is read where it is there.
        ``class`` beside a score is the label, with LUNA16's 1 as ``"nodule"`` and 0 as ``"non-nodule"``.
        Other columns are left aside.

    Returns
    -------
    CandidateTable
        In the order of the file. The id of a candidate is the file's name and the line, ``"submission:12"``.

    Raises
    ------
    InputRefusedError
        As :func:`read_findings` does.
    """
    source = TableSource(Path(path), CANDIDATE_COLUMNS[:4])
    score = source.first_of(SCORE_COLUMNS)
    has_label, has_diameter = source.has("class") and score != "class", source.has("diameter_mm")
    candidates = [
        Candidate(
            case_id=row.text("seriesuid"),
            centre=row.centre(),
            score=row.number(score),
            diameter=row.number("diameter_mm") if has_diameter else -1.0,
            label=_class_name(row.text("class")) if has_label else "nodule",
            candidate_id=row.object_id,
        )
        for row in source.rows()
    ]
    source.refuse_errors()
    return CandidateTable.from_objects(candidates)


def read_series(path: str | Path) -> list[str]:
    """Return the series listed in a file, one uid a line without a header, each once and in order.

    Raises :class:`InputRefusedError` as :func:`read_findings` does, and where the file lists nothing.
    """
    source = TableSource(Path(path), ())
    cells = [(number, row[0]) for number, row in source.lines if row]
    uids = [source.checked_text(number, "seriesuid", cell) for number, cell in cells]
    source.refuse_errors()
    if uids and column_key(uids[0]) == "seriesuid":
        del uids[0]
    if not uids:
        source.refuse(1, "there is no series in it, expected one uid a line")
        source.refuse_errors()
    return list(dict.fromkeys(uids))


def write_findings(path: str | Path, findings: FindingTable) -> None:
    """Write findings as an annotations file; every number reads back exactly as it was.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where there is such a file already, and ``"csv"`` for a coordinate that is not
        finite.
    """
    _write(
        path,
        FINDING_COLUMNS,
        findings.case_ids.tolist(),
        np.column_stack([findings.centres, findings.diameters]),
    )


def write_candidates(path: str | Path, candidates: CandidateTable) -> None:
    """Write candidates as a submission file; every number reads back exactly as it was.

    Raises :class:`InputRefusedError` as :func:`write_findings` does.
    """
    numbers = np.column_stack([candidates.centres, candidates.scores])
    _write(path, CANDIDATE_COLUMNS, candidates.case_ids.tolist(), numbers)


def write_series(path: str | Path, uids: Iterable[str]) -> None:
    """Write a list of series, one a line; without a header, as LUNA16's is, unless the first would be taken for one.

    Raises :class:`InputRefusedError` as :func:`write_findings` does.
    """
    texts = [neutral_text(uid) for uid in uids]
    header = ["seriesuid"] if texts and column_key(texts[0]) == "seriesuid" else []
    write_rows(Path(path), [[text] for text in (*header, *texts)])


def _write(
    path: str | Path, columns: Sequence[str], case_ids: list[str], numbers: NDArray[np.float64]
) -> None:
    path = Path(path)
    faulty = np.flatnonzero(~np.isfinite(numbers).all(axis=1))[:MAX_ERRORS].tolist()
    if faulty:
        lines = "\n".join(
            f"{path.name} line {row + 2}: {numbers[row].tolist()} is not finite" for row in faulty
        )
        raise InputRefusedError(lines, code="csv", hint="Coordinates, diameters and scores must be finite.")
    rows = zip(case_ids, numbers.tolist(), strict=True)
    write_rows(path, [[*columns], *([neutral_text(case), *map(repr, values)] for case, values in rows)])


def _class_name(cell: str) -> str:
    return CLASS_NAMES.get(cell, cell)
