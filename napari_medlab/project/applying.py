"""How each kind of edit changes the derived tables: the one place that writes them.

The same functions run when an edit is made and when the journal is replayed, so that the tables follow
from the journal and from nothing else.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ProjectError
from napari_medlab.project.columns import contains_id, id_bytes, pack
from napari_medlab.project.edits import body_digest, canonical

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

__all__ = ["KINDS", "Kind", "Stamp", "kind_of"]


@dataclass(frozen=True)
class Stamp:
    """Where an edit stands in the journal: its id, when, by whom, and on which case."""

    journal_id: int
    at: str
    reader: str
    case_id: str | None


@dataclass(frozen=True)
class Kind:
    """One kind of edit.

    Parameters
    ----------
    apply : callable
        Changes the derived tables inside the caller's transaction; raises :class:`ProjectError` to refuse.
    is_bulk : bool
        Whether the journal keeps the payload compressed.
    already : callable or None
        Returns the journal id of an earlier edit that did the same, for kinds that may be sent twice.
    """

    apply: Callable[[sqlite3.Connection, dict[str, Any], Stamp], None]
    is_bulk: bool = False
    already: Callable[[sqlite3.Connection, dict[str, Any], str | None], int | None] | None = None


def kind_of(name: str) -> Kind:
    """Return a kind of edit by its name; raise :class:`ProjectError` (``unknown-kind``) for others."""
    kind = KINDS.get(name)
    if kind is None:
        raise ProjectError(f"There is no kind of edit called {name!r}.", code="unknown-kind")
    return kind


def _add_case(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _refuse_twice(db, "SELECT 1 FROM cases WHERE case_id = ?", payload["case_id"], "case")
    names = ("case_id", "path", "name", "kind", "modality", "patient_key", "split")
    values = [payload[name] for name in names]
    values += [
        int(payload["frozen"]),
        canonical(payload["fingerprint"]),
        canonical(payload["grid"]),
        stamp.journal_id,
        # cases that version 1 added have none of these
        canonical(payload.get("decisions", {})),
        payload.get("exam_key", ""),
        payload.get("view", ""),
    ]
    db.execute("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _add_findings(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    findings = payload["findings"]
    for case_id in sorted({finding["case_id"] for finding in findings}):
        _require_case(db, case_id)
    for finding in findings:
        finding_id = finding["finding_id"]
        _refuse_twice(db, "SELECT 1 FROM findings WHERE finding_id = ?", finding_id, "finding")
        x, y, z = (*finding["centre"], None)[:3]
        row = (finding_id, finding["case_id"], finding["label"], x, y, z, finding["diameter"])
        db.execute(
            "INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*row, int(finding["is_excluded"]), stamp.journal_id),
        )
        _remember(db, stamp, finding_id)


def _add_run(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _refuse_twice(db, "SELECT 1 FROM runs WHERE run_id = ?", payload["run_id"], "run")
    configuration = canonical(payload["configuration"])
    row = (payload["run_id"], payload["bundle_hash"], configuration, payload["created"], stamp.journal_id)
    db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, NULL)", row)


def _add_candidates(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _require_run(db, payload["run_id"])
    _require_case(db, stamp.case_id)
    batch = pack(payload)
    row = (payload["run_id"], stamp.case_id, payload["batch"], stamp.journal_id, *astuple(batch))
    db.execute("INSERT INTO candidate_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _known_batch(db: sqlite3.Connection, payload: dict[str, Any], case_id: str | None) -> int | None:
    query = "SELECT journal_id FROM candidate_batches WHERE run_id = ? AND case_id = ? AND batch = ?"
    return _one_int(db, query, payload["run_id"], case_id, payload["batch"])


def _finish_case(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _require_run(db, payload["run_id"])
    _require_case(db, stamp.case_id)
    row = (payload["run_id"], stamp.case_id, payload["seconds"], stamp.journal_id)
    db.execute("INSERT INTO cases_done VALUES (?, ?, ?, ?)", row)


def _known_done(db: sqlite3.Connection, payload: dict[str, Any], case_id: str | None) -> int | None:
    query = "SELECT journal_id FROM cases_done WHERE run_id = ? AND case_id = ?"
    return _one_int(db, query, payload["run_id"], case_id)


def _finish_run(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _require_run(db, payload["run_id"])
    db.execute("UPDATE runs SET finish_id = ? WHERE run_id = ?", (stamp.journal_id, payload["run_id"]))


def _known_finish(db: sqlite3.Connection, payload: dict[str, Any], _case_id: str | None) -> int | None:
    return _one_int(db, "SELECT finish_id FROM runs WHERE run_id = ?", payload["run_id"])


def _set_verdict(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    run_id, object_id = payload["run_id"], payload["object_id"]
    _require_object(db, run_id, object_id, stamp.case_id)
    query = "SELECT body FROM verdicts WHERE run_id = ? AND object_id = ?"
    stored = db.execute(query, (run_id, object_id)).fetchone()
    before = canonical(payload["before"]) if payload["before"] is not None else None
    _require_current(before, stored[0] if stored else None, f"the verdict on {object_id}")
    db.execute("DELETE FROM verdicts WHERE run_id = ? AND object_id = ?", (run_id, object_id))
    if payload["after"] is not None:
        row = (
            run_id,
            object_id,
            stamp.case_id,
            canonical(payload["after"]),
            stamp.reader,
            stamp.at,
            stamp.journal_id,
        )
        db.execute("INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    _remember(db, stamp, object_id)


def _set_region(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    region_id, after = payload["region_id"], payload["after"]
    _require_case(db, stamp.case_id)
    stored = db.execute("SELECT digest, owner_id FROM regions WHERE region_id = ?", (region_id,)).fetchone()
    _require_current(payload["before_digest"], stored[0] if stored else None, f"region {region_id}")
    db.execute("DELETE FROM regions WHERE region_id = ?", (region_id,))
    touched = {region_id, stored[1] if stored else ""}
    if after is not None:
        body = canonical(after).encode()
        if body_digest(body) != payload["after_digest"]:
            raise ProjectError(f"Region {region_id} was changed on its way to the disk.", code="bit-rot")
        row = (region_id, stamp.case_id, after["owner_id"], payload["after_digest"], stamp.journal_id, body)
        db.execute("INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?)", row)
        touched.add(after["owner_id"])
    _remember(db, stamp, *sorted(touched - {""}))


def _add_bundle(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    _refuse_twice(db, "SELECT 1 FROM bundles WHERE hash = ?", payload["hash"], "bundle")
    values = [payload[name] for name in ("hash", "path", "name", "parent", "origin")]
    row = [*values, canonical(payload["figures"]), stamp.journal_id]
    db.execute("INSERT INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _set_current_bundle(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    after = payload["after"]
    stored = db.execute("SELECT hash FROM current_bundle").fetchone()
    _require_current(payload["before"], stored[0] if stored else None, "the current bundle")
    if after is not None and db.execute("SELECT 1 FROM bundles WHERE hash = ?", (after,)).fetchone() is None:
        raise ProjectError(
            f"The project knows no bundle {after}.", code="unknown-bundle", hint="Add it first."
        )
    db.execute("DELETE FROM current_bundle")
    if after is not None:
        db.execute("INSERT INTO current_bundle VALUES (1, ?, ?)", (after, stamp.journal_id))


def _add_export(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    values = (payload["path"], payload["format"], payload["manifest_digest"], canonical(payload["edit_ids"]))
    db.execute("INSERT INTO exports VALUES (?, ?, ?, ?, ?)", (stamp.journal_id, *values))


KINDS: dict[str, Kind] = {
    "case.add": Kind(_add_case),
    "finding.add": Kind(_add_findings, is_bulk=True),
    "run.add": Kind(_add_run),
    "candidates.add": Kind(_add_candidates, is_bulk=True, already=_known_batch),
    "run.case_done": Kind(_finish_case, already=_known_done),
    "run.finish": Kind(_finish_run, already=_known_finish),
    "verdict.set": Kind(_set_verdict),
    "region.set": Kind(_set_region),
    "bundle.add": Kind(_add_bundle),
    "bundle.current": Kind(_set_current_bundle),
    "export.add": Kind(_add_export),
}
"""Every kind of edit, by its name in the journal."""


def _one_int(db: sqlite3.Connection, query: str, *values: object) -> int | None:
    row = db.execute(query, values).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _remember(db: sqlite3.Connection, stamp: Stamp, *object_ids: str) -> None:
    for object_id in object_ids:
        db.execute("INSERT INTO history VALUES (?, ?)", (object_id, stamp.journal_id))


def _refuse_twice(db: sqlite3.Connection, query: str, value: str, what: str) -> None:
    if db.execute(query, (value,)).fetchone() is not None:
        raise ProjectError(f"The project has {what} {value} already.", code="exists")


def _require_case(db: sqlite3.Connection, case_id: str | None) -> None:
    if db.execute("SELECT 1 FROM cases WHERE case_id = ?", (case_id,)).fetchone() is None:
        raise ProjectError(f"The project knows no case {case_id}.", code="unknown-case", hint="Add it first.")


def _require_run(db: sqlite3.Connection, run_id: str) -> None:
    if db.execute("SELECT 1 FROM runs WHERE run_id = ?", (run_id,)).fetchone() is None:
        raise ProjectError(f"The project knows no run {run_id}.", code="unknown-run", hint="Add it first.")


def _require_object(db: sqlite3.Connection, run_id: str, object_id: str, case_id: str | None) -> None:
    if run_id:
        _require_run(db, run_id)
    finding = db.execute("SELECT case_id FROM findings WHERE finding_id = ?", (object_id,)).fetchone()
    if finding is not None and finding[0] == case_id:
        return
    wanted = id_bytes(object_id)
    query = "SELECT ids FROM candidate_batches WHERE run_id = ? AND case_id = ?"
    rows = db.execute(query, (run_id, case_id)) if wanted is not None else ()
    if not any(wanted is not None and contains_id(ids, wanted) for (ids,) in rows):
        raise ProjectError(
            f"Case {case_id} has neither a finding nor a candidate {object_id} of run {run_id or '(none)'}.",
            code="unknown-object",
        )


def _require_current(expected: str | None, stored: str | None, what: str) -> None:
    if expected != stored:
        raise ProjectError(
            f"Somebody or something changed {what} in the meantime: expected {expected}, found {stored}.",
            code="stale",
            hint="Look at the value that is stored now, and decide again.",
        )
