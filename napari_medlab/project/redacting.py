"""Taking cases out of rows of the journal, which stay where they are in the chain.

A row that is about one of the cases alone becomes an entry of the kind ``removed``: its number, its time, its reader and
its hash are left. Of a row that is about others, too, what is theirs is left. Either keeps the hash that it had, so that
the rows behind it still continue it; what is left is covered by a digest of its own, and the removal, which is an entry
as any other, vouches for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from napari_medlab.project.applying import kind_of
from napari_medlab.project.journal import REDACTED, Row, encode
from napari_medlab.project.region_columns import unpack_regions
from napari_medlab.project.schema import REMOVED

if TYPE_CHECKING:
    from napari_medlab.project.records import JournalEntry

__all__ = ["SHARED_KINDS", "Gone", "objects_of", "redacted"]

SHARED_KINDS = ("finding.add", "group", "filter.set")
"""The kinds of edit that can be about several cases."""
Payload = dict[str, Any]


class Gone(NamedTuple):
    """What is removed: cases, and the findings, candidates and outlines on them, by their ids."""

    cases: frozenset[str]
    objects: frozenset[str]


def redacted(row: Row, entry: JournalEntry, gone: Gone) -> Row | None:
    """Return a row without what is removed; None where it is not about that.

    Parameters
    ----------
    row : Row
    entry : JournalEntry
        What the row holds.
    gone : Gone
    """
    left = _left(entry.kind, entry.payload, entry.case_id, gone)
    if left == entry.payload:
        return None
    if left is None:
        return _sealed(row._replace(kind=REMOVED, case_id=None, undoes=None), {})
    if entry.kind == "group":
        row = row._replace(case_id=left["edits"][0]["case_id"])
    return _sealed(row, left)


def objects_of(entry: JournalEntry) -> list[str]:
    """Return the ids of the candidates or outlines that an edit adds by the batch."""
    if entry.kind == "candidates.add":
        return list(entry.payload["ids"])
    return [one.decode() for one in unpack_regions(entry.payload).ids.tolist()]


def _sealed(row: Row, content: Payload) -> Row:
    payload = {**content, REDACTED: row.redaction_of(content)}
    return row._replace(payload=encode(payload, is_bulk=kind_of(row.kind).is_bulk))


def _left(kind: str, payload: Payload, case_id: str | None, gone: Gone) -> Payload | None:
    """Return what is left of an edit; None for nothing."""
    if kind == "finding.add":
        findings = [one for one in payload["findings"] if one["case_id"] not in gone.cases]
        return {**payload, "findings": findings} if findings or not payload["findings"] else None
    if kind == "group":
        parts = [
            {**part, "payload": left}
            for part in payload["edits"]
            if (left := _left(part["kind"], part["payload"], part["case_id"], gone)) is not None
        ]
        return {**payload, "edits": parts} if parts else None
    if kind == "filter.set":
        return {**payload, **{side: _chosen(payload[side], gone) for side in ("before", "after")}}
    return None if case_id in gone.cases else payload


def _chosen(body: Payload | None, gone: Gone) -> Payload | None:
    """Return a filter that names nothing that is removed."""
    if body is None:
        return None
    lists = {"case_ids": gone.cases, "object_ids": gone.objects}
    return {
        name: [one for one in value if one not in lists[name]]
        if name in lists and isinstance(value, list)
        else value
        for name, value in body.items()
    }
