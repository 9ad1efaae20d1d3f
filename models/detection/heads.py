"""The dense heads of a one-stage detector, and its branches: what they say at each cell, and what boxes that means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch
from torch import nn

from napari_medlab.models.detection.anchors import AnchorGrid
from napari_medlab.models.detection.centreness import joined_logits
from napari_medlab.models.detection.coding import decode, decode_distances, encode, encode_distances

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.models.detection.centreness import CentrenessSettings

__all__ = [
    "AnchorCoding",
    "AnchorFreeSettings",
    "AnchorSettings",
    "Branch",
    "Coding",
    "DistanceCoding",
    "Towers",
    "cell_grid",
    "prior_bias",
]

PRIOR = 0.01
"""The score of everything before training (Lin et al., "Focal Loss", 2017, section 4.1)."""

OCTAVE_SIZE = 4.0
"""The smallest anchor of a level in strides, as RetinaNet has it, by default; two more fill the octave."""


@dataclass(frozen=True)
class AnchorSettings:
    """Which anchors a detector has.

    Parameters
    ----------
    sizes : one entry for each level: a length in voxels or several; None for 4, 5.04 and 6.35 strides
    ratios : shapes at every size; see :class:`~napari_medlab.models.detection.anchors.AnchorGrid`
    code_weights : what the codes of boxes are multiplied by, 2 · dims numbers; None for 1
    """

    sizes: Sequence[float | Sequence[float]] | None = None
    ratios: Sequence[float | Sequence[float]] = (0.5, 1.0, 2.0)
    code_weights: Sequence[float] | None = None

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read the settings; what is not named stays as it is by default."""
        return cls(**given)

    def grid(self, strides: Sequence[tuple[int, ...]]) -> AnchorGrid:
        """Return the anchors for levels of the given strides."""
        sizes = self.sizes if self.sizes is not None else [_octave(stride) for stride in strides]
        return AnchorGrid(sizes, self.ratios, strides, spatial_dims=len(strides[0]))


