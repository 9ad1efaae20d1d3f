"""No keystroke is lost: the window is killed while verdicts and corrections are made, and what it called saved is there."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from mixed_project import make_project

from napari_medlab.project import Project
from napari_medlab.project.edits import canonical

pytestmark = pytest.mark.window

SCRIPT = Path(__file__).with_name("window_under_fire.py")
HANG = 420


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("made") / "project", outlines=600)


def work(
    project: Path, seed: int, kill_after: int | None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Let the window work until so many edits were called saved; return those, and what it said at its end."""
    with (project.parent / "errors.txt").open("w") as errors:
        window = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(project), str(seed)],
            stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    guard = threading.Timer(HANG, window.kill)
    guard.start()
    saved: list[dict[str, Any]] = []
    said = None
    try:
        assert window.stdout is not None
        for line in window.stdout:
            document = json.loads(line)
            if "done" in document:
                said = document["done"]
                break
            saved.append(document)
            if kill_after is not None and len(saved) == kill_after:
                break
    finally:
        guard.cancel()
        window.kill()
        window.communicate()
    return saved, said


def check(project: Path, saved: list[dict[str, Any]]) -> None:
    """Compare every edit that was called saved with what is on the disk, and the tables with the journal."""
    with Project.open(project) as opened:
        stored = {entry.id: entry for entry in opened.journal()}
        for edit in saved:
            entry = stored[edit["id"]]
            digest = hashlib.sha256(canonical(entry.payload).encode()).hexdigest()
            assert (entry.kind, digest) == (edit["kind"], edit["sha"])
        assert opened.verify() == []


@pytest.mark.slow
@pytest.mark.timeout(HANG + 60)
def test_a_hundred_verdicts_and_thirty_corrections_are_on_the_disk(made: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(made, tmp_path / "project"))
    saved, said = work(project, seed=1, kill_after=None)
    assert said is not None, (tmp_path / "errors.txt").read_text()[-3000:]
    assert said["verdicts"] >= 100
    assert said["corrections"] >= 30
    assert said["cases"] >= 7, "CT, every view of the exam, the slide and the photos are gone through"
    assert len(saved) >= 130
    check(project, saved)


@pytest.mark.timeout(HANG + 60)
def test_what_was_called_saved_survives_an_early_kill(made: Path, tmp_path: Path) -> None:
    project = Path(shutil.copytree(made, tmp_path / "project"))
    saved, _ = work(project, seed=1, kill_after=15)
    assert len(saved) == 15, (tmp_path / "errors.txt").read_text()[-3000:]
    check(project, saved)


@pytest.mark.slow
@pytest.mark.timeout(HANG + 60)
@pytest.mark.parametrize("seed", range(6))
def test_what_was_called_saved_survives_a_kill_at_any_place(made: Path, tmp_path: Path, seed: int) -> None:
    project = Path(shutil.copytree(made, tmp_path / "project"))
    place = random.Random(seed).randrange(1, 125)
    saved, _ = work(project, seed=seed + 100, kill_after=place)
    assert len(saved) == place, (tmp_path / "errors.txt").read_text()[-3000:]
    check(project, saved)
