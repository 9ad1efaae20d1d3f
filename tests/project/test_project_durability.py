from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from project_samples import RUN, filled, square

from napari_medlab.annotations import new_id
from napari_medlab.errors import ProjectError
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case, set_region, set_verdict
from napari_medlab.project.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from conftest import Survived

CHILD = Path(__file__).with_name("killed_writer.py")
SHOW = "from napari_medlab.project import Project; import sys; p = Project.open(sys.argv[1], reader='eve')"


def raw(project: Path) -> sqlite3.Connection:
    return sqlite3.connect(project / "project.sqlite", isolation_level=None)


def hold_back(project: Project) -> tuple[Future[bool], threading.Event]:
    """Keep the writer busy until the event is set."""
    release = threading.Event()
    assert project._writer is not None
    return project._writer._put(lambda _: release.wait(10)), release


def killed_once(folder: Path, seed: int, seconds: float, *options: str) -> list[dict[str, Any]]:
    """Let a child edit the project for a while, kill it, and return what it said was saved."""
    command = [sys.executable, str(CHILD), str(folder), str(seed), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        # a full pipe would hold the child back: read while it runs
        timer = threading.Timer(seconds, child.kill)
        timer.start()
        lines = child.stdout.read().split("\n")
        timer.join()
    return [json.loads(line) for line in lines[:-1]]  # the last may be torn: its edit was not acknowledged


def check_kills(folder: Path, kills: int, first_seed: int = 0) -> tuple[int, int]:
    """Kill a writer again and again; return what was acknowledged, and how much of it was there each time."""
    filled(folder).close()
    chance = random.Random(first_seed)
    total = kept = 0
    for seed in range(first_seed, first_seed + kills):
        said = killed_once(folder, seed, chance.uniform(0.0, 0.12))
        with Project.open(folder, reader="after") as project:
            assert not project.is_read_only
            stored = {entry.id: (entry.kind, entry.payload) for entry in project.journal()}
            kept += sum(stored.get(line["id"]) == (line["kind"], line["payload"]) for line in said)
            assert project.rebuild_matches()
        total += len(said)
    with Project.open(folder) as project:
        assert project.verify() == []
    assert total > kills
    return total, kept


def test_nothing_acknowledged_is_lost_to_kill_9(quick_folder: Path) -> None:
    total, kept = check_kills(quick_folder / "p", 15)
    assert kept == total


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_nothing_acknowledged_is_lost_to_500_kill_9(
    quick_folder: Path, part: int, survived: Survived
) -> None:
    """In parts, each with fresh projects, as each look replays all of a journal."""
    found = [check_kills(quick_folder / f"p{n}", 25, first_seed=50 * part + 25 * n) for n in range(2)]
    survived(
        "durability", "acknowledged edits survive", tried=50, survived=50 if all(t == k for t, k in found) else 0,
        control="",
    )  # fmt: skip
    assert all(kept == total for total, kept in found)


@pytest.mark.slow
@pytest.mark.promise
def test_a_writer_that_acknowledges_too_early_is_seen_to_lose(quick_folder: Path, survived: Survived) -> None:
    """The control: one that says that an edit is saved before it is committed."""
    lost = 0
    for number in range(30):
        folder = quick_folder / str(number)
        filled(folder).close()
        said = killed_once(folder, number, 0.03, "early")
        with Project.open(folder) as project:
            lost += len(said) > sum(entry.reader == f"writer {number}" for entry in project.journal())
    survived(
        "durability", "acknowledged edits survive", tried=0, survived=0,
        control=f"a writer that says \"saved\" before it commits lost edits in {lost} of 30 kills",
    )  # fmt: skip
    assert lost >= 3


def test_what_is_acknowledged_can_be_read_by_others(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        table = project.candidates(RUN)
        seen: list[bool] = []

        def look(object_id: str) -> Callable[[Future[int]], None]:
            def on_done(future: Future[int]) -> None:
                other = raw(tmp_path / "p")
                query = "SELECT journal_id FROM verdicts WHERE object_id = ?"
                seen.append(other.execute(query, (object_id,)).fetchone() == (future.result(),))
                other.close()

            return on_done

        for case_id, object_id in zip(table.case_ids.tolist(), table.ids.tolist(), strict=True):
            future = project.submit(set_verdict(case_id, RUN, object_id, before=None, after="agreed"))
            future.add_done_callback(look(object_id))
    assert seen == [True] * len(table)


def test_a_callback_that_waits_for_another_edit_fails_instead_of_hanging(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        caught: list[str] = []
        held, release = hold_back(project)

        def wait_inside(_: Future[int]) -> None:
            try:
                project.undo()
            except RuntimeError as error:
                caught.append(str(error))

        future = project.submit(add_case(CaseRecord(new_id(), "a", "a")))
        future.add_done_callback(wait_inside)
        release.set()
        assert held.result()
        assert project.commit(add_case(CaseRecord(new_id(), "b", "b"))) == future.result() + 1
        assert caught == ["A callback of an edit must not wait for another edit: use submit()."]


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    project = filled(tmp_path / "p")
    futures = [project.submit(add_case(CaseRecord(new_id(), str(n), str(n)))) for n in range(30)]
    project.close()
    project.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(ProjectError, match="closed"):
        project.commit(add_case(CaseRecord(new_id(), "x", "x")))
    with pytest.raises(ProjectError, match="closed"):
        project.cases()
    with Project.open(tmp_path / "p") as reopened:
        assert len(reopened.cases()) == 32


def test_a_closed_project_leaves_one_file_without_a_log(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        threads = [threading.Thread(target=project.cases) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    left = {path.name for path in (tmp_path / "p").iterdir()}
    assert left == {"project.sqlite", "project.lock", "images", "bundles", "exports", "backups", "private"}


def test_a_full_disk_leaves_nothing_half_done_and_later_edits_work(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        case_id = project.cases()[0].case_id
        big = square(case_id, 1.0)
        rings = tuple(big.rings[0] + n / 3 for n in range(3000))
        large = type(big)(case_id, rings)
        _limit_pages(project, extra=4)
        with pytest.raises(ProjectError) as caught:
            project.commit(set_region(None, large))
        assert caught.value.code == "disk"
        assert project.regions() == []
        project.commit(add_case(CaseRecord(new_id(), "s", "s")))
        _limit_pages(project, extra=100_000)
        project.commit(set_region(None, large))
        assert project.verify() == []


def _limit_pages(project: Project, extra: int) -> None:
    """Let the database grow by some pages and no further, which SQLite reports as a full disk."""

    def work(session: Any) -> None:  # noqa: ANN401 - the writer's own
        pages = session._db.execute("PRAGMA page_count").fetchone()[0]
        session._db.execute(f"PRAGMA max_page_count = {pages + extra:d}")

    assert project._writer is not None
    project._writer._put(work).result()


def test_every_flipped_bit_of_a_stored_outline_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    with filled(folder) as project:
        case_id = project.cases()[0].case_id
        project.commit(set_region(None, square(case_id, 2.5)))
    db = raw(folder)
    (body,) = db.execute("SELECT body FROM regions").fetchone()
    chance = random.Random(0)
    with Project.open(folder) as project:
        for _ in range(60):
            at, bit = chance.randrange(len(body)), 1 << chance.randrange(8)
            db.execute("UPDATE regions SET body = ?", (body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :],))
            with pytest.raises(ProjectError) as caught:
                project.regions(case_id)
            assert caught.value.code == "bit-rot"
        assert any("not what was drawn" in problem for problem in project.verify())
        db.execute("UPDATE regions SET body = ?", (body,))
        assert project.verify() == []
    db.close()


@pytest.mark.parametrize("column", ["ids", "numbers", "label_codes", "label_names"])
def test_changed_candidates_are_noticed(tmp_path: Path, column: str) -> None:
    folder = tmp_path / "p"
    with filled(folder) as project:
        db = raw(folder)
        (stored,) = db.execute(f"SELECT {column} FROM candidate_batches").fetchone()
        changed = (
            stored.replace("nodule", "nodula")
            if isinstance(stored, str)
            else bytes([stored[0] ^ 1]) + stored[1:]
        )
        db.execute(f"UPDATE candidate_batches SET {column} = ? WHERE rowid = 1", (changed,))
        db.close()
        with pytest.raises(ProjectError) as caught:
            project.candidates(RUN)
        assert caught.value.code == "bit-rot"
        assert not project.rebuild_matches()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "UPDATE journal SET payload = replace(payload, 'series-0', 'series-9') WHERE kind = 'case.add'",
            "row 2",
        ),
        ("UPDATE journal SET reader = 'bob' WHERE id = 3", "row 3 is not what was written"),
        ("DELETE FROM journal WHERE id = 4", "rows 4 to 4 are missing"),
        ("DELETE FROM journal WHERE id = 7", "rows after 6 are missing"),
        ("UPDATE cases SET split = 'test'", "table cases: 2 rows"),
        ("DELETE FROM findings", "table findings: 4 rows"),
        ("INSERT INTO exports VALUES (99, '', '', '', '[]')", "table exports: 1 rows"),
    ],
)
def test_verify_finds_tampering(tmp_path: Path, statement: str, found: str) -> None:
    folder = tmp_path / "p"
    with filled(folder) as project:
        assert project.verify() == []
        db = raw(folder)
        db.execute("DROP TRIGGER journal_never_updated")
        db.execute("DROP TRIGGER journal_never_deleted")
        db.execute(statement)
        db.close()
        assert found in "\n".join(project.verify())


def test_a_newer_project_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    filled(folder).close()
    db = raw(folder)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    before = (folder / "project.sqlite").read_bytes(), sorted(path.name for path in folder.iterdir())
    with pytest.raises(ProjectError) as caught:
        Project.open(folder)
    assert caught.value.code == "newer"
    assert before == (
        (folder / "project.sqlite").read_bytes(),
        sorted(path.name for path in folder.iterdir()),
    )


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "not-a-project"), (b"no database " * 99, "corrupt"), (None, "not-a-project")],
)
def test_what_is_no_project_is_refused(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / "project.sqlite").write_bytes(content)
    with pytest.raises(ProjectError) as caught:
        Project.open(tmp_path)
    assert caught.value.code == code


