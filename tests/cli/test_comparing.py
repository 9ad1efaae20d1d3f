"""Comparing two runs of a project from the command line, and the page to keep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import FOUND, MISSED, make_reviewed_project

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.cli.main import main
from napari_medlab.project import Project
from napari_medlab.project.edits import add_candidates, add_judgement, add_run, finish_case, finish_run
from napari_medlab.project.records import JudgementRecord

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\nb,0,0,0,8\n"
CANDIDATES = "seriesuid,coordX,coordY,coordZ,probability\na,0,0,0,0.9\nb,50,0,0,0.8\n"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, str, str]:
    """Return a project, and two runs: the second finds on every case what the first one missed."""
    before, after = make_reviewed_project(tmp_path / "project"), new_id()
    with Project.open(tmp_path / "project") as project:
        project.commit(add_run(after, "", {"model": "theirs"}))
        for case in project.cases():
            found = [Candidate(case.case_id, at, 0.9, 8.0) for at in (FOUND, MISSED)]
            project.commit(add_candidates(after, case.case_id, 0, found))
            project.commit(finish_case(after, case.case_id, 0.1))
        project.commit(finish_run(after))
    return tmp_path / "project", before, after


def compare(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["compare", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_two_runs_on_the_frozen_cases(
    runs: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before, after = runs
    status, said = compare(capsys, folder, "--runs", before, after, "--bootstrap", 20)
    assert (status, said["split"], said["runs"]) == (0, "test", [before, after])
    assert (said["a"]["cases"], said["counts"]["fixed"], said["counts"]["regressed"]) == (1, 1, 0)
    _, said = compare(capsys, folder, "--runs", before, after, "--bootstrap", 20, "--split", "train")
    assert (said["a"]["cases"], said["counts"]["fixed"], said["counts"]["removed_false_positive"]) == (
        2,
        2,
        2,
    )
    low, high = said["difference"]["interval"]
    assert 0 < low <= said["difference"]["cpm"] <= high


def test_people_are_shown_figures_and_counts(
    runs: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before, _ = runs
    words = ["compare", str(folder), "--runs", before, "theirs", "--bootstrap", "20", "--split", "train"]
    assert main(words) == 0
    text = capsys.readouterr().out
    _, said = compare(capsys, *words[1:])
    assert text.splitlines()[0] == "2 cases of the train split with 4 findings"
    assert f"{said['a']['cpm']:.3f} (" in text
    assert f"{said['difference']['cpm']:+.3f} (+" in text
    assert f"p = {said['difference']['p_value']:.3g}" in text
    assert text.splitlines()[-2:] == [
        "findings: 2 fixed, 0 regressed, 0 still missed", "false positives: 0 new, 2 removed"
    ]  # fmt: skip


def test_a_model_stands_for_its_newest_run(
    runs: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before, after = runs
    with Project.open(folder, read_only=True) as project:
        model = project.run(before).bundle_hash
    assert compare(capsys, folder, "--runs", model[:8], after)[1]["runs"] == [before, after]


def test_the_last_judgement_says_which_runs(
    runs: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before, after = runs
    status, said = compare(capsys, folder)
    assert (status, said["error"]["code"]) == (3, "no-runs")
    with Project.open(folder) as project:
        model = project.run(before).bundle_hash
        record = JudgementRecord(model, model, after, before, {}, {}, may_publish=True, reason="")
        project.commit(add_judgement(record))
    assert compare(capsys, folder)[1]["runs"] == [before, after]


def test_the_page_pictures_lesions_and_names_nobody(
    runs: tuple[Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, before, after = runs
    words = [folder, "--runs", before, after, "--bootstrap", 20, "--report", tmp_path / "pages" / "first"]
    status, said = compare(capsys, *words)
    assert status == 0
    page = (tmp_path / "pages" / "first" / "report.html").read_text(encoding="utf-8")
    assert said["report"] == str(tmp_path / "pages" / "first" / "report.html")
    assert "lung-nodules" in page
    assert "theirs" in page
    assert "data:image/" in page
    assert "ct-2" not in page
    _, said = compare(capsys, *words, "--with-names")
    assert "ct-2" in (tmp_path / "pages" / "first" / "report-2.html").read_text(encoding="utf-8")


def test_an_unknown_run_is_refused(runs: tuple[Path, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, before, after = runs
    status, said = compare(capsys, folder, "--runs", before, "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-run")
    assert after in said["error"]["hint"]


def test_files_have_a_page_without_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reference.csv").write_text(REFERENCE, encoding="utf-8")
    for name in ("old", "new"):
        (tmp_path / f"{name}.csv").write_text(CANDIDATES, encoding="utf-8")
    files = [
        "--reference",
        tmp_path / "reference.csv",
        "--a",
        tmp_path / "old.csv",
        "--b",
        tmp_path / "new.csv",
    ]
    status, said = compare(capsys, *files, "--report", tmp_path)
    assert status == 0
    assert "text" not in said
    assert main(["compare", *map(str, files)]) == 0
    text = capsys.readouterr().out
    assert "a  old" in text
    assert "difference of the CPM, b less a: +0.000\n" in text
    assert said["difference"]["interval"] == [0.0, 0.0]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>old → new</h1>" in page
    assert "data:image/" not in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--reference, --a, --b; or DIR"),
        (["--a", "a.csv", "--b", "b.csv"], "--reference; or DIR"),
        (
            ["--reference", "r.csv", "--a", "a.csv", "--b", "b.csv", "--runs", "1", "2"],
            "--runs needs a project",
        ),
        (["project", "--a", "a.csv", "--same-label"], "--a, --same-label and a project do not go together"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["compare", *words])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
