"""What is kept of a window between sessions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from napari_medlab.widgets import layout_memory
from napari_medlab.widgets.layout_memory import MOST, Remembered, recall, remember

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDLAB_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def test_nothing_is_known_at_first() -> None:
    assert recall() == Remembered()


def test_what_was_kept_comes_back() -> None:
    kept = Remembered(b"\x00\xff docks", "Review", ("/data/a", "/data/b"))
    remember(kept)
    assert recall() == kept


def test_the_latest_project_stands_first_once_and_only_so_many_are_kept(tmp_path: Path) -> None:
    kept = Remembered()
    for number in range(MOST + 3):
        kept = kept.with_project(tmp_path / str(number))
    kept = kept.with_project(tmp_path / "5")
    assert kept.projects[0] == str(tmp_path / "5")
    assert len(kept.projects) == len(set(kept.projects)) == MOST


@pytest.mark.parametrize(
    "content", ["", "[]", '{"state": 3}', '{"layout": 1, "state": "?", "station": "Run"}']
)
def test_a_damaged_file_is_as_none(folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / layout_memory.FILE).write_text(content, encoding="utf-8")
    assert recall() == Remembered()


def test_a_layout_of_other_docks_is_not_brought_back_but_projects_are(folder: Path) -> None:
    remember(Remembered(b"docks", "Review", ("/data/a",)))
    stored = json.loads((folder / layout_memory.FILE).read_text(encoding="utf-8"))
    (folder / layout_memory.FILE).write_text(json.dumps({**stored, "layout": -1}), encoding="utf-8")
    assert recall() == Remembered(projects=("/data/a",))


def test_a_disk_that_takes_nothing_disturbs_nobody(folder: Path) -> None:
    folder.write_text("not a folder", encoding="utf-8")
    remember(Remembered(station="Review"))
    assert recall() == Remembered()
