"""The review queue: one row per error at an operating point, worst first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchTable

__all__ = ["ErrorKind", "QueueItem", "build_queue"]

ErrorKind = Literal["fp", "fn"]


@dataclass(frozen=True)
class QueueItem:
    """One error to look at.

    Parameters
    ----------
    kind : {"fp", "fn"}
        A false positive, or a miss.
    object_id : str
        The candidate of a false positive, the finding of a miss.
    case_id : str
    centre : tuple of float
        World coordinates, (x, y, z) in LPS mm for volumes.
    diameter : float
        In the unit of ``centre``; -1 where unknown.
    score : float
        Of a false positive; for a miss that of the best candidate that lay on it below the operating point, and 0 where
        there was none.
    distance : float
        From the centre to the nearest finding (false positive) or candidate (miss); infinite where there is none.
    label : str
    """

    kind: ErrorKind
    object_id: str
    case_id: str
    centre: tuple[float, ...]
    diameter: float
    score: float
    distance: float
    label: str

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values; an infinite distance becomes None."""
        row = asdict(self)
        row["centre"] = list(self.centre)
        row["distance"] = self.distance if np.isfinite(self.distance) else None
        return row


def build_queue(
    match: MatchTable, findings: FindingTable, candidates: CandidateTable, kinds: Collection[ErrorKind] = ("fp", "fn")
) -> list[QueueItem]:
    """Return the errors of a match table at its operating point, worst first.

    False positives come by falling score; misses come most nearly found first, then those that no candidate marked,
    largest first. The two kinds take turns, a false positive first, so that neither crowds out the other.
    """
    false_positives = _false_positives(match, candidates) if "fp" in kinds else []
    misses = _misses(match, findings) if "fn" in kinds else []
    turns: list[QueueItem] = []
    for place in range(max(len(false_positives), len(misses))):
        turns += false_positives[place : place + 1] + misses[place : place + 1]
    return turns


def _false_positives(match: MatchTable, candidates: CandidateTable) -> list[QueueItem]:
    rows = np.flatnonzero(match.kind == "fp")
    rows = rows[np.argsort(-match.score[rows], kind="stable")]
    place = _places(candidates.ids)
    return [
        QueueItem("fp", str(match.candidate_id[r]), str(match.case_id[r]), tuple(candidates.centres[c].tolist()),
                  float(candidates.diameters[c]), float(match.score[r]), float(match.distance[r]),
                  str(candidates.labels[c]))
        for r in rows
        for c in (place[str(match.candidate_id[r])],)
    ]  # fmt: skip


def _misses(match: MatchTable, findings: FindingTable) -> list[QueueItem]:
    place = _places(findings.ids)
    items = []
    for r in np.flatnonzero(match.kind == "fn"):
        f = place[str(match.finding_id[r])]
        score = float(match.score[r]) if np.isfinite(match.score[r]) else 0.0
        items.append(
            QueueItem("fn", str(findings.ids[f]), str(match.case_id[r]), tuple(findings.centres[f].tolist()),
                      float(findings.diameters[f]), score, float(match.distance[r]), str(findings.labels[f]))
        )  # fmt: skip
    return sorted(items, key=lambda item: (-item.score, -item.diameter))


def _places(ids: Iterable[str]) -> dict[str, int]:
    return {str(value): row for row, value in enumerate(ids)}
