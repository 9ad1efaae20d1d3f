"""Several centre-heatmap networks side by side, each for its own classes at its own scale.

A calcification is two pixels wide and a mass a hundred: the first needs every pixel, the second needs to be seen whole.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn import functional as F

from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from napari_medlab.models.detection.detections import DecodeSettings

__all__ = ["ScaledHeatmapNet"]


class ScaledHeatmapNet(nn.Module):
    """Centre-heatmap networks that look at one image, each of them reduced by a factor of its own.

    Parameters
    ----------
    scales : sequence of mappings
        For each part: ``factor`` (blocks of so many voxels a side are averaged first), ``classes`` (which of the bundle's
        classes it finds) and ``channels`` (see :class:`CentreHeatmapNet`).
    spatial_dims : 2 or 3
    in_channels : int

    Notes
    -----
    Input is float (batch, channel, …), 0 … 1, sizes divisible by :attr:`multiple`. Output is a list: the maps of each
    part, at its own scale.
    """

    has_boxes = False
    """Whether the sides of what it finds are measured one by one; here they are those of a circle's square."""

    def __init__(
        self, scales: Sequence[Mapping[str, Any]], spatial_dims: int = 2, in_channels: int = 1
    ) -> None:
        super().__init__()
        if not scales:
            raise ValueError("scales names no part; at least one is needed")
        self.spatial_dims = spatial_dims
        self.factors = [int(scale["factor"]) for scale in scales]
        self.class_numbers = [[int(number) for number in scale["classes"]] for scale in scales]
        self.classes = 1 + max(number for numbers in self.class_numbers for number in numbers)
        parts = [
            CentreHeatmapNet(spatial_dims, scale["channels"], len(scale["classes"]), in_channels)
            for scale in scales
        ]
        self.parts = nn.ModuleList(parts)
        self.multiple = math.lcm(
            *(factor * part.multiple for factor, part in zip(self.factors, parts, strict=True))
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps of every part; see the class for shapes."""
        pool = F.avg_pool3d if self.spatial_dims == 3 else F.avg_pool2d
        return [
            part(image if factor == 1 else pool(image, factor))
            for part, factor in zip(self.parts, self.factors, strict=True)
        ]

    def decode(
        self, outputs: Sequence[torch.Tensor], image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        """Return what all parts found, in voxels of the image: for each image of the batch its detections."""
        found = [
            [self._enlarged(each, number) for each in self._part(number).decode(maps, image_shape, settings)]
            for number, maps in enumerate(outputs)
        ]
        return [Detections.joined(parts) for parts in zip(*found, strict=True)]

    def _part(self, number: int) -> CentreHeatmapNet:
        part = self.parts[number]
        if not isinstance(part, CentreHeatmapNet):
            raise TypeError(type(part).__name__)
        return part

    def _enlarged(self, found: Detections, number: int) -> Detections:
        """Return a part's detections in voxels of the image: the centre of block i lies at (i + 0.5) f - 0.5."""
        factor = self.factors[number]
        numbers = found.classes.copy()
        for own, known_as in enumerate(self.class_numbers[number]):
            numbers[found.classes == own] = known_as
        return Detections((found.boxes + 0.5) * factor - 0.5, found.scores, numbers)
