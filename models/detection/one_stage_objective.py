"""What a one-stage detector is trained for: which box each anchor and cell is to find, and what it costs to miss it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.anchor_free import Cells, build_assigner
from napari_medlab.models.detection.boxes import centres
from napari_medlab.models.detection.centreness import CentrenessLoss, centreness_of
from napari_medlab.models.detection.losses import (
    BoxGuess,
    HardNegatives,
    build_box_loss,
    build_classification_loss,
)
from napari_medlab.models.detection.matchers import build_matcher
from napari_medlab.models.detection.one_stage import ANCHOR_FREE, ANCHORS, OneStageDetector, outputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from napari_medlab.models.detection.heads import Branch
    from napari_medlab.models.training.samples import Sample

__all__ = ["TERMS", "OneStageObjective"]

TERMS = ("classification", "box", "centreness")


class OneStageObjective:
    """The loss of :class:`~napari_medlab.models.detection.one_stage.OneStageDetector`, by configuration.

    Parameters
    ----------
    matcher : mapping or None
        Which box each anchor is to find; one of :data:`~napari_medlab.models.detection.matchers.MATCHERS`.
    anchor_free : mapping or None
        Which box each cell is to find; one of :data:`~napari_medlab.models.detection.anchor_free.ASSIGNERS`.
    classification : mapping or None
        One of :data:`~napari_medlab.models.detection.losses.CLASSIFICATION_LOSSES`, for all branches.
    box, anchor_free_box : mapping or None
        One of :data:`~napari_medlab.models.detection.losses.BOX_LOSSES` each, for anchors and for cells.
    centreness : mapping or None
        Settings of :class:`~napari_medlab.models.detection.centreness.CentrenessLoss`.
    weights : mapping or None
        What terms of the loss are multiplied by: under a branch (``"anchor_free"``: FSAF's lambda), a term (``"box"``) or
        both (``"anchor_free.box"``); what applies is multiplied together, and is 1 where nothing is said.
    hard_negatives : mapping or None
        Settings of :class:`~napari_medlab.models.detection.losses.HardNegatives`; None for all the background.

    Notes
    -----
    Classification and box terms are sums over a batch divided by its number of positives, at least 1, each branch by its
    own. Nothing is lost where a cell or an anchor is ignored.
    """

    def __init__(  # noqa: PLR0913 - what a configuration may set, as plain JSON values
        self, matcher: Mapping[str, Any] | None = None, anchor_free: Mapping[str, Any] | None = None,
        classification: Mapping[str, Any] | None = None, box: Mapping[str, Any] | None = None,
        anchor_free_box: Mapping[str, Any] | None = None, centreness: Mapping[str, Any] | None = None,
        weights: Mapping[str, float] | None = None, hard_negatives: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self._matcher = build_matcher(matcher or {"name": "iou"})
        self._assigner = build_assigner(anchor_free or {"name": "fcos"})
        self._classification = build_classification_loss(classification or {"name": "focal"})
        self._box = {
            ANCHORS: build_box_loss(box or {"name": "huber"}),
            ANCHOR_FREE: build_box_loss(anchor_free_box or {"name": "giou"}),
        }
        self._centreness = CentrenessLoss(**(centreness or {}))
        self._hard_negatives = None if hard_negatives is None else HardNegatives(**hard_negatives)
        self._weights = _checked_weights(weights or {})

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return the terms by branch and name, as ``"anchors.box"``, and their weighted sum under ``"total"``.

        Raises
        ------
        InputRefusedError
            Where a sample has a class that the network does not have.
        """
        detector = cast(OneStageDetector, network)
        outputs = detector(images)
        targets = [_Targets.of(sample, images.device, detector.classes) for sample in samples]
        found: dict[str, torch.Tensor] = {}
        for name, branch in detector.named_branches():
            said = _Said.of(name, branch, outputs_of(outputs, name), images.shape[2:])
            rows = torch.stack([self._rows(said, image, of_image) for image, of_image in enumerate(targets)])
            terms = self._terms(said, rows, targets)
            found |= {f"{name}.{term}": value for term, value in terms.items()}
        found["total"] = torch.stack([self.weight(name) * value for name, value in found.items()]).sum()
        return found

    def weight(self, name: str) -> float:
        """Return what a term such as ``"anchor_free.box"`` is multiplied by."""
        branch, term = name.split(".")
        return self._weights.get(branch, 1.0) * self._weights.get(term, 1.0) * self._weights.get(name, 1.0)

    @torch.no_grad()
    def _rows(self, said: _Said, image: int, targets: _Targets) -> torch.Tensor:
        """Return the row of the box that each prior is to find in one image."""
        if said.name == ANCHORS:
            return self._matcher.match(said.priors, targets.boxes, targets.is_ignored, said.per_level)
        cells = Cells.of(said.priors, said.per_level)
        cost = partial(self._cost, said, image, targets)
        return self._assigner.assign(cells, targets.boxes, targets.is_ignored, cost)

    def _cost(
        self, said: _Said, image: int, targets: _Targets, of_box: torch.Tensor, of_cell: torch.Tensor
    ) -> torch.Tensor:
        """Return what cells lose for boxes at present, for each pair of them."""
        logits = said.logits[image, of_cell]
        wanted = torch.zeros_like(logits)
        wanted[torch.arange(len(of_box), device=logits.device), targets.labels[of_box]] = 1
        missed = self._classification.losses(logits, wanted).sum(dim=1)
        guess = said.guess(said.priors[of_cell], said.codes[image, of_cell], targets.boxes[of_box])
        return missed + self._box[said.name].losses(guess)

    def _terms(self, said: _Said, rows: torch.Tensor, targets: Sequence[_Targets]) -> dict[str, torch.Tensor]:
        """Return the terms of one branch, from the rows of all images, (batch, priors)."""
        of_image, of_prior = (rows >= 0).nonzero(as_tuple=True)
        boxes = torch.cat([one.boxes[row[row >= 0]] for one, row in zip(targets, rows, strict=True)])
        labels = torch.cat([one.labels[row[row >= 0]] for one, row in zip(targets, rows, strict=True)])
        count = max(1, len(boxes))
        wanted = torch.zeros_like(said.logits)
        wanted[of_image, of_prior, labels] = 1
        counted = self._counted(said, rows)
        guess = said.guess(said.priors[of_prior], said.codes[of_image, of_prior], boxes)
        terms = {
            "classification": self._classification.losses(said.logits[counted], wanted[counted]).sum()
            / count,
            "box": self._box[said.name].losses(guess).sum() / count,
        }
        if said.centreness is not None:
            central = torch.zeros_like(said.centreness, dtype=torch.float32)
            central[of_image, of_prior] = centreness_of(centres(said.priors[of_prior]), boxes)
            terms["centreness"] = self._centreness.mean(said.centreness, central, rows)
        return terms

    def _counted(self, said: _Said, rows: torch.Tensor) -> torch.Tensor:
        """Say for which priors the classification loss counts, (batch, priors)."""
        if self._hard_negatives is None:
            return rows >= -1
        scores = said.logits.detach().amax(dim=2).sigmoid()
        pairs = zip(rows, scores, strict=True)
        return torch.stack([self._hard_negatives.counted(of_image, score) for of_image, score in pairs])


@dataclass(frozen=True, eq=False)
class _Targets:
    """The boxes of one image on the device of the network."""

    boxes: torch.Tensor
    labels: torch.Tensor
    is_ignored: torch.Tensor

    @classmethod
    def of(cls, sample: Sample, device: torch.device, classes: int) -> _Targets:
        if len(sample.labels) and not 0 <= sample.labels.min() <= sample.labels.max() < classes:
            raise InputRefusedError(
                f"A sample has classes {sorted(set(sample.labels.tolist()))}, but the network has only {classes}.",
                code="unknown-class",
                hint="Give the network as many classes as the data has, numbered from 0.",
            )
        pairs = ((sample.boxes, np.float32), (sample.labels, np.int64), (sample.is_ignored, np.bool_))
        arrays = (np.array(array, dtype, order="C") for array, dtype in pairs)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True, eq=False)
