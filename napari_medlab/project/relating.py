"""How a copy of a project relates to the project: which edits both have, and what the copy calls things."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ProjectError
from napari_medlab.project.edits import body_digest, canonical
from napari_medlab.project.journal import SELECT, Row, entry_of
from napari_medlab.project.keep_lists import RANDOM
from napari_medlab.project.region_columns import unpack_regions
from napari_medlab.project.schema import REMOVED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

__all__ = ["Relation", "relation"]

IDS = (
    "case_id", "finding_id", "run_id", "object_id", "region_id", "owner_id", "bundle_hash", "hash", "about",
)  # fmt: skip
"""The slots of a payload that hold the id of something."""
Pair = tuple[str, str]


@dataclass
class Relation:
    """What a copy of a project has in common with it.

    Parameters
    ----------
    common : int
        How many edits both journals begin with.
    ids, readers : dict
        What stands in the project for what the copy calls otherwise: a shared copy has keys in the place of names.
    """

    common: int = 0
    ids: dict[str, str] = field(default_factory=dict)
    readers: dict[str, str] = field(default_factory=dict)

    def our_id(self, name: str | None) -> str | None:
        """Return what an id of the copy is in the project."""
        return None if name is None else self.ids.get(name, name)

    def our_payload(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return a payload of the copy with the project's own ids."""
        ours: dict[str, Any] = self._renamed(payload)
        if kind == "filter.set":
            ours["name"] = self.ids.get(ours["name"], ours["name"])
        return ours

    def _renamed(self, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(value, list):
            return [self._renamed(item) for item in value] if value and isinstance(value[0], dict) else value
        if not isinstance(value, dict):
            return value
        ours = {
            name: self.our_id(item) if name in IDS else self._renamed(item) for name, item in value.items()
        }
        for side in ("before", "after"):
            if f"{side}_digest" in ours and ours[side] is not None:
                ours[f"{side}_digest"] = body_digest(canonical(ours[side]).encode())
        return ours

    def take(self, ours: Row, theirs: Row) -> bool:
        """Take note of a row that both have, told by each in its way; False where they are not the same."""
        is_told = REMOVED not in (ours.kind, theirs.kind)
        if (ours.id, ours.at) != (theirs.id, theirs.at) or (is_told and ours.kind != theirs.kind):
            return False
        if ours.hash != theirs.hash and (not is_told or ours.redaction() is not None):
            self.readers[theirs.reader] = ours.reader  # of what was removed on one side, no ids are learned
        elif ours.hash != theirs.hash:
            found = list(_pairs(ours, theirs))
            if not all(_can_stand_for(*pair) for pair in found):
                return False
            self.ids |= {name: known for name, known in found if name != known}
            self.readers[theirs.reader] = ours.reader
        self.common += 1
        return True


def relation(ours: sqlite3.Connection, theirs: sqlite3.Connection) -> Relation:
    """Compare the journals of a project and of what may be a copy of it.

    Raises
    ------
    ProjectError
        ``other-project`` where they have not even their first edit in common; ``bit-rot`` where a row is damaged.
    """
    found = Relation()
    rows = (db.execute(SELECT + "ORDER BY id") for db in (ours, theirs))
    for our_row, their_row in zip(*rows, strict=False):
        if not found.take(Row(*our_row), Row(*their_row)):
            break
    if not found.common:
        raise ProjectError(
            "The two projects have no edit in common: one is not a copy of the other.",
            code="other-project",
            hint="Only a copy of this very project, or one that 'share' made of it, can be merged.",
        )
    return found


def _pairs(ours: Row, theirs: Row) -> Iterator[Pair]:
    """Yield the ids in a row of the copy, each with the one that stands in its place in the project."""
    our_entry, their_entry = entry_of(ours), entry_of(theirs)
    if our_entry.case_id is not None and their_entry.case_id is not None:
        yield their_entry.case_id, our_entry.case_id
    yield from _within(our_entry.payload, their_entry.payload)
    if ours.kind == "filter.set":
        yield their_entry.payload["name"], our_entry.payload["name"]
    if ours.kind == "regions.add":
        columns = [unpack_regions(entry.payload) for entry in (their_entry, our_entry)]
        for theirs_column, ours_column in (
            [one.ids.tolist() for one in columns],
            [one.owner_ids.tolist() for one in columns],
        ):
            named = {pair for pair in zip(theirs_column, ours_column, strict=False) if pair[0] != pair[1]}
            yield from ((name.decode(), known.decode()) for name, known in named)


def _within(ours: Any, theirs: Any) -> Iterator[Pair]:  # noqa: ANN401 - any JSON values
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours.keys() & theirs.keys():
            if name in IDS and ours[name] and theirs[name]:
                yield theirs[name], ours[name]
            elif name == "ids" and isinstance(ours[name], list):
                yield from zip(theirs[name], ours[name], strict=False)
            else:
                yield from _within(ours[name], theirs[name])
    elif isinstance(ours, list) and isinstance(theirs, list) and ours and isinstance(ours[0], dict):
        for ours_item, theirs_item in zip(ours, theirs, strict=False):
            yield from _within(ours_item, theirs_item)


def _can_stand_for(name: str, known: str) -> bool:
    """Tell whether ``name`` can be what a copy calls ``known``: a random id keeps its own name."""
    return name == known or (RANDOM.fullmatch(known) is None and RANDOM.fullmatch(name) is not None)
