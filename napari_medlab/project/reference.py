"""Bringing a reference standard into a project, whose series or films are the names of its cases."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medlab.annotations import Finding
from napari_medlab.annotations.formats.mini_mias import NORMAL, placed_findings, read_films
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.project.edits import add_findings

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations import FindingTable
    from napari_medlab.project.project import Project
    from napari_medlab.project.records import CaseRecord

__all__ = ["ImportedReference", "cases_by_name", "import_mini_mias", "import_reference"]

SHOWN = 10
"""How many names are written out."""


@dataclass(frozen=True)
class ImportedReference:
    """What became of a table of findings.

    Parameters
    ----------
    added, excluded : int
        The findings that are new to the project, and how many of them count neither as found nor as missed.
    already : int
        Those that the project had.
    cases : int
        The cases with new findings.
    unmatched : tuple of str
        The series for which the project has no case.
    normal : int
        The project's cases that the table lists as normal: they have no findings, and count.
    unplaced : tuple of str
        The names of cases with a finding for which the table states no place; it is left out.
    """

    added: int
    excluded: int
    already: int
    cases: int
    unmatched: tuple[str, ...]
    normal: int = 0
    unplaced: tuple[str, ...] = ()


def import_reference(project: Project, findings: FindingTable) -> ImportedReference:
    """Add findings whose cases are named by series to the cases that carry those names.

    A finding gets an id made from its case, place, size and label, so that a table can be imported again
    after more cases were added.

    Parameters
    ----------
    project : Project
    findings : FindingTable
        ``case_ids`` holds series: the names of the project's cases.

    Raises
    ------
    InputRefusedError
        ``no-series`` where not one series has a case; ``ambiguous-series`` where one has several; ``wrong-kind`` where
        a case has an image of more or fewer axes than the table has coordinates.
    """
    by_name = cases_by_name(project, {str(series) for series in findings.case_ids})
    _require_axes(project, set(by_name.values()), findings.centres.shape[1])
    known = set(project.findings().ids.tolist())
    wanted = [finding for finding in _with_own_ids(findings, by_name) if finding.case_id]
    fresh = [finding for finding in wanted if finding.finding_id not in known]
    if fresh:
        project.commit(add_findings(fresh))
    return ImportedReference(
        added=len(fresh),
        excluded=sum(finding.is_excluded for finding in fresh),
        already=len(wanted) - len(fresh),
        cases=len({finding.case_id for finding in fresh}),
        unmatched=tuple(sorted({str(series) for series in findings.case_ids} - set(by_name))),
    )


def import_mini_mias(project: Project, table: Path) -> ImportedReference:
    """Add the findings of a mini-MIAS table to the cases that are named after its films.

    Raises
    ------
    InputRefusedError
        As :func:`import_reference` and :func:`napari_medlab.annotations.formats.mini_mias.read_films` do; ``size`` where a
        case is not a film of mini-MIAS as it is distributed.
    """
    entries = read_films(table)
    films = {entry.film for entry in entries}
    by_name = cases_by_name(project, films)
    grids = {case.name: _grid_of(case) for case in project.cases() if case.name in by_name}
    done = import_reference(project, placed_findings(entries, grids))
    ours = [entry for entry in entries if entry.film in by_name]
    return replace(
        done,
        unmatched=tuple(sorted(films - set(by_name))),
        normal=len({entry.film for entry in ours if entry.kind == NORMAL}),
        unplaced=tuple(
            sorted({entry.film for entry in ours if entry.kind != NORMAL and entry.place is None})
        ),
    )


def _grid_of(case: CaseRecord) -> Grid:
    if case.grid is None:
        raise InputRefusedError(
            f"The size of case {case.case_id} is not known, so nothing can be placed on it.",
            code="no-grid",
            hint="Add its image again.",
        )
    return Grid.from_json(case.grid)


def cases_by_name(project: Project, series: set[str]) -> dict[str, str]:
    """Return the case of each series, those that have none left out.

    Raises
    ------
    InputRefusedError
        ``no-series`` where not one series has a case; ``ambiguous-series`` where one has several.
    """
    cases = project.cases()
    counts = Counter(case.name for case in cases)
    twice = sorted(name for name in series if counts[name] > 1)
    if twice:
        raise InputRefusedError(
            f"Several cases of the project have the name of one series: {', '.join(twice[:SHOWN])}.",
            code="ambiguous-series",
            hint="The rows of a table are matched with cases by name; a name must stand for one case.",
        )
    by_name = {case.name: case.case_id for case in cases if case.name in series}
    if series and not by_name:
        raise InputRefusedError(
            f"No series of the table is the name of a case. The table has {_some(sorted(series))}; "
            f"the project has {_some([case.name for case in cases])}.",
            code="no-series",
            hint="Name the files after their series, as in LUNA16 (SERIESUID.mhd) or mini-MIAS (mdb001.pgm), and add them again.",
        )
    return by_name


def _require_axes(project: Project, case_ids: set[str], ndim: int) -> None:
    for case in project.cases():
        if case.case_id in case_ids and case.grid is not None and Grid.from_json(case.grid).ndim != ndim:
            raise InputRefusedError(
                f"Case {case.case_id} is a {case.kind} of {Grid.from_json(case.grid).ndim} axes; the table places its "
                f"findings by {ndim} coordinates.",
                code="wrong-kind",
                hint="LUNA16 tables are about volumes, those of mini-MIAS about films.",
            )


def _some(names: list[str]) -> str:
    if not names:
        return "none at all"
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")


def _with_own_ids(findings: FindingTable, by_name: dict[str, str]) -> list[Finding]:
    """Return the findings with ids of ours; their case is empty where the series has none."""
    seen: Counter[str] = Counter()
    result = []
    for row, series in enumerate(findings.case_ids.tolist()):
        case_id = by_name.get(series, "")
        centre = tuple(findings.centres[row].tolist())
        diameter, label = float(findings.diameters[row]), str(findings.labels[row])
        is_excluded = bool(findings.is_excluded[row])
        text = f"{case_id} {centre} {diameter} {label} {is_excluded}"
        seen[text] += 1
        finding_id = hashlib.sha256(f"{text} {seen[text]}".encode()).hexdigest()[:32]
        result.append(Finding(case_id, centre, diameter, label, is_excluded, finding_id))
    return result
