"""What every verb has in common: text for people, pipes that close, verbs that cannot be loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from napari_medlab.cli import main as main_module
from napari_medlab.cli.main import READER_GONE, main, readable
from napari_medlab.cli.tables import plain_table
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "import sys; from napari_medlab.cli.main import main; sys.exit(main(sys.argv[1:]))"


def run_unread(*words: str, stream: str) -> subprocess.CompletedProcess[str]:
    """Run the program with one of its streams going into a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    out, err = (writing if stream == name else subprocess.PIPE for name in ("stdout", "stderr"))
    try:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *words], text=True, check=False, timeout=120, stdout=out, stderr=err
        )  # fmt: skip
    finally:
        os.close(writing)


@pytest.mark.parametrize("words", [("models", "list"), ("models", "list", "--json")])
def test_who_stops_reading_ends_it_without_a_word(words: tuple[str, ...]) -> None:
    done = run_unread(*words, stream="stdout")
    assert (done.returncode, done.stderr) == (READER_GONE, "")


def test_nobody_has_to_read_the_help() -> None:
    done = run_unread("export", "--help", stream="stdout")
    assert done.returncode in (0, READER_GONE)  # argparse passes over it by itself
    assert done.stderr == ""


def test_nobody_has_to_read_what_is_refused() -> None:
    done = run_unread("models", "show", "no-such-model", stream="stderr")
    assert (done.returncode, done.stdout) == (READER_GONE, "")


def test_lists_without_anything_read_the_same_everywhere() -> None:
    said: dict[str, object] = {
        "a": [],
        "b": (),
        "c": {},
        "d": None,
        "e": ["x", "y"],
        "f": 0,
        "g": [{"h": ()}],
    }
    assert readable(said).splitlines() == [
        "a: none", "b: none", "c: none", "d: none", "e: x, y", "f: 0", "g:", "  - h: none"
    ]  # fmt: skip


def test_columns_stand_under_their_heads() -> None:
    text = plain_table(("rank", "case"), [["1", "a\nb"], ["10", ""]])
    assert text.splitlines() == ["rank  case", "   1  a b", "  10"]
    assert plain_table(("rank", "case"), []) == "rank  case"


def test_a_verb_that_cannot_be_loaded_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def load() -> None:
        raise ImportError("100% gone")

    project = EntryPoint("project", "napari_medlab.cli.project:VERB", "napari_medlab.verbs")
    entries = [SimpleNamespace(name="broken", load=load), project]
    monkeypatch.setattr(main_module, "entry_points", lambda group: entries)
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "broken cannot be used: 100% gone" in said
    assert "project make, fill" in said
    assert main(["project", "init", str(tmp_path / "p")]) == 0
    Project.open(tmp_path / "p", read_only=True).close()
