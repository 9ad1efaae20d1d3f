"""What edits look up in batches, of candidates and of outlines: each batch is read once for the edits that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.project.bulk_regions import batch_table, batches_of, holders
from napari_medlab.project.columns import ID_BYTES, contains_id
from napari_medlab.project.edits import canonical

if TYPE_CHECKING:
    import sqlite3

    from napari_medlab.annotations.region_table import RegionTable
    from napari_medlab.project.bulk_regions import Batch

__all__ = ["Lookups"]

MAX_IDS = 1_000_000
"""How many ids are kept at most; the next batch makes room by dropping all."""
SCANS = 8
"""So often a batch is searched before its ids are taken apart, which pays for many searches alone."""
OF_CASE = "SELECT rowid FROM candidate_batches WHERE run_id = ? AND case_id = ?"


class _Ids:
    """The ids of one batch of candidates: one text at first, and a set where they are asked for often."""

    def __init__(self, packed: bytes) -> None:
        self._packed, self._scans = packed, 0
        self._ids: frozenset[bytes] | None = None

    def __len__(self) -> int:
        return len(self._packed) // ID_BYTES

    def __contains__(self, wanted: bytes) -> bool:
        self._scans += 1
        if self._ids is None and self._scans > SCANS:
            starts = range(0, len(self._packed), ID_BYTES)
            self._ids = frozenset(self._packed[start : start + ID_BYTES] for start in starts)
        return wanted in self._ids if self._ids is not None else contains_id(self._packed, wanted)


class Lookups:
    """What was read of the batches of one database, which never change: for the parts of one edit, or for a replay."""

    def __init__(self) -> None:
        self._ids: dict[int, _Ids] = {}
        self._batches: tuple[int, list[Batch]] = (0, [])
        self._outlines: tuple[int, RegionTable] | None = None

    def has_candidate(self, db: sqlite3.Connection, run_id: str, case_id: str | None, wanted: bytes) -> bool:
        """Tell whether a run has a candidate on a case, by the 16 bytes of its id."""
        batches = db.execute(OF_CASE, (run_id, case_id)).fetchall()
        return any(wanted in self._ids_of(db, rowid) for (rowid,) in batches)

    def outline(self, db: sqlite3.Connection, journal: sqlite3.Connection, region_id: str) -> bytes | None:
        """Return the outline of that id that came in a batch, as it would be stored by itself; None where none did.

        Parameters
        ----------
        db, journal : sqlite3.Connection
            Where the tables lie, and the rows of the journal.
        region_id : str

        Raises
        ------
        ProjectError
            ``bit-rot`` where the batch is not what was stored.
        """
        wanted = region_id.encode()
        for batch in holders(self._all_batches(db), [region_id]):
            table = self._table(journal, batch)
            for row in np.flatnonzero(table.ids == wanted).tolist():
                return canonical(table.region(row).as_json()).encode()
        return None

    def _ids_of(self, db: sqlite3.Connection, rowid: int) -> _Ids:
        if rowid not in self._ids:
            query = "SELECT ids FROM candidate_batches WHERE rowid = ?"
            found = _Ids(db.execute(query, (rowid,)).fetchone()[0])
            if sum(map(len, self._ids.values())) + len(found) > MAX_IDS:
                self._ids.clear()
            self._ids[rowid] = found
        return self._ids[rowid]

    def _all_batches(self, db: sqlite3.Connection) -> list[Batch]:
        (newest,) = db.execute("SELECT coalesce(max(journal_id), 0) FROM region_batches").fetchone()
        if newest != self._batches[0]:
            self._batches = newest, batches_of(db)
        return self._batches[1]

    def _table(self, journal: sqlite3.Connection, batch: Batch) -> RegionTable:
        """Return the outlines of a batch; those of the last one are kept."""
        if self._outlines is None or self._outlines[0] != batch.journal_id:
            self._outlines = batch.journal_id, batch_table(journal, batch)
        return self._outlines[1]
