"""Several networks that speak with one voice: folds of one model, or models of several kinds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.ensembling.averaging import average_maps, channels_of
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from napari_medlab.models.detection.detections import DecodeSettings, Detections

__all__ = ["Ensemble", "joined_weights"]

JOINS = ("maps", "boxes")


class Ensemble(nn.Module):
    """Asks every member, and joins what they say.

    Parameters
    ----------
    members : sequence of {"name", "arguments"}
        Networks as bundles name them; folds of one model are the same entry several times. Their tensors lie under
        ``members.0.``, ``members.1.`` and so on: see :func:`joined_weights`.
    weights : sequence of float, optional
        How much each counts; they are scaled to sum to 1. All count the same by default. Search for them on validation
        cases: :mod:`napari_medlab.models.ensembling.weights`.
    join : {"maps", "boxes"}
        Average maps or logits of one shape; or decode each member's outputs and fuse the boxes (weighted box fusion), as
        detectors need whose outputs are not of one shape.
    probabilities : {"sigmoid", "softmax"}
        Whether the classes stand each for itself or exclude one another.

    Raises
    ------
    ValueError
        Without members, with weights that do not fit, or with a join or a kind of probabilities that is not known.
    """

    def __init__(
        self, members: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None, join: str = "maps",
        probabilities: str = "sigmoid",
    ) -> None:  # fmt: skip
        super().__init__()
        self.shares = _shares(weights if weights is not None else [1.0] * len(members), len(members))
        if join not in JOINS or probabilities not in ("sigmoid", "softmax"):
            raise ValueError(
                f"members are joined as maps or boxes, with sigmoid or softmax; got {join}, {probabilities}"
            )
        self.join = join
        self.exclusive = probabilities == "softmax"
        self.members = nn.ModuleList(build_network(each["name"], dict(each["arguments"])) for each in members)
        self.has_boxes = all(getattr(member, "has_boxes", True) for member in self.members)
        self.multiple = math.lcm(*[int(getattr(member, "multiple", 1)) for member in self.members])
        self.map_channels = channels_of(self.members[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor | list[Any]:
        """Return the joined maps or logits; or, where boxes are joined, each member's outputs.

        Raises
        ------
        InputRefusedError
            Where maps are to be joined, and the members' outputs are not of one shape.
        """
        outputs = [member(images) for member in self.members]
        if self.join == "boxes":
            return outputs
        if len({getattr(output, "shape", None) for output in outputs} | {None}) != 2:
            raise InputRefusedError(
                "The members of the ensemble do not give maps of one shape, so that these cannot be averaged.",
                code="ensemble-outputs", hint='Join their boxes instead: "join": "boxes".',
            )  # fmt: skip
        return average_maps(outputs, self.shares, self.map_channels, exclusive=self.exclusive)

    def decode(self, outputs: Any, image_shape: Sequence[int], settings: DecodeSettings) -> list[Detections]:  # noqa: ANN401 - whatever the members give
        """Return the detections of each image of a batch, in voxels; see the networks of the members."""
        from napari_medlab.models.detection.suppression import fuse

        if self.join == "maps":
            return _decode(self.members[0], outputs, image_shape, settings)
        spoken = [
            (member, said, share)
            for member, said, share in zip(self.members, outputs, self.shares, strict=True)
            if share
        ]
        found = [_decode(member, said, image_shape, settings) for member, said, _ in spoken]
        shares = [share for *_, share in spoken]
        return [fuse(list(of_image), shares, settings.iou) for of_image in zip(*found, strict=True)]


def joined_weights(states: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors of an ensemble whose members have these tensors, in their order."""
    return {
        f"members.{number}.{name}": tensor
        for number, state in enumerate(states)
        for name, tensor in state.items()
    }


def _shares(weights: Sequence[float], members: int) -> list[float]:
    if not members or len(weights) != members:
        raise ValueError(f"{members} members have {len(weights)} weights")
    if min(weights) < 0 or not math.isfinite(sum(weights)) or sum(weights) <= 0:
        raise ValueError(f"weights are 0 or more, and not all 0; got {[*weights]}")
    return [weight / sum(weights) for weight in weights]


def _decode(
    member: nn.Module, outputs: object, image_shape: Sequence[int], settings: DecodeSettings
) -> list[Detections]:
    detector = cast("Any", member)
    found: list[Detections] = detector.decode(outputs, image_shape, settings)
    return found
