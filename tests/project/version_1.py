"""A project as version 1 wrote it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from napari_medlab.project.journal import FIRST_HASH, Row, encode
from napari_medlab.project.schema import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA = """
CREATE TABLE journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    reader TEXT NOT NULL,
    kind TEXT NOT NULL,
    case_id TEXT,
    undoes INTEGER REFERENCES journal (id),
    prev_hash TEXT NOT NULL,
    hash TEXT NOT NULL,
    payload NOT NULL CHECK (typeof(payload) IN ('text', 'blob'))
);
CREATE INDEX journal_case ON journal (case_id);
CREATE INDEX journal_reversible ON journal (id, undoes)
    WHERE kind IN ('verdict.set', 'region.set', 'bundle.current');
CREATE TRIGGER journal_never_updated BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_never_deleted BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_never_replaced BEFORE INSERT ON journal
    WHEN EXISTS (SELECT 1 FROM journal WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE cases (
    case_id TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    modality TEXT NOT NULL,
    patient_key TEXT NOT NULL,
    split TEXT NOT NULL CHECK (split IN ('train', 'test')),
    frozen INTEGER NOT NULL CHECK (frozen IN (0, 1)),
    fingerprint TEXT NOT NULL,
    grid TEXT NOT NULL,
    journal_id INTEGER NOT NULL
);
CREATE TABLE findings (
    finding_id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    label TEXT NOT NULL,
    x REAL NOT NULL,
    y REAL NOT NULL,
    z REAL,
    diameter REAL NOT NULL,
    is_excluded INTEGER NOT NULL CHECK (is_excluded IN (0, 1)),
    journal_id INTEGER NOT NULL
);
CREATE INDEX findings_case ON findings (case_id);
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    bundle_hash TEXT NOT NULL,
    configuration TEXT NOT NULL,
    created TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    finish_id INTEGER
);
CREATE TABLE candidate_batches (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    batch INTEGER NOT NULL,
    journal_id INTEGER NOT NULL,
    count INTEGER NOT NULL,
    ndim INTEGER NOT NULL,
    digest TEXT NOT NULL,
    label_names TEXT NOT NULL,
    ids BLOB NOT NULL,
    numbers BLOB NOT NULL,
    label_codes BLOB NOT NULL,
    PRIMARY KEY (run_id, case_id, batch)
);
CREATE TABLE cases_done (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    seconds REAL NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (run_id, case_id)
) WITHOUT ROWID;
CREATE TABLE verdicts (
    run_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    body TEXT NOT NULL,
    reader TEXT NOT NULL,
    at TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (run_id, object_id)
) WITHOUT ROWID;
CREATE TABLE regions (
    region_id TEXT PRIMARY KEY,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    owner_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX regions_case ON regions (case_id);
CREATE INDEX regions_owner ON regions (owner_id);
CREATE TABLE bundles (
    hash TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    name TEXT NOT NULL,
    parent TEXT,
    origin TEXT NOT NULL CHECK (origin IN ('shipped', 'trained', 'imported')),
    figures TEXT NOT NULL,
    journal_id INTEGER NOT NULL
);
CREATE TABLE current_bundle (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    hash TEXT NOT NULL REFERENCES bundles (hash),
    journal_id INTEGER NOT NULL
);
CREATE TABLE exports (
    journal_id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    format TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    edit_ids TEXT NOT NULL
);
CREATE TABLE history (
    object_id TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    PRIMARY KEY (object_id, journal_id)
) WITHOUT ROWID;
"""
"""The tables of version 1, as they were: not to be kept in step with anything."""

CASE, FINDING = "c" * 32, "f" * 32
AT = "2026-01-02T03:04:05.678+00:00"
EDITS: list[tuple[str, dict[str, Any], bool]] = [
    ("case.add", {
        "case_id": CASE, "path": "images/0.mha", "name": "old", "kind": "volume", "modality": "CT", "patient_key": "p",
        "split": "test", "frozen": True, "fingerprint": "f00", "grid": None,
    }, False),
    ("finding.add", {"findings": [{
        "case_id": CASE, "centre": [1.5, -2.0, 3.0], "diameter": 6.0, "label": "nodule", "is_excluded": False,
        "finding_id": FINDING,
    }]}, True),
    ("verdict.set", {
        "run_id": "", "object_id": FINDING, "before": None,
        "after": {"verdict": "agreed", "comment": "", "tags": []},
    }, False),
]  # fmt: skip
ROWS = (
    f"INSERT INTO cases VALUES ('{CASE}', 'images/0.mha', 'old', 'volume', 'CT', 'p', 'test', 1, '\"f00\"', 'null', 1)",
    f"INSERT INTO findings VALUES ('{FINDING}', '{CASE}', 'nodule', 1.5, -2.0, 3.0, 6.0, 0, 2)",
    f"INSERT INTO history VALUES ('{FINDING}', 2)",
    f"INSERT INTO verdicts VALUES ('', '{FINDING}', '{CASE}', "
    f'\'{{"comment":"","tags":[],"verdict":"agreed"}}\', \'ann\', \'{AT}\', 3)',
    f"INSERT INTO history VALUES ('{FINDING}', 3)",
)


Change = tuple[str, str | None, str | None, int | None]
"""A verdict on the finding: by whom, from what, to what, and which row it takes back."""


def write_version_1(folder: Path, changes: Sequence[Change] = ()) -> Path:
    """Write a project with one case, one finding and one verdict by ann, and return its database.

    Further changes stand in the journal alone.
    """
    for name in ("images", "bundles", "exports", "backups", "private"):
        (folder / name).mkdir(parents=True)
    path = folder / "project.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    previous = FIRST_HASH
    for number, (kind, payload, is_bulk) in enumerate(EDITS, start=1):
        row = Row(number, AT, "ann", kind, CASE, None, previous, "", encode(payload, is_bulk=is_bulk))
        row = row._replace(hash=row.expected_hash())
        db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        previous = row.hash
    for number, (reader, before, after, undoes) in enumerate(changes, start=len(EDITS) + 1):
        change = {"run_id": "", "object_id": FINDING, "before": _verdict(before), "after": _verdict(after)}
        row = Row(
            number, AT, reader, "verdict.set", CASE, undoes, previous, "", encode(change, is_bulk=False)
        )
        row = row._replace(hash=row.expected_hash())
        db.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        previous = row.hash
    for statement in ROWS:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    return path


def _verdict(name: str | None) -> dict[str, Any] | None:
    return None if name is None else {"verdict": name, "comment": "", "tags": []}
