"""Matching by overlap: boxes, outlines, masks and balls, in two and three dimensions, at any threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.rules.bodies import Shared, meeting, shared
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.evaluation.rules.study import NOWHERE, Pairs, Study, first_of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["OverlapRule"]


class _Overlaps(NamedTuple):
    """Pairs that overlap enough, and by how much, (p,)."""

    pairs: Pairs
    amount: NDArray[np.float64]


@dataclass(frozen=True)
class OverlapRule:
    """The rule of detection challenges: a candidate hits where its intersection over union is large enough.

    Each finding takes one candidate at most and each candidate one finding. A candidate that hits no finding, but lies in
    an excluded one by at least ``iou`` of its own size, is ignored: so COCO treats its crowds, and any number of
    candidates may lie in one.

    Parameters
    ----------
    shapes : Shapes
        The outlines; where an object has none, its ball or disc counts.
    iou : float
        The least intersection over union of a hit, above 0 and at most 1.
    assignment : {"score", "overlap"}
        Who takes whom. ``"score"``: the candidates from the highest score down, the first in order among equals, each
        takes that of the free findings which it overlaps most, as in COCO, the nearest of several that it overlaps
        alike. ``"overlap"``: as many hits as can be, and of these the largest sum of overlaps (the Hungarian method),
        as in PI-CAI; scores do not matter then.
    duplicates_count : bool
        Whether candidates that overlap only findings which others took are false positives, as in COCO, or
        duplicates, which count as nothing, as in PI-CAI.
    same_label : bool
        Whether a candidate hits findings of its own label alone. One whose label no finding has hits any.
    max_marks : int or None
        How many candidates count for each case, the highest scored first; None for all. COCO takes 100.
    unknown_diameter : float or None
        What a negative diameter stands for where there is no outline; None refuses such an object.

    References
    ----------
    T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its ``cocoeval.py``; A. Saha et al.,
    "Artificial intelligence and radiologists in prostate cancer detection on MRI (PI-CAI)", Lancet Oncology 25 (2024),
    and its ``picai_eval``.
    """

    shapes: Shapes = field(default_factory=Shapes)
    iou: float = 0.5
    assignment: Literal["score", "overlap"] = "score"
    duplicates_count: bool = True
    same_label: bool = False
    max_marks: int | None = None
    unknown_diameter: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise InputRefusedError(
                f"The least overlap must be above 0 and at most 1, got {self.iou:g}.",
                code="rule",
                hint="COCO begins at 0.5, PI-CAI takes 0.1.",
            )

    @classmethod
    def pi_cai(cls, shapes: Shapes | None = None) -> OverlapRule:
        """Return the rule of the PI-CAI challenge: an overlap of 0.1, by the largest sum, duplicates counting as nothing."""
        return cls(shapes or Shapes(), iou=0.1, assignment="overlap", duplicates_count=False)

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``.

        Raises
        ------
        ValueError
            Where findings and candidates have different numbers of coordinates.
        InputRefusedError
            With code ``"no-extent"`` where an object has neither an outline nor a diameter.
        """
        study = Study.of(findings, candidates, cases).limited(self.max_marks)
        hits, inside = self._hits(study)
        assign = self._by_score if self.assignment == "score" else self._by_overlap
        found = hits.pairs.where(assign(study, hits))
        further = _best(study, hits, found.candidate)
        if self.duplicates_count:
            further = further.where(np.zeros(len(further.finding), dtype=np.bool_))
        ignored = _best(study, inside, np.concatenate([found.candidate, further.candidate]))
        return study.table(found, further, ignored)

    def _hits(self, study: Study) -> tuple[_Overlaps, _Overlaps]:
        """Return the candidates that overlap included findings enough, and those that lie in excluded ones."""
        rows = np.concatenate([study.included, study.excluded]), study.proposed
        bodies = (
            self.shapes.bodies(study.findings, rows[0], self.unknown_diameter),
            self.shapes.bodies(study.candidates, rows[1], self.unknown_diameter),
        )
        met = meeting(*bodies, study.finding_case[rows[0]], study.candidate_case[rows[1]])
        pairs = Pairs(rows[0][met[0]], rows[1][met[1]])
        if self.same_label:
            fits = _same_label(study, pairs)
            met, pairs = (met[0][fits], met[1][fits]), pairs.where(fits)
        sizes: Shared = shared(*bodies, *met)
        excluded = study.findings.is_excluded[pairs.finding]
        amount = np.where(excluded, sizes.share_of_second, sizes.iou)
        # outlines that are the same may share a little less than all of it, to rounding
        enough = amount >= min(self.iou, 1 - 1e-9)
        hits, inside = enough & ~excluded, enough & excluded
        return _Overlaps(pairs.where(hits), amount[hits]), _Overlaps(pairs.where(inside), amount[inside])

    @staticmethod
    def _by_score(study: Study, hits: _Overlaps) -> NDArray[np.bool_]:
        """Tell which pairs are taken when the candidates choose from the highest score down."""
        scores = study.candidates.scores[hits.pairs.candidate]
        nearness = study.distances(hits.pairs)
        order = np.lexsort((hits.pairs.finding, nearness, -hits.amount, hits.pairs.candidate, -scores))
        taken = np.zeros(len(order), dtype=np.bool_)
        served: set[int] = set()
        busy: set[int] = set()
        finding, candidate = hits.pairs.finding.tolist(), hits.pairs.candidate.tolist()
        for at in order.tolist():
            if finding[at] not in served and candidate[at] not in busy:
                taken[at] = True
                served.add(finding[at])
                busy.add(candidate[at])
        return taken

    @staticmethod
    def _by_overlap(study: Study, hits: _Overlaps) -> NDArray[np.bool_]:
        """Tell which pairs are taken so that the hits are as many as can be, and overlap as much as can be."""
        from scipy.optimize import linear_sum_assignment
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        taken = np.zeros(len(hits.amount), dtype=np.bool_)
        if not len(taken):
            return taken
        finding, candidate = hits.pairs.finding, hits.pairs.candidate + len(study.findings)
        n = len(study.findings) + len(study.candidates)
        _, group = connected_components(
            coo_array((np.ones(len(taken)), (finding, candidate)), shape=(n, n)), directed=False
        )
        order = np.argsort(group[finding], kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(group[finding][order])) + 1):
            _, i = np.unique(finding[rows], return_inverse=True)
            _, j = np.unique(candidate[rows], return_inverse=True)
            weights = np.zeros((i.max() + 1, j.max() + 1))
            at = np.full(weights.shape, NOWHERE)
            # one more for each hit, so that none is given up for more overlap elsewhere
            weights[i, j], at[i, j] = 1 + hits.amount[rows], rows
            chosen = at[linear_sum_assignment(weights, maximize=True)]
            taken[chosen[chosen != NOWHERE]] = True
        return taken


def _best(study: Study, overlaps: _Overlaps, taken: NDArray[np.intp]) -> Pairs:
    """Return, for each candidate that is not taken, the finding that it overlaps most, the nearest of several."""
    free = np.flatnonzero(~np.isin(overlaps.pairs.candidate, taken))
    pairs, amount = overlaps.pairs.where(free), overlaps.amount[free]
    order = np.lexsort((pairs.finding, study.distances(pairs), -amount, pairs.candidate))
    return pairs.where(order[first_of_each(pairs.candidate[order])])


def _same_label(study: Study, pairs: Pairs) -> NDArray[np.bool_]:
    known = set(study.findings.labels.tolist())
    labels = study.candidates.labels[pairs.candidate]
    fits_any = np.fromiter(
        (label not in known for label in labels.tolist()), dtype=np.bool_, count=len(labels)
    )
    return np.asarray(fits_any | (labels == study.findings.labels[pairs.finding]))
