"""The first stage of a two-stage detector: where anything at all may lie, whatever its class.

Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", 2015, over the levels of a
pyramid as in Lin et al., "Feature Pyramid Networks for Object Detection", 2017, section 4.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from napari_medlab.models.detection.boxes import clip, sizes
from napari_medlab.models.detection.coding import decode
from napari_medlab.models.detection.suppression import nms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.detection.anchors import AnchorGrid

__all__ = ["Guesses", "ProposalHead", "ProposalSettings", "Proposals", "propose"]


@dataclass(frozen=True)
class ProposalSettings:
    """How the many guesses of a first stage become few proposals.

    Parameters
    ----------
    before : int
        At most this many of each level, the best, go into suppression.
    after : int
        At most this many of an image, the best of all levels, come out.
    iou : float
        Of proposals of one level that overlap by more than this, only the best stays.
    least_size : float
        Proposals with a shorter side, in voxels, are dropped.
    """

    before: int = 1000
    after: int = 300
    iou: float = 0.7
    least_size: float = 1.0

    def __post_init__(self) -> None:
        if self.before < 1 or self.after < 1 or not 0 <= self.iou <= 1:
            raise ValueError(f"at least one proposal and an IoU of 0 … 1 are needed: got {self}")


@dataclass(frozen=True, eq=False)
class Guesses:
    """What a first stage says of every anchor.

    Parameters
    ----------
    anchors : float32 tensor (n, 2 · dims), level by level, in voxels
    logits : float tensor (batch, n)
        Of there being an object.
    deltas : float tensor (batch, n, 2 · dims)
        From anchors to boxes; see :mod:`napari_medlab.models.detection.coding`.
    cells : list of int
        How many cells each level has, each with as many anchors.
    """

    anchors: torch.Tensor
    logits: torch.Tensor
    deltas: torch.Tensor
    cells: list[int]

    @property
    def per_level(self) -> list[int]:
        """How many anchors each level has."""
        per_cell = len(self.anchors) // max(sum(self.cells), 1)
        return [count * per_cell for count in self.cells]


class Proposals(NamedTuple):
    """Regions of one image, best first: ``boxes`` (n, 2 · dims) in voxels and ``scores`` (n,), 0 … 1; no gradient."""

    boxes: torch.Tensor
    scores: torch.Tensor


class ProposalHead(nn.Module):
    """Says at every cell of every level, for each of its anchors, whether there is an object and where.

    Parameters
    ----------
    spatial_dims : 2 or 3
    channels : int
        Of every level of the pyramid.
    anchors : AnchorGrid
    """

    def __init__(self, spatial_dims: int, channels: int, anchors: AnchorGrid) -> None:
        super().__init__()
        self.grid = anchors
        convolution = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        self.shared = convolution(channels, channels, 3, padding=1)
        self.objectness = convolution(channels, anchors.per_cell, 1)
        self.deltas = convolution(channels, anchors.per_cell * 2 * spatial_dims, 1)
        for layer in (self.shared, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, maps: Sequence[torch.Tensor], image_shape: Sequence[int]) -> Guesses:
        """Return what it says of an image.

        Parameters
        ----------
        maps : one (batch, channel, …cells) for each level, finest first
        image_shape : spatial shape of the image in voxels
        """
        hidden = [F.relu(self.shared(level)) for level in maps]
        logits = [_by_anchor(self.objectness(level), 1)[..., 0] for level in hidden]
        deltas = [_by_anchor(self.deltas(level), 2 * len(image_shape)) for level in hidden]
        anchors = self.grid.anchors([level.shape[2:] for level in maps], image_shape, maps[0].device)
        cells = [math.prod(level.shape[2:]) for level in maps]
        return Guesses(anchors, torch.cat(logits, dim=1), torch.cat(deltas, dim=1), cells)


@torch.no_grad()
def propose(guesses: Guesses, image_shape: Sequence[int], settings: ProposalSettings) -> list[Proposals]:
    """Return the proposals of every image of a batch.

    The best guesses of each level are made boxes and cut at the image's border, those that overlap better ones of their
    level are dropped, and the best of all levels are what is proposed.
    """
    rows, levels = _best_of_levels(guesses, settings.before)
    logits = guesses.logits.float().gather(1, rows)
    deltas = guesses.deltas.gather(1, rows[..., None].expand(-1, -1, guesses.deltas.shape[2]))
    boxes = decode(guesses.anchors[rows.flatten()], deltas.flatten(0, 1))
    boxes = clip(boxes, image_shape).view(deltas.shape)
    proposals = []
    for of_image, scores in zip(boxes, logits.sigmoid(), strict=True):
        large = (sizes(of_image).amin(dim=1) >= settings.least_size).nonzero()[:, 0]
        kept = large[nms(of_image[large], scores[large], settings.iou, levels[large])[: settings.after]]
        proposals.append(Proposals(of_image[kept], scores[kept]))
    return proposals


def _best_of_levels(guesses: Guesses, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of the best anchors of each level, (batch, chosen), and the level of each, (chosen,)."""
    rows, levels, start = [], [], 0
    for level, count in enumerate(guesses.per_level):
        best = guesses.logits[:, start : start + count].topk(min(most, count), dim=1).indices
        rows.append(best + start)
        levels.append(torch.full_like(best[0], level))
        start += count
    return torch.cat(rows, dim=1), torch.cat(levels)


def _by_anchor(maps: torch.Tensor, values: int) -> torch.Tensor:
    """Turn (batch, anchors of a cell · values, …cells) into (batch, anchors, values), cell by cell in array order."""
    return maps.flatten(2).transpose(1, 2).reshape(len(maps), -1, values)
