"""The bodies of classifiers of cubes: how features grow from one size to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BODIES", "ConvolutionLayers", "SqueezeResidual", "body"]

SCALE = 0.3
"""How much an inception block adds (Szegedy et al., "Inception-v4", 2016, section 3.3: 0.1 to 0.3)."""

DENSE_LAYERS = 4
"""Of a dense body's first block; each next one has two more."""


class ConvolutionLayers:
    """Makes convolutions of one number of dimensions and one activation, with batch norm.

    Parameters
    ----------
    spatial_dims : 2 or 3
    activation : {"relu", "prelu"}
    """

    def __init__(self, spatial_dims: int, activation: str) -> None:
        if activation not in ("relu", "prelu"):
            raise ValueError(f"activation is relu or prelu; got {activation!r}")
        self.spatial_dims = spatial_dims
        self.activation = ("RELU", {"inplace": True}) if activation == "relu" else ("PRELU", {})

    def convolution(
        self, inputs: int, outputs: int, size: int = 3, stride: int = 1, *, is_active: bool = True
    ) -> nn.Module:
        """Return a convolution of a size and a stride, with batch norm and, where asked for, the activation."""
        from monai.networks.blocks.convolutions import Convolution

        layer: nn.Module = Convolution(
            self.spatial_dims, inputs, outputs, strides=stride, kernel_size=size, bias=False, norm="BATCH",
            act=self.activation if is_active else None,
        )  # fmt: skip
        return layer

    def active(self) -> nn.Module:
        """Return the activation alone."""
        return nn.PReLU() if self.activation[0] == "PRELU" else nn.ReLU(inplace=True)

    def halving(self) -> nn.Module:
        """Return the pooling that halves sizes, by the largest."""
        layer: nn.Module = getattr(nn, f"MaxPool{self.spatial_dims}d")(2)
        return layer


class Residual(nn.Module):
    """Two convolutions whose result is added to what came in (He et al., "Deep residual learning", 2015)."""

    def __init__(self, layers: ConvolutionLayers, channels: int) -> None:
        super().__init__()
        self.first = layers.convolution(channels, channels)
        self.second = layers.convolution(channels, channels, is_active=False)
        self.active = layers.active()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        added: torch.Tensor = self.active(features + self.second(self.first(features)))
        return added


class SqueezeResidual(Residual):
    """A residual block whose channels are weighed by what the whole map holds.

    Parameters
    ----------
    layers : ConvolutionLayers
    channels : int
    place : {"before", "after"}
        Weighs what is added, before the addition (Hu, Shen and Sun, "Squeeze-and-excitation networks", 2018), or the sum.
    """

    def __init__(self, layers: ConvolutionLayers, channels: int, place: str) -> None:
        from monai.networks.blocks.squeeze_and_excitation import ChannelSELayer

        super().__init__(layers, channels)
        if place not in ("before", "after"):
            raise ValueError(f"se_place is before or after the addition; got {place!r}")
        self.place = place
        self.squeeze = ChannelSELayer(layers.spatial_dims, channels, r=min(4, channels))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        change = self.second(self.first(features))
        added = features + self.squeeze(change) if self.place == "before" else self.squeeze(features + change)
        active: torch.Tensor = self.active(added)
        return active


class InceptionResidual(nn.Module):
    """Three branches that see 1, 3 and 5 voxels far, joined and added (Szegedy et al., "Inception-v4", 2016, figure 10)."""

    def __init__(self, layers: ConvolutionLayers, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 2, 1)
        self.branches = nn.ModuleList(
            [
                layers.convolution(channels, narrow, 1),
                nn.Sequential(layers.convolution(channels, narrow, 1), layers.convolution(narrow, narrow)),
                nn.Sequential(
                    layers.convolution(channels, narrow, 1),
                    layers.convolution(narrow, narrow),
                    layers.convolution(narrow, narrow),
                ),
            ]
        )
        self.join = layers.convolution(3 * narrow, channels, 1, is_active=False)
        self.active = layers.active()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        change = self.join(torch.cat([branch(features) for branch in self.branches], dim=1))
        added: torch.Tensor = self.active(features + SCALE * change)
        return added


def _vgg(layers: ConvolutionLayers, channels: Sequence[int], place: str) -> nn.Module:
    stages: list[nn.Module] = []
    for inputs, outputs in zip([channels[0], *channels[:-1]], channels, strict=True):
        stages += [layers.halving()] if stages else []
        stages += [layers.convolution(inputs, outputs), layers.convolution(outputs, outputs)]
    return nn.Sequential(*stages)


def _of_blocks(
    layers: ConvolutionLayers, channels: Sequence[int], block: Callable[[int], nn.Module]
) -> nn.Sequential:
    """Return a block at each size, with a convolution of stride 2 between them."""
    stages: list[nn.Module] = []
    for inputs, outputs in zip([channels[0], *channels[:-1]], channels, strict=True):
        stages += [layers.convolution(inputs, outputs, stride=2)] if stages else []
        stages.append(block(outputs))
    return nn.Sequential(*stages)


def _residual(layers: ConvolutionLayers, channels: Sequence[int], place: str) -> nn.Module:
    return _of_blocks(layers, channels, lambda width: Residual(layers, width))


def _se_residual(layers: ConvolutionLayers, channels: Sequence[int], place: str) -> nn.Module:
    return _of_blocks(layers, channels, lambda width: SqueezeResidual(layers, width, place))


def _inception_residual(layers: ConvolutionLayers, channels: Sequence[int], place: str) -> nn.Module:
    return _of_blocks(layers, channels, lambda width: InceptionResidual(layers, width))


def _dense(layers: ConvolutionLayers, channels: Sequence[int], place: str) -> nn.Module:
    """Return MONAI's dense blocks with a last convolution to as many channels as are asked for."""
    from monai.networks.nets.densenet import DenseNet

    blocks = [DENSE_LAYERS + 2 * level for level in range(len(channels))]
    network = DenseNet(
        layers.spatial_dims, 1, 1, init_features=channels[0], growth_rate=max(channels[0] * 3 // 4, 1),
        block_config=blocks, bn_size=2, act=layers.activation,
    )  # fmt: skip
    # its own stem divides sizes by 4, which is too much for a small cube
    dense = list(network.features.children())[4:]
    width = network.get_parameter("class_layers.out.weight").shape[1]
    return nn.Sequential(*dense, layers.active(), layers.convolution(width, channels[-1], 1))


BODIES = {
    "vgg": _vgg,
    "residual": _residual,
    "se-residual": _se_residual,
    "dense": _dense,
    "inception-residual": _inception_residual,
}
"""The bodies by the names that bundles use."""


def body(kind: str, layers: ConvolutionLayers, channels: Sequence[int], se_place: str) -> nn.Module:
    """Return a body: from ``channels[0]`` features to ``channels[-1]``, halved once less often than there are channels.

    Raises
    ------
    ValueError
        For a kind that is not known.
    """
    if kind not in BODIES:
        raise ValueError(f"there is no body {kind!r}; known are {', '.join(BODIES)}")
    return BODIES[kind](layers, channels, se_place)
