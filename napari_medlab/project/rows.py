"""From a row of a table to the record that readers see."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from napari_medlab.annotations import Region
from napari_medlab.errors import ProjectError
from napari_medlab.project.edits import body_digest
from napari_medlab.project.records import BundleRecord, CaseRecord, RunRecord

__all__ = ["bundle_of", "case_of", "region_of", "run_of"]

JSON_COLUMNS = ("fingerprint", "grid", "decisions")


def case_of(row: dict[str, Any]) -> CaseRecord:
    """Return a case from its columns by name; those that version 1 lacks have the value that stands for nothing."""
    known: dict[str, Any] = {field.name: row[field.name] for field in fields(CaseRecord) if field.name in row}
    decoded = {name: json.loads(known[name]) for name in JSON_COLUMNS if name in known}
    return CaseRecord(**{**known, **decoded, "frozen": bool(row["frozen"])})


def run_of(row: tuple[Any, ...]) -> RunRecord:
    """Return a run from its id, bundle, configuration, time, and whether it is finished."""
    return RunRecord(row[0], row[1], json.loads(row[2]), row[3], bool(row[4]))


def bundle_of(row: tuple[Any, ...]) -> BundleRecord:
    """Return a bundle from its hash, path, name, parent, origin and figures."""
    digest, path, name, parent, origin, figures = row
    return BundleRecord(digest, path, name, parent, origin, json.loads(figures))


def region_of(row: tuple[Any, ...]) -> Region:
    """Return an outline from its id, case, owner, digest and body.

    Raises
    ------
    ProjectError
        ``bit-rot`` where it is not what was stored.
    """
    region_id, case_id, owner_id, digest, body = row
    if body_digest(body) == digest:
        region = Region.from_json(json.loads(body))
        if (region.region_id, region.case_id, region.owner_id) == (region_id, case_id, owner_id):
            return region
    raise ProjectError(
        f"The stored outline {region_id} of case {case_id} is not what was drawn: it was changed.",
        code="bit-rot",
        hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
    )
