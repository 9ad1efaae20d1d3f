from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.cli.main import main
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import read_bundle, shipped_bundles
from napari_medlab.models.training.recipe import FINE_TUNING
from napari_medlab.models.workflows.retrain import retrain

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 8
"""Enough of them for the word to stop to arrive in between."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    make_reviewed_project(folder / "project")
    assert main(["export", str(folder / "project"), "--format", "hard", "--out", str(folder / "hard")]) == 0
    return folder / "hard"


def train(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["train", "--from", "lung-nodules", *map(str, words), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out), said.err


def test_a_training_that_was_stopped_is_resumed_and_gives_a_bundle(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cancel = CancelToken()
    recipe = replace(FINE_TUNING, steps=STEPS, seed=5)
    events = retrain([package], shipped_bundles()[0], tmp_path / "out", recipe, cancel)
    assert [next(events)["event"] for _ in range(2)] == ["data", "step"]
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(events)
    capsys.readouterr()
    words = ["--package", package, "--out", tmp_path / "out", "--steps", STEPS, "--seed", 5, "--resume"]
    status, said, progress = train(capsys, *words)
    assert status == 0
    assert set(said) == {"bundle", "hash", "parent", "steps", "seconds", "final_loss"}
    assert (said["parent"], said["steps"]) == (shipped_bundles()[0].hash, STEPS)
    bundle = read_bundle(tmp_path / "out" / said["bundle"])
    assert bundle.hash == said["hash"]
    assert bundle.spec["training"]["recipe"]["seed"] == 5
    assert 0 < said["final_loss"] < 100
    assert f"step {STEPS} of {STEPS}, loss " in progress
    assert f"step 1 of {STEPS}" not in progress


def test_resume_wants_something_to_go_on_from(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, _ = train(capsys, "--package", package, "--out", tmp_path / "out", "--resume")
    assert (status, said["error"]["code"]) == (3, "no-checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_parent_is_refused(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = train(capsys, "--package", package, "--out", tmp_path / "out", "--from", "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-model")


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = train(capsys, "--package", tmp_path, "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, "package")


def test_help_says_that_going_on_happens_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "goes on where it was" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_steps_are_a_number_above_0(steps: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--package", "a", "--from", "b", "--out", "c", "--steps", steps])
    assert caught.value.code == 2
