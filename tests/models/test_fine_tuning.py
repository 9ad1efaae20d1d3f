"""Training parts of bundles further: the right part, held shares, the same weights, exactly resumed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from example_packages import small_bundle, small_samples, write_package
from phantom_projects import shipped

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import find_bundle, load_network, read_bundle
from napari_medlab.models.bundles.loading import read_weights
from napari_medlab.models.training.averaging import mixed_with
from napari_medlab.models.training.examples import FineTuningOptions, gathered, sources_of
from napari_medlab.models.training.fine_tuning import (
    FINE_TUNING_OF,
    plan_of,
    rule_of,
    validated,
    with_still_parts,
)
from napari_medlab.models.training.metrics import read_metrics
from napari_medlab.models.training.parts import BundlePart, PartName
from napari_medlab.models.training.process import fine_tune
from napari_medlab.models.training.recipe import FINE_TUNING, FreezeSettings
from napari_medlab.models.training.sample_store import SampleStore
from napari_medlab.models.training.tuning_run import tuning_run
from napari_medlab.models.workflows.paused_trainings import PausedTraining, note_training, paused_trainings
from napari_medlab.models.workflows.retrain import checkpoint_path

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

RECIPE = replace(FINE_TUNING, steps=4, batch_size=2, learning_rate=1e-2, precision="float32")

KINDS: list[tuple[str, PartName]] = [
    ("scans", "network"), ("scans", "classifier"), ("mammograms", "network"), ("slides", "network"), ("cubes", "network"),
]  # fmt: skip


def request_of(package: Path, parent: Bundle, out: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of the request
    out.mkdir(exist_ok=True)
    usual = {"packages": [str(package)], "bundle": str(parent.folder), "out": str(out), "recipe": RECIPE.as_json(),
             "checkpoint": str(out / "state.checkpoint"), "device": "cpu"}  # fmt: skip
    return usual | more


def tuned(package: Path, parent: Bundle, out: Path, **more: Any) -> tuple[list[dict[str, Any]], Bundle]:  # noqa: ANN401
    events = list(fine_tune(request_of(package, parent, out, **more), CancelToken()))
    return events, read_bundle(out / events[-1]["folder"])


def same_weights(first: Bundle, second: Bundle) -> bool:
    one, other = read_weights(first), read_weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "part"), KINDS)
def test_the_part_of_the_package_is_trained_and_the_rest_is_kept(
    kind: str, part: PartName, tmp_path: Path
) -> None:
    parent = small_bundle(tmp_path, kind)
    package = write_package(tmp_path / "package", parent, part=part, validation=2)
    events, child = tuned(package, parent, tmp_path / "out")
    data, *steps, _ = events
    assert (data["part"], data["examples"], data["held_out"]) == (part, 4, 2)
    assert data["before"]["loss"] > 0
    assert [step["number"] for step in steps] == [1, 2, 3, 4]
    assert all(
        step["metrics"]["loss"] > 0 for step in steps
    )  # a look every eighth of the steps, here every step
    assert (child.parent, child.task, child.classifier) == (parent.hash, parent.task, parent.classifier)
    before, after = read_weights(parent), read_weights(child)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("classifier.") == (part == "classifier") for name in changed)
    training = child.spec["training"]
    assert (training["part"], training["examples"], training["seed"]) == (part, 4, 0)
    assert [len(digest) for digest in training["packages"]] == [64]
    assert training["data"] == [
        {"kind": "package", "sha256": training["packages"][0], "weight": 1.0, "replay": False}
    ]
    assert {"torch", "code_sha256", "commit", "threads", "napari-medlab"} <= set(training["environment"])
    assert load_network(child) is not None


def test_what_is_known_of_the_other_part_is_handed_on(tmp_path: Path) -> None:
    parent = shipped()
    package = write_package(tmp_path / "package", parent, _cubes(parent, 40), part="classifier")
    _, child = tuned(package, parent, tmp_path / "out")
    abouts = SampleStore(small_samples(BundlePart(child))).abouts
    for name in ("network", "classifier"):
        before, after = (plan_of(BundlePart(one, name), abouts, 8) for one in (parent, child))
        assert (before.objective, before.augmentation) == (after.objective, after.augmentation)
    assert plan_of(BundlePart(child), abouts, 8).objective.name == "centre-heatmap"


def _cubes(parent: Bundle, side: int) -> list[Any]:
    samples = small_samples(BundlePart(parent, "classifier"), 2)
    image = np.zeros((1, side, side, side), np.float32)
    return [replace(sample, image=image + number, label=number) for number, sample in enumerate(samples)]


@pytest.mark.parametrize("kind", ["mammograms", "slides", "cubes"])
def test_the_same_seed_gives_the_same_weights_and_another_does_not(kind: str, tmp_path: Path) -> None:
    parent = small_bundle(tmp_path, kind)
    package = write_package(tmp_path / "package", parent)
    first, second, other = (
        tuned(package, parent, tmp_path / str(number), recipe=replace(RECIPE, seed=seed).as_json())[1]
        for number, seed in enumerate((1, 1, 2))
    )
    assert same_weights(first, second)
    assert not same_weights(first, other)


class StopsAfter(CancelToken):
    """Is cancelled once it has been asked so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    @property
    def is_cancelled(self) -> bool:
        self.left -= 1
        if self.left < 0:
            self.cancel()
        return super().is_cancelled

    def check(self) -> None:
        if self.is_cancelled:
            super().check()


