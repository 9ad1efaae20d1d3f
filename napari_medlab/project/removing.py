"""Removing cases for good: from the journal, the tables, the copies of the database, the masks and the private names.

What the journal and the tables hold goes in one transaction; what lies beside the database is cleared after that. A note
in the folder ``private`` says what there is to clear until all is done: what was cut off is finished when the project is
opened again.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, MedlabError, ProjectError
from napari_medlab.project.clearing import (
    Leftovers,
    clear_files,
    copies_of,
    forget_note,
    masks_of,
    note_of,
    write_note,
)
from napari_medlab.project.edits import Edit, body_digest
from napari_medlab.project.journal import append, entry_of, read_row
from napari_medlab.project.migration import replay
from napari_medlab.project.redacting import SHARED_KINDS, Gone, objects_of, redacted
from napari_medlab.project.schema import DERIVED_TABLES
from napari_medlab.project.sharing import name_pattern
from napari_medlab.project.traces import traces_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Sequence

    from napari_medlab.project.journal import Row
    from napari_medlab.project.project import Project
    from napari_medlab.project.records import CaseRecord

__all__ = ["Removal", "finish_removal", "plan_removal", "remove_cases"]

OF_CASES = "case_id IN (SELECT value FROM json_each(?1))"
COUNTS = {
    "cases": f"SELECT count(*) FROM cases WHERE {OF_CASES}",
    "frozen test cases": f"SELECT count(*) FROM cases WHERE frozen AND {OF_CASES}",
    "findings": f"SELECT count(*) FROM findings WHERE {OF_CASES}",
    "corrections": f"SELECT count(*) FROM corrections WHERE {OF_CASES}",
    "outlines": (
        f"SELECT (SELECT coalesce(sum(count), 0) FROM region_batches WHERE {OF_CASES}) "
        f"+ (SELECT count(*) FROM regions WHERE {OF_CASES})"
    ),
    "candidates": f"SELECT coalesce(sum(count), 0) FROM candidate_batches WHERE {OF_CASES}",
    "verdicts": f"SELECT count(*) FROM verdicts WHERE {OF_CASES}",
}
JUDGED = (
    "SELECT j.journal_id, count(DISTINCT c.case_id) FROM judgements j "
    "JOIN cases_done d ON d.run_id IN (j.run_id, j.against_run_id) AND d.journal_id < j.journal_id "
    "JOIN cases c ON c.case_id = d.case_id AND (c.frozen OR c.split = 'test') "
    "WHERE c.case_id IN (SELECT value FROM json_each(?1)) GROUP BY j.journal_id"
)
LEFT = {
    "exports": "holds them, and is not touched: delete it yourself",
    "exports_unseen": "was exported and is not there any more: whoever has it may have them",
    "models": "is a model that learned from them, and is not touched",
    "images_elsewhere": "is their image outside the project, and is not touched",
    "others_of_patient": "is a further case of the same patient, and stays",
}
"""What is left elsewhere, in words."""
WRITTEN = ("verdict.set", "conclusion.set", "filter.set", "group")
"""The kinds of edit that hold what people wrote."""


@dataclass(frozen=True)
class Removal:
    """What goes with some cases, and what is left of them elsewhere.

    Parameters
    ----------
    cases, names : tuple of str
        Their keys, and what they are called.
    counts : dict of str to int
        How many of what is deleted, in words.
    judgements : int
        The judgements about models that they had a part in: these stay, and are marked.
    images : tuple of str
        Their images in the project's own folder, which are deleted.
    images_elsewhere : tuple of str
        Their images outside, which are not touched.
    exports, exports_unseen, models : tuple of str
        As in :class:`napari_medlab.project.traces.Traces`: not touched.
    others_of_patient : tuple of str
        The names of further cases of the same patients, which stay.
    mentions : tuple of int
        The journal ids of edits on other cases, conclusions and filters that say a name of theirs: these stay as they
        were written.
    """

    cases: tuple[str, ...]
    names: tuple[str, ...]
    counts: dict[str, int]
    judgements: int
    images: tuple[str, ...]
    images_elsewhere: tuple[str, ...]
    exports: tuple[str, ...]
    exports_unseen: tuple[str, ...]
    models: tuple[str, ...]
    others_of_patient: tuple[str, ...]
    mentions: tuple[int, ...]

    @property
    def counted(self) -> str:
        """What goes, in one line."""
        return ", ".join(f"{word} {count}" for word, count in self.counts.items() if count)

    def told(self) -> list[str]:
        """Return what goes and what is left elsewhere, a line each."""
        lines = [f"Goes for good: {self.counted}."]
        lines += [f"Goes for good: the image {path}." for path in self.images]
        if self.counts["copies of the database"]:
            lines.append("All copies of the database in backups are deleted, and a new one is made.")
        if self.judgements:
            lines.append(f"{self.judgements} judgements about models stay as figures, and are marked.")
        lines += [f"{one} {words}." for name, words in LEFT.items() for one in getattr(self, name)]
        return lines + [
            f"Edit {one} says a name of theirs, and stays as it was written." for one in self.mentions
        ]


def plan_removal(project: Project, named: Sequence[str]) -> Removal:
    """Return what :func:`remove_cases` would delete, and what it would leave; nothing is changed.

    Parameters
    ----------
    project : Project
    named : sequence of str
        Keys or names of cases.

    Raises
    ------
    InputRefusedError
        ``unknown-case``, or ``ambiguous-case`` for a name that several cases have.
    ProjectError
        ``bit-rot`` where the journal is damaged.
    """
    records = project.cases()
    cases = _named(records, named)
    case_ids = [case.case_id for case in cases]
    rest = [case for case in records if case.case_id not in case_ids]
    inside = _own_images(cases, rest)
    names = {name for case in cases for name in _names_of(project, case)}
    with project.reading() as db:
        gone = _gone(db, case_ids)
        counts = {word: _count(db, query, case_ids) for word, query in COUNTS.items()}
        counts["edits"] = sum(1 for _ in _redactions(db, gone))
        judged = db.execute(JUDGED, (json.dumps(case_ids),)).fetchall()
        mentions = _mentions(db, gone, names)
    counts["masks"] = len(masks_of(project.folder, case_ids))
    counts["copies of the database"] = len(copies_of(project.folder))
    patients = {case.patient_key for case in cases} - {""}
    traces = traces_of(project, case_ids)
    return Removal(
        cases=tuple(case_ids),
        names=tuple(case.name for case in cases),
        counts=counts,
        judgements=len(judged),
        images=tuple(inside),
        images_elsewhere=tuple(
            dict.fromkeys(case.path for case in cases if case.path and case.path not in inside)
        ),
        exports=traces.folders,
        exports_unseen=traces.unseen,
        models=traces.models,
        others_of_patient=tuple(case.name for case in rest if case.patient_key in patients),
        mentions=mentions,
    )


def remove_cases(project: Project, case_ids: Collection[str]) -> dict[str, int]:
    """Remove cases for good, and return how many of what was in the database.

    Every edit that is about them alone becomes an entry of the kind ``removed``, of which nothing is left but its place in
    the chain; of an edit that is about others, too, what is theirs is left. An entry ``case.remove`` says who did it, when,
    and how many there were. The tables are made anew from the journal, and the file is written anew. Masks, images in the
    project's own folder, private names and the copies of the database are deleted, and a new copy is made where there
    were some. Whatever was exported stays.

    Cut off at any moment, it is as if nothing had been done, or it is finished when the project is opened again. Cases
    that were removed before are no matter.

    Raises
    ------
    ProjectError
        ``read-only``; ``unknown-case``; ``unsound`` where the journal does not hold without them, ``disk``; ``busy``
        where another program reads the database: what was begun is finished later.
    DiskError
        Where a file cannot be deleted: what was begun is finished later.
    """
    if project.is_read_only:
        project.change(lambda _: None)  # says why
    finish_removal(project)
    cases = _still_there(project, case_ids)
    if not cases:
        return {}
    records = project.cases()
    rest = [case for case in records if case.case_id not in case_ids]
    left = Leftovers(
        tuple(case.case_id for case in cases),
        tuple({case.patient_key for case in cases} - {""}),
        tuple(_own_images(cases, rest)),
        any(case.kind != "volume" for case in cases),
        bool(copies_of(project.folder)),
    )
    write_note(project.folder, left)
    try:
        counts = project.change(lambda db: _take_out(db, project.reader, left.cases))
    except BaseException:
        with suppress(MedlabError):
            forget_note(project.folder)
        raise
    finish_removal(project)
    return counts


def finish_removal(project: Project) -> None:
    """Clear up after a removal that was cut off; where it was cut off before anything was removed, nothing is.

    Errors as :func:`remove_cases`.
    """
    left = note_of(project.folder)
    if left is None:
        return
    known = project.cases()
    if not {case.case_id for case in known}.intersection(left.cases):
        project.compact()
        patients = {case.patient_key for case in known}
        clear_files(project.folder, left, project.names, patients)
        if left.is_copied:
            project.backup()
    forget_note(project.folder)


def _take_out(db: sqlite3.Connection, reader: str, case_ids: Sequence[str]) -> dict[str, int]:
    """Redact the journal, make the tables anew, and write down that this was done; inside the writer's transaction."""
    counts = {word: _count(db, query, case_ids) for word, query in COUNTS.items()}
    judged = dict(db.execute(JUDGED, (json.dumps(case_ids),)).fetchall())
    edits = {}
    guard = "journal_never_updated"
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (guard,)).fetchone()
    db.execute("PRAGMA defer_foreign_keys = ON")
    db.execute(f"DROP TRIGGER {guard}")
    for row in _redactions(db, _gone(db, case_ids)):
        place = (row.kind, row.case_id, row.undoes, row.payload, row.id)
        db.execute("UPDATE journal SET kind = ?, case_id = ?, undoes = ?, payload = ? WHERE id = ?", place)
        edits[str(row.id)] = row.redaction()
    db.execute(sql)
    for table in reversed(DERIVED_TABLES):
        db.execute(f"DELETE FROM {table}")
    try:
        replay(db)
    except MedlabError as error:
        raise ProjectError(
            f"The journal does not hold without these cases: {error.message}",
            code="unsound",
            hint="Nothing was removed. Check the project with 'napari-medlab project verify'.",
        ) from error
    counts["edits"] = len(edits)
    payload: dict[str, Any] = {
        "cases": [body_digest(case_id.encode()) for case_id in case_ids],
        "edits": edits,
        "judgements": {str(journal_id): count for journal_id, count in judged.items()},
        "counts": counts,
    }
    append(db, reader, Edit("case.remove", payload))
    return counts


