"""Committing what a model finds on one case, so that a case which was cut short can be sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Candidate, Region
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.project.edits import add_candidates, add_regions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.project import Project

__all__ = ["CaseResults"]

SAME_PLACE = 0.1
"""Two candidates of one class are the same where they lie within this part of the diameter; rounding moves them less."""


class CaseResults:
    """The candidates and outlines of one case of a run.

    A case that was cut short is computed again from the start, possibly in another order of tiles, and with new ids. What
    is on disk already keeps its ids, as verdicts may hang on them; only what is new is added.

    Parameters
    ----------
    project : Project
    run_id, case_id : str
    """

    def __init__(self, project: Project, run_id: str, case_id: str) -> None:
        self._project, self._run_id, self._case_id = project, run_id, case_id
        self._stored = project.candidates(run_id, case_id)
        self._is_free = np.ones(len(self._stored), np.bool_)
        self._number = project.next_batch(run_id, case_id)
        self._outlined: set[str] = set()
        if len(self._stored):
            table = project.region_table(case_id, run_id=run_id)
            self._outlined = {owner.decode() for owner in table.owner_ids}

    def commit(self, rows: Sequence[Sequence[Any]]) -> list[Candidate]:
        """Commit one batch as the worker tells it, and return its candidates, with the ids that they have on disk.

        Parameters
        ----------
        rows : sequence of (id, centre, score, diameter, label, rings)
            The rings may be left out.
        """
        told = [
            Candidate(self._case_id, tuple(centre), score, diameter, label, candidate_id)
            for candidate_id, centre, score, diameter, label, *_ in rows
        ]
        found = [self._known(one) or one for one in told]
        new = [after for before, after in zip(told, found, strict=True) if before is after]
        if new:
            self._project.commit(add_candidates(self._run_id, self._case_id, self._number, new))
            self._number += 1
        self._commit_outlines(found, [row[5] if len(row) > 5 else [] for row in rows])
        return found

    def _commit_outlines(self, found: Sequence[Candidate], rings: Sequence[list[Any]]) -> None:
        regions, scores = [], []
        for one, outline in zip(found, rings, strict=True):
            if outline and one.candidate_id not in self._outlined:
                arrays = tuple(np.asarray(ring, dtype=np.float64) for ring in outline)
                regions.append(Region(self._case_id, arrays, one.candidate_id, one.label))
                scores.append(one.score)
        if regions:
            table = RegionTable.from_regions(self._case_id, regions, scores)
            # outlined once, so that no other batch is called so
            batch = f"{self._run_id} {regions[0].owner_id}"
            self._project.commit(add_regions(self._case_id, batch, table, self._run_id))

    def _known(self, one: Candidate) -> Candidate | None:
        """Return the candidate on disk that this one is, each once; None where it is new."""
        if not self._is_free.any():
            return None
        near = np.linalg.norm(self._stored.centres - one.centre, axis=1)
        near[~self._is_free | (self._stored.labels != one.label)] = np.inf
        row = int(near.argmin())
        if near[row] > SAME_PLACE * max(one.diameter, 0.01):
            return None
        self._is_free[row] = False
        table = self._stored
        return Candidate(
            self._case_id, tuple(table.centres[row].tolist()), float(table.scores[row]), float(table.diameters[row]),
            str(table.labels[row]), str(table.ids[row]),
        )  # fmt: skip
