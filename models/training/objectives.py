"""What a network is trained for: how a batch of samples becomes a loss; and the closed table of such objectives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from napari_medlab.models.training.samples import Sample

__all__ = ["OBJECTIVES", "Objective", "build_objective"]

OBJECTIVES = {
    "centre-heatmap": ("napari_medlab.models.detection.heatmap", "HeatmapObjective"),
    "one-stage": ("napari_medlab.models.detection.one_stage_objective", "OneStageObjective"),
    "two-stage": ("napari_medlab.models.detection.two_stage_objective", "TwoStageObjective"),
    "segmentation": ("napari_medlab.models.segmentation.objective", "SegmentationObjective"),
    "classification": ("napari_medlab.models.classification.objective", "ClassificationObjective"),
}
"""What a configuration may name: a name maps to a module and a class, and to nothing else."""


class Objective(Protocol):
    """Turns what a network says of a batch into a loss."""

    def losses(self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
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
    if name not in OBJECTIVES:
        raise InputRefusedError(
            f"There is no objective called {name!r}; known are {', '.join(sorted(OBJECTIVES))}.", code="unknown-objective"
        )
    module, attribute = OBJECTIVES[name]
    try:
        objective: Objective = getattr(import_module(module), attribute)(**arguments)
    except (TypeError, ValueError) as error:
        raise InputRefusedError(
            f"The arguments {dict(arguments)!r} do not fit the objective {name!r}: {error}.", code="objective-arguments"
        ) from error
    return objective
