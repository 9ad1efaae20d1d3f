"""How near the middle of its box a cell lies: the target of the centre-ness branch, its place, and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn import functional as F

from napari_medlab.models.detection.boxes import count_of_dims, distances_to_sides

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CentrenessLoss", "CentrenessSettings", "centreness_of", "joined_logits"]

PLACES = ("classification", "regression", "both")
MULTIPLIED = ("score", "loss")
BRANCHES = ("anchors", "anchor_free")


@dataclass(frozen=True)
class CentrenessSettings:
    """Where a detector says centre-ness, and what it does with it.

    Parameters
    ----------
    place : {"regression", "classification", "both"}
        From the features of which tower; of both, the mean of the two logits counts.
    multiplied : {"score", "loss"}
        Whether centre-ness is multiplied into the class's probability in scoring only, or before the loss already, so
        that the two are trained as one.
    branches : tuple of {"anchors", "anchor_free"}
        Which branches say it; empty for the anchor-free one, or for the anchors' where there is no other.
    """

    place: str = "regression"
    multiplied: str = "score"
    branches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (
            self.place not in PLACES
            or self.multiplied not in MULTIPLIED
            or not set(self.branches) <= set(BRANCHES)
        ):
            raise ValueError(
                f"centre-ness has a place ({', '.join(PLACES)}), is multiplied into the {' or the '.join(MULTIPLIED)}, "
                f"and belongs to {' or '.join(BRANCHES)}: got {self}"
            )

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read the settings; what is not named stays as it is by default."""
        return cls(**{**given, "branches": tuple(given.get("branches", ()))})


def centreness_of(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return 1 in the middle of a box, falling to 0 at its sides and beyond, (…,).

    Parameters
    ----------
    points : tensor (…, dims)
    boxes : tensor (…, 2 · dims)

    Notes
    -----
    The geometric mean over the axes of the shorter distance to a side over the longer one: in 2D the square root of
    Tian et al., "FCOS", 2019, equation 3; in 3D the cube root.
    """
    dims = count_of_dims(boxes)
    before, after = distances_to_sides(points, boxes).clamp(min=0).split(dims, dim=-1)
    longer = torch.maximum(before, after).clamp(min=torch.finfo(boxes.dtype).tiny)
    return (torch.minimum(before, after) / longer).prod(dim=-1) ** (1 / dims)


def joined_logits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the logit of the product of two probabilities that are given as logits, without ever leaving logarithms."""
    both = F.logsigmoid(a.float()) + F.logsigmoid(b.float())
    neither = torch.log((-torch.expm1(both)).clamp(min=torch.finfo(torch.float32).tiny))
    return both - neither


@dataclass(frozen=True)
class CentrenessLoss:
    """What a wrong centre-ness costs.

    Parameters
    ----------
    name : {"bce", "huber"}
        Binary cross-entropy, or Huber's loss of the probability.
    negatives : bool
        Whether background counts too, with a target of 0. There is so much of it that the output may collapse to 0.
    beta : from which error on Huber's loss grows linearly
    """

    name: str = "bce"
    negatives: bool = False
    beta: float = 0.1

    def __post_init__(self) -> None:
        if self.name not in ("bce", "huber"):
            raise ValueError(f"there is no loss of centre-ness called {self.name!r}: known are bce and huber")

    def mean(self, logits: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean over what counts, a scalar; 0 where nothing does.

        Parameters
        ----------
        logits, targets : tensors of one shape; what ``targets`` holds outside of positives plays no part
        rows : int64, the same shape: the box of each, -1 for background, -2 for what is ignored
        """
        counted = rows >= -1 if self.negatives else rows >= 0
        wanted = torch.where(rows >= 0, targets, 0.0)[counted]
        said = logits.float()[counted]
        if self.name == "bce":
            losses = F.binary_cross_entropy_with_logits(said, wanted, reduction="sum")
        else:
            losses = F.smooth_l1_loss(said.sigmoid(), wanted, reduction="sum", beta=self.beta)
        return losses / counted.sum().clamp(min=1)
