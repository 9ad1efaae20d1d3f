"""Everything that can be asked of a project, from any thread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ProjectError
from napari_medlab.project.columns import PackedBatch, unpack
from napari_medlab.project.journal import SELECT, Row, entry_of
from napari_medlab.project.records import (
    BundleRecord,
    CaseRecord,
    ExportRecord,
    JournalEntry,
    JudgementRecord,
    RunRecord,
)
from napari_medlab.project.reviewing import ReviewReads
from napari_medlab.project.rows import bundle_of, case_of, judgement_of, least_ndim, run_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.project.connections import ReaderPool

__all__ = ["ProjectReads"]

CASES = "SELECT * FROM cases WHERE ?1 IS NULL OR case_id = ?1 ORDER BY journal_id"
RUNS = (
    "SELECT run_id, bundle_hash, configuration, created, finish_id IS NOT NULL FROM runs "
    "WHERE ?1 IS NULL OR run_id = ?1 ORDER BY journal_id"
)
JUDGEMENTS = (
    "SELECT bundle_hash, against_hash, run_id, against_run_id, rule, figures, may_publish, reason, at, "
    "cases_removed "
    "FROM judgements ORDER BY journal_id"
)
CANDIDATES = (
    "SELECT case_id, count, ndim, digest, label_names, ids, numbers, label_codes FROM candidate_batches "
    "WHERE run_id = ?1 AND (?2 IS NULL OR case_id = ?2) ORDER BY journal_id"
)


class ProjectReads(ReviewReads):
    """The reading half of a project; what its readers found is read by :class:`ReviewReads`.

    Parameters
    ----------
    folder : Path
    readers : ReaderPool
    """

    def __init__(self, folder: Path, readers: ReaderPool) -> None:
        super().__init__(readers)
        self.folder = folder

    def cases(self) -> list[CaseRecord]:
        """Return every case, in the order in which they were added."""
        return self._cases(None)

    def case(self, case_id: str) -> CaseRecord:
        """Return one case; raise :class:`ProjectError` (``unknown-case``) where there is none of that id."""
        cases = self._cases(case_id)
        if not cases:
            raise ProjectError(f"The project knows no case {case_id}.", code="unknown-case")
        return cases[0]

    def case_path(self, case_id: str) -> Path:
        """Return where the image of a case lies, absolute.

        Raises
        ------
        ProjectError
            ``unknown-case``; ``no-image`` in a project that was shared without images; ``path`` where a path that
            ought to lie inside the project leads out of it.
        """
        stored = self.case(case_id).path
        if not stored:
            raise ProjectError(
                f"The image of case {case_id} is not here: this project was shared without its images.",
                code="no-image",
                hint="Whoever shared it has the image; everything else about the case is here.",
            )
        path = Path(stored)
        if path.is_absolute():
            return path
        if ".." in path.parts or path.drive or path.root:
            raise ProjectError(f"The stored path of case {case_id} leads out of the project.", code="path")
        return self.folder.absolute() / path

    def stored_path(self, path: Path) -> str:
        """Return a path as a case records it: relative with ``/`` inside the project, absolute elsewhere."""
        absolute, folder = path.resolve(), self.folder.resolve()
        inside = absolute.is_relative_to(folder)
        return absolute.relative_to(folder).as_posix() if inside else str(absolute)

    def candidates(self, run_id: str, case_id: str | None = None) -> CandidateTable:
        """Return the candidates of a run, on one case or on all, in the order in which they were added.

        In a table of all cases of a project that has volumes, candidates on planar images lie at z = 0.

        Raises
        ------
        ProjectError
            ``bit-rot`` where a batch is not what was stored.
        """
        with self._readers.borrow() as db:
            rows = db.execute(CANDIDATES, (run_id, case_id)).fetchall()
            ndim = 2 if case_id is not None else least_ndim(db)
        return unpack([(row[0], PackedBatch(*row[1:])) for row in rows], ndim)

    def next_batch(self, run_id: str, case_id: str) -> int:
        """Return the number that comes after those of all batches of candidates that a run has stored of a case."""
        query = "SELECT COALESCE(MAX(batch), -1) + 1 FROM candidate_batches WHERE run_id = ? AND case_id = ?"
        return int(self._rows(query, run_id, case_id)[0][0])

    def runs(self) -> list[RunRecord]:
        """Return every run, oldest first."""
        return [run_of(row) for row in self._rows(RUNS, None)]

    def run(self, run_id: str) -> RunRecord:
        """Return one run; raise :class:`ProjectError` (``unknown-run``) where there is none of that id."""
        rows = self._rows(RUNS, run_id)
        if not rows:
            raise ProjectError(f"The project knows no run {run_id}.", code="unknown-run")
        return run_of(rows[0])

    def cases_done(self, run_id: str) -> set[str]:
        """Return the cases that a run has looked at to the end, those without any candidate among them."""
        return {row[0] for row in self._rows("SELECT case_id FROM cases_done WHERE run_id = ?", run_id)}

    def filters(self) -> dict[str, dict[str, Any]]:
        """Return the stored filters by name, which all readers share."""
        return {
            name: json.loads(body)
            for name, body in self._rows("SELECT name, body FROM filters ORDER BY name")
        }

    def bundles(self) -> list[BundleRecord]:
        """Return every bundle that the project knows, oldest first."""
        rows = self._rows("SELECT hash, path, name, parent, origin, figures FROM bundles ORDER BY journal_id")
        return [bundle_of(row) for row in rows]

    def current_bundle(self) -> str | None:
        """Return the hash of the bundle that the project works with, or None."""
        rows = self._rows("SELECT hash FROM current_bundle")
        return str(rows[0][0]) if rows else None

    def exports(self) -> list[ExportRecord]:
        """Return every export, oldest first."""
        rows = self._rows("SELECT path, format, manifest_digest, edit_ids FROM exports ORDER BY journal_id")
        return [ExportRecord(path, kind, digest, tuple(json.loads(ids))) for path, kind, digest, ids in rows]

    def judgements(self) -> list[JudgementRecord]:
        """Return every judgement about a proposed model, oldest first, each with its time."""
        return [judgement_of(row) for row in self._rows(JUDGEMENTS)]

    def conclusions(self) -> dict[str, str]:
        """Return what people concluded, by the hash of a bundle or the id of a run; all readers share it."""
        return dict(self._rows("SELECT about, body FROM conclusions ORDER BY about"))

    def journal(
        self, limit: int | None = None, case_id: str | None = None, kinds: Collection[str] = ()
    ) -> list[JournalEntry]:
        """Return the newest ``limit`` edits, or all, of one case or of any; the oldest of them comes first.

        Parameters
        ----------
        limit : int, optional
        case_id : str, optional
        kinds : collection of str
            Of these kinds alone, such as ``"verdict.set"``; of any kind where it is empty.

        Raises
        ------
        ProjectError
            ``bit-rot`` where a row is not what was written.
        """
        conditions, values = [], []
        if case_id is not None:
            conditions.append("case_id = ?")
            values.append(case_id)
        if kinds:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += list(kinds)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        rows = self._rows(
            SELECT + where + "ORDER BY id DESC LIMIT ?", *values, -1 if limit is None else limit
        )
        return [entry_of(Row(*row)) for row in reversed(rows)]

    def history(self, object_id: str) -> list[JournalEntry]:
        """Return the edits that touched a candidate, finding or region, oldest first: what, who and when.

        A finding's own addition is among them, a candidate's is not: it came with its run. Outlines count for
        the object that they outline, too.
        """
        query = SELECT + "WHERE id IN (SELECT journal_id FROM history WHERE object_id = ?) ORDER BY id"
        return [entry_of(Row(*row)) for row in self._rows(query, object_id)]

    def _cases(self, case_id: str | None) -> list[CaseRecord]:
        with self._readers.borrow() as db:
            found = db.execute(CASES, (case_id,))
            names = [column[0] for column in found.description]
            return [case_of(dict(zip(names, row, strict=True))) for row in found]
