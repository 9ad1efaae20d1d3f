"""Small packages of hard examples, and small bundles of every task for which they are."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.models.bundles import Bundle, write_bundle
from napari_medlab.models.networks import build_network
from napari_medlab.models.training.parts import BundlePart, PartName
from napari_medlab.models.training.samples import Sample, write_sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CT = {"spacing_mm": 1.5, "window": [-1000.0, 400.0]}
SPECS: dict[str, dict[str, Any]] = {
    "scans": {
        "task": "detection", "classes": ["nodule"], "preprocessing": CT,
        "network": {"name": "centre-heatmap", "arguments": {"spatial_dims": 3, "channels": [4, 4], "classes": 1}},
        "classifier": {
            "network": {"name": "cube-classifier", "arguments": {"sides": [8], "channels": [4, 4]}}, "shape": [8, 8, 8],
            "spacing_mm": 1.0, "window": [-1000.0, 400.0], "fusion": {"rule": "geometric mean"},
        },
    },
    "mammograms": {
        "task": "detection", "classes": ["speck", "mass"],
        "preprocessing": {"kind": "mammogram", "spacing_mm": 0.2, "percentiles": [0.0, 99.5], "channels": 1},
        "network": {
            "name": "scaled-heatmap",
            "arguments": {"spatial_dims": 2, "scales": [
                {"factor": 1, "classes": [0], "channels": [4, 4]}, {"factor": 2, "classes": [1], "channels": [4, 4]},
            ]},
        },
    },
    "slides": {
        "task": "segmentation", "classes": ["glomerulus"], "postprocessing": {"threshold": 0.4},
        "preprocessing": {"kind": "slide", "spacing_um": 4.0, "channels": 3},
        "network": {"name": "unet", "arguments": {"spatial_dims": 2, "in_channels": 3, "classes": 1, "channels": [4, 4]}},
    },
    "cubes": {
        "task": "classification", "classes": ["nodule"], "preprocessing": {"spacing_mm": 1.0, "window": [-1000.0, 400.0]},
        "network": {"name": "cube-classifier", "arguments": {"sides": [8], "channels": [4, 4]}},
    },
}  # fmt: skip
"""Bundles of every task, as small as they may be."""


def small_bundle(folder: Path, kind: str) -> Bundle:
    """Write one of the bundles of :data:`SPECS` with random weights, and return it."""
    torch.manual_seed(0)
    spec = {"schema": 2, "name": kind, "parent": None, "training": {}, "figures": {}, "licence": "", "limits": "",
            "created": "2026-01-01T00:00:00+00:00", "postprocessing": {}, "tiling": {}, **SPECS[kind]}  # fmt: skip
    weights = build_network(spec["network"]["name"], spec["network"]["arguments"]).state_dict()
    if "classifier" in spec:
        network = spec["classifier"]["network"]
        own = build_network(network["name"], network["arguments"]).state_dict()
        weights |= {f"classifier.{name}": tensor for name, tensor in own.items()}
    return write_bundle(folder / kind, spec, weights)


def small_samples(part: BundlePart, count: int = 6, seed: int = 0) -> list[Sample]:
    """Return samples for a part of a bundle, every third of which holds nothing."""
    return [_sample(np.random.default_rng([seed, number]), part, number) for number in range(count)]


def write_package(
    folder: Path, bundle: Bundle, samples: Sequence[Sample] | None = None, *, part: PartName = "network",
    reasons: Sequence[str] = (), validation: int = 0, **about: Any,  # noqa: ANN401 - in place of what the manifest says
) -> Path:  # fmt: skip
    """Write a package for a bundle; the last ``validation`` of its samples are held out."""
    of_part = BundlePart(bundle, part)
    chosen = small_samples(of_part) if samples is None else samples
    (folder / "examples").mkdir(parents=True)
    rows = []
    for number, sample in enumerate(chosen):
        file = f"examples/{number:05d}.npz"
        write_sample(folder / file, sample)
        rows.append({
            "file": file, "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(), "case_id": sample.group,
            "reason": reasons[number] if reasons else "false positive", "weight": sample.weight,
            "split": "validation" if number >= len(chosen) - validation else "train", "fold": None,
        })  # fmt: skip
    manifest = {
        "schema": 2, "format": "hard", "task": of_part.task, "part": part, "classes": list(of_part.classes),
        "preprocessing": of_part.preprocessing, "model": {"name": bundle.name, "hash": bundle.hash}, "examples": rows,
        **about,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _sample(rng: np.random.Generator, part: BundlePart, number: int) -> Sample:
    arguments = part.network["arguments"]
    dims, channels = arguments.get("spatial_dims", 3), arguments.get("in_channels", 1)
    side = 10 if part.task == "classification" else 16
    image = rng.uniform(0, 0.2, (channels, *[side] * dims)).astype(np.float32)
    start = rng.integers(3, 7, dims)
    place = (slice(None), *(slice(s, s + 4) for s in start))
    is_empty = number % 3 == 0
    if not is_empty:
        image[place] += 0.7
    group = f"patient {number}"
    if part.task == "classification":
        return Sample.without_boxes(image, label=int(not is_empty), group=group)
    mask = None
    if part.task == "segmentation":
        mask = np.zeros((len(part.classes), side, side), np.uint8)
        mask[place] = not is_empty
    if is_empty:
        return Sample.without_boxes(image, mask=mask, group=group)
    box = np.concatenate([start - 0.5, start + 3.5]).astype(np.float32)[None]
    labels = np.asarray([number % len(part.classes)], np.int64)
    return Sample(image, box, labels, np.zeros(1, np.bool_), mask=mask, group=group)