def test_another_program_s_database_is_refused(tmp_path: Path) -> None:
    db = raw(tmp_path)
    db.execute("CREATE TABLE t (x)")
    db.close()
    with pytest.raises(ProjectError, match="not the database of a project"):
        Project.open(tmp_path)


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "p", candidates=4000).close()
    path = tmp_path / "p" / "project.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 12] = os.urandom(4096 * 9)
    path.write_bytes(content)
    with pytest.raises(ProjectError) as caught:
        Project.open(tmp_path / "p")
    assert caught.value.code == "corrupt"
    assert "backups" in caught.value.hint


def test_a_project_is_not_made_over_another(tmp_path: Path) -> None:
    filled(tmp_path / "p").close()
    with pytest.raises(ProjectError) as caught:
        Project.create(tmp_path / "p")
    assert caught.value.code == "exists"


def test_a_second_process_reads_and_is_told_who_writes(tmp_path: Path) -> None:
    code = f"{SHOW}; print(p.is_read_only, p.holder, len(p.cases())); p.close()"
    with filled(tmp_path / "p") as project:
        said = subprocess.run(
            [sys.executable, "-c", code, str(project.folder)], capture_output=True, text=True, check=True
        )
        assert said.stdout.startswith("True ann on ")
        assert f"(process {os.getpid()}) 2" in said.stdout
        with Project.open(project.folder, reader="eve") as second:
            project.commit(add_case(CaseRecord(new_id(), "n", "n")))
            assert len(second.cases()) == 3
            with pytest.raises(ProjectError, match="ann on") as caught:
                second.commit(add_case(CaseRecord(new_id(), "x", "x")))
            assert caught.value.code == "read-only"
            with pytest.raises(ProjectError, match="cannot be changed"):
                second.backup()
    with Project.open(tmp_path / "p") as third:
        assert third.holder is None
        assert not third.is_read_only


