"""The journal: what a row holds, the chain of hashes, and what can be undone."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_medlab.errors import ProjectError
from napari_medlab.project.applying import kind_of
from napari_medlab.project.edits import canonical, utc_now
from napari_medlab.project.guards import Stamp
from napari_medlab.project.lookups import Lookups
from napari_medlab.project.records import JournalEntry
from napari_medlab.project.schema import REVERSIBLE_CONDITION

if TYPE_CHECKING:
    import sqlite3

    from napari_medlab.project.edits import Edit

__all__ = [
    "FIRST_HASH", "REDACTED", "SELECT", "Row", "UndoStack", "append", "decode", "encode", "entry_of", "read_row", "stamp_of",
    "undo_stacks", "write_entry",
]  # fmt: skip

FIRST_HASH = "0" * 64
"""What stands before the first row."""

SELECT = "SELECT id, at, reader, kind, case_id, undoes, prev_hash, hash, payload FROM journal "
INSERT = (
    "INSERT INTO journal (id, at, reader, kind, case_id, undoes, prev_hash, hash, payload) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

REVERSIBLE_ROWS = f"SELECT id, reader, undoes FROM journal WHERE {REVERSIBLE_CONDITION} ORDER BY id"
"""Read from the index ``journal_reversible`` alone, so that no payload is touched."""

REDACTED = "redacted"
"""Under this name a payload of which something was removed has the digest of what is left: see :meth:`Row.redaction`."""

MAX_PAYLOAD_BYTES = 1 << 30
"""The most that one payload may inflate to."""


class Row(NamedTuple):
    """One row of the journal, as stored; its fields are the columns of :data:`SELECT`."""

    id: int
    at: str
    reader: str
    kind: str
    case_id: str | None
    undoes: int | None
    prev_hash: str
    hash: str
    payload: str | bytes

    @property
    def content(self) -> dict[str, Any]:
        """What was edited; of a redacted row, what is left of it. Errors as :func:`decode`."""
        payload = decode(self.payload)
        return {name: value for name, value in payload.items() if name != REDACTED}

    def redaction(self) -> str | None:
        """Return the digest by which a removal knows the row where it was redacted, and is what was written then."""
        try:
            stated = decode(self.payload).get(REDACTED)
            digest = self.redaction_of(self.content)
        except (ProjectError, AttributeError):
            return None
        return digest if stated == digest else None

    def redaction_of(self, content: dict[str, Any]) -> str:
        """Return the SHA-256 of a row that keeps its hash, and of its payload no more than ``content``."""
        return hashlib.sha256(canonical([*self[:-1], content]).encode()).hexdigest()

    def expected_hash(self) -> str:
        """Return the SHA-256 that the row must carry."""
        head = [self.prev_hash, self.id, self.at, self.reader, self.kind, self.case_id, self.undoes]
        body = self.payload if isinstance(self.payload, bytes) else self.payload.encode()
        mark = b"\0b" if isinstance(self.payload, bytes) else b"\0t"
        return hashlib.sha256(canonical(head).encode() + mark + body).hexdigest()


def encode(payload: dict[str, Any], *, is_bulk: bool) -> str | bytes:
    """Return a payload as the journal keeps it: JSON text, compressed where there is much of it."""
    text = canonical(payload)
    return zlib.compress(text.encode(), 1) if is_bulk else text


def decode(payload: str | bytes) -> dict[str, Any]:
    """Read what :func:`encode` wrote.

    Raises
    ------
    ProjectError
        ``bit-rot`` where it is damaged or inflates to more than 1 GiB.
    """
    try:
        if isinstance(payload, bytes):
            inflater = zlib.decompressobj()
            payload = inflater.decompress(payload, MAX_PAYLOAD_BYTES).decode()
            if not inflater.eof:
                raise ValueError("too long or cut short")
        value: dict[str, Any] = json.loads(payload)
    except (ValueError, zlib.error) as error:
        raise ProjectError(f"A row of the journal cannot be read: {error}.", code="bit-rot") from error
    return value


def append(db: sqlite3.Connection, reader: str, edit: Edit, undoes: int | None = None) -> int:
    """Apply an edit and write its row, both inside the caller's transaction.

    Returns
    -------
    int
        The journal id; that of the earlier row where the edit had been made already.

    Raises
    ------
    ProjectError
        Where the edit is refused; the caller rolls back.
    """
    kind = kind_of(edit.kind)
    earlier = kind.already(db, edit.payload, edit.case_id) if kind.already else None
    if earlier is not None:
        return earlier
    last = db.execute("SELECT id, hash FROM journal ORDER BY id DESC LIMIT 1").fetchone() or (0, FIRST_HASH)
    entry = JournalEntry(last[0] + 1, utc_now(), reader, edit.kind, edit.case_id, edit.payload, undoes)
    write_entry(db, entry, last[1])
    return entry.id


def write_entry(
    db: sqlite3.Connection, entry: JournalEntry, before: str, lookups: Lookups | None = None
) -> str:
    """Apply an entry and write its row behind the one whose hash is ``before``; return its own hash.

    ``lookups`` are those of the entries written before in the same database.
    """
    kind = kind_of(entry.kind)
    payload = encode(entry.payload, is_bulk=kind.is_bulk)
    row = Row(entry.id, entry.at, entry.reader, entry.kind, entry.case_id, entry.undoes, before, "", payload)
    row = row._replace(hash=row.expected_hash())
    kind.apply(db, entry.payload, stamp_of(entry, lookups=lookups))
    db.execute(INSERT, row)
    return row.hash


def stamp_of(
    entry: JournalEntry, journal: sqlite3.Connection | None = None, lookups: Lookups | None = None
) -> Stamp:
    """Return where an entry stands; ``journal`` is where those before it can be read, if not beside the tables."""
    place = (entry.id, entry.at, entry.reader, entry.case_id, entry.undoes)
    return Stamp(*place, journal=journal, lookups=lookups or Lookups())


def read_row(db: sqlite3.Connection, journal_id: int) -> Row:
    """Return one row of the journal."""
    stored = db.execute(SELECT + "WHERE id = ?", (journal_id,)).fetchone()
    if stored is None:
        raise ProjectError(f"Row {journal_id} of the journal is missing.", code="bit-rot")
    return Row(*stored)


def entry_of(row: Row) -> JournalEntry:
    """Return a row as readers see it.

    Raises
    ------
    ProjectError
        ``bit-rot`` where its hash does not fit.
    """
    if row.expected_hash() != row.hash and row.redaction() is None:
        raise ProjectError(
            f"Row {row.id} of the journal is not what was written: the disk or a program changed it.",
            code="bit-rot",
            hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
        )
    return JournalEntry(row.id, row.at, row.reader, row.kind, row.case_id, row.content, row.undoes)


@dataclass
class UndoStack:
    """Which edits of one reader undo and redo take next, derived from the journal alone.

    Parameters
    ----------
    undo, redo : lists of journal ids, the next one last
    """

    undo: list[int] = field(default_factory=list)
    redo: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, db: sqlite3.Connection, reader: str) -> UndoStack:
        """Derive the stack of a reader from the journal of an open project; errors as :func:`undo_stacks`."""
        return undo_stacks(db).get(reader, cls())

    def push(self, journal_id: int, undoes: int | None) -> None:
        """Take note of a reversible edit that is now in the journal.

        Raises
        ------
        ProjectError
            ``corrupt`` where it undoes something that was not next in line.
        """
        if undoes is None:
            self.undo.append(journal_id)
            self.redo.clear()
        elif self.undo[-1:] == [undoes]:
            self.undo.pop()
            self.redo.append(journal_id)
        elif self.redo[-1:] == [undoes]:
            self.redo.pop()
            self.undo.append(journal_id)
        else:
            raise ProjectError(
                f"Row {journal_id} of the journal undoes {undoes} out of turn.", code="corrupt"
            )


def undo_stacks(db: sqlite3.Connection) -> dict[str, UndoStack]:
    """Return the stack of every reader.

    What one reader undid of another's, as could be done before version 3, counts on the other's stack.

    Raises
    ------
    ProjectError
        ``corrupt`` where an edit undoes something that was not next in line.
    """
    stacks: dict[str, UndoStack] = {}
    owners: dict[int, str] = {}
    for journal_id, reader, undoes in db.execute(REVERSIBLE_ROWS):
        owner = owners.get(undoes, reader)
        owners[journal_id] = owner
        stacks.setdefault(owner, UndoStack()).push(journal_id, undoes)
    return stacks
