"""A copy of a project that can be handed on: keys in the place of names, and no images."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import make_folder, new_folder, write_file, writing
from napari_medlab.errors import ProjectError
from napari_medlab.project.connections import build, check, open_reader, open_writer, transaction
from napari_medlab.project.edits import body_digest, canonical
from napari_medlab.project.journal import FIRST_HASH, SELECT, Row, entry_of, write_entry
from napari_medlab.project.keep_lists import Keys, when
from napari_medlab.project.layout import BUNDLES, DATABASE, make_folders
from napari_medlab.project.lookups import Lookups
from napari_medlab.project.records import JournalEntry
from napari_medlab.project.shareable import shareable
from napari_medlab.project.sql_errors import translated
from napari_medlab.project.verification import problems_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from napari_medlab.project.project import Project

__all__ = ["Shared", "name_finder", "name_pattern", "share"]

SPEC, WEIGHTS, CARD = "bundle.json", "model.safetensors", "CARD.md"
"""What a bundle consists of; whatever else lies in its folder stays behind."""
MAX_BUNDLE_BYTES = 4 << 30
SHORTEST = 4
"""Names of fewer characters are looked for nowhere: they stand in any text."""


@dataclass(frozen=True)
class Shared:
    """What a copy holds.

    Parameters
    ----------
    folder : Path
    cases, edits, readers : int
    models : int
        Those that were copied.
    models_left_out : tuple of str
        The hashes of models of the project that were not: their description names a file, a patient, a case or a
        reader, or their files are not what was recorded.
    comments : int
        The verdicts with a comment or tags, and the conclusions about models, which are kept as they were written.
    comments_with_names : int
        Those of them that name a file, a patient, a case or a reader of the project.
    """

    folder: Path
    cases: int
    edits: int
    readers: int
    models: int
    models_left_out: tuple[str, ...]
    comments: int
    comments_with_names: int


def share(db: sqlite3.Connection, project: Project, out: Path) -> Shared:
    """Write a copy of a project that can be handed on into a new folder; the project itself is only read.

    The journal is told again from its first row, with what :func:`shareable` keeps, and chained anew; the tables
    follow from it. Cases are called by their keys and have no image, readers are numbered, paths are left out. Models
    and outlines go along; images, backups, exports and the private names do not. Labels, comments, tags and
    conclusions are kept as they were written.

    Parameters
    ----------
    db : sqlite3.Connection
        Reads the project's database, inside one transaction.
    project : Project
    out : Path

    Raises
    ------
    InputRefusedError
        ``exists`` where there is something at ``out``: nothing is overwritten.
    ProjectError
        ``bit-rot`` or ``unsound`` where the project is damaged, ``disk`` where the database cannot be written.
    DiskError
        Where anything else cannot be written. There is no copy then.
    """
    name = name_finder(db, project)
    with new_folder(out) as partial, writing(out):
        make_folders(partial)
        keys = Keys()
        left_out = _copy_bundles(db, project.folder, partial, (keys, name))
        comments, naming = _copy_journal(db, partial / DATABASE, keys, name)
        _check(partial / DATABASE)
    cases, edits = (
        db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("cases", "journal")
    )
    return Shared(out, cases, edits, len(keys.readers), len(keys.bundles), left_out, comments, naming)


def _copy_journal(db: sqlite3.Connection, path: Path, keys: Keys, name: re.Pattern[str]) -> tuple[int, int]:
    """Write the database of the copy; return how many edits carry comments, and how many of those say a name."""
    comments = naming = 0
    with translated("the copy"):
        build(path)
        with closing(open_writer(path, "DELETE")) as copy:
            with transaction(copy):
                before, lookups = FIRST_HASH, Lookups()
                for stored in db.execute(SELECT + "ORDER BY id"):
                    entry = _shared(entry_of(Row(*stored)), keys)
                    before = write_entry(copy, entry, before, lookups)
                    written = _written(entry)
                    comments += bool(written)
                    naming += name.search(written) is not None
            copy.execute("VACUUM")
    return comments, naming


def _shared(entry: JournalEntry, keys: Keys) -> JournalEntry:
    return JournalEntry(
        entry.id,
        when(entry.at),
        keys.reader(entry.reader),
        entry.kind,
        keys.of_optional(entry.case_id),
        shareable(entry.kind, entry.payload, keys),
        entry.undoes,
    )


def _written(entry: JournalEntry) -> str:
    """Return what a reader wrote with verdicts and as conclusions; empty for other edits."""
    alone = [{"kind": entry.kind, "payload": entry.payload}]
    parts: list[dict[str, Any]] = entry.payload["edits"] if entry.kind == "group" else alone
    given = [part["payload"]["after"] for part in parts if part["kind"] == "verdict.set"]
    texts = [text for after in given if after for text in (after["comment"], *after["tags"])]
    texts += [part["payload"]["after"] for part in parts if part["kind"] == "conclusion.set"]
    return "\n".join(texts).strip()


def _check(path: Path) -> None:
    """Make sure that the copy reads back, without leaving anything beside it."""
    check(path, immutable=True)
    with translated("the copy"), closing(open_reader(path, immutable=True)) as copy:
        copy.execute("BEGIN")
        problems = problems_of(copy)
    if problems:
        raise ProjectError(
            f"The copy is not sound, beginning with: {problems[0]}.",
            code="unsound",
            hint="Check the project itself with 'napari-medlab project verify'.",
        )


def _copy_bundles(
    db: sqlite3.Connection, folder: Path, partial: Path, known: tuple[Keys, re.Pattern[str]]
) -> tuple[str, ...]:
    """Copy the models that lie in the project, and return the hashes of those that cannot be handed on."""
    keys, name = known
    left_out = []
    for digest, stored in db.execute("SELECT hash, path FROM bundles ORDER BY journal_id"):
        source = PurePosixPath(stored)
        if source.is_absolute() or Path(stored).is_absolute() or ".." in source.parts:
            continue  # it came with the program, or lies with somebody else
        files = _files_of(folder / stored, digest, name)
        if not files:
            left_out.append(str(digest))
            continue
        keys.bundles[digest] = f"{BUNDLES}/{digest[:32]}"
        make_folder(partial / keys.bundles[digest])
        for file_name, content in files.items():
            write_file(partial / keys.bundles[digest] / file_name, content)
    return tuple(left_out)


def _files_of(folder: Path, digest: str, name: re.Pattern[str]) -> dict[str, bytes]:
    """Return the files of a model; none where it is not the one recorded, or its description says a name."""
    paths = [
        path
        for path in (folder / SPEC, folder / WEIGHTS, folder / CARD)
        if path.is_file() and not path.is_symlink()
    ]
    if sum(path.stat().st_size for path in paths) > MAX_BUNDLE_BYTES:
        return {}
    files = {path.name: path.read_bytes() for path in paths}
    try:
        spec = json.loads(files[SPEC])
        is_recorded = body_digest(canonical(spec).encode()) == digest
        is_recorded &= body_digest(files[WEIGHTS]) == spec["weights_sha256"]
        texts = [files[text].decode() for text in (SPEC, CARD) if text in files]
    except (KeyError, TypeError, ValueError):
        return {}
    return files if is_recorded and not any(name.search(text) for text in texts) else {}


def name_finder(db: sqlite3.Connection, project: Project) -> re.Pattern[str]:
    """Return what finds the project's own names in a text: of files, patients, cases and readers."""
    found: set[str] = set(project.names.known_names())
    for path, name in db.execute("SELECT path, name FROM cases"):
        found |= {path, name}
    found |= {row[0] for row in db.execute("SELECT DISTINCT reader FROM journal")}
    return name_pattern(found)


def name_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds names in a text; of paths, those of the files too. Names of fewer than four characters are left out."""
    found = set(names)
    found |= {PurePosixPath(path.replace("\\", "/")).name for path in found if "/" in path or "\\" in path}
    words = sorted((re.escape(one) for one in found if len(one) >= SHORTEST), key=len, reverse=True)
    # nothing is named where there is no name: a pattern that never fits
    return re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)" if words else r"(?!)", re.IGNORECASE)
