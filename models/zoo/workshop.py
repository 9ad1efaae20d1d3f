"""What the scripts that make the shipped models share: training that is not done twice, and figures on held-out phantoms."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab import __version__
from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation import Resampling, match
from napari_medlab.evaluation.report import report
from napari_medlab.jobs import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from napari_medlab.annotations import Candidate, Finding
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.feed import Sampler, Transforms
    from napari_medlab.models.training.loop import Step
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.zoo.raw_cases import RawCase

__all__ = [
    "Plan",
    "ValidationCase",
    "arguments",
    "common_spec",
    "detection_figures",
    "say",
    "trained",
    "written",
]

ZOO = Path(__file__).parent


class ValidationCase(NamedTuple):
    """A phantom on which something may be chosen: neither trained on nor held out."""

    case_id: str
    name: str
    split: str = "validation"
    frozen: bool = False


@dataclass(frozen=True)
class Plan:
    """What a network is trained with, and how it is written down in the bundle.

    Parameters
    ----------
    network, objective : {"name": …, "arguments": …}
    augmentation : list of {"name": …, "arguments": …, "probability": …}
    recipe : Recipe
    """

    network: dict[str, Any]
    objective: dict[str, Any]
    augmentation: list[dict[str, Any]]
    recipe: Recipe

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {"network": self.network, "objective": self.objective, "augmentation": self.augmentation,
                "recipe": self.recipe.as_json()}  # fmt: skip


def arguments(description: str | None, given: Sequence[str] | None, **folders: str) -> argparse.Namespace:
    """Read the command line that all scripts share: ``--work``, ``--out``, and ``--share`` to try them in short.

    Parameters
    ----------
    description, given : of the script, and what was typed
    **folders
        Further folders that may be named, with what they are.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--work", type=Path, required=True, help="phantoms, checkpoints and weights are kept here"
    )
    parser.add_argument("--out", type=Path, default=ZOO, help="folder that the bundle is written into")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of cases and steps, to try the script in short"
    )
    for name, meaning in folders.items():
        parser.add_argument(f"--{name}", type=Path, help=meaning)
    options = parser.parse_args(given)
    options.work.mkdir(parents=True, exist_ok=True)
    return options


def shortened(count: int, share: float) -> int:
    """Return a share of a number of cases or steps, at least 2."""
    return max(2, round(count * share))


def trained(path: Path, plan: Plan, sampler: Callable[[], Sampler]) -> dict[str, torch.Tensor]:
    """Return the weights of a plan: read where a training has written them, else trained, resuming where one was killed.

    Parameters
    ----------
    path : ``.safetensors`` file of the weights; the checkpoint lies beside it
    plan : Plan
    sampler : called where there is something to train
    """
    import torch
    from safetensors.torch import load_file, save_file

    from napari_medlab.models.augmentation import build_transforms
    from napari_medlab.models.networks import build_network
    from napari_medlab.models.training.loop import train
    from napari_medlab.models.training.objectives import build_objective

    if not path.exists():
        torch.manual_seed(plan.recipe.seed)
        network = build_network(plan.network["name"], plan.network["arguments"])
        objective = build_objective(plan.objective["name"], plan.objective["arguments"])
        transforms: Transforms = build_transforms(plan.augmentation)
        train(network, objective, sampler(), plan.recipe, CancelToken(), _Log(plan.recipe.steps),
              transforms=transforms, checkpoint=path.with_suffix(".checkpoint"))  # fmt: skip
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    return load_file(path)


