"""LinkNet: a decoder that adds the encoder's features instead of joining them, and so stays narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_medlab.models.networks.efficient import efficient_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["LinkNet"]

REDUCTION = 4
"""By how much the decoder's convolutions narrow what they enlarge."""


class LinkNet(nn.Module):
    """Segments with an encoder and a decoder that adds.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, classes : int
    encoder : str
        ``"b0"`` … ``"b8"`` for an EfficientNet, or ``"small"`` for one of our own: residual blocks at each stride.
    channels : sequence of ints
        Of the small encoder, at strides 2, 4, 8 and so on.

    Notes
    -----
    Input is float (batch, channel, …), sizes divisible by :attr:`multiple`; output is logits (batch, class, …) of the same
    size. Batch norm, so that with the small encoder cutting an image into tiles does not change it; see
    :func:`~napari_medlab.models.networks.efficient.efficient_unet` for the others.

    References
    ----------
    Chaurasia and Culurciello, "LinkNet: Exploiting encoder representations for efficient semantic segmentation", 2017.
    """

    def __init__(
        self, spatial_dims: int = 2, in_channels: int = 1, classes: int = 1, encoder: str = "small",
        channels: Sequence[int] = (16, 32, 64, 128),
    ) -> None:  # fmt: skip
        super().__init__()
        if encoder == "small":
            self.encoder: nn.Module = _SmallEncoder(spatial_dims, in_channels, channels)
            widths = list(channels)
        else:
            self.encoder, widths = efficient_encoder(encoder, spatial_dims, in_channels)
        self.multiple = 2 ** len(widths)
        finer = [*widths[:-1][::-1], widths[0]]
        pairs = zip(widths[::-1], finer, strict=True)
        self.decoder = nn.ModuleList(_Enlarge(spatial_dims, inputs, outputs) for inputs, outputs in pairs)
        self.out = _layer("Conv", spatial_dims)(widths[0], classes, 3, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of images; see the class for shapes."""
        *links, features = self.encoder(images)
        for enlarge, link in zip(self.decoder, [*links[::-1], None], strict=True):
            features = enlarge(features)
            if link is not None:
                features = features + link
        logits: torch.Tensor = self.out(features)
        return logits


class _Enlarge(nn.Module):
    """Doubles the size: narrow, enlarge, widen."""

    def __init__(self, spatial_dims: int, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = max(inputs // REDUCTION, 1)
        enlarge = _layer("ConvTranspose", spatial_dims)(
            inner, inner, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        self.layers = nn.Sequential(
            *_normed(spatial_dims, _layer("Conv", spatial_dims)(inputs, inner, 1, bias=False), inner),
            *_normed(spatial_dims, enlarge, inner),
            *_normed(spatial_dims, _layer("Conv", spatial_dims)(inner, outputs, 1, bias=False), outputs),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        enlarged: torch.Tensor = self.layers(features)
        return enlarged


class _SmallEncoder(nn.Module):
    """Halves the size again and again, with a residual unit after each."""

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int]) -> None:
        from monai.networks.blocks.convolutions import Convolution, ResidualUnit

        super().__init__()
        relu = ("RELU", {"inplace": True})
        self.stages = nn.ModuleList(
            nn.Sequential(
                Convolution(spatial_dims, finer, width, strides=2, act=relu, norm="BATCH", bias=False),
                ResidualUnit(spatial_dims, width, width, act=relu, norm="BATCH", bias=False),
            )
            for finer, width in zip([in_channels, *channels[:-1]], channels, strict=True)
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        levels = [images]
        for stage in self.stages:
            levels.append(stage(levels[-1]))
        return levels[1:]


def _layer(name: str, spatial_dims: int) -> type[nn.Module]:
    layer: type[nn.Module] = getattr(nn, f"{name}{spatial_dims}d")
    return layer


def _normed(spatial_dims: int, convolution: nn.Module, channels: int) -> list[nn.Module]:
    return [convolution, _layer("BatchNorm", spatial_dims)(channels), nn.ReLU(inplace=True)]
