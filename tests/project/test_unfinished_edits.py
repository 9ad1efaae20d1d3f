from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from project_samples import RUN, filled

from napari_medlab.errors import ProjectError
from napari_medlab.project import Project
from napari_medlab.project.locking import ProjectLock
from napari_medlab.project.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from pathlib import Path


def cut_off(folder: Path, mode: str, *, newer: bool = False) -> Path:
    """Make a project as a crash in the middle of an edit leaves it, and return its folder."""
    whole = folder / "whole"
    filled(whole, candidates=400).close()
    with closing(sqlite3.connect(whole / "project.sqlite", isolation_level=None)) as db:
        if newer:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("PRAGMA cache_size = 1")
        if mode == "WAL":
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute("CREATE TABLE stranger (x)")
            db.execute("DROP TABLE stranger")
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE candidate_batches SET numbers = zeroblob(60000)")
        db.execute("UPDATE candidate_batches SET ids = zeroblob(60000)")
        db.execute("UPDATE findings SET x = 9")
        (folder / "p").mkdir()
        for path in whole.glob("project.sqlite*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder / "p" / path.name)
        db.execute("ROLLBACK")
    kind = "-wal" if mode == "WAL" else "-journal"
    assert (folder / "p" / f"project.sqlite{kind}").stat().st_size > 0
    return folder / "p"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_an_edit_that_a_crash_cut_off_is_taken_back_on_opening(tmp_path: Path, mode: str) -> None:
    with Project.open(cut_off(tmp_path, mode)) as project:
        assert not project.is_read_only
        assert project.verify() == []
        assert len(project.candidates(RUN)) == 800


def test_who_may_not_write_is_told_that_an_edit_was_cut_off(tmp_path: Path) -> None:
    folder = cut_off(tmp_path, "DELETE")
    before = contents(folder)
    with pytest.raises(ProjectError, match="cut an edit off") as caught:
        Project.open(folder, read_only=True)
    assert caught.value.code == "unfinished"
    assert contents(folder) == before
    Project.open(folder).close()
    with Project.open(folder, read_only=True) as project:
        assert project.verify() == []


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_project_is_left_as_a_crash_left_it(tmp_path: Path, mode: str, read_only: bool) -> None:
    folder = cut_off(tmp_path, mode, newer=True)
    before = contents(folder)
    with pytest.raises(ProjectError) as caught:
        Project.open(folder, read_only=read_only)
    assert caught.value.code == "newer"
    after = contents(folder)
    assert {name: after[name] for name in before} == before


def test_a_lock_that_cannot_be_signed_is_held_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.ftruncate", full)
        first = ProjectLock(tmp_path / "lock", "ann")
    assert first.is_ours
    second = ProjectLock(tmp_path / "lock", "bob")
    assert (second.is_ours, second.holder) == (False, "another process")
    first.release()
