"""The matching rule of LUNA16: a candidate hits where its point lies less than the radius from the centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.rules.study import Study, shared_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["Luna16Rule"]


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
    marks_per_finding : int
        In a case where so many candidates for each finding are more than ``max_marks``, so many count: a slide may hold
        hundreds of objects. 0 for what the challenge's script does, whose scans have 12 nodules at the most.

    References
    ----------
    A. A. A. Setio et al., "Validation, comparison, and combination of algorithms for automatic detection of
    pulmonary nodules in computed tomography images: the LUNA16 challenge", Medical Image Analysis 42 (2017),
    and the script ``noduleCADEvaluationLUNA16.py`` that the challenge published.
    """

    max_marks: int | None = 100
    unknown_diameter: float = 10.0
    drop_tied_marks: bool = False
    marks_per_finding: int = 0

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``.

        Raises
        ------
        ValueError
            Where findings and candidates have different numbers of coordinates.
        """
        whole = Study.of(findings, candidates, cases)
        study = whole.limited(
            self.max_marks, per_finding=self.marks_per_finding, drop_tied=self.drop_tied_marks
        )
        radii = np.where(findings.diameters < 0, self.unknown_diameter, findings.diameters) / 2
        included, excluded = study.included, study.excluded
        hits, on_excluded = study.within(included, radii[included]), study.within(excluded, radii[excluded])
        return shared_hits(study, hits, on_excluded)
