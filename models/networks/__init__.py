"""Networks that MONAI does not have, and the closed table of names by which bundles call them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.models.closed_tables import ClosedTable

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "build_network"]

NETWORKS = ClosedTable(
    "network",
    {
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
    },
)
"""What a bundle may name."""


def build_network(name: object, arguments: dict[str, Any]) -> nn.Module:
    """Return the network that a bundle names, untrained.

    Raises
    ------
    InputRefusedError
        Where the name is not in the table or the arguments do not fit.
    """
    network: nn.Module = NETWORKS.build(name, arguments)
    return network