class _Log:
    """Tells every hundredth step's mean loss."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._losses: list[float] = []

    def __call__(self, step: Step) -> None:
        self._losses.append(step.losses["total"])
        if step.number % 100 == 0 or step.number == self._steps:
            say(
                f"step {step.number} of {self._steps}, {step.seconds:.0f} s, loss {np.mean(self._losses):.4f}"
            )
            self._losses.clear()


def detection_figures(bundle: Bundle, cases: Sequence[RawCase], label: str = "") -> dict[str, Any]:
    """Return LUNA16's figures of a detector on phantoms that no training has seen; patients are resampled together.

    Parameters
    ----------
    bundle : as it lies in its folder, and run as the window runs it
    cases : held out
    label : of findings and candidates; all are one class where empty
    """
    findings, candidates = detected(bundle, cases)
    return figures_of(findings, candidates, cases, label)


def detected(bundle: Bundle, cases: Sequence[RawCase]) -> tuple[list[Finding], list[Candidate]]:
    """Return the findings of some cases and what a bundle proposes on them; the number of a case is its id."""
    from napari_medlab.models.predicting.detector import BundleDetector
    from napari_medlab.models.predicting.placing import Wanted

    model = BundleDetector(bundle, Wanted())
    findings: list[Finding] = []
    candidates: list[Candidate] = []
    for number, case in enumerate(cases):
        findings += [replace(f, case_id=str(number)) for f in case.findings]
        for batch in model.detect(case.image, str(number), CancelToken()):
            candidates += batch
    return findings, candidates


def figures_of(
    findings: Sequence[Finding], candidates: Sequence[Candidate], cases: Sequence[RawCase], label: str = ""
) -> dict[str, Any]:
    """Return the figures for one class; an excluded finding excludes for every class."""
    counted = [f for f in findings if label in ("", f.label) or f.is_excluded]
    proposed = [c for c in candidates if label in ("", c.label)]
    names = [str(number) for number in range(len(cases))]
    groups = {name: case.group for name, case in zip(names, cases, strict=True)}
    table = match(FindingTable.from_objects(counted), CandidateTable.from_objects(proposed), names)
    shown = report(table, Resampling(), groups=groups)
    document = shown.as_json()
    found = set(shown.match.finding_id[shown.match.kind == "tp"].tolist())
    real = [f for f in counted if not f.is_excluded]
    return {
        "cpm": _rounded(document["cpm"]),
        "cpm_interval": _all_rounded(document["interval"]["cpm"]),
        "sensitivity": {k: _rounded(v) for k, v in document["sensitivity"].items()},
        "cases": document["cases"],
        "findings": document["findings"],
        "found_at_any_score": {
            kind: f"{sum(f.finding_id in found for f in real if f.label == kind)} of {sum(f.label == kind for f in real)}"
            for kind in sorted({f.label for f in real})
        },
    }


def _rounded(value: float | None) -> float | None:
    """Return a figure with three digits; None where there was no finding to measure it on."""
    return None if value is None else round(value, 3)


def _all_rounded(values: Sequence[float | None] | None) -> list[float | None] | None:
    return None if values is None else [_rounded(value) for value in values]


def common_spec(name: str, task: str, plans: Mapping[str, Plan], data: Sequence[str]) -> dict[str, Any]:
    """Return what the specs of all shipped models hold alike.

    Parameters
    ----------
    name, task : of the bundle
    plans : by the name of what they trained; the first one's network is the bundle's
    data : what it was trained on, as sentences
    """
    import torch

    environment = {"napari-medlab": __version__, "torch": torch.__version__, "python": platform.python_version(),
                   "numpy": np.__version__}  # fmt: skip
    first = next(iter(plans.values()))
    return {
        "schema": 2, "name": name, "task": task, "network": first.network, "parent": None,
        "training": {"plans": {key: plan.as_json() for key, plan in plans.items()}, "data": list(data),
                     "environment": environment, "script": f"napari_medlab.models.zoo.train_{name.replace('-', '_')}"},
        "licence": "BSD-3-Clause",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def written(folder: Path, spec: dict[str, Any], weights: dict[str, torch.Tensor]) -> Bundle:
    """Write a bundle with its card."""
    from napari_medlab.models.bundles import write_bundle
    from napari_medlab.models.bundles.card import card_of

    folder.mkdir(parents=True, exist_ok=True)
    return write_bundle(folder, spec, weights, card_of(spec))


def say(text: str) -> None:
    """Print progress, with the time, on standard error."""
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)  # noqa: T201 - progress goes to standard error
