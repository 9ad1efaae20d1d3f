"""Which candidate belongs to which finding, under a named rule, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_medlab.evaluation.match_table import KINDS, Kind, MatchTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable

__all__ = ["KINDS", "RULES", "Kind", "Luna16Rule", "MatchRule", "MatchTable", "match", "register_rule"]


class MatchRule(Protocol):
    """A rule that pairs candidates with findings.

    Contract: rows of cases that are not in ``cases`` are left out; every included finding of the others gets
    exactly one ``"tp"`` or ``"fn"`` row; the tables handed in are not changed; the same input gives the same
    table.
    """

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``."""
        ...


@dataclass(frozen=True)
class Luna16Rule:
    """The rule of the LUNA16 challenge, in any number of dimensions.

    A candidate hits a finding where its distance to the centre is less than the radius, strictly. Each
    included finding takes the highest scored of the candidates that hit it, the first in order among equals;
    the others are duplicates. A candidate inside two findings serves both. A candidate that hits only
    excluded findings is ignored, and what is left over is a false positive.

    Parameters
    ----------
    max_marks : int or None
        How many candidates count for each case, the highest scored first; None for all.
    unknown_diameter : float
        What a negative diameter stands for, in the unit of the centres.
    drop_tied_marks : bool
        What becomes of candidates whose score equals that of the first one beyond ``max_marks``. False keeps
        the first in order, so that exactly ``max_marks`` remain; True drops them all, as the challenge's
        script does.

    References
    ----------
    A. A. A. Setio et al., "Validation, comparison, and combination of algorithms for automatic detection of
    pulmonary nodules in computed tomography images: the LUNA16 challenge", Medical Image Analysis 42 (2017),
    and the script ``noduleCADEvaluationLUNA16.py`` that the challenge published.
    """

    max_marks: int | None = 100
    unknown_diameter: float = 10.0
    drop_tied_marks: bool = False

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``.

        Raises
        ------
        ValueError
            Where findings and candidates have different numbers of coordinates.
        """
        cases = tuple(dict.fromkeys(cases))
        _check_dimensions(findings, candidates)
        diameters = np.where(findings.diameters < 0, self.unknown_diameter, findings.diameters)
        found, proposed = _rows_by_case(findings.case_ids, cases), _rows_by_case(candidates.case_ids, cases)
        pairs = _Pairs()
        for finding_rows, candidate_rows in zip(found, proposed, strict=True):
            pairs.add_case(
                _CaseTask(
                    findings,
                    diameters / 2,
                    finding_rows,
                    candidates,
                    self._marks(candidates.scores, candidate_rows),
                )
            )
        return pairs.table(findings, candidates, cases)

    def _marks(self, scores: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the rows of one case that count, in their given order."""
        if self.max_marks is None or len(rows) <= self.max_marks:
            return rows
        descending = rows[np.argsort(-scores[rows], kind="stable")]
        if self.drop_tied_marks:
            above: NDArray[np.bool_] = scores[rows] > scores[descending[self.max_marks]]
            return rows[above]
        return np.sort(descending[: self.max_marks])


RULES: dict[str, MatchRule] = {"luna16": Luna16Rule()}
"""The rules by name."""


def register_rule(name: str, rule: MatchRule) -> None:
    """Make ``rule`` available by name; a name that is taken raises ValueError."""
    if name in RULES:
        msg = f"There is a matching rule called {name!r} already; choose another name."
        raise ValueError(msg)
    RULES[name] = rule


def match(
    findings: FindingTable,
    candidates: CandidateTable,
    cases: Sequence[str] | None = None,
    rule: str | MatchRule = "luna16",
) -> MatchTable:
    """Return the match table of candidates and findings.

    Parameters
    ----------
    findings, candidates : tables
        Excluded findings are those whose ``is_excluded`` is set.
    cases : sequence of str, optional
        The cases to evaluate; rows of others are left out. By default all that occur in either table.
    rule : str or MatchRule
        A rule, or the name of one in :data:`RULES`.
    """
    if cases is None:
        cases = [*map(str, findings.case_ids), *map(str, candidates.case_ids)]
    chosen = RULES[rule] if isinstance(rule, str) else rule
    return chosen.match(findings, candidates, cases)


