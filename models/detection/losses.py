"""What wrong classes and wrong boxes cost a dense detector, by name; and which negatives count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from monai.apps.detection.utils.hard_negative_sampler import HardNegativeSamplerBase
from monai.losses.focal_loss import FocalLoss
from torch.nn import functional as F

from napari_medlab.models.detection.boxes import aligned_iou
from napari_medlab.models.detection.tables import build_part

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BOX_LOSSES",
    "CLASSIFICATION_LOSSES",
    "BoxGuess",
    "BoxLoss",
    "ClassificationLoss",
    "HardNegatives",
    "build_box_loss",
    "build_classification_loss",
]


class ClassificationLoss(Protocol):
    """Compares logits with what they should be."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each entry, (n, classes), of logits and targets 0 … 1 of that shape."""
        ...


@dataclass(frozen=True)
class Focal:
    """Cross-entropy in which what is easy hardly counts (Lin et al., "Focal Loss for Dense Object Detection", 2017).

    Parameters
    ----------
    gamma : how little the easy counts; 0 for all alike
    alpha : the weight of positives, against 1 - alpha for negatives; None for both alike
    """

    gamma: float = 2.0
    alpha: float | None = 0.25

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each entry."""
        every: torch.Tensor = FocalLoss(gamma=self.gamma, alpha=self.alpha, reduction="none")(logits, targets)
        return every


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Binary cross-entropy, class by class.

    Parameters
    ----------
    positive_weight : how much more a positive counts than a negative
    """

    positive_weight: float = 1.0

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each entry."""
        weight = torch.tensor(self.positive_weight, device=logits.device)
        return F.binary_cross_entropy_with_logits(
            logits.float(), targets, reduction="none", pos_weight=weight
        )


CLASSIFICATION_LOSSES: Mapping[str, type[ClassificationLoss]] = {"focal": Focal, "bce": BinaryCrossEntropy}


def build_classification_loss(given: Mapping[str, Any]) -> ClassificationLoss:
    """Return the loss that a configuration names, such as ``{"name": "focal", "gamma": 2.0, "alpha": 0.5}``."""
    return build_part(CLASSIFICATION_LOSSES, given, "classification loss")


@dataclass(frozen=True, eq=False)
class BoxGuess:
    """What a network says of boxes, and what they are; all tensors are (n, 2 · dims).

    Parameters
    ----------
    codes, wanted_codes : as they come out of the head, and as they should
    boxes, wanted_boxes : the same as boxes in voxels
    """

    codes: torch.Tensor
    wanted_codes: torch.Tensor
    boxes: torch.Tensor
    wanted_boxes: torch.Tensor


class BoxLoss(Protocol):
    """Compares boxes with what they should be."""

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box, (n,)."""
        ...


@dataclass(frozen=True)
class Huber:
    """Huber's loss of the codes, summed over the sides (Girshick, "Fast R-CNN", 2015).

    Parameters
    ----------
    beta : from which error on it grows linearly
    """

    beta: float = 1 / 9

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box."""
        every = F.smooth_l1_loss(guess.codes.float(), guess.wanted_codes, reduction="none", beta=self.beta)
        return every.sum(dim=1)


@dataclass(frozen=True)
class Iou:
    """1 - IoU; it has no gradient for boxes apart."""

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box."""
        return 1 - aligned_iou(guess.boxes, guess.wanted_boxes)


@dataclass(frozen=True)
class LogIou:
    """-ln IoU (Yu et al., "UnitBox", 2016), as FCOS and FSAF have it; it has no gradient for boxes apart."""

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box."""
        return -aligned_iou(guess.boxes, guess.wanted_boxes).clamp(min=1e-6).log()


@dataclass(frozen=True)
class Giou:
    """1 - generalised IoU (Rezatofighi et al., 2019)."""

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box."""
        return 1 - aligned_iou(guess.boxes, guess.wanted_boxes, "giou")


@dataclass(frozen=True)
class Diou:
    """1 - distance IoU (Zheng et al., 2020)."""

    def losses(self, guess: BoxGuess) -> torch.Tensor:
        """Return the loss of each box."""
        return 1 - aligned_iou(guess.boxes, guess.wanted_boxes, "diou")


BOX_LOSSES: Mapping[str, type[BoxLoss]] = {
    "huber": Huber, "iou": Iou, "log-iou": LogIou, "giou": Giou, "diou": Diou,
}  # fmt: skip


def build_box_loss(given: Mapping[str, Any]) -> BoxLoss:
    """Return the loss that a configuration names, such as ``{"name": "giou"}``."""
    return build_part(BOX_LOSSES, given, "box loss")


@dataclass(frozen=True)
class HardNegatives:
    """Of all the background only the hardest counts: that with the highest scores (MONAI's hard-negative pool).

    Parameters
    ----------
    ratio : negatives for each positive of an image
    least : at least this many, in an image without positives too
    pool : float
        The negatives are drawn from that many times as many of the hardest; 1.0 takes the hardest themselves.

    References
    ----------
    Shrivastava et al., "Training Region-based Object Detectors with Online Hard Example Mining", 2016.
    """

    ratio: float = 3.0
    least: int = 16
    pool: float = 1.0

    def __post_init__(self) -> None:
        if self.ratio <= 0 or self.least < 1 or self.pool < 1:
            raise ValueError(
                f"a positive ratio, at least one negative and a pool from 1 on are needed: got {self}"
            )

    def counted(self, rows: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Say which rows of one image count: all positives, and the chosen negatives.

        Parameters
        ----------
        rows : int64 tensor (n,): the box of each, -1 for background, -2 for what is ignored
        scores : float tensor (n,), the greatest over the classes
        """
        positive = rows >= 0
        negative = (rows == -1).nonzero()[:, 0]
        wanted = max(self.least, round(self.ratio * int(positive.sum())))
        chosen = HardNegativeSamplerBase(self.pool).select_negatives(
            negative, min(wanted, len(negative)), scores.detach()
        )
        return positive | chosen.bool()
