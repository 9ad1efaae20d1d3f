"""Which box each anchor is to find: by thresholds, by the compensation of S3FD, or by ATSS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from napari_medlab.models.detection.boxes import pairwise_inside, pairwise_iou
from napari_medlab.models.detection.tables import build_part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "BACKGROUND",
    "IGNORED",
    "MATCHERS",
    "AtssMatcher",
    "IouMatcher",
    "Matcher",
    "S3fdMatcher",
    "build_matcher",
    "match",
]

BACKGROUND = -1
IGNORED = -2

MOSTLY_INSIDE = 0.5
"""From which share of an anchor within an ignored box the anchor is ignored."""


class Matcher(Protocol):
    """Says for every anchor which box it is to find.

    Contract: a row is one of ``boxes`` that is not ignored, :data:`BACKGROUND` or :data:`IGNORED`. An anchor without a
    box that lies on an ignored box is ignored, wherever it would have been background otherwise. The same input gives
    the same answer.
    """

    def match(
        self,
        anchors: torch.Tensor,
        boxes: torch.Tensor,
        is_ignored: torch.Tensor,
        per_level: Sequence[int] = (),
    ) -> torch.Tensor:
        """Return the row of the box of each anchor, int64 (anchors,).

        Parameters
        ----------
        anchors : float tensor (anchors, 2 · dims), level by level
        boxes : float tensor (boxes, 2 · dims)
        is_ignored : bool tensor (boxes,): objects that are neither lesion nor background
        per_level : how many cells each level has, each with as many anchors; nothing counts as one level
        """
        ...


@dataclass(frozen=True)
class IouMatcher:
    """Positive from one overlap on, background below another, ignored between them (Ren et al., "Faster R-CNN", 2015).

    Parameters
    ----------
    positive : the least IoU of an anchor with its box
    negative : below which the anchor is background; equal to ``positive`` where none is to be ignored
    low_quality : bool
        Whether a box that would get no anchor takes those that overlap it most among the ones that no box has.
    """

    positive: float = 0.5
    negative: float = 0.4
    low_quality: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.negative <= self.positive <= 1:
            raise ValueError(
                f"0 ≤ negative ≤ positive ≤ 1 is needed: got {self.negative} and {self.positive}"
            )

    def match(
        self,
        anchors: torch.Tensor,
        boxes: torch.Tensor,
        is_ignored: torch.Tensor,
        per_level: Sequence[int] = (),
    ) -> torch.Tensor:
        """Return the row of the box of each anchor; see :class:`Matcher`."""
        overlaps = pairwise_iou(boxes[~is_ignored], anchors)
        rows = _by_threshold(overlaps, self.positive, self.negative)
        if self.low_quality and len(overlaps):
            free = torch.where(rows < 0, overlaps, 0.0)
            best = free.amax(dim=1)
            without = torch.bincount(rows[rows >= 0], minlength=len(overlaps)) == 0
            rows = _give(rows, torch.where((free == best[:, None]) & without[:, None], free, 0.0))
        return _finish(rows, anchors, boxes, is_ignored, self.negative)


@dataclass(frozen=True)
class S3fdMatcher:
    """Thresholds, lowered, and a fair share of anchors for boxes that would have too few.

    First, anchors from ``positive`` on belong to the box that they overlap most. A box with fewer of them than the mean
    over the boxes of the image then takes its N best among the anchors that belong to no other and overlap it by more
    than ``least``; N is that mean, rounded, and at least 1.

    Parameters
    ----------
    positive : float
    negative : below which an anchor is background; by default what is not positive is
    least : float

    References
    ----------
    Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", 2017, section 3.2.
    """

    positive: float = 0.35
    negative: float = 0.35
    least: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.positive <= 1 or not 0 <= self.negative <= self.positive:
            raise ValueError(
                f"least and negative lie between 0 and positive: got {self.least}, {self.negative} and {self.positive}"
            )

    def match(
        self,
        anchors: torch.Tensor,
        boxes: torch.Tensor,
        is_ignored: torch.Tensor,
        per_level: Sequence[int] = (),
    ) -> torch.Tensor:
        """Return the row of the box of each anchor; see :class:`Matcher`."""
        overlaps = pairwise_iou(boxes[~is_ignored], anchors)
        rows = _by_threshold(overlaps, self.positive, self.negative)
        if len(overlaps):
            rows = _give(rows, self._fair_shares(overlaps, rows))
        return _finish(rows, anchors, boxes, is_ignored, self.negative)

    def _fair_shares(self, overlaps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the overlaps of the anchors that boxes with too few of them take, 0 elsewhere."""
        counts = torch.bincount(rows[rows >= 0], minlength=len(overlaps))
        mean = counts.float().mean()
        number = min(max(1, int(mean.round())), overlaps.shape[1])
        own = rows[None] == torch.arange(len(overlaps), device=rows.device)[:, None]
        free = torch.where((own | (rows < 0)) & (overlaps > self.least), overlaps, 0.0)
        best, where = free.topk(number, dim=1)
        poor = (counts < mean) | (counts == 0)
        return torch.zeros_like(free).scatter(1, where, best * poor[:, None])


