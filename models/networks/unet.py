"""The U-Net, in 2D and 3D, as MONAI has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

__all__ = ["unet"]


def unet(
    spatial_dims: int = 2, in_channels: int = 1, classes: int = 1, channels: Sequence[int] = (16, 32, 64, 96),
    residual_units: int = 1, dropout: float = 0.0,
) -> nn.Module:  # fmt: skip
    """Return MONAI's U-Net with batch norm, so that cutting an image into tiles does not change what it gives.

    Takes float (batch, channel, …), sizes divisible by its ``multiple``; gives logits (batch, class, …) of the same size.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels, classes : int
    channels : sequence of at least two ints
        Feature maps at strides 1, 2, 4 and so on. Multiples of 16 run fastest.
    residual_units : int
        Convolutions of each residual unit; 0 for plain convolutions.
    dropout : float, 0 … 1

    Raises
    ------
    ValueError
        With fewer than two levels.

    References
    ----------
    Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image segmentation", 2015; residual units
    as Kerfoot et al., "Left-ventricle quantification using residual U-Net", 2018.
    """
    from monai.networks.nets.unet import UNet

    network: nn.Module = UNet(
        spatial_dims, in_channels, classes, tuple(channels), (2,) * (len(channels) - 1), num_res_units=residual_units,
        norm="batch", dropout=dropout,
    )  # fmt: skip
    network.multiple = 2 ** (len(channels) - 1)
    return network
