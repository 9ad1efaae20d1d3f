"""What it means to average a network's maps: logits by their probabilities, other maps as they are, vectors turned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

__all__ = ["LOGITS", "MapChannels", "average_logits", "average_maps", "channels_of"]


@dataclass(frozen=True)
class MapChannels:
    """What the channels of a network's output are, beginning with the logits.

    Parameters
    ----------
    logits : int or None
        How many channels are logits of probabilities; None for all of them.
    vectors : int
        How many of the last channels are one vector, in array order, such as an offset. Those between are plain numbers.
    """

    logits: int | None = None
    vectors: int = 0

    def split(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the maps (batch, channel, …) as logits, numbers and vectors."""
        logits = maps.shape[1] if self.logits is None else self.logits
        sizes = [logits, maps.shape[1] - logits - self.vectors, self.vectors]
        first, second, third = maps.split(sizes, dim=1)
        return first, second, third


LOGITS = MapChannels()
"""Segmenters and classifiers: logits alone."""


def channels_of(network: nn.Module) -> MapChannels:
    """Return what the channels of a network's maps are.

    A network says so by an attribute ``map_channels``; those of centre heatmaps are known; all others give logits.
    """
    said = getattr(network, "map_channels", None)
    if isinstance(said, MapChannels):
        return said
    if isinstance(network, CentreHeatmapNet):
        return MapChannels(network.classes, network.spatial_dims)
    return LOGITS


def average_logits(
    members: Sequence[torch.Tensor], weights: Sequence[float], *, exclusive: bool = False
) -> torch.Tensor:
    """Return logits whose probabilities are the weighted means of the members' probabilities.

    Means are taken of logarithms of probabilities, so that a member that is all but certain loses no digits.

    Parameters
    ----------
    members : tensors of one shape, (batch, class, …) or (batch,)
    weights : one for each, which sum to 1; those of weight 0 do not count
    exclusive : bool
        Whether the classes of axis 1 exclude one another (softmax), or stand each for itself (sigmoid).
    """
    counted = [(member, weight) for member, weight in zip(members, weights, strict=True) if weight]
    logs = torch.stack([member.float() for member, _ in counted])
    shares = torch.tensor([weight for _, weight in counted], dtype=logs.dtype, device=logs.device).log()
    shares = shares.reshape(-1, *[1] * (logs.ndim - 1))
    if exclusive:
        return torch.logsumexp(logs.log_softmax(dim=2) + shares, dim=0)
    here = torch.logsumexp(F.logsigmoid(logs) + shares, dim=0)
    return here - torch.logsumexp(F.logsigmoid(-logs) + shares, dim=0)


def average_maps(
    members: Sequence[torch.Tensor],
    weights: Sequence[float],
    channels: MapChannels,
    *,
    exclusive: bool = False,
) -> torch.Tensor:
    """Return the weighted mean of maps of one shape: of probabilities where they are logits, of values elsewhere."""
    if members[0].ndim == 1 or channels == LOGITS:
        return average_logits(members, weights, exclusive=exclusive)
    parts = [channels.split(member) for member in members]
    logits = average_logits([part[0] for part in parts], weights, exclusive=exclusive)
    rest = [
        sum(
            (part[kind] * weight for part, weight in zip(parts, weights, strict=True)),
            start=0 * parts[0][kind],
        )
        for kind in (1, 2)
    ]
    return torch.cat([logits, *rest], dim=1)
