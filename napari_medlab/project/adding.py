"""Bringing images and a reference standard into a project: what the window and the command line share."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.annotations import Finding, new_id
from napari_medlab.errors import InputRefusedError
from napari_medlab.project.edits import add_case, add_findings
from napari_medlab.project.records import CaseRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medlab.annotations import FindingTable
    from napari_medlab.project.project import Project
    from napari_medlab.project.records import Split

__all__ = ["ImportedReference", "add_images", "import_reference"]

SHOWN = 10
"""How many refusals, or names of series, are written out."""


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
    """

    added: int
    excluded: int
    already: int
    cases: int
    unmatched: tuple[str, ...]


def add_images(
    project: Project, paths: Sequence[Path], *, split: Split = "train", patient: str | None = None
) -> Iterator[CaseRecord]:
    """Add images to a project, and yield each case once it is on disk.

    All images are opened (their headers are read) before the first is added: none is where one is refused.

    Parameters
    ----------
    project : Project
    paths : sequence of Path
        Files, or folders that each hold one series.
    split : {"train", "test"}
        Cases for ``"test"`` are frozen.
    patient : str, optional
        The identifier of the patient to whom all of them belong. It stays in the project's private folder; a
        random key stands for it. Where it is left out, each image counts as a patient of its own.

    Raises
    ------
    InputRefusedError
        Naming up to ten of the images that cannot be opened, or are in the project already.
    """
    records = _read_all(project, paths, split)
    key = project.names.patient_key(patient) if patient is not None and records else None
    for path, record in records:
        project.names.remember(record.case_id, source=str(path.resolve()), patient=patient)
        owned = CaseRecord(**{**vars(record), "patient_key": key or new_id()})
        project.commit(add_case(owned))
        yield owned


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
        ``no-series`` where not one series has a case; ``ambiguous-series`` where one has several.
    """
    by_name = _cases_by_name(project, {str(series) for series in findings.case_ids})
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


def _read_all(project: Project, paths: Sequence[Path], split: Split) -> list[tuple[Path, CaseRecord]]:
    taken = {case.path for case in project.cases()}
    records: list[tuple[Path, CaseRecord]] = []
    refusals: list[InputRefusedError] = []
    for path in paths:
        try:
            records.append((path, _read_one(project, path, split, taken)))
        except InputRefusedError as error:
            refusals.append(error)
    if refusals:
        lines = [error.message for error in refusals[:SHOWN]]
        more = f"\n… and {len(refusals) - SHOWN} more" if len(refusals) > SHOWN else ""
        raise InputRefusedError("\n".join(lines) + more, code=refusals[0].code, hint="Nothing was added.")
    return records


def _read_one(project: Project, path: Path, split: Split, taken: set[str]) -> CaseRecord:
    from napari_medlab.images import open_image
    from napari_medlab.images.fingerprint import fingerprint

    stored = project.stored_path(path)
    if stored in taken:
        raise InputRefusedError(f"{path} is in the project already.", code="exists")
    taken.add(stored)
    image = open_image(path)
    return CaseRecord(
        case_id=new_id(),
        path=stored,
        name=_name_of(path),
        kind=image.kind,
        modality=image.modality,
        split=split,
        frozen=split == "test",
        fingerprint=fingerprint(path),
        grid=image.grid.as_json(),
    )


def _name_of(path: Path) -> str:
    name = path.resolve().name
    if path.is_dir():
        return name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.resolve().stem


def _cases_by_name(project: Project, series: set[str]) -> dict[str, str]:
    """Return the case of each series, those that have none left out."""
    cases = project.cases()
    counts = Counter(case.name for case in cases)
    twice = sorted(name for name in series if counts[name] > 1)
    if twice:
        raise InputRefusedError(
            f"Several cases of the project have the name of one series: {', '.join(twice[:SHOWN])}.",
            code="ambiguous-series",
            hint="Findings are matched with cases by name; a name must stand for one case.",
        )
    by_name = {case.name: case.case_id for case in cases if case.name in series}
    if series and not by_name:
        raise InputRefusedError(
            f"No series of the table is the name of a case. The table has {_some(sorted(series))}; "
            f"the project has {_some([case.name for case in cases])}.",
            code="no-series",
            hint="Name the files after their series, as in LUNA16 (SERIESUID.mhd), and add them again.",
        )
    return by_name


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
