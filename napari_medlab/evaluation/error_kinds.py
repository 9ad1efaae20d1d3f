"""Why a detector is wrong: TIDE's kinds of error, for centres within a radius as for boxes that overlap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from napari_medlab.evaluation.froc import froc_of_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = [
    "CAUSES",
    "Cause",
    "CauseEffects",
    "CentreReach",
    "ErrorCauses",
    "NearPairs",
    "Reach",
    "cause_effects",
    "error_causes",
]

Cause = Literal["background", "localisation", "duplicate", "class", "both", "missed"]
CAUSES: tuple[Cause, ...] = get_args(Cause)

NONE = -1
"""The code of a row that is no error, and the row of an object that there is not."""
BACKGROUND, LOCALISATION, DUPLICATE, CLASS, BOTH, MISSED = range(len(CAUSES))
STRENGTH = np.array([4, 2, 0, 1, 3])
"""By cause of a false positive: which one is meant where several are possible, the least first."""


@dataclass(frozen=True, eq=False)
class NearPairs:
    """Candidates and findings of one case that lie near each other.

    Parameters
    ----------
    row : int array, (p,)
        The row of the match table that the candidate has.
    finding_row : int array, (p,)
        The row of the finding in its table.
    is_on : bool array, (p,)
        Whether the candidate is near enough to count as a hit.
    gap : float64 array, (p,)
        How far apart they are, the smaller the nearer: a distance by radius, or 1 - IoU.
    """

    row: NDArray[np.intp]
    finding_row: NDArray[np.intp]
    is_on: NDArray[np.bool_]
    gap: NDArray[np.float64]


class Reach(Protocol):
    """A measure of what is on a finding and what is merely near it.

    Contract: pairs belong to one case, have excluded findings in none of them, and hold every pair that is on or near.
    """

    def pairs(self, match: MatchTable, rows: NDArray[np.intp], findings: FindingTable) -> NearPairs:
        """Return the pairs of the candidates of some rows of a match table."""
        ...


@dataclass(frozen=True)
class CentreReach:
    """Nearness by centres, in any number of dimensions.

    A candidate is on a finding where its distance to the centre is less than the radius, strictly, as LUNA16 counts
    hits; it is near it where the distance is less than ``factor`` radii. TIDE's thresholds of overlap, 0.5 to hit and
    0.1 to be near, are taken over so: of two equal spheres, those whose centres lie one radius apart still overlap,
    and those two radii apart just touch.

    Parameters
    ----------
    factor : float
    unknown_diameter : float
        What a negative diameter stands for, in the unit of the centres.
    """

    factor: float = 2.0
    unknown_diameter: float = 10.0

    def pairs(self, match: MatchTable, rows: NDArray[np.intp], findings: FindingTable) -> NearPairs:
        """Return the pairs of the candidates of some rows of a match table."""
        from scipy.spatial import cKDTree

        number = {case: n for n, case in enumerate(match.cases)}
        case_of_finding = _numbers(findings.case_ids, number)
        chosen = np.flatnonzero((case_of_finding != NONE) & ~findings.is_excluded)
        if not len(chosen) or not len(rows):
            nothing = np.empty(0, dtype=np.intp)
            return NearPairs(nothing, nothing, np.empty(0, dtype=np.bool_), np.empty(0))
        radius = np.where(findings.diameters < 0, self.unknown_diameter, findings.diameters)[chosen] / 2
        there, here = match.candidate_centre[rows], findings.centres[chosen]
        # one more axis keeps the cases further apart than anything reaches, so that one tree serves all
        step = 2 * self.factor * radius.max() + 1.0
        case_of_row = _numbers(match.case_id[rows], number)
        tree = cKDTree(np.column_stack([there, case_of_row * step]), balanced_tree=False, compact_nodes=False)
        around = tree.query_ball_point(
            np.column_stack([here, case_of_finding[chosen] * step]), self.factor * radius, return_sorted=False
        )
        of = np.repeat(np.arange(len(chosen)), [len(each) for each in around])
        at = np.concatenate(around).astype(np.intp)
        squared = ((there[at] - here[of]) ** 2).sum(axis=1)
        is_near = squared < (self.factor * radius[of]) ** 2
        at, of, squared = at[is_near], of[is_near], squared[is_near]
        return NearPairs(rows[at], chosen[of], squared < radius[of] ** 2, np.sqrt(squared) / radius[of])


@dataclass(frozen=True, eq=False)
class ErrorCauses:
    """The cause of each error, parallel to the rows of a match table.

    Parameters
    ----------
    code : int8 array, (n,)
        Positions in :data:`CAUSES`; -1 for rows that are no error.
    finding_row : int array, (n,)
        The row of the finding that it is about; -1 for none. Of a localisation error that is the finding that it
        ought to have hit, of a class error the one that it took for something else.
    explained_by : int array, (n,)
        For a miss, the row of the match table that holds the error which explains it; -1 for all others.
    """

    code: NDArray[np.int8]
    finding_row: NDArray[np.intp]
    explained_by: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.code)

    @cached_property
    def cause(self) -> NDArray[np.str_]:
        """The names of the causes, (n,); empty for rows that are no error."""
        return np.array([*CAUSES, ""])[self.code]

    @property
    def counts(self) -> dict[Cause, int]:
        """How many rows there are of each cause; misses that another error explains are counted with that one's."""
        totals = np.bincount(self.code[self.code != NONE], minlength=len(CAUSES)).tolist()
        return dict(zip(CAUSES, totals, strict=True))


