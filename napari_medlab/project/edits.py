"""The changes that can be made to a project, one constructor for each kind.

An edit holds plain JSON values only: it goes into the journal as it is, and
:mod:`napari_medlab.project.applying` derives the tables from it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.project.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import Candidate, Finding, Region
    from napari_medlab.project.records import BundleRecord, CaseRecord, ExportRecord, VerdictName

__all__ = [
    "Edit",
    "add_bundle",
    "add_candidates",
    "add_case",
    "add_export",
    "add_findings",
    "add_run",
    "canonical",
    "finish_case",
    "finish_run",
    "set_current_bundle",
    "set_region",
    "set_verdict",
    "swapped",
    "utc_now",
]


@dataclass(frozen=True)
class Edit:
    """One change to anything that a reader owns.

    Parameters
    ----------
    kind : str
        One of :data:`napari_medlab.project.applying.KINDS`.
    payload : dict
        JSON values; reversible kinds have ``before`` and ``after``.
    case_id : str or None
        The case that it belongs to.
    """

    kind: str
    payload: dict[str, Any]
    case_id: str | None = None


def add_case(record: CaseRecord, lineage: Sequence[str] = ()) -> Edit:
    """Return the edit that lists a case in the project.

    Parameters
    ----------
    record : CaseRecord
    lineage : sequence of str
        What was done to the pixels when the image was opened, :attr:`napari_medlab.images.Image.lineage`.
    """
    return Edit("case.add", {**asdict(record), "lineage": list(lineage)}, record.case_id)


def add_findings(findings: Sequence[Finding]) -> Edit:
    """Return the edit that adds findings, of one case or of many, all or none.

    Its ``case_id`` is set where all of them belong to one case.
    """
    cases = {finding.case_id for finding in findings}
    rows = [{**asdict(finding), "centre": [float(x) for x in finding.centre]} for finding in findings]
    return Edit("finding.add", {"findings": rows}, cases.pop() if len(cases) == 1 else None)


def add_run(run_id: str, bundle_hash: str, configuration: dict[str, Any], created: str | None = None) -> Edit:
    """Return the edit that begins a run; ``created`` is UTC in ISO 8601, now where left out."""
    payload = {
        "run_id": run_id,
        "bundle_hash": bundle_hash,
        "configuration": configuration,
        "created": created or utc_now(),
    }
    return Edit("run.add", payload)


def add_candidates(run_id: str, case_id: str, batch: int, candidates: Sequence[Candidate]) -> Edit:
    """Return the edit that adds one batch of a run's candidates on one case.

    A batch whose number the project has already is left as it is: a resumed run may send it again.

    Raises
    ------
    InputRefusedError
        Where a candidate belongs to another case, or planar and volume coordinates are mixed.
    """
    if any(candidate.case_id != case_id for candidate in candidates):
        raise InputRefusedError(
            f"A batch for case {case_id} holds candidates of another case.", code="other-case"
        )
    dimensions = {len(candidate.centre) for candidate in candidates} or {3}
    if len(dimensions) > 1:
        raise InputRefusedError("A batch mixes planar and volume coordinates.", code="shape")
    payload = {
        "run_id": run_id,
        "batch": int(batch),
        "ndim": dimensions.pop(),
        "ids": [c.candidate_id for c in candidates],
        "labels": [c.label for c in candidates],
        "centres": [[float(x) for x in c.centre] for c in candidates],
        "scores": [float(c.score) for c in candidates],
        "diameters": [float(c.diameter) for c in candidates],
    }
    return Edit("candidates.add", payload, case_id)


def finish_case(run_id: str, case_id: str, seconds: float) -> Edit:
    """Return the edit that says that a run has looked at all of a case, whether or not it found anything."""
    return Edit("run.case_done", {"run_id": run_id, "seconds": float(seconds)}, case_id)


def finish_run(run_id: str) -> Edit:
    """Return the edit that closes a run."""
    return Edit("run.finish", {"run_id": run_id})


def set_verdict(
    case_id: str,
    run_id: str,
    object_id: str,
    *,
    before: Verdict | VerdictName | None,
    after: Verdict | VerdictName | None,
) -> Edit:
    """Return the edit that sets, changes or (``after=None``) clears a verdict.

    Parameters
    ----------
    case_id : str
        The case on which the object lies.
    run_id : str
        The run that is reviewed; empty for a verdict on a finding outside any run.
    object_id : str
        A candidate of that run, or a finding.
    before : Verdict, str or None
        What the reader saw stored; a project whose value differs refuses the edit as ``stale``.
    after : Verdict, str or None
    """
    payload = {
        "run_id": run_id,
        "object_id": object_id,
        "before": _verdict_json(before),
        "after": _verdict_json(after),
    }
    return Edit("verdict.set", payload, case_id)


def set_region(before: Region | None, after: Region | None) -> Edit:
    """Return the edit that draws, changes or (``after=None``) removes an outline.

    Raises
    ------
    InputRefusedError
        Where neither is given, or they are not the same region of the same case.
    """
    given = [region for region in (before, after) if region is not None]
    if len({(region.region_id, region.case_id) for region in given}) != 1:
        raise InputRefusedError(
            "Before and after must be one region of one case; at least one of them is needed.", code="region"
        )
    payload: dict[str, Any] = {"region_id": given[0].region_id}
    for name, region in (("before", before), ("after", after)):
        value = region.as_json() if region is not None else None
        payload[name] = value
        payload[f"{name}_digest"] = body_digest(canonical(value).encode()) if value is not None else None
    return Edit("region.set", payload, given[0].case_id)


def add_bundle(record: BundleRecord) -> Edit:
    """Return the edit that makes a bundle known to the project."""
    return Edit("bundle.add", asdict(record))


def set_current_bundle(before: str | None, after: str | None) -> Edit:
    """Return the edit that chooses, by hash, the bundle that the project works with."""
    return Edit("bundle.current", {"before": before, "after": after})


def add_export(record: ExportRecord) -> Edit:
    """Return the edit that records an export and the edits that went into it."""
    return Edit("export.add", {**asdict(record), "edit_ids": list(record.edit_ids)})


def swapped(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a reversible edit the other way round."""
    other = {
        "before": "after",
        "after": "before",
        "before_digest": "after_digest",
        "after_digest": "before_digest",
    }
    return {key: payload[other.get(key, key)] for key in payload}


def canonical(value: object) -> str:
    """Return a JSON value as the one text that stands for it: keys sorted, floats with all their digits.

    Raises
    ------
    InputRefusedError
        Where a number is not finite, or something is no JSON value.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(f"This cannot be stored: {error}.", code="not-json") from error


def body_digest(body: bytes) -> str:
    """Return the SHA-256 of a stored outline, as hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def utc_now() -> str:
    """Return the time, UTC, as ISO 8601 text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _verdict_json(value: Verdict | VerdictName | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return (value if isinstance(value, Verdict) else Verdict(value)).as_json()
