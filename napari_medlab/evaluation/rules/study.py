"""What every rule works on: the rows of both tables case by case, which of them are near each other, and the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

import numpy as np

from napari_medlab.evaluation.match_table import KINDS, Kind, MatchTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from scipy.spatial import cKDTree

    from napari_medlab.annotations import CandidateTable, FindingTable

__all__ = [
    "NOWHERE",
    "Pairs",
    "Rows",
    "Study",
    "exact_within",
    "first_of_each",
    "shared_hits",
    "squared_gaps",
]

Value = TypeVar("Value", bound=np.generic)

NOWHERE = -1
"""The number of a case that is not evaluated, and the row of an object that there is not."""
ROW_ORDER: Mapping[Kind, int] = {"tp": 0, "duplicate": 1, "fn": 2, "ignored": 3, "fp": 4}


class Pairs(NamedTuple):
    """Rows of findings and of candidates that belong together, each (p,)."""

    finding: NDArray[np.intp]
    candidate: NDArray[np.intp]

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.intp]) -> Pairs:
        """Return the pairs chosen by a mask or by indices."""
        return Pairs(self.finding[chosen], self.candidate[chosen])


class Rows(NamedTuple):
    """Rows of a match table: of candidates and of findings, -1 for none, and the distances, each (n,)."""

    kind: Kind
    candidate: NDArray[np.intp]
    finding: NDArray[np.intp]
    distance: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Study:
    """Findings and candidates of the cases that are evaluated.

    Parameters
    ----------
    findings, candidates : tables
    cases : tuple of str
    finding_case, candidate_case : int arrays, (n,) and (m,)
        The number of each row's case; -1 for rows that do not take part.
    """

    findings: FindingTable
    candidates: CandidateTable
    cases: tuple[str, ...]
    finding_case: NDArray[np.intp]
    candidate_case: NDArray[np.intp]

    @classmethod
    def of(cls, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> Self:
        """Return the study of some cases; one that is named twice counts once.

        Raises
        ------
        ValueError
            Where findings and candidates have different numbers of coordinates.
        """
        _check_dimensions(findings, candidates)
        once = tuple(dict.fromkeys(cases))
        number = {case: n for n, case in enumerate(once)}
        return cls(
            findings,
            candidates,
            once,
            _numbers(findings.case_ids, number),
            _numbers(candidates.case_ids, number),
        )

    @property
    def included(self) -> NDArray[np.intp]:
        """The rows of the findings that count, in order."""
        return np.flatnonzero((self.finding_case != NOWHERE) & ~self.findings.is_excluded)

    @property
    def excluded(self) -> NDArray[np.intp]:
        """The rows of the findings that count neither as found nor as missed, in order."""
        return np.flatnonzero((self.finding_case != NOWHERE) & self.findings.is_excluded)

    @property
    def proposed(self) -> NDArray[np.intp]:
        """The rows of the candidates that take part, in order."""
        return np.flatnonzero(self.candidate_case != NOWHERE)

    def limited(self, max_marks: int | None, *, per_finding: int = 0, drop_tied: bool = False) -> Self:
        """Return the study with the ``max_marks`` highest scored candidates of each case, None for all.

        Of a case where ``per_finding`` for each finding that counts are more, so many are kept. Of equal scores the first in
        order are kept, or, with ``drop_tied``, none that equal the first one too many.
        """
        rows = self.proposed
        if max_marks is None or not len(rows):
            return self
        case, score = self.candidate_case[rows], self.candidates.scores[rows]
        order = np.lexsort((rows, -score, case))
        start = np.searchsorted(case[order], np.arange(len(self.cases)))
        rank = np.arange(len(order)) - start[case[order]]
        findings = np.bincount(self.finding_case[self.included], minlength=len(self.cases))
        most = np.maximum(max_marks, per_finding * findings)[case[order]]
        kept = rank < most
        if drop_tied:
            limit = np.full(len(self.cases), -np.inf)
            limit[case[order[rank == most]]] = score[order[rank == most]]
            kept &= score[order] > limit[case[order]]
        chosen = self.candidate_case.copy()
        chosen[rows[order[~kept]]] = NOWHERE
        return replace(self, candidate_case=chosen)

    def distances(self, pairs: Pairs) -> NDArray[np.float64]:
        """Return how far apart the centres of pairs are, (p,)."""
        return np.sqrt(
            squared_gaps(self.findings.centres[pairs.finding], self.candidates.centres[pairs.candidate])
        )

    def within(self, findings: NDArray[np.intp], radii: NDArray[np.float64]) -> Pairs:
        """Return the pairs whose centres lie less than the finding's radius apart, strictly.

        Parameters
        ----------
        findings : int array, (n,)
            Rows of findings.
        radii : float64 array, (n,)
            Parallel to ``findings``.
        """
        candidates = self.proposed
        if not len(findings) or not len(candidates):
            return _no_pairs()
        here, there = self.findings.centres[findings], self.candidates.centres[candidates]
        # one more axis keeps the cases further apart than anything reaches, so that one tree serves all
        step = 2.0 * float(radii.max()) + 1.0
        around = _tree(there, self.candidate_case[candidates] * step).query_ball_point(
            np.column_stack([here, self.finding_case[findings] * step]),
            radii * (1 + 1e-9),
            return_sorted=False,
        )
        of = np.repeat(np.arange(len(findings)), [len(each) for each in around])
        pairs = Pairs(findings[of], candidates[np.concatenate(around).astype(np.intp)])
        return pairs.where(exact_within(self, pairs, radii[of]))

    def nearest_finding(self, candidates: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how far the nearest included finding of the same case is from candidates; inf where there is none."""
        f, rows = self.findings, self.included
        return _nearest(
            self.candidates.centres[candidates],
            self.candidate_case[candidates],
            f.centres[rows],
            self.finding_case[rows],
        )

    def nearest_candidate(self, findings: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return how far the nearest candidate of the same case is from findings; inf where there is none."""
        c, rows = self.candidates, self.proposed
        return _nearest(
            self.findings.centres[findings],
            self.finding_case[findings],
            c.centres[rows],
            self.candidate_case[rows],
        )

    def table(self, found: Pairs, further: Pairs, ignored: Pairs) -> MatchTable:
        """Return the match table: what is in no pair is missed, or a false positive.

        Parameters
        ----------
        found, further, ignored : Pairs
            True positives, duplicates, and candidates that are left out of the count.
        """
        taken = np.concatenate([found.candidate, further.candidate, ignored.candidate])
        left = _without(self.proposed, taken, len(self.candidates))
        missed = _without(self.included, found.finding, len(self.findings))
        nothing = np.full(max(len(left), len(missed)), NOWHERE, dtype=np.intp)
        rows = [
            Rows("tp", found.candidate, found.finding, self.distances(found)),
            Rows("duplicate", further.candidate, further.finding, self.distances(further)),
            Rows("fn", nothing[: len(missed)], missed, self.nearest_candidate(missed)),
            Rows("ignored", ignored.candidate, ignored.finding, self.distances(ignored)),
            Rows("fp", left, nothing[: len(left)], self.nearest_finding(left)),
        ]
        return self._assembled(rows)

    def _assembled(self, parts: Sequence[Rows]) -> MatchTable:
        """Return the parts as one table: case by case, hits before misses before false positives."""
        kind = np.repeat(
            np.array([ROW_ORDER[part.kind] for part in parts]), [len(part.candidate) for part in parts]
        )
        candidate, finding = (np.concatenate([part[column] for part in parts]) for column in (1, 2))
        distance = np.concatenate([part.distance for part in parts])
        by_candidate = kind >= ROW_ORDER["ignored"]
        case = np.where(
            candidate >= 0, _pick(self.candidate_case, candidate, -1), _pick(self.finding_case, finding, -1)
        )
        order = np.lexsort((candidate, np.where(by_candidate, candidate, finding), kind, case))
        candidate, finding, kind, case = candidate[order], finding[order], kind[order], case[order]
        f, c = self.findings, self.candidates
        ndim = c.centres.shape[1] if len(c) else f.centres.shape[1]
        names = np.array(sorted(KINDS, key=ROW_ORDER.__getitem__))
        return MatchTable(
            kind=names[kind],
            case_id=np.array(self.cases, dtype=np.str_)[case] if len(case) else np.empty(0, dtype="U1"),
            candidate_id=_pick_text(c.ids, candidate),
            finding_id=_pick_text(f.ids, finding),
            score=_pick(c.scores, candidate, -np.inf),
            distance=distance[order],
            candidate_centre=_pick(_points(c.centres, ndim), candidate, np.nan),
            finding_centre=_pick(_points(f.centres, ndim), finding, np.nan),
            cases=self.cases,
            candidate_row=candidate,
            finding_row=finding,
        )


def shared_hits(study: Study, hits: Pairs, on_excluded: Pairs) -> MatchTable:
    """Return the table of a rule by which a candidate serves every finding that it hits.

    Each finding takes the highest scored of the candidates that hit it, the first in order among equals; the others are
    duplicates. A candidate that hits excluded findings alone is ignored, by the nearest of them.

    Parameters
    ----------
    study : Study
    hits, on_excluded : Pairs
        Which candidates hit which included, and which excluded findings.
    """
    best_first = np.lexsort((hits.candidate, -study.candidates.scores[hits.candidate], hits.finding))
    is_first = first_of_each(hits.finding[best_first])
    found, further = best_first[is_first], best_first[~is_first]
    alone = on_excluded.where(~np.isin(on_excluded.candidate, hits.candidate))
    nearest_first = np.lexsort((alone.finding, study.distances(alone), alone.candidate))
    ignored = nearest_first[first_of_each(alone.candidate[nearest_first])]
    return study.table(
        Pairs(hits.finding[found], hits.candidate[found]),
        Pairs(hits.finding[further], hits.candidate[further]),
        Pairs(alone.finding[ignored], alone.candidate[ignored]),
    )


def first_of_each(sorted_values: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which of sorted values, (n,), none of them negative, begin a run of equals."""
    return np.asarray(np.diff(sorted_values, prepend=NOWHERE) != 0)


def exact_within(study: Study, pairs: Pairs, radii: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which pairs, (p,), are less than ``radii``, (p,), apart, to the last digit as LUNA16's script does."""
    gaps = squared_gaps(study.findings.centres[pairs.finding], study.candidates.centres[pairs.candidate])
    return np.asarray(gaps < radii**2)


def squared_gaps(here: NDArray[np.float64], there: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared distances of points from points, each (p, d), summed axis by axis."""
    total = np.zeros(len(here))
    for axis in range(min(here.shape[1], there.shape[1])):
        total += (here[:, axis] - there[:, axis]) ** 2
    return total


def _nearest(
    here: NDArray[np.float64],
    here_case: NDArray[np.intp],
    there: NDArray[np.float64],
    there_case: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Return the distance of each point, (p, d), from the nearest of its case; inf where there is none."""
    gaps = np.full(len(here), np.inf)
    if not len(here) or not len(there):
        return gaps
    both = np.concatenate([here, there])
    step = 2 * float(np.linalg.norm(both.max(axis=0) - both.min(axis=0))) + 1.0
    _, at = _tree(there, there_case * step).query(np.column_stack([here, here_case * step]))
    same = there_case[at] == here_case
    gaps[same] = np.sqrt(squared_gaps(here[same], there[at[same]]))
    return gaps


def _tree(points: NDArray[np.float64], shifts: NDArray[np.floating[Any]]) -> cKDTree:
    from scipy.spatial import cKDTree

    return cKDTree(np.column_stack([points, shifts]), balanced_tree=False, compact_nodes=False)


def _no_pairs() -> Pairs:
    return Pairs(np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))


def _numbers(names: NDArray[np.str_], number: Mapping[str, int]) -> NDArray[np.intp]:
    """Return the number of each name, -1 for none; rows of one case mostly stand together, and are looked up once."""
    if not len(names):
        return np.empty(0, np.intp)
    starts = np.flatnonzero(np.append(True, names[1:] != names[:-1]))
    found = np.fromiter(
        map(number.get, names[starts].tolist(), repeat(NOWHERE)), dtype=np.intp, count=len(starts)
    )
    return np.repeat(found, np.diff(np.append(starts, len(names))))


def _without(rows: NDArray[np.intp], taken: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Return the rows, in order, of a table of ``count`` that are not taken."""
    is_free = np.ones(count, np.bool_)
    is_free[taken] = False
    return rows[is_free[rows]]


def _pick_text(column: NDArray[np.str_], rows: NDArray[np.intp]) -> NDArray[np.str_]:
    """Return ``column[rows]``, empty where the row is -1."""
    return np.append(column.astype(np.str_), "")[rows]


def _pick(column: NDArray[Value], rows: NDArray[np.intp], missing: float) -> NDArray[Value]:
    """Return ``column[rows]``, ``missing`` where the row is -1; a column of points, (n, d), gives points."""
    picked: NDArray[Value] = np.concatenate(
        [column, np.full((1, *column.shape[1:]), missing, dtype=column.dtype)]
    )[rows]
    return picked


def _points(centres: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Return the centres, (n, ndim); an empty table may have been made for another number of axes."""
    return centres if len(centres) else np.empty((0, ndim))


def _check_dimensions(findings: FindingTable, candidates: CandidateTable) -> None:
    ndims = findings.centres.shape[1], candidates.centres.shape[1]
    if len(findings) and len(candidates) and ndims[0] != ndims[1]:
        msg = f"Findings have {ndims[0]} coordinates and candidates {ndims[1]}; they cannot be matched."
        raise ValueError(msg)
