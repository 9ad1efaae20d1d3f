"""What examples can be chosen from in a project: the errors of a run, and everything else that it proposed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from napari_medlab.evaluation import match, match_at
from napari_medlab.hardcases.errors.building import OutlineScores, errors_at, low_confidence, poor_outlines
from napari_medlab.hardcases.errors.disagreements import disagreements_of_verdicts
from napari_medlab.hardcases.errors.outline_overlap import dice_of_hits
from napari_medlab.hardcases.errors.table import ErrorTable
from napari_medlab.hardcases.errors.unread import threshold_among
from napari_medlab.hardcases.mining import DOUBTS, Example, Pool
from napari_medlab.hardcases.mining.rule import REPLAY
from napari_medlab.hardcases.near_misses import ambiguous_reach, is_near_miss
from napari_medlab.project.keep_lists import RANDOM
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable, Region
    from napari_medlab.evaluation import MatchTable
    from napari_medlab.hardcases.errors.table import ErrorKind
    from napari_medlab.project import CaseRecord, Project

__all__ = [
    "Reviewed", "doubted_objects", "errors_of", "patient_keys", "places_clear_of_findings", "pool_of",
    "queue_of_run", "replayed_findings", "reviewed_cases",
]  # fmt: skip


def queue_of_run(
    project: Project, run_id: str, fp_per_scan: float, kinds: Collection[ErrorKind] = ("fp", "fn")
) -> ErrorTable:
    """Return the errors of a run on training cases at an operating point, worst first; frozen cases never enter.

    ``kinds`` may hold ``"fp"``, ``"fn"`` and ``"duplicate"``, ``"poor outline"``, ``"disagreement"`` for objects about
    which readers gave different verdicts, and ``"low confidence"``.
    """
    return errors_of(Reviewed.of(project, run_id, reviewed_cases(project, run_id), fp_per_scan), kinds)


def reviewed_cases(project: Project, run_id: str) -> list[CaseRecord]:
    """Return the training cases that a run is done with; frozen ones are not among them."""
    done = project.cases_done(run_id)
    return [c for c in project.cases() if c.case_id in done and c.split == "train" and not c.frozen]


def patient_keys(project: Project) -> dict[str, str]:
    """Return a key for the patient of each case that tells nobody who it is, the same in every package of a project.

    Keys that are random stay as they are. Any other, such as one typed in by hand, is replaced by the key of the patient's
    first case.
    """
    cases, first = project.cases(), dict[str, str]()
    for case in cases:
        first.setdefault(case.group, case.case_id)
    return {case.case_id: case.group if RANDOM.fullmatch(case.group) else first[case.group] for case in cases}


def doubted_objects(project: Project) -> set[str]:
    """Return the findings and candidates whose label a reader called into doubt, in any run or outside of one."""
    runs = ["", *(run.run_id for run in project.runs())]
    return {
        object_id
        for run_id in runs
        for object_id, given in project.verdicts(run_id).items()
        if given.verdict in DOUBTS
    }


@dataclass(frozen=True, eq=False)
class Reviewed:
    """A run on some training cases, matched, and its errors at an operating point.

    Parameters
    ----------
    project : Project
    run_id : str
    cases : sequence of CaseRecord
    findings, candidates : tables
        Those of these cases.
    match, at : MatchTable
        At no threshold, and at that of the operating point.
    threshold : float
    """

    project: Project
    run_id: str
    cases: Sequence[CaseRecord]
    findings: FindingTable
    candidates: CandidateTable
    match: MatchTable
    at: MatchTable
    threshold: float

    @classmethod
    def of(cls, project: Project, run_id: str, cases: Sequence[CaseRecord], fp_per_scan: float) -> Reviewed:
        """Match a run on some cases, and set the operating point on those of them that were read."""
        ids = [case.case_id for case in cases]
        findings, candidates = project.findings(), project.candidates(run_id)
        findings = findings.where(np.isin(findings.case_ids, ids))
        candidates = candidates.where(np.isin(candidates.case_ids, ids))
        table = match(findings, candidates, ids)
        unread = reading_of(project).unread & set(ids)
        threshold = threshold_among(table, unread, fp_per_scan)
        return cls(project, run_id, cases, findings, candidates, table, match_at(table, threshold), threshold)

    @cached_property
    def findings_of(self) -> dict[str, NDArray[np.intp]]:
        """The rows of the findings of each case that has any."""
        return _rows_by_case(self.findings.case_ids)

    @cached_property
    def units(self) -> dict[str, str]:
        """The unit of each case's world; millimetres where nobody knows."""
        return {case.case_id: str((case.grid or {}).get("unit", "mm")) for case in self.cases}


