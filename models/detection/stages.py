"""The later stages of a two-stage detector: what each proposal is, and where exactly.

One stage is Faster R-CNN's (Ren et al., 2015), several are Cascade R-CNN's (Cai and Vasconcelos, "Cascade R-CNN: Delving
into High Quality Object Detection", 2018): each looks at the boxes that the one before has refined.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import nn

from napari_medlab.models.detection.boxes import clip
from napari_medlab.models.detection.coding import decode
from napari_medlab.models.detection.roi_align import align_over_levels, assign_levels

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CODING", "BoxStage", "HeadSettings", "Pyramid", "RegionStages", "RoiSettings", "Rois", "Said"]

CODING = {"faster": [[10.0, 5.0]], "cascade": [[10.0, 5.0], [20.0, 10.0], [30.0, 15.0]]}
"""For each stage, what shifts and what logarithms of sizes are multiplied by: the finer, the better its boxes are already."""


@dataclass(frozen=True)
class RoiSettings:
    """How the features of a region are cut out; see :mod:`napari_medlab.models.detection.roi_align`.

    Parameters
    ----------
    bins : int
        Along each axis.
    canonical_size : float
        The size in voxels of the least regions that go to ``canonical_level``; see
        :func:`~napari_medlab.models.detection.roi_align.assign_levels`.
    canonical_level : int
        A level of the pyramid as its paper counts them, 2 for the finest there may be.
    """

    bins: int = 7
    canonical_size: float = 224.0
    canonical_level: int = 4

    def __post_init__(self) -> None:
        if self.bins < 1 or self.canonical_size <= 0:
            raise ValueError(f"at least one bin and a positive size are needed: got {self}")


@dataclass(frozen=True)
class HeadSettings:
    """What looks at regions.

    Parameters
    ----------
    name : {"faster", "cascade", "proposals"}
        One stage, several, or none: then the proposals themselves are what is found, of one class.
    hidden : int
        Width of the two fully connected layers of every stage.
    class_agnostic : bool or None
        Whether one box is told for all classes rather than one for each. None: only in a cascade, as its paper has it.
    coding : pairs of floats, one for each stage
        Weights of shifts and of logarithms of sizes; what :data:`CODING` has where empty.
    """

    name: str = "faster"
    hidden: int = 1024
    class_agnostic: bool | None = None
    coding: Sequence[Sequence[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.name not in (*CODING, "proposals"):
            raise ValueError(
                f"there is no head called {self.name!r}: known are faster, cascade and proposals"
            )
        if self.name == "faster" and len(self.coding) > 1:
            raise ValueError(
                f"the head 'faster' has one stage, but there are {len(self.coding)} pairs of coding weights"
            )

    @property
    def weights(self) -> Sequence[Sequence[float]]:
        """Pairs of weights, one for each stage; none where there is no stage."""
        return self.coding or CODING.get(self.name, [])

    @property
    def is_class_agnostic(self) -> bool:
        """Whether one box is told for all classes."""
        return self.name == "cascade" if self.class_agnostic is None else self.class_agnostic


class Pyramid(NamedTuple):
    """What a pyramid says of a batch of images.

    ``maps`` are (batch, channel, …cells) of consecutive levels, ``finest`` is the level of the first, 2 for P2, and
    ``image_shape`` is the images' spatial shape in voxels.
    """

    maps: Sequence[torch.Tensor]
    image_shape: Sequence[int]
    finest: int = 2

    @property
    def strides(self) -> list[list[float]]:
        """How many voxels a cell of each level spans along each axis."""
        return [
            [v / c for v, c in zip(self.image_shape, level.shape[2:], strict=True)] for level in self.maps
        ]


class Rois(NamedTuple):
    """Regions of a batch of images: ``boxes`` (n, 2 · dims) in voxels, and which image each lies in, int64 (n,)."""

    boxes: torch.Tensor
    images: torch.Tensor

    @classmethod
    def joined(cls, boxes: Sequence[torch.Tensor]) -> Rois:
        """Return the regions of all images, one image after the other."""
        counts = torch.tensor([len(of_image) for of_image in boxes])
        images = torch.arange(len(boxes)).repeat_interleave(counts)
        return cls(torch.cat(list(boxes)), images.to(boxes[0].device))


class Said(NamedTuple):
    """What a stage says of n regions.

    ``logits`` are (n, classes + 1), background last; ``deltas`` (n, 1 or classes, 2 · dims), from regions to boxes.
    """

    logits: torch.Tensor
    deltas: torch.Tensor


class BoxStage(nn.Module):
    """Two fully connected layers, from which the class and the box are told.

    Parameters
    ----------
    inputs : int
        Channels times bins.
    classes : int
    spatial_dims : 2 or 3
    settings : HeadSettings
    weights : two floats, this stage's of ``settings.weights``
    """

    def __init__(
        self, inputs: int, classes: int, spatial_dims: int, settings: HeadSettings, weights: Sequence[float]
    ) -> None:
        super().__init__()
        of_shifts, of_sizes = weights
        self.coding = (of_shifts,) * spatial_dims + (of_sizes,) * spatial_dims
        self.boxes_of_region = 1 if settings.is_class_agnostic else classes
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, settings.hidden),
            nn.ReLU(),
        )
        self.logits = nn.Linear(settings.hidden, classes + 1)
        self.deltas = nn.Linear(settings.hidden, self.boxes_of_region * 2 * spatial_dims)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        for layer in (self.logits, self.deltas):
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: torch.Tensor) -> Said:
        """Return what it says of regions with features (n, channel, …bins)."""
        hidden = self.hidden(pooled)
        deltas = self.deltas(hidden).view(len(pooled), self.boxes_of_region, len(self.coding))
        return Said(self.logits(hidden).float(), deltas.float())

    def boxes(self, regions: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
        """Return the boxes of all classes, (n, 1 or classes, 2 · dims), in voxels."""
        repeated = regions[:, None].expand(-1, deltas.shape[1], -1)
        return decode(repeated.flatten(0, 1), deltas.flatten(0, 1), self.coding).view(deltas.shape)

    def of_class(self, deltas: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Return the deltas of one class for each region, (n, 2 · dims); the only ones where there is one for all."""
        if self.boxes_of_region == 1:
            return deltas[:, 0]
        return deltas[torch.arange(len(deltas), device=deltas.device), classes]

    @torch.no_grad()
    def refined(self, regions: torch.Tensor, said: Said, image_shape: Sequence[int]) -> torch.Tensor:
        """Return each region as the box of its likeliest class, cut at the image's border; no gradient."""
        likeliest = said.logits[:, :-1].argmax(dim=1)
        deltas = self.of_class(said.deltas, likeliest)
        return clip(decode(regions, deltas, self.coding), image_shape)


