"""Residual backbones and the feature pyramids on them, in 2D and 3D, for detectors."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from monai.networks.blocks.feature_pyramid_network import FeaturePyramidNetwork
from monai.networks.nets.resnet import ResNet
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["BACKBONES", "Backbone", "FeaturePyramid"]

FINEST = 2
"""The level of the first stage: P2 comes from it, as C2."""

PLANES = (64, 128, 256, 512)
"""The widths of the stages, before a bottleneck widens them."""


@dataclass(frozen=True)
class _Residual:
    """How many blocks each stage has, and of which kind."""

    block: str
    blocks: tuple[int, int, int, int]

    @property
    def expansion(self) -> int:
        return 4 if self.block == "bottleneck" else 1


BACKBONES = {
    "resnet10": _Residual("basic", (1, 1, 1, 1)),
    "resnet18": _Residual("basic", (2, 2, 2, 2)),
    "resnet34": _Residual("basic", (3, 4, 6, 3)),
    "resnet50": _Residual("bottleneck", (3, 4, 6, 3)),
    "resnet101": _Residual("bottleneck", (3, 4, 23, 3)),
    "resnet152": _Residual("bottleneck", (3, 8, 36, 3)),
}
"""What ``backbone`` may name (He et al., "Deep Residual Learning for Image Recognition", 2016)."""


class Backbone(nn.Module):
    """The stages of a residual network, C2 to at most C5.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels : int
    name : one of :data:`BACKBONES`
    planes : four ints, or None
        The widths of the stages before a bottleneck widens them; None for 64, 128, 256 and 512.
    stem_kernel, stem_stride : int, or one for each axis
        Those of the first convolution. A stride of 1 along z keeps the thick slices of a volume apart.
    pool : bool
        Whether a maximum over 3 voxels at stride 2 follows it.
    stages : 1 … 4
        How many stages there are: small lesions need no deep ones.

    Attributes
    ----------
    strides : for each stage, how many voxels a cell spans along each axis
    channels : for each stage, how many features it has

    Notes
    -----
    Batch norm throughout, so that cutting an image into tiles does not change it. Every stage but the first halves the
    map. An input whose shape is no multiple of the strides has its last cells padded.
    """

    def __init__(  # noqa: PLR0913 - what a bundle may set, as plain JSON values
        self, spatial_dims: int = 2, in_channels: int = 1, name: str = "resnet18", planes: Sequence[int] | None = None,
        stem_kernel: int | Sequence[int] = 7, stem_stride: int | Sequence[int] = 2, pool: bool = True, stages: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        if name not in BACKBONES:
            raise ValueError(f"there is no backbone called {name!r}: known are {', '.join(BACKBONES)}")
        if not 1 <= stages <= len(BACKBONES[name].blocks):
            raise ValueError(f"a backbone has 1 to 4 stages: got {stages}")
        kind = BACKBONES[name]
        widths = list(planes) if planes is not None else list(PLANES)
        kernel, stride = _by_axis(stem_kernel, spatial_dims), _by_axis(stem_stride, spatial_dims)
        whole = ResNet(
            kind.block, list(kind.blocks), widths, spatial_dims=spatial_dims, n_input_channels=in_channels,
            conv1_t_size=cast(Any, kernel), conv1_t_stride=cast(Any, stride), feed_forward=False, bias_downsample=False,
        )  # fmt: skip
        self.stem = nn.Sequential(whole.conv1, whole.bn1, whole.act, whole.maxpool if pool else nn.Identity())
        self.stages = nn.ModuleList([whole.layer1, whole.layer2, whole.layer3, whole.layer4][:stages])
        first = tuple(step * (2 if pool else 1) for step in stride)
        self.strides = [tuple(step * 2**stage for step in first) for stage in range(stages)]
        self.channels = [width * kind.expansion for width in widths[:stages]]

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of all stages, finest first, of an image (batch, channel, …)."""
        features = self.stem(image)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class FeaturePyramid(nn.Module):
    """A backbone whose fine levels know what the coarse ones see (Lin et al., "Feature Pyramid Networks", 2017).

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels : int
    backbone : mapping
        Further arguments of :class:`Backbone`, such as ``{"name": "resnet50"}``.
    levels : sequence of ints
        Which levels are returned, in order: 2 for P2, the finest. Those beyond the last stage are made by convolutions
        of stride 2, the first of them from what ``p6_from`` says (Lin et al., "Focal Loss", 2017).
    channels : features of every level
    p6_from : {"c5", "p5"}
        Whether the levels beyond start from the backbone's last stage or from the pyramid's level on it.

    Attributes
    ----------
    strides : for each of ``levels``, how many voxels a cell spans along each axis
    multiple : the number that input sizes are divisible by, for cells to lie as the strides say in every tile

    Raises
    ------
    ValueError
        Where the levels are not ascending from at least 2, or a choice is none of those offered.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 1, backbone: Mapping[str, Any] | None = None,
        levels: Sequence[int] = (3, 4, 5, 6, 7), channels: int = 256, p6_from: str = "c5",
    ) -> None:  # fmt: skip
        super().__init__()
        if not levels or list(levels) != sorted(set(levels)) or levels[0] < FINEST:
            raise ValueError(f"the levels of a pyramid ascend from at least {FINEST}: got {list(levels)}")
        if p6_from not in ("c5", "p5"):
            raise ValueError(f"P6 is made from c5 or p5: got {p6_from!r}")
        self.backbone = Backbone(spatial_dims, in_channels, **dict(backbone or {}))
        self.channels = channels
        self.levels = tuple(levels)
        self._from_c5 = p6_from == "c5"
        coarsest = FINEST + len(self.backbone.stages) - 1
        self._inner = tuple(range(min(levels[0], coarsest), coarsest + 1))
        widths = [self.backbone.channels[level - FINEST] for level in self._inner]
        self.top_down = FeaturePyramidNetwork(spatial_dims, widths, channels)
        self.beyond = nn.ModuleList()
        for level in range(coarsest + 1, levels[-1] + 1):
            first = level == coarsest + 1 and self._from_c5
            self.beyond.append(_halving(spatial_dims, widths[-1] if first else channels, channels))
        self.strides = [self._stride(level) for level in levels]
        self.multiple = max(self._stride(max(coarsest, levels[-1])))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level, finest first, (batch, channels, …), of an image (batch, channel, …)."""
        stages = self.backbone(image)[-len(self._inner) :]
        named = self.top_down(
            OrderedDict((str(level), stage) for level, stage in zip(self._inner, stages, strict=True))
        )
        found = dict(zip(self._inner, named.values(), strict=True))
        source = stages[-1] if self._from_c5 else found[self._inner[-1]]
        for step, convolution in enumerate(self.beyond):
            source = convolution(source if step == 0 else F.relu(source))
            found[self._inner[-1] + 1 + step] = source
        return [found[level] for level in self.levels]

    def _stride(self, level: int) -> tuple[int, ...]:
        return tuple(stride * 2 ** (level - FINEST) for stride in self.backbone.strides[0])


def _halving(spatial_dims: int, inputs: int, outputs: int) -> nn.Module:
    layer: type[nn.Conv2d | nn.Conv3d] = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    convolution = layer(inputs, outputs, 3, stride=2, padding=1)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    nn.init.zeros_(convolution.get_parameter("bias"))
    return convolution


def _by_axis(value: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    return (value,) * spatial_dims if isinstance(value, int) else tuple(value)
