"""The training loop: small, resumable to the bit, stoppable between two steps."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medlab.durable import replace_file
from napari_medlab.models.detection.heatmap import heatmap_loss, make_targets
from napari_medlab.models.training.augmentation import augment, cut_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samples import Sample

__all__ = ["Step", "train"]


@dataclass(frozen=True)
class Step:
    """What one step of training reports: its number (from 1), the losses by name, the learning rate, seconds so far."""

    number: int
    losses: dict[str, float]
    learning_rate: float
    seconds: float


def train(
    network: nn.Module, samples: Sequence[Sample], recipe: Recipe, cancel: CancelToken,
    report: Callable[[Step], None], checkpoint: Path | None = None,
) -> None:
    """Train a network in place.

    Parameters
    ----------
    network : maps (batch, 1, z, y, x) to heatmaps, see :class:`CentreHeatmapNet`
    samples : what patches are cut from, each as often as its weight says
    recipe : Recipe
    cancel : checked before every step; the state is saved first
    report : called after every step
    checkpoint : file of the state; where it exists, training goes on from there as if it had never stopped

    Raises
    ------
    CancelledError
        Soon after ``cancel`` is set.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe.weight_decay), lr=recipe.learning_rate)
    first = _restore(checkpoint, network, optimizer, rng)
    probability = np.asarray([s.weight for s in samples], dtype=np.float64)
    probability /= probability.sum()
    began = saved = time.monotonic()
    for number in range(first, recipe.steps + 1):
        if cancel.is_cancelled:
            _save(checkpoint, network, optimizer, rng, number)
            cancel.check()
        rate = _learning_rate(recipe, number)
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = rng.choice(len(samples), size=recipe.batch_size, p=probability)
        losses = _step(network, optimizer, rng, [samples[i] for i in chosen], recipe)
        report(Step(number, losses, rate, time.monotonic() - began))
        if time.monotonic() - saved > recipe.checkpoint_seconds:
            _save(checkpoint, network, optimizer, rng, number + 1)
            saved = time.monotonic()


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, rng: np.random.Generator, chosen: Sequence[Sample],
    recipe: Recipe,
) -> dict[str, float]:
    patches = [augment(rng, cut_patch(rng, s, recipe.patch_shape, recipe.lesion_share)) for s in chosen]
    images = torch.from_numpy(np.stack([p.volume for p in patches])[:, None].astype(np.float32))
    targets = make_targets(
        recipe.patch_shape, [p.centres for p in patches], [p.diameters for p in patches], [p.is_ignored for p in patches]
    )
    network.train()
    if recipe.freeze_norms:
        _freeze_norms(network)
    optimizer.zero_grad(set_to_none=True)
    losses = heatmap_loss(network(images), targets, recipe.size_weight, recipe.offset_weight)
    losses["total"].backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def _freeze_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay weights of convolutions alone: biases and norms have one axis."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _learning_rate(recipe: Recipe, number: int) -> float:
    warm = min(1.0, number / max(recipe.warmup_steps, 1))
    done = number / recipe.steps
    return recipe.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def _save(
    path: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer, rng: np.random.Generator, following: int
) -> None:
    """Save everything that the next step depends on."""
    if path is None:
        return
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": json.dumps(rng.bit_generator.state),
        "next": following,
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, buffer.getvalue())


def _restore(
    path: Path | None, network: nn.Module, optimizer: torch.optim.Optimizer, rng: np.random.Generator
) -> int:
    """Read a state where there is one; returns the number of the step to take next."""
    if path is None or not path.exists():
        return 1
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["torch_rng"])
    rng.bit_generator.state = json.loads(state["numpy_rng"])
    following: int = state["next"]
    return following
