"""What a classifier of candidates is trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.samples import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from napari_medlab.models.training.samples import Sample

__all__ = ["ClassificationObjective"]

LOSSES = ("bce", "focal")


class ClassificationObjective:
    """Compares a classifier's logits with the samples' labels.

    Parameters
    ----------
    loss : {"bce", "focal"}
        Cross entropy, or the focal loss of Lin et al. ("Focal loss for dense object detection", 2017, equation 5).
    label_smoothing : float, 0 … 1
        How far targets are drawn towards equal probabilities (Szegedy et al., "Rethinking the Inception architecture",
        2016, section 7).
    positive_weight : float
        How much more a lesion counts than what is none.
    gamma, alpha : float
        Of the focal loss; ``alpha`` is the weight of lesions, with ``1 - alpha`` for the others, or None for neither.

    Raises
    ------
    ValueError
        For a loss that is not known, and a smoothing outside 0 … 1.
    """

    def __init__(
        self, loss: str = "bce", label_smoothing: float = 0.0, positive_weight: float = 1.0,
        gamma: float = 2.0, alpha: float | None = None,
    ) -> None:  # fmt: skip
        if loss not in LOSSES:
            raise ValueError(f"there is no loss {loss!r}; known are {', '.join(LOSSES)}")
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it lies between 0 and 1")
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.positive_weight = positive_weight
        self.gamma = gamma
        self.alpha = alpha

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return the loss under its name and under ``"total"``.

        Samples without a class carry no loss.

        Raises
        ------
        InputRefusedError
            Where a label is beyond the network's classes.
        """
        logits = network(images).float()
        logits = logits[:, None] if logits.ndim == 1 else logits
        kinds = max(logits.shape[1], 2)
        given = [sample.label for sample in samples]
        if max(given) >= kinds:
            raise InputRefusedError(
                f"A sample has class {max(given)}; the network knows 0 … {kinds - 1}.", code="label",
                hint="Give the network as many classes as the data have.",
            )  # fmt: skip
        labels = torch.tensor(given, device=logits.device)
        known = labels != NO_CLASS
        count = max(sum(label != NO_CLASS for label in given), 1)
        targets = F.one_hot(labels.clamp(min=0), kinds).to(logits)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / kinds
        each = (
            self._binary(logits[:, 0], targets[:, 1])
            if logits.shape[1] == 1
            else self._of_classes(logits, targets)
        )
        total = (each * known).sum() / count
        return {self.loss: total, "total": total}

    def _binary(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if self.loss == "bce":
            weight = torch.as_tensor(self.positive_weight, device=logits.device)
            return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
        from monai.losses.focal_loss import FocalLoss

        focal = FocalLoss(gamma=self.gamma, alpha=self.alpha, reduction="none")
        each: torch.Tensor = focal(logits[:, None], targets[:, None])[:, 0]
        return each * (1 + (self.positive_weight - 1) * targets)

    def _of_classes(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        log_probabilities = logits.log_softmax(dim=1)
        terms = -targets * log_probabilities
        if self.loss == "focal":
            terms = terms * (1 - log_probabilities.exp()) ** self.gamma
        weights = torch.full((logits.shape[1],), self.positive_weight, device=logits.device)
        weights[0] = 1.0
        if self.loss == "focal" and self.alpha is not None:
            weights = weights * self.alpha
            weights[0] = 1 - self.alpha
        return (terms * weights).sum(dim=1)