@pytest.mark.parametrize(
    ("kind", "validation", "asked"),
    [
        ("mammograms", 0, 1), ("mammograms", 0, 3), ("scans", 0, 2), ("cubes", 2, 10), ("slides", 0, 2),
        # in the look after the first step, before its end, and between the second and the third
        ("slides", 2, 6), ("slides", 2, 8), ("slides", 2, 14),
    ],
)  # fmt: skip
def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(
    kind: str, validation: int, asked: int, tmp_path: Path
) -> None:
    parent = small_bundle(tmp_path, kind)
    reasons = ["replay", "replay", *["false positive"] * 4]
    package = write_package(tmp_path / "package", parent, validation=validation, reasons=reasons)
    _, whole = tuned(package, parent, tmp_path / "whole")
    with pytest.raises(CancelledError):
        list(fine_tune(request_of(package, parent, tmp_path / "out"), StopsAfter(asked)))
    assert (tmp_path / "out" / "state.checkpoint").exists()
    _, resumed = tuned(package, parent, tmp_path / "out")
    assert same_weights(whole, resumed)
    assert whole.spec["training"]["validation"] == resumed.spec["training"]["validation"]
    courses = [
        [
            (line["number"], line["losses"])
            for line in read_metrics(folder / f"{one.folder.name}.metrics.jsonl")
        ]
        for folder, one in ((tmp_path / "whole", whole), (tmp_path / "out", resumed))
    ]
    assert courses[0] == courses[1]
    assert [number for number, _ in courses[0]] == [1, 2, 3, 4]


def test_half_of_every_batch_is_replayed(tmp_path: Path) -> None:
    parent = small_bundle(tmp_path, "cubes")
    reasons = ["false positive", *["replay"] * 5]
    package = write_package(tmp_path / "package", parent, reasons=reasons)
    drawn: dict[float | None, list[int]] = {}
    for share in (0.5, 0.25, 1.0, None):
        options = FineTuningOptions(replay_share=share)
        run = tuning_run(gathered(sources_of([package], options), parent), options, RECIPE, CancelToken()).run
        rng = np.random.default_rng(0)
        drawn[share] = [
            sum(sample.group != "patient 0" for sample in run.sampler.draw(rng, 8)) for _ in range(20)
        ]
    assert (set(drawn[0.5]), set(drawn[0.25]), set(drawn[1.0])) == ({4}, {2}, {8})
    assert len(set(drawn[None])) > 1


def test_the_parent_stays_in_the_weights_as_far_as_asked_for(tmp_path: Path) -> None:
    parent = small_bundle(tmp_path, "slides")
    package = write_package(tmp_path / "package", parent)
    _, whole = tuned(package, parent, tmp_path / "whole")
    options = FineTuningOptions(average=0.4)
    _, mixed = tuned(package, parent, tmp_path / "mixed", options=options.as_json())
    old, new, both = (load_network(one).state_dict() for one in (parent, whole, mixed))
    for name, tensor in both.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, 0.4 * old[name] + 0.6 * new[name], atol=2e-3)
    assert mixed.spec["training"]["average"] == 0.4
    half = mixed_with(
        {"w": torch.zeros(2), "n": torch.tensor(3)}, {"w": torch.ones(2), "n": torch.tensor(1)}, 0.25
    )
    assert half["w"].tolist() == [0.25, 0.25]
    assert half["n"] == 3


@pytest.mark.parametrize("name", ["lung-nodules", "mammography", "glomeruli"])
def test_the_models_that_ship_are_trained_as_they_were(name: str) -> None:
    bundle = find_bundle(name)
    part = BundlePart(bundle)
    abouts = SampleStore(small_samples(part, 3)).abouts
    plan = plan_of(part, abouts, 8)
    plans = bundle.spec["training"]["plans"]
    written = next(told for which, told in plans.items() if which != "classifier")
    assert plan.objective.name == written["objective"]["name"]
    assert [change.name for change in plan.augmentation] == [
        change["name"] for change in written["augmentation"]
    ]
    dims = 3 if name == "lung-nodules" else 2
    assert rule_of(part) is FINE_TUNING_OF[bundle.task, dims]
    assert plan.sampler.arguments["shape"] == [16] * dims