def errors_of(run: Reviewed, kinds: Collection[ErrorKind]) -> ErrorTable:
    """Return the errors of these kinds, worst first, the kinds taking turns."""
    sources = [errors_at(run.at, run.findings, run.candidates, kinds)]
    if "poor outline" in kinds:
        sources.append(poor_outlines(_outline_scores(run)))
    if "disagreement" in kinds:
        said = {
            reader: {object_id: each.verdict for object_id, each in verdicts.items()}
            for reader, verdicts in run.project.verdicts_by_reader(run.run_id).items()
            if reader  # what was adjudicated is no reader's own
        }
        sources.append(disagreements_of_verdicts(said, run.findings, run.candidates))
    if "low confidence" in kinds:
        sources.append(low_confidence(run.match, run.candidates, run.threshold))
    return ErrorTable.joined(sources) if len(sources) > 1 else sources[0]


def pool_of(run: Reviewed, kinds: Collection[ErrorKind], exported: Collection[str] = ()) -> Pool:
    """Return what examples can be chosen from.

    Parameters
    ----------
    run : Reviewed
    kinds : collection of str
        The kinds of error that make the queue.
    exported : collection of str
        The objects that earlier packages hold.
    """
    queue = errors_of(run, kinds)
    first = np.sort(np.unique(queue.object_id, return_index=True)[1]) if len(queue) else np.zeros(0, np.intp)
    queue = queue.where(first)
    hits, rest = _hits(run.match), _rest_of(run, queue)
    whole = ErrorTable.concatenated([queue, rest]) if len(rest) else queue
    ids = whole.object_ids
    is_finding = np.isin(whole.object_id, run.findings.ids)
    is_positive = is_finding | np.isin(whole.object_id, list(hits))
    kind = whole.kind.astype("U16")
    kind[len(queue) :] = np.where(is_positive[len(queue) :], "hit", "background")
    never = run.match.finding_id[(run.match.kind == "fn") & (run.match.candidate_id == "")]
    kind[len(queue) :][np.isin(whole.object_id[len(queue) :], never)] = "fn"
    groups = {case.case_id: case.group for case in run.cases}
    verdicts = {key: given.verdict for key, given in run.project.verdicts(run.run_id).items()}
    doubted = doubted_objects(run.project)
    return Pool(
        object_id=whole.object_id, case_id=whole.case_id,
        patient=np.asarray([groups[case] for case in whole.case_id.tolist()], dtype=np.str_),
        kind=kind, centre=whole.centre, score=whole.score, is_positive=is_positive,
        is_proposed=~is_finding | np.isin(whole.object_id, never),
        verdict=np.asarray([verdicts.get(key, "") for key in ids], dtype=np.str_),
        is_doubted=np.isin(whole.object_id, list(doubted)),
        is_near_miss=~is_positive & _is_beside(whole.case_id, whole.centre, run),
        was_exported=np.isin(whole.object_id, list(exported)), shown=np.arange(len(queue)),
    )  # fmt: skip


def replayed_findings(run: Reviewed) -> list[Example]:
    """Return the findings that the run found at its operating point and that nobody doubts, in their order."""
    found = set(run.at.finding_id[run.at.kind == "tp"].tolist()) - doubted_objects(run.project)
    table = run.findings
    return [
        Example(str(table.case_ids[row]), tuple(table.centres[row].tolist()), REPLAY, object_id=key, is_positive=True)
        for row, key in enumerate(table.ids.tolist())
        if key in found
    ]  # fmt: skip


def places_clear_of_findings(
    run: Reviewed, case_id: str
) -> Callable[[NDArray[np.float64]], NDArray[np.bool_]]:
    """Return what tells which world points (n, d) of a case are neither in nor beside a finding."""
    around = _Around.of(run, case_id)
    return lambda points: ~around.covers(points)


def _hits(table: MatchTable) -> set[str]:
    """Return the candidates that hit a finding that counts."""
    return set(table.candidate_id[np.isin(table.kind, ("tp", "duplicate"))].tolist())


