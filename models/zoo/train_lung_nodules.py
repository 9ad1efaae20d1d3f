"""Make the shipped lung-nodule detector: phantoms, training, held-out figures, bundle and card.

Run again by anyone: ``python -m napari_medlab.models.zoo.train_lung_nodules --work DIR --out DIR``. About half an hour on
two cores; what the work folder holds already (phantoms, checkpoint, weights) is not made again.
"""

from __future__ import annotations

import argparse
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab import __version__
from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation import FrocReport, Resampling, match
from napari_medlab.evaluation.report import report
from napari_medlab.jobs import CancelToken
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.recipe import FROM_SCRATCH
from napari_medlab.models.training.samples import Sample, phantom_sample, read_sample, write_sample
from napari_medlab.phantoms.chest_ct import REFERENCE_SITE, SECOND_SITE, Site, chest_phantom

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.loop import Step

PREPROCESSING = Preprocessing(spacing_mm=1.5, window=(-1000.0, 400.0))
TRAINING_SITE = replace(REFERENCE_SITE, most_nodules=8)
FIRST_TRAINING_SEED, TRAINING_CASES = 10_000, 200
FIRST_HELD_OUT_SEED, HELD_OUT_CASES = 20_000, 60
NETWORK = {"name": "centre-heatmap", "arguments": {"spatial_dims": 3, "channels": [16, 32, 64], "classes": 1}}
POSTPROCESSING = {"threshold": 0.08, "most_per_tile": 100, "merge_mm": 4.0}
LIMITS = (
    "Trained on procedural phantoms alone: nothing here speaks of clinical accuracy. On real CT its candidates are poor, "
    "as it has never seen one; it is there so that the whole loop can be tried, and to be retrained."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="phantoms, checkpoint and weights are kept here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder that the bundle is written into")
    parser.add_argument("--cases", type=int, default=TRAINING_CASES)
    parser.add_argument("--held-out", type=int, default=HELD_OUT_CASES)
    parser.add_argument("--steps", type=int, default=FROM_SCRATCH.steps)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    samples = _samples(options.work, options.cases)
    weights = _weights(options.work, samples, options.steps)
    from napari_medlab.models.bundles import write_bundle

    draft = write_bundle(options.work / "draft", _spec(options, {}), weights, "")
    figures = {
        "reference site": _figures(draft, REFERENCE_SITE, FIRST_HELD_OUT_SEED, options.held_out),
        "second site": _figures(draft, SECOND_SITE, FIRST_HELD_OUT_SEED + 5000, options.held_out),
    }
    spec = _spec(options, figures)
    bundle = write_bundle(options.out, spec, weights, _card(spec))
    _say(f"written: {bundle.folder}")


def _make_sample(folder: Path, number: int) -> None:
    path = folder / f"train-{number:04d}.npz"
    if not path.exists():
        write_sample(path, phantom_sample(FIRST_TRAINING_SEED + number, PREPROCESSING, TRAINING_SITE))


def _samples(work: Path, count: int) -> list[Sample]:
    folder = work / "phantoms"
    folder.mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_make_sample, folder), range(count)))
    return [read_sample(folder / f"train-{number:04d}.npz") for number in range(count)]


def _weights(work: Path, samples: list[Sample], steps: int) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file, save_file

    from napari_medlab.models.networks import build_network
    from napari_medlab.models.training.loop import train

    path = work / "trained.safetensors"
    if not path.exists():
        torch.manual_seed(FROM_SCRATCH.seed)
        network = build_network(NETWORK["name"], NETWORK["arguments"])  # type: ignore[arg-type]
        recipe = replace(FROM_SCRATCH, steps=steps)
        train(network, samples, recipe, CancelToken(), _report_step, work / "training.checkpoint")
        save_file(network.state_dict(), path)
    return load_file(path)


def _report_step(step: Step) -> None:
    if step.number % 50 == 0:
        _say(f"step {step.number}, {step.seconds:.0f} s, loss {step.losses['total']:.3f}")


