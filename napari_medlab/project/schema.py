"""The tables of a project, and the numbers that say whose file it is and of which version."""

from __future__ import annotations

__all__ = [
    "APPLICATION_ID",
    "DERIVED",
    "DERIVED_TABLES",
    "REMOVED",
    "REVERSIBLE",
    "REVERSIBLE_CONDITION",
    "REVERSIBLE_INDEX",
    "SCHEMA_VERSION",
    "SCRIPT",
]

APPLICATION_ID = 0x6D6C6162
"""``mlab`` in ASCII, at byte 68 of the file."""

SCHEMA_VERSION = 5

REVERSIBLE = (
    "verdict.set", "region.set", "finding.set", "filter.set", "case.fields", "bundle.current",
    "conclusion.set", "group",
)  # fmt: skip
"""The kinds of edit that undo and redo know."""

REMOVED = "removed"
"""The kind of an entry of which nothing is left but its place in the chain: see :mod:`~napari_medlab.project.redacting`."""

REVERSIBLE_CONDITION = f"kind IN ({', '.join(map(repr, REVERSIBLE))})"
"""Written in one way alone: SQLite uses an index with a condition only for queries with the very same one."""

REVERSIBLE_INDEX = (
    f"CREATE INDEX journal_reversible ON journal (id, reader, undoes) WHERE {REVERSIBLE_CONDITION};"
)

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
    view TEXT NOT NULL DEFAULT '',
    fields TEXT NOT NULL DEFAULT '{}'
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
    journal_id INTEGER NOT NULL,
    digest TEXT NOT NULL
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
CREATE TABLE region_batches (
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    batch TEXT NOT NULL,
    run_id TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    count INTEGER NOT NULL,
    rings INTEGER NOT NULL,
    vertices INTEGER NOT NULL,
    ndim INTEGER NOT NULL,
    keys BLOB NOT NULL,
    PRIMARY KEY (case_id, batch)
);
CREATE TABLE verdicts (
    run_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    seat TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    owner_id TEXT NOT NULL,
    reader TEXT NOT NULL,
    at TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body BLOB,
    PRIMARY KEY (run_id, object_id, seat)
) WITHOUT ROWID;
CREATE TABLE regions (
    run_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    seat TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    owner_id TEXT NOT NULL,
    reader TEXT NOT NULL,
    at TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body BLOB,
    PRIMARY KEY (run_id, object_id, seat)
);
CREATE INDEX regions_case ON regions (case_id);
CREATE INDEX regions_owner ON regions (owner_id);
CREATE TABLE corrections (
    run_id TEXT NOT NULL,
    object_id TEXT NOT NULL,
    seat TEXT NOT NULL,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    owner_id TEXT NOT NULL,
    reader TEXT NOT NULL,
    at TEXT NOT NULL,
    journal_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    body BLOB,
    PRIMARY KEY (run_id, object_id, seat)
) WITHOUT ROWID;
CREATE INDEX corrections_case ON corrections (case_id);
CREATE TABLE seat_steps (
    journal_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    had_own INTEGER NOT NULL CHECK (had_own IN (0, 1)),
    left_own INTEGER NOT NULL CHECK (left_own IN (0, 1)),
    PRIMARY KEY (journal_id, step)
) WITHOUT ROWID;
CREATE TABLE filters (
    name TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    journal_id INTEGER NOT NULL
);
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
CREATE TABLE judgements (
    journal_id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    bundle_hash TEXT NOT NULL,
    against_hash TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    against_run_id TEXT NOT NULL REFERENCES runs (run_id),
    rule TEXT NOT NULL,
    figures TEXT NOT NULL,
    may_publish INTEGER NOT NULL CHECK (may_publish IN (0, 1)),
    reason TEXT NOT NULL,
    cases_removed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE conclusions (
    about TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    journal_id INTEGER NOT NULL
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
    "region_batches": "SELECT * FROM region_batches ORDER BY case_id, batch",
    "verdicts": "SELECT * FROM verdicts ORDER BY run_id, object_id, seat",
    "regions": "SELECT * FROM regions ORDER BY run_id, object_id, seat",
    "corrections": "SELECT * FROM corrections ORDER BY run_id, object_id, seat",
    "seat_steps": "SELECT * FROM seat_steps ORDER BY journal_id, step",
    "filters": "SELECT * FROM filters ORDER BY name",
    "bundles": "SELECT * FROM bundles ORDER BY hash",
    "current_bundle": "SELECT * FROM current_bundle ORDER BY only",
    "exports": "SELECT * FROM exports ORDER BY journal_id",
    "judgements": "SELECT * FROM judgements ORDER BY journal_id",
    "conclusions": "SELECT * FROM conclusions ORDER BY about",
    "history": "SELECT * FROM history ORDER BY object_id, journal_id",
}
"""Each table whose rows follow from the journal alone, with the query that reads all of it in order."""

SCRIPT = JOURNAL + REVERSIBLE_INDEX + DERIVED