def test_the_lock_vanishes_with_its_process(tmp_path: Path) -> None:
    filled(tmp_path / "p").close()
    code = f"{SHOW}; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "p")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with Project.open(tmp_path / "p") as project:
            assert project.is_read_only
        child.kill()
    with Project.open(tmp_path / "p") as project:
        assert not project.is_read_only


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX rights")
def test_a_folder_that_cannot_be_written_opens_read_only() -> None:
    # the superuser can write anywhere: the child gives its rights up once everything is imported
    show = SHOW.replace("p = ", "import os; os.geteuid() or os.setuid(65534); p = ")
    code = f"{show}; print(p.is_read_only, p.holder, len(p.cases()), p.verify()); p.close()"
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "p"
        filled(folder).close()
        Path(parent).chmod(0o755)
        folder.chmod(0o555)
        (folder / "project.lock").chmod(0o444)
        command = [sys.executable, "-c", code, str(folder)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        folder.chmod(0o755)
    assert said.stdout == "True None 2 []\n", said.stderr


def test_a_forgotten_project_is_closed_and_let_go(tmp_path: Path) -> None:
    project = filled(tmp_path / "p")
    project.submit(add_case(CaseRecord(new_id(), "n", "n")))
    del project
    with Project.open(tmp_path / "p") as again:
        assert not again.is_read_only
        assert len(again.cases()) == 3


def test_three_backups_are_kept_and_each_can_be_opened(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        for count in range(3, 8):
            project.commit(add_case(CaseRecord(new_id(), str(count), str(count))))
            newest = project.backup()
        kept = sorted((tmp_path / "p" / "backups").iterdir())
    assert [path.name for path in kept] == ["project-1.sqlite", "project-2.sqlite", "project-3.sqlite"]
    assert newest == kept[0]
    for number, path in enumerate(kept):
        restored = tmp_path / f"restored-{number}"
        restored.mkdir()
        path.rename(restored / "project.sqlite")
        with Project.open(restored) as project:
            assert len(project.cases()) == 7 - number
            assert project.verify() == []


def test_private_names_are_for_their_owner_alone(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        case_id = project.cases()[0].case_id
        key = project.names.patient_key("Doe^Jane")
        project.names.remember(case_id, source="/ward/doe.dcm", patient="Doe^Jane")
        assert project.names.patient_key("Doe^Jane") == key
        assert project.names.sources() == {case_id: "/ward/doe.dcm"}
    path = tmp_path / "p" / "private" / "names.json"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    assert b"Doe" not in (tmp_path / "p" / "project.sqlite").read_bytes()


def test_submitting_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        held, release = hold_back(project)
        start = time.perf_counter()
        future = project.submit(add_case(CaseRecord(new_id(), "n", "n")))
        assert time.perf_counter() - start < 1.0
        assert not future.done()
        release.set()
        assert held.result()
        assert future.result() == 8