@dataclass(frozen=True)
class AnchorFreeSettings:
    """How a branch without anchors is built.

    Parameters
    ----------
    own_towers : bool
        Whether it has towers of its own beside those of the anchors. It shares them by default, as in FSAF.
    """

    own_towers: bool = False

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read the settings; what is not named stays as it is by default."""
        return cls(**given)


class Coding(Protocol):
    """How boxes are written relative to anchors or cells; all tensors are (n, 2 · dims)."""

    def encode(self, priors: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the codes of boxes."""
        ...

    def decode(self, priors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the boxes of codes."""
        ...


@dataclass(frozen=True)
class AnchorCoding:
    """Shifts of anchors; see :func:`napari_medlab.models.detection.coding.encode`."""

    weights: Sequence[float] | None = None

    def encode(self, priors: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the codes of boxes."""
        return encode(priors, boxes, self.weights)

    def decode(self, priors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the boxes of codes."""
        return decode(priors, codes, self.weights)


@dataclass(frozen=True)
class DistanceCoding:
    """Distances from cells; see :func:`napari_medlab.models.detection.coding.encode_distances`."""

    def encode(self, priors: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Return the codes of boxes."""
        return encode_distances(priors, boxes)

    def decode(self, priors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Return the boxes of codes."""
        return decode_distances(priors, codes)


class Towers(nn.Module):
    """The convolutions before the outputs, one row of them for classes and one for boxes, shared by all levels.

    They have no batch norm: the levels differ too much in their statistics to share it.
    """

    def __init__(self, spatial_dims: int, channels: int, convs: int) -> None:
        super().__init__()
        self.classification = _tower(spatial_dims, channels, convs)
        self.regression = _tower(spatial_dims, channels, convs)

    def forward(self, levels: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return for each level the features for classes and those for boxes."""
        return [(self.classification(features), self.regression(features)) for features in levels]


class Branch(nn.Module):
    """One way of finding objects at the cells of a pyramid: from anchors, or from the cells themselves.

    Parameters
    ----------
    channels : features of the towers
    classes : int
    grid : the anchors, or the cells, as boxes: the priors
    strides : for each level, how many voxels a cell spans along each axis
    coding : how boxes are written relative to the priors
    centreness : what is said of centre-ness, or None

    Notes
    -----
    The outputs are the logits ``"classification"`` (batch, priors, classes), the codes ``"box"`` (batch, priors,
    2 · dims), and the logits ``"centreness"`` (batch, priors) where the branch has it.
    """

    def __init__(
        self, channels: int, classes: int, grid: AnchorGrid, strides: Sequence[tuple[int, ...]], coding: Coding,
        centreness: CentrenessSettings | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.grid, self.coding = grid, coding
        self.strides = [tuple(stride) for stride in strides]
        self.centreness = centreness
        dims, per_cell = grid.spatial_dims, grid.per_cell
        self._classes = classes
        self.classification = _output(dims, channels, per_cell * classes)
        self.box = _output(dims, channels, per_cell * 2 * dims)
        self.centre = nn.ModuleDict()
        for place in () if centreness is None else _places(centreness.place):
            self.centre[place] = _output(dims, channels, per_cell)
        nn.init.constant_(self.classification.get_parameter("bias"), prior_bias())

    def forward(self, levels: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Return the outputs of the branch from the features of :class:`Towers`."""
        dims = self.grid.spatial_dims
        found = {
            "classification": _rows([self.classification(classes) for classes, _ in levels], self._classes),
            "box": _rows([self.box(boxes) for _, boxes in levels], 2 * dims),
        }
        if self.centre:
            found["centreness"] = _rows([self._centre_logits(*features) for features in levels], 1)[..., 0]
        return found

    def per_level(self, image_shape: Sequence[int]) -> list[int]:
        """Return how many cells each level has, for an image of a spatial shape in voxels."""
        return [math.prod(cells) for cells in self._cells(image_shape)]

    def priors(self, image_shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the anchors or cells of an image as boxes, (priors, 2 · dims)."""
        return self.grid.anchors(self._cells(image_shape), image_shape, device)

    def trained_logits(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits that the classification loss is of: with centre-ness multiplied in, if it is to be."""
        if self.centreness is not None and self.centreness.multiplied == "loss":
            return joined_logits(outputs["classification"], outputs["centreness"][..., None])
        return outputs["classification"].float()

    def scores(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the scores, 0 … 1, (batch, priors, classes): probabilities, times centre-ness where there is one."""
        probabilities = outputs["classification"].float().sigmoid()
        if "centreness" in outputs:
            probabilities = probabilities * outputs["centreness"].float().sigmoid()[..., None]
        return probabilities

    def _cells(self, image_shape: Sequence[int]) -> list[tuple[int, ...]]:
        return [
            tuple(-(-n // step) for n, step in zip(image_shape, stride, strict=True))
            for stride in self.strides
        ]

    def _centre_logits(self, classes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        features = {"classification": classes, "regression": boxes}
        logits = [output(features[place]) for place, output in self.centre.items()]
        return torch.stack(logits).mean(dim=0)


def cell_grid(strides: Sequence[tuple[int, ...]]) -> AnchorGrid:
    """Return the cells themselves as boxes, one stride long along each axis, for levels that double from each other."""
    sizes = [stride[0] / strides[0][0] for stride in strides]
    return AnchorGrid(sizes, [strides[0]], strides, spatial_dims=len(strides[0]))


def prior_bias(prior: float = PRIOR) -> float:
    """Return the logit of the score that everything has before training."""
    return math.log(prior / (1 - prior))


def _places(place: str) -> tuple[str, ...]:
    return ("classification", "regression") if place == "both" else (place,)


def _octave(stride: tuple[int, ...]) -> list[float]:
    side = math.exp(math.fsum(map(math.log, stride)) / len(stride))
    return [OCTAVE_SIZE * side * 2 ** (third / 3) for third in range(3)]


def _tower(spatial_dims: int, channels: int, convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(convs):
        convolution = _convolution(spatial_dims)(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        nn.init.zeros_(convolution.get_parameter("bias"))
        layers += [convolution, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _output(spatial_dims: int, channels: int, outputs: int) -> nn.Module:
    convolution = _convolution(spatial_dims)(channels, outputs, 3, padding=1)
    nn.init.normal_(convolution.weight, std=0.01)
    nn.init.zeros_(convolution.get_parameter("bias"))
    return convolution


def _convolution(spatial_dims: int) -> type[nn.Conv2d | nn.Conv3d]:
    return nn.Conv2d if spatial_dims == 2 else nn.Conv3d


def _rows(maps: Sequence[torch.Tensor], entries: int) -> torch.Tensor:
    """Return maps (batch, anchors of a cell · entries, …cells) of all levels as (batch, priors, entries)."""
    return torch.cat([level.movedim(1, -1).reshape(len(level), -1, entries) for level in maps], dim=1)
