"""Exporting and retraining on a project of four small phantoms, with real worker processes."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from phantom_projects import cases_of, made_up_run, make_phantom_project, shipped

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.hardcases.package import read_package
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import load_network
from napari_medlab.models.training.recipe import Recipe, ScheduleSettings
from napari_medlab.models.workflows.hard_examples import choose_examples, export_hard_examples, queue_of_run
from napari_medlab.models.workflows.retrain import checkpoint_path, retrain
from napari_medlab.project import Project
from napari_medlab.project.edits import set_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = 12
"""Enough of them for the word to stop to arrive in between."""

RECIPE = Recipe(steps=STEPS, batch_size=1, schedule=ScheduleSettings(warmup_steps=1), freeze_norms=True)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    folder = shutil.copytree(template, tmp_path / "project")
    with Project.open(folder, reader="ann") as opened:
        yield opened


@pytest.fixture(scope="module")
def package(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of the shipped model's made-up errors: everything is missed, and something false is seen."""
    folder = tmp_path_factory.mktemp("package")
    with Project.open(shutil.copytree(template, folder / "project"), reader="ann") as project:
        run_id = made_up_run(project, shipped().hash, set(), {case.case_id: 0.8 for case in project.cases()})
        list(export_hard_examples(project, shipped(), run_id, folder / "package", (8.0, MiningRule())))
    return folder / "package"


def test_the_queue_holds_training_cases_alone(project: Project) -> None:
    run_id = made_up_run(project, shipped().hash, set(), {case.case_id: 0.8 for case in project.cases()})
    queue = queue_of_run(project, run_id, 8.0)
    assert {item.case_id for item in queue} == set(cases_of(project, "train"))
    assert [item.kind for item in queue] == ["fp", "fn", "fp"]


@pytest.mark.parametrize("fp_per_scan", [0.5, 8.0])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_no_frozen_case_is_ever_chosen(project: Project, fp_per_scan: float, share: float) -> None:
    run_id = made_up_run(project, shipped().hash, set(), {case.case_id: 0.8 for case in project.cases()})
    for seed in range(10):
        rule = MiningRule(replay_share=share, seed=seed)
        examples = choose_examples(project, run_id, fp_per_scan, rule)
        assert examples
        assert {example.case_id for example in examples} <= set(cases_of(project, "train"))


def test_a_package_tells_where_it_comes_from_and_no_more(package: Path) -> None:
    manifest, crops = read_package(package)
    with Project.open(package.parent / "project", read_only=True) as project:
        train, test = cases_of(project, "train"), cases_of(project, "test")
        (export,) = project.exports()
        names = [case.name for case in project.cases()] + [case.patient_key for case in project.cases()]
        assert manifest["run_id"] == project.runs()[0].run_id
    text = (package / "manifest.json").read_text()
    assert {crop.record["case_id"] for crop in crops} <= set(train)
    assert not any(each in text for each in (*test, *names))
    assert set(manifest["split"].values()) == {"train"}
    assert manifest["model"] == {"name": "lung-nodules", "hash": shipped().hash}
    assert export.format == "hard"
    assert {crop.record["reason"] for crop in crops} == {"miss", "false positive", "replay"}


def test_crops_hold_the_voxels_of_their_case(package: Path) -> None:
    from napari_medlab.geometry import Grid
    from napari_medlab.images import open_image

    miss = next(crop for crop in read_package(package)[1] if crop.record["reason"] == "miss")
    with Project.open(package.parent / "project", read_only=True) as project:
        image = open_image(project.case_path(miss.record["case_id"])).oriented()
    grid = Grid(miss.volume.shape, np.asarray(miss.record["affine"]))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    nearest = np.rint(image.grid.to_index(grid.to_world(index))).astype(int)
    inside = image.grid.contains(nearest)
    voxels = np.asarray(image.levels[0])[tuple(nearest[inside].T)]
    assert inside.mean() > 0.5
    assert np.corrcoef(voxels, miss.volume[inside])[0, 1] > 0.9


def test_a_finding_in_doubt_is_no_lesion_in_any_crop(project: Project, tmp_path: Path) -> None:
    run_id = made_up_run(project, shipped().hash, set(), {case.case_id: 0.8 for case in project.cases()})
    missed = next(item for item in queue_of_run(project, run_id, 8.0) if item.kind == "fn")
    project.commit(
        set_verdict(missed.case_id, run_id, missed.object_id, before=None, after="reference wrong")
    )
    rule = MiningRule(replay_share=0.9)
    list(export_hard_examples(project, shipped(), run_id, tmp_path / "package", (8.0, rule)))
    crops = read_package(tmp_path / "package")[1]
    assert missed.object_id not in {crop.record["object_id"] for crop in crops}
    boxes = [box for crop in crops for box in crop.record["boxes"] if box["finding_id"] == missed.object_id]
    assert all(box["ignored"] for box in boxes)


def test_nothing_to_write_is_said(project: Project, tmp_path: Path) -> None:
    run_id = made_up_run(project, shipped().hash, {case.case_id for case in project.cases()})
    with pytest.raises(InputRefusedError) as caught:
        list(export_hard_examples(project, shipped(), run_id, tmp_path / "package", (1.0, MiningRule())))
    assert caught.value.code == "empty"
    assert project.exports() == []


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
    crop = changed / "crops" / "00000.nii.gz"
    crop.write_bytes(crop.read_bytes()[:-1] + b"?")
    with pytest.raises(InputRefusedError) as caught:
        list(retrain([changed], shipped(), tmp_path / "bundles", RECIPE, CancelToken()))
    assert caught.value.code == "hash"
