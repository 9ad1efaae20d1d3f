"""Means of weights: a running one, which often does better than the last of them, and one with those of the parent."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import nn

__all__ = ["WeightAverage", "lent", "mixed_with"]


class WeightAverage:
    """An exponential moving average of weights and running statistics (Polyak and Juditsky, 1992).

    In step n the decay is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.

    Parameters
    ----------
    network : nn.Module
    decay : float, 0 … 1
        How much of the mean stays in each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self._taken = 0

    def follow(self, network: nn.Module) -> None:
        """Take a step towards the network's weights; whole numbers are taken over as they are."""
        self._taken += 1
        decay = min(self.decay, (1 + self._taken) / (10 + self._taken))
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - decay)
            else:
                self.weights[name].copy_(tensor)

    def state(self) -> dict[str, Any]:
        """Return the mean and how many steps it has seen."""
        return {"weights": self.weights, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state` returned."""
        for name, tensor in state["weights"].items():
            self.weights[name].copy_(tensor)
        self._taken = state["taken"]


@contextmanager
def lent(network: nn.Module, weights: dict[str, torch.Tensor] | None) -> Iterator[nn.Module]:
    """Give a network other weights while a block runs, or leave it its own where there are none."""
    if weights is None:
        yield network
        return
    own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(weights)
    try:
        yield network
    finally:
        network.load_state_dict(own)


def mixed_with(
    weights: dict[str, torch.Tensor], parent: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Return weights of which ``share`` is the parent's and the rest their own; whole numbers are their own.

    What was learnt on few hard cases is kept in part, and so is what the parent did well (Wortsman et al., "Robust
    fine-tuning of zero-shot models", 2022, equation 1).

    Parameters
    ----------
    weights, parent : tensors by name, the same names and shapes
    share : float, 0 … 1
    """
    return {
        name: tensor.lerp(parent[name].to(tensor), share) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in weights.items()
    }
