"""The review queue: what a run did wrong at an operating point and what it was unsure about, worst first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.evaluation.error_kinds import CAUSES, error_causes
from napari_medlab.hardcases.errors.table import ERROR_KINDS, ErrorKind, ErrorTable, QueueItem

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchTable
    from napari_medlab.evaluation.error_kinds import Reach

__all__ = [
    "ErrorKind",
    "OutlineScores",
    "QueueItem",
    "errors_at",
    "low_confidence",
    "poor_outlines",
]

CLASS, BOTH = CAUSES.index("class"), CAUSES.index("both")


def errors_at(
    match: MatchTable,
    findings: FindingTable,
    candidates: CandidateTable,
    kinds: Collection[ErrorKind] = ("fp", "fn"),
    *,
    reach: Reach | None = None,
) -> ErrorTable:
    """Return the errors of a match table at its operating point, worst first, each with its cause.

    False positives come by falling score; misses come most nearly found first, then those that no candidate marked,
    largest first; duplicates come by falling score. The kinds take turns, a false positive first, so that none crowds
    out another.

    Parameters
    ----------
    match : MatchTable
        As :func:`~napari_medlab.evaluation.froc.match_at` gives it.
    findings, candidates : tables
        Those that were matched.
    kinds : collection of str
        Which of ``"fp"``, ``"fn"`` and ``"duplicate"`` are wanted; errors of other kinds have builders of their own. A
        candidate that lies on a finding but gives it another label is a false positive, its cause ``"class"``.
    reach : Reach, optional
        As for :func:`~napari_medlab.evaluation.error_kinds.error_causes`.
    """
    point = _Point(match.with_rows(findings, candidates), findings, candidates, reach)
    parts = {kind: point.ranked(kind) for kind in ERROR_KINDS if kind in kinds}
    if not parts:
        return ErrorTable.empty(match.candidate_centre.shape[1])
    turn = np.concatenate([np.arange(len(rows)) for rows in parts.values()])
    codes = np.repeat(np.arange(len(parts)), [len(rows) for rows in parts.values()])
    order = np.lexsort((codes, turn))
    return point.errors(np.array(list(parts))[codes[order]], np.concatenate(list(parts.values()))[order])


class _Point:
    """A match table at its operating point, with the causes of its errors and what its rows are about."""

    def __init__(
        self, match: MatchTable, findings: FindingTable, candidates: CandidateTable, reach: Reach | None
    ) -> None:
        self.match, self.findings, self.candidates = match, findings, candidates
        self.causes = error_causes(match, findings, candidates, reach)
        self.candidate_row = match.candidate_rows(candidates)

    def ranked(self, kind: ErrorKind) -> NDArray[np.intp]:
        """Return the rows of the match table that are errors of a kind, worst first; each candidate is one once."""
        match, causes = self.match, self.causes
        chosen = match.kind == kind
        if kind == "fp":
            chosen |= (match.kind == "tp") & (causes.code == CLASS)
        rows = np.flatnonzero(chosen)
        if kind == "fn":
            return rows[np.lexsort((-self.findings.diameters[causes.finding_row[rows]], -match.score[rows]))]
        falling = rows[np.argsort(-match.score[rows], kind="stable")]
        # a candidate that lies on several findings has a row of the match table for each
        return falling[np.sort(np.unique(self.candidate_row[falling], return_index=True)[1])]

    def errors(self, kind: NDArray[np.str_], rows: NDArray[np.intp]) -> ErrorTable:
        """Return rows of the match table as errors of the given kinds; misses are about findings."""
        is_miss = kind == "fn"
        about = (
            (np.flatnonzero(is_miss), self.causes.finding_row[rows[is_miss]]),
            (np.flatnonzero(~is_miss), self.candidate_row[rows[~is_miss]]),
        )

        def merged(of_findings: NDArray[Any], of_candidates: NDArray[Any]) -> NDArray[Any]:
            shape = of_candidates.shape[1:] if len(about[1][0]) else of_findings.shape[1:]
            column = np.empty((len(rows), *shape), dtype=np.result_type(of_findings, of_candidates))
            for (places, at), source in zip(about, (of_findings, of_candidates), strict=True):
                if len(places):
                    column[places] = source[at]
            return column

        findings, candidates, score = self.findings, self.candidates, self.match.score[rows]
        return ErrorTable(
            kind=kind,
            object_id=merged(findings.ids, candidates.ids),
            case_id=self.match.case_id[rows],
            label=merged(findings.labels, candidates.labels),
            centre=merged(findings.centres, candidates.centres),
            diameter=merged(findings.diameters, candidates.diameters),
            score=np.where(np.isfinite(score), score, 0.0),
            distance=self.match.distance[rows],
            cause=self.causes.cause[rows],
            other=self._labels_confused_with(rows),
        )

    def _labels_confused_with(self, rows: NDArray[np.intp]) -> NDArray[np.str_]:
        """Return the label that each row's object was taken for, or ought to have had; empty for none."""
        labels = self.findings.labels, self.candidates.labels
        other = np.zeros(len(rows), dtype=np.result_type("U1", *labels))
        code, explained_by = self.causes.code[rows], self.causes.explained_by[rows]
        wrong = np.flatnonzero(((code == CLASS) | (code == BOTH)) & (explained_by < 0))
        other[wrong] = labels[0][self.causes.finding_row[rows[wrong]]]
        taken = np.flatnonzero((code == CLASS) & (explained_by >= 0))
        other[taken] = labels[1][self.candidate_row[explained_by[taken]]]
        return other


