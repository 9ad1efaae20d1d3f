"""Make the shipped lung-nodule detector: phantoms, a detector, a classifier of its candidates, held-out figures, card.

Run again by anyone: ``python -m napari_medlab.models.zoo.train_lung_nodules --work DIR --out DIR``. About 40 minutes on
two cores; what the work folder holds already (phantoms, checkpoints, weights) is not made again. With ``--detector DIR``
the detector is that of a bundle, and only the classifier of its candidates is trained.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.jobs import CancelToken
from napari_medlab.models.augmentation import STANDARD
from napari_medlab.models.bundles import load_network, read_bundle
from napari_medlab.models.classification.classifier import CubeSettings, judge, look_of
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.ensembling.weights import cpm_by_scores, search_fusion
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.recipe import FROM_SCRATCH
from napari_medlab.models.training.samplers import BalancedSampler, PatchSampler
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.zoo.raw_cases import RawCase, raw_cases
from napari_medlab.models.zoo.workshop import (
    Plan,
    ValidationCase,
    arguments,
    common_spec,
    detected,
    detection_figures,
    say,
    shortened,
    trained,
    written,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from napari_medlab.models.bundles import Bundle

FIRST_TRAINING_SEED, TRAINING_CASES = 10_000, 200
FIRST_VALIDATION_SEED, VALIDATION_CASES = 15_000, 60
FIRST_HELD_OUT_SEED, HELD_OUT_CASES = 20_000, 60
SECOND_SITE_SEED = 25_000

PREPROCESSING = Preprocessing(spacing_mm=1.5, window=(-1000.0, 400.0))
POSTPROCESSING = {"threshold": 0.08, "most_per_tile": 100, "merge_mm": 4.0}
LOOSE = {**POSTPROCESSING, "threshold": 0.02}
"""The classifier learns from more candidates than it is shown later (97 % of the nodules, and many false positives)."""

DETECTOR = Plan(
    network={
        "name": "centre-heatmap",
        "arguments": {"spatial_dims": 3, "channels": [16, 32, 64], "classes": 1},
    },
    objective={"name": "centre-heatmap", "arguments": {"size_weight": 0.5, "offset_weight": 0.5}},
    augmentation=[*STANDARD],
    recipe=FROM_SCRATCH,
)
PATCH = (40, 64, 64)

CUBES = CubeSettings(spacing_mm=1.0, shape=(32, 32, 32), window=(-1000.0, 400.0))
MARGIN = 4
"""Training cubes are larger by so many voxels, so that they can be turned and shifted."""
BESIDE_MM = 5.0
"""A candidate outside a nodule and no further from its border than this teaches nothing."""
POSITIVE_SHARE = 1 / 3

CLASSIFIER = Plan(
    network={"name": "cube-classifier", "arguments": {
        "sides": [32], "body": "se-residual", "pooling": ["global", "centre crop"], "channels": [16, 32, 64],
        "stem": "space-to-depth", "dropout": 0.3}},
    objective={"name": "classification", "arguments": {"loss": "bce"}},
    augmentation=[
        {"name": "symmetries", "arguments": {"group": "cube"}},
        {"name": "translate", "arguments": {"most": 2}},
        {"name": "brightness", "arguments": {"gain": [0.9, 1.1], "shift": [-0.04, 0.04]}},
        {"name": "noise", "arguments": {"deviation": 0.03}, "probability": 0.5},
    ],
    recipe=replace(FROM_SCRATCH, steps=1400, batch_size=24, learning_rate=1e-3),
)  # fmt: skip

LIMITS = (
    "Trained on procedural phantoms alone: nothing here speaks of clinical accuracy. On real CT its candidates are poor, "
    "as it has never seen one; it is there so that the whole loop can be tried, and to be retrained."
)


def main(given: Sequence[str] | None = None) -> None:
    """Make the bundle."""
    options = arguments(__doc__, given, detector="folder of a bundle whose detector is taken as it is")
    count, held_out = shortened(TRAINING_CASES, options.share), shortened(HELD_OUT_CASES, options.share)
    detector, classifier = (
        replace(plan, recipe=replace(plan.recipe, steps=shortened(plan.recipe.steps, options.share)))
        for plan in (DETECTOR, CLASSIFIER)
    )
    cases = raw_cases(
        options.work / "raw", "chest-training", range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + count)
    )
    say(f"{len(cases)} phantoms to train on")
    parent = read_bundle(options.detector) if options.detector else None
    weights = load_network(parent).state_dict() if parent else trained(
        options.work / "nodule-detector.safetensors", detector,
        lambda: PatchSampler([_sample(case) for case in cases], PATCH),
    )  # fmt: skip
    spec = _spec({"detector": detector}, count)
    loose = written(options.work, {**spec, "postprocessing": LOOSE}, weights)
    joined = trained(
        options.work / "nodule-classifier.safetensors", classifier,
        lambda: BalancedSampler(_cubes(loose, cases, options.work / "cubes.npz"), POSITIVE_SHARE),
    )  # fmt: skip
    spec = _spec({"detector": detector, "classifier": classifier}, count)
    if parent is not None:
        spec = {**spec, "parent": parent.hash, "network": parent.spec["network"]}
    alone = written(options.work, spec, weights)
    settings = _fused(options.work, alone, (classifier, joined), options.share)
    spec = {**spec, "classifier": {"network": classifier.network, **settings.as_json()}}
    fused = {**weights, **{f"classifier.{key}": value for key, value in joined.items()}}
    drafts = {"detector and classifier": written(options.work, spec, fused), "detector alone": alone}
    bundle = written(options.out, {**spec, "figures": _figures(options.work, drafts, held_out)}, fused)
    say(f"written: {bundle.folder}")


def _fused(
    work: Path, alone: Bundle, trained_classifier: tuple[Plan, dict[str, torch.Tensor]], share: float
) -> CubeSettings:
    """Return how much the classifier counts beside the detector: what gives the best CPM on validation phantoms."""
    from napari_medlab.models.networks import build_network

    plan, weights = trained_classifier
    network = build_network(plan.network["name"], plan.network["arguments"])
    network.load_state_dict(weights)
    look = look_of(network.eval())
    seeds = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + shortened(VALIDATION_CASES, share))
    cases = raw_cases(work / "raw", "chest-reference", seeds)
    findings, candidates = detected(alone, cases)
    judged = np.zeros(len(candidates))
    for number, case in enumerate(cases):
        rows = [row for row, candidate in enumerate(candidates) if candidate.case_id == str(number)]
        centres = np.asarray([candidates[row].centre for row in rows]).reshape(-1, 3)
        judged[rows] = judge(look, (case.pixels, case.grid), centres, CUBES)
    names = [str(number) for number in range(len(cases))]
    table = CandidateTable.from_objects(candidates)
    value_of = cpm_by_scores(FindingTable.from_objects(findings), table, names)
    found = search_fusion(value_of, table.scores, judged, [ValidationCase(name, name) for name in names])
    say(f"the classifier counts {found.weights[1]:.1f}: CPM {found.value:.3f} on {len(cases)} validation phantoms, "
        f"{value_of(table.scores):.3f} without it")  # fmt: skip
    return replace(CUBES, weight=float(found.weights[1]))


def _figures(work: Path, drafts: dict[str, Bundle], held_out: int) -> dict[str, Any]:
    """Return the figures of the detector alone and fused, on held-out phantoms of both sites."""
    figures = {}
    for site, name, first in (("reference site", "chest-reference", FIRST_HELD_OUT_SEED),
                              ("second site", "chest-second", SECOND_SITE_SEED)):  # fmt: skip
        cases = raw_cases(work / "raw", name, range(first, first + held_out))  # type: ignore[arg-type]
        for what, draft in drafts.items():
            figures[f"{site}, {what}"] = detection_figures(draft, cases)
            say(f"{site}, {what}: CPM {figures[f'{site}, {what}']['cpm']}")
    return figures


def _sample(case: RawCase) -> Sample:
    """Return a phantom as the detector sees it; what does not count as a nodule is ignored."""
    volume, grid = PREPROCESSING.apply_array(case.pixels, case.grid)
    centres = grid.to_index(np.asarray([f.centre for f in case.findings], dtype=np.float64).reshape(-1, 3))
    reach = np.asarray([[f.diameter / 2 / 1.5] for f in case.findings]).reshape(-1, 1)
    boxes = np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)
    ignored = np.asarray([f.is_excluded for f in case.findings], np.bool_)
    return Sample(
        volume[None].astype(np.float16), boxes, np.zeros(len(boxes), np.int64), ignored, group=case.group
    )


def _cubes(bundle: Bundle, cases: Sequence[RawCase], path: Path) -> list[Sample]:
    """Return a cube around every candidate that the detector proposes at its loose threshold, and around every nodule."""
    if not path.exists():
        from napari_medlab.models.predicting.detector import BundleDetector
        from napari_medlab.models.predicting.placing import Wanted

        model = BundleDetector(bundle, Wanted())
        cubes, labels, groups = [], [], []
        shape = [side + 2 * MARGIN for side in CUBES.shape]
        for case in cases:
            candidates = [c for batch in model.detect(case.image, case.group, CancelToken()) for c in batch]
            nodules = [f for f in case.findings if not f.is_excluded]
            centres = np.asarray([c.centre for c in candidates] + [f.centre for f in nodules]).reshape(-1, 3)
            label = np.append(labels_of(case, centres[: len(candidates)]), np.ones(len(nodules), np.int64))
            kept = label >= 0
            cut = cut_cubes((case.pixels, case.grid), centres[kept], CUBES.spacing_mm, shape, CUBES.window)
            cubes.append(cut.astype(np.float16))
            labels.append(label[kept])
            groups += [case.group] * int(kept.sum())
        np.savez(path, cubes=np.concatenate(cubes), labels=np.concatenate(labels), groups=np.asarray(groups))
    with np.load(path, allow_pickle=False) as stored:
        rows = zip(stored["cubes"], stored["labels"], stored["groups"], strict=True)
        samples = [
            Sample.without_boxes(cube, label=int(label), group=str(group)) for cube, label, group in rows
        ]
    say(f"{len(samples)} cubes, {sum(s.label for s in samples)} of them of nodules")
    return samples


def labels_of(case: RawCase, centres: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return 1 for candidates within a nodule's radius, 0 for false positives, -1 for what teaches nothing."""
    labels = np.zeros(len(centres), np.int64)
    for finding in case.findings:
        distance = np.linalg.norm(centres - np.asarray(finding.centre), axis=1)
        if finding.is_excluded:
            labels[distance <= max(finding.diameter / 2, 1.0)] = -1
            continue
        labels[(distance < finding.diameter / 2 + BESIDE_MM) & (labels == 0)] = -1
        labels[distance <= finding.diameter / 2] = 1
    return labels


def _spec(plans: dict[str, Plan], count: int) -> dict[str, Any]:
    data = [f"{count} chest phantoms, seeds from {FIRST_TRAINING_SEED}"]
    return {
        **common_spec("lung-nodules", "detection", plans, data),
        "preprocessing": PREPROCESSING.as_json(),
        "tiling": {"core": [64, 128, 128], "halo": 16, "batch": 2, "skip": {"rule": "lungs"}},
        "postprocessing": POSTPROCESSING,
        "classes": ["nodule"],
        "figures": {},
        "purpose": "Marks the centres of lung nodules on chest CT: a 3D encoder-decoder at 1.5 mm proposes, a classifier of "
        "cubes at 1 mm judges, and the geometric mean of both is the score.",
        "limits": LIMITS,
    }


if __name__ == "__main__":
    main()
