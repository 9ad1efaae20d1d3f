"""Networks that were trained on arrays in another order of axes, or whose classes exclude each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Adapted"]


class Adapted(nn.Module):
    """Puts a network into the place of one that reads (z, y, x) and judges every class by itself.

    Parameters
    ----------
    network : dict
        ``{"name": …, "arguments": {…}}`` of the network inside.
    order : sequence of int
        Which of our axes each of the inner network's axes is: (2, 1, 0) where it reads (x, y, z).
    flips : sequence of int
        The inner network's axes that run the other way.
    exclusive : bool
        Whether the inner network's outputs are the logits of classes of which exactly one holds (softmax), the first of them
        the background. They become the logits of each other class against all the rest, whose sigmoid is the softmax, and
        the background is left out.

    Notes
    -----
    Input is (batch, channel, z, y, x) or (batch, channel, y, x). Of the outputs, those with as many axes as the input are
    turned back; others, such as a classifier's, are not.
    """

    def __init__(
        self, network: Mapping[str, Any], order: Sequence[int], flips: Sequence[int] = (), exclusive: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        if sorted(order) != list(range(len(order))) or not set(flips) <= set(order):
            raise ValueError(f"the order {list(order)} or the flips {list(flips)} name no axes")
        self.inner = build_network(network["name"], dict(network["arguments"]))
        self.order = tuple(order)
        self.flips = tuple(flips)
        self.exclusive = exclusive

    @property
    def multiple(self) -> int:
        """What the sizes of the input have to be divisible by."""
        return int(getattr(self.inner, "multiple", 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of the classes, (batch, class, …) in the order of the input's axes."""
        flips = [2 + axis for axis in self.flips]
        outputs: torch.Tensor = self.inner(
            image.permute(0, 1, *(2 + axis for axis in self.order)).flip(flips)
        )
        if self.exclusive:
            outputs = _against_the_rest(outputs)
        if outputs.ndim == image.ndim:
            outputs = outputs.flip(flips).permute(
                0, 1, *(2 + self.order.index(axis) for axis in range(len(self.order)))
            )
        return outputs


def _against_the_rest(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-odds of every class but the first under the softmax of all."""
    classes = logits.shape[1]
    others = [
        torch.logsumexp(torch.cat([logits[:, :chosen], logits[:, chosen + 1 :]], dim=1), dim=1)
        for chosen in range(1, classes)
    ]
    return logits[:, 1:] - torch.stack(others, dim=1)