def _rest_of(run: Reviewed, queue: ErrorTable) -> ErrorTable:
    """Return what is no error in the queue: candidates that took part, and findings that none hit."""
    table = run.match
    counted = set(table.candidate_id[table.kind != "ignored"].tolist())
    never = set(table.finding_id[(table.kind == "fn") & (table.candidate_id == "")].tolist())
    known = set(queue.object_ids)
    candidates = run.candidates.where(_mask(run.candidates.ids, counted - known))
    findings = run.findings.where(_mask(run.findings.ids, never - known))
    return ErrorTable.concatenated(
        [ErrorTable.about(candidates, "low confidence"), ErrorTable.about(findings, "fn")]
    )


def _rows_by_case(case_ids: NDArray[np.str_]) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each case."""
    names, codes, counts = np.unique(case_ids, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    return dict(zip(names.tolist(), rows, strict=False))


def _mask(ids: NDArray[np.str_], wanted: set[str]) -> NDArray[np.bool_]:
    return np.asarray([key in wanted for key in ids.tolist()], dtype=np.bool_)


class _Around(NamedTuple):
    """Findings of one case, and how far around each nothing is certain."""

    centres: NDArray[np.float64]
    radii: NDArray[np.float64]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, run: Reviewed, case_id: str) -> _Around:
        rows = run.findings_of.get(case_id, np.zeros(0, np.intp))
        radii = np.maximum(run.findings.diameters[rows], 0) / 2
        unit = run.units[case_id]
        return cls(run.findings.centres[rows], radii, ambiguous_reach(radii, unit))

    def covers(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points (n, d) lie in or beside a finding."""
        point, finding, away = self._pairs(points)
        covered = np.zeros(len(points), dtype=np.bool_)
        covered[point[away < np.maximum(self.radii, self.reach)[finding]]] = True
        return covered

    def beside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points (n, d) lie beside a finding, outside its radius."""
        point, finding, away = self._pairs(points)
        is_beside = np.zeros(len(points), dtype=np.bool_)
        is_beside[point[is_near_miss(away, self.radii[finding], self.reach[finding])]] = True
        return is_beside

    def _pairs(self, points: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return the points and findings that are near one another, by their rows, and their distances."""
        if not len(points) or not len(self.centres):
            return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0)
        furthest = float(np.maximum(self.radii, self.reach).max())
        tree = cKDTree(self.centres[:, : points.shape[1]])
        near = cKDTree(points).sparse_distance_matrix(tree, furthest, output_type="ndarray")
        return near["i"], near["j"], near["v"]


def _is_beside(case_ids: NDArray[np.str_], centres: NDArray[np.float64], run: Reviewed) -> NDArray[np.bool_]:
    beside = np.zeros(len(case_ids), dtype=np.bool_)
    for case_id, rows in _rows_by_case(case_ids).items():
        beside[rows] = _Around.of(run, case_id).beside(centres[rows])
    return beside


def _outline_scores(run: Reviewed) -> OutlineScores:
    """Compare the outlines of candidates with those of the findings that they hit."""
    table, rows, dice = run.match, [], []
    hits = np.flatnonzero(table.kind == "tp")
    for case_id in dict.fromkeys(table.case_id[hits].tolist()):
        of_case = hits[table.case_id[hits] == case_id]
        found, scores = dice_of_hits(table.where(of_case), _outlines(run, case_id, table.where(of_case)))
        rows += of_case[found].tolist()
        dice += scores.tolist()
    chosen = np.asarray(rows, dtype=np.intp)
    matched = table.where(chosen)
    findings = run.findings.where(table.finding_rows(run.findings)[chosen])
    return OutlineScores(
        matched.candidate_id, matched.case_id, findings.labels, matched.candidate_centre, findings.diameters,
        np.asarray(dice, dtype=np.float64),
    )  # fmt: skip


def _outlines(run: Reviewed, case_id: str, hits: MatchTable) -> dict[str, Region]:
    """Return the outlines of what was hit and of what hit it, by their owner."""
    table = run.project.region_table(case_id)
    wanted = np.concatenate([hits.candidate_id, hits.finding_id]).astype(np.bytes_)
    rows = np.flatnonzero(np.isin(table.owner_ids, wanted) & (table.owner_ids != b""))
    return {table.owner_ids[row].decode(): table.region(int(row)) for row in rows}
