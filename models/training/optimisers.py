"""Optimisers: Adam, AdamW and SGD of torch, each alone or inside Lookahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from torch import nn

    from napari_medlab.models.training.recipe import Recipe

__all__ = ["Lookahead", "Optimiser", "build_optimiser", "parameter_groups"]


class Optimiser(Protocol):
    """What the loop asks of an optimiser; those of torch do, and :class:`Lookahead`."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The weights in groups, each with its learning rate under ``"lr"``."""
        ...

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""

    def step(self) -> Any:  # noqa: ANN401 - torch returns what a closure returned; the loop has none
        """Change the weights."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""


class Lookahead:
    """Slow weights that go a part of the way to where an optimiser went in some steps; the optimiser then goes on there.

    After every ``steps`` steps, ``slow = slow + share · (fast - slow)`` and ``fast = slow`` (Zhang et al., "Lookahead
    Optimizer: k steps forward, 1 step back", 2019, algorithm 1). The state of the inner optimiser is kept, as there.

    Parameters
    ----------
    inner : torch optimiser
        Goes the fast steps.
    steps, share :
        See :class:`~napari_medlab.models.training.recipe.LookaheadSettings`.
    """

    def __init__(self, inner: torch.optim.Optimizer, steps: int, share: float) -> None:
        self.inner = inner
        self.steps = steps
        self.share = share
        self._taken = 0
        self._slow = [p.detach().clone() for p in self._fast()]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of the inner optimiser."""
        return self.inner.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self.inner.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """Let the inner optimiser take a step, and the slow weights follow where it is time."""
        self.inner.step()
        self._taken += 1
        if self._taken % self.steps == 0:
            for slow, fast in zip(self._slow, self._fast(), strict=True):
                slow.lerp_(fast, self.share)
                fast.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimiser's state, the slow weights and how many steps were taken."""
        return {"inner": self.inner.state_dict(), "slow": self._slow, "taken": self._taken}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
        self.inner.load_state_dict(state_dict["inner"])
        for slow, stored in zip(self._slow, state_dict["slow"], strict=True):
            slow.copy_(stored)
        self._taken = state_dict["taken"]

    def _fast(self) -> list[torch.Tensor]:
        return [p for group in self.inner.param_groups for p in group["params"]]


def build_optimiser(network: nn.Module, recipe: Recipe) -> Optimiser:
    """Return the optimiser that a recipe asks for, over all weights of a network."""
    settings = recipe.optimiser
    groups = parameter_groups(network, settings.weight_decay)
    rate = recipe.learning_rate
    inner: torch.optim.Optimizer
    if settings.name == "sgd":
        nesterov = settings.nesterov and settings.momentum > 0
        inner = torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, nesterov=nesterov)
    elif settings.name == "adam":
        inner = torch.optim.Adam(groups, lr=rate, betas=settings.betas)
    else:
        inner = torch.optim.AdamW(groups, lr=rate, betas=settings.betas)
    if settings.lookahead is None:
        return inner
    return Lookahead(inner, settings.lookahead.steps, settings.lookahead.share)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return a group of weights that decay and one of biases and norms, which have one axis and do not."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
