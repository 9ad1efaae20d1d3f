from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from toy_sizes import at_toy_size, toy_files

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.augmentation import build_transforms
from napari_medlab.models.configurations import list_configurations, read_configuration
from napari_medlab.models.configurations.reading import changed
from napari_medlab.models.networks import build_network
from napari_medlab.models.training.configuration import Configuration
from napari_medlab.models.training.loop import Step, train
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.samplers import build_sampler

if TYPE_CHECKING:
    from pathlib import Path

NAMES = list(list_configurations())


TRAINED: dict[str, list[Step]] = {}
"""What was trained already: rows that differ in what a training of two steps does not see are trained once."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:The highest scored negatives alone")
def test_every_configuration_trains(name: str, tmp_path: Path) -> None:
    configuration = at_toy_size(read_configuration(name))
    unseen = {"name": "", "note": "", "preprocessing": {}, "postprocessing": {}, "tiling": {}}
    seen = json.dumps({**configuration.as_json(), **unseen}, sort_keys=True)
    steps = TRAINED.get(seen) or trained(configuration, toy_files(configuration, tmp_path))
    TRAINED[seen] = steps
    assert len(steps) == 2
    assert all(math.isfinite(value) for step in steps for value in step.losses.values())


def trained(configuration: Configuration, samples: list[Path]) -> list[Step]:
    torch.manual_seed(0)
    network = build_network(configuration.network.name, configuration.network.arguments)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    objective = build_objective(configuration.objective.name, configuration.objective.arguments)
    sampler = build_sampler(configuration.sampler.name, samples, configuration.sampler.arguments)
    transforms = build_transforms(configuration.as_json()["augmentation"])
    steps: list[Step] = []
    train(
        network, objective, sampler, configuration.recipe, CancelToken(), steps.append, transforms=transforms
    )
    assert any(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    return steps


@pytest.mark.parametrize("name", [f"kidney-{kind}-b{n}" for kind in ("unet", "linknet") for n in range(8)])
def test_every_encoder_is_there(name: str) -> None:
    configuration = read_configuration(name)
    with torch.device("meta"):  # only shapes are computed: the largest have 67 million weights
        network = build_network(configuration.network.name, configuration.network.arguments)
    assert sum(parameter.numel() for parameter in network.parameters()) > 3_000_000


def test_the_rows_of_all_tables_are_there() -> None:
    kinds = {name.split("-")[0] for name in NAMES}
    assert kinds == {"kidney", "lung", "mammogram", "nodule", "photo"}
    assert all(list_configurations().values()), "every row says what it tries"
    hashes = {replace(read_configuration(name), name="").hash for name in NAMES}
    assert len(hashes) == len(NAMES), "no row is another one again"


def test_a_row_is_what_it_is_based_on_but_for_its_change() -> None:
    base, row = (
        read_configuration("mammogram-retinanet").as_json(),
        read_configuration("mammogram-low-iou").as_json(),
    )
    assert row["objective"]["arguments"].pop("matcher") == {"name": "iou", "positive": 0.3, "negative": 0.2}
    assert base["objective"]["arguments"].pop("matcher") == {"name": "iou", "positive": 0.5, "negative": 0.4}
    assert row.pop("name") == "mammogram-low-iou"
    assert row.pop("note").startswith("Positive from 0.3")
    assert {**base, **row} == base


def test_a_change_goes_down_into_objects_and_replaces_what_is_named_anew() -> None:
    base: dict[str, Any] = {"a": {"name": "x", "arguments": {"p": 1, "q": 2}}, "list": [1], "n": 1}
    assert changed(base, {"a": {"arguments": {"p": 3}}})["a"] == {"name": "x", "arguments": {"p": 3, "q": 2}}
    assert changed(base, {"a": {"name": "y"}})["a"] == {"name": "y"}
    assert changed(base, {"list": {"append": [2]}})["list"] == [1, 2]
    assert changed(base, {"list": [3], "n": None}) == {**base, "list": [3], "n": None}
    assert base["list"] == [1]


def test_a_configuration_comes_back_from_json(tmp_path: Path) -> None:
    configuration = read_configuration("kidney-shifted")
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(configuration.as_json()))
    assert read_configuration(path) == configuration
    assert read_configuration(str(path)).hash == configuration.hash


def test_a_file_may_be_based_on_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"name": "mine", "base": "lung-dense-32", "change": {"recipe": {"seed": 7}}}))
    mine = read_configuration(path)
    assert (mine.name, mine.recipe.seed, mine.network) == (
        "mine",
        7,
        read_configuration("lung-dense-32").network,
    )


def test_the_hash_is_of_what_is_trained_and_not_of_the_note() -> None:
    document = read_configuration("lung-vgg-24").as_json()
    same = Configuration.from_json({**document, "note": "other words"})
    other = Configuration.from_json({**document, "recipe": {**document["recipe"], "seed": 1}})
    assert same.hash == Configuration.from_json(document).hash != other.hash


def mistakes(document: dict[str, Any]) -> list[str]:
    with pytest.raises(InputRefusedError) as caught:
        Configuration.from_json(document)
    assert caught.value.code == "configuration"
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


def test_every_mistake_is_told_with_its_path() -> None:
    document = read_configuration("mammogram-random-mask").as_json()
    document["augmentation"][3]["arguments"] = {"shares": [0.1, 0.5]}
    document["augmentation"].append({"name": "noise", "probability": 2})
    document["augmentation"].append({"name": "cutout", "arguments": {"holes": 0}})
    document["sampler"]["name"] = "lottery"
    document["recipe"]["optimiser"]["betas"] = [0.9]
    document["network"]["arguments"]["chanels"] = 8
    document["objective"]["arguments"]["matcher"] = {"name": "luck"}
    document["tiling"] = {"core": [64, 64], "overlap": 2}
    document["postprocessing"] = {"iuo": 0.5}
    document["preprocessing"]["colour"] = "blue"
    document["colour"] = "blue"
    del document["task"]
    told = mistakes(document)
    assert {line.split(": ")[0] for line in told} == {
        "augmentation[3].arguments.shares", "augmentation[4].probability", "augmentation[5].arguments", "sampler.name",
        "recipe.optimiser.betas", "network.arguments.chanels", "objective.arguments", "tiling", "postprocessing",
        "preprocessing", "colour", "task",
    }  # fmt: skip
    (unknown,) = [line for line in told if line.startswith("augmentation[3]")]
    assert unknown == (
        "augmentation[3].arguments.shares: is not known; known are share, no_drop, least_visible, blocks, lesions"
    )


def test_post_processing_is_refused_that_nothing_reads_for_the_task() -> None:
    for name, setting in (
        ("nodule-unet", "least_mm3"), ("nodule-unet", "merge_mm"), ("nodule-fcos", "least_voxels"), ("lung-vgg-24", "threshold"),
    ):  # fmt: skip
        document = read_configuration(name).as_json()
        document["postprocessing"][setting] = 5.0
        (told,) = mistakes(document)
        assert told.startswith(f"postprocessing: {setting} not known; known for {document['task']} are ")
    for name, settings in (
        ("nodule-unet", {"least_voxels": 3, "probabilities": "softmax", "least_volume_mm3": 4.0}),
        ("photo-faster-r50", {"merge_px": 3.0}),
    ):
        document = read_configuration(name).as_json()
        document["postprocessing"] |= settings
        assert settings.items() <= Configuration.from_json(document).postprocessing.items()


def test_every_output_has_a_class() -> None:
    for name in ("lung-vgg-24", "kidney-unet-b0", "mammogram-fcos", "nodule-centre-heatmap"):
        document = read_configuration(name).as_json()
        document["classes"] = ["none", *document["classes"]]
        (told,) = mistakes(document)
        assert told.startswith(
            f"classes: {len(document['classes'])} are named, and network.arguments.classes is "
        )
    document["network"] = {"name": "cube-classifier", "arguments": {"sides": [8], "classes": 2}}
    document |= {"task": "classification", "postprocessing": {}, "tiling": {}}
    document["objective"] = {"name": "classification", "arguments": {}}
    assert Configuration.from_json(document).classes == ("none", "nodule")


def test_a_classifier_reads_cubes_of_one_spacing() -> None:
    document = read_configuration("lung-vgg-24").as_json()
    document["preprocessing"] = {"spacing_mm": 1.0, "standardise": True}
    (told,) = mistakes(document)
    assert told == "preprocessing: standardise not known for cubes; known are kind, spacing_mm, window"
    document["preprocessing"] = {"spacing_mm": [1.0, 0.5, 0.5]}
    assert "cubes need one in mm for all axes" in mistakes(document)[0]


def test_the_samplers_inside_a_mixed_one_are_checked_with_their_paths() -> None:
    document = read_configuration("nodule-replay").as_json()
    document["sampler"]["arguments"] |= {
        "old": {"name": "lottery"},
        "new": {"name": "weighted", "arguments": {"times": 2}},
    }
    told = mistakes(document)
    assert {line.split(": ")[0] for line in told} == {
        "sampler.arguments.old.name", "sampler.arguments.new.arguments.times",
    }  # fmt: skip
    document["sampler"]["arguments"] |= {"old": {"name": "weighted"}, "new": "weighted"}
    assert mistakes(document) == ["sampler.arguments.new: expected an object with a name"]


@pytest.mark.parametrize(
    "document", [3, [], {}, {"network": 1, "augmentation": 2, "classes": "mass", "recipe": []}]
)
def test_what_is_no_configuration_is_refused(document: object) -> None:
    with pytest.raises(InputRefusedError):
        Configuration.from_json(document)


def test_unknown_names_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        read_configuration("mammogram-magic")
    assert caught.value.code == "unknown-configuration"
    assert "mammogram-retinanet" in caught.value.message
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InputRefusedError, match="no readable configuration"):
        read_configuration(broken)
    besides = tmp_path / "besides.json"
    besides.write_text(json.dumps({"base": "lung-vgg-24", "recipe": {}}))
    with pytest.raises(InputRefusedError, match="holds recipe besides"):
        read_configuration(besides)
