"""A small encoder-decoder that marks the centres of lesions, in 2D and 3D.

The idea is that of CenterNet (Zhou, Wang and Krähenbühl, "Objects as Points", 2019): one heatmap for centres, one map for
size, one for the offset of the centre within its cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from napari_medlab.models.detection.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.detection.detections import DecodeSettings

__all__ = ["STRIDE", "CentreHeatmapNet"]

STRIDE = 2
"""How many input voxels one output cell spans along each axis."""

PRIOR = 0.01
"""The share of cells that hold a centre, to begin with (Lin et al., 2017, section 4.1)."""

MOST_VOXELS = 400.0
"""The largest diameter that is believed."""


class CentreHeatmapNet(nn.Module):
    """Maps an image to a grid of cells, each of which says whether a lesion's centre lies in it.

    Parameters
    ----------
    spatial_dims : 2 or 3
    channels : sequence of at least two ints
        Feature maps at strides 2, 4, 8 and so on. Multiples of 16 run fastest. Each further level doubles how far the
        network sees.
    classes : int
        Kinds of lesion, each with a heatmap of its own.
    in_channels : int

    Notes
    -----
    Input is float (batch, channel, z, y, x), 0 … 1, sizes divisible by :attr:`multiple`. Output is
    (batch, classes + 1 + spatial_dims, …) at stride 2: logits of the heatmaps, the natural logarithm of the diameter in
    voxels, and the offset of the centre from the cell's middle in cells, in array order. Batch norm, so that cutting an
    image into tiles does not change it.
    """

    has_boxes = False
    """Whether the sides of what it finds are measured one by one; here they are those of a circle's square."""

    def __init__(
        self,
        spatial_dims: int = 3,
        channels: Sequence[int] = (16, 32, 64),
        classes: int = 1,
        in_channels: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels names {len(channels)} level; at least two are needed")
        self.spatial_dims = spatial_dims
        self.classes = classes
        self.strides = [STRIDE * 2**level for level in range(len(channels))]
        self.multiple = self.strides[-1]
        self.stem = _convolution(spatial_dims, in_channels * STRIDE**spatial_dims, channels[0])
        for stride, width, finer in zip(self.strides, channels, [0, *channels[:-1]], strict=True):
            if finer:
                self.add_module(f"to{stride}", _convolution(spatial_dims, finer, width, stride=2))
            self.add_module(f"at{stride}", _Residual(spatial_dims, width))
        deepest = [_Residual(spatial_dims, channels[-1]) for _ in range(2)]
        self.add_module(f"at{self.multiple}", nn.Sequential(*deepest))
        for stride, width, coarser in zip(self.strides, channels, channels[1:], strict=False):
            self.add_module(f"up{stride}", _convolution(spatial_dims, coarser + width, width))
        self.head = _convolution(spatial_dims, channels[0], channels[0])
        self.out = _layer("Conv", spatial_dims)(channels[0], classes + 1 + spatial_dims, 1)
        with torch.no_grad():
            self.out.get_parameter("bias")[:classes] = float(torch.logit(torch.tensor(PRIOR)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the maps of an image; see the class for shapes."""
        features = self.stem(_space_to_depth(image, self.spatial_dims))
        levels: list[torch.Tensor] = []
        for stride in self.strides:
            if levels:
                features = self.get_submodule(f"to{stride}")(features)
            features = self.get_submodule(f"at{stride}")(features)
            levels.append(features)
        for stride, finer in zip(self.strides[-2::-1], levels[-2::-1], strict=True):
            joined = torch.cat([_double(features, finer), finer], dim=1)
            features = self.get_submodule(f"up{stride}")(joined)
        maps: torch.Tensor = self.out(self.head(features))
        return maps

    def decode(
        self, outputs: torch.Tensor, image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        """Return the local maxima of the heatmaps, best first: for each image its detections, in voxels.

        Parameters
        ----------
        outputs : what :meth:`forward` gave, (batch, classes + 1 + dims, …)
        image_shape : spatial shape of the input; not needed, as every cell knows its place
        settings : ``threshold`` and ``most`` count; a peak is where no neighbouring cell is higher
        """
        return [self._peaks(maps.float(), settings) for maps in outputs]

    def _peaks(self, maps: torch.Tensor, settings: DecodeSettings) -> Detections:
        heat = maps[: self.classes].sigmoid()
        pool = F.max_pool3d if self.spatial_dims == 3 else F.max_pool2d
        is_peak = (pool(heat[None], 3, stride=1, padding=1)[0] == heat) & (heat >= settings.threshold)
        found, scores = is_peak.nonzero(), heat[is_peak]
        order = scores.argsort(descending=True, stable=True)[: settings.most]
        classes, cells = found[order, 0], found[order, 1:]
        at = tuple(cells.T)
        shifts = maps[self.classes + 1 :]
        offset = torch.stack([axis[at] for axis in shifts], dim=1).clamp(-1, 1)
        centres = (cells + offset) * STRIDE + (STRIDE - 1) / 2
        diameters = maps[self.classes][at].exp().clamp(1, MOST_VOXELS)
        at_voxel, across, score = (
            tensor.double().cpu().numpy() for tensor in (centres, diameters, scores[order])
        )
        return Detections.of_centres(at_voxel, across, score, classes.cpu().numpy())


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
    """Fold blocks of 2 voxels along each axis into channels: (b, c, z, y, x) to (b, 8 c, z/2, y/2, x/2)."""
    for axis in range(2, 2 + spatial_dims):
        before = (slice(None),) * axis
        image = torch.cat([image[(*before, slice(first, None, STRIDE))] for first in range(STRIDE)], dim=1)
    return image


def _double(coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(coarse, size=like.shape[2:], mode="nearest")
