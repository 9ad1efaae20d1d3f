"""What nobody has read yet, as a queue: the cases in the order in which they teach most, each with its candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.froc import froc, froc_of_scores
from napari_medlab.hardcases.acquisition import Calibration, entropy, sum_of_largest
from napari_medlab.hardcases.errors.table import ErrorTable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.evaluation import MatchTable

__all__ = ["PER_CASE", "calibrated_by", "threshold_among", "unread", "unread_in_order"]

PER_CASE = 5
"""So many candidates of a case speak for it, and are listed."""


def unread(
    match: MatchTable, candidates: CandidateTable, cases: Collection[str], *, per_case: int = PER_CASE
) -> ErrorTable:
    """Return the candidates of unread cases, those cases first about which the model is least sure.

    Parameters
    ----------
    match : MatchTable
        At no threshold; the cases in it that were read tell how often a candidate of some score is a finding.
    candidates : CandidateTable
        That was matched.
    cases : collection of str
        The unread ones.
    per_case : int
        How many candidates of a case speak for it, and are listed.
    """
    wanted = sorted(cases)
    number = {case: at for at, case in enumerate(wanted)}
    rows = np.flatnonzero([case in number for case in candidates.case_ids.tolist()])
    if not len(rows):
        return ErrorTable.empty(match.candidate_centre.shape[1])
    of = np.array([number[case] for case in candidates.case_ids[rows].tolist()], np.intp)
    doubt = entropy(calibrated_by(match, cases).share(candidates.scores[rows]))
    total = sum_of_largest(doubt, of, len(wanted), per_case)
    order = [wanted[at] for at in np.argsort(-total, kind="stable")]
    return unread_in_order(candidates.where(rows), doubt, order, per_case=per_case)


def unread_in_order(
    candidates: CandidateTable, doubt: ArrayLike, cases: Sequence[str], *, per_case: int = PER_CASE
) -> ErrorTable:
    """Return the candidates of cases in the order of the cases, those of most doubt first within each.

    Parameters
    ----------
    candidates : CandidateTable
    doubt : float array, (n,)
        Parallel to the candidates.
    cases : sequence of str
        Candidates of other cases are left out.
    per_case : int
        How many candidates of a case are listed, at most.
    """
    number = {case: at for at, case in enumerate(cases)}
    place = np.array([number.get(case, len(number)) for case in candidates.case_ids.tolist()], np.intp)
    order = np.lexsort((-np.asarray(doubt, np.float64), place))
    within = np.arange(len(order)) - np.searchsorted(place[order], place[order])
    kept = order[(within < per_case) & (place[order] < len(number))]
    return ErrorTable.about(candidates.where(kept), "unread")


def calibrated_by(match: MatchTable, unread_cases: Collection[str]) -> Calibration:
    """Return what candidates on cases that were read say about scores; candidates that are ignored say nothing."""
    among = _is_read(match, unread_cases) & ((match.kind == "tp") | (match.kind == "fp"))
    return Calibration.of(match.score[among], match.kind[among] == "tp")


def threshold_among(match: MatchTable, unread_cases: Collection[str], fp_per_scan: float) -> float:
    """Return the operating point on the cases that were read; on all where none was read or nothing was found there."""
    is_read = _is_read(match, unread_cases)
    known = match.where(np.flatnonzero(is_read))
    cases = tuple(case for case in match.cases if case not in set(unread_cases))
    if not cases or not known.n_findings:
        return froc(match).threshold_at(fp_per_scan)
    found, false = (known.score[known.kind == kind] for kind in ("tp", "fp"))
    return froc_of_scores(found, false, len(cases), known.n_findings).threshold_at(fp_per_scan)


def _is_read(match: MatchTable, unread_cases: Collection[str]) -> NDArray[np.bool_]:
    unread_ones = set(unread_cases)
    return np.array([case not in unread_ones for case in match.case_id.tolist()], np.bool_)