def test_what_finds_specks_stands_still_where_clusters_are_marked() -> None:
    specks, recipe = BundlePart(find_bundle("mammography")), FINE_TUNING_OF["detection", 2].recipe
    still = with_still_parts(recipe, specks)
    assert still.freeze == FreezeSettings(("parts.0.",), recipe.steps)
    names = [name for name, _ in specks.load().named_parameters()]
    assert any(name.startswith("parts.0.") for name in names)
    assert any(name.startswith("parts.1.") for name in names)
    assert with_still_parts(recipe, BundlePart(find_bundle("lung-nodules"))) is recipe


def test_patches_are_as_large_as_examples_and_no_larger_than_usual(tmp_path: Path) -> None:
    part = BundlePart(small_bundle(tmp_path, "slides"))
    sample = small_samples(part, 2)[1]
    for side, patch in ((16, 16), (100, 96), (700, 192), (5, 8)):
        image = np.zeros((3, side, side), np.float32)
        abouts = SampleStore([replace(sample, image=image)]).abouts
        assert plan_of(part, abouts, 8).sampler.arguments["shape"] == [patch, patch]


def test_a_network_that_nobody_knows_how_to_train_is_refused(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path, "cubes")
    spec = {**bundle.spec, "network": {**bundle.spec["network"], "name": "monai"}}
    part = BundlePart(replace(bundle, spec=spec))
    with pytest.raises(InputRefusedError) as caught:
        plan_of(part, SampleStore(small_samples(BundlePart(bundle))).abouts, 8)
    assert caught.value.code == "objective"


def test_the_loss_decides_where_nothing_else_can_be_told(tmp_path: Path) -> None:
    abouts = SampleStore(small_samples(BundlePart(small_bundle(tmp_path, "cubes")), 4)).abouts
    negatives = [about for about in abouts if not about.has_lesion]
    told = {
        "cpm": validated(RECIPE, "detection", abouts), "loss": validated(RECIPE, "detection", negatives),
        "auc": validated(RECIPE, "classification", abouts), "dice": validated(RECIPE, "segmentation", negatives),
    }  # fmt: skip
    for metric, recipe in told.items():
        assert recipe.validation is not None
        assert recipe.validation.metric == metric
        assert recipe.validation.better == ("lower" if metric == "loss" else "higher")
    assert validated(RECIPE, "detection", []).validation is None


def test_a_training_is_named_by_what_is_in_its_packages(tmp_path: Path) -> None:
    parent = small_bundle(tmp_path, "cubes")
    part = BundlePart(parent)
    one, other = (write_package(tmp_path / str(k), parent, small_samples(part, 3, seed=k)) for k in (1, 2))
    named = {
        checkpoint_path(packages, parent, tmp_path, recipe, options).name
        for packages, recipe, options in (
            ([one], RECIPE, FineTuningOptions()),
            ([one, other], RECIPE, FineTuningOptions()),
            ([one, other], RECIPE, FineTuningOptions(weights=(1, 2))),
            ([one], replace(RECIPE, seed=1), FineTuningOptions()),
            ([one], RECIPE, FineTuningOptions(average=0.5)),
            ([one], RECIPE, FineTuningOptions(replay_share=0.5)),
        )
    }
    assert len(named) == 6
    again = checkpoint_path([other, one], parent, tmp_path, RECIPE)
    assert again == checkpoint_path([one, other], parent, tmp_path, RECIPE)


def test_a_paused_training_is_found_again_and_can_be_given_up(tmp_path: Path) -> None:
    parent = small_bundle(tmp_path, "cubes")
    package, out = write_package(tmp_path / "package", parent), tmp_path / "out"
    options = FineTuningOptions(average=0.1)
    state = checkpoint_path([package], parent, out, RECIPE, options)
    paused = PausedTraining(state, (package.resolve(),), parent.folder, RECIPE, options)
    request = request_of(package, parent, out, **paused.as_json(), checkpoint=str(state))
    with pytest.raises(CancelledError):
        list(fine_tune(request, StopsAfter(3)))
    assert paused_trainings(out) == []
    note_training(paused)
    (out / "broken.training.json").write_text("{")
    (found,) = paused_trainings(out)
    assert found == paused
    assert [line["number"] for line in found.course] == [1, 2, 3]
    found.discard()
    assert [path.name for path in out.iterdir()] == ["broken.training.json"]