def _gone(db: sqlite3.Connection, case_ids: Sequence[str]) -> Gone:
    """Return the cases with all objects on them."""
    wanted = (json.dumps(list(case_ids)),)
    objects = {
        object_id
        for table, name in (
            ("findings", "finding_id"),
            ("corrections", "object_id"),
            ("regions", "object_id"),
        )
        for (object_id,) in db.execute(f"SELECT {name} FROM {table} WHERE {OF_CASES}", wanted)
    }
    query = f"SELECT id FROM journal WHERE kind IN ('candidates.add', 'regions.add') AND {OF_CASES}"
    for (journal_id,) in db.execute(query, wanted).fetchall():
        objects.update(objects_of(entry_of(read_row(db, journal_id))))
    return Gone(frozenset(case_ids), frozenset(objects))


def _redactions(db: sqlite3.Connection, gone: Gone) -> Iterator[Row]:
    """Yield the rows of the journal that change, as they will be."""
    query = (
        f"SELECT id FROM journal WHERE {OF_CASES} OR kind IN (SELECT value FROM json_each(?2)) ORDER BY id"
    )
    for (journal_id,) in db.execute(
        query, (json.dumps(list(gone.cases)), json.dumps(SHARED_KINDS))
    ).fetchall():
        row = read_row(db, journal_id)
        left = redacted(row, entry_of(row), gone)
        if left is not None:
            yield left


