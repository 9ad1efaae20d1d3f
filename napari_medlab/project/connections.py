"""Connections to the database of a project: set up, checked, shared, and their errors put into words."""

from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_medlab.errors import ProjectError
from napari_medlab.project.schema import APPLICATION_ID, SCHEMA_VERSION, SCRIPT
from napari_medlab.project.sql_errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "ReaderPool",
    "build",
    "check",
    "journal_mode_for",
    "open_reader",
    "open_writer",
    "prepare_writer",
    "stamps",
    "transaction",
]

NETWORK_SYSTEMS = (
    "nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "fuse.sshfs", "glusterfs",
)  # fmt: skip
"""How the names of file systems begin on which SQLite's write-ahead log does not work."""

SAFETY = (
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA busy_timeout = 5000",
)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run a block as one transaction: committed when it ends, rolled back where it fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise


def open_writer(path: Path, journal_mode: str) -> sqlite3.Connection:
    """Return the one connection that writes; to be used by one thread alone.

    Parameters
    ----------
    path : Path
    journal_mode : {"WAL", "DELETE"}
    """
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        prepare_writer(db, journal_mode)
    except BaseException:
        db.close()
        raise
    return db


def prepare_writer(db: sqlite3.Connection, journal_mode: str) -> None:
    """Set a connection up so that what it commits outlives a loss of power."""
    for pragma in (*SAFETY, "PRAGMA secure_delete = ON"):
        db.execute(pragma)
    if sys.platform == "darwin":
        db.execute("PRAGMA fullfsync = 1")
    # a pragma takes no parameters
    modes = {
        "WAL": ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"),
        # where the journal is deleted, it is EXTRA that makes the deletion durable, and with it the commit
        "DELETE": ("PRAGMA journal_mode = DELETE", "PRAGMA synchronous = EXTRA"),
    }
    for pragma in modes[journal_mode]:
        db.execute(pragma).fetchone()


def open_reader(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Return a connection that can only read, and never checkpoints.

    ``immutable`` is for a folder in which nothing can be written and nobody writes.
    """
    options = "mode=ro&immutable=1" if immutable else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{options}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        for pragma in (*SAFETY, "PRAGMA query_only = ON"):
            db.execute(pragma)
    except BaseException:
        db.close()
        raise
    return db


def build(path: Path) -> None:
    """Write an empty project database at ``path``, durable when this returns."""
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(f"BEGIN IMMEDIATE; {SCRIPT} COMMIT;")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
    finally:
        db.close()


def check(path: Path, *, immutable: bool) -> int:
    """Make sure that a file is a sound project database, without writing to it.

    Returns
    -------
    int
        Its version: ours, or an older one.

    Raises
    ------
    ProjectError
        ``not-a-project``, ``newer`` or ``corrupt``.
    """
    application, version = stamps(path)
    if application == APPLICATION_ID and version > SCHEMA_VERSION:
        _check_version(path, application, version)
    with translated(path.name):
        db = open_reader(path, immutable=immutable)
        try:
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            _check_version(path, application, version)
            found = db.execute("PRAGMA quick_check(3)").fetchall()
        finally:
            db.close()
    if found != [("ok",)]:
        raise ProjectError(
            f"{path} is damaged: {'; '.join(row[0] for row in found)}.",
            code="corrupt",
            hint="Go back to a copy in the folder backups.",
        )
    return version


def stamps(path: Path) -> tuple[int, int]:
    """Return application_id and user_version as they stand in the file, read without SQLite, which could write to it."""
    with path.open("rb") as file:
        header = file.read(100)
    application, version = (int.from_bytes(header[at : at + 4], "big") for at in (68, 60))
    return application, version


def _check_version(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID or version < 1:
        raise ProjectError(f"{path} is not the database of a project.", code="not-a-project")
    if version > SCHEMA_VERSION:
        raise ProjectError(
            f"{path} has version {version}; this program knows versions up to {SCHEMA_VERSION}.",
            code="newer",
            hint="Update napari-medlab. Nothing in the project was touched.",
        )


def journal_mode_for(folder: Path) -> str:
    """Return ``"DELETE"`` where the folder is known to lie on a network file system, ``"WAL"`` elsewhere."""
    if str(folder).startswith(("\\\\", "//")):
        return "DELETE"
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return "WAL"
    parents = {str(folder.resolve()), *(str(parent) for parent in folder.resolve().parents)}
    inside = [(point, system) for point, system in mounts if point.replace("\\040", " ") in parents]
    system = max(inside, key=lambda mount: len(mount[0]), default=("", ""))[1]
    return "DELETE" if system.startswith(NETWORK_SYSTEMS) else "WAL"


class ReaderPool:
    """Connections that only read, each lent to one thread at a time.

    Parameters
    ----------
    path : Path
    immutable : bool
        As in :func:`open_reader`.
    """

    def __init__(self, path: Path, *, immutable: bool) -> None:
        self._path, self._immutable = path, immutable
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for the length of a block, inside which everything read belongs to one moment.

        Raises
        ------
        ProjectError
            Where the project is closed, or the database cannot be read.
        """
        with translated(self._path.name):
            db = self._take()
            try:
                db.execute("BEGIN")
                yield db
            finally:
                self._give(db)

    def close(self) -> None:
        """Close every connection; those that are lent are closed when they come back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for db in idle:
            db.close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._is_closed:
                raise ProjectError("The project is closed.", code="closed")
            if self._idle:
                return self._idle.pop()
        return open_reader(self._path, immutable=self._immutable)

    def _give(self, db: sqlite3.Connection) -> None:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        with self._lock:
            if not self._is_closed and not db.in_transaction:
                self._idle.append(db)
                return
        db.close()
