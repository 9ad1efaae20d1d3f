"""The training loop: small, the same for every task, resumable to the bit, stoppable between two steps.

A training needs a network, an objective (how a batch becomes a loss), a sampler (which samples a batch is made of) and a
recipe (everything else)::

    recipe = replace(FROM_SCRATCH, steps=500, seed=1)
    network = build_network("centre-heatmap", {"spatial_dims": 3, "channels": [16, 32, 64]})
    objective = build_objective("centre-heatmap", {})
    sampler = PatchSampler(samples, shape=(40, 64, 64), lesion_share=0.7)
    transforms = build_transforms([{"name": "flip"}, {"name": "noise"}])
    train(network, objective, sampler, recipe, CancelToken(), print, transforms=transforms, checkpoint=folder / "state.pt")

It runs on the device that the network is on. Started again with the same arguments, it goes on from the checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.models.training.averaging import WeightAverage, lent
from napari_medlab.models.training.checkpoints import read_checkpoint, write_checkpoint
from napari_medlab.models.training.early_stopping import EarlyStopping
from napari_medlab.models.training.feed import Batch, Feed, streams
from napari_medlab.models.training.metrics import MetricsFile, metrics_path
from napari_medlab.models.training.modes import lesion_scores, loss_of_each
from napari_medlab.models.training.optimisers import build_optimiser
from napari_medlab.models.training.precision import chosen_precision, dtype_of
from napari_medlab.models.training.schedules import factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.training.feed import Sampler, Transforms
    from napari_medlab.models.training.objectives import Objective
    from napari_medlab.models.training.recipe import Recipe

__all__ = ["Step", "train"]

EACH = "each"
"""Under this name an objective may give the loss of every sample, float (batch,), for samplers that learn from it."""


@dataclass(frozen=True)
class Step:
    """What one step of training reports.

    Parameters
    ----------
    number : int
        From 1.
    losses : dict
        The terms by name, and under ``"total"`` what was minimised; means over the batch's parts.
    learning_rate : float
    seconds : float
        Since this run began.
    metrics : dict or None
        What the validation said, after steps that it followed.
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    """

    number: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float
    metrics: dict[str, float] | None = None
    precision: str = "float32"


def train(  # noqa: PLR0913 - a training is made of these parts
    network: nn.Module, objective: Objective, sampler: Sampler, recipe: Recipe, cancel: CancelToken,
    report: Callable[[Step], None], *, transforms: Transforms = ((), ()), checkpoint: Path | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
) -> None:  # fmt: skip
    """Train a network in place; at the end it holds the best weights by the validation, or the last ones without any.

    Parameters
    ----------
    network : nn.Module
        On the device to train on.
    objective : Objective
        See :mod:`napari_medlab.models.training.objectives`.
    sampler : Sampler
        See :mod:`napari_medlab.models.training.samplers`.
    recipe : Recipe
    cancel : CancelToken
        Looked at before every step; the state is saved first. A validation or a round of mining that is cut short is done
        anew when the training goes on, before the next step.
    report : callable
        Called after every step, in this thread.
    transforms : (transforms of one sample, transforms of a batch)
        What :func:`napari_medlab.models.augmentation.build_transforms` returns; none by default.
    checkpoint : Path or None
        File of the state; where it exists, training goes on from there as if it had never stopped. The course of the
        training is written beside it, see :class:`~napari_medlab.models.training.metrics.MetricsFile`.
    validate : callable or None
        Given the network in eval mode, returns figures by name; called as ``recipe.validation`` says.

    Raises
    ------
    CancelledError
        Soon after ``cancel`` is set.
    InputRefusedError
        Where the checkpoint is damaged or belongs to another recipe, or the precision is not for this device.
    MedlabError
        Where the loss is no number any more.
    """
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices):  # whoever calls keeps random numbers of its own
        _Training(network, objective, recipe, validate).run(
            _Supply(sampler, transforms), cancel, report, checkpoint
        )


@dataclass(frozen=True)
class _Supply:
    """Where the batches come from."""

    sampler: Sampler
    transforms: Transforms

    def feed(self, recipe: Recipe, multiple: int, first: int) -> Feed:
        return Feed(self.sampler, self.transforms, recipe, multiple, first)


class _Training:
    """A network with everything that changes along with it from step to step."""

    def __init__(
        self, network: nn.Module, objective: Objective, recipe: Recipe,
        validate: Callable[[nn.Module], Mapping[str, float]] | None,
    ) -> None:  # fmt: skip
        self.network, self.objective, self.recipe = network, objective, recipe
        self.validate = validate if recipe.validation is not None else None
        self.device = next(network.parameters()).device
        self.precision = chosen_precision(recipe.precision, self.device)
        self.optimiser = build_optimiser(network, recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        self.average = None if recipe.ema_decay is None else WeightAverage(network, recipe.ema_decay)
        self.stopping = None if recipe.validation is None else EarlyStopping(recipe.validation)
        self.following = 1
        self.unfinished: Step | None = None

    def run(
        self, supply: _Supply, cancel: CancelToken, report: Callable[[Step], None], checkpoint: Path | None
    ) -> None:
        if checkpoint is not None:
            self._restore(read_checkpoint(checkpoint, self.recipe.as_json()), supply.sampler)
        first = self.following if self.unfinished is None else self.unfinished.number
        log = None if checkpoint is None else MetricsFile(metrics_path(checkpoint), first)
        self._check_mining(supply.sampler)
        feed = supply.feed(self.recipe, int(getattr(self.network, "multiple", 1)), self.following)
        memory = feed.sampler_state()
        began = saved = time.monotonic()

        def finish(step: Step) -> None:
            """Look, mine, and report; where that is cut short, it is done when the training goes on."""
            try:
                metrics = self._look(step.number)
                self._mine(supply.sampler, step.number, cancel)
            except CancelledError:
                self.unfinished = step
                self._save(checkpoint, memory)
                raise
            told = replace(step, metrics=metrics)
            if log is not None:
                log.add(told)
            report(told)

        try:
            if self.unfinished is not None:
                unfinished, self.unfinished = self.unfinished, None
                finish(unfinished)
                memory = feed.sampler_state()
            while not self._is_over():
                if cancel.is_cancelled:
                    self._save(checkpoint, memory)
                    cancel.check()
                batch = feed.take()
                step = self._step(batch, feed, began)
                memory = feed.sampler_state() if feed.learns else batch.sampler
                finish(step)
                memory = feed.sampler_state() if feed.learns else batch.sampler
                if time.monotonic() - saved > self.recipe.checkpoint_seconds:
                    self._save(checkpoint, memory)
                    saved = time.monotonic()
        finally:
            feed.close()
        self._save(checkpoint, memory)
        self._take_best()

    def _is_over(self) -> bool:
        stopped = self.stopping is not None and self.stopping.should_stop
        return stopped or self.following > self.recipe.steps

    def _step(self, batch: Batch, feed: Feed, began: float) -> Step:
        number = self.following
        rate = self.recipe.learning_rate * factor(self.recipe.schedule, number, self.recipe.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # dropout and the like: a stream of its own for each step, as the samples have
        torch.manual_seed(int(streams(self.recipe.seed, number, "network")[0].integers(2**63)))
        self._set_modes(number)
        losses, each = self._gradients(batch)
        self._change_weights(number)
        if feed.feedback is not None:
            feed.feedback(batch.drawn, each or loss_of_each(self.network, self.objective, batch.samples))
        if self.average is not None:
            self.average.follow(self.network)
        self.following = number + 1
        return Step(number, losses, rate, time.monotonic() - began, None, self.precision)

    def _set_modes(self, number: int) -> None:
        """Put the network into training mode, but for what is to stand still."""
        self.network.train()
        freeze = self.recipe.freeze
        if freeze.prefixes and freeze.steps:
            is_frozen = number <= freeze.steps
            for name, parameter in self.network.named_parameters():
                if name.startswith(freeze.prefixes):
                    parameter.requires_grad_(not is_frozen)
            for name, module in self.network.named_modules():
                if is_frozen and f"{name}.".startswith(freeze.prefixes):
                    module.eval()
        if self.recipe.freeze_norms:
            for module in self.network.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _gradients(self, batch: Batch) -> tuple[dict[str, float], list[float]]:
        """Sum the gradients of the batch's parts, each by its share of the samples; return losses, and those of each sample."""
        self.optimiser.zero_grad()
        dtype = dtype_of(self.precision)
        losses: dict[str, float] = {}
        each: list[float] = []
        for part in _parts(len(batch.samples), self.recipe.accumulate):
            share = (part.stop - part.start) / len(batch.samples)
            images = batch.images[part].to(self.device)
            with torch.autocast(self.device.type, dtype, enabled=dtype is not None):
                terms = self.objective.losses(self.network, images, batch.samples[part])
            each += terms.pop(EACH).tolist() if EACH in terms else []
            self.scaler.scale(terms["total"] * share).backward()
            for name, value in terms.items():
                losses[name] = losses.get(name, 0.0) + share * float(value.detach())
        if not math.isfinite(losses["total"]) and not self.scaler.is_enabled():
            raise _diverged(self.following)
        return losses, each

    def _change_weights(self, number: int) -> None:
        optimiser: Any = self.optimiser  # the scaler is typed for torch's own
        if self.recipe.clip_norm is not None:
            self.scaler.unscale_(optimiser)
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
            if not self.scaler.is_enabled() and not bool(torch.isfinite(norm)):
                raise _diverged(number)
        self.scaler.step(optimiser)
        self.scaler.update()

    def _look(self, number: int) -> dict[str, float] | None:
        """Validate where it is time, with the weights that would be kept."""
        settings = self.recipe.validation
        if self.validate is None or settings is None or self.stopping is None:
            return None
        if number % settings.every and number != self.recipe.steps:
            return None
        with (
            lent(self.network, self.average.weights if self.average is not None else None) as network,
            torch.no_grad(),
        ):
            network.eval()
            metrics = {name: float(value) for name, value in self.validate(network).items()}
            self.stopping.see(number, metrics, network.state_dict())
        return metrics

    def _mine(self, sampler: Sampler, number: int, cancel: CancelToken) -> None:
        """Begin a round of hard mining where it is time: the sampler is told what the network says of all its samples."""
        every = self.recipe.mining_every
        if every is None or number % every or number == self.recipe.steps:
            return
        with lent(self.network, self.average.weights if self.average is not None else None) as network:
            network.eval()
            miner: Any = sampler
            scores = lesion_scores(network, miner.store, cancel)
            miner.begin_round(streams(self.recipe.seed, number, "mining")[0], scores)

    def _check_mining(self, sampler: Sampler) -> None:
        if self.recipe.mining_every is not None and not hasattr(sampler, "begin_round"):
            raise InputRefusedError(
                f"The recipe mines every {self.recipe.mining_every} steps, and {type(sampler).__name__} has no rounds.",
                code="mining", hint='Take the sampler "hard-mining", or leave mining_every out.',
            )  # fmt: skip

    def _take_best(self) -> None:
        if self.stopping is not None and self.stopping.weights is not None:
            self.network.load_state_dict(self.stopping.weights)
        elif self.average is not None:
            self.network.load_state_dict(self.average.weights)
        self.network.eval()

    def _save(self, path: Path | None, memory: object) -> None:
        """Save everything that the next step depends on; its random numbers depend on its number alone."""
        if path is None:
            return
        state = {
            "recipe": self.recipe.as_json(),
            "next": self.following,
            "precision": self.precision,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "stopping": None if self.stopping is None else self.stopping.state(),
            "sampler": json.dumps(memory),
            "unfinished": None if self.unfinished is None else asdict(self.unfinished),
        }
        write_checkpoint(path, state)

    def _restore(self, state: dict[str, Any] | None, sampler: Sampler) -> None:
        if state is None:
            return
        self.following = state["next"]
        self.unfinished = None if state.get("unfinished") is None else Step(**state["unfinished"])
        self.precision = chosen_precision(state["precision"], self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        self.scaler.load_state_dict(state["scaler"])
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.restore(state["average"])
        if self.stopping is not None:
            self.stopping.restore(state["stopping"])
        memory = json.loads(state["sampler"])
        if memory is not None:
            sampler.restore(memory)  # type: ignore[attr-defined]


def _parts(count: int, parts: int) -> Iterator[slice]:
    """Split a batch into parts as equal as can be, none of them empty."""
    parts = min(parts, count)
    edges = [round(count * k / parts) for k in range(parts + 1)]
    for start, stop in pairwise(edges):
        yield slice(start, stop)


def _diverged(number: int) -> MedlabError:
    return MedlabError(
        f"The training came apart in step {number}: the loss or its gradient is not a finite number.", code="diverged",
        hint="Choose a lower learning rate or a longer warm-up; the last saved state is kept.",
    )  # fmt: skip
