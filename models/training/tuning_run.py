"""A fine-tuning, put together: the network of a part, what it is trained with, and what comes out of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.models.augmentation import build_transforms
from napari_medlab.models.training.averaging import mixed_with
from napari_medlab.models.training.fine_tuning import FineTuningPlan, plan_of, validated, with_still_parts
from napari_medlab.models.training.learning_samplers import MixedSampler
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.running import TrainingRun, told_of, validator_of
from napari_medlab.models.training.sample_store import SampleStore
from napari_medlab.models.training.samplers import build_sampler
from napari_medlab.models.training.samples import read_sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.training.examples import FineTuningOptions, Learnt
    from napari_medlab.models.training.feed import Sampler
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samples import Sample

__all__ = ["TuningRun", "tuning_run"]


@dataclass(frozen=True)
class TuningRun:
    """A fine-tuning.

    Parameters
    ----------
    learnt : Learnt
    options : FineTuningOptions
    plan : FineTuningPlan
    run : TrainingRun
    before : dict
        What the parent reaches on the examples that are held out; empty where there are none.
    parent : tensors by name
        The part's weights as they were.
    """

    learnt: Learnt
    options: FineTuningOptions
    plan: FineTuningPlan
    run: TrainingRun
    before: dict[str, float]
    parent: dict[str, torch.Tensor]

    def told(self) -> dict[str, Any]:
        """Return what is told before anything is trained."""
        learnt, store = self.learnt, self.learnt.store
        sides: dict[str, Sequence[Sample | Path]] = {"training": store.entries, "held_out": learnt.held_out}
        return {
            "part": learnt.part.name, "task": learnt.part.task, "examples": len(store),
            "lesions": sum(about.has_lesion for about in store.abouts), "replayed": int(learnt.is_replay.sum()),
            "held_out": len(learnt.held_out), "left_out": 0, "before": self.before,
            **told_of(learnt.part, sides, self.run.network),
        }  # fmt: skip

    def record(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the new bundle says of its training; the plan of the part that was not trained is handed on."""
        part, plan = self.learnt.part, self.plan.as_json()
        before = (part.bundle.spec.get("training") or {}).get("plans") or {}
        kept = {
            name: told
            for name, told in before.items()
            if (name == "classifier") != (part.name == "classifier")
        }
        return {
            "part": part.name, "recipe": self.run.recipe.as_json(), "packages": self.learnt.packages,
            "data": [source.as_json() for source in self.learnt.sources], "examples": len(self.learnt.store),
            "replay_share": self.options.replay_share, "average": self.options.average, **plan,
            "plans": {**kept, part.name: plan}, "before": self.before, **self.run.record(request),
        }  # fmt: skip

    def outcome(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the whole new bundle, the part's mixed with what they were as far as that was asked for."""
        network = self.run.network.cpu()
        if self.options.average > 0:
            network.load_state_dict(mixed_with(network.state_dict(), self.parent, self.options.average))
        return self.learnt.part.weights_with(network)


def tuning_run(learnt: Learnt, options: FineTuningOptions, recipe: Recipe, cancel: CancelToken) -> TuningRun:
    """Return a fine-tuning that is ready to begin, or to go on.

    Raises
    ------
    CancelledError
        Where ``cancel`` is set while the parent is looked at.
    """
    part = learnt.part
    network = part.load()
    plan = plan_of(part, learnt.store.abouts, int(getattr(network, "multiple", 1)))
    objective = build_objective(plan.objective.name, plan.objective.arguments)
    held_out = [read_sample(path) for path in learnt.held_out]
    postprocessing = part.bundle.postprocessing if part.task == "detection" else {}
    validate = validator_of(part.task, postprocessing, held_out, objective, cancel)
    abouts = SampleStore(learnt.held_out).abouts if learnt.held_out else []
    run = TrainingRun(
        network, objective, _sampler(learnt, plan, options.replay_share),
        build_transforms([asdict(change) for change in plan.augmentation]),
        with_still_parts(validated(recipe, part.task, abouts), part), validate,
    )  # fmt: skip
    before = {} if validate is None else {name: float(value) for name, value in validate(network).items()}
    parent = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    return TuningRun(learnt, options, plan, run, _finite(before), parent)


def _sampler(learnt: Learnt, plan: FineTuningPlan, replay_share: float | None) -> Sampler:
    """Return what draws batches: where something is replayed and something is new, each batch has its share of both."""
    name, arguments, old = plan.sampler.name, plan.sampler.arguments, learnt.is_replay
    if replay_share is None or old.all() or not old.any():
        return build_sampler(name, learnt.store, arguments)
    replayed = build_sampler(name, learnt.store.part(old), arguments)
    return MixedSampler(replayed, build_sampler(name, learnt.store.part(~old), arguments), replay_share)


def _finite(figures: dict[str, float]) -> dict[str, float]:
    """Return the figures that are numbers; the others cannot be written down."""
    return {name: value for name, value in figures.items() if abs(value) < float("inf")}
