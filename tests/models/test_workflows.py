"""From a run to a package to a new bundle, on a project of four small phantoms, with real worker processes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from phantom_projects import cases_of, made_up_run, make_phantom_project, shipped

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import load_network
from napari_medlab.models.training.packages import read_manifest
from napari_medlab.models.training.recipe import Recipe, ScheduleSettings
from napari_medlab.models.workflows.hard_examples import HardOptions, export_hard_examples, queue_of_run
from napari_medlab.models.workflows.retrain import checkpoint_path, retrain
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 12
"""Enough of them for the word to stop to arrive in between."""

RECIPE = Recipe(steps=STEPS, batch_size=1, schedule=ScheduleSettings(warmup_steps=1), freeze_norms=True)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the shipped model's made-up errors: everything is missed, and something false is seen."""
    folder = tmp_path_factory.mktemp("package")
    with Project.open(make_phantom_project(folder / "project"), reader="ann") as project:
        run_id = made_up_run(project, shipped().hash, set(), {case.case_id: 0.8 for case in project.cases()})
        for part in ("network", "classifier"):
            asked = HardOptions(fp_per_scan=8.0, rule=MiningRule("shown"), part=part)
            list(export_hard_examples(project, shipped(), run_id, folder / part, asked))
    return folder / "network"


def test_the_queue_and_the_package_hold_training_cases_alone(package: Path) -> None:
    with Project.open(package.parent / "project", read_only=True) as project:
        train, (run,) = set(cases_of(project, "train")), project.runs()
        queue = queue_of_run(project, run.run_id, 8.0)
    assert {item.case_id for item in queue} == train
    assert [item.kind for item in queue] == ["fp", "fn", "fp"]
    about = read_manifest(package).about
    assert {example["case_id"] for example in about["examples"]} <= train
    assert {example["reason"] for example in about["examples"]} == {"miss", "false positive", "replay"}


def test_the_classifier_s_package_trains_the_classifier(package: Path, tmp_path: Path) -> None:
    recipe = Recipe(steps=2, batch_size=2, schedule=ScheduleSettings(warmup_steps=1))
    folder = package.parent / "classifier"
    events = list(retrain([folder], shipped(), tmp_path / "bundles", recipe, CancelToken()))
    (bundle,) = [event["bundle"] for event in events if event["event"] == "bundle"]
    old, new = load_network(shipped()).state_dict(), load_network(bundle).state_dict()
    assert all(bool((old[name] == new[name]).all()) for name in old)
    assert bundle.hash != shipped().hash


@pytest.mark.slow
def test_retraining_is_stopped_taken_up_and_gives_a_child_of_the_old_bundle(
    package: Path, tmp_path: Path
) -> None:
    parent, out, cancel = shipped(), tmp_path / "bundles", CancelToken()
    stopped = retrain([package], parent, out, RECIPE, cancel)
    assert [next(stopped)["event"] for _ in range(2)] == ["data", "step"]
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(stopped)
    checkpoint = checkpoint_path([package], parent, out, RECIPE)
    assert checkpoint.exists()
    assert not any(path.is_dir() for path in out.iterdir())

    events = list(retrain([package], parent, out, RECIPE, CancelToken()))
    steps = [event["number"] for event in events if event["event"] == "step"]
    assert steps == list(range(steps[0], STEPS + 1))
    assert steps[0] > 1
    (bundle,) = [event["bundle"] for event in events if event["event"] == "bundle"]
    assert bundle.spec["parent"] == parent.hash
    assert bundle.hash != parent.hash
    assert bundle.folder.parent == out
    assert bundle.spec["training"]["recipe"] == json.loads(json.dumps(RECIPE.as_json()))
    assert load_network(bundle) is not None
    assert "this card makes no claim" in (bundle.folder / "CARD.md").read_text()
    assert not checkpoint.exists()


def test_a_package_that_was_changed_is_not_trained_on(package: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(package, tmp_path / "changed")
    crop = changed / "examples" / "00000.npz"
    crop.write_bytes(crop.read_bytes()[:-1] + b"?")
    with pytest.raises(InputRefusedError) as caught:
        list(retrain([changed], shipped(), tmp_path / "bundles", RECIPE, CancelToken()))
    assert caught.value.code == "hash"
