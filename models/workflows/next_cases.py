"""Which case to read next: unread cases by doubt, by expected errors, or by how unlike they are to what was read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import match
from napari_medlab.hardcases.acquisition import (
    entropy,
    error_chance,
    farthest_first,
    margin,
    sum_of_largest,
    variance,
)
from napari_medlab.hardcases.errors.unread import PER_CASE, calibrated_by, threshold_among, unread_in_order
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.hardcases.errors.table import ErrorTable
    from napari_medlab.models.workflows.embed import EmbeddedRun
    from napari_medlab.project import CaseRecord, Project

__all__ = ["CRITERIA", "MEASURES", "NextCase", "NextCases", "NextRule", "next_cases", "unread_cases"]

Criterion = Literal["uncertainty", "diversity", "errors", "mixed"]
Measure = Literal["entropy", "margin", "variance"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
MEASURES: tuple[Measure, ...] = get_args(Measure)

SAME_PLACE = 5.0
"""Candidates of two runs are the same where they are no farther apart than this, or than the radius of one of them."""


@dataclass(frozen=True)
class NextRule:
    """How unread cases are ranked.

    Parameters
    ----------
    by : {"uncertainty", "diversity", "errors", "mixed"}
        ``"uncertainty"``: by the doubt about the most doubtful candidates. ``"errors"``: by how many errors are to be
        expected at the operating point. ``"diversity"``: each case as far as possible from what was read and from those before
        it. ``"mixed"``: doubt times that distance, so that a batch is in doubt and yet no case is like another.
    measure : {"entropy", "margin", "variance"}
        What doubt is: the entropy of the chance that a candidate is a finding, how near its score is to the operating point,
        or how far several runs differ about it.
    per_case : int
        How many candidates speak for a case.
    fp_per_scan : float
        The operating point.
    count : int or None
        How many cases are wanted; all where None.

    Raises
    ------
    InputRefusedError
        ``option`` for anything else.
    """

    by: Criterion = "uncertainty"
    measure: Measure = "entropy"
    per_case: int = PER_CASE
    fp_per_scan: float = 1.0
    count: int | None = None

    def __post_init__(self) -> None:
        is_fit = self.by in CRITERIA and self.measure in MEASURES
        if (
            not is_fit
            or self.per_case < 1
            or not self.fp_per_scan > 0
            or (self.count is not None and self.count < 1)
        ):
            raise InputRefusedError(
                f"Unread cases cannot be ranked by {self}.", code="option",
                hint=f"Use one of {', '.join(CRITERIA)} and of {', '.join(MEASURES)}, and numbers above 0.",
            )  # fmt: skip

    @property
    def needs_vectors(self) -> bool:
        """Whether an embedding of the run is needed."""
        return self.by in ("diversity", "mixed")


@dataclass(frozen=True)
class NextCase:
    """An unread case.

    Parameters
    ----------
    case_id, name : str
    doubt : float
        The sum over its most doubtful candidates, each from 0 to 1.
    expected_errors : float
        False positives and misses among all of its candidates at the operating point.
    candidates : int
    """

    case_id: str
    name: str
    doubt: float
    expected_errors: float
    candidates: int

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "case_id": self.case_id, "case": self.name, "doubt": self.doubt, "expected_errors": self.expected_errors,
            "candidates": self.candidates,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class NextCases:
    """Unread cases, the one to read first at the front.

    Parameters
    ----------
    rule : NextRule
    cases : tuple of NextCase
        Those without any candidate among them.
    queue : ErrorTable
        Their most doubtful candidates, case by case, of the kind ``"unread"``.
    reviewed : int
        How many reviewed candidates the chances were learnt from; 0 where scores are taken as they are.
    """

    rule: NextRule
    cases: tuple[NextCase, ...]
    queue: ErrorTable
    reviewed: int


def unread_cases(project: Project, run_id: str) -> list[CaseRecord]:
    """Return the training cases that a run is done with and that nobody is known to have read.

    What that is, :func:`napari_medlab.project.unread.reading_of` says; test cases are never among them.
    """
    unread = project.cases_done(run_id) & reading_of(project).unread
    return [case for case in project.cases() if case.case_id in unread]


def next_cases(
    project: Project, run_id: str, rule: NextRule | None = None, *, others: Sequence[str] = (),
    embedded: EmbeddedRun | None = None,
) -> NextCases:  # fmt: skip
    """Rank the unread cases of a run.

    The chance that a candidate is a finding is learnt from the cases that were read; where they hold fewer than ten findings
    and ten false positives that the run marked, a score is taken as its own chance.

    Parameters
    ----------
    project : Project
    run_id : str
    rule : NextRule, optional
    others : sequence of str
        Further runs on the same cases, which make an ensemble with this one: other models, or the same model with and
        without an average over symmetries at test time. Their scores vary where nobody can be sure.
    embedded : EmbeddedRun, optional
        What :func:`napari_medlab.models.workflows.embed.embed_run` made of this run.

    Raises
    ------
    InputRefusedError
        ``"no-embedding"`` or ``"members"`` where the rule needs an embedding, or a second run, that was not given.
    ProjectError
        ``unknown-run``.
    """
    wanted = rule or NextRule()
    _check(project, run_id, wanted, others, embedded)
    unread = unread_cases(project, run_id)
    scores = _Scores.of(project, run_id, unread, wanted, others)
    order = _order(scores, wanted, embedded)[: wanted.count]
    cases = tuple(scores.case(int(at)) for at in order)
    queue = unread_in_order(
        scores.candidates, scores.merit(wanted), [case.case_id for case in cases], per_case=wanted.per_case
    )
    return NextCases(wanted, cases, queue, scores.reviewed)


def _check(
    project: Project, run_id: str, rule: NextRule, others: Sequence[str], embedded: EmbeddedRun | None
) -> None:
    for each in (run_id, *others):
        project.run(each)
    if rule.needs_vectors and (embedded is None or embedded.run_id != run_id):
        raise InputRefusedError(
            f"Ranking by {rule.by} needs an embedding of this very run.", code="no-embedding",
            hint="Rank by uncertainty or by errors, or embed the run first.",
        )  # fmt: skip
    if rule.measure == "variance" and not set(others) - {run_id}:
        raise InputRefusedError(
            "Variance needs a second run on the same cases.", code="members",
            hint="Run another model, or this one with test-time symmetries, and name that run.",
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Scores:
    """The unread cases with their candidates, the doubt about each, and the chance that it is an error."""

    cases: list[CaseRecord]
    candidates: CandidateTable
    groups: NDArray[np.intp]
    doubt: NDArray[np.float64]
    errors: NDArray[np.float64]
    per_case: int
    reviewed: int

    @classmethod
    def of(
        cls, project: Project, run_id: str, unread: list[CaseRecord], rule: NextRule, others: Sequence[str]
    ) -> _Scores:
        ids = [case.case_id for case in unread]
        all_candidates = project.candidates(run_id)
        done = project.cases_done(run_id)
        shown = [
            case.case_id
            for case in project.cases()
            if case.case_id in done and case.split == "train" and not case.frozen
        ]
        table = match(project.findings(), all_candidates, shown)
        calibration, threshold = calibrated_by(table, ids), threshold_among(table, ids, rule.fp_per_scan)
        candidates = all_candidates.where(np.isin(all_candidates.case_ids, ids))
        number = {case_id: at for at, case_id in enumerate(ids)}
        groups = np.array([number[case_id] for case_id in candidates.case_ids.tolist()], np.intp)
        chance = calibration.share(candidates.scores)
        if rule.measure == "entropy":
            doubt = entropy(chance)
        elif rule.measure == "margin":
            doubt = margin(candidates.scores, threshold)
        else:
            tables = [project.candidates(other) for other in others if other != run_id]
            doubt = variance([candidates.scores, *(_scores_at(candidates, other) for other in tables)])
        errors = error_chance(chance, candidates.scores >= threshold)
        return cls(unread, candidates, groups, doubt, errors, rule.per_case, calibration.reviewed)

    @cached_property
    def doubts(self) -> NDArray[np.float64]:
        """The doubt about each case."""
        return sum_of_largest(self.doubt, self.groups, len(self.cases), self.per_case)

    @cached_property
    def expected_errors(self) -> NDArray[np.float64]:
        """The errors to expect on each case."""
        return np.bincount(self.groups, self.errors, minlength=len(self.cases)).astype(np.float64)

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """How many candidates each case has."""
        return np.bincount(self.groups, minlength=len(self.cases))

    def merit(self, rule: NextRule) -> NDArray[np.float64]:
        """Return what puts the candidates of one case in order."""
        return self.errors if rule.by == "errors" else self.doubt

    def case(self, at: int) -> NextCase:
        """Return one case with its figures."""
        record, count = self.cases[at], int(self.counts[at])
        return NextCase(
            record.case_id, record.name, float(self.doubts[at]), float(self.expected_errors[at]), count
        )


def _order(scores: _Scores, rule: NextRule, embedded: EmbeddedRun | None) -> NDArray[np.intp]:
    """Return the rows of the cases, the one to read first at the front."""
    if rule.by in ("uncertainty", "errors") or embedded is None:
        values = scores.expected_errors if rule.by == "errors" else scores.doubts
        return np.argsort(-values, kind="stable")
    ids = [case.case_id for case in scores.cases]
    vectors, known = _vectors(embedded, ids, rule.per_case)
    return farthest_first(vectors, len(ids), known=known, worth=scores.doubts if rule.by == "mixed" else None)


def _vectors(
    embedded: EmbeddedRun, unread: list[str], per_case: int
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return where each unread case lies, (n, features), and where those lie that were read; None where none was."""
    candidates = embedded.objects.candidates
    rows = embedded.vectors[len(embedded.objects.findings) :].astype(np.float64)
    by_case: dict[str, list[int]] = {}
    for row in np.argsort(-candidates.scores, kind="stable").tolist():
        by_case.setdefault(str(candidates.case_ids[row]), []).append(row)
    # what nothing is known of lies in the middle, where all features are 0
    middle = np.zeros(rows.shape[1])
    places = {case_id: rows[at[:per_case]].mean(axis=0) for case_id, at in by_case.items()}
    unknown = [case_id for case_id in places if case_id not in set(unread)]
    known = np.stack([places[case_id] for case_id in unknown]) if unknown else None
    return np.stack([places.get(case_id, middle) for case_id in unread] or [middle])[: len(unread)], known


def _scores_at(candidates: CandidateTable, other: CandidateTable) -> NDArray[np.float64]:
    """Return the best score that another run gives at the place of each candidate; 0 where it marked nothing there."""
    found = np.zeros(len(candidates))
    for case_id in np.unique(candidates.case_ids):
        here, there = (np.flatnonzero(table.case_ids == case_id) for table in (candidates, other))
        if not len(there):
            continue
        dims = min(candidates.centres.shape[1], other.centres.shape[1])
        apart = candidates.centres[here, None, :dims] - other.centres[None, there, :dims]
        radius = np.maximum(candidates.diameters[here, None], other.diameters[None, there]) / 2
        is_same = np.linalg.norm(apart, axis=2) <= np.maximum(radius, SAME_PLACE)
        found[here] = np.where(is_same, other.scores[None, there], 0.0).max(axis=1)
    return found
