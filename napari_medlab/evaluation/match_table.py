"""The result of matching, as one table that everything else is computed from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable

__all__ = ["KINDS", "Kind", "MatchTable"]

Kind = Literal["tp", "fp", "fn", "ignored", "duplicate"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class MatchTable:
    """The pairing of candidates with findings: one row for each TP, FN, FP, ignored and duplicate.

    Parameters
    ----------
    kind : str array, (n,)
        One of :data:`KINDS`. Each included finding has exactly one ``"tp"`` or ``"fn"`` row.
    case_id, candidate_id, finding_id : str arrays, (n,)
        ``candidate_id`` is empty for an ``"fn"`` that no candidate hit, ``finding_id`` is empty for an
        ``"fp"``.
    score : float64 array, (n,)
        The candidate's; -inf for an ``"fn"`` that no candidate hit.
    distance : float64 array, (n,)
        From candidate to finding, in the unit of the centres. For an ``"fn"`` that no candidate hit, to the
        nearest candidate of its case; for an ``"fp"``, to the nearest included finding; inf where there is
        none.
    candidate_centre, finding_centre : float64 arrays, (n, d)
        World coordinates (x, y[, z]); nan where the row has no candidate or no finding.
    cases : tuple of str
        Every case that was evaluated, also those without findings or candidates.
    candidate_row, finding_row : int arrays, (n,), or None
        The rows of the tables that were matched, -1 where there is none; None where they were not kept, and then
        :meth:`candidate_rows` and :meth:`finding_rows` look them up by id.
    """

    kind: NDArray[np.str_]
    case_id: NDArray[np.str_]
    candidate_id: NDArray[np.str_]
    finding_id: NDArray[np.str_]
    score: NDArray[np.float64]
    distance: NDArray[np.float64]
    candidate_centre: NDArray[np.float64]
    finding_centre: NDArray[np.float64]
    cases: tuple[str, ...]
    candidate_row: NDArray[np.intp] | None = None
    finding_row: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many rows there are of each kind."""
        return {kind: int((self.kind == kind).sum()) for kind in KINDS}

    @property
    def n_findings(self) -> int:
        """The number of included findings: those found and those missed."""
        return int(self.is_finding.sum())

    @property
    def n_candidates(self) -> int:
        """The number of different candidates that took part, after the rule's limit for each case."""
        return len(np.unique(self.candidate_id[self.kind != "fn"]))

    @property
    def is_finding(self) -> NDArray[np.bool_]:
        """Which rows, (n,), stand for an included finding: ``"tp"`` and ``"fn"``."""
        mask: NDArray[np.bool_] = (self.kind == "tp") | (self.kind == "fn")
        return mask

    def candidate_rows(self, candidates: CandidateTable) -> NDArray[np.intp]:
        """Return the row of ``candidates`` for each row, (n,); -1 where there is no candidate.

        Raises
        ------
        KeyError
            Where ``candidates`` lacks one of them.
        """
        return _rows_of(self.candidate_id, candidates.ids, self.candidate_row)

    def finding_rows(self, findings: FindingTable) -> NDArray[np.intp]:
        """Return the row of ``findings`` for each row, (n,); -1 where there is no finding.

        Raises
        ------
        KeyError
            Where ``findings`` lacks one of them.
        """
        return _rows_of(self.finding_id, findings.ids, self.finding_row)

    def with_rows(self, findings: FindingTable, candidates: CandidateTable) -> MatchTable:
        """Return the same table with the rows of the tables that were matched kept, so that nobody looks them up."""
        return replace(
            self, candidate_row=self.candidate_rows(candidates), finding_row=self.finding_rows(findings)
        )

    def where(self, rows: ArrayLike) -> MatchTable:
        """Return the rows chosen by a mask or by indices; the list of cases stays whole."""
        chosen = np.asarray(rows)
        if chosen.dtype == np.bool_:
            # counted once here and not again for every column
            chosen = np.flatnonzero(chosen)
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "cases"}
        picked: dict[str, Any] = {name: c if c is None else c[chosen] for name, c in columns.items()}
        return replace(self, **picked)


def _rows_of(
    ids: NDArray[np.str_], table_ids: NDArray[np.str_], kept: NDArray[np.intp] | None
) -> NDArray[np.intp]:
    """Return where each id stands in a table, -1 for an empty one; rows that were kept are checked, not trusted."""
    if kept is not None and kept.max(initial=-1) < len(table_ids):
        known = np.flatnonzero(kept >= 0)
        if np.array_equal(table_ids[kept[known]], ids[known]):
            return kept
    place = {object_id: row for row, object_id in enumerate(table_ids.tolist())}
    place[""] = -1
    return np.fromiter(map(place.__getitem__, ids.tolist()), dtype=np.intp, count=len(ids))
