"""Which cases somebody has read: where nothing is known of a case, what a model marks there is not known to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.project.edits import group, set_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.project.project import Project

__all__ = ["NO", "READ", "YES", "Reading", "mark_read", "reading_of"]

READ = "read"
"""The free column of a case that says, ``yes`` or ``no``, whether all that is to be found on it is in the reference."""
YES, NO = "yes", "no"
COVERED = 0.5
"""Where a reference standard came with findings on so large a share of the training cases, those without are normal."""

TRAINING = "SELECT case_id, json_extract(fields, '$.read'), journal_id FROM cases WHERE split = 'train' AND NOT frozen"
GIVEN = "SELECT case_id, MAX(journal_id) FROM findings GROUP BY case_id"
OUTLINED = "SELECT DISTINCT case_id FROM region_batches WHERE run_id = ''"


@dataclass(frozen=True)
class Reading:
    """What is known of the training cases of a project.

    Parameters
    ----------
    unread : frozenset of str
        The cases on which nothing is known, and which nobody is known to have looked at.
    assumed_normal : frozenset of str
        The cases without anything that count as normal for no better reason than that they were there when a reference
        standard came in that has findings on most others.
    """

    unread: frozenset[str]
    assumed_normal: frozenset[str]


def reading_of(project: Project) -> Reading:
    """Tell which training cases were read; test cases are never among those that were not.

    A case was read where its column ``read`` says ``yes``, where the reference has a finding or an outline on it, and where
    a reader gave a verdict, drew or corrected something; never where that column says ``no``. Of the others nobody knows. Those
    that were there when the last findings were imported are taken to be normal if at least half of all training cases
    have findings that were imported: a reference standard lists lesions, and seldom what it found normal.
    """
    touched = project.cases_read()
    with project.reading() as db:
        cases = db.execute(TRAINING).fetchall()
        given: dict[str, int] = dict(db.execute(GIVEN))
        outlined = {row[0] for row in db.execute(OUTLINED)}
    said = {case_id: str(value).strip().lower() for case_id, value, _ in cases if value is not None}
    known = touched | outlined | set(given)
    training = {case_id: added for case_id, _, added in cases}
    open_ones = {key for key in training if key not in known and said.get(key) != YES}
    is_covered = bool(training) and len(training.keys() & set(given)) >= COVERED * len(training)
    last = max(given.values(), default=0)
    normal = {key for key in open_ones if is_covered and training[key] < last and said.get(key) != NO}
    denied = {key for key in training if said.get(key) == NO}
    return Reading(frozenset((open_ones - normal) | denied), frozenset(normal))


def mark_read(project: Project, said: Mapping[str, bool]) -> int:
    """Write down whether cases were read, as one edit that can be undone; return how many were not marked before.

    What their column ``read`` says already, whoever wrote it, stays.

    Parameters
    ----------
    project : Project
    said : mapping of str to bool
        By the keys of cases.
    """
    edits = []
    for case in project.cases():
        if case.case_id in said and READ not in case.fields:
            marked = {**case.fields, READ: YES if said[case.case_id] else NO}
            edits.append(set_fields(case.case_id, case.fields, marked))
    if edits:
        project.commit(group(f"whether {len(edits)} cases were read", edits))
    return len(edits)
