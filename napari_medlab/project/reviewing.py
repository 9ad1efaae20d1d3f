"""What readers found: verdicts, findings and outlines, as one reader sees them or as they are settled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Finding, FindingTable, Region
from napari_medlab.project.bulk_regions import assembled, batch_table, batches_of, outside
from napari_medlab.project.rows import FINDING_COLUMNS, ONE_FINDING, finding_of, least_ndim, verdict_of
from napari_medlab.project.seats import CORRECTIONS, REGIONS, SHELVES, VERDICTS, opinions, resolved

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from napari_medlab.annotations.region_table import RegionTable
    from napari_medlab.project.connections import ReaderPool
    from napari_medlab.project.records import Verdict
    from napari_medlab.project.seats import Opinion

__all__ = ["ReviewReads"]

OF_CASE = "WHERE ?1 IS NULL OR case_id = ?1"


class ReviewReads:
    """The part of the reading half of a project that depends on who asks.

    Wherever ``reader`` can be given, a name asks for what that reader sees: the own work, else what was adjudicated,
    else what was given, imported or proposed; never the work of another reader; the
    empty name, for what was adjudicated and what lies below it. None asks for what is settled: what
    was adjudicated, else that on which all agree who worked on it, else what was given, imported or proposed.

    Parameters
    ----------
    readers : ReaderPool
    """

    def __init__(self, readers: ReaderPool) -> None:
        self._readers = readers

    def readers(self) -> list[str]:
        """Return who holds a verdict, an outline or a correction of a finding, sorted; adjudication is nobody's."""
        seats: set[str] = set()
        for shelf in SHELVES:
            seats |= {row[0] for row in self._rows(f"SELECT DISTINCT seat FROM {shelf.table}")}
        return sorted(seats - {""})

    def cases_read(self) -> set[str]:
        """Return the cases on which somebody gave a verdict that stands, or changed an outline or a finding."""
        given = "SELECT case_id FROM verdicts WHERE body IS NOT NULL"
        drawn = "SELECT case_id FROM regions UNION SELECT case_id FROM corrections"
        return {row[0] for row in self._rows(f"{given} UNION {drawn}")}

    def verdicts(self, run_id: str, *, reader: str | None = None) -> dict[str, Verdict]:
        """Return the verdicts in a run by candidate or finding; ``""`` asks for those outside any run.

        Raises
        ------
        ProjectError
            ``bit-rot`` where one is not what was given.
        """
        rows = self._opinions_of_run(run_id)
        # who took a verdict back has none, and disagrees with nobody
        held = rows if reader is not None else [row for row in rows if row.body is not None]
        chosen = resolved(held, reader).values()
        given = [row for row in chosen if row is not None and row.body is not None]
        return {row.object_id: verdict_of(row) for row in sorted(given, key=lambda row: row.journal_id)}

    def verdicts_by_reader(self, run_id: str) -> dict[str, dict[str, Verdict]]:
        """Return each reader's own verdicts in a run; the adjudicated ones under ``""``. Errors as :meth:`verdicts`."""
        found: dict[str, dict[str, Verdict]] = {}
        for row in self._opinions_of_run(run_id):
            if row.body is not None:
                found.setdefault(row.seat, {})[row.object_id] = verdict_of(row)
        return found

    def findings(
        self, case_id: str | None = None, *, as_given: bool = False, reader: str | None = None
    ) -> FindingTable:
        """Return the findings of one case, or of all: those that were given, corrected, in the order of their addition.

        In a table of all cases of a project that has volumes, findings on planar images lie at z = 0. Findings that
        readers added stand at the end, by their ids.

        Parameters
        ----------
        case_id : str, optional
        as_given : bool
            Without any correction.
        reader : str, optional

        Raises
        ------
        ProjectError
            ``bit-rot`` where a finding is not what was given or corrected.
        """
        with self._readers.borrow() as db:
            given = db.execute(
                FINDING_COLUMNS + f"{OF_CASE} ORDER BY journal_id, rowid", (case_id,)
            ).fetchall()
            changed = [] if as_given else opinions(db, CORRECTIONS, OF_CASE, case_id)
            ndim = 2 if case_id is not None else least_ndim(db)
        now = _bodies(resolved(changed, reader).values())
        values = [now.pop(row[0]) if row[0] in now else finding_of(row) for row in given]
        values += [now[finding_id] for finding_id in sorted(now)]
        return _finding_table([value for value in values if value is not None], ndim)

    def finding(self, finding_id: str, *, reader: str | None = None) -> Finding | None:
        """Return one finding as an object, which an edit can take as what was seen; None where there is none.

        Errors as :meth:`findings`.
        """
        with self._readers.borrow() as db:
            changed = opinions(db, CORRECTIONS, "WHERE object_id = ?", finding_id)
            row = db.execute(ONE_FINDING, (finding_id,)).fetchone()
        now = _bodies(resolved(changed, reader).values())
        value = now.get(finding_id, finding_of(row) if row is not None else None)
        return None if value is None else _finding(value)

    def findings_by_reader(self, case_id: str | None = None) -> dict[str, dict[str, Finding | None]]:
        """Return the findings that each reader added or corrected, by id; None for those that were removed.

        What was adjudicated stands under ``""``. Errors as :meth:`findings`.
        """
        found: dict[str, dict[str, Finding | None]] = {}
        with self._readers.borrow() as db:
            for row in opinions(db, CORRECTIONS, OF_CASE, case_id):
                value = None if row.body is None else _finding(json.loads(row.body))
                found.setdefault(row.seat, {})[row.object_id] = value
        return found

    def regions(
        self, case_id: str | None = None, owner_id: str | None = None, *, reader: str | None = None
    ) -> list[Region]:
        """Return the outlines on a case, or of one finding or candidate, or all, as objects.

        Those that came in batches stand first. Where there may be many, :meth:`region_table` is faster.

        Raises
        ------
        ProjectError
            ``bit-rot`` where an outline is not what was stored: it is never served.
        """
        with self._readers.borrow() as db:
            now = _outlines(db, case_id, reader)
            found = [*_in_batches(db, case_id, set(now)), *_filled(now.values())]
        return [region for region in found if owner_id is None or region.owner_id == owner_id]

    def regions_by_reader(self, case_id: str) -> dict[str, dict[str, Region | None]]:
        """Return the outlines on a case that each reader drew or changed, by id; None for those that were removed.

        What was adjudicated stands under ``""``. Errors as :meth:`regions`.
        """
        found: dict[str, dict[str, Region | None]] = {}
        with self._readers.borrow() as db:
            for row in opinions(db, REGIONS, OF_CASE, case_id):
                found.setdefault(row.seat, {})[row.object_id] = _region(row)
        return found

    def region_table(
        self, case_id: str, *, reader: str | None = None, run_id: str | None = None, beside: str | None = None,
        as_given: bool = False,
    ) -> RegionTable:  # fmt: skip
        """Return the outlines on a case as columns: those that came in batches, with what was edited since.

        An edited outline keeps its place and its score. Those that were drawn one by one stand at the end, by their
        ids.

        Parameters
        ----------
        case_id : str
        reader : str, optional
        run_id : str, optional
            Only what this run proposed; ``""`` asks for what came in batches without a run. Outlines that were drawn
            one by one belong to none.
        beside : str, optional
            In place of ``run_id``: what belongs to no run, and beside it what this one proposed. What other runs proposed
            is left out, unless somebody edited it.
        as_given : bool
            Without any edit, and without what was drawn one by one: with ``run_id``, what a model really proposed, which is
            what it is to be measured by.

        Raises
        ------
        ProjectError
            ``bit-rot`` where an outline is not what was stored.
        """
        with self._readers.borrow() as db:
            now = {} if as_given else _outlines(db, case_id, reader)
            batches = batches_of(db, case_id)
            wanted = (
                None if run_id is None and beside is None else {run_id} if beside is None else {"", beside}
            )
            chosen = [batch for batch in batches if wanted is None or batch.run_id in wanted]
            drawn = (
                [now[region_id] for region_id in sorted(outside(chosen, list(now)))] if run_id is None else []
            )
            return assembled(db, case_id, chosen, now, list(_filled(drawn)))

    def _opinions_of_run(self, run_id: str) -> list[Opinion]:
        with self._readers.borrow() as db:
            return opinions(db, VERDICTS, "WHERE run_id = ?", run_id)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._readers.borrow() as db:
            return db.execute(query, values).fetchall()


