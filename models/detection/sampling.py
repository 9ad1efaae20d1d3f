"""Which regions of an image a second stage is trained on: at random, the hard negatives, or those with the largest loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch

from napari_medlab.models.detection.matchers import BACKGROUND
from napari_medlab.models.detection.suppression import nms
from napari_medlab.models.detection.tables import build_part

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "SAMPLERS", "HardNegativeSampler", "OnlineHardExampleSampler", "RandomSampler", "RegionSampler", "Regions",
    "build_region_sampler", "with_truth",
]  # fmt: skip

Hardness = Literal["none", "score", "loss"]


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one image, to choose from.

    Parameters
    ----------
    boxes : float tensor (n, 2 · dims), in voxels
    matched : int64 tensor (n,)
        The row of the box that each is matched to, -1 for background, -2 for what is ignored: never chosen.
    hardness : float tensor (n,) or None
        What a sampler that asks for it goes by: the score of being an object, or the loss.
    """

    boxes: torch.Tensor
    matched: torch.Tensor
    hardness: torch.Tensor | None = None


class RegionSampler(Protocol):
    """Chooses among the regions of one image."""

    @property
    def hardness(self) -> Hardness:
        """What it wants to know of each region: nothing, how sure the network is of an object, or its loss."""
        ...

    def choose(self, regions: Regions, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return rows of the chosen regions, each once, those matched to a box first.

        Parameters
        ----------
        regions : with ``hardness`` where the sampler wants it
        generator : on the CPU, whatever the device of the regions; torch's own where None
        """
        ...


@dataclass(frozen=True)
class RandomSampler:
    """Regions at random, at most a given share of them matched to a box (Girshick, "Fast R-CNN", 2015, section 2.3).

    Parameters
    ----------
    count : int
        How many regions, fewer where there are fewer.
    positive : float, 0 … 1
        The share of regions matched to a box. Where there are too few, background fills up.
    """

    count: int = 128
    positive: float = 0.25
    hardness: ClassVar[Hardness] = "none"

    def __post_init__(self) -> None:
        _refuse_shares(self.count, self.positive)

    def choose(self, regions: Regions, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return rows of the chosen regions; see :class:`RegionSampler`."""
        positives, negatives = _rows(regions.matched)
        taken = min(len(positives), round(self.count * self.positive))
        chosen = _some(positives, taken, generator), _some(negatives, self.count - taken, generator)
        return torch.cat(chosen)


@dataclass(frozen=True)
class HardNegativeSampler:
    """As :class:`RandomSampler`, but background only out of what is most like an object.

    Parameters
    ----------
    count, positive : as there
    pool : float, at least 1
        How many times as many hard negatives as are wanted there are to choose from at random; 1 takes the hardest.
        As MONAI's sampler of that name, which needs torchvision's.
    """

    count: int = 128
    positive: float = 0.25
    pool: float = 4.0
    hardness: ClassVar[Hardness] = "score"

    def __post_init__(self) -> None:
        _refuse_shares(self.count, self.positive)
        if self.pool < 1:
            raise ValueError(f"the pool is at least 1: got {self.pool}")

    def choose(self, regions: Regions, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return rows of the chosen regions; see :class:`RegionSampler`."""
        positives, negatives = _rows(regions.matched)
        taken = min(len(positives), round(self.count * self.positive))
        wanted = self.count - taken
        hardest = _hardest(negatives, _known(regions), round(wanted * self.pool))
        return torch.cat([_some(positives, taken, generator), _some(hardest, wanted, generator)])


@dataclass(frozen=True)
class OnlineHardExampleSampler:
    """The regions with the largest loss (Shrivastava et al., "Online Hard Example Mining", 2016).

    Parameters
    ----------
    count : int
    positive : float or None
        The greatest share of regions matched to a box; None, as in the paper, leaves that to the losses.
    iou : float or None
        Of regions that overlap by more than this only the one with the largest loss is eligible, lest one spot counts many
        times; 0.7 in the paper. None takes exactly the regions with the largest losses.
    """

    count: int = 128
    positive: float | None = None
    iou: float | None = None
    hardness: ClassVar[Hardness] = "loss"

    def __post_init__(self) -> None:
        _refuse_shares(self.count, 0 if self.positive is None else self.positive)

    def choose(self, regions: Regions, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return rows of the chosen regions; see :class:`RegionSampler`."""
        losses = _known(regions)
        positives, negatives = (
            self._eligible(rows, regions.boxes, losses) for rows in _rows(regions.matched)
        )
        if self.positive is None:
            chosen = _hardest(torch.cat([positives, negatives]), losses, self.count)
            return chosen[(regions.matched[chosen] < 0).int().argsort(stable=True)]
        hard = _hardest(positives, losses, round(self.count * self.positive))
        return torch.cat([hard, _hardest(negatives, losses, self.count - len(hard))])

    def _eligible(self, rows: torch.Tensor, boxes: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        if self.iou is None:
            return rows
        return rows[nms(boxes[rows], losses[rows], self.iou)]


SAMPLERS: dict[str, type[RegionSampler]] = {
    "random": RandomSampler,
    "hard-negative": HardNegativeSampler,
    "ohem": OnlineHardExampleSampler,
}
"""What a configuration may name."""


def build_region_sampler(given: Mapping[str, Any]) -> RegionSampler:
    """Return the sampler that a configuration names, such as ``{"name": "ohem", "count": 128}``."""
    return build_part(SAMPLERS, given, "sampler of regions")


def with_truth(proposals: torch.Tensor, boxes: torch.Tensor, is_ignored: torch.Tensor) -> torch.Tensor:
    """Return the proposals of an image, and after them the boxes that are really there, save the ignored ones.

    So that there is something to learn before the proposals are any good (Ren et al., "Faster R-CNN", as implemented).
    """
    return torch.cat([proposals, boxes[~is_ignored].to(proposals)])


def _refuse_shares(count: int, positive: float) -> None:
    if count < 1 or not 0 <= positive <= 1:
        raise ValueError(f"at least one region and a share of 0 … 1 are needed: got {count} and {positive}")


def _rows(matched: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of what is matched to a box, and of background."""
    return (matched >= 0).nonzero()[:, 0], (matched == BACKGROUND).nonzero()[:, 0]


def _some(rows: torch.Tensor, count: int, generator: torch.Generator | None) -> torch.Tensor:
    """Return at most ``count`` of the rows at random; the same on any device."""
    order = torch.randperm(len(rows), generator=generator)[:count]
    return rows[order.to(rows.device)]


def _hardest(rows: torch.Tensor, hardness: torch.Tensor, count: int) -> torch.Tensor:
    """Return at most ``count`` of the rows, the hardest first, of equal ones the earlier."""
    return rows[hardness[rows].argsort(descending=True, stable=True)[:count]]


def _known(regions: Regions) -> torch.Tensor:
    if regions.hardness is None:
        raise ValueError("this sampler goes by how hard each region is, which is not given")
    return regions.hardness
