"""Configurations made so small that each trains in a moment, and samples for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.configurations.reading import changed
from napari_medlab.models.training.configuration import Configuration
from napari_medlab.models.training.samples import Sample, write_sample

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATCH = {2: 64, 3: 32}
TOY_SIDES = {24: 8, 32: 12, 40: 16}


def at_toy_size(configuration: Configuration) -> Configuration:
    """Return a configuration with few features, small patches and two steps; its parts stay the same."""
    document = configuration.as_json()
    network = document["network"]
    network["arguments"] = changed(network["arguments"], SMALLER[network["name"]](network["arguments"]))
    _shrink_patches(document["sampler"]["arguments"])
    for change in document["augmentation"]:
        if change["name"] == "multi-scale":
            change["arguments"]["sizes"] = [[64, 64], [64, 128]]
    recipe = document["recipe"]
    recipe |= {
        "steps": 2, "batch_size": 4 if configuration.task == "classification" else 2, "precision": "float32",
        "accumulate": min(recipe["accumulate"], 2), "validation": None,
        "mining_every": None if recipe["mining_every"] is None else 1,
    }  # fmt: skip
    return Configuration.from_json(document)


def _shrink_patches(arguments: dict[str, Any]) -> None:
    if "shape" in arguments:
        arguments["shape"] = [PATCH[len(arguments["shape"])]] * len(arguments["shape"])
    for inner in ("old", "new"):
        if inner in arguments:
            _shrink_patches(arguments[inner]["arguments"])


def _backbone(arguments: dict[str, Any]) -> dict[str, Any]:
    return {**arguments["backbone"], "name": "resnet10", "planes": [4, 4, 8, 8]}


SMALLER: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "centre-heatmap": lambda _: {"channels": [4, 4, 4]},
    "one-stage": lambda given: {"backbone": _backbone(given), "channels": 8, "convs": 1},
    "two-stage": lambda given: {
        "backbone": _backbone(given), "channels": 8, "head": {"hidden": 8}, "rpn": {"before": 50, "after": 20},
    },
    "unet": lambda _: {"channels": [4, 4, 8]},
    "efficient-unet": lambda _: {"encoder": "b0", "decoder_channels": [8, 8, 8, 4, 4]},
    "linknet": lambda _: {"encoder": "b0"},
    "cube-classifier": lambda given: {
        "channels": [4, 4, 4], "hidden": 8, "sides": [TOY_SIDES[side] for side in given["sides"]],
    },
}  # fmt: skip


def toy_samples(configuration: Configuration) -> list[Sample]:
    """Return samples that fit a configuration's task, dimensions, channels and classes; every third holds nothing."""
    arguments = configuration.network.arguments
    dims, channels = arguments["spatial_dims"], arguments.get("in_channels", 1)
    side = max(arguments["sides"]) if configuration.task == "classification" else 2 * PATCH[dims]
    rng = np.random.default_rng(0)
    return [_sample(rng, (channels, *([side] * dims)), configuration, number) for number in range(6)]


def toy_files(configuration: Configuration, folder: Path) -> list[Path]:
    """Write these samples into two folders, those in the second of which a mixed sampler takes for new, and return them."""
    names = ["old", *configuration.sampler.arguments.get("new_in", ["more"])[:1]]
    paths = []
    for number, sample in enumerate(toy_samples(configuration)):
        path = folder / names[number // 3] / f"{number}.npz"
        path.parent.mkdir(exist_ok=True, parents=True)
        write_sample(path, sample)
        paths.append(path)
    return paths


def _sample(
    rng: np.random.Generator, shape: tuple[int, ...], configuration: Configuration, number: int
) -> Sample:
    image = rng.uniform(0, 0.2, shape).astype(np.float32)
    dims, classes = len(shape) - 1, len(configuration.classes)
    is_empty = number % 3 == 0
    size = min(8, shape[1] // 2)
    start = rng.integers(shape[1] // 4, shape[1] // 2, dims)
    place = (slice(None), *(slice(s, s + size) for s in start))
    if not is_empty:
        image[place] += 0.7
    group = f"patient {number}"
    if configuration.task == "classification":
        return Sample.without_boxes(image, label=int(not is_empty), group=group)
    mask = np.zeros((classes, *shape[1:]), np.uint8)
    mask[place] = not is_empty
    box = np.concatenate([start - 0.5, start + size - 0.5]).astype(np.float32)[None]
    if is_empty:
        return Sample.without_boxes(image, mask=mask, group=group)
    labels = np.asarray([number % classes], np.int64)
    return Sample(image, box, labels, np.zeros(1, np.bool_), mask=mask, group=group)