def _figures(bundle: Bundle, site: Site, first_seed: int, count: int) -> dict[str, Any]:
    """Return the figures on phantoms of a site that no training has seen."""
    from napari_medlab.models.detection.detector import CentreDetector

    detector = CentreDetector(bundle)
    findings, candidates, cases = [], [], []
    for seed in range(first_seed, first_seed + count):
        case_id = f"phantom-{seed}"
        phantom = chest_phantom(seed, case_id, site)
        findings += [*phantom.findings, *phantom.excluded]
        cases.append(case_id)
        for batch in detector.detect_array(phantom.volume, phantom.grid, case_id, CancelToken()):
            candidates += batch
    table = match(FindingTable.from_objects(findings), CandidateTable.from_objects(candidates), cases)
    return _rounded(report(table, Resampling()), findings)


def _rounded(shown: FrocReport, findings: list[Any]) -> dict[str, Any]:
    document = shown.as_json()
    found = set(shown.match.finding_id[shown.match.kind == "tp"].tolist())
    counted = [f for f in findings if not f.is_excluded]
    kinds = sorted({f.label for f in counted})
    return {
        "cpm": round(document["cpm"], 3),
        "cpm_interval": [round(v, 3) for v in document["interval"]["cpm"]],
        "sensitivity": {k: round(v, 3) for k, v in document["sensitivity"].items()},
        "cases": document["cases"],
        "findings": document["findings"],
        "found_at_any_score": {
            kind: f"{sum(f.finding_id in found for f in counted if f.label == kind)} of "
            f"{sum(f.label == kind for f in counted)}"
            for kind in kinds
        },
    }


def _spec(options: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    import torch

    recipe = replace(FROM_SCRATCH, steps=options.steps).as_json()
    environment = {"napari-medlab": __version__, "torch": torch.__version__, "python": platform.python_version(),
                   "numpy": np.__version__}  # fmt: skip
    return {
        "schema": 1, "name": "lung-nodules", "task": "detection", "network": NETWORK,
        "preprocessing": PREPROCESSING.as_json(), "postprocessing": POSTPROCESSING, "classes": ["nodule"],
        "parent": None,
        "training": {"recipe": recipe, "environment": environment,
                     "data": f"{options.cases} chest phantoms, seeds from {FIRST_TRAINING_SEED}"},
        "figures": figures, "licence": "BSD-3-Clause", "limits": LIMITS,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _card(spec: dict[str, Any]) -> str:
    rows = []
    for site, f in spec["figures"].items():
        low, high = f["cpm_interval"]
        found = ", ".join(f"{kind} {count}" for kind, count in f["found_at_any_score"].items())
        each = ", ".join(f"{value:.2f} at {point}" for point, value in f["sensitivity"].items())
        rows.append(
            f"### {site.capitalize()}: {f['cases']} phantoms, {f['findings']} nodules\n\n"
            f"CPM **{f['cpm']:.3f}** (95 % interval {low:.3f} to {high:.3f}). Sensitivity at false positives per scan: "
            f"{each}. Found at any score: {found}.\n"
        )
    return (
        "# Lung-nodule detector\n\n"
        "Marks the centres of lung nodules on chest CT: a small 3D encoder-decoder (0.7 million weights) that reads a "
        "volume at 1.5 mm and gives a heatmap of centres, diameters and offsets.\n\n"
        f"## Limits\n\n{spec['limits']}\n\n"
        "## Figures\n\nLUNA16 rules, on phantoms that no training has seen; intervals by resampling cases.\n\n"
        + "\n".join(rows)
        + "\nThe reference site scans as the training phantoms were scanned; the second one is noisier, has more sub-solid "
        "nodules, and calcified granulomas that are no findings.\n\n"
        f"## Made by\n\n`python -m napari_medlab.models.zoo.train_lung_nodules`: {spec['training']['data']}, "
        f"{spec['training']['recipe']['steps']} steps, seed {spec['training']['recipe']['seed']}.\n"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress goes to standard error


if __name__ == "__main__":
    main()
