"""A small encoder-decoder that marks the centres of lesions, in 2D and 3D.

The idea is that of CenterNet (Zhou, Wang and Krähenbühl, "Objects as Points", 2019): one heatmap for centres, one map for
size, one for the offset of the centre within its cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STRIDE", "CentreHeatmapNet"]

STRIDE = 2
"""How many input voxels one output cell spans along each axis."""

PRIOR = 0.01
"""The share of cells that hold a centre, to begin with (Lin et al., 2017, section 4.1)."""


class CentreHeatmapNet(nn.Module):
    """Maps an image to a grid of cells, each of which says whether a lesion's centre lies in it.

    Parameters
    ----------
    spatial_dims : 2 or 3
    channels : sequence of three ints
        Feature maps at strides 2, 4 and 8. Multiples of 16 run fastest.
    classes : int
        Kinds of lesion, each with a heatmap of its own.

    Notes
    -----
    Input is float (batch, 1, z, y, x), 0 … 1, sizes divisible by 8. Output is (batch, classes + 1 + spatial_dims, …) at
    stride 2: logits of the heatmaps, the natural logarithm of the diameter in voxels, and the offset of the centre from
    the cell's middle in cells, in array order. Batch norm, so that cutting an image into tiles does not change it.
    """

    def __init__(self, spatial_dims: int = 3, channels: Sequence[int] = (16, 32, 64), classes: int = 1) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.classes = classes
        c2, c4, c8 = channels
        self.stem = _convolution(spatial_dims, STRIDE**spatial_dims, c2)
        self.at2 = _Residual(spatial_dims, c2)
        self.to4 = _convolution(spatial_dims, c2, c4, stride=2)
        self.at4 = _Residual(spatial_dims, c4)
        self.to8 = _convolution(spatial_dims, c4, c8, stride=2)
        self.at8 = nn.Sequential(_Residual(spatial_dims, c8), _Residual(spatial_dims, c8))
        self.up4 = _convolution(spatial_dims, c8 + c4, c4)
        self.up2 = _convolution(spatial_dims, c4 + c2, c2)
        self.head = _convolution(spatial_dims, c2, c2)
        self.out = _layer("Conv", spatial_dims)(c2, classes + 1 + spatial_dims, 1)
        with torch.no_grad():
            self.out.get_parameter("bias")[:classes] = float(torch.logit(torch.tensor(PRIOR)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the maps of an image; see the class for shapes."""
        at2 = self.at2(self.stem(_space_to_depth(image, self.spatial_dims)))
        at4 = self.at4(self.to4(at2))
        at8 = self.at8(self.to8(at4))
        up4 = self.up4(torch.cat([_double(at8, at4), at4], dim=1))
        up2 = self.up2(torch.cat([_double(up4, at2), at2], dim=1))
        maps: torch.Tensor = self.out(self.head(up2))
        return maps


class _Residual(nn.Module):
    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        self.first = _convolution(spatial_dims, channels, channels)
        self.second = _layer("Conv", spatial_dims)(channels, channels, 3, padding=1, bias=False)
        self.norm = _layer("BatchNorm", spatial_dims)(channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(features + self.norm(self.second(self.first(features))))


def _layer(name: str, spatial_dims: int) -> type[nn.Module]:
    layer: type[nn.Module] = getattr(nn, f"{name}{spatial_dims}d")
    return layer


def _convolution(spatial_dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = _layer("Conv", spatial_dims)(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, _layer("BatchNorm", spatial_dims)(outputs), nn.ReLU(inplace=True))


def _space_to_depth(image: torch.Tensor, spatial_dims: int) -> torch.Tensor:
    """Fold blocks of 2 voxels along each axis into channels: (b, 1, z, y, x) to (b, 8, z/2, y/2, x/2)."""
    for axis in range(2, 2 + spatial_dims):
        pairs: torch.Tensor = image.unflatten(axis, (-1, STRIDE))
        even, odd = pairs.unbind(axis + 1)
        image = torch.cat([even, odd], dim=1)
    return image


def _double(coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(coarse, size=like.shape[2:], mode="nearest")
