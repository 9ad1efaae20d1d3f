"""Nearness by overlap, for the kinds of error of a detector that was matched by overlap."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.error_kinds import NearPairs
from napari_medlab.evaluation.rules.bodies import meeting, shared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable
    from napari_medlab.evaluation.rules.shapes import Shapes

__all__ = ["OverlapReach"]


@dataclass(frozen=True, eq=False)
class OverlapReach:
    """A candidate is on a finding, or near it, where their intersection over union is large enough.

    Parameters
    ----------
    shapes : Shapes
        The outlines; where an object has none, its ball or disc counts.
    candidates : CandidateTable
        Those that were matched.
    on, near : float
        The least overlap of either; TIDE's by default.
    unknown_diameter : float or None
        What a negative diameter stands for where there is no outline; None refuses such an object.

    References
    ----------
    D. Bolya, S. Foley, J. Hays and J. Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020.
    """

    shapes: Shapes
    candidates: CandidateTable
    on: float = 0.5
    near: float = 0.1
    unknown_diameter: float | None = None

    def pairs(self, match: MatchTable, rows: NDArray[np.intp], findings: FindingTable) -> NearPairs:
        """Return the pairs of the candidates of some rows of a match table.

        Raises
        ------
        InputRefusedError
            With code ``"no-extent"`` where an object has neither an outline nor a diameter.
        """
        number = {case: n for n, case in enumerate(match.cases)}
        case_of_finding = _numbers(findings.case_ids, number)
        chosen = np.flatnonzero((case_of_finding >= 0) & ~findings.is_excluded)
        here = self.shapes.bodies(
            self.candidates, match.candidate_rows(self.candidates)[rows], self.unknown_diameter
        )
        there = self.shapes.bodies(findings, chosen, self.unknown_diameter)
        i, j = meeting(here, there, _numbers(match.case_id[rows], number), case_of_finding[chosen])
        overlap = shared(here, there, i, j).iou
        kept = overlap >= self.near
        i, j, overlap = i[kept], j[kept], overlap[kept]
        return NearPairs(rows[i], chosen[j], overlap >= self.on, 1 - overlap)


def _numbers(names: NDArray[np.str_], number: dict[str, int]) -> NDArray[np.intp]:
    return np.fromiter(map(number.get, names.tolist(), repeat(-1)), dtype=np.intp, count=len(names))