class RegionStages(nn.Module):
    """All later stages.

    Parameters
    ----------
    spatial_dims : 2 or 3
    channels : int
        Of every level of the pyramid.
    classes : int
    roi : RoiSettings
    head : HeadSettings
    """

    def __init__(
        self, spatial_dims: int, channels: int, classes: int, roi: RoiSettings, head: HeadSettings
    ) -> None:
        super().__init__()
        self.roi = roi
        self.bins = (roi.bins,) * spatial_dims
        inputs = channels * roi.bins**spatial_dims
        self.stages = nn.ModuleList(
            BoxStage(inputs, classes, spatial_dims, head, weights) for weights in head.weights
        )

    def __len__(self) -> int:
        return len(self.stages)

    def each(self) -> list[BoxStage]:
        """Return the stages, in the order in which they look."""
        return cast("list[BoxStage]", list(self.stages))

    def pool(self, pyramid: Pyramid, rois: Rois) -> torch.Tensor:
        """Return the features of regions, (n, channel, …bins), each from the level that its size goes to."""
        canonical = self.roi.canonical_level - pyramid.finest
        levels = assign_levels(rois.boxes, len(pyramid.maps), self.roi.canonical_size, canonical)
        return align_over_levels(pyramid.maps, pyramid.strides, rois.boxes, rois.images, levels, self.bins)

    def forward(self, pyramid: Pyramid, rois: Rois) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what becomes of regions: boxes (n, 1 or classes, 2 · dims) of the last stage, and scores (n, classes).

        Scores are the mean over the stages.
        """
        regions, scores = rois.boxes, torch.zeros((), device=rois.boxes.device)
        for index, stage in enumerate(self.each()):
            said = stage(self.pool(pyramid, Rois(regions, rois.images)))
            scores = scores + said.logits.softmax(dim=1)[:, :-1] / len(self)
            if index + 1 < len(self):
                regions = stage.refined(regions, said, pyramid.image_shape)
        return clip(stage.boxes(regions, said.deltas), pyramid.image_shape), scores
