"""Bringing the work of readers back together that was done in two copies of a project."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.project.applying import CHANGES
from napari_medlab.project.edits import SEATED, body_digest, canonical, with_seat
from napari_medlab.project.journal import SELECT, Row, UndoStack, entry_of, stamp_of, undo_stacks, write_entry
from napari_medlab.project.lookups import Lookups
from napari_medlab.project.relating import Relation, relation
from napari_medlab.project.seats import seat_of, standing

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.project.project import Project
    from napari_medlab.project.records import JournalEntry

__all__ = ["Merged", "merge"]

KINDS = (*SEATED, "filter.set", "conclusion.set", "group")
"""The kinds of edit that are taken over: what readers do, and no cases, runs or models."""
Part = dict[str, Any]


@dataclass(frozen=True)
class Merged:
    """What became of the work in another copy.

    Parameters
    ----------
    edits : int
        How many edits were taken over.
    readers : tuple of str
        Whose they are.
    already : int
        How many the project had, from an earlier merge or because the same was done in both copies.
    conflicts : tuple of str
        Edits that contradict what was done here in the same seat, in words; they are left out.
    left_out : dict of str to int
        What else was left out, and how many edits that are: kinds that are not merged, cases, runs and objects that
        the project does not know.
    """

    edits: int
    readers: tuple[str, ...]
    already: int
    conflicts: tuple[str, ...]
    left_out: dict[str, int]


def merge(project: Project, other: Path) -> Merged:
    """Take over what readers did in another copy of a project since the two went apart.

    Their edits are appended in their order, with their reader and time; all or none. A second merge adds nothing.
    The other copy is only read.

    Parameters
    ----------
    project : Project
    other : Path
        A plain copy of the project's folder, or one that :func:`napari_medlab.project.sharing.share` made of it.

    Raises
    ------
    ProjectError
        ``other-project`` where it is no copy of the project, ``read-only``, ``disk``; as :meth:`Project.open` and
        for damaged journals.
    """
    from napari_medlab.project.project import Project

    with Project.open(other, read_only=True) as copy, copy.reading() as theirs:
        return project.change(lambda db: _Merging(db, theirs).run())


@dataclass
class _Tally:
    """What became of the edits so far."""

    readers: Counter[str] = field(default_factory=Counter)
    already: int = 0
    conflicts: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


class _Merging:
    """One merge at work, inside one transaction."""

    def __init__(self, db: sqlite3.Connection, theirs: sqlite3.Connection) -> None:
        self._db, self._theirs = db, theirs
        self._relation: Relation = relation(db, theirs)
        self._stacks: dict[str, UndoStack] = undo_stacks(db)
        self._ids: dict[int, int] = {}
        self._tally, self._lookups = _Tally(), Lookups()
        self._known: dict[str, list[int]] = {}
        for entry in self._since(db):
            self._known.setdefault(_identity(entry), []).append(entry.id)

    def run(self) -> Merged:
        """Take over what can be, and tell."""
        for entry in self._since(self._theirs):
            self._take(entry)
        tally = self._tally
        edits = sum(tally.readers.values())
        return Merged(
            edits, tuple(sorted(tally.readers)), tally.already, tuple(tally.conflicts), dict(tally.left_out)
        )

    def _since(self, db: sqlite3.Connection) -> Iterator[JournalEntry]:
        for stored in db.execute(SELECT + "WHERE id > ? ORDER BY id", (self._relation.common,)):
            yield entry_of(Row(*stored))

    def _take(self, theirs: JournalEntry) -> None:
        strange = next((part["kind"] for part in _parts(theirs) if part["kind"] not in KINDS), None)
        if strange is not None:
            self._tally.left_out[f"edits of the kind {strange}"] += 1
            return
        entry = self._ours(theirs)
        known = self._known.get(_identity(entry), [])
        if known:
            self._ids[theirs.id] = known.pop(0)
            self._tally.already += 1
            return
        try:
            with _savepoint(self._db):
                entry = self._rebased(entry, theirs.id)
                self._append(entry, theirs.id)
        except MedlabError as error:
            self._refused(entry, error)

    def _ours(self, theirs: JournalEntry) -> JournalEntry:
        """Return an entry of the copy as it would have been made here."""
        relation = self._relation
        payload = relation.our_payload(theirs.kind, theirs.payload)
        if theirs.kind == "group":
            payload["edits"] = [
                {**part, "payload": relation.our_payload(part["kind"], part["payload"])}
                for part in payload["edits"]
            ]
        return replace(
            theirs,
            reader=relation.readers.get(theirs.reader, theirs.reader),
            case_id=relation.our_id(theirs.case_id),
            payload=with_seat(theirs.kind, payload),
        )

    def _rebased(self, entry: JournalEntry, their_id: int) -> JournalEntry:
        """Return an entry that sees what is seen here, in those parts in which the seat had nothing of its own."""
        parts = [self._rebased_part(entry, part, (their_id, step)) for step, part in enumerate(_parts(entry))]
        payload = {**entry.payload, "edits": parts} if entry.kind == "group" else parts[0]["payload"]
        return replace(entry, payload=payload)

    def _rebased_part(self, entry: JournalEntry, part: Part, place: tuple[int, int]) -> Part:
        query = "SELECT had_own FROM seat_steps WHERE journal_id = ? AND step = ?"
        found = self._theirs.execute(query, place).fetchone()
        if part["kind"] not in SEATED or found is None or found[0]:
            return part
        has_own, seen = self._standing(entry, part)
        payload = part["payload"]
        if has_own or (seen is None and payload["before"] is not None):
            return part
        payload = {**payload, "before": None if seen is None else json.loads(seen)}
        if "before_digest" in payload:
            payload["before_digest"] = None if seen is None else body_digest(seen)
        return {**part, "payload": payload}

    def _standing(self, entry: JournalEntry, part: Part) -> tuple[bool, bytes | None]:
        stamp = replace(stamp_of(entry, lookups=self._lookups), case_id=part["case_id"])
        change = CHANGES[part["kind"]](self._db, part["payload"], stamp)
        return standing(self._db, change, seat_of(part["payload"], stamp))

    def _append(self, entry: JournalEntry, their_id: int) -> None:
        last_id, last_hash = self._db.execute(
            "SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1"
        ).fetchone()
        stack = self._stacks.setdefault(entry.reader, UndoStack())
        undoes = self._undoes(entry, stack)
        write_entry(self._db, replace(entry, id=last_id + 1, undoes=undoes), last_hash, self._lookups)
        stack.push(last_id + 1, undoes)
        self._ids[their_id] = last_id + 1
        self._tally.readers[entry.reader] += 1

    def _undoes(self, entry: JournalEntry, stack: UndoStack) -> int | None:
        """Return what an entry takes back here; None where that is not next in line here."""
        if entry.undoes is None:
            return None
        common = self._relation.common
        ours = entry.undoes if entry.undoes <= common else self._ids.get(entry.undoes)
        return ours if ours is not None and ours in (*stack.undo[-1:], *stack.redo[-1:]) else None

    def _refused(self, entry: JournalEntry, error: MedlabError) -> None:
        """Take note of an entry that cannot be made here."""
        if error.code == "stale" and self._is_done(entry):
            self._tally.already += 1
        elif error.code == "stale":
            objects = ", ".join(sorted({_object(part) for part in _parts(entry)}))
            self._tally.conflicts.append(
                f"{entry.reader} at {entry.at}: {entry.kind} on {objects} of case {entry.case_id or '(none)'}"
            )
        elif error.code.startswith("unknown-") or isinstance(error, InputRefusedError):
            self._tally.left_out[error.message] += 1
        else:
            raise error

    def _is_done(self, entry: JournalEntry) -> bool:
        """Tell whether all that an entry leads to holds here already."""
        for part in _parts(entry):
            after = part["payload"]["after"]
            if self._now(entry, part) != (None if after is None else canonical(after).encode()):
                return False
        return True

    def _now(self, entry: JournalEntry, part: Part) -> bytes | None:
        """Return what holds here of what a part is about."""
        if part["kind"] in SEATED:
            return self._standing(entry, part)[1]
        is_filter = part["kind"] == "filter.set"
        query = (
            "SELECT body FROM filters WHERE name = ?"
            if is_filter
            else "SELECT body FROM conclusions WHERE about = ?"
        )
        found = self._db.execute(query, (_object(part),)).fetchone()
        if not is_filter:
            return canonical(found[0] if found else "").encode()
        return None if found is None else str(found[0]).encode()


@contextmanager
def _savepoint(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("SAVEPOINT merging")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK TO merging")
        db.execute("RELEASE merging")
        raise
    db.execute("RELEASE merging")


def _parts(entry: JournalEntry) -> list[Part]:
    if entry.kind == "group":
        parts: list[Part] = entry.payload["edits"]
        return parts
    return [{"kind": entry.kind, "payload": entry.payload, "case_id": entry.case_id}]


def _object(part: Part) -> str:
    payload = part["payload"]
    return str(
        next(
            payload[name]
            for name in ("object_id", "region_id", "finding_id", "name", "about")
            if name in payload
        )
    )


def _identity(entry: JournalEntry) -> str:
    """Return what an edit is known by in every copy: by whom, when, and what it leads to, whatever it saw."""
    leads_to = [
        [
            part["kind"],
            part["case_id"],
            _object(part),
            part["payload"]["after"],
            part["payload"].get("adjudicated", False),
        ]
        for part in _parts(entry)
        if part["kind"] in KINDS
    ]
    return canonical([entry.at, entry.reader, entry.kind, leads_to])
