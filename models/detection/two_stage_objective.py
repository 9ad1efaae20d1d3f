"""What two-stage detectors are trained for: proposals that cover every object, and stages that name and place them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import functional as F

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.coding import decode, encode
from napari_medlab.models.detection.losses import BoxGuess, build_box_loss
from napari_medlab.models.detection.matchers import build_matcher
from napari_medlab.models.detection.proposals import propose
from napari_medlab.models.detection.sampling import Regions, build_region_sampler
from napari_medlab.models.detection.stage_training import Aims, StageBatch, Truth, aims_of, chosen
from napari_medlab.models.detection.stages import Rois

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from napari_medlab.models.detection.proposals import Guesses
    from napari_medlab.models.detection.sampling import Hardness
    from napari_medlab.models.detection.stages import BoxStage, Pyramid, RegionStages, Said
    from napari_medlab.models.detection.two_stage import TwoStageDetector
    from napari_medlab.models.training.samples import Sample

__all__ = ["LossWeights", "TwoStageObjective"]


@dataclass(frozen=True)
class LossWeights:
    """How much each term of the loss counts.

    Parameters
    ----------
    objectness, proposal : float
        Of the first stage: whether there is anything, and where.
    classification, box : float
        Of the later stages: what it is, and where.
    stages : floats
        For each later stage, what both of its terms are multiplied by as well (Cai and Vasconcelos, 2018, as implemented).
    """

    objectness: float = 1.0
    proposal: float = 1.0
    classification: float = 1.0
    box: float = 1.0
    stages: Sequence[float] = (1.0, 0.5, 0.25)


class TwoStageObjective:
    """The losses of the first stage and of all later ones.

    Parameters
    ----------
    matcher : dict
        Which anchors the first stage learns from; see :mod:`napari_medlab.models.detection.matchers`. By default those
        that overlap a box by 0.7 or best, and as background those that overlap none by 0.3.
    sampler : dict
        Which regions the later stages learn from, of each image; see :mod:`napari_medlab.models.detection.sampling`. By
        default 128 at random, a quarter of them on a box.
    first_sampler : dict
        Which anchors the first stage learns from, of those matched. By default 256 at random, half of them on a box.
    weights : dict
        The fields of :class:`LossWeights`.
    box_loss : dict
        Of all stages; see :mod:`napari_medlab.models.detection.losses`. By default Huber's.
    ious : floats, 0 … 1
        For each later stage, from which overlap a region belongs to a box. In a cascade each stage is shown what the one
        before has refined, and asks for more.

    Raises
    ------
    InputRefusedError
        Where a part is named that is not there, or has other settings.
    """

    def __init__(
        self, matcher: Mapping[str, Any] | None = None, sampler: Mapping[str, Any] | None = None,
        first_sampler: Mapping[str, Any] | None = None, weights: Mapping[str, Any] | None = None,
        box_loss: Mapping[str, Any] | None = None, ious: Sequence[float] = (0.5, 0.6, 0.7),
    ) -> None:  # fmt: skip
        self.matcher = build_matcher(matcher or {"name": "iou", "positive": 0.7, "negative": 0.3})
        self.sampler = build_region_sampler(sampler or {"name": "random", "count": 128, "positive": 0.25})
        self.first_sampler = build_region_sampler(
            first_sampler or {"name": "random", "count": 256, "positive": 0.5}
        )
        self.weights = LossWeights(**(weights or {}))
        self.box_loss = build_box_loss(box_loss or {"name": "huber"})
        self.ious = tuple(ious)

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return the terms of the loss; see :class:`~napari_medlab.models.training.objectives.Objective`.

        ``"objectness"`` and ``"proposal"`` are the first stage's, ``"class 1"`` and ``"box 1"`` those of the stage after it.
        """
        detector = cast("TwoStageDetector", network)
        truths = [Truth.of(sample, images.device) for sample in samples]
        pyramid = detector.pyramid_of(images)
        guesses = detector.proposals(pyramid.maps, pyramid.image_shape)
        terms = self.first_losses(guesses, truths)
        total = self.weights.objectness * terms["objectness"] + self.weights.proposal * terms["proposal"]
        if detector.stages is not None:
            found = [one.boxes for one in propose(guesses, pyramid.image_shape, detector.proposal_settings)]
            batches = self.stage_batches(detector.stages, pyramid, found, truths)
            for number, (stage, batch) in enumerate(
                zip(detector.stages.each(), batches, strict=True), start=1
            ):
                named, placed = self._means(stage, batch)
                terms |= {f"class {number}": named, f"box {number}": placed}
                share = self.weights.stages[number - 1]
                total = total + share * (self.weights.classification * named + self.weights.box * placed)
        return {**terms, "total": total}

    def first_losses(self, guesses: Guesses, truths: Sequence[Truth]) -> dict[str, torch.Tensor]:
        """Return how wrong the first stage is about whether there is anything, and about where it is.

        Both are divided by the number of anchors that count.
        """
        logits, wanted, regions, deltas, boxes = [], [], [], [], []
        for of_image, shifts, truth in zip(guesses.logits.float(), guesses.deltas, truths, strict=True):
            matched = self.matcher.match(guesses.anchors, truth.boxes, truth.is_ignored, guesses.cells)
            hardness = _hardness_of_anchors(of_image.detach(), matched, self.first_sampler.hardness)
            rows = self.first_sampler.choose(Regions(guesses.anchors, matched, hardness))
            on_object = rows[matched[rows] >= 0]
            logits.append(of_image[rows])
            wanted.append((matched[rows] >= 0).float())
            regions.append(guesses.anchors[on_object])
            deltas.append(shifts[on_object])
            boxes.append(truth.boxes[matched[on_object]])
        count = max(sum(map(len, logits)), 1)
        objectness = F.binary_cross_entropy_with_logits(torch.cat(logits), torch.cat(wanted), reduction="sum")
        off = self._off(torch.cat(regions), torch.cat(deltas), torch.cat(boxes)).sum()
        return {"objectness": objectness / count, "proposal": off / count}

    def stage_batches(
        self,
        stages: RegionStages,
        pyramid: Pyramid,
        proposals: Sequence[torch.Tensor],
        truths: Sequence[Truth],
    ) -> list[StageBatch]:
        """Return what each stage is shown and what it says; each but the first is shown what the one before refined.

        Parameters
        ----------
        stages, pyramid : of the network
        proposals : float tensor (n, 2 · dims) for each image, in voxels
        truths : one for each image
        """
        if len(stages) > min(len(self.ious), len(self.weights.stages)):
            raise InputRefusedError(
                f"The network has {len(stages)} stages, but the objective has an IoU for {len(self.ious)} of them and a "
                f"weight for {len(self.weights.stages)}.",
                code="stages-of-objective", hint="Give ious and weights.stages one number for each stage.",
            )  # fmt: skip
        regions, batches = list(proposals), []
        for stage, iou in zip(stages.each(), self.ious, strict=False):
            background = stage.logits.out_features - 1
            offered = [
                aims_of(found, truth, iou, background) for found, truth in zip(regions, truths, strict=True)
            ]
            shown = chosen(offered, self.sampler, self._hardness(stage, stages, pyramid, offered))
            rois = Rois.joined([aims.regions for aims in shown])
            batch = StageBatch(Aims.joined(shown), rois.images, stage(stages.pool(pyramid, rois)))
            batches.append(batch)
            refined = stage.refined(rois.boxes, batch.said, pyramid.image_shape)
            regions = [refined[(rois.images == image) & ~batch.aims.is_truth] for image in range(len(truths))]
        return batches

    @torch.no_grad()
    def _hardness(
        self, stage: BoxStage, stages: RegionStages, pyramid: Pyramid, offered: Sequence[Aims]
    ) -> torch.Tensor | None:
        """Return what the sampler wants to know of all regions, image by image, from a look without a gradient."""
        if self.sampler.hardness == "none":
            return None
        said: Said = stage(stages.pool(pyramid, Rois.joined([aims.regions for aims in offered])))
        if self.sampler.hardness == "score":
            return 1 - said.logits.softmax(dim=1)[:, -1]
        aims = Aims.joined(offered)
        named, placed = self._by_region(stage, aims, said)
        return named.index_add(0, aims.is_object.nonzero()[:, 0], placed)

    def _by_region(self, stage: BoxStage, aims: Aims, said: Said) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the class of each region, (n,), and of the box of each region on an object, (objects,)."""
        named = F.cross_entropy(said.logits, aims.classes, reduction="none")
        rows = aims.is_object.nonzero()[:, 0]
        deltas = stage.of_class(said.deltas[rows], aims.classes[rows])
        return named, self._off(aims.regions[rows], deltas, aims.boxes[rows], stage.coding)

    def _off(
        self,
        regions: torch.Tensor,
        deltas: torch.Tensor,
        boxes: torch.Tensor,
        coding: Sequence[float] | None = None,
    ) -> torch.Tensor:
        """Return how far off the boxes are that shifts make of regions, (n,)."""
        wanted = encode(regions, boxes, coding)
        return self.box_loss.losses(BoxGuess(deltas, wanted, decode(regions, deltas, coding), boxes))

    def _means(self, stage: BoxStage, batch: StageBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses of classes and of boxes, both divided by the number of regions shown."""
        named, placed = self._by_region(stage, batch.aims, batch.said)
        count = max(len(named), 1)
        return named.sum() / count, placed.sum() / count


def _hardness_of_anchors(logits: torch.Tensor, matched: torch.Tensor, kind: Hardness) -> torch.Tensor | None:
    if kind == "loss":
        return F.binary_cross_entropy_with_logits(logits, (matched >= 0).float(), reduction="none")
    return logits.sigmoid() if kind == "score" else None
