"""From a row of a table to the record that readers see."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ProjectError
from napari_medlab.project.records import BundleRecord, CaseRecord, JudgementRecord, RunRecord, Verdict

if TYPE_CHECKING:
    import sqlite3

    from napari_medlab.project.seats import Opinion

__all__ = [
    "FINDING_COLUMNS", "ONE_FINDING", "bundle_of", "case_of", "finding_digest", "finding_of", "judgement_of", "least_ndim",
    "run_of", "verdict_of",
]  # fmt: skip

JSON_COLUMNS = ("fingerprint", "grid", "decisions", "fields")
FINDING_COLUMNS = (
    "SELECT finding_id, case_id, label, x, y, z, diameter, is_excluded, journal_id, digest FROM findings "
)
ONE_FINDING = FINDING_COLUMNS + "WHERE finding_id = ?"


def case_of(row: dict[str, Any]) -> CaseRecord:
    """Return a case from its columns by name."""
    known: dict[str, Any] = {field.name: row[field.name] for field in fields(CaseRecord)}
    decoded = {name: json.loads(known[name]) for name in JSON_COLUMNS}
    return CaseRecord(**{**known, **decoded, "frozen": bool(row["frozen"])})


def run_of(row: tuple[Any, ...]) -> RunRecord:
    """Return a run from its id, bundle, configuration, time, and whether it is finished."""
    return RunRecord(row[0], row[1], json.loads(row[2]), row[3], bool(row[4]))


def bundle_of(row: tuple[Any, ...]) -> BundleRecord:
    """Return a bundle from its hash, path, name, parent, origin and figures."""
    digest, path, name, parent, origin, figures = row
    return BundleRecord(digest, path, name, parent, origin, json.loads(figures))


def judgement_of(row: tuple[Any, ...]) -> JudgementRecord:
    """Return a judgement from its columns, in the order of its fields."""
    bundle_hash, against_hash, run_id, against_run_id, rule, figures, may_publish, reason, at, removed = row
    told = json.loads(rule), json.loads(figures), bool(may_publish)
    return JudgementRecord(bundle_hash, against_hash, run_id, against_run_id, *told, reason, at, removed)


def finding_of(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a finding as a JSON value from the columns of :data:`FINDING_COLUMNS`.

    Raises
    ------
    ProjectError
        ``bit-rot`` where it is not what was stored.
    """
    finding_id, case_id, label, x, y, z, diameter, is_excluded = row[:8]
    if finding_digest(row[:9]) != row[9]:
        raise ProjectError(
            f"The stored finding {finding_id} of case {case_id} is not what was given: it was changed.",
            code="bit-rot",
            hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
        )
    return {
        "finding_id": finding_id,
        "case_id": case_id,
        "centre": [x, y] if z is None else [x, y, z],
        "diameter": diameter,
        "label": label,
        "is_excluded": bool(is_excluded),
    }


def finding_digest(row: tuple[Any, ...]) -> str:
    """Return the SHA-256 of the columns of a finding, all but the digest itself."""
    return hashlib.sha256(repr(row).encode()).hexdigest()


def least_ndim(db: sqlite3.Connection) -> int:
    """Return how many coordinates a table of all cases has at least: 3 where one of them is a volume, so that all fit."""
    return 2 if db.execute("SELECT 1 FROM cases WHERE kind = 'volume' LIMIT 1").fetchone() is None else 3


def verdict_of(row: Opinion) -> Verdict:
    """Return a verdict from what a seat holds."""
    return Verdict(**json.loads(row.body or b""), reader=row.reader, at=row.at)
