"""Weighted box fusion: what several models found becomes one list, in which boxes that agree are averaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.models.detection.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fuse"]


def fuse(
    parts: Sequence[Detections],
    weights: Sequence[float] | None = None,
    iou: float = 0.55,
    *,
    score: str = "mean",
) -> Detections:
    """Return one list of detections from those of several models on the same image, best first.

    Boxes of a class are taken from the best score on. Each joins the fused box that it overlaps most, or begins one of
    its own. The corners of a fused box are the mean of its members', weighted by score. Its score is the members' mean or
    greatest, times the share of the models that voted for it: min(members, models) over the sum of the weights.

    Parameters
    ----------
    parts : one for each model, not empty
    weights : how much each model counts, or None where all count alike
    iou : from which intersection over union with the fused box a box joins it
    score : {"mean", "max"}

    Raises
    ------
    ValueError
        Where there is no part, a weight is missing or not positive, or ``score`` is something else.

    References
    ----------
    Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models", 2019.
    """
    given = np.ones(len(parts)) if weights is None else np.asarray(weights, np.float64)
    if not parts or given.shape != (len(parts),) or not (given > 0).all():
        raise ValueError(
            f"one positive weight for each of {len(parts)} models is needed: got {given.tolist()}"
        )
    if score not in ("mean", "max"):
        raise ValueError(f"a fused score is the mean or the max of its members': got {score!r}")
    every = Detections.joined(parts)
    weighted = every.scores * np.repeat(given, [len(part) for part in parts])
    fused = [Detections.none(every.dims)]
    for kind in np.unique(every.classes):
        rows = np.flatnonzero(every.classes == kind)
        rows = rows[np.argsort(-weighted[rows], kind="stable")]
        clusters = _Clusters(len(rows), every.dims, iou)
        for box, confidence in zip(every.boxes[rows], weighted[rows], strict=True):
            clusters.add(box, confidence)
        scores = clusters.scores(score) * np.minimum(clusters.members, len(parts)) / given.sum()
        fused.append(Detections(clusters.boxes, scores, np.full(len(scores), kind, np.int64)))
    joined = Detections.joined(fused)
    return joined.where(np.argsort(-joined.scores, kind="stable"))


@dataclass
class _Clusters:
    """Fused boxes that grow; arrays have room for every box, of which the first ``count`` are in use."""

    most: int
    dims: int
    iou: float
    count: int = 0
    _boxes: NDArray[np.float64] = field(init=False)
    _sums: NDArray[np.float64] = field(init=False)
    _greatest: NDArray[np.float64] = field(init=False)
    _members: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._boxes = np.zeros((self.most, 2 * self.dims))
        self._sums, self._greatest = np.zeros(self.most), np.zeros(self.most)
        self._members = np.zeros(self.most, np.int64)

    @property
    def boxes(self) -> NDArray[np.float64]:
        return self._boxes[: self.count]

    @property
    def members(self) -> NDArray[np.int64]:
        return self._members[: self.count]

    def scores(self, kind: str) -> NDArray[np.float64]:
        return self._greatest[: self.count] if kind == "max" else self._sums[: self.count] / self.members

    def add(self, box: NDArray[np.float64], confidence: float) -> None:
        overlaps = _overlaps(box, self.boxes)
        row = int(overlaps.argmax()) if self.count else 0
        if not self.count or overlaps[row] < self.iou or overlaps[row] == 0:
            row, self.count = self.count, self.count + 1
        self._sums[row] += confidence
        share = confidence / self._sums[row] if self._sums[row] > 0 else 1.0
        self._boxes[row] += share * (box - self._boxes[row])
        self._greatest[row] = max(self._greatest[row], confidence)
        self._members[row] += 1


def _overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of one box with others, (n,)."""
    dims = len(box) // 2
    common = (
        (np.minimum(box[dims:], others[:, dims:]) - np.maximum(box[:dims], others[:, :dims]))
        .clip(0)
        .prod(axis=1)
    )
    areas = (others[:, dims:] - others[:, :dims]).clip(0).prod(axis=1)
    union = areas + (box[dims:] - box[:dims]).clip(0).prod() - common
    ratio: NDArray[np.float64] = common / np.maximum(union, np.finfo(np.float64).tiny)
    return ratio
