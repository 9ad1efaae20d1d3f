"""What every kind of edit asks of the tables before it changes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medlab.errors import ProjectError
from napari_medlab.project.columns import id_bytes
from napari_medlab.project.lookups import Lookups

if TYPE_CHECKING:
    import sqlite3

__all__ = [
    "Stamp", "one_int", "refuse_twice", "remember", "require_case", "require_current", "require_model", "require_object",
    "require_run",
]  # fmt: skip

SHOWN = 200
"""How many characters of a value that is stale are told."""


@dataclass(frozen=True)
class Stamp:
    """Where an edit stands in the journal: its id, when, by whom, and on which case.

    Parameters
    ----------
    journal_id : int
    at, reader : str
    case_id : str or None
    undoes : int or None
        The journal id of the edit that this one takes back.
    step, steps : int
        Which part of a group it is, and of how many; 0 of 1 for an edit of its own.
    journal : sqlite3.Connection or None
        Where the rows of the journal before this one can be read; None where the tables lie beside them.
    lookups : Lookups
        What was looked up already.
    """

    journal_id: int
    at: str
    reader: str
    case_id: str | None
    undoes: int | None = None
    step: int = 0
    steps: int = 1
    journal: sqlite3.Connection | None = None
    lookups: Lookups = field(default_factory=Lookups, compare=False)


def one_int(db: sqlite3.Connection, query: str, *values: object) -> int | None:
    """Return the one number that a query finds, None where it finds none."""
    row = db.execute(query, values).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def remember(db: sqlite3.Connection, stamp: Stamp, *object_ids: str) -> None:
    """Note that an edit touched some objects."""
    for object_id in object_ids:
        db.execute("INSERT OR IGNORE INTO history VALUES (?, ?)", (object_id, stamp.journal_id))


def refuse_twice(db: sqlite3.Connection, query: str, value: str, what: str) -> None:
    """Raise ``exists`` where the query finds something."""
    if db.execute(query, (value,)).fetchone() is not None:
        raise ProjectError(f"The project has {what} {value} already.", code="exists")


def require_case(db: sqlite3.Connection, case_id: str | None) -> None:
    """Raise ``unknown-case`` where there is none of that id."""
    if db.execute("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)).fetchone() is None:
        raise ProjectError(f"The project knows no case {case_id}.", code="unknown-case", hint="Add it first.")


def require_run(db: sqlite3.Connection, run_id: str) -> None:
    """Raise ``unknown-run`` where there is none of that id."""
    if db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
        raise ProjectError(f"The project knows no run {run_id}.", code="unknown-run", hint="Add it first.")


def require_model(db: sqlite3.Connection, about: str) -> None:
    """Raise ``unknown-bundle`` for what is neither a bundle that was added or run, nor a run."""
    for query in (
        "SELECT 1 FROM bundles WHERE hash = ?",
        "SELECT 1 FROM runs WHERE ?1 IN (bundle_hash, run_id) AND ?1 <> ''",
    ):
        if db.execute(query, (about,)).fetchone() is not None:
            return
    raise ProjectError(
        f"The project knows no bundle and no run {about!r}.", code="unknown-bundle", hint="Add it first."
    )


def require_object(db: sqlite3.Connection, run_id: str, object_id: str, stamp: Stamp) -> None:
    """Raise ``unknown-object`` where the edit's case has neither such a finding nor such a candidate of the run."""
    case_id = stamp.case_id
    if run_id:
        require_run(db, run_id)
    for query in (
        "SELECT 1 FROM findings WHERE finding_id = ? AND case_id = ?",
        "SELECT 1 FROM corrections WHERE object_id = ? AND case_id = ?",
    ):
        if db.execute(query, (object_id, case_id)).fetchone() is not None:
            return
    wanted = id_bytes(object_id)
    if wanted is None or not stamp.lookups.has_candidate(db, run_id, case_id, wanted):
        raise ProjectError(
            f"Case {case_id} has neither a finding nor a candidate {object_id} of run {run_id or '(none)'}.",
            code="unknown-object",
        )


def require_current(expected: str | None, stored: str | None, what: str) -> None:
    """Raise ``stale`` where something else is stored than was seen."""
    if expected != stored:
        told = [value if value is None else value[:SHOWN] for value in (expected, stored)]
        raise ProjectError(
            f"Somebody or something changed {what} in the meantime: expected {told[0]}, found {told[1]}.",
            code="stale",
            hint="Look at the value that is stored now, and decide again.",
        )
