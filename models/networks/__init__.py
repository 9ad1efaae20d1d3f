"""Networks that MONAI does not have, and the closed table of names by which bundles call them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "build_network"]

NETWORKS = {
    "centre-heatmap": ("napari_medlab.models.networks.centre_heatmap", "CentreHeatmapNet"),
    "scaled-heatmap": ("napari_medlab.models.networks.scaled_heatmap", "ScaledHeatmapNet"),
    "one-stage": ("napari_medlab.models.detection.one_stage", "OneStageDetector"),
    "two-stage": ("napari_medlab.models.detection.two_stage", "TwoStageDetector"),
    "unet": ("napari_medlab.models.networks.unet", "unet"),
    "efficient-unet": ("napari_medlab.models.networks.efficient", "efficient_unet"),
    "linknet": ("napari_medlab.models.networks.linknet", "LinkNet"),
    "cube-classifier": ("napari_medlab.models.networks.cubes", "CubeClassifier"),
    "monai": ("napari_medlab.models.networks.monai_networks", "build_monai"),
    "adapted": ("napari_medlab.models.networks.adapted", "Adapted"),
    "staged-unet": ("napari_medlab.models.networks.plain_conv_unet", "StagedUNet"),
    "ensemble": ("napari_medlab.models.ensembling.members", "Ensemble"),
}
"""What a bundle may name: a name maps to a module and a class, and to nothing else."""


def build_network(name: object, arguments: dict[str, Any]) -> nn.Module:
    """Return the network that a bundle names, untrained.

    Raises
    ------
    InputRefusedError
        Where the name is not in the table or the arguments do not fit.
    """
    if not isinstance(name, str) or name not in NETWORKS:
        raise InputRefusedError(
            f"The bundle asks for a network called {name!r}; known are {', '.join(sorted(NETWORKS))}.",
            code="unknown-network",
            hint="Update napari-medlab, or import the model again.",
        )
    module, attribute = NETWORKS[name]
    try:
        network: nn.Module = getattr(import_module(module), attribute)(**arguments)
    except (TypeError, ValueError, AttributeError, RuntimeError, ZeroDivisionError) as error:
        raise InputRefusedError(
            f"The arguments {arguments!r} do not fit the network {name!r}: {error}.", code="network-arguments"
        ) from error
    return network