@dataclass(frozen=True)
class _CaseTask:
    """One case: the rows of the tables that belong to it. ``radii`` is parallel to ``findings``."""

    findings: FindingTable
    radii: NDArray[np.float64]
    finding_rows: NDArray[np.intp]
    candidates: CandidateTable
    candidate_rows: NDArray[np.intp]

    def squared_distances(self, finding_rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return squared distances, (findings, candidates), summed as in the challenge's script."""
        here, there = self.findings.centres[finding_rows], self.candidates.centres[self.candidate_rows]
        total = np.zeros((len(here), len(there)))
        for axis in range(min(here.shape[1], there.shape[1])):
            total += (here[:, None, axis] - there[None, :, axis]) ** 2
        return total


class _Pairs:
    """Rows of a match table under construction: kinds, row numbers (-1 for none) and distances."""

    def __init__(self) -> None:
        self._kinds: list[NDArray[np.str_]] = []
        self._candidates: list[NDArray[np.intp]] = []
        self._findings: list[NDArray[np.intp]] = []
        self._distances: list[NDArray[np.float64]] = []

    def add_case(self, task: _CaseTask) -> None:
        """Pair the candidates and findings of one case."""
        excluded = task.findings.is_excluded[task.finding_rows]
        included_rows, excluded_rows = task.finding_rows[~excluded], task.finding_rows[excluded]
        squared = task.squared_distances(included_rows)
        hits = squared < (task.radii[included_rows] ** 2)[:, None]
        self._add_findings(task, included_rows, squared, hits)
        free: NDArray[np.bool_] = np.logical_not(hits.any(axis=0))
        ignored = self._add_ignored(task, excluded_rows, free)
        left = free & ~ignored
        nearest = np.sqrt(squared[:, left].min(axis=0, initial=np.inf))
        self._add("fp", task.candidate_rows[left], -1, nearest)

    def _add_findings(
        self,
        task: _CaseTask,
        rows: NDArray[np.intp],
        squared: NDArray[np.float64],
        hits: NDArray[np.bool_],
    ) -> None:
        is_found = hits.any(axis=1)
        at = np.flatnonzero(is_found)
        if len(at):
            best = np.where(hits[at], task.candidates.scores[task.candidate_rows], -np.inf).argmax(axis=1)
            self._add("tp", task.candidate_rows[best], rows[at], np.sqrt(squared[at, best]))
            further = hits.copy()
            further[at, best] = False
            finding, candidate = np.nonzero(further)
            self._add("duplicate", task.candidate_rows[candidate], rows[finding], np.sqrt(squared[further]))
        nearest = np.sqrt(squared[~is_found].min(axis=1, initial=np.inf))
        self._add("fn", -1, rows[~is_found], nearest)

    def _add_ignored(
        self, task: _CaseTask, rows: NDArray[np.intp], free: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Add those of the free candidates that hit an excluded finding, and tell which they are."""
        squared = task.squared_distances(rows)
        squared[squared >= (task.radii[rows] ** 2)[:, None]] = np.inf
        ignored: NDArray[np.bool_] = np.isfinite(squared).any(axis=0) & free
        if ignored.any():
            nearest = squared[:, ignored].argmin(axis=0)
            distances = np.sqrt(squared[:, ignored].min(axis=0))
            self._add("ignored", task.candidate_rows[ignored], rows[nearest], distances)
        return ignored

    def _add(
        self,
        kind: Kind,
        candidates: NDArray[np.intp] | int,
        findings: NDArray[np.intp] | int,
        distances: NDArray[np.float64],
    ) -> None:
        n = len(distances)
        self._kinds.append(np.full(n, kind))
        self._candidates.append(np.broadcast_to(np.asarray(candidates, dtype=np.intp), n))
        self._findings.append(np.broadcast_to(np.asarray(findings, dtype=np.intp), n))
        self._distances.append(distances)

    def table(self, findings: FindingTable, candidates: CandidateTable, cases: tuple[str, ...]) -> MatchTable:
        """Return what was collected, with ids, scores and centres looked up."""
        proposed = np.concatenate([*self._candidates, np.empty(0, dtype=np.intp)])
        found = np.concatenate([*self._findings, np.empty(0, dtype=np.intp)])
        ndim = candidates.centres.shape[1] if len(candidates) else findings.centres.shape[1]
        return MatchTable(
            kind=np.concatenate([*self._kinds, np.empty(0, dtype="U1")]),
            case_id=np.where(
                proposed >= 0, _pick_text(candidates.case_ids, proposed), _pick_text(findings.case_ids, found)
            ),
            candidate_id=_pick_text(candidates.ids, proposed),
            finding_id=_pick_text(findings.ids, found),
            score=_pick_numbers(candidates.scores, proposed, -np.inf),
            distance=np.concatenate([*self._distances, np.empty(0)]),
            candidate_centre=_pick_numbers(_points(candidates.centres, ndim), proposed, np.nan),
            finding_centre=_pick_numbers(_points(findings.centres, ndim), found, np.nan),
            cases=cases,
            candidate_row=proposed,
            finding_row=found,
        )


def _pick_text(column: NDArray[np.str_], rows: NDArray[np.intp]) -> NDArray[np.str_]:
    """Return ``column[rows]``, empty where the row is -1."""
    return np.append(column.astype(np.str_), "")[rows]


def _pick_numbers(column: NDArray[np.float64], rows: NDArray[np.intp], missing: float) -> NDArray[np.float64]:
    """Return ``column[rows]``, ``missing`` where the row is -1; a column of points, (n, d), gives points."""
    picked: NDArray[np.float64] = np.concatenate([column, np.full((1, *column.shape[1:]), missing)])[rows]
    return picked


def _points(centres: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Return the centres, (n, ndim); an empty table may have been made for another number of axes."""
    return centres if len(centres) else np.empty((0, ndim))


def _rows_by_case(case_ids: NDArray[np.str_], cases: tuple[str, ...]) -> list[NDArray[np.intp]]:
    """Return, for each case, the rows that belong to it, in order."""
    position = {case: number for number, case in enumerate(cases)}
    number = np.asarray([position.get(case, len(cases)) for case in case_ids.tolist()], dtype=np.intp)
    order = np.argsort(number, kind="stable")
    bounds = np.searchsorted(number[order], np.arange(len(cases) + 1))
    return [order[start:stop] for start, stop in pairwise(bounds.tolist())]


def _check_dimensions(findings: FindingTable, candidates: CandidateTable) -> None:
    ndims = findings.centres.shape[1], candidates.centres.shape[1]
    if len(findings) and len(candidates) and ndims[0] != ndims[1]:
        msg = f"Findings have {ndims[0]} coordinates and candidates {ndims[1]}; they cannot be matched."
        raise ValueError(msg)
