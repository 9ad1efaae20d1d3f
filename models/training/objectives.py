"""What a network is trained for: how a batch of samples becomes a loss; and the closed table of such objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from napari_medlab.models.closed_tables import ClosedTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from napari_medlab.models.training.samples import Sample

__all__ = ["OBJECTIVES", "Objective", "build_objective"]

OBJECTIVES = ClosedTable(
    "objective",
    {
        "centre-heatmap": ("napari_medlab.models.detection.heatmap", "HeatmapObjective"),
        "one-stage": ("napari_medlab.models.detection.one_stage_objective", "OneStageObjective"),
        "two-stage": ("napari_medlab.models.detection.two_stage_objective", "TwoStageObjective"),
        "segmentation": ("napari_medlab.models.segmentation.objective", "SegmentationObjective"),
        "classification": ("napari_medlab.models.classification.objective", "ClassificationObjective"),
    },
)
"""What a configuration may name."""


class Objective(Protocol):
    """Turns what a network says of a batch into a loss."""

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return the terms of the loss by name, and under ``"total"`` what is minimised.

        Parameters
        ----------
        network : in training mode, on the device of ``images``
        images : float32 tensor (batch, channel, …)
        samples : one for each image, cut and augmented; their ``image`` is what ``images`` holds
        """
        ...


def build_objective(name: str, arguments: Mapping[str, Any]) -> Objective:
    """Return the objective that a configuration names.

    Raises
    ------
    InputRefusedError
        Where the name is not in the table or the arguments do not fit.
    """
    objective: Objective = OBJECTIVES.build(name, arguments)
    return objective
