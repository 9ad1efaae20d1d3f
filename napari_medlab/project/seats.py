"""What each reader holds: verdicts, outlines and corrections, every reader's apart from all others'.

A *seat* is a reader, or the reserved seat of adjudication, whose name is empty. A row of one of the three tables of
opinions says what one seat holds about one object; a row without a body says that for this seat the object is not
there. What nobody's seat holds is the *base*: what was given, imported or proposed by a model.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_medlab.errors import ProjectError
from napari_medlab.project.edits import canonical
from napari_medlab.project.guards import Stamp, require_current

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

__all__ = [
    "ADJUDICATION", "CORRECTIONS", "NAMELESS", "REGIONS", "SHELVES", "VERDICTS", "Change", "Opinion", "Shelf", "checked", "hold",
    "opinions", "resolved", "seat_of", "standing",
]  # fmt: skip

ADJUDICATION = ""
"""The name of the seat of adjudication."""
NAMELESS = "reader"
"""The seat of readers without a name."""


class Opinion(NamedTuple):
    """What one seat holds about one object: a row of a table of opinions."""

    run_id: str
    object_id: str
    seat: str
    case_id: str
    owner_id: str
    reader: str
    at: str
    journal_id: int
    digest: str
    body: bytes | None

    def expected_digest(self, table: str) -> str:
        """Return the SHA-256 that the row must carry."""
        # whatever a damaged cell holds has a text of its own
        body = self.body if isinstance(self.body, bytes) else repr(self.body).encode()
        head = repr((table, *self[:8], isinstance(self.body, bytes))).encode("utf-8", "backslashreplace")
        return hashlib.sha256(head + body).hexdigest()


@dataclass(frozen=True)
class Shelf:
    """One table of opinions.

    Parameters
    ----------
    table : str
    word, deed : str
        What a row of it is called in messages, and what a reader does to make it.
    """

    table: str
    word: str
    deed: str

    def query(self, rest: str) -> str:
        """Return the query for its rows, all columns in the order of :class:`Opinion`."""
        return f"SELECT {', '.join(Opinion._fields)} FROM {self.table} {rest}"


VERDICTS = Shelf("verdicts", "verdict on", "given")
REGIONS = Shelf("regions", "outline", "drawn")
CORRECTIONS = Shelf("corrections", "finding", "corrected")
SHELVES = (VERDICTS, REGIONS, CORRECTIONS)


class _Step(NamedTuple):
    """Whether a seat held something of its own before an edit, and after it."""

    had_own: bool
    left_own: bool


@dataclass(frozen=True)
class Change:
    """What an edit does to one object in one seat.

    Parameters
    ----------
    shelf : Shelf
    run_id, object_id : str
    before, after : JSON value or None
    owner_id : str
        Of an outline, what it outlines after the edit.
    base : callable
        Returns the body that the base has, None where the object is not in it.
    """

    shelf: Shelf
    run_id: str
    object_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    owner_id: str
    base: Callable[[], bytes | None]


def seat_of(payload: dict[str, Any], stamp: Stamp) -> str:
    """Return the seat to which an edit belongs."""
    return ADJUDICATION if payload.get("adjudicated", False) else stamp.reader or NAMELESS


def hold(db: sqlite3.Connection, change: Change, payload: dict[str, Any], stamp: Stamp) -> None:
    """Give a seat what an edit says it holds.

    An edit that is taken back leaves the seat as it was, with nothing of its own where it had nothing. Rows that were
    written before there were seats share one: what anybody held goes over to who edits it.

    Raises
    ------
    ProjectError
        ``stale`` where the seat does not see what the edit says it saw.
    """
    is_shared = "adjudicated" not in payload
    rows = _rows(db, change)
    seat = seat_of(payload, stamp)
    own = next(iter(rows.values()), None) if is_shared else rows.get(seat)
    undone = _undone(db, stamp)
    before, after = _body(change.before), _body(change.after)

    def below() -> bytes | None:
        return None if is_shared else _below(change, rows, seat)

    if own is not None or undone is None or undone.left_own:
        _require(before, own.body if own is not None else below(), change)
    # nothing is kept only where there is nothing that it would hide
    hides = after is None and (below() is not None or _rules_out(change, rows, seat))
    keeps = undone.had_own if undone is not None else after is not None or hides
    step = _Step(own is not None, keeps)
    db.execute("INSERT INTO seat_steps VALUES (?, ?, ?, ?)", (stamp.journal_id, stamp.step, *map(int, step)))
    _remove(db, change, None if is_shared else seat)
    if keeps:
        _store(db, change, stamp, seat, after)


def standing(db: sqlite3.Connection, change: Change, seat: str) -> tuple[bool, bytes | None]:
    """Return whether a seat holds something of its own about an object, and what it sees.

    Errors as :func:`checked`.
    """
    rows = _rows(db, change)
    own = rows.get(seat)
    return own is not None, own.body if own is not None else _below(change, rows, seat)


def resolved(rows: Iterable[Opinion], reader: str | None) -> dict[tuple[str, str], Opinion | None]:
    """Return what holds for each object, by run and id, on which a seat has an opinion; None where the base does.

    Parameters
    ----------
    rows : iterable of Opinion
        All opinions on those objects.
    reader : str or None
        For whom: a reader sees the own opinion, else the adjudicated one, else the base, and never another reader's;
        the empty name asks for what is adjudicated, else the base. None asks for what is settled: the adjudicated
        opinion, else the one on which all agree who have one. An object on which readers disagree is in dispute, and
        stays as the base has it.
    """
    seats: dict[tuple[str, str], dict[str, Opinion]] = {}
    for row in rows:
        seats.setdefault((row.run_id, row.object_id), {})[row.seat] = row
    return {key: _settled(held) if reader is None else _seen(held, reader) for key, held in seats.items()}


def _seen(rows: dict[str, Opinion], reader: str) -> Opinion | None:
    return rows.get(reader) or rows.get(ADJUDICATION)


def _settled(rows: dict[str, Opinion]) -> Opinion | None:
    if ADJUDICATION in rows:
        return rows[ADJUDICATION]
    if len({row.body for row in rows.values()}) == 1:
        return min(rows.values(), key=lambda row: row.journal_id)
    return None


def checked(shelf: Shelf, row: Opinion) -> Opinion:
    """Return a row that is what was stored.

    Raises
    ------
    ProjectError
        ``bit-rot`` for any other.
    """
    if row.expected_digest(shelf.table) != row.digest:
        raise ProjectError(
            f"The stored {shelf.word} {row.object_id} of case {row.case_id} is not what was written: it was changed.",
            code="bit-rot",
            hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
        )
    return row


def opinions(db: sqlite3.Connection, shelf: Shelf, rest: str, *values: object) -> list[Opinion]:
    """Return the opinions that a condition chooses, oldest first; errors as :func:`checked`."""
    found = db.execute(shelf.query(f"{rest} ORDER BY journal_id, run_id, object_id, seat"), values)
    return [checked(shelf, Opinion(*row)) for row in found]


def _rows(db: sqlite3.Connection, change: Change) -> dict[str, Opinion]:
    found = opinions(db, change.shelf, "WHERE run_id = ? AND object_id = ?", change.run_id, change.object_id)
    return {row.seat: row for row in found}


def _below(change: Change, rows: dict[str, Opinion], seat: str) -> bytes | None:
    """Return what a seat sees that holds nothing of its own."""
    adjudicated = rows.get(ADJUDICATION) if seat != ADJUDICATION else None
    return adjudicated.body if adjudicated is not None else change.base()


def _rules_out(change: Change, rows: dict[str, Opinion], seat: str) -> bool:
    """Tell whether adjudication says by holding nothing that what readers added is not there; verdicts it just clears."""
    return seat == ADJUDICATION and change.shelf is not VERDICTS and bool(rows.keys() - {ADJUDICATION})


def _remove(db: sqlite3.Connection, change: Change, seat: str | None) -> None:
    query = (
        f"DELETE FROM {change.shelf.table} WHERE run_id = ?1 AND object_id = ?2 AND (?3 IS NULL OR seat = ?3)"
    )
    db.execute(query, (change.run_id, change.object_id, seat))


def _store(db: sqlite3.Connection, change: Change, stamp: Stamp, seat: str, body: bytes | None) -> None:
    row = Opinion(
        change.run_id, change.object_id, seat, str(stamp.case_id), change.owner_id, stamp.reader, stamp.at,
        stamp.journal_id, "", body,
    )  # fmt: skip
    row = row._replace(digest=row.expected_digest(change.shelf.table))
    db.execute(f"INSERT INTO {change.shelf.table} VALUES ({', '.join('?' * len(row))})", tuple(row))


def _undone(db: sqlite3.Connection, stamp: Stamp) -> _Step | None:
    """Return the step that an edit takes back; None where it takes back none."""
    step = stamp.steps - 1 - stamp.step  # a group is taken back from its end
    query = "SELECT had_own, left_own FROM seat_steps WHERE journal_id = ? AND step = ?"
    found = db.execute(query, (stamp.undoes, step)).fetchone()
    return None if found is None else _Step(*map(bool, found))


def _body(value: dict[str, Any] | None) -> bytes | None:
    return None if value is None else canonical(value).encode()


def _require(before: bytes | None, seen: bytes | None, change: Change) -> None:
    told = [None if body is None else body.decode() for body in (before, seen)]
    require_current(told[0], told[1], f"{change.shelf.word} {change.object_id}")
