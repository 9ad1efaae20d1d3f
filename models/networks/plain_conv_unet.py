"""The U-Nets of nnU-Net v2, built so that its weights fit by name.

The architectures are those of Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
segmentation" (Nature Methods, 2021) and "nnU-Net Revisited" (MICCAI, 2024), as the package
``dynamic-network-architectures`` lays them out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["StagedUNet"]

SLOPE = 0.01
ENCODERS = ("plain", "residual")


class StagedUNet(nn.Module):
    """An encoder of stages, each a stack of convolutions or of residual blocks, and a decoder of as many less one.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, classes : int
    features : sequence of int
        Feature maps of each stage.
    kernels, strides : sequence of sequences of int
        For each stage, one number for each axis; the stride is that of the stage's first convolution.
    blocks : sequence of int
        For each stage of the encoder, how many convolutions, or how many residual blocks.
    decoder_blocks : sequence of int
        How many convolutions after each upsampling, from the deepest.
    encoder : {"plain", "residual"}
        The latter with a stem before its first stage, and with blocks as in ResNet-D.
    bias : bool
        Whether convolutions have a bias.
    norm_eps : float
        Of the instance norms.

    Notes
    -----
    Input is (batch, in_channels, …) with sizes divisible by ``multiple``; output is (batch, classes, …) of the same sizes.
    Instance norm sees a whole tile, so the result depends a little on how an image is cut. The heads of the deeper stages
    served the training and are not used here.
    """

    def __init__(  # noqa: PLR0913 - an architecture has that many numbers
        self, spatial_dims: int, in_channels: int, classes: int, features: Sequence[int], kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]], blocks: Sequence[int], decoder_blocks: Sequence[int], encoder: str = "plain",
        bias: bool = True, norm_eps: float = 1e-5,
    ) -> None:  # fmt: skip
        super().__init__()
        stages = len(features)
        counts = {len(kernels), len(strides), len(blocks), len(decoder_blocks) + 1}
        if (
            counts != {stages}
            or encoder not in ENCODERS
            or {len(one) for one in (*kernels, *strides)} != {spatial_dims}
        ):
            raise ValueError(
                f"{stages} stages do not fit their kernels, strides, blocks or encoder {encoder!r}"
            )
        make = _Maker(spatial_dims, bias, norm_eps)
        self.strides = [tuple(stride) for stride in strides]
        self.encoder = _Encoder(
            make, in_channels, features, list(zip(kernels, strides, blocks, strict=True)), encoder
        )
        self.decoder = _Decoder(make, classes, features, kernels, strides, decoder_blocks)

    @property
    def multiple(self) -> int:
        """What the sizes of the input have to be divisible by."""
        return math.lcm(*(math.prod(steps) for steps in zip(*self.strides, strict=True)))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return logits at the input's size."""
        logits: torch.Tensor = self.decoder(self.encoder(image))
        return logits


class _Maker:
    """Makes the layers that all parts are of."""

    def __init__(self, spatial_dims: int, bias: bool, norm_eps: float) -> None:
        self.spatial_dims, self.bias, self.norm_eps = spatial_dims, bias, norm_eps

    def layer(self, name: str) -> Any:  # noqa: ANN401 - a class of torch's
        return getattr(nn, f"{name}{self.spatial_dims}d")

    def convolution(
        self,
        inputs: int,
        outputs: int,
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        *,
        is_last: bool = False,
    ) -> _Convolution:
        return _Convolution(
            self, (inputs, outputs), kernel, stride or (1,) * self.spatial_dims, is_last=is_last
        )

    def stack(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], count: int
    ) -> _Stack:
        first = self.convolution(inputs, outputs, kernel, stride)
        return _Stack([first, *(self.convolution(outputs, outputs, kernel) for _ in range(1, count))])


