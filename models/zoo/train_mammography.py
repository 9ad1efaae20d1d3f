"""Make the shipped mammography detector: masses, and clusters of calcifications by their specks.

Run again by anyone: ``python -m napari_medlab.models.zoo.train_mammography --work DIR --out DIR``. About half an hour on
two cores; what the work folder holds already (phantoms, checkpoints, weights) is not made again.

A network that marks the centres of clusters does not learn them: there is nothing at a cluster's centre. One that marks
every speck, at full resolution, does, and specks that lie together are a cluster. Masses are looked for by a second
network at a quarter of the resolution. Both are trained by themselves and put side by side.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation import froc, match
from napari_medlab.models.detection.clustering import cluster_candidates
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.recipe import FROM_SCRATCH
from napari_medlab.models.training.samplers import PatchSampler
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.zoo.raw_cases import RawCase, raw_cases
from napari_medlab.models.zoo.workshop import (
    Plan,
    arguments,
    common_spec,
    detected,
    figures_of,
    say,
    shortened,
    trained,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle

FIRST_TRAINING_SEED, TRAINING_EXAMS = 10_000, 320
FIRST_VALIDATION_SEED, VALIDATION_EXAMS = 15_000, 20
FIRST_HELD_OUT_SEED, HELD_OUT_EXAMS = 20_000, 25
SECOND_SITE_SEED = 25_000

SPACING_MM, MASS_FACTOR = 0.2, 4
CLASSES = ["speck", "mass", "calcification"]
"""The last one is what specks become."""
HEALTHY_WEIGHTS = {1: 0.5, MASS_FACTOR: 0.25}
"""A view without a lesion is drawn less often: most of every other view is healthy too. Specks are like more of it."""
SPECK_PX = 4.0
"""The size that a speck is given: the blur of the detector makes all of them about as large."""
LIMITS_OF_GREY = (0.0, 99.5)
"""Percentiles that become 0 and 1: detectors and display curves differ."""

SPECK_CHANNELS, MASS_CHANNELS = [16, 32, 64, 96, 96], [16, 32, 64, 96, 96]
AUGMENTATION: list[dict[str, Any]] = [
    {"name": "symmetries", "arguments": {"group": "square"}},
    {"name": "contrast", "arguments": {"gamma": [0.8, 1.25]}, "probability": 0.5},
    {"name": "brightness", "arguments": {"gain": [0.9, 1.1], "shift": [-0.04, 0.04]}},
    {"name": "noise", "arguments": {"deviation": 0.01}, "probability": 0.5},
]


def _plan(channels: list[int], recipe: dict[str, Any], augmentation: list[dict[str, Any]]) -> Plan:
    return Plan(
        network={
            "name": "centre-heatmap",
            "arguments": {"spatial_dims": 2, "channels": channels, "classes": 1},
        },
        objective={"name": "centre-heatmap", "arguments": {"sigma_cells": [0.6, 4.0]}},
        augmentation=augmentation,
        recipe=replace(FROM_SCRATCH, **recipe),
    )


SPECKS = _plan(SPECK_CHANNELS, {"steps": 1100, "batch_size": 4}, AUGMENTATION)
MASSES = _plan(
    MASS_CHANNELS, {"steps": 1200, "batch_size": 8},
    [*AUGMENTATION, {"name": "affine", "arguments": {"degrees": 15, "scale": [0.85, 1.2]}, "probability": 0.4}],
)  # fmt: skip
SPECK_PATCH, MASS_PATCH = (320, 320), (160, 160)

NETWORK = {
    "name": "scaled-heatmap",
    "arguments": {"spatial_dims": 2, "scales": [
        {"factor": 1, "classes": [0], "channels": SPECK_CHANNELS},
        {"factor": MASS_FACTOR, "classes": [1], "channels": MASS_CHANNELS},
    ]},
}  # fmt: skip
POSTPROCESSING: dict[str, Any] = {"threshold": 0.05, "most": 300, "merge_mm": 0.3}
CLUSTER = {"from": "speck", "into": "calcification", "least": 3, "threshold": 0.01}
REACHES_MM, SPECK_THRESHOLDS = (2.5, 3.0, 4.0, 5.0), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
"""What is tried on validation exams."""
LIMITS = (
    "Trained on procedural phantoms alone: nothing here speaks of clinical accuracy. The phantoms' specks stand out more "
    "clearly than faint amorphous calcifications do in life, and there is neither a vessel that calcifies nor a clip."
)


def main(given: Sequence[str] | None = None) -> None:
    """Make the bundle."""
    options = arguments(__doc__, given)
    count, held_out = shortened(TRAINING_EXAMS, options.share), shortened(HELD_OUT_EXAMS, options.share)
    specks, masses = (
        replace(plan, recipe=replace(plan.recipe, steps=shortened(plan.recipe.steps, options.share)))
        for plan in (SPECKS, MASSES)
    )
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    cases = raw_cases(options.work / "raw", "mammogram-training", seeds)
    say(f"{len(cases)} views to train on")
    parts = [
        trained(options.work / "mammography-specks.safetensors", specks,
                lambda: PatchSampler([specks_of(case) for case in cases], SPECK_PATCH, lesion_share=0.4)),
        trained(options.work / "mammography-masses.safetensors", masses,
                lambda: PatchSampler([masses_of(case) for case in cases], MASS_PATCH)),
    ]  # fmt: skip
    weights = {
        f"parts.{number}.{key}": value for number, part in enumerate(parts) for key, value in part.items()
    }
    spec = _spec({"specks": specks, "masses": masses}, count)
    cluster = _cluster_rule(
        options.work, written(options.work, spec, weights), shortened(VALIDATION_EXAMS, options.share)
    )
    spec["postprocessing"] = {**POSTPROCESSING, "cluster": cluster}
    figures = _figures(options.work, written(options.work, spec, weights), held_out)
    bundle = written(options.out, {**spec, "figures": figures}, weights)
    say(f"written: {bundle.folder}")


def _cluster_rule(work: Path, draft: Bundle, exams: int) -> dict[str, Any]:
    """Return how specks become clusters: what gives the best CPM on exams that are neither trained on nor held out.

    Of equally good rules the one with the middle threshold is taken.
    """
    seeds = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + exams)
    cases = raw_cases(work / "raw", "mammogram-reference", seeds)
    findings, candidates = detected(draft, cases)
    known = FindingTable.from_objects([f for f in findings if f.label == CLUSTER["into"]])
    names = [str(number) for number in range(len(cases))]
    values = {}
    for reach, least in product(REACHES_MM, SPECK_THRESHOLDS):
        rule = {**CLUSTER, "reach_mm": reach, "speck_threshold": least}
        each = [cluster_candidates([c for c in candidates if c.case_id == name], rule) for name in names]
        found = [c for several in each for c in several if c.label == CLUSTER["into"]]
        values[reach, least] = froc(match(known, CandidateTable.from_objects(found), names)).cpm
    best = max(values.values())
    equal = [pair for pair, value in values.items() if value == best]
    reach, least = sorted(equal, key=lambda pair: pair[1])[len(equal) // 2]
    say(f"specks from {least} on, linked within {reach} mm: CPM {best:.3f} on {len(cases)} validation views")
    return {**CLUSTER, "reach_mm": reach, "speck_threshold": least}


def preprocessing(factor: int = 1) -> Preprocessing:
    """Return how a mammogram is read, at the full resolution or that of masses."""
    return Preprocessing(
        spacing_mm=SPACING_MM * factor, kind="mammogram", percentiles=LIMITS_OF_GREY, channels=1
    )


def _prepared(
    case: RawCase, factor: int, centres: np.ndarray[Any, Any], diameters: np.ndarray[Any, Any]
) -> Sample:
    """Return a view with its objects, given by pixel index and in pixels."""
    array, grid = preprocessing(factor).apply(case.image)
    places = grid.to_index(case.grid.to_world(centres))
    reach = (diameters * case.grid.spacing[0] / grid.spacing[0] / 2)[:, None]
    boxes = np.concatenate([places - reach, places + reach], axis=1).astype(np.float32)
    labels, ignored = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.bool_)
    weight = 1.0 if len(boxes) else HEALTHY_WEIGHTS[factor]
    image = array.reshape(1, *array.shape[-2:]).astype(np.float16)
    return Sample(image, boxes, labels, ignored, weight=weight, group=case.group)


def specks_of(case: RawCase) -> Sample:
    """Return a view as the network for specks sees it, with a box around each."""
    return _prepared(case, 1, case.specks, np.full(len(case.specks), SPECK_PX))


def masses_of(case: RawCase) -> Sample:
    """Return a view as the network for masses sees it, with a box around each mass."""
    masses = [f for f in case.findings if f.label == "mass"]
    centres = case.grid.to_index(np.asarray([f.centre for f in masses], dtype=np.float64).reshape(-1, 2))
    return _prepared(
        case, MASS_FACTOR, centres, np.asarray([f.diameter for f in masses]) / case.grid.spacing[0]
    )


def _figures(work: Path, draft: Bundle, held_out: int) -> dict[str, Any]:
    """Return the figures of both classes on held-out exams of both sites."""
    figures = {}
    for site, name, first in (("reference site", "mammogram-reference", FIRST_HELD_OUT_SEED),
                              ("second site", "mammogram-second", SECOND_SITE_SEED)):  # fmt: skip
        cases = raw_cases(work / "raw", name, range(first, first + held_out))  # type: ignore[arg-type]
        measure = partial(figures_of, *detected(draft, cases), cases)
        for label, words in (("mass", "masses"), ("calcification", "calcifications")):
            figures[f"{site}, {words}"] = measure(label)
            say(f"{site}, {words}: CPM {figures[f'{site}, {words}']['cpm']}")
    return figures


def _spec(plans: dict[str, Plan], count: int) -> dict[str, Any]:
    data = [f"{count} mammography exams of four views, phantoms, seeds from {FIRST_TRAINING_SEED}"]
    return {
        **common_spec("mammography", "detection", plans, data),
        "network": NETWORK,
        "preprocessing": preprocessing().as_json(),
        "tiling": {"core": [512, 512], "halo": 128, "batch": 2, "skip": {"rule": "air"}},
        "postprocessing": POSTPROCESSING,
        "classes": CLASSES,
        "figures": {},
        "purpose": "Marks masses, and clusters of calcifications by their specks, on mammograms at 0.2 mm a pixel.",
        "limits": LIMITS,
    }


if __name__ == "__main__":
    main()
