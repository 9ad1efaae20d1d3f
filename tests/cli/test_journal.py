from __future__ import annotations

import argparse
import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.cli.journal import VERB
from napari_medlab.cli.main import main, readable
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import Project
from napari_medlab.project.edits import add_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_reviewed_project(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.commit(add_run("f" * 32, "", {"model": "theirs"}, "2026-11-21T20:00:00+00:00"))
    return tmp_path / "p"


def journal(*words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true", default=True)
    VERB.configure(parser)
    return VERB.run(parser.parse_args([str(word) for word in words]))


def test_every_model_and_every_foreign_run_is_a_row(folder: Path) -> None:
    rows = journal(folder)["experiments"]
    shipped = next(row for row in rows if row["origin"] == "shipped")
    assert (shipped["model"], shipped["round"], shipped["current"]) == ("lung-nodules", 0, False)
    # one of two findings is found before the first false positive
    assert shipped["figure"]["metric"] == "CPM"
    assert shipped["figure"]["value"] == pytest.approx(0.5)
    foreign = next(row for row in rows if row["origin"] == "predictions")
    assert (foreign["model"], foreign["about"], foreign["figure"]) == ("theirs", "f" * 32, None)
    json.dumps(rows, allow_nan=False)
    assert all(row["figure"] is None for row in journal(folder, "--quick")["experiments"])


def test_the_table_is_written_once_and_without_names(folder: Path, tmp_path: Path) -> None:
    journal(folder, "--conclude", "lung-nodules", "ann: misses ct-1")
    out = tmp_path / "out" / "journal.csv"
    assert journal(folder, "--out", out) == {"format": "csv", "out": str(out), "experiments": 2}
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert "[name]" in "".join(row["conclusion"] for row in rows)
    assert "ct-1" not in out.read_text(encoding="utf-8")
    with pytest.raises(InputRefusedError) as caught:
        journal(folder, "--out", out)
    assert caught.value.code == "exists"
    journal(folder, "--out", tmp_path / "named.md", "--with-names")
    assert "misses ct-1" in (tmp_path / "named.md").read_text(encoding="utf-8")


def test_markdown_is_printed_where_no_file_is_named(folder: Path) -> None:
    said = journal(folder, "--format", "markdown", "--quick")
    assert said["text"].startswith("# Journal of experiments")
    assert readable(said) == said["text"].rstrip("\n")
    assert len(said["experiments"]) == 2


def test_people_are_shown_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["journal", str(folder), "--quick"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "date model trained from corrected figure difference state conclusion"
    assert sorted(row.split()[1] for row in rows) == ["lung-nodules", "theirs"]


def test_a_conclusion_is_stored_by_the_name_of_a_model(folder: Path) -> None:
    said = journal(folder, "--conclude", "lung-nodules", "good enough")
    assert said["conclusion"] == "good enough"
    journal(folder, "--conclude", "ffff", "hard to beat")
    rows = {row["origin"]: row["conclusion"] for row in journal(folder, "--quick")["experiments"]}
    assert rows == {"shipped": "good enough", "predictions": "hard to beat"}
    assert journal(folder, "--conclude", "lung-nodules", "")["conclusion"] == ""
    with pytest.raises(InputRefusedError) as caught:
        journal(folder, "--conclude", "masses", "what?")
    assert caught.value.code == "unknown-bundle"


def test_a_project_that_is_held_keeps_no_conclusion(folder: Path) -> None:
    with Project.open(folder, reader="bob"), pytest.raises(ProjectError) as caught:
        journal(folder, "--conclude", "lung-nodules", "good enough")
    assert caught.value.code == "read-only"