class _Convolution(nn.Module):
    """Convolution, instance norm, and a leaky ReLU unless another part adds to it first."""

    def __init__(
        self, make: _Maker, channels: tuple[int, int], kernel: Sequence[int], stride: Sequence[int], *, is_last: bool,
        bias: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        padding = [(size - 1) // 2 for size in kernel]
        has_bias = make.bias if bias is None else bias
        self.conv = make.layer("Conv")(*channels, tuple(kernel), tuple(stride), padding, bias=has_bias)
        self.norm = make.layer("InstanceNorm")(channels[1], eps=make.norm_eps, affine=True)
        self.nonlin = nn.Identity() if is_last else nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.nonlin(self.norm(self.conv(features)))
        return activated


class _Stack(nn.Module):
    def __init__(self, convolutions: Sequence[nn.Module]) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convolutions)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        stacked: torch.Tensor = self.convs(features)
        return stacked


class _Residual(nn.Module):
    """Two convolutions whose sum with the input is activated; a strided input is averaged, as in ResNet-D (He et al., 2019)."""

    def __init__(
        self, make: _Maker, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        self.conv1 = make.convolution(inputs, outputs, kernel, stride)
        self.conv2 = make.convolution(outputs, outputs, kernel, is_last=True)
        self.nonlin2 = nn.LeakyReLU(SLOPE, inplace=True)
        ones = (1,) * make.spatial_dims
        parts: list[nn.Module] = (
            [make.layer("AvgPool")(tuple(stride), tuple(stride))] if tuple(stride) != ones else []
        )
        if inputs != outputs:
            parts.append(_Convolution(make, (inputs, outputs), ones, ones, is_last=True, bias=False))
        self.skip = nn.Sequential(*parts)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        activated: torch.Tensor = self.nonlin2(self.conv2(self.conv1(features)) + self.skip(features))
        return activated


class _ResidualStage(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        passed: torch.Tensor = self.blocks(features)
        return passed


class _Encoder(nn.Module):
    """Returns the features of every stage, the finest first."""

    def __init__(
        self, make: _Maker, inputs: int, features: Sequence[int], shapes: Sequence[tuple[Sequence[int], Sequence[int], int]],
        kind: str,
    ) -> None:  # fmt: skip
        super().__init__()
        ones = (1,) * make.spatial_dims
        self.stem = make.stack(inputs, features[0], shapes[0][0], ones, 1) if kind == "residual" else None
        below = inputs if self.stem is None else features[0]
        stages: list[nn.Module] = []
        for outputs, (kernel, stride, count) in zip(features, shapes, strict=True):
            if self.stem is None:
                stages.append(nn.Sequential(make.stack(below, outputs, kernel, stride, count)))
            else:
                first = _Residual(make, below, outputs, kernel, stride)
                more = [_Residual(make, outputs, outputs, kernel, ones) for _ in range(1, count)]
                stages.append(_ResidualStage([first, *more]))
            below = outputs
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = image if self.stem is None else self.stem(image)
        found = []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        return found


class _Decoder(nn.Module):
    def __init__(
        self, make: _Maker, classes: int, features: Sequence[int], kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]], blocks: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__()
        ones = (1,) * make.spatial_dims
        stages, upward, heads = [], [], []
        for depth, count in enumerate(blocks, start=1):
            below, skipped, stride = features[-depth], features[-depth - 1], tuple(strides[-depth])
            upward.append(make.layer("ConvTranspose")(below, skipped, stride, stride, bias=make.bias))
            stages.append(make.stack(2 * skipped, skipped, kernels[-depth - 1], ones, count))
            heads.append(make.layer("Conv")(skipped, classes, 1))
        self.stages = nn.ModuleList(stages)
        self.transpconvs = nn.ModuleList(upward)
        self.seg_layers = nn.ModuleList(heads)

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        features = skips[-1]
        for depth, (stage, upward) in enumerate(zip(self.stages, self.transpconvs, strict=True), start=2):
            features = stage(torch.cat([upward(features), skips[-depth]], dim=1))
        logits: torch.Tensor = self.seg_layers[-1](features)
        return logits
