"""What a training writes is opened and used, for every task: two steps, a bundle, a model, a phantom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from toy_sizes import at_toy_size, toy_files

from napari_medlab.annotations import Candidate
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.jobs import CancelToken
from napari_medlab.models.augmentation.symmetries import group
from napari_medlab.models.bundles import Bundle, card_of, load_network, read_bundle, write_bundle
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.networks import build_network
from napari_medlab.models.predicting import BundleClassifier, BundleDetector, BundleSegmenter, open_model
from napari_medlab.models.training.process import train_configuration
from napari_medlab.models.workflows.retrain import Experiment, experiment_path
from napari_medlab.phantoms.chest_ct import Site, chest_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.configuration import Configuration


def trained(configuration: Configuration, folder: Path) -> Bundle:
    paths = toy_files(configuration, folder / "samples")
    experiment = Experiment(configuration, sorted({path.parent for path in paths}))
    out = folder / "out"
    out.mkdir()
    request: dict[str, Any] = {
        **experiment.as_request(), "out": str(out), "checkpoint": str(experiment_path(experiment, out)), "device": "cpu",
    }  # fmt: skip
    *_, done = train_configuration(request, CancelToken())
    return read_bundle(out / done["folder"])


def ct() -> Image:
    phantom = chest_phantom(7, "ct", Site(shape=(20, 48, 48)))
    return Image.of_arrays([phantom.volume], phantom.grid)


def photo() -> Image:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return Image.of_arrays([pixels], Grid.axis_aligned((64, 64), (1.0, 1.0), unit="px"), kind="photo")


@pytest.mark.parametrize(
    "name", ["nodule-centre-heatmap", "nodule-fcos", "nodule-unet", "lung-vgg-24", "lung-dense-32"]
)
def test_every_bundle_that_training_writes_can_be_used(name: str, tmp_path: Path) -> None:
    configuration = at_toy_size(read_configuration(name))
    tiling = {**configuration.tiling, "core": [16, 16, 16], "halo": 8} if configuration.tiling else {}
    bundle = trained(replace(configuration, tiling=tiling), tmp_path)
    model = open_model(bundle, device="cpu", precision="float32")
    assert bundle.classes == configuration.classes == ("nodule",)
    assert f"{configuration.task.capitalize()} of: nodule." in card_of(bundle.spec)
    if isinstance(model, BundleClassifier):
        places = [
            Candidate("ct", (0.0, 0.0, 0.0), 0.5, 6.0, "nodule"),
            Candidate("ct", (5.0, 5.0, 9.0), 0.5, 6.0, "nodule"),
        ]
        scores = model.judge(ct(), places, CancelToken())
        assert len(scores) == 2
        assert all(0 < score < 1 for score in scores)
    elif isinstance(model, BundleSegmenter):
        list(model.segment(ct(), "ct", tmp_path / "mask.zarr", CancelToken()))
        store = MaskStore.open(tmp_path / "mask.zarr")
        assert (store.is_complete, store.classes) == (True, ("nodule",))
    else:
        assert isinstance(model, BundleDetector)
        found = [one for batch in model.detect(ct(), "ct", CancelToken()) for one in batch]
        assert {one.label for one in found} <= {"nodule"}


SIDE = 8
CUBES = {"sides": [SIDE], "channels": [4, 4], "body": "vgg", "pooling": "fully connected", "hidden": 4}


def cube_bundle(folder: Path, *, test_time: list[str], classes: int = 1, **more: Any) -> Bundle:  # noqa: ANN401 - parts of a spec
    """Write a classifier of cubes with weights that know left from right."""
    arguments = {**CUBES, "classes": classes}
    torch.manual_seed(1)
    spec = {
        "schema": 2, "name": "judge", "task": "classification", "network": {"name": "cube-classifier", "arguments": arguments},
        "preprocessing": {"spacing_mm": 1.0, "window": [-1000, 400]}, "postprocessing": {"test_time": test_time},
        "classes": ["nodule"] if classes == 1 else [f"kind {number}" for number in range(classes)], **more,
    }  # fmt: skip
    return write_bundle(folder, spec, build_network("cube-classifier", arguments).state_dict())


def uneven() -> Image:
    voxels = np.random.default_rng(3).integers(-1000, 400, (24, 24, 24)).astype(np.int16)
    return Image.of_arrays([voxels], Grid.axis_aligned((24, 24, 24), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("classes", [1, 3])
def test_a_classifier_averages_over_the_symmetries_that_its_bundle_names(
    tmp_path: Path, classes: int
) -> None:
    image, place = uneven(), [Candidate("case", (11.5, 11.5, 11.5), 0.5, 4.0)]
    bundle = cube_bundle(tmp_path / "turned", test_time=["cube rotations"], classes=classes)
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, BundleClassifier)
    (score,) = model.judge(image, place, CancelToken())
    cube = np.clip((np.asarray(image.arrays[0])[8:16, 8:16, 8:16] + 1000) / 1400, 0, 1).astype(np.float32)
    network = load_network(bundle)
    with torch.inference_mode():
        turned = [
            network(turn.apply(torch.from_numpy(cube)[None, None])) for turn in group("cube rotations", 3)
        ]
    each = [
        float(one.sigmoid()[0]) if classes == 1 else float(1 - one.softmax(dim=1)[0, 0]) for one in turned
    ]
    assert len(set(np.round(each, 6))) > 12
    assert score == pytest.approx(np.mean(each), abs=1e-5)


def test_a_classifier_beside_a_detector_averages_over_symmetries_of_its_own(tmp_path: Path) -> None:
    from napari_medlab.models.predicting.judging import Judge
    from napari_medlab.models.predicting.placing import Wanted

    image, place = uneven(), [Candidate("case", (11.5, 11.5, 11.5), 0.5, 4.0)]
    alone = cube_bundle(tmp_path / "turned", test_time=["cube rotations"])
    weights = {f"classifier.{name}": tensor for name, tensor in load_network(alone).state_dict().items()}
    part = {
        "network": alone.spec["network"], "spacing_mm": 1.0, "shape": [SIDE] * 3, "window": [-1000, 400],
        "test_time": ["cube rotations"],
    }  # fmt: skip
    arguments = {"channels": [4, 4]}
    spec = {**alone.spec, "task": "detection", "network": {"name": "centre-heatmap", "arguments": arguments},
            "postprocessing": {}, "classifier": part}  # fmt: skip
    del spec["weights_sha256"]
    both = write_bundle(
        tmp_path, spec, {**build_network("centre-heatmap", arguments).state_dict(), **weights}
    )
    judge = Judge.of_detector(both, Wanted("cpu", "float32"))
    assert judge is not None
    model = open_model(alone, device="cpu", precision="float32")
    assert isinstance(model, BundleClassifier)
    expected = model.judge(image, place, CancelToken())
    assert judge.probabilities(image, None, place, CancelToken()).tolist() == pytest.approx(
        expected, abs=1e-6
    )


def test_an_ensemble_of_classifiers_takes_the_largest_cube(tmp_path: Path) -> None:
    members = [{"name": "cube-classifier", "arguments": {**CUBES, "sides": [side]}} for side in (8, 12)]
    network = {"name": "ensemble", "arguments": {"members": members}}
    spec = {**cube_bundle(tmp_path / "one", test_time=[]).spec, "network": network}
    del spec["weights_sha256"]
    bundle = write_bundle(tmp_path, spec, build_network("ensemble", network["arguments"]).state_dict())  # type: ignore[arg-type]
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, BundleClassifier)
    (score,) = model.judge(uneven(), [Candidate("case", (11.5, 11.5, 11.5), 0.5, 4.0)], CancelToken())
    assert 0 < score < 1


PLANAR = {"spatial_dims": 2, "in_channels": 3}
SCALE = {"factor": 1, "classes": [0], "channels": [4, 4]}
HEATMAP = {"name": "centre-heatmap", "arguments": {**PLANAR, "channels": [4, 4], "classes": 1}}


@pytest.mark.parametrize(
    ("network", "has_boxes"),
    [
        (HEATMAP, False),
        ({"name": "scaled-heatmap", "arguments": {**PLANAR, "scales": [SCALE]}}, False),
        ({"name": "ensemble", "arguments": {"members": [HEATMAP, HEATMAP]}}, False),
        ({"name": "ensemble", "arguments": {"members": [HEATMAP, HEATMAP], "join": "boxes"}}, False),
        ({"name": "one-stage", "arguments": {**PLANAR, "classes": 1, "backbone": {"name": "resnet10", "planes": [4, 4, 8, 8]},
                                             "channels": 8, "convs": 1, "anchor_free": {}}}, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("test_time", [[], ["flip x"]])
def test_outlines_are_drawn_of_boxes_that_were_measured(
    tmp_path: Path, network: dict[str, Any], has_boxes: bool, test_time: list[str]
) -> None:
    spec = {
        "schema": 2, "name": "planar", "task": "detection", "network": network, "preprocessing": {"kind": "photo"},
        "tiling": {"core": [128, 128], "halo": 0}, "classes": ["mass"],
        "postprocessing": {"threshold": 0.0, "most": 3, "test_time": test_time},
    }  # fmt: skip
    torch.manual_seed(0)
    bundle = write_bundle(tmp_path, spec, build_network(network["name"], network["arguments"]).state_dict())
    model = open_model(bundle, device="cpu", precision="float32")
    assert isinstance(model, BundleDetector)
    batches = list(model.detect(photo(), "case", CancelToken()))
    assert sum(map(len, batches)) > 0
    assert bool([region for batch in batches for region in batch.regions]) is has_boxes


def test_a_lower_threshold_finds_more(tmp_path: Path) -> None:
    spec = {
        "schema": 2, "name": "planar", "task": "detection", "network": HEATMAP, "preprocessing": {"kind": "photo"},
        "tiling": {"core": [128, 128], "halo": 0}, "classes": ["mass"], "postprocessing": {"threshold": 0.9, "most": 9},
    }  # fmt: skip
    bundle = write_bundle(tmp_path, spec, build_network(HEATMAP["name"], HEATMAP["arguments"]).state_dict())  # type: ignore[arg-type]
    found = [
        sum(len(batch) for batch in model.detect(photo(), "case", CancelToken()))
        for model in (
            open_model(bundle, device="cpu", precision="float32", threshold=at) for at in (None, 0.0)
        )
        if isinstance(model, BundleDetector)
    ]
    assert found == [0, 9]
