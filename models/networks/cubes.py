"""Classifiers of candidates: is the lesion that a detector proposes one, by a cube around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from napari_medlab.models.networks.cube_bodies import ConvolutionLayers, body

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["POOLINGS", "CubeClassifier", "CubeDesign", "middle"]

POOLINGS = ("fully connected", "global", "centre crop", "centre pooling")
STEMS = ("convolution", "space-to-depth")


@dataclass(frozen=True)
class CubeDesign:
    """How a classifier of cubes is built.

    Parameters
    ----------
    sides : sequence of int
        Sides of the cubes in voxels, one branch for each: ``[24]``, or ``[24, 32, 40]``, all cut from the middle of the
        largest. They must be divisible by how often the body and the stem halve them.
    body : {"vgg", "residual", "se-residual", "dense", "inception-residual"}
    se_place : {"before", "after"}
        Where the squeeze-and-excitation stands: before the addition or after it.
    activation : {"relu", "prelu"}
    pooling : str, or several
        What becomes of the last maps, joined where there are several:
        ``"fully connected"``, every cell goes into a layer of ``hidden`` neurons;
        ``"global"``, the mean over all cells, which forgets where things are;
        ``"centre crop"``, only the cells of the middle, half as many along each axis, each by itself;
        ``"centre pooling"``, the middle quarter as it is, the middle half and the whole map reduced to as many cells by
        their largest values (Shen et al., "Multi-crop convolutional neural networks for lung nodule malignancy suspiciousness
        classification", 2017).
    channels : sequence of int
        Feature maps at each size.
    hidden : int
    dropout : float, 0 … 1
        Before the last layer.
    stem : {"convolution", "space-to-depth"}
        A convolution at full size, or blocks of two voxels along each axis folded into channels: a third of the time.
    classes : int
        1 for lesion or not; more for kinds, of which 0 is none.
    """

    sides: Sequence[int] = (24,)
    body: str = "residual"
    se_place: str = "before"
    activation: str = "relu"
    pooling: str | Sequence[str] = "global"
    channels: Sequence[int] = (16, 32, 64)
    hidden: int = 64
    dropout: float = 0.0
    stem: str = "convolution"
    classes: int = 1

    def __post_init__(self) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem is one of {', '.join(STEMS)}; got {self.stem!r}")
        unknown = [name for name in self.poolings if name not in POOLINGS]
        if unknown or not self.poolings:
            raise ValueError(f"pooling is one or several of {', '.join(POOLINGS)}; got {self.pooling!r}")
        if not self.sides or any(side % self.stride or side < self.stride for side in self.sides):
            raise ValueError(
                f"sides {[*self.sides]} must be divisible by {self.stride}, as often as they are halved"
            )
        if any((max(self.sides) - side) % 2 for side in self.sides):
            raise ValueError(f"sides {[*self.sides]} must be all even or all odd, to have one middle")

    @property
    def poolings(self) -> tuple[str, ...]:
        """The poolings, one or several."""
        return (self.pooling,) if isinstance(self.pooling, str) else tuple(self.pooling)

    @property
    def stride(self) -> int:
        """How many voxels a cell of the last maps spans along each axis."""
        return int(2 ** (len(self.channels) - 1 + (self.stem == "space-to-depth")))


class CubeClassifier(nn.Module):
    """Judges cubes.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels : int
    **design
        The fields of :class:`CubeDesign`.

    Notes
    -----
    Input is float (batch, channel, z, y, x) or (batch, channel, y, x), each side at least the largest of ``sides``; what
    is more is cut off evenly. Output is logits, (batch,) for one class, (batch, classes) for several.

    Raises
    ------
    ValueError
        Where the design does not fit together.
    """

    def __init__(self, spatial_dims: int = 3, in_channels: int = 1, **design: Any) -> None:  # noqa: ANN401 - the design's fields
        super().__init__()
        self.design = CubeDesign(**design)
        self.spatial_dims = spatial_dims
        self.side = max(self.design.sides)
        self.multiple = self.side
        branches = [_Branch(spatial_dims, in_channels, self.design, side) for side in self.design.sides]
        self.branches = nn.ModuleList(branches)
        features = sum(branch.features for branch in branches)
        self.out = nn.Sequential(nn.Dropout(self.design.dropout), nn.Linear(features, self.design.classes))

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        """Return the logits of cubes; see the class for shapes."""
        seen = [
            branch(middle(cubes, side)) for branch, side in zip(self.branches, self.design.sides, strict=True)
        ]
        logits: torch.Tensor = self.out(torch.cat(seen, dim=1))
        return logits[:, 0] if self.design.classes == 1 else logits


class _Branch(nn.Module):
    """One cube size: stem, body, pooling."""

    def __init__(self, spatial_dims: int, in_channels: int, design: CubeDesign, side: int) -> None:
        super().__init__()
        layers = ConvolutionLayers(spatial_dims, design.activation)
        self.is_folded = design.stem == "space-to-depth"
        inputs = in_channels * 2**spatial_dims if self.is_folded else in_channels
        self.stem = layers.convolution(inputs, design.channels[0])
        self.body = body(design.body, layers, design.channels, design.se_place)
        cells, width = side // design.stride, design.channels[-1]
        pools = [_pooling(name, layers, width, cells, design.hidden) for name in design.poolings]
        self.pools = nn.ModuleList(pool for pool, _ in pools)
        self.features = sum(count for _, count in pools)

    def forward(self, cubes: torch.Tensor) -> torch.Tensor:
        maps = self.body(self.stem(_folded(cubes) if self.is_folded else cubes))
        return torch.cat([pool(maps) for pool in self.pools], dim=1)


def _pooling(
    name: str, layers: ConvolutionLayers, width: int, cells: int, hidden: int
) -> tuple[nn.Module, int]:
    """Return a pooling of maps (batch, width, cells, …) and how many features it gives."""
    half, quarter = _within(cells, 2), _within(cells, 4)
    if name == "fully connected":
        neurons = nn.Linear(width * cells**layers.spatial_dims, hidden)
        return nn.Sequential(nn.Flatten(), neurons, layers.active()), hidden
    if name == "global":
        return _GlobalMean(), width
    if name == "centre crop":
        return _Crop(half), width * half**layers.spatial_dims
    return _MultiCrop((cells, half, quarter)), 3 * width * quarter**layers.spatial_dims


class _GlobalMean(nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.flatten(2).mean(dim=2)


class _Crop(nn.Module):
    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return middle(maps, self.side).flatten(1)


class _MultiCrop(nn.Module):
    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__()
        self.sides = tuple(sides)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        pool = F.adaptive_max_pool3d if maps.ndim == 5 else F.adaptive_max_pool2d
        crops = [middle(maps, side) for side in self.sides]
        pooled = [pool(crop, (self.sides[-1],) * (maps.ndim - 2)) for crop in crops]
        return torch.cat(pooled, dim=1).flatten(1)


def _within(cells: int, part: int) -> int:
    """Return how many cells the middle has: at most 1 / part of them, one or two at least, even as ``cells`` is or odd."""
    count = cells // part
    return max(count - (cells - count) % 2, 2 - cells % 2)


def middle(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Return the middle of maps or cubes (batch, channel, …), ``side`` cells along each axis; sizes differ by even numbers."""
    for axis in range(2, maps.ndim):
        maps = maps.narrow(axis, (maps.shape[axis] - side) // 2, side)
    return maps


def _folded(cubes: torch.Tensor) -> torch.Tensor:
    """Fold blocks of 2 voxels along each axis into channels: (b, c, z, y, x) to (b, 8 c, z/2, y/2, x/2)."""
    for axis in range(2, cubes.ndim):
        pairs: torch.Tensor = cubes.unflatten(axis, (-1, 2))
        cubes = torch.cat(pairs.unbind(axis + 1), dim=1)
    return cubes
