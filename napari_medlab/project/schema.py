"""The tables of a project, and the numbers that say whose file it is and of which version."""

from __future__ import annotations

__all__ = [
    "APPLICATION_ID",
    "DERIVED_TABLES",
    "REVERSIBLE",
    "SCHEMA_VERSION",
    "SCRIPT",
    "STEPS",
    "derived_tables",
]

APPLICATION_ID = 0x6D6C6162
"""``mlab`` in ASCII, at byte 68 of the file."""

SCHEMA_VERSION = 2

REVERSIBLE = ("verdict.set", "region.set", "bundle.current")
"""The kinds of edit that undo and redo know; also written into the index ``journal_reversible``."""

JOURNAL = """
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
"""

DERIVED = """
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
    journal_id INTEGER NOT NULL,
    decisions TEXT NOT NULL DEFAULT '{}',
    exam_key TEXT NOT NULL DEFAULT '',
    view TEXT NOT NULL DEFAULT ''
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

DERIVED_TABLES = {
    "cases": "SELECT * FROM cases ORDER BY case_id",
    "findings": "SELECT * FROM findings ORDER BY finding_id",
    "runs": "SELECT * FROM runs ORDER BY run_id",
    "candidate_batches": "SELECT * FROM candidate_batches ORDER BY run_id, case_id, batch",
    "cases_done": "SELECT * FROM cases_done ORDER BY run_id, case_id",
    "verdicts": "SELECT * FROM verdicts ORDER BY run_id, object_id",
    "regions": "SELECT * FROM regions ORDER BY region_id",
    "bundles": "SELECT * FROM bundles ORDER BY hash",
    "current_bundle": "SELECT * FROM current_bundle ORDER BY only",
    "exports": "SELECT * FROM exports ORDER BY journal_id",
    "history": "SELECT * FROM history ORDER BY object_id, journal_id",
}
"""Each table whose rows follow from the journal alone, with the query that reads all of it in order."""

CASES_OF_VERSION_1 = (
    "SELECT case_id, path, name, kind, modality, patient_key, split, frozen, fingerprint, grid, journal_id "
    "FROM cases ORDER BY case_id"
)

STEPS = {
    1: (
        "ALTER TABLE cases ADD COLUMN decisions TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE cases ADD COLUMN exam_key TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE cases ADD COLUMN view TEXT NOT NULL DEFAULT ''",
    ),
}
"""From each older version to the one after it. New columns stand last, as in the tables of a new project."""

SCRIPT = JOURNAL + DERIVED


def derived_tables(version: int) -> dict[str, str]:
    """Return :data:`DERIVED_TABLES` with only the columns that a project of that version has."""
    return {**DERIVED_TABLES, "cases": CASES_OF_VERSION_1} if version == 1 else DERIVED_TABLES
