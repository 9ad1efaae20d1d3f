from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from project_samples import filled
from version_1 import CASE, FINDING, write_version_1

from napari_medlab.annotations import new_id
from napari_medlab.errors import ProjectError
from napari_medlab.project import CaseRecord, Project, Verdict, migration, schema
from napari_medlab.project.edits import add_case, set_verdict
from napari_medlab.project.locking import ProjectLock

if TYPE_CHECKING:
    from pathlib import Path

OLD_CASE = CaseRecord(CASE, "images/0.mha", "old", "volume", "CT", "p", "test", True, "f00", None)
COPY = "project-of-version-1.sqlite"
KILLED = """
import os, sys
from napari_medlab.project import Project, migration

replay = migration.replay

def killed(db):
    replay(db)
    os.kill(os.getpid(), 9)

migration.replay = killed
Project.open(sys.argv[1])
"""


def asked(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def version_of(path: Path) -> int:
    return int(asked(path, "PRAGMA user_version")[0][0])


def check_old_content(project: Project) -> None:
    assert project.cases() == [OLD_CASE]
    assert project.case(CASE).decisions == {}
    assert project.findings().ids.tolist() == [FINDING]
    assert project.verdicts("") == {FINDING: Verdict("agreed")}
    assert project.verify() == []
    assert project.rebuild_matches()


def test_a_project_of_version_1_is_copied_and_brought_up_to_date(tmp_path: Path) -> None:
    database = write_version_1(tmp_path / "p")
    journal = asked(database, "SELECT * FROM journal")
    with Project.open(tmp_path / "p", reader="bob") as project:
        assert not project.is_read_only
        check_old_content(project)
        assert project.undo() is None
    with Project.open(tmp_path / "p", reader="ann") as project:
        new = CaseRecord(
            new_id(), "images/1.mha", "new", decisions={"phase": 2}, exam_key="e" * 32, view="RCC"
        )
        project.commit(add_case(new))
        assert project.undo() is not None
        assert project.cases() == [OLD_CASE, new]
        assert project.verify() == []
    assert version_of(database) == schema.SCHEMA_VERSION
    assert asked(database, "SELECT * FROM journal")[:3] == journal
    copy = tmp_path / "p" / "backups" / COPY
    assert version_of(copy) == 1
    assert asked(copy, "SELECT * FROM journal") == journal


def test_its_tables_are_those_of_a_new_project(tmp_path: Path) -> None:
    old = write_version_1(tmp_path / "old")
    Project.open(tmp_path / "old").close()
    filled(tmp_path / "new").close()
    for table in schema.DERIVED_TABLES:
        query = f"PRAGMA table_info({table})"
        assert asked(old, query) == asked(tmp_path / "new" / "project.sqlite", query)


def test_it_is_brought_up_to_date_once(tmp_path: Path) -> None:
    write_version_1(tmp_path / "p")
    for _ in range(2):
        Project.open(tmp_path / "p").close()
    assert [path.name for path in (tmp_path / "p" / "backups").iterdir()] == [COPY]


def test_a_failure_on_the_way_leaves_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = write_version_1(tmp_path / "p")
    before = asked(database, "SELECT * FROM cases"), asked(database, "SELECT * FROM journal")
    with monkeypatch.context() as patch:
        patch.setattr(migration, "replay", lambda db: db.execute("INSERT INTO nowhere VALUES (1)"))
        with pytest.raises(ProjectError, match="nowhere"):
            Project.open(tmp_path / "p")
    assert version_of(database) == 1
    assert before == (asked(database, "SELECT * FROM cases"), asked(database, "SELECT * FROM journal"))
    with Project.open(tmp_path / "p") as project:
        assert not project.is_read_only
        check_old_content(project)
    names = {path.name for path in (tmp_path / "p" / "backups").iterdir()}
    assert names == {COPY, "project-of-version-1-2.sqlite"}


def test_a_kill_on_the_way_leaves_version_1(tmp_path: Path) -> None:
    database = write_version_1(tmp_path / "p")
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "p")], check=False, timeout=60)
    assert done.returncode == -9
    assert version_of(database) == 1
    with Project.open(tmp_path / "p", read_only=True) as project:
        check_old_content(project)
    with Project.open(tmp_path / "p") as project:
        check_old_content(project)
    assert version_of(database) == schema.SCHEMA_VERSION


def test_nothing_is_changed_where_no_copy_can_be_written(tmp_path: Path) -> None:
    database = write_version_1(tmp_path / "p")
    (tmp_path / "p" / "backups").rmdir()
    (tmp_path / "p" / "backups").write_bytes(b"in the way")
    with pytest.raises(ProjectError) as caught:
        Project.open(tmp_path / "p")
    assert caught.value.code == "disk"
    assert version_of(database) == 1


def test_version_1_is_read_from_a_passing_copy_where_it_is_opened_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(passing))
    database = write_version_1(tmp_path / "p")
    before = database.read_bytes()
    with Project.open(tmp_path / "p", read_only=True) as project:
        check_old_content(project)
        (copy,) = passing.iterdir()
        assert os.name == "nt" or copy.stat().st_mode & 0o777 == 0o700
    assert list(passing.iterdir()) == []
    lock = ProjectLock(tmp_path / "p" / "project.lock", "ann")
    with Project.open(tmp_path / "p") as project:
        assert project.is_read_only
        check_old_content(project)
    lock.release()
    assert database.read_bytes() == before
    assert list((tmp_path / "p" / "backups").iterdir()) == []
    assert list(passing.iterdir()) == []


def test_what_version_1_shows_follows_from_its_journal_alone(tmp_path: Path) -> None:
    database = write_version_1(tmp_path / "p")
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("UPDATE cases SET split = 'train'")
    with Project.open(tmp_path / "p", read_only=True) as project:
        check_old_content(project)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_journal_of_version_1_is_not_replayed(tmp_path: Path, read_only: bool) -> None:
    database = write_version_1(tmp_path / "p")
    with closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("DROP TRIGGER journal_never_updated")
        db.execute("UPDATE journal SET payload = replace(payload, 'agreed', 'agreeD') WHERE id = 3")
    before = database.read_bytes()
    with pytest.raises(ProjectError) as caught:
        Project.open(tmp_path / "p", read_only=read_only)
    assert caught.value.code == "bit-rot"
    assert version_of(database) == 1
    assert not read_only or database.read_bytes() == before


def test_readers_who_shared_one_state_before_keep_the_last_one(tmp_path: Path) -> None:
    edits = (
        ("bob", "agreed", "ambiguous", None),
        ("bob", "ambiguous", "model wrong", None),
        ("ann", "model wrong", "ambiguous", 5),
    )
    write_version_1(tmp_path / "p", edits)
    with Project.open(tmp_path / "p", reader="bob") as project:
        assert project.verify() == []
        assert project.verdicts("")[FINDING] == Verdict("ambiguous")
        assert project.readers() == ["ann"]
        with pytest.raises(ProjectError) as caught:  # ann holds it now
            project.undo()
        assert caught.value.code == "stale"
        project.commit(set_verdict(CASE, "", FINDING, before=None, after="agreed"))
        assert project.undo() is not None
        assert project.verdicts("")[FINDING] == Verdict("ambiguous")
        assert project.verify() == []


def test_tampering_with_decisions_is_found(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        with closing(sqlite3.connect(project.folder / "project.sqlite", isolation_level=None)) as db:
            db.execute("""UPDATE cases SET decisions = '{"phase":1}'""")
        assert "table cases: 2 rows" in "\n".join(project.verify())
