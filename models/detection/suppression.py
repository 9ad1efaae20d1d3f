"""What becomes of boxes that overlap: non-maximum suppression, its soft forms, and fusion by weights; in 2D and 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from napari_medlab.models.detection.boxes import pairwise_iou
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.detection.fusion import fuse
from napari_medlab.models.detection.tables import build_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_medlab.models.detection.detections import DecodeSettings

__all__ = ["RULES", "SuppressionRule", "fuse", "nms", "suppress"]

BLOCK = 256
"""How many boxes are compared with all that are left at a time: what bounds the memory."""


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou: float, classes: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the rows of the boxes that no better box of their class overlaps, best first, int64.

    Parameters
    ----------
    boxes : floating tensor (n, 2 · dims)
    scores : floating tensor (n,); of equal ones the first in order counts as better
    iou : from which intersection over union two boxes overlap
    classes : int64 tensor (n,), or None
        Boxes of different classes never touch each other; None for one class.

    Notes
    -----
    The answer is that of the usual greedy rule. The best :data:`BLOCK` boxes that are left are settled among each
    other, and then remove all others that they overlap: the memory is BLOCK times n, and boxes that are gone are never
    looked at again.
    """
    rest = scores.argsort(descending=True, stable=True)
    kept = [rest[:0]]
    while len(rest):
        head, rest = rest[:BLOCK], rest[BLOCK:]
        head = head[_greedy(_overlap(boxes, head, head, iou, classes))]
        kept.append(head)
        rest = rest[~_overlap(boxes, head, rest, iou, classes).any(dim=0)]
    return torch.cat(kept)


def suppress(detections: Detections, settings: DecodeSettings) -> Detections:
    """Return what is left of detections, best first: those above the threshold, at most so many, overlaps resolved.

    Boxes of different classes are left alone with each other.

    Parameters
    ----------
    detections : Detections
    settings : DecodeSettings
        ``overlap`` names the rule, one of :data:`RULES`, and ``options`` are its settings.

    Raises
    ------
    InputRefusedError
        Where there is no such rule, or it has no such setting.
    """
    rule = build_part(RULES, {"name": settings.overlap, **settings.options}, "rule for overlaps")
    above = detections.where(detections.scores >= settings.threshold)
    parts = [Detections.none(detections.dims)]
    for kind in np.unique(above.classes):
        part = rule.apply(above.where(above.classes == kind), settings)
        parts.append(part.where(part.scores >= settings.threshold))
    joined = Detections.joined(parts)
    return joined.where(np.argsort(-joined.scores, kind="stable")[: settings.most])


class SuppressionRule(Protocol):
    """Resolves the overlaps of one class; what it returns need be neither sorted nor cut off."""

    def apply(self, detections: Detections, settings: DecodeSettings) -> Detections:
        """Return what is left of the detections of one class, all of them above the threshold."""
        ...


@dataclass(frozen=True)
class KeepAll:
    """Every box stays."""

    def apply(self, detections: Detections, settings: DecodeSettings) -> Detections:
        """Return the detections as they are."""
        return detections


@dataclass(frozen=True)
class NonMaximum:
    """Only boxes that no better one overlaps stay; see :func:`nms`."""

    def apply(self, detections: Detections, settings: DecodeSettings) -> Detections:
        """Return those that stay."""
        rows = nms(torch.from_numpy(detections.boxes), torch.from_numpy(detections.scores), settings.iou)
        return detections.where(rows.numpy())


@dataclass(frozen=True)
class SoftNonMaximum:
    """A better box lowers the score of those that it overlaps, instead of removing them.

    Parameters
    ----------
    decay : {"gaussian", "linear"}
        By exp(-IoU² / sigma) whatever the overlap, or by 1 - IoU from the setting's ``iou`` on.
    sigma : the width of the Gaussian decay

    References
    ----------
    Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", 2017.
    """

    decay: str = "gaussian"
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if self.decay not in ("gaussian", "linear"):
            raise ValueError(f"there is no decay called {self.decay!r}: known are gaussian and linear")
        if self.sigma <= 0:
            raise ValueError(f"sigma is positive: got {self.sigma}")

    def apply(self, detections: Detections, settings: DecodeSettings) -> Detections:
        """Return the detections with their new scores, as many of the best as may be wanted."""
        scores = detections.scores.copy()
        boxes = torch.from_numpy(detections.boxes)
        waiting = np.ones(len(scores), np.bool_)
        picked: list[int] = []
        while waiting.any() and len(picked) < settings.most:
            best = int(np.where(waiting, scores, -np.inf).argmax())
            if scores[best] < settings.threshold:
                break
            waiting[best] = False
            picked.append(best)
            overlap = pairwise_iou(boxes[best : best + 1], boxes)[0].numpy()
            scores[waiting] *= self._factor(settings.iou)(overlap[waiting])
        return Detections(detections.boxes, scores, detections.classes).where(np.array(picked, np.int64))

    def _factor(self, iou: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        if self.decay == "linear":
            return lambda overlap: np.where(overlap >= iou, 1 - overlap, 1.0)
        return lambda overlap: np.exp(-(overlap**2) / self.sigma)


@dataclass(frozen=True)
class WeightedFusion:
    """Boxes that overlap become one, their mean weighted by score; see :func:`fuse`.

    Parameters
    ----------
    score : {"mean", "max"}
        What the score of the one is made of.
    """

    score: str = "mean"

    def apply(self, detections: Detections, settings: DecodeSettings) -> Detections:
        """Return the fused detections."""
        return fuse([detections], [1.0], settings.iou, score=self.score)


RULES: Mapping[str, type[SuppressionRule]] = {
    "nms": NonMaximum, "soft-nms": SoftNonMaximum, "wbf": WeightedFusion, "none": KeepAll,
}  # fmt: skip
"""What ``overlap`` may name."""


def _overlap(
    boxes: torch.Tensor, a: torch.Tensor, b: torch.Tensor, iou: float, classes: torch.Tensor | None
) -> torch.Tensor:
    """Say of every row in ``a`` and every row in ``b`` whether their boxes overlap, (a, b)."""
    touching = pairwise_iou(boxes[a], boxes[b]) >= max(iou, torch.finfo(boxes.dtype).tiny)
    return touching if classes is None else touching & (classes[a][:, None] == classes[b][None])


def _greedy(overlap: torch.Tensor) -> torch.Tensor:
    """Say which boxes stay, best first, where a box goes that a better one which stays overlaps.

    Each turn settles at least one more box from the best on, and usually all of them after a few.
    """
    earlier = overlap.triu(diagonal=1)
    keep = torch.ones(len(overlap), dtype=torch.bool, device=overlap.device)
    while True:
        settled = ~(earlier & keep[:, None]).any(dim=0)
        if torch.equal(settled, keep):
            return keep
        keep = settled