def low_confidence(
    match: MatchTable, candidates: CandidateTable, threshold: float, *, limit: int = 200
) -> ErrorTable:
    """Return the candidates that the model is least sure about: those whose score is nearest to the threshold.

    A verdict on these teaches most where labels are dear: margin sampling, as in B. Settles, "Active Learning
    Literature Survey" (2009).

    Parameters
    ----------
    match : MatchTable
        At no threshold, so that it holds candidates on both sides.
    candidates : CandidateTable
        That was matched.
    threshold : float
        The operating point; where it is infinite there is nothing near it.
    limit : int
        At most this many.
    """
    rows = np.unique(match.candidate_rows(candidates)[match.kind != "fn"])
    if not np.isfinite(threshold) or not len(rows):
        return ErrorTable.empty(match.candidate_centre.shape[1])
    nearest = rows[np.argsort(np.abs(candidates.scores[rows] - threshold), kind="stable")][:limit]
    return ErrorTable.about(candidates.where(nearest), "low confidence")


@dataclass(frozen=True, eq=False)
class OutlineScores:
    """How well outlines fit: what :func:`poor_outlines` chooses from.

    Parameters
    ----------
    object_id, case_id, label : str arrays, (n,)
        The finding or candidate that is outlined.
    centre : float64 array, (n, d)
        World coordinates.
    diameter, dice : float64 arrays, (n,)
        The diameter is -1 where unknown, the Dice coefficient nan where there are no two outlines to compare.
    """

    object_id: NDArray[np.str_]
    case_id: NDArray[np.str_]
    label: NDArray[np.str_]
    centre: NDArray[np.float64]
    diameter: NDArray[np.float64]
    dice: NDArray[np.float64]


def poor_outlines(outlines: OutlineScores, limit: float = 0.7) -> ErrorTable:
    """Return the outlines whose Dice coefficient is below ``limit``, the worst first."""
    below = np.flatnonzero(outlines.dice < limit)
    rows = below[np.argsort(outlines.dice[below], kind="stable")]
    return ErrorTable(
        kind=np.full(len(rows), "poor outline"),
        object_id=outlines.object_id[rows],
        case_id=outlines.case_id[rows],
        label=outlines.label[rows],
        centre=outlines.centre[rows],
        diameter=outlines.diameter[rows],
        score=np.zeros(len(rows)),
        distance=np.full(len(rows), np.inf),
        overlap=outlines.dice[rows],
    )
