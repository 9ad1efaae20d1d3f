from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import WRONG, make_reviewed_project

from napari_medlab.cli.main import main
from napari_medlab.project import Project
from napari_medlab.project.edits import add_run, finish_case

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("queue") / "project"
    return folder, make_reviewed_project(folder)


def queue(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["queue", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_errors_of_training_cases_worst_first(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    status, said = queue(capsys, folder)
    assert status == 0
    assert {key: said[key] for key in ("run_id", "model", "fp_per_scan")} == {
        "run_id": run_id,
        "model": "lung-nodules",
        "fp_per_scan": 1.0,
    }
    assert [(item["kind"], item["case"]) for item in said["items"]] == [
        ("fp", "ct-1"),
        ("fn", "ct-0"),
        ("fp", "ct-0"),
        ("fn", "ct-1"),
    ]
    first = said["items"][0]
    assert (tuple(first["centre"]), first["score"]) == WRONG["ct-1"]
    assert set(first) == {
        *("kind", "object_id", "case_id", "centre", "diameter", "score", "distance", "label", "case", "verdict")
    }
    assert [item["verdict"] for item in said["items"]] == ["ambiguous", None, None, None]


@pytest.mark.parametrize("kind", ["fp", "fn"])
def test_one_kind_alone(made: tuple[Path, str], capsys: pytest.CaptureFixture[str], kind: str) -> None:
    _, said = queue(capsys, made[0], "--kind", kind)
    assert [item["kind"] for item in said["items"]] == [kind, kind]


def test_fewer_false_positives_per_scan_leave_fewer_errors(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = queue(capsys, made[0], "--fp-per-scan", "0.5", "--run", made[1])
    assert said["fp_per_scan"] == 0.5
    assert [item["score"] for item in said["items"] if item["kind"] == "fp"] == [0.8]


def test_a_run_on_the_frozen_test_set_does_not_hide_the_one_to_review(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = make_reviewed_project(tmp_path / "p")
    with Project.open(tmp_path / "p") as project:
        project.commit(add_run("judged", "", {}))
        (frozen,) = [case.case_id for case in project.cases() if case.frozen]
        project.commit(finish_case("judged", frozen, 0.1))
    assert queue(capsys, tmp_path / "p")[1]["run_id"] == run_id
    said = queue(capsys, tmp_path / "p", "--run", "judged")[1]
    assert (said["model"], said["items"]) == (None, [])


def test_without_a_run_there_is_no_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path / "p").close()
    status, said = queue(capsys, tmp_path / "p")
    assert (status, said["error"]["code"]) == (3, "no-run")


def test_an_unknown_run_is_refused(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    status, said = queue(capsys, made[0], "--run", "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-run")


@pytest.mark.parametrize("words", [["--fp-per-scan", "0"], ["--fp-per-scan", "nan"], ["--kind", "all"]])
def test_wrong_usage(made: tuple[Path, str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["queue", str(made[0]), *words])
    assert caught.value.code == 2
