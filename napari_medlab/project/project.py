"""A project: opened, written to, and closed."""

from __future__ import annotations

import getpass
import os
import shutil
import tempfile
import weakref
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from napari_medlab.durable import DiskError, make_folder
from napari_medlab.errors import ProjectError
from napari_medlab.project.backups import back_up
from napari_medlab.project.connections import ReaderPool, check, journal_mode_for
from napari_medlab.project.layout import DATABASE, LOCK, has_log, make_empty, take_back_unfinished
from napari_medlab.project.locking import ProjectLock
from napari_medlab.project.merging import Merged, merge
from napari_medlab.project.migration import copy_up_to_date, migrate
from napari_medlab.project.private import PrivateNames
from napari_medlab.project.reading import ProjectReads
from napari_medlab.project.removing import finish_removal, remove_cases
from napari_medlab.project.schema import SCHEMA_VERSION
from napari_medlab.project.seats import NAMELESS
from napari_medlab.project.sharing import Shared, name_finder, share
from napari_medlab.project.verification import compare_with_replay, problems_of
from napari_medlab.project.writer import Writer

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from types import TracebackType

    from napari_medlab.project.edits import Edit
    from napari_medlab.project.records import JournalEntry

__all__ = ["Project"]

Result = TypeVar("Result")


class Project(ProjectReads):
    """A folder with a database of cases, findings, runs, verdicts and outlines, and their files.

    Made by :meth:`create` and :meth:`open`, and closed by :meth:`close` or at the end of a ``with`` block.
    One process writes to a project at a time; every other opens it read-only. What is read is always what
    is on disk.

    Attributes
    ----------
    folder : Path
    reader : str
        Who makes the edits.
    is_read_only : bool
    holder : str or None
        Who holds the project, where that is why it is read-only.
    names : PrivateNames
        Which case came from which file and patient; never exported.
    """

    def __init__(
        self,
        folder: Path,
        *,
        reader: str,
        lock: ProjectLock | None,
        pool: ReaderPool,
        passing: Path | None = None,
    ) -> None:
        super().__init__(folder, pool)
        self.reader = reader
        self.holder = lock.holder if lock is not None else None
        self.names = PrivateNames(folder / "private")
        self._writer: Writer | None = None
        if lock is not None and lock.is_ours:
            self._writer = Writer(folder / DATABASE, reader, journal_mode_for(folder))
        self.is_read_only = self._writer is None
        self._shut = weakref.finalize(self, _shut, self._readers, self._writer, lock, passing)

    @classmethod
    def create(cls, folder: Path | str, *, reader: str | None = None) -> Self:
        """Make an empty project in a folder, which may exist, and open it.

        Raises
        ------
        ProjectError
            ``exists`` where the folder holds a project already; ``held`` where another process is just making
            one; ``disk`` where it cannot be written.
        """
        folder = Path(folder)
        try:
            make_folder(folder)
            lock = ProjectLock(folder / LOCK, _name(reader))
            try:
                make_empty(folder, lock)
            finally:
                lock.release()
        except OSError as error:
            raise ProjectError(f"No project can be made in {folder}: {error}.", code="disk") from error
        return cls.open(folder, reader=reader)

    @classmethod
    def open(cls, folder: Path | str, *, reader: str | None = None, read_only: bool = False) -> Self:
        """Open a project; read-only where another process holds it or the folder cannot be written.

        A project of an older version is copied into its ``backups`` and brought up to date; where it is opened
        read-only, it is left as it is, and an up-to-date copy is read, which goes when the project is closed.

        Parameters
        ----------
        folder : path
        reader : str, optional
            Who makes the edits; the name of the account where left out.
        read_only : bool
            Not even to try for the right to write.

        Raises
        ------
        ProjectError
            ``not-a-project``, ``corrupt``, or ``newer`` where a later version made it; nothing is touched.
            ``disk`` where an older one cannot be brought up to date; it is then as it was.
        """
        folder, name = Path(folder), _name(reader)
        database = folder / DATABASE
        if not database.is_file():
            raise ProjectError(
                f"{folder} is not a project: it has no {DATABASE}.",
                code="not-a-project",
                hint=f"Make one with 'napari-medlab project init {folder}'.",
            )
        try:
            lock = None if read_only else ProjectLock(folder / LOCK, name)
        except OSError as error:
            raise ProjectError(f"{folder} cannot be opened: {error}.", code="disk") from error
        try:
            is_ours, holder = (lock.is_ours, lock.holder) if lock is not None else (False, None)
            if is_ours:
                take_back_unfinished(database)
            is_quiet = holder is None and not has_log(database)
            version = check(database, immutable=is_quiet and (is_ours or not os.access(folder, os.W_OK)))
            if is_ours and version < SCHEMA_VERSION:
                migrate(database, journal_mode_for(folder), folder / "backups")
            immutable = is_quiet and not is_ours and not os.access(folder, os.W_OK)
            if not is_ours and version < SCHEMA_VERSION:
                return cls._of_older(folder, name, lock, immutable=immutable)
            project = cls(folder, reader=name, lock=lock, pool=ReaderPool(database, immutable=immutable))
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        if is_ours:
            with suppress(ProjectError, DiskError):  # it is tried again whenever the project is opened
                finish_removal(project)
        return project

    @classmethod
    def _of_older(cls, folder: Path, reader: str, lock: ProjectLock | None, *, immutable: bool) -> Self:
        """Return a project of an older version, read from a copy that only its owner can look into."""
        passing = Path(tempfile.mkdtemp(prefix="napari-medlab-"))
        try:
            copy = copy_up_to_date(folder / DATABASE, passing, immutable=immutable)
            return cls(
                folder, reader=reader, lock=lock, pool=ReaderPool(copy, immutable=False), passing=passing
            )
        except BaseException:
            shutil.rmtree(passing, ignore_errors=True)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish the queued edits and let go of the project; a second call does nothing."""
        self._shut()

    def submit(self, edit: Edit) -> Future[int]:
        """Queue an edit and return at once.

        Returns
        -------
        Future of int
            Resolves with the journal id only after the edit is on disk, in the thread that writes: a callback
            must not wait for another edit. It fails with a :class:`ProjectError` where the edit is refused
            (``stale``, ``unknown-…``, ``exists``), the disk is full or broken (``disk``; nothing of the edit
            is stored, and later ones work again), or the project is ``read-only`` or ``closed``.
        """
        return self._writer.submit(edit) if self._writer is not None else self._refused()

    def commit(self, edit: Edit) -> int:
        """Make an edit and wait until it is on disk; return its journal id. Errors as in :meth:`submit`."""
        return self._wait(self.submit(edit))

    def submit_undo(self) -> Future[JournalEntry | None]:
        """Queue an undo of the reader's own newest edit; resolves with what was taken back, None for nothing."""
        return self._writer.submit_undo() if self._writer is not None else self._refused()

    def undo(self) -> JournalEntry | None:
        """Take back the newest edit of the reader who opened the project, and wait until that is on disk.

        Returns
        -------
        JournalEntry or None
            The edit that was taken back, so that a window can go to its case; None where nothing is left.

        Raises
        ------
        ProjectError
            ``stale`` where somebody else changed in the meantime what is shared; nothing is taken back then.
        """
        return self._wait(self.submit_undo())

    def submit_redo(self) -> Future[JournalEntry | None]:
        """Queue a redo; the future resolves with the new edit, None where there is none."""
        return self._writer.submit_redo() if self._writer is not None else self._refused()

    def redo(self) -> JournalEntry | None:
        """Make the edit again that was undone last, and wait until it is on disk; return it, or None."""
        return self._wait(self.submit_redo())

    def verify(self) -> list[str]:
        """Check file, journal, outlines and tables; return the problems in words, none where all is sound."""
        with self._readers.borrow() as db:
            return problems_of(db)

    def rebuild_matches(self) -> bool:
        """Tell whether a replay of the journal gives exactly the tables that are stored."""
        with self._readers.borrow() as db:
            return not compare_with_replay(db)

    def backup(self) -> Path:
        """Copy the database into ``backups``, keep the newest three, and return the new copy, checked.

        Raises
        ------
        ProjectError
            ``read-only``; ``disk`` where the copy cannot be written.
        """
        if self.is_read_only:
            self._refused().result()
        with self._readers.borrow() as db:
            return back_up(db, self.folder / "backups")

    def share(self, out: Path | str) -> Shared:
        """Write a copy that can be handed on into a new folder; see :func:`napari_medlab.project.sharing.share`."""
        with self._readers.borrow() as db:
            return share(db, self, Path(out))

    def remove(self, case_ids: Collection[str]) -> dict[str, int]:
        """Remove cases for good; see :func:`napari_medlab.project.removing.remove_cases`."""
        return remove_cases(self, case_ids)

    def compact(self) -> None:
        """Write the database anew, without any remains of what was deleted, and empty its log.

        Raises
        ------
        ProjectError
            ``read-only``; ``disk``; ``busy`` where another program reads the database.
        """
        self._wait(self._writer.submit_compaction() if self._writer is not None else self._refused())

    def without_names(self) -> Callable[[str], str]:
        """Return what puts ``[name]`` in the place of the project's own names in a text: of files, patients, cases, readers."""
        with self._readers.borrow() as db:
            names = name_finder(db, self)
        return lambda text: names.sub("[name]", text)

    def merge(self, other: Path | str) -> Merged:
        """Take over what readers did in another copy; see :func:`napari_medlab.project.merging.merge`."""
        return merge(self, Path(other))

    def change(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do work on the database in one transaction of the thread that writes, and wait until it is on disk.

        It must write through the journal alone. Errors as in :meth:`submit`.
        """
        return self._wait(self._writer.submit_change(work) if self._writer is not None else self._refused())

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Lend a connection that only reads, for the length of a block in which all belongs to one moment."""
        return self._readers.borrow()

    def _wait(self, future: Future[Result]) -> Result:
        if self._writer is not None and self._writer.is_current_thread and not future.done():
            future.cancel()
            raise RuntimeError("A callback of an edit must not wait for another edit: use submit().")
        return future.result()

    def _refused(self) -> Future[Result]:
        """Return a future that says why nothing can be written."""
        reason = (
            f"{self.holder} holds it"
            if self.holder
            else "it was opened read-only or its folder cannot be written"
        )
        future: Future[Result] = Future()
        future.set_exception(ProjectError(f"The project cannot be changed: {reason}.", code="read-only"))
        return future


def _name(reader: str | None) -> str:
    if reader:
        return reader
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return NAMELESS


def _shut(readers: ReaderPool, writer: Writer | None, lock: ProjectLock | None, passing: Path | None) -> None:
    readers.close()
    if passing is not None:
        shutil.rmtree(passing, ignore_errors=True)
    if writer is not None:
        writer.close()  # last, so that it is the one that empties the log
    if lock is not None:
        lock.release()