def _mentions(db: sqlite3.Connection, gone: Gone, names: Collection[str]) -> tuple[int, ...]:
    """Return the edits that stay and in which people wrote one of the names."""
    pattern, changed = name_pattern(names), {row.id: row for row in _redactions(db, gone)}
    query = "SELECT id FROM journal WHERE kind IN (SELECT value FROM json_each(?)) ORDER BY id"
    found = []
    for (journal_id,) in db.execute(query, (json.dumps(WRITTEN),)).fetchall():
        row = changed.get(journal_id) or read_row(db, journal_id)
        if pattern.search(json.dumps(row.content, ensure_ascii=False)):
            found.append(journal_id)
    return tuple(found)


def _count(db: sqlite3.Connection, query: str, case_ids: Sequence[str]) -> int:
    return int(db.execute(query, (json.dumps(list(case_ids)),)).fetchone()[0])


def _named(records: Sequence[CaseRecord], named: Sequence[str]) -> list[CaseRecord]:
    """Return the cases that are called so, each once."""
    found: dict[str, CaseRecord] = {}
    for name in named:
        fitting = [case for case in records if case.case_id == name] or [
            case for case in records if case.name == name
        ]
        if len(fitting) != 1:
            keys = ", ".join(case.case_id for case in fitting)
            raise InputRefusedError(
                f"{len(fitting)} cases of the project are called {name!r}{': ' if keys else ''}{keys}.",
                code="ambiguous-case" if fitting else "unknown-case",
                hint="Name each case by its key or by its name as the list of cases has it.",
            )
        found[fitting[0].case_id] = fitting[0]
    return list(found.values())


def _still_there(project: Project, case_ids: Collection[str]) -> list[CaseRecord]:
    """Return those of the cases that were not removed before."""
    cases = [case for case in project.cases() if case.case_id in case_ids]
    missing = set(case_ids) - {case.case_id for case in cases}
    if missing:
        entries = project.journal(kinds=("case.remove",))
        removed = {digest for entry in entries for digest in entry.payload["cases"]}
        for case_id in sorted(missing):
            if body_digest(case_id.encode()) not in removed:
                project.case(case_id)  # says that there is none
    return cases


def _own_images(cases: Sequence[CaseRecord], rest: Sequence[CaseRecord]) -> list[str]:
    """Return the images in the project's own folder that no other case needs."""
    others = [PurePosixPath(case.path) for case in rest if case.path]
    found = []
    for path in dict.fromkeys(PurePosixPath(case.path) for case in cases if case.path):
        is_own = path.parts[0] == "images" and len(path.parts) > 1 and ".." not in path.parts
        if is_own and not any(path.is_relative_to(one) or one.is_relative_to(path) for one in others):
            found.append(str(path))
    return found


def _names_of(project: Project, case: CaseRecord) -> set[str]:
    return {case.name, case.path, *project.names.names_of(case.case_id, case.patient_key)} - {""}
