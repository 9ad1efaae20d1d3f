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
from napari_medlab.project.records import Verdict, checked_fields
from napari_medlab.project.schema import REVERSIBLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import Candidate, Finding, Region
    from napari_medlab.annotations.region_table import RegionTable
    from napari_medlab.project.records import (
        BundleRecord,
        CaseRecord,
        ExportRecord,
        JudgementRecord,
        VerdictName,
    )

__all__ = [
    "SEATED",
    "Edit",
    "add_bundle",
    "add_candidates",
    "add_case",
    "add_export",
    "add_findings",
    "add_judgement",
    "add_regions",
    "add_run",
    "canonical",
    "finding_json",
    "finish_case",
    "finish_run",
    "group",
    "set_conclusion",
    "set_current_bundle",
    "set_fields",
    "set_filter",
    "set_finding",
    "set_region",
    "set_verdict",
    "swapped",
    "utc_now",
    "with_seat",
]


MAX_FILTER_NAME, MAX_CONCLUSION = 64, 4000
SEATED = ("verdict.set", "region.set", "finding.set")
"""The kinds of edit that belong to one seat."""


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

    Raises
    ------
    InputRefusedError
        ``shape`` where a centre has neither two nor three coordinates.
    """
    for finding in findings:
        _require_axes(finding)
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
    for candidate in candidates[:1]:
        _require_axes(candidate)
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
    adjudicated: bool = False,
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
        What the reader saw: the own verdict, else the adjudicated one. A project in which the reader sees another
        refuses the edit as ``stale``.
    after : Verdict, str or None
    adjudicated : bool
        Whether this is the verdict that holds for all readers; ``before`` is then the adjudicated one.
    """
    payload = {
        "run_id": run_id,
        "object_id": object_id,
        "before": _verdict_json(before),
        "after": _verdict_json(after),
        "adjudicated": bool(adjudicated),
    }
    return Edit("verdict.set", payload, case_id)


