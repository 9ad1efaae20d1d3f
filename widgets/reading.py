"""What the window keeps of a project, read off the GUI thread, which never asks the database."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation import match_at
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.errors.building import OutlineScores, poor_outlines
from napari_medlab.hardcases.errors.disagreements import (
    MarkedRun,
    disagreements_of_runs,
    disagreements_of_verdicts,
)
from napari_medlab.hardcases.errors.filters import FilterContext
from napari_medlab.hardcases.errors.outline_overlap import dice_of_hits
from napari_medlab.hardcases.errors.table import ErrorTable
from napari_medlab.hardcases.errors.unread import unread
from napari_medlab.models.workflows.next_cases import unread_cases
from napari_medlab.widgets.session import Figures, ReviewData

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable, Region
    from napari_medlab.evaluation import MatchTable
    from napari_medlab.project import CaseRecord, Project, RunRecord, Verdict
    from napari_medlab.project.records import Split

__all__ = ["Contents", "model_disagreements", "planar_of", "read_contents", "read_review"]


@dataclass(frozen=True)
class Contents:
    """The lists of a project.

    Parameters
    ----------
    project : Project
    cases, runs : lists, in the order in which they were added
    findings : of all cases, as the reader has them
    review_run_id : the newest run with training cases; empty for none
    filters : by name
    readers : whose verdicts, outlines or corrections the project holds
    run_splits : the splits of the cases that each run is done with, by run
    """

    project: Project
    cases: list[CaseRecord]
    runs: list[RunRecord]
    findings: FindingTable
    review_run_id: str
    filters: dict[str, dict[str, object]]
    readers: list[str]
    run_splits: dict[str, frozenset[Split]]


def read_contents(project: Project, *, is_adjudicating: bool = False) -> Contents:
    """Read the lists of a project; in a thread. Findings are as the reader has them, or as disagreements were settled."""
    findings = project.findings(reader="" if is_adjudicating else project.reader)
    cases, runs = project.cases(), project.runs()
    split_of = {case.case_id: case.split for case in cases}
    run_splits = {
        run.run_id: frozenset(
            split_of[case_id] for case_id in project.cases_done(run.run_id) if case_id in split_of
        )
        for run in runs
    }
    reviewable = [run.run_id for run in runs if "train" in run_splits[run.run_id]]
    newest = reviewable[-1] if reviewable else ""
    return Contents(project, cases, runs, findings, newest, project.filters(), project.readers(), run_splits)


def planar_of(cases: Sequence[CaseRecord]) -> frozenset[str]:
    """Return which cases have an image of two axes."""
    return frozenset(case.case_id for case in cases if case.grid is not None and len(case.grid["shape"]) == 2)


def read_review(
    project: Project, run_id: str, splits: Collection[str] = ("train",), *, is_adjudicating: bool = False
) -> ReviewData:
    """Read a run and match it; in a thread. Cases of other splits stay out of sight.

    Cases that nobody is known to have read are not matched: what the model marks there is not known to be wrong.

    Frozen test cases decide about publishing, so they are not reviewed: what was looked at is no longer unseen.

    Parameters
    ----------
    project : Project
    run_id : str
    splits : collection of str
    is_adjudicating : bool
        Whether to read what settles disagreements in place of the reader's own.
    """
    import_module(
        "scipy.spatial"
    )  # half a second, and the window would have to wait for it when it looks for causes
    seat = "" if is_adjudicating else project.reader
    done = project.cases_done(run_id)
    shown = [case for case in project.cases() if case.case_id in done and case.split in splits]
    unread_ones = tuple(case.case_id for case in unread_cases(project, run_id) if case.split in splits)
    cases = tuple(case.case_id for case in shown if case.case_id not in unread_ones)
    candidates = project.candidates(run_id)
    given = Figures.of(project.findings(as_given=True), candidates, cases)
    corrected_findings = project.findings(reader=seat)
    corrected = (
        given
        if _same(corrected_findings, given.findings)
        else Figures.of(corrected_findings, candidates, cases)
    )
    names = {case.case_id: case.name for case in shown}
    fields = {case.case_id: case.fields for case in shown}
    by_reader = project.verdicts_by_reader(run_id)
    verdicts = {**by_reader.get("", {}), **by_reader.get(seat, {})}
    return ReviewData(
        run_id, candidates, given, corrected, verdicts, cases,
        project.run(run_id).bundle_hash, _further(project, run_id, (given, candidates), by_reader),
        FilterContext(names, fields),
        {case.case_id: Grid.from_json(case.grid) for case in shown if case.grid is not None},
        unread(given.match, candidates, unread_ones), unread_ones,
    )  # fmt: skip


def _same(a: FindingTable, b: FindingTable) -> bool:
    columns = ("ids", "case_ids", "labels", "centres", "diameters", "is_excluded")
    return (
        all((getattr(a, name) == getattr(b, name)).all() for name in columns) if len(a) == len(b) else False
    )


def _further(
    project: Project,
    run_id: str,
    run: tuple[Figures, CandidateTable],
    by_reader: Mapping[str, Mapping[str, Verdict]],
) -> ErrorTable:
    """Return the errors that no threshold changes: outlines that fit badly, and what readers differ on."""
    given, candidates = run
    tables = [poor_outlines(_outline_scores(project, run_id, given))]
    names = {
        reader: {object_id: verdict.verdict for object_id, verdict in verdicts.items()}
        for reader, verdicts in by_reader.items()
        if reader
    }
    if len(names) > 1:
        tables.append(disagreements_of_verdicts(names, given.findings, candidates))
    return ErrorTable.joined(tables)


def _outline_scores(project: Project, run_id: str, given: Figures) -> OutlineScores:
    """Compare the outlines of candidates with those of the findings that they hit."""
    table, rows, dice = given.match, [], []
    hits = np.flatnonzero(table.kind == "tp")
    for case_id in dict.fromkeys(table.case_id[hits].tolist()):
        of_case = hits[table.case_id[hits] == case_id]
        found, scores = dice_of_hits(
            table.where(of_case), _outlines(project, run_id, case_id, table.where(of_case))
        )
        rows += of_case[found].tolist()
        dice += scores.tolist()
    match, where = table.where(np.asarray(rows, dtype=np.intp)), given.match.finding_rows(given.findings)
    findings = given.findings.where(where[np.asarray(rows, dtype=np.intp)])
    return OutlineScores(
        match.candidate_id, match.case_id, findings.labels, match.candidate_centre, findings.diameters,
        np.asarray(dice, dtype=np.float64),
    )  # fmt: skip


def _outlines(project: Project, run_id: str, case_id: str, hits: MatchTable) -> dict[str, Region]:
    """Return the outlines of what was hit and of what hit it, by their owner; none where nothing of either is outlined."""
    proposed = project.region_table(case_id, reader=project.reader, run_id=run_id)
    if not np.isin(hits.candidate_id.astype(np.bytes_), proposed.owner_ids).any():
        return {}
    table = project.region_table(case_id, reader=project.reader)
    wanted = np.concatenate([hits.candidate_id, hits.finding_id]).astype(np.bytes_)
    rows = np.flatnonzero(np.isin(table.owner_ids, wanted) & (table.owner_ids != b""))
    return {table.owner_ids[row].decode(): table.region(int(row)) for row in rows}


def model_disagreements(
    project: Project, review: ReviewData, other_run_id: str, fp_per_scan: float
) -> ErrorTable:
    """Return what another run sees otherwise, both at the same operating point; in a thread.

    Only what this run proposed and what is a finding is listed: nothing else can be judged in it.
    """
    other = Figures.of(review.given.findings, project.candidates(other_run_id), review.cases)
    here, there = (
        MarkedRun(name, match_at(figures.match, figures.curve.threshold_at(fp_per_scan)), candidates)
        for name, figures, candidates in (
            ("this model", review.given, review.candidates),
            ("the other model", other, project.candidates(other_run_id)),
        )
    )
    found = disagreements_of_runs(here, there, review.given.findings)
    known = {*review.candidates.ids.tolist(), *review.given.findings.ids.tolist()}
    return found.where(np.asarray([object_id in known for object_id in found.object_ids], dtype=np.bool_))
