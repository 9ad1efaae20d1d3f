"""What SQLite says, in words and codes of ours."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_medlab.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["translated"]

PRIMARY_CODES = {
    sqlite3.SQLITE_FULL: (
        "disk",
        "The disk is full",
        "Make room and do it again; what was saved before is safe.",
    ),
    sqlite3.SQLITE_IOERR: ("disk", "The disk refused", "Check room and rights, and do it again."),
    sqlite3.SQLITE_CANTOPEN: (
        "disk",
        "The database cannot be opened",
        "Check that the folder is there and readable.",
    ),
    sqlite3.SQLITE_READONLY: (
        "read-only",
        "The database cannot be written",
        "Check the rights of the folder.",
    ),
    sqlite3.SQLITE_BUSY: ("busy", "Another program is using the database", "Close it and do it again."),
    sqlite3.SQLITE_CORRUPT: (
        "corrupt",
        "The database is damaged",
        "Go back to a copy in the folder backups.",
    ),
    sqlite3.SQLITE_NOTADB: ("corrupt", "The database is damaged", "Go back to a copy in the folder backups."),
    sqlite3.SQLITE_CONSTRAINT: ("conflict", "The edit does not fit what is stored", ""),
}

UNFINISHED = (
    "unfinished",
    "A crash cut an edit off, and it cannot be taken back here",
    "Open the project once where its folder can be written; what was saved is safe.",
)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn SQLite's errors into :class:`ProjectError`, with a code of ours and a hint."""
    try:
        yield
    except sqlite3.Error as error:
        number = getattr(error, "sqlite_errorcode", None)
        primary = number & 0xFF if isinstance(number, int) else -1
        fallback = ("corrupt", "The database is damaged", "Go back to a copy in the folder backups.")
        if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
            fallback = ("database", "The database refused", "")
        code, meaning, hint = PRIMARY_CODES.get(primary, fallback)
        if number == sqlite3.SQLITE_READONLY_ROLLBACK:
            code, meaning, hint = UNFINISHED
        raise ProjectError(f"{meaning} ({what}: {error}).", code=code, hint=hint) from error