def _bodies(rows: Iterable[Opinion | None]) -> dict[str, dict[str, Any] | None]:
    """Return what opinions say by object, None where the object is removed."""
    return {
        row.object_id: None if row.body is None else json.loads(row.body) for row in rows if row is not None
    }


def _finding(value: dict[str, Any]) -> Finding:
    return Finding(**{**value, "centre": tuple(value["centre"])})


def _finding_table(values: list[dict[str, Any]], least_ndim: int) -> FindingTable:
    ndim = max((least_ndim, *(len(value["centre"]) for value in values))) if values else 3
    centres = np.zeros((len(values), ndim))
    for place, value in zip(centres, values, strict=True):
        place[: len(value["centre"])] = value["centre"]
    return FindingTable(
        ids=np.asarray([value["finding_id"] for value in values], dtype=np.str_),
        case_ids=np.asarray([value["case_id"] for value in values], dtype=np.str_),
        labels=np.asarray([value["label"] for value in values], dtype=np.str_),
        centres=centres,
        diameters=np.asarray([value["diameter"] for value in values], dtype=np.float64),
        is_excluded=np.asarray([value["is_excluded"] for value in values], dtype=np.bool_),
    )


def _region(row: Opinion) -> Region | None:
    return None if row.body is None else Region.from_json(json.loads(row.body))


def _outlines(db: sqlite3.Connection, case_id: str | None, reader: str | None) -> dict[str, Region | None]:
    """Return what holds of the outlines that were drawn or changed one by one, in the order of their last edits."""
    chosen = resolved(opinions(db, REGIONS, OF_CASE, case_id), reader).values()
    rows = sorted((row for row in chosen if row is not None), key=lambda row: row.journal_id)
    return {row.object_id: _region(row) for row in rows}


def _in_batches(db: sqlite3.Connection, case_id: str | None, changed: set[str]) -> Iterator[Region]:
    """Yield the outlines that came in batches and were not changed since."""
    for batch in batches_of(db, case_id):
        table = batch_table(db, batch)
        for row, region_id in enumerate(table.ids.tolist()):
            if region_id.decode() not in changed:
                yield table.region(row)


def _filled(regions: Iterable[Region | None]) -> Iterator[Region]:
    return (region for region in regions if region is not None)
