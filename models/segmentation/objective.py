"""What a segmenter is trained for: how alike its masks are to the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["SegmentationObjective"]

LOSSES = ("bce", "dice", "jaccard", "focal")
NOWHERE = -1e4
"""A logit whose probability is 0, with no slope."""


class SegmentationObjective:
    """Compares a segmenter's logits with the samples' masks, each class by itself.

    Parameters
    ----------
    loss : str
        One of ``"bce"``, ``"dice"``, ``"jaccard"``, ``"focal"``, or several joined by ``+``, which are added up:
        ``"bce+jaccard"``.
    weights : sequence of float, optional
        How much each of them counts; 1 by default.
    positive_weight : float
        How much more a voxel of an object counts than one of the background; for ``"bce"``.
    over_batch : bool
        Whether ``"dice"`` and ``"jaccard"`` are of the batch as a whole, so that tiles without objects do no harm, or the
        mean of each tile's own.
    gamma : float
        Of the focal loss.

    Notes
    -----
    Binary cross entropy is the mean over voxels. Dice is 1 - (2 |A ∩ B| + ε) / (|A| + |B| + ε) of probabilities, and
    Jaccard 1 - (2 |A ∩ B| + ε) / (2 |A ∪ B| + ε), as in :class:`monai.losses.DiceLoss`, with ε of 1e-5 (Milletari, Navab
    and Ahmadi, "V-Net", 2016). Voxels within boxes that are to be ignored carry no loss.

    Raises
    ------
    ValueError
        For a loss that is not known, or weights that are not as many.
    """

    def __init__(
        self, loss: str = "bce+dice", weights: Sequence[float] | None = None, positive_weight: float = 1.0,
        over_batch: bool = True, gamma: float = 2.0,
    ) -> None:  # fmt: skip
        names = [name.strip() for name in loss.split("+")]
        unknown = [name for name in names if name not in LOSSES]
        if unknown or len({*names}) < len(names):
            raise ValueError(f"a loss is one or several of {', '.join(LOSSES)}, joined by +; got {loss!r}")
        given = [1.0] * len(names) if weights is None else [float(weight) for weight in weights]
        if len(given) != len(names):
            raise ValueError(f"{loss!r} has {len(names)} terms and {len(given)} weights")
        self.weights = dict(zip(names, given, strict=True))
        self._terms = {name: _term(name, positive_weight, over_batch, gamma) for name in names}

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return each term and their weighted sum under ``"total"``.

        Raises
        ------
        InputRefusedError
            Where a sample has no mask, or one that does not fit what the network returns.
        """
        logits = network(images).float()
        masks = torch.from_numpy(_masks_of(samples, tuple(logits.shape[1:]))).to(logits)
        if any(sample.is_ignored.any() for sample in samples):
            counted = torch.from_numpy(np.stack([_counted(sample) for sample in samples])).to(logits.device)[
                :, None
            ]
            logits, masks = torch.where(counted, logits, NOWHERE), masks * counted
        terms: dict[str, torch.Tensor] = {name: term(logits, masks) for name, term in self._terms.items()}
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return {**terms, "total": total}


def _masks_of(samples: Sequence[Sample], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    masks = [sample.mask for sample in samples]
    found = [None if mask is None else mask.shape for mask in masks]
    if any(one != shape for one in found):
        wrong = next(one for one in found if one != shape)
        raise InputRefusedError(
            f"A sample's mask is {wrong if wrong else 'missing'}; the network gives {shape}, (class, …).", code="mask",
            hint="Draw outlines for the cases, and give the network as many classes as their masks have.",
        )  # fmt: skip
    return np.stack([mask for mask in masks if mask is not None])


def _counted(sample: Sample) -> NDArray[np.bool_]:
    """Return where loss is counted, (…spatial): outside of the boxes that are to be ignored."""
    counted = np.ones(sample.shape, np.bool_)
    for box in sample.boxes[sample.is_ignored]:
        first = np.ceil(np.maximum(box[: sample.dims], 0)).astype(int)
        last = np.floor(np.maximum(box[sample.dims :], -1)).astype(int)
        counted[tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))] = False
    return counted


def _term(name: str, positive_weight: float, over_batch: bool, gamma: float) -> nn.Module:
    from monai.losses.dice import DiceLoss
    from monai.losses.focal_loss import FocalLoss

    if name == "bce":
        return _Bce(positive_weight)
    if name == "focal":
        focal: nn.Module = FocalLoss(gamma=gamma)
        return focal
    dice: nn.Module = DiceLoss(sigmoid=True, jaccard=name == "jaccard", batch=over_batch)
    return dice


class _Bce(nn.Module):
    def __init__(self, positive_weight: float) -> None:
        super().__init__()
        self.positive_weight = positive_weight

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(
            logits, masks, pos_weight=logits.new_tensor(self.positive_weight)
        )
