"""What a training process does with its requests; run in this process, but for one that is run in its own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from phantom_projects import shipped
from toy_sizes import at_toy_size, toy_files, toy_samples

from napari_medlab.errors import InputRefusedError, MissingExtraError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import load_network, read_bundle
from napari_medlab.models.bundles.loading import read_weights
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.training.holding_out import HoldOut
from napari_medlab.models.training.metrics import metrics_path
from napari_medlab.models.training.process import train_configuration
from napari_medlab.models.training.recipe import FINE_TUNING, ValidationSettings
from napari_medlab.models.training.sample_folders import find_samples
from napari_medlab.models.training.samples import read_sample, write_sample
from napari_medlab.models.workflows.retrain import Experiment, experiment_path, train_experiment

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.configuration import Configuration

RECIPE = replace(FINE_TUNING, steps=2, batch_size=1, precision="float32")


def small(name: str, steps: int = 3) -> Configuration:
    toy = at_toy_size(read_configuration(name))
    metric = {"segmentation": "dice", "detection": "cpm", "classification": "auc"}[toy.task]
    validation = ValidationSettings(every=2, metric=metric, better="higher")
    return replace(toy, recipe=replace(toy.recipe, steps=steps, validation=validation))


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    folder = tmp_path / "samples"
    folder.mkdir()
    for number, sample in enumerate(toy_samples(small("kidney-small"))):
        write_sample(folder / f"{number}.npz", sample)
    return folder


def request_of(experiment: Experiment, out: Path) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return {
        **experiment.as_request(),
        "out": str(out),
        "checkpoint": str(experiment_path(experiment, out)),
        "device": "cpu",
    }


def test_a_configuration_is_trained_on_samples_and_validated_on_a_fold(samples: Path, tmp_path: Path) -> None:
    experiment = Experiment(small("kidney-small"), [samples], HoldOut(fold=(1, 3)))
    events = list(train_configuration(request_of(experiment, tmp_path / "out"), CancelToken()))
    data, *steps, done = events
    assert (data["examples"], data["held_out"], data["left_out"], data["taken_over"]) == (4, 2, 0, 0)
    sides = data["classes"]
    assert sides["training"]["glomerulus"] + sides["held_out"]["glomerulus"] == 4
    assert data["lesions"] == sides["training"]["glomerulus"]
    assert [set(step["metrics"] or {}) for step in steps] == [
        set(),
        {"loss", "dice", "threshold", "dice_mean", "dice_worst"},
        {"loss", "dice", "threshold", "dice_mean", "dice_worst"},
    ]
    bundle = read_bundle(tmp_path / "out" / done["folder"])
    assert (bundle.name, bundle.task, bundle.parent) == ("kidney-small", "segmentation", None)
    training = bundle.spec["training"]
    assert training["configuration"] == experiment.configuration.as_json()
    assert training["configuration_sha256"] == experiment.configuration.hash
    assert (training["hold_out"], training["samples"], training["seed"]) == ("fold:1/3", 6, 0)
    assert training["data"] == [find_samples([samples]).sha256]
    best = max((step["metrics"] for step in steps if step["metrics"]), key=lambda look: look["dice"])
    assert bundle.postprocessing["threshold"] == best["threshold"]
    assert load_network(bundle) is not None


def test_a_training_may_begin_with_the_weights_of_another(samples: Path, tmp_path: Path) -> None:
    first = Experiment(small("kidney-small", 1), [samples])
    *_, done = train_configuration(request_of(first, tmp_path / "out"), CancelToken())
    parent = read_bundle(tmp_path / "out" / done["folder"])
    second = replace(first, parent=parent)
    events = list(train_configuration(request_of(second, tmp_path / "out"), CancelToken()))
    assert events[0]["taken_over"] == events[0]["tensors"] == len(read_weights(parent))
    assert read_bundle(tmp_path / "out" / events[-1]["folder"]).parent == parent.hash


def test_a_parent_of_another_network_is_refused(samples: Path, tmp_path: Path) -> None:
    experiment = Experiment(small("kidney-small"), [samples], parent=shipped())
    with pytest.raises(InputRefusedError, match="nothing would be taken over") as caught:
        list(train_configuration(request_of(experiment, tmp_path / "out"), CancelToken()))
    assert caught.value.code == "nothing-taken-over"


def test_frames_are_held_out_at_intervals(samples: Path, tmp_path: Path) -> None:
    for path in samples.iterdir():
        write_sample(path, replace(read_sample(path), group="dive"))
    experiment = Experiment(small("kidney-small"), [samples], HoldOut(interval=0.2, gap=1))
    data, *_, done = train_configuration(request_of(experiment, tmp_path / "out"), CancelToken())
    assert (data["examples"], data["held_out"], data["left_out"]) == (3, 1, 2)
    training = read_bundle(tmp_path / "out" / done["folder"]).spec["training"]
    assert training["hold_out"] == "interval:0.2:1"


def test_boxes_are_told_against_anchors_before_anything_is_trained(tmp_path: Path) -> None:
    configuration = small("photo-retinanet-r50")
    paths = toy_files(configuration, tmp_path / "samples")
    experiment = Experiment(configuration, sorted({path.parent for path in paths}))
    told = next(train_configuration(request_of(experiment, tmp_path / "out"), CancelToken()))
    assert told["boxes"] == {
        "smallest": 8,
        "median": 8,
        "largest": 8,
        "smallest_anchor": 32,
        "share_below": 1,
    }
    assert sum(told["classes"]["training"].values()) == 4
    assert told["classes"]["held_out"] == dict.fromkeys(configuration.classes, 0)


@pytest.mark.slow
def test_an_experiment_is_stopped_and_taken_up_in_a_process_of_its_own(samples: Path, tmp_path: Path) -> None:
    experiment, out, cancel = (
        Experiment(small("kidney-small", 6), [samples]),
        tmp_path / "out",
        CancelToken(),
    )
    events = train_experiment(experiment, out, cancel)
    assert [next(events)["event"] for _ in range(2)] == ["data", "step"]
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(events)
    state = experiment_path(experiment, out)
    assert sorted(out.iterdir()) == sorted([state, metrics_path(state)])
    rest = list(train_experiment(experiment, out, CancelToken()))
    numbers = [event["number"] for event in rest if event["event"] == "step"]
    assert numbers == list(range(numbers[0], 7))
    assert numbers[0] > 1
    (bundle,) = [event["bundle"] for event in rest if event["event"] == "bundle"]
    assert bundle.spec["training"]["environment"]["precision"] == "float32"
    assert not state.exists()


def test_states_are_named_by_all_that_a_training_depends_on(samples: Path, tmp_path: Path) -> None:
    experiment = Experiment(small("kidney-small"), [samples])
    others = [
        replace(experiment, hold_out=HoldOut(fold=(1, 3))), replace(experiment, hold_out=HoldOut(interval=0.3)),
        replace(experiment, parent=shipped()),
        replace(experiment, samples=[tmp_path]),
        replace(experiment, configuration=replace(experiment.configuration, recipe=RECIPE)),
    ]  # fmt: skip
    names = {experiment_path(one, tmp_path).name for one in (experiment, *others)}
    assert len(names) == 6


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        find_samples([tmp_path])
    assert caught.value.code == "no-samples"


def test_samples_hash_to_the_same_wherever_they_lie(samples: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(samples, tmp_path / "elsewhere")
    assert find_samples([samples]).sha256 == find_samples([elsewhere]).sha256
    (elsewhere / "0.npz").unlink()
    assert find_samples([samples]).sha256 != find_samples([elsewhere]).sha256


def test_event_files_need_their_package(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    request = request_of(Experiment(small("kidney-small"), [samples]), tmp_path / "out")
    with pytest.raises(MissingExtraError) as caught:
        list(train_configuration({**request, "tensorboard": str(tmp_path / "events")}, CancelToken()))
    assert "pip install tensorboard" in caught.value.hint


class Writer:
    """Stands in for TensorBoard's."""

    written: list[tuple[str, float, int]]

    def __init__(self, folder: str) -> None:
        self.folder = folder
        Writer.written = []

    def add_scalar(self, name: str, value: float, number: int) -> None:
        Writer.written.append((name, value, number))

    def close(self) -> None:
        Writer.written.append(("closed", 0.0, 0))


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> type[Writer]:
    import sys
    from types import ModuleType

    module = ModuleType("torch.utils.tensorboard.writer")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    package = ModuleType("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", module)
    return Writer


def test_steps_are_written_for_tensorboard(samples: Path, tmp_path: Path, writer: type[Writer]) -> None:
    request = request_of(Experiment(small("kidney-small"), [samples], HoldOut(fold=(1, 3))), tmp_path / "out")
    list(train_configuration({**request, "tensorboard": str(tmp_path / "events")}, CancelToken()))
    names = [name for name, _, number in writer.written if number == 2]
    assert names == [
        "loss/bce",
        "loss/total",
        "learning_rate",
        "validation/loss",
        "validation/dice",
        "validation/threshold",
        "validation/dice_mean",
        "validation/dice_worst",
    ]
    assert writer.written[-1][0] == "closed"
