from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.cli.main import main
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import find_bundle, read_bundle
from napari_medlab.models.bundles.loading import read_weights
from napari_medlab.models.training.recipe import FINE_TUNING
from napari_medlab.models.training.samples import Sample, write_sample
from napari_medlab.models.workflows.retrain import retrain
from napari_medlab.project import Project

STEPS = 8
"""Enough of them for the word to stop to arrive in between."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    make_reviewed_project(folder / "project")
    assert main(["export", str(folder / "project"), "--format", "hard", "--out", str(folder / "hard")]) == 0
    return folder / "hard"


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    status = main(["train", *map(str, words), "--json"])
    streams = capsys.readouterr()
    return status, json.loads(streams.out), streams.err


def train(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    return said(capsys, "--from", "lung-nodules", *words)


def test_a_training_that_was_stopped_is_resumed_and_gives_a_bundle(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cancel = CancelToken()
    recipe = replace(FINE_TUNING, steps=STEPS, seed=5)
    events = retrain([package], find_bundle("lung-nodules"), tmp_path / "out", recipe, cancel)
    assert [next(events)["event"] for _ in range(2)] == ["data", "step"]
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(events)
    capsys.readouterr()
    words = ["--package", package, "--out", tmp_path / "out", "--steps", STEPS, "--seed", 5, "--resume"]
    status, result, progress = train(capsys, *words)
    assert status == 0
    assert set(result) == {"bundle", "hash", "parent", "steps", "seconds", "final_loss", "part"}
    assert result["part"] == "network"
    assert (result["parent"], result["steps"]) == (find_bundle("lung-nodules").hash, STEPS)
    bundle = read_bundle(tmp_path / "out" / result["bundle"])
    assert bundle.hash == result["hash"]
    assert bundle.spec["training"]["recipe"]["seed"] == 5
    assert 0 < result["final_loss"] < 100
    assert f"step {STEPS} of {STEPS}, loss " in progress
    assert f"step 1 of {STEPS}" not in progress
    assert "goes on with step " in progress


def test_an_interrupted_training_says_that_its_state_is_kept(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medlab.cli.train._say", interrupted)
    words = [
        "train",
        "--from",
        "lung-nodules",
        "--package",
        package,
        "--out",
        tmp_path / "out",
        "--steps",
        STEPS,
    ]
    assert main([*map(str, words)]) == 130
    told = capsys.readouterr().err
    assert "The state of the training is kept: the same command goes on from it." in told
    assert list((tmp_path / "out").glob("*.checkpoint"))


def interrupted(step: dict[str, Any]) -> None:
    """Do what Ctrl-C does, while the first step is told of."""
    raise KeyboardInterrupt(step)


def test_resume_wants_something_to_go_on_from(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result, _ = train(capsys, "--package", package, "--out", tmp_path / "out", "--resume")
    assert (status, result["error"]["code"]) == (3, "no-checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_parent_is_refused(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result, _ = train(capsys, "--package", package, "--out", tmp_path / "out", "--from", "nothing")
    assert (status, result["error"]["code"]) == (3, "unknown-model")


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result, _ = train(capsys, "--package", tmp_path, "--out", tmp_path / "out")
    assert (status, result["error"]["code"]) == (3, "no-package")


def test_help_says_that_going_on_happens_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "goes on where it was" in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.uniform(0, 1, (1, 8, 8, 8)).astype(np.float32)
        sample = Sample.without_boxes(image, label=number % 2, group=f"patient {number}")
        write_sample(folder / f"{number}.npz", sample)
    return folder


@pytest.fixture
def config(tmp_path: Path) -> Path:
    change = {
        "network": {"arguments": {"sides": [8], "channels": [4, 4, 4], "hidden": 4}},
        "recipe": {"batch_size": 4, "precision": "float32"},
    }
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "base": "lung-vgg-24", "change": change}))
    return path


def test_a_configuration_is_trained_on_a_fold_of_samples(
    samples: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--config",
        config,
        "--samples",
        samples,
        "--fold",
        "2/2",
        "--out",
        tmp_path / "out",
        "--steps",
        2,
        "--seed",
        4,
    ]
    status, result, progress = said(capsys, *words)
    assert status == 0
    assert (result["parent"], result["steps"]) == (None, 2)
    bundle = read_bundle(tmp_path / "out" / result["bundle"])
    assert (bundle.name, bundle.task) == ("mine", "classification")
    training = bundle.spec["training"]
    assert (training["hold_out"], training["recipe"]["seed"]) == ("fold:2/2", 4)
    assert "2 examples with 1 lesions: nodule 1, none 1\n" in progress
    assert "2 examples held out: nodule 1, none 1\n" in progress
    assert "held out after step 2: loss " in progress


@pytest.mark.slow
def test_all_folders_may_be_relative(
    samples: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--config", config.name, "--samples", samples.name, "--out", "runs", "--steps", 1]
    status, first, _ = said(capsys, *words)
    assert status == 0, first
    assert (tmp_path / "runs") in Path(first["bundle"]).parents
    further = [*words, "--seed", 2, "--from", Path(first["bundle"]).relative_to(tmp_path)]
    status, second, progress = said(capsys, *further)
    assert status == 0, second
    assert second["parent"] == first["hash"]
    number = len(read_weights(read_bundle(tmp_path / first["bundle"])))
    assert f"{number} of {number} tensors taken over\n" in progress


def test_a_network_of_another_kind_is_no_beginning(
    samples: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--config",
        config,
        "--samples",
        samples,
        "--out",
        tmp_path / "out",
        "--steps",
        1,
        "--from",
        "lung-nodules",
    ]
    status, result, _ = said(capsys, *words)
    assert (status, result["error"]["code"]) == (3, "nothing-taken-over")


def test_the_configurations_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    status, result, _ = said(capsys, "--list")
    assert status == 0
    assert {"mammogram-retinanet", "kidney-unet-b0", "lung-vgg-24", "photo-cascade-r50"} <= set(
        result["configurations"]
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "give either --package"),
        (["--package", "a"], "--package needs --from or --project"),
        (["--package", "a", "--from", "b", "--config", "c", "--samples", "d"], "give either --package"),
        (["--config", "lung-vgg-24"], "--config needs --samples"),
        (["--package", "a", "--from", "b", "--samples", "d"], "go with --config"),
        (["--package", "a", "--from", "b", "--fold", "1/2"], "go with --config"),
        (["--package", "a", "--from", "b", "--hold-out", "interval:0.15"], "go with --config"),
        (["--config", "lung-vgg-24", "--samples", "d", "--average", "0.4"], "go with --package"),
        (["--config", "lung-vgg-24", "--samples", "d", "--replay", "e"], "go with --package"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result, _ = said(capsys, *words, "--out", "out")
    assert (status, result["error"]["code"]) == (3, "usage")
    assert reason in result["error"]["message"]


def test_the_bundle_needs_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    status, result, _ = said(capsys, "--package", "a", "--from", "b")
    assert (status, result["error"]["code"]) == (3, "usage")
    assert "--out or --project is missing" in result["error"]["message"]


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "1", "a/b", "-1/3"])
def test_a_fold_is_one_of_two_or_more(fold: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--config", "lung-vgg-24", "--samples", "s", "--out", "o", f"--fold={fold}"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--hold-out", "interval:2"],
        ["--hold-out", "fold:0/2"],
        ["--hold-out", "interval:0.15", "--fold", "1/2"],
    ],
)
def test_what_cannot_be_held_out_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--config", "lung-vgg-24", "--samples", "s", "--out", "o", *words])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "fold:K/N" in told or "not allowed with" in told


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_steps_are_a_number_above_0(steps: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--package", "a", "--from", "b", "--out", "c", "--steps", steps])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    "words", [["--average", "1.2"], ["--replay-share", "half"], ["--weights", "0"], ["--rate", "-1"]]
)
def test_shares_weights_and_rates_have_limits(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["train", "--package", "a", "--from", "b", "--out", "c", *words])
    assert caught.value.code == 2


def test_a_project_keeps_the_model_as_a_proposal(
    package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = shutil.copytree(package.parent / "project", tmp_path / "project")
    words = [
        "--package",
        package,
        "--project",
        project,
        "--steps",
        1,
        "--average",
        0.4,
        "--replay-share",
        "none",
    ]
    status, result, progress = said(capsys, *words, "--rate", 1e-4)
    assert status == 0, result
    assert Path(result["bundle"]).parent == project / "bundles"
    assert result["parent"] == find_bundle("lung-nodules").hash
    training = read_bundle(Path(result["bundle"])).spec["training"]
    assert (training["average"], training["replay_share"], training["recipe"]["learning_rate"]) == (
        0.4,
        None,
        1e-4,
    )
    assert "examples for the network with" in progress
    with Project.open(project, read_only=True) as opened:
        (record,) = [one for one in opened.bundles() if one.origin == "trained"]
        assert record.hash == result["hash"]
        assert opened.current_bundle() is None