@dataclass(frozen=True)
class AtssMatcher:
    """A threshold for each box from the overlaps of the anchors around it: their mean plus their standard deviation.

    Parameters
    ----------
    candidates : int
        How many cells of each level are looked at, those whose middles lie nearest to the box's.
    centre_inside : bool
        Whether an anchor's middle has to lie within the box. False helps boxes smaller than a cell.

    References
    ----------
    Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training Sample
    Selection", 2020; MONAI's implementation.
    """

    candidates: int = 9
    centre_inside: bool = True

    UNCLEAR: ClassVar[float] = 0.3
    """From which overlap with an ignored box an anchor is ignored; the rule itself has no such threshold."""

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"at least one candidate is needed: got {self.candidates}")

    def match(
        self,
        anchors: torch.Tensor,
        boxes: torch.Tensor,
        is_ignored: torch.Tensor,
        per_level: Sequence[int] = (),
    ) -> torch.Tensor:
        """Return the row of the box of each anchor; see :class:`Matcher`."""
        from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher

        cells = list(per_level) or [len(anchors)]
        known = boxes[~is_ignored]
        rows = torch.full((len(anchors),), BACKGROUND, dtype=torch.int64, device=anchors.device)
        if len(known):
            matcher = ATSSMatcher(self.candidates, pairwise_iou, self.centre_inside)
            _, rows = matcher.compute_matches(known, anchors, cells, len(anchors) // sum(cells))
        return _finish(rows, anchors, boxes, is_ignored, self.UNCLEAR)


MATCHERS: dict[str, type[Matcher]] = {"iou": IouMatcher, "s3fd": S3fdMatcher, "atss": AtssMatcher}


def build_matcher(given: Mapping[str, Any]) -> Matcher:
    """Return the matcher that a configuration names, such as ``{"name": "iou", "positive": 0.3, "negative": 0.2}``."""
    return build_part(MATCHERS, given, "matcher")


def match(anchors: torch.Tensor, boxes: torch.Tensor, is_ignored: torch.Tensor) -> torch.Tensor:
    """Return the row of the box of each anchor by the usual thresholds; see :class:`IouMatcher` and :class:`Matcher`."""
    return IouMatcher().match(anchors, boxes, is_ignored)


def _by_threshold(overlaps: torch.Tensor, positive: float, negative: float) -> torch.Tensor:
    """Return the rows that thresholds give, from overlaps (boxes, anchors)."""
    if not len(overlaps):
        return torch.full((overlaps.shape[1],), BACKGROUND, dtype=torch.int64, device=overlaps.device)
    best, rows = overlaps.max(dim=0)
    rows = torch.where(best >= positive, rows, IGNORED)
    return torch.where(best < negative, BACKGROUND, rows)


def _give(rows: torch.Tensor, claims: torch.Tensor) -> torch.Tensor:
    """Return the rows after anchors have gone to the boxes that claim them most, (boxes, anchors); 0 is no claim."""
    most, claimant = claims.max(dim=0)
    return torch.where(most > 0, claimant, rows)


def _finish(
    rows: torch.Tensor, anchors: torch.Tensor, boxes: torch.Tensor, is_ignored: torch.Tensor, overlap: float
) -> torch.Tensor:
    """Return rows of all boxes from rows of those that count, and ignore what lies on the others."""
    counted = (~is_ignored).nonzero()[:, 0]
    if len(counted):
        rows = torch.where(rows >= 0, counted[rows.clamp(min=0)], rows)
    unclear = boxes[is_ignored]
    if len(unclear):
        near = pairwise_iou(anchors, unclear) >= max(overlap, torch.finfo(anchors.dtype).tiny)
        near |= pairwise_inside(anchors, unclear) >= MOSTLY_INSIDE
        rows = torch.where((rows == BACKGROUND) & near.any(dim=1), IGNORED, rows)
    return rows
