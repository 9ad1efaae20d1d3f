"""Is the project sound? Its file, its chain of hashes, and its tables against a replay of the journal."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import zip_longest

from napari_medlab.errors import MedlabError, ProjectError
from napari_medlab.project.applying import kind_of
from napari_medlab.project.columns import PackedBatch, is_sound
from napari_medlab.project.journal import FIRST_HASH, SELECT, Row, decode, entry_of, stamp_of, undo_stacks
from napari_medlab.project.lookups import Lookups
from napari_medlab.project.records import JournalEntry
from napari_medlab.project.rows import FINDING_COLUMNS, finding_of
from napari_medlab.project.schema import DERIVED_TABLES, SCRIPT
from napari_medlab.project.seats import SHELVES, Opinion

__all__ = ["compare_with_replay", "problems_of"]

SHOWN = 3
"""How many problems of one sort are named."""

BATCHES = (
    "SELECT run_id, case_id, batch, count, ndim, digest, label_names, ids, numbers, label_codes "
    "FROM candidate_batches ORDER BY run_id, case_id, batch"
)


def problems_of(db: sqlite3.Connection) -> list[str]:
    """Return everything that is wrong with a project's database, in words; an empty list where it is sound.

    Parameters
    ----------
    db : sqlite3.Connection
        Reads alone, inside one transaction.
    """
    problems: list[str] = []
    for check in (_file, _chain, _undo_order, _digests, compare_with_replay):
        try:
            problems += check(db)
        # damaged bytes arrive as anything that the decoders can raise
        except (sqlite3.Error, MedlabError, ValueError, KeyError, TypeError, OverflowError) as error:
            problems.append(f"{check.__name__.strip('_')} cannot be checked: {error}")
    return problems


def _file(db: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in db.execute("PRAGMA integrity_check(10)")]
    problems = [f"file: {text}" for text in found if text != "ok"]
    strays = db.execute("PRAGMA foreign_key_check").fetchmany(SHOWN)
    return problems + [
        f"table {row[0]}: a row refers to something in {row[2]} that is not there" for row in strays
    ]


def _chain(db: sqlite3.Connection) -> list[str]:
    problems: list[str] = []
    previous, expected_id = FIRST_HASH, 1
    redacted: dict[str, str | None] = {}
    vouched: dict[str, str] = {}
    for stored in db.execute(SELECT + "ORDER BY id"):
        row = Row(*stored)
        if row.id != expected_id:
            problems.append(f"journal: rows {expected_id} to {row.id - 1} are missing")
        if row.prev_hash != previous:
            problems.append(f"journal: row {row.id} does not continue the row before it")
        if row.expected_hash() != row.hash:
            redacted[str(row.id)] = digest = row.redaction()
            problems += [] if digest else [f"journal: row {row.id} is not what was written"]
        elif row.kind == "case.remove":
            vouched |= entry_of(row).payload["edits"]
        previous, expected_id = row.hash, row.id + 1
    counted = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").fetchone()
    if counted is not None and counted[0] != expected_id - 1:
        problems.append(f"journal: rows after {expected_id - 1} are missing, up to {counted[0]}")
    told = {row_id: digest for row_id, digest in redacted.items() if digest is not None}
    return problems + [
        f"journal: row {row_id} is not what a removal of cases left of it"
        for row_id in sorted(told.keys() | vouched.keys(), key=int)
        if told.get(row_id) != vouched.get(row_id)
    ]


def _undo_order(db: sqlite3.Connection) -> list[str]:
    try:
        undo_stacks(db)
    except ProjectError as error:
        return [f"journal: {error.message}"]
    return []


def _digests(db: sqlite3.Connection) -> list[str]:
    problems = [
        f"{shelf.word} {row.object_id}: the row of {row.seat or 'adjudication'} is not what was {shelf.deed}"
        for shelf in SHELVES
        for row in (
            Opinion(*stored) for stored in db.execute(shelf.query("ORDER BY run_id, object_id, seat"))
        )
        if row.expected_digest(shelf.table) != row.digest
    ]
    for stored in db.execute(FINDING_COLUMNS + "ORDER BY finding_id"):
        try:
            finding_of(stored)
        except ProjectError:
            problems.append(f"finding {stored[0]}: it is not what was given")
    problems += [
        f"run {row[0]}: batch {row[2]} on case {row[1]} is not what was stored"
        for row in db.execute(BATCHES)
        if not is_sound(PackedBatch(*row[3:]))
    ]
    return problems


def compare_with_replay(db: sqlite3.Connection) -> list[str]:
    """Replay the journal into a database in memory and return where the stored tables differ from it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as replayed:
        replayed.executescript(SCRIPT)
        replayed.execute("BEGIN")
        problems = _replay(db, replayed)
        for table, query in DERIVED_TABLES.items():
            problems += _differences(table, db.execute(query), replayed.execute(query))
    return problems


def _replay(db: sqlite3.Connection, replayed: sqlite3.Connection) -> list[str]:
    problems: list[str] = []
    lookups = Lookups()
    for stored in db.execute(SELECT + "ORDER BY id"):
        row = Row(*stored)
        entry = JournalEntry(row.id, row.at, row.reader, row.kind, row.case_id, {}, row.undoes)
        try:
            kind_of(row.kind).apply(replayed, decode(row.payload), stamp_of(entry, db, lookups))
        except (sqlite3.Error, MedlabError, ValueError, KeyError, TypeError) as error:
            problems.append(f"journal: row {row.id} cannot be replayed: {error}")
    return problems[:SHOWN] + ([f"… and {len(problems) - SHOWN} rows more"] if len(problems) > SHOWN else [])


def _differences(table: str, stored: sqlite3.Cursor, replayed: sqlite3.Cursor) -> list[str]:
    count = 0
    first: list[str] = []
    for found, expected in zip_longest(stored, replayed):
        if found != expected:
            count += 1
            first.append(f"near {(found or expected)[0]}") if len(first) < SHOWN else None
    if not count:
        return []
    return [f"table {table}: {count} rows do not follow from the journal ({', '.join(first)})"]
