"""The one thread that writes: edits come in through a queue and are acknowledged after their COMMIT."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import open_writer, transaction
from napari_medlab.project.edits import Edit, swapped, with_seat
from napari_medlab.project.journal import UndoStack, append, entry_of, read_row
from napari_medlab.project.schema import REVERSIBLE
from napari_medlab.project.sql_errors import translated

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.records import JournalEntry

__all__ = ["Writer"]

Result = TypeVar("Result")
Work = tuple[Callable[["_Session"], Any], "Future[Any]"]


class Writer:
    """Takes edits from any thread, and makes them one by one, each in a transaction of its own.

    Parameters
    ----------
    path : Path
    reader : str
        Who makes the edits.
    journal_mode : {"WAL", "DELETE"}

    Raises
    ------
    ProjectError
        Where the database cannot be opened for writing.
    """

    def __init__(self, path: Path, reader: str, journal_mode: str) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        started: Future[None] = Future()
        arguments = (self._queue, started, path, reader, journal_mode)
        # a daemon, so that a forgotten project does not keep the program from ending: it is closed at exit
        self._thread = threading.Thread(target=_serve, args=arguments, name="project-writer", daemon=True)
        self._thread.start()
        started.result()

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs in the writer's own thread, where waiting for it would never end."""
        return threading.current_thread() is self._thread

    def submit(self, edit: Edit) -> Future[int]:
        """Queue an edit; the future resolves with its journal id once it is on disk."""
        return self._put(lambda session: session.commit(edit))

    def submit_undo(self) -> Future[JournalEntry | None]:
        """Queue an undo of whatever is newest when its turn comes."""
        return self._put(lambda session: session.undo())

    def submit_redo(self) -> Future[JournalEntry | None]:
        """Queue a redo of whatever was undone last when its turn comes."""
        return self._put(lambda session: session.redo())

    def submit_change(self, work: Callable[[sqlite3.Connection], Result]) -> Future[Result]:
        """Queue work on the database itself, made in one transaction; it must write through the journal alone."""
        return self._put(lambda session: session.change(work))

    def submit_compaction(self) -> Future[None]:
        """Queue the writing anew of the whole file, without any remains of what was deleted, and an empty log."""
        return self._put(lambda session: session.compact())

    def close(self) -> None:
        """Finish what is queued, close the connection, and end the thread."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        if not self.is_current_thread:
            self._thread.join()

    def _put(self, work: Callable[[_Session], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            if self._is_closed:
                future.set_exception(ProjectError("The project is closed.", code="closed"))
            else:
                self._queue.put((work, future))
        return future


class _Session:
    """What the writer's thread knows: its connection, who writes, and what can be undone."""

    def __init__(self, db: sqlite3.Connection, reader: str) -> None:
        self._db, self._reader = db, reader
        self._stack = UndoStack.load(db, reader)

    def commit(self, edit: Edit, undoes: int | None = None) -> int:
        """Make an edit and return its journal id once it is on disk."""
        with transaction(self._db):
            before = self._db.execute("SELECT coalesce(max(id), 0) FROM journal").fetchone()[0]
            journal_id = append(self._db, self._reader, edit, undoes)
        if edit.kind in REVERSIBLE and journal_id > before:
            self._stack.push(journal_id, undoes)
        return journal_id

    def undo(self) -> JournalEntry | None:
        """Take back the newest edit that can be, and return it."""
        if not self._stack.undo:
            return None
        undone, _ = self._reverse(self._stack.undo[-1])
        return undone

    def redo(self) -> JournalEntry | None:
        """Make the edit again that was taken back last, and return the new one."""
        if not self._stack.redo:
            return None
        _, new_id = self._reverse(self._stack.redo[-1])
        return entry_of(read_row(self._db, new_id))

    def change(self, work: Callable[[sqlite3.Connection], Any]) -> Any:  # noqa: ANN401 - whatever the work returns
        """Do some work in one transaction, and return what it returns once that is on disk."""
        with transaction(self._db):
            result = work(self._db)
            stack = UndoStack.load(self._db, self._reader)
        self._stack = stack
        return result

    def compact(self) -> None:
        """Write the file anew, without any remains of what was deleted, and empty the log.

        Raises
        ------
        ProjectError
            ``busy`` where somebody is reading, and the log cannot be emptied.
        """
        self._db.execute("VACUUM")
        is_busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise ProjectError(
                "The log of the database cannot be emptied while another program reads it.",
                code="busy",
                hint="Close the project there, and do it again.",
            )

    def _reverse(self, journal_id: int) -> tuple[JournalEntry, int]:
        entry = entry_of(read_row(self._db, journal_id))
        payload = with_seat(entry.kind, swapped(entry.payload))
        new_id = self.commit(Edit(entry.kind, payload, entry.case_id), undoes=journal_id)
        return entry, new_id


def _serve(
    queue: SimpleQueue[Work | None], started: Future[None], path: Path, reader: str, journal_mode: str
) -> None:
    """Run the writer's thread from the first to the last edit."""
    try:
        with translated(path.name):
            db = open_writer(path, journal_mode)
            try:
                session = _Session(db, reader)
            except BaseException:
                db.close()
                raise
    except BaseException as error:  # noqa: BLE001 - handed to whoever opens the project
        started.set_exception(error)
        return
    started.set_result(None)
    del started
    while (work := queue.get()) is not None:
        _work(session, path, *work)
        del work  # an idle thread keeps no edit alive
    with suppress(sqlite3.Error):
        db.close()


def _work(session: _Session, path: Path, task: Callable[[_Session], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        with translated(path.name):
            result = task(session)
    except BaseException as error:  # noqa: BLE001 - handed to whoever made the edit
        future.set_exception(error)
    else:
        future.set_result(result)