def set_region(before: Region | None, after: Region | None, *, adjudicated: bool = False) -> Edit:
    """Return the edit that draws, changes or (``after=None``) removes an outline.

    Parameters
    ----------
    before : Region or None
        What the reader saw: the own outline, else the adjudicated one, else the one that came in a batch.
    after : Region or None
    adjudicated : bool
        Whether this is the outline that holds for all readers; ``before`` is then the adjudicated one, else the one
        that came in a batch.

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
    payload: dict[str, Any] = {"region_id": given[0].region_id, "adjudicated": bool(adjudicated)}
    for name, region in (("before", before), ("after", after)):
        value = region.as_json() if region is not None else None
        payload[name] = value
        payload[f"{name}_digest"] = body_digest(canonical(value).encode()) if value is not None else None
    return Edit("region.set", payload, given[0].case_id)


def add_regions(case_id: str, batch: str, regions: RegionTable, run_id: str = "") -> Edit:
    """Return the edit that adds many outlines of one case at once, given or proposed by a model.

    A batch whose name the project has already on that case is left as it is: a resumed run may send it again.

    Parameters
    ----------
    case_id : str
    batch : str
        A name for the batch, of which a case has each only once.
    regions : RegionTable
        All planar or all in volumes, as the other batches on the case.
    run_id : str
        The run that proposes them; empty for none.

    Raises
    ------
    InputRefusedError
        ``other-case``; ``id`` where an outline has no id or one that another has; ``shape`` where a coordinate or a
        score is not finite.
    """
    from napari_medlab.project.region_columns import pack_regions

    if regions.case_id != case_id:
        raise InputRefusedError(
            f"A batch for case {case_id} holds outlines of another case.", code="other-case"
        )
    return Edit("regions.add", {"batch": batch, "run_id": run_id, **pack_regions(regions)}, case_id)


def set_finding(before: Finding | None, after: Finding | None, *, adjudicated: bool = False) -> Edit:
    """Return the edit that adds, moves, resizes, relabels, excludes or (``after=None``) removes a finding.

    What was given by :func:`add_findings` stays as it is: this is a correction of it.

    Parameters
    ----------
    before : Finding or None
        What the reader saw: the own correction, else the adjudicated one, else the finding as it was given.
    after : Finding or None
    adjudicated : bool
        Whether this holds for all readers.

    Raises
    ------
    InputRefusedError
        Where neither is given, or they are not the same finding of the same case; ``shape`` where a centre has neither
        two nor three coordinates.
    """
    given = [finding for finding in (before, after) if finding is not None]
    if len({(finding.finding_id, finding.case_id) for finding in given}) != 1:
        raise InputRefusedError(
            "Before and after must be one finding of one case; at least one of them is needed.",
            code="finding",
        )
    for finding in given:
        _require_axes(finding)
    payload = {
        "finding_id": given[0].finding_id,
        "before": finding_json(asdict(before)) if before is not None else None,
        "after": finding_json(asdict(after)) if after is not None else None,
        "adjudicated": bool(adjudicated),
    }
    return Edit("finding.set", payload, given[0].case_id)


def set_filter(name: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> Edit:
    """Return the edit that stores, changes or (``after=None``) removes a named filter, which all readers share.

    Raises
    ------
    InputRefusedError
        Where the name has not 1 to 64 printable characters.
    """
    if not 1 <= len(name) <= MAX_FILTER_NAME or not name.isprintable():
        raise InputRefusedError(
            f"A filter cannot be called {name!r:.80}.",
            code="name",
            hint=f"Use 1 to {MAX_FILTER_NAME} printable characters.",
        )
    return Edit("filter.set", {"name": name, "before": before, "after": after})


def set_fields(case_id: str, before: dict[str, str | float], after: dict[str, str | float]) -> Edit:
    """Return the edit that sets the free columns of a case, all of them.

    Parameters
    ----------
    case_id : str
    before, after : dict
        :attr:`CaseRecord.fields` as they were seen, and as they are to be.

    Raises
    ------
    InputRefusedError
        ``field`` for a name or a value that cannot be stored.
    """
    return Edit("case.fields", {"before": before, "after": checked_fields(after)}, case_id)


def group(title: str, edits: Sequence[Edit]) -> Edit:
    """Return the edit that makes several reversible edits as one: all or none, taken back together.

    Parameters
    ----------
    title : str
        What was done, for the history.
    edits : sequence of Edit
        At least one, in the order in which they are made; each sees what those before it did. The group belongs to
        the case of the first.

    Raises
    ------
    InputRefusedError
        ``group`` where there are none, or one is a group or of a kind that cannot be taken back.
    """
    unfit = next((edit.kind for edit in edits if edit.kind not in REVERSIBLE or edit.kind == "group"), None)
    if not edits or unfit is not None:
        what = "no edits at all" if unfit is None else f"an edit of the kind {unfit!r}"
        raise InputRefusedError(f"A group cannot hold {what}.", code="group")
    parts = [{"kind": edit.kind, "payload": edit.payload, "case_id": edit.case_id} for edit in edits]
    return Edit("group", {"title": title, "edits": parts}, edits[0].case_id)


def add_bundle(record: BundleRecord) -> Edit:
    """Return the edit that makes a bundle known to the project."""
    return Edit("bundle.add", asdict(record))


def set_current_bundle(before: str | None, after: str | None) -> Edit:
    """Return the edit that chooses, by hash, the bundle that the project works with."""
    return Edit("bundle.current", {"before": before, "after": after})


def add_export(record: ExportRecord) -> Edit:
    """Return the edit that records an export and the edits that went into it."""
    return Edit("export.add", {**asdict(record), "edit_ids": list(record.edit_ids)})


def add_judgement(record: JudgementRecord) -> Edit:
    """Return the edit that records what the frozen test set said about a proposed model."""
    payload = asdict(record)
    del payload["at"], payload["cases_removed"]
    return Edit("judgement.add", payload)


def set_conclusion(about: str, before: str, after: str) -> Edit:
    """Return the edit that stores, changes or (``after=""``) removes what people concluded about a model.

    Parameters
    ----------
    about : str
        The hash of a bundle; for predictions that were made elsewhere, the id of their run.
    before, after : str
        The text as it was seen, empty for none, and as it is to be. All readers share it.

    Raises
    ------
    InputRefusedError
        ``conclusion`` where it is longer than 4000 characters, or holds others than printable ones and line ends.
    """
    if len(after) > MAX_CONCLUSION or not all(line.isprintable() for line in after.split("\n")):
        raise InputRefusedError(
            f"This conclusion of {len(after)} characters cannot be stored.",
            code="conclusion",
            hint=f"Use up to {MAX_CONCLUSION} printable characters, in one line or several.",
        )
    return Edit("conclusion.set", {"about": about, "before": before, "after": after})


def swapped(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a reversible edit the other way round; of a group, its parts from the last to the first."""
    if "edits" in payload:
        parts = [{**part, "payload": swapped(part["payload"])} for part in reversed(payload["edits"])]
        return {**payload, "edits": parts}
    other = {
        "before": "after",
        "after": "before",
        "before_digest": "after_digest",
        "after_digest": "before_digest",
    }
    return {key: payload[other.get(key, key)] for key in payload}


def with_seat(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of an edit as this version writes it: those of older versions say nothing of seats."""
    return {"adjudicated": False, **payload} if kind in SEATED else payload


def finding_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return a finding as the one JSON value that stands for it: numbers as float64, and no negative zero."""
    return {
        "finding_id": str(value["finding_id"]),
        "case_id": str(value["case_id"]),
        "centre": [float(x) + 0.0 for x in value["centre"]],
        "diameter": float(value["diameter"]) + 0.0,
        "label": str(value["label"]),
        "is_excluded": bool(value["is_excluded"]),
    }


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


def _require_axes(one: Finding | Candidate) -> None:
    if len(one.centre) not in (2, 3):
        raise InputRefusedError(
            f"A centre on case {one.case_id} has {len(one.centre)} coordinates.",
            code="shape",
            hint="Give x and y on a planar image, and x, y and z in a volume.",
        )


def _verdict_json(value: Verdict | VerdictName | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return (value if isinstance(value, Verdict) else Verdict(value)).as_json()
