"""Lesion by lesion: what one model got right that another got wrong, each at its own operating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable

__all__ = ["FalsePositiveChange", "FindingChange", "Transitions", "transitions"]


@dataclass(frozen=True)
class FindingChange:
    """One finding in both models.

    Parameters
    ----------
    case_id, finding_id : str
    centre : tuple of float
        World coordinates (x, y[, z]) of the finding.
    score_a, score_b : float
        The best candidate's, also where it is below the operating point; -inf where no candidate hit.
    """

    case_id: str
    finding_id: str
    centre: tuple[float, ...]
    score_a: float
    score_b: float

    def as_json(self) -> dict[str, Any]:
        """Return the change as plain JSON values; a score that does not exist is None."""
        return {
            "case": self.case_id,
            "finding": self.finding_id,
            "centre": list(self.centre),
            "score_a": _finite(self.score_a),
            "score_b": _finite(self.score_b),
        }


@dataclass(frozen=True)
class FalsePositiveChange:
    """One false positive that only one of the models has.

    Parameters
    ----------
    case_id, candidate_id : str
    centre : tuple of float
        World coordinates (x, y[, z]) of the candidate.
    score : float
    """

    case_id: str
    candidate_id: str
    centre: tuple[float, ...]
    score: float

    def as_json(self) -> dict[str, Any]:
        """Return the change as plain JSON values."""
        return {
            "case": self.case_id,
            "candidate": self.candidate_id,
            "centre": list(self.centre),
            "score": self.score,
        }


@dataclass(frozen=True)
class Transitions:
    """What changes from model a to model b.

    ``fixed`` minus ``regressed`` is the difference in true positives, and ``new_false_positive`` minus
    ``removed_false_positive`` that in false positives. ``still_false_positive`` counts the pairs that both
    models have.
    """

    fixed: tuple[FindingChange, ...]
    regressed: tuple[FindingChange, ...]
    still_missed: tuple[FindingChange, ...]
    still_found: tuple[FindingChange, ...]
    new_false_positive: tuple[FalsePositiveChange, ...]
    removed_false_positive: tuple[FalsePositiveChange, ...]
    still_false_positive: int

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each."""
        return {name: each if isinstance(each, int) else len(each) for name, each in vars(self).items()}


def transitions(match_a: MatchTable, match_b: MatchTable, pairing_distance: float) -> Transitions:
    """Return what changes between two match tables, each taken at its operating point.

    Parameters
    ----------
    match_a, match_b : MatchTable
        As :func:`~napari_medlab.evaluation.froc.match_at` gives them, over the same cases and findings.
    pairing_distance : float
        Two false positives of one case are the same where they are no further apart, in the unit of the
        centres. The nearest pair is taken first, and each false positive is paired at most once.
    """
    findings: dict[tuple[bool, bool], list[FindingChange]] = {}
    rows_b = {(case, finding): row for row, case, finding in _finding_rows(match_b)}
    for row_a, case, finding in _finding_rows(match_a):
        row_b = rows_b[case, finding]
        found = bool(match_a.kind[row_a] == "tp"), bool(match_b.kind[row_b] == "tp")
        centre = tuple(match_a.finding_centre[row_a].tolist())
        scores = float(match_a.score[row_a]), float(match_b.score[row_b])
        findings.setdefault(found, []).append(FindingChange(case, finding, centre, *scores))
    only_a, only_b, both = _unpaired(match_a, match_b, pairing_distance)
    return Transitions(
        fixed=tuple(findings.get((False, True), ())),
        regressed=tuple(findings.get((True, False), ())),
        still_missed=tuple(findings.get((False, False), ())),
        still_found=tuple(findings.get((True, True), ())),
        new_false_positive=tuple(_false_positives(match_b, only_b)),
        removed_false_positive=tuple(_false_positives(match_a, only_a)),
        still_false_positive=both,
    )


def _finding_rows(match: MatchTable) -> Iterator[tuple[int, str, str]]:
    rows = np.flatnonzero(match.is_finding)
    return zip(rows.tolist(), match.case_id[rows].tolist(), match.finding_id[rows].tolist(), strict=True)


def _false_positives(match: MatchTable, rows: list[int]) -> Iterator[FalsePositiveChange]:
    """Yield the chosen rows, the highest score first."""
    for row in sorted(rows, key=lambda row: (-match.score[row], row)):
        centre = tuple(match.candidate_centre[row].tolist())
        yield FalsePositiveChange(
            str(match.case_id[row]), str(match.candidate_id[row]), centre, float(match.score[row])
        )


def _unpaired(match_a: MatchTable, match_b: MatchTable, distance: float) -> tuple[list[int], list[int], int]:
    """Return the false positives of a alone and of b alone, as rows, and the number of pairs."""
    rows_a, rows_b = _rows_of_false_positives(match_a), _rows_of_false_positives(match_b)
    only_a, only_b, pairs = [], [], 0
    for case in dict.fromkeys([*rows_a, *rows_b]):
        here, there = rows_a.get(case, []), rows_b.get(case, [])
        paired = _nearest_pairs(match_a.candidate_centre[here], match_b.candidate_centre[there], distance)
        pairs += len(paired)
        taken_a, taken_b = {i for i, _ in paired}, {j for _, j in paired}
        only_a += [row for i, row in enumerate(here) if i not in taken_a]
        only_b += [row for j, row in enumerate(there) if j not in taken_b]
    return only_a, only_b, pairs


def _rows_of_false_positives(match: MatchTable) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(match.kind == "fp").tolist():
        rows.setdefault(str(match.case_id[row]), []).append(row)
    return rows


def _nearest_pairs(
    here: NDArray[np.float64], there: NDArray[np.float64], distance: float
) -> list[tuple[int, int]]:
    """Pair points, (n, d) and (m, d), the nearest first; each at most once, none beyond ``distance``."""
    from scipy.spatial import cKDTree

    if not len(here) or not len(there):
        return []
    # a tree, as a slide may have tens of thousands on either side
    around = cKDTree(there).query_ball_point(here, distance * (1 + 1e-9), return_sorted=True)
    first = np.repeat(np.arange(len(here)), [len(each) for each in around])
    second = np.concatenate(around).astype(np.intp)
    gaps = np.linalg.norm(here[first] - there[second], axis=1)
    near = gaps <= distance
    first, second, gaps = first[near], second[near], gaps[near]
    pairs: list[tuple[int, int]] = []
    taken_here: set[int] = set()
    taken_there: set[int] = set()
    for at in np.argsort(gaps, kind="stable").tolist():
        i, j = int(first[at]), int(second[at])
        if i not in taken_here and j not in taken_there:
            pairs.append((i, j))
            taken_here.add(i)
            taken_there.add(j)
    return pairs


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