class _Said:
    """What one branch says of a batch, in float32, and the priors that it says it of."""

    name: str
    branch: Branch
    priors: torch.Tensor
    per_level: list[int]
    logits: torch.Tensor
    codes: torch.Tensor
    centreness: torch.Tensor | None

    @classmethod
    def of(
        cls, name: str, branch: Branch, outputs: Mapping[str, torch.Tensor], shape: Sequence[int]
    ) -> _Said:
        centreness = outputs.get("centreness")
        return cls(
            name, branch, branch.priors(shape, outputs["box"].device), branch.per_level(shape),
            branch.trained_logits(outputs), outputs["box"].float(),
            None if centreness is None else centreness.float(),
        )  # fmt: skip

    def guess(self, priors: torch.Tensor, codes: torch.Tensor, boxes: torch.Tensor) -> BoxGuess:
        """Return codes beside what they should be, for priors whose boxes are known."""
        coding = self.branch.coding
        return BoxGuess(codes, coding.encode(priors, boxes), coding.decode(priors, codes), boxes)


def _checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    branches = (ANCHORS, ANCHOR_FREE)
    known = {*branches, *TERMS, *(f"{branch}.{term}" for branch in branches for term in TERMS)}
    if unknown := sorted(set(weights) - known):
        raise ValueError(
            f"there are no terms called {', '.join(unknown)}: known are {', '.join(sorted(known))}"
        )
    return {name: float(weight) for name, weight in weights.items()}