def error_causes(
    match: MatchTable, findings: FindingTable, candidates: CandidateTable, reach: Reach | None = None
) -> ErrorCauses:
    """Return the cause of every error of a match table at its operating point.

    Parameters
    ----------
    match : MatchTable
        As :func:`~napari_medlab.evaluation.froc.match_at` gives it, or at no threshold.
    findings, candidates : tables
        Those that were matched.
    reach : Reach, optional
        :class:`CentreReach` by default.

    Notes
    -----
    The taxonomy is that of D. Bolya, S. Foley, J. Hays and J. Hoffman, "TIDE: A General Toolbox for Identifying Object
    Detection Errors", ECCV 2020. For a false positive, the first of these that applies:

    duplicate
        on a finding of its class that another candidate found;
    class
        on a finding of another class;
    localisation
        near a finding of its class, but not on it;
    both
        near a finding of another class, but not on it;
    background
        near no finding at all.

    A true positive by place whose label is not the finding's is a class error, too, unless it is right about another
    finding. A miss has the cause of the class or localisation error that is about it, which ``explained_by`` names;
    it is ``missed`` where there is none. Of several findings the nearest by its radius is meant, and of several
    candidates the highest scored.

    Classes are told apart only where the findings have several labels, and a candidate whose label is none of these
    fits any: a detector of lesions is not wrong about their kind. TIDE's own script asks for localisation before
    class; here a candidate that lies on a finding is about that one.
    """
    return _Explanation(match, findings, candidates, reach or CentreReach()).causes


