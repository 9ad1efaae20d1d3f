"""How each kind of edit changes the derived tables: the one place that writes them.

The same functions run when an edit is made and when the journal is replayed, so that the tables follow
from the journal and from nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project.bulk_regions import refuse_known
from napari_medlab.project.columns import pack
from napari_medlab.project.edits import body_digest, canonical, finding_json
from napari_medlab.project.guards import (
    Stamp,
    one_int,
    refuse_twice,
    remember,
    require_case,
    require_current,
    require_model,
    require_object,
    require_run,
)
from napari_medlab.project.records import checked_fields
from napari_medlab.project.region_columns import keys_of, unpack_regions
from napari_medlab.project.rows import ONE_FINDING, finding_digest, finding_of
from napari_medlab.project.schema import REMOVED, REVERSIBLE
from napari_medlab.project.seats import CORRECTIONS, REGIONS, VERDICTS, Change, Opinion, checked, hold

if TYPE_CHECKING:
    import sqlite3

__all__ = ["CHANGES", "KINDS", "Apply", "Kind", "kind_of"]

Apply = Callable[["sqlite3.Connection", dict[str, Any], Stamp], None]


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

    apply: Apply
    is_bulk: bool = False
    already: Callable[[sqlite3.Connection, dict[str, Any], str | None], int | None] | None = None


def kind_of(name: str) -> Kind:
    """Return a kind of edit by its name; raise :class:`ProjectError` (``unknown-kind``) for others."""
    kind = KINDS.get(name)
    if kind is None:
        raise ProjectError(f"There is no kind of edit called {name!r}.", code="unknown-kind")
    return kind


def _add_case(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    refuse_twice(db, "SELECT 1 FROM cases WHERE case_id = ?", payload["case_id"], "case")
    names = ("case_id", "path", "name", "kind", "modality", "patient_key", "split")
    values = [payload[name] for name in names]
    values += [
        int(payload["frozen"]),
        canonical(payload["fingerprint"]),
        canonical(payload["grid"]),
        stamp.journal_id,
        # cases that older versions added lack some of these
        canonical(payload.get("decisions", {})),
        payload.get("exam_key", ""),
        payload.get("view", ""),
        canonical(checked_fields(payload.get("fields", {}))),
    ]
    db.execute("INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def _add_findings(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    findings = payload["findings"]
    for case_id in sorted({finding["case_id"] for finding in findings}):
        require_case(db, case_id)
    for finding in map(finding_json, findings):
        finding_id = finding["finding_id"]
        for query in (
            "SELECT 1 FROM findings WHERE finding_id = ?",
            "SELECT 1 FROM corrections WHERE object_id = ?",
        ):
            refuse_twice(db, query, finding_id, "finding")
        x, y, z = (*finding["centre"], None)[:3]
        row = (finding_id, finding["case_id"], finding["label"], x, y, z, finding["diameter"])
        rest = (int(finding["is_excluded"]), stamp.journal_id)
        digest = finding_digest((*row, *rest))
        db.execute("INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*row, *rest, digest))
        remember(db, stamp, finding_id)


def _add_run(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    refuse_twice(db, "SELECT 1 FROM runs WHERE run_id = ?", payload["run_id"], "run")
    configuration = canonical(payload["configuration"])
    row = (payload["run_id"], payload["bundle_hash"], configuration, payload["created"], stamp.journal_id)
    db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, NULL)", row)


def _add_candidates(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_run(db, payload["run_id"])
    require_case(db, stamp.case_id)
    batch = pack(payload)
    row = (payload["run_id"], stamp.case_id, payload["batch"], stamp.journal_id, *astuple(batch))
    db.execute("INSERT INTO candidate_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _known_batch(db: sqlite3.Connection, payload: dict[str, Any], case_id: str | None) -> int | None:
    query = "SELECT journal_id FROM candidate_batches WHERE run_id = ? AND case_id = ? AND batch = ?"
    return one_int(db, query, payload["run_id"], case_id, payload["batch"])


def _finish_case(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_run(db, payload["run_id"])
    require_case(db, stamp.case_id)
    row = (payload["run_id"], stamp.case_id, payload["seconds"], stamp.journal_id)
    db.execute("INSERT INTO cases_done VALUES (?, ?, ?, ?)", row)


def _known_done(db: sqlite3.Connection, payload: dict[str, Any], case_id: str | None) -> int | None:
    query = "SELECT journal_id FROM cases_done WHERE run_id = ? AND case_id = ?"
    return one_int(db, query, payload["run_id"], case_id)


def _finish_run(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_run(db, payload["run_id"])
    db.execute("UPDATE runs SET finish_id = ? WHERE run_id = ?", (stamp.journal_id, payload["run_id"]))


def _known_finish(db: sqlite3.Connection, payload: dict[str, Any], _case_id: str | None) -> int | None:
    return one_int(db, "SELECT finish_id FROM runs WHERE run_id = ?", payload["run_id"])


def _add_regions(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_case(db, stamp.case_id)
    if payload["run_id"]:
        require_run(db, payload["run_id"])
    case_id, columns = str(stamp.case_id), unpack_regions(payload)
    _require_axes(db, case_id, {columns.ndim})
    _require_axes_of_drawn(db, case_id, columns.ndim)
    keys = keys_of(columns.ids)
    refuse_known(db, case_id, keys)
    sizes = (len(columns.ids), len(columns.vertex_counts), len(columns.numbers), columns.ndim)
    row = (case_id, payload["batch"], payload["run_id"], stamp.journal_id, *sizes, keys.tobytes())
    db.execute("INSERT INTO region_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _require_axes(db: sqlite3.Connection, case_id: str, found: set[int]) -> None:
    """Refuse outlines that have not as many coordinates as those that came in batches."""
    expected = db.execute("SELECT ndim FROM region_batches WHERE case_id = ? LIMIT 1", (case_id,)).fetchone()
    if expected is not None and found - {expected[0]}:
        raise _other_axes(case_id, expected[0], max(found))


def _require_axes_of_drawn(db: sqlite3.Connection, case_id: str, ndim: int) -> None:
    """Refuse a batch whose outlines have not as many coordinates as one that was drawn."""
    query = REGIONS.query("WHERE case_id = ? AND body IS NOT NULL LIMIT 1")
    for row in db.execute(query, (case_id,)):
        rings = json.loads(checked(REGIONS, Opinion(*row)).body or b"")["rings"]
        drawn = {len(vertex) for ring in rings for vertex in ring}
        if drawn - {ndim}:
            raise _other_axes(case_id, max(drawn), ndim)


def _other_axes(case_id: str, expected: int, found: int) -> InputRefusedError:
    return InputRefusedError(
        f"The outlines on case {case_id} have {expected} coordinates a vertex, got {found}.", code="shape"
    )


def _known_regions(db: sqlite3.Connection, payload: dict[str, Any], case_id: str | None) -> int | None:
    query = "SELECT journal_id FROM region_batches WHERE case_id = ? AND batch = ?"
    return one_int(db, query, case_id, payload["batch"])


def _verdict_change(_db: sqlite3.Connection, payload: dict[str, Any], _stamp: Stamp) -> Change:
    sides = payload["before"], payload["after"]
    return Change(VERDICTS, payload["run_id"], payload["object_id"], *sides, "", lambda: None)


def _set_verdict(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_object(db, payload["run_id"], payload["object_id"], stamp)
    hold(db, _verdict_change(db, payload, stamp), payload, stamp)
    remember(db, stamp, payload["object_id"])


def _region_change(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> Change:
    region_id, after = payload["region_id"], payload["after"]
    owner_id, journal = after["owner_id"] if after is not None else "", stamp.journal or db

    def base() -> bytes | None:
        return stamp.lookups.outline(db, journal, region_id)

    return Change(REGIONS, "", region_id, payload["before"], after, owner_id, base)


def _set_region(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    region_id, after = payload["region_id"], payload["after"]
    require_case(db, stamp.case_id)
    if after is not None and body_digest(canonical(after).encode()) != payload["after_digest"]:
        raise ProjectError(f"Region {region_id} was changed on its way to the disk.", code="bit-rot")
    if after is not None:
        _require_axes(db, str(stamp.case_id), {len(vertex) for ring in after["rings"] for vertex in ring})
    hold(db, _region_change(db, payload, stamp), payload, stamp)
    owners = {value["owner_id"] for value in (payload["before"], after) if value is not None}
    remember(db, stamp, *sorted({region_id, *owners} - {""}))


def _finding_change(db: sqlite3.Connection, payload: dict[str, Any], _stamp: Stamp) -> Change:
    finding_id = payload["finding_id"]

    def base() -> bytes | None:
        row = db.execute(ONE_FINDING, (finding_id,)).fetchone()
        return None if row is None else canonical(finding_of(row)).encode()

    return Change(CORRECTIONS, "", finding_id, payload["before"], payload["after"], "", base)


def _set_finding(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_case(db, stamp.case_id)
    hold(db, _finding_change(db, payload, stamp), payload, stamp)
    remember(db, stamp, payload["finding_id"])


def _set_filter(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    name = payload["name"]
    stored = db.execute("SELECT body FROM filters WHERE name = ?", (name,)).fetchone()
    before, after = (
        None if payload[side] is None else canonical(payload[side]) for side in ("before", "after")
    )
    require_current(before, stored[0] if stored else None, f"the filter {name}")
    db.execute("DELETE FROM filters WHERE name = ?", (name,))
    if after is not None:
        db.execute("INSERT INTO filters VALUES (?, ?, ?)", (name, after, stamp.journal_id))


def _set_fields(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    require_case(db, stamp.case_id)
    (stored,) = db.execute("SELECT fields FROM cases WHERE case_id = ?", (stamp.case_id,)).fetchone()
    require_current(canonical(payload["before"]), stored, f"the fields of case {stamp.case_id}")
    after = canonical(checked_fields(payload["after"]))
    db.execute("UPDATE cases SET fields = ? WHERE case_id = ?", (after, stamp.case_id))
    remember(db, stamp, str(stamp.case_id))


def _group(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    parts = payload["edits"]
    for step, part in enumerate(parts):
        if part["kind"] not in REVERSIBLE or part["kind"] == "group":
            raise ProjectError(
                f"An edit of the kind {part['kind']!r} cannot be part of a group.", code="group"
            )
        within = replace(stamp, case_id=part["case_id"], step=step, steps=len(parts))
        kind_of(part["kind"]).apply(db, part["payload"], within)


def _add_bundle(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    refuse_twice(db, "SELECT 1 FROM bundles WHERE hash = ?", payload["hash"], "bundle")
    values = [payload[name] for name in ("hash", "path", "name", "parent", "origin")]
    row = [*values, canonical(payload["figures"]), stamp.journal_id]
    db.execute("INSERT INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _set_current_bundle(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    after = payload["after"]
    stored = db.execute("SELECT hash FROM current_bundle").fetchone()
    require_current(payload["before"], stored[0] if stored else None, "the current bundle")
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


def _add_judgement(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    for name in ("run_id", "against_run_id"):
        require_run(db, payload[name])
    names = ("bundle_hash", "against_hash", "run_id", "against_run_id")
    told = (canonical(payload["rule"]), canonical(payload["figures"]))
    verdict = (int(payload["may_publish"]), payload["reason"])
    row = (stamp.journal_id, stamp.at, *(payload[name] for name in names), *told, *verdict)
    db.execute("INSERT INTO judgements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)", row)


def _set_conclusion(db: sqlite3.Connection, payload: dict[str, Any], stamp: Stamp) -> None:
    about, after = payload["about"], payload["after"]
    require_model(db, about)
    stored = db.execute("SELECT body FROM conclusions WHERE about = ?", (about,)).fetchone()
    require_current(payload["before"], stored[0] if stored else "", f"the conclusion about {about}")
    db.execute("DELETE FROM conclusions WHERE about = ?", (about,))
    if after:
        db.execute("INSERT INTO conclusions VALUES (?, ?, ?)", (about, after, stamp.journal_id))
    remember(db, stamp, about)


def _remove_cases(db: sqlite3.Connection, payload: dict[str, Any], _stamp: Stamp) -> None:
    """Mark what was said with the removed cases; that nothing else of them is there is the work of the redaction."""
    wanted = set(payload["cases"])
    for (case_id,) in db.execute("SELECT case_id FROM cases"):
        if body_digest(case_id.encode()) in wanted:
            raise ProjectError(f"Case {case_id} was removed, and is there again.", code="corrupt")
    for journal_id, count in payload["judgements"].items():
        query = "UPDATE judgements SET cases_removed = cases_removed + ? WHERE journal_id = ?"
        db.execute(query, (int(count), int(journal_id)))


def _removed(_db: sqlite3.Connection, _payload: dict[str, Any], _stamp: Stamp) -> None:
    """Leave everything as it is: whatever the edit did was about a case that was removed."""


CHANGES: dict[str, Callable[[sqlite3.Connection, dict[str, Any], Stamp], Change]] = {
    "verdict.set": _verdict_change,
    "region.set": _region_change,
    "finding.set": _finding_change,
}
"""For each kind of edit that belongs to one seat, what it does there."""

KINDS: dict[str, Kind] = {
    "case.add": Kind(_add_case),
    "finding.add": Kind(_add_findings, is_bulk=True),
    "run.add": Kind(_add_run),
    "candidates.add": Kind(_add_candidates, is_bulk=True, already=_known_batch),
    "run.case_done": Kind(_finish_case, already=_known_done),
    "run.finish": Kind(_finish_run, already=_known_finish),
    "verdict.set": Kind(_set_verdict),
    "regions.add": Kind(_add_regions, is_bulk=True, already=_known_regions),
    "region.set": Kind(_set_region),
    "finding.set": Kind(_set_finding),
    "filter.set": Kind(_set_filter),
    "case.fields": Kind(_set_fields),
    "group": Kind(_group),
    "bundle.add": Kind(_add_bundle),
    "bundle.current": Kind(_set_current_bundle),
    "export.add": Kind(_add_export),
    "judgement.add": Kind(_add_judgement),
    "conclusion.set": Kind(_set_conclusion),
    "case.remove": Kind(_remove_cases, is_bulk=True),
    REMOVED: Kind(_removed),
}
"""Every kind of edit, by its name in the journal."""
