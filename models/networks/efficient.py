"""EfficientNets as encoders, and the U-Net on them, as MONAI has them; never pretrained: no weights are fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ENCODERS", "STRIDE", "efficient_encoder", "efficient_unet"]

ENCODERS = tuple(f"b{size}" for size in range(9))
"""From the smallest to the largest."""

STRIDE = 32
"""Of the coarsest features."""

HEAD = ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc")
"""What only a classifier of photographs needs: 1.7 million parameters that would never be used."""


def efficient_encoder(
    encoder: str, spatial_dims: int = 2, in_channels: int = 1
) -> tuple[nn.Module, list[int]]:
    """Return an encoder that gives features at strides 2, 4, 8, 16 and 32, and how many channels each has.

    Parameters
    ----------
    encoder : {"b0", …, "b8"}
    spatial_dims : 2 or 3
    in_channels : int

    Raises
    ------
    ValueError
        For another name.

    References
    ----------
    Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", 2019.
    """
    from monai.networks.nets.flexible_unet import FLEXUNET_BACKBONE

    if encoder not in ENCODERS:
        raise ValueError(f"there is no EfficientNet {encoder!r}; known are {', '.join(ENCODERS)}")
    name = f"efficientnet-{encoder}"
    known = FLEXUNET_BACKBONE.register_dict[name]
    network: nn.Module = known["type"](
        name, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels
    )
    _prepare(network)
    return network, list(known["feature_channel"])


def efficient_unet(
    spatial_dims: int = 2, in_channels: int = 1, classes: int = 1, encoder: str = "b0",
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16), dropout: float = 0.0,
) -> nn.Module:  # fmt: skip
    """Return MONAI's FlexibleUNet on an EfficientNet.

    Takes float (batch, channel, …), sizes divisible by its ``multiple``, 32; gives logits (batch, class, …) of the same
    size. The encoder weighs its channels by means over the whole input (squeeze and excitation): tiles should be as large
    as those it was trained on, and what it gives differs a little where they are cut differently.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, classes : int
    encoder : {"b0", …, "b8"}
    decoder_channels : five ints, from the coarsest level up
    dropout : float, 0 … 1

    Raises
    ------
    ValueError
        For another encoder, or another number of decoder channels.
    """
    from monai.networks.nets.flexible_unet import FlexibleUNet

    if encoder not in ENCODERS:
        raise ValueError(f"there is no EfficientNet {encoder!r}; known are {', '.join(ENCODERS)}")
    network: nn.Module = FlexibleUNet(
        in_channels, classes, f"efficientnet-{encoder}", pretrained=False, decoder_channels=tuple(decoder_channels),
        spatial_dims=spatial_dims, dropout=dropout, is_pad=False,
    )  # fmt: skip
    _prepare(network.get_submodule("encoder"))
    network.multiple = STRIDE  # type: ignore[assignment]
    return network


def _prepare(encoder: nn.Module) -> None:
    """Drop the classifier's head, and put in torch's own activation, which compiles and exports."""
    for name in HEAD:
        delattr(encoder, name)
    for module in encoder.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.SiLU()