class _Explanation:
    """The causes under construction; the number of a class is -1 for a label that fits any."""

    def __init__(
        self, match: MatchTable, findings: FindingTable, candidates: CandidateTable, reach: Reach
    ) -> None:
        self.match = match
        self.findings = findings
        n = len(match)
        self.code = np.full(n, NONE, dtype=np.int8)
        self.explained_by = np.full(n, NONE, dtype=np.intp)
        self.finding_row = match.finding_rows(findings).copy()
        self.code[match.kind == "duplicate"] = DUPLICATE
        self._is_tp = match.kind == "tp"
        self._candidate_row = match.candidate_rows(candidates)
        self._class_of_finding, self._class_of_row = _classes(findings, candidates, self._candidate_row)
        self._explain_false_positives(reach)
        self._explain_wrong_labels()
        self._explain_misses()

    @property
    def causes(self) -> ErrorCauses:
        """The result."""
        return ErrorCauses(self.code, self.finding_row, self.explained_by)

    @property
    def is_right(self) -> NDArray[np.bool_]:
        """The rows whose candidate is right about the finding's place and label, as the first or as one more."""
        rows = np.flatnonzero(self._is_tp | (self.match.kind == "duplicate"))
        right = np.zeros(len(self.match), dtype=np.bool_)
        right[rows] = self._fits(rows, self.finding_row[rows]) | (
            self._is_tp[rows] & (self.code[rows] == NONE)
        )
        return right

    def _explain_false_positives(self, reach: Reach) -> None:
        """Give every false positive its cause and the finding that it is about."""
        rows = np.flatnonzero(self.match.kind == "fp")
        self.code[rows] = BACKGROUND
        pairs = reach.pairs(self.match, rows, self.findings)
        fits = self._fits(pairs.row, pairs.finding_row)
        found = np.zeros(len(self.findings), dtype=np.bool_)
        found[self.finding_row[self._is_tp]] = True
        on_own = np.where(found[pairs.finding_row], DUPLICATE, LOCALISATION)
        code = np.where(pairs.is_on, np.where(fits, on_own, CLASS), np.where(fits, LOCALISATION, BOTH))
        order = np.lexsort((pairs.gap, STRENGTH[code], pairs.row))
        first = order[np.diff(pairs.row[order], prepend=NONE) != 0]
        self.code[pairs.row[first]] = code[first]
        self.finding_row[pairs.row[first]] = pairs.finding_row[first]

    def _explain_wrong_labels(self) -> None:
        """Call those true positives class errors whose candidate is right about no finding."""
        rows = np.flatnonzero(self._is_tp)
        fits = self._fits(rows, self.finding_row[rows])
        right = np.unique(self._candidate_row[rows[fits]])
        wrong = rows[~fits]
        self.code[wrong[~np.isin(self._candidate_row[wrong], right)]] = CLASS

    def _explain_misses(self) -> None:
        """Give every miss the cause of the best scored error that is about it, or call it missed."""
        misses = np.flatnonzero(self.match.kind == "fn")
        errors = np.flatnonzero(((self.code == CLASS) | (self.code == LOCALISATION)) & ~self._is_tp)
        best = np.full(len(self.findings), NONE, dtype=np.intp)
        rising = errors[np.argsort(self.match.score[errors], kind="stable")]
        best[self.finding_row[rising]] = rising
        explained_by = best[self.finding_row[misses]]
        self.explained_by[misses] = explained_by
        self.code[misses] = np.where(explained_by == NONE, MISSED, self.code[explained_by])

    def _fits(self, rows: NDArray[np.intp], finding_rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        label = self._class_of_row[rows]
        fits: NDArray[np.bool_] = (label == NONE) | (label == self._class_of_finding[finding_rows])
        return fits


def _classes(
    findings: FindingTable, candidates: CandidateTable, candidate_rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the class of each finding, and that of each candidate in ``candidate_rows``; -1 where it fits any."""
    names = dict.fromkeys(findings.labels[~findings.is_excluded].tolist())
    number = {name: n for n, name in enumerate(names)}
    of_rows = np.full(len(candidate_rows), NONE, dtype=np.intp)
    if len(number) > 1:
        known = np.flatnonzero(candidate_rows != NONE)
        of_rows[known] = _numbers(candidates.labels[candidate_rows[known]], number)
    return _numbers(findings.labels, number), of_rows


def _numbers(names: NDArray[np.str_], number: dict[str, int]) -> NDArray[np.intp]:
    """Return the number of each name, -1 for one that has none."""
    return np.fromiter(map(number.get, names.tolist(), repeat(NONE)), dtype=np.intp, count=len(names))


@dataclass(frozen=True)
class CauseEffects:
    """What each cause costs.

    Parameters
    ----------
    cpm : float
        The CPM as it is, a candidate of the wrong class counting as a false positive; nan where there are no findings.
    gains : dict of str to float
        By how much the CPM would rise were all errors of one cause put right and all others left; nan where that leaves
        no findings. They do not add up to what is missing, as errors hide one another.
    gain_without_false_positives, gain_without_misses : float
        The same for all false positives removed, and for all misses left out of the count.
    counts : dict of str to int
        How many candidates have the cause; for ``missed``, how many findings.
    """

    cpm: float
    gains: dict[Cause, float]
    gain_without_false_positives: float
    gain_without_misses: float
    counts: dict[Cause, int]


@dataclass(frozen=True, eq=False)
class _Scores:
    """What a FROC curve is made of: the best score of each finding, -inf for none, and those of false positives."""

    of_findings: NDArray[np.float64]
    of_false_positives: NDArray[np.float64]
    n_cases: int

    @property
    def cpm(self) -> float:
        found = self.of_findings[self.of_findings > -np.inf]
        return froc_of_scores(found, self.of_false_positives, self.n_cases, len(self.of_findings)).cpm


def cause_effects(
    match: MatchTable, findings: FindingTable, candidates: CandidateTable, reach: Reach | None = None
) -> CauseEffects:
    """Return how much of the CPM each cause of error costs.

    This is TIDE's oracle of ΔAP with the CPM in place of the AP. Put right means: a class error gets the finding's
    label and a localisation error its place, so that it becomes a true positive, or goes away where a better candidate
    found it; ``both`` and ``background`` errors and duplicates go away; missed findings are left out of the count.
    Duplicates cost nothing under rules that do not count them, such as LUNA16's.

    Parameters
    ----------
    match : MatchTable
        At no threshold: the CPM runs over all of them.
    findings, candidates, reach
        As for :func:`error_causes`.
    """
    explanation = _Explanation(match, findings, candidates, reach or CentreReach())
    code, finding_row, score = explanation.code, explanation.finding_row, match.score
    is_error = (match.kind == "fp") | ((match.kind == "tp") & (code == CLASS))
    best = _best(np.full(len(findings), -np.inf), finding_row, score, explanation.is_right)
    included = finding_row[match.is_finding]
    is_missed = ((match.kind == "fn") & (code == MISSED))[match.is_finding]
    candidate_row = match.candidate_rows(candidates)
    # a candidate that lies on several findings has a row for each, and is one error
    first = np.flatnonzero(is_error)[np.unique(candidate_row[is_error], return_index=True)[1]]
    is_counted = np.zeros(len(match), dtype=np.bool_)
    is_counted[first] = True
    now = _Scores(best[included], score[is_counted], len(match.cases))

    def without(number: int) -> _Scores:
        chosen = is_error & (code == number)
        rest = replace(now, of_false_positives=score[is_counted & ~chosen])
        if number not in (CLASS, LOCALISATION):
            return rest
        return replace(rest, of_findings=_best(best, finding_row, score, chosen)[included])

    fixed = {cause: without(number) for number, cause in enumerate(CAUSES)}
    fixed["missed"] = replace(now, of_findings=now.of_findings[~is_missed])
    is_candidate = match.kind != "fn"
    counts: dict[Cause, int] = {
        cause: len(np.unique(candidate_row[is_candidate & (code == number)]))
        for number, cause in enumerate(CAUSES)
    }
    nothing_missed = replace(now, of_findings=now.of_findings[now.of_findings > -np.inf])
    return CauseEffects(
        cpm=now.cpm,
        gains={cause: scores.cpm - now.cpm for cause, scores in fixed.items()},
        gain_without_false_positives=replace(now, of_false_positives=np.empty(0)).cpm - now.cpm,
        gain_without_misses=nothing_missed.cpm - now.cpm,
        counts={**counts, "missed": int(is_missed.sum())},
    )


def _best(
    before: NDArray[np.float64],
    finding_row: NDArray[np.intp],
    score: NDArray[np.float64],
    chosen: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the best score of each finding where the chosen rows of a match table find theirs, too."""
    best = before.copy()
    np.maximum.at(best, finding_row[chosen], score[chosen])
    return best
