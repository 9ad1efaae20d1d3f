"""Bundles of small networks whose answers are known: they outline what is darker, or brighter, than a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles import Bundle, write_bundle
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["limit_segmenter"]

CHANNELS = (4, 8)
GAIN = 40.0


def limit_segmenter(  # noqa: PLR0913 - what a bundle says of itself
    parent: Path, name: str, preprocessing: dict[str, Any], limit: float, *, is_dark: bool = False,
    tiling: dict[str, Any] | None = None, postprocessing: dict[str, Any] | None = None, label: str = "object",
) -> Bundle:  # fmt: skip
    """Return a segmenter of what lies above a limit of the first channel, 0 … 1, or below it.

    It is a U-Net whose first convolution takes every other pixel and whose last one interpolates between them; all
    else is zero.
    """
    import torch

    planar = preprocessing.get("kind", "volume") != "volume"
    dims = 2 if planar else 3
    inputs = int(preprocessing.get("channels") or 1)
    arguments = {"spatial_dims": dims, "in_channels": inputs, "channels": list(CHANNELS), "residual_units": 0}
    network = build_network("unet", arguments)
    sign = -1.0 if is_dark else 1.0
    with torch.no_grad():
        own = dict(network.named_parameters())
        for name_of, parameter in own.items():
            # batch norm and PReLU let pass what comes
            parameter.fill_(1.0 if parameter.ndim == 1 and name_of.endswith("weight") else 0.0)
        first, *_, last = [name_of for name_of, parameter in own.items() if parameter.ndim > dims]
        own[first][(0, 0, *(1,) * dims)] = 1.0
        weights = kernel = torch.tensor([0.5, 1.0, 0.5])
        for _ in range(dims - 1):
            kernel = kernel[..., None] * weights
        own[last][0, 0] = sign * GAIN * kernel
        own[last.replace("weight", "bias")].fill_(-sign * GAIN * limit)
    spec = {
        "name": name, "task": "segmentation", "network": {"name": "unet", "arguments": arguments},
        "preprocessing": preprocessing, "tiling": tiling or {"core": [256] * dims, "halo": [8] * dims, "batch": 1},
        "postprocessing": postprocessing or {"threshold": 0.5}, "classes": [label], "figures": {"Dice": 0.5},
        "limits": "It knows nothing but brightness.", "licence": "BSD-3-Clause", "purpose": "For tests alone.",
    }  # fmt: skip
    return write_bundle(parent, spec, network.state_dict())
