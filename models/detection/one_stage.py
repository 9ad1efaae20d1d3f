"""A one-stage detector in 2D and 3D: a feature pyramid with dense heads, anchor-based, anchor-free or both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_medlab.models.detection.boxes import clip, sizes
from napari_medlab.models.detection.centreness import CentrenessSettings
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.detection.heads import (
    AnchorCoding,
    AnchorFreeSettings,
    AnchorSettings,
    Branch,
    DistanceCoding,
    Towers,
    cell_grid,
)
from napari_medlab.models.detection.suppression import suppress
from napari_medlab.models.networks.pyramid import FeaturePyramid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medlab.models.detection.anchors import AnchorGrid
    from napari_medlab.models.detection.detections import DecodeSettings
    from napari_medlab.models.detection.heads import Coding

__all__ = ["ANCHORS", "ANCHOR_FREE", "OneStageDetector", "outputs_of"]

ANCHORS = "anchors"
ANCHOR_FREE = "anchor_free"
"""The branches, as configurations, outputs and terms of the loss name them."""


class OneStageDetector(nn.Module):
    """RetinaNet, FSAF, FCOS and what lies between them, by configuration.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels : int
    classes : int
        Kinds of object; each has a score of its own.
    backbone : mapping or None
        Arguments of :class:`~napari_medlab.models.networks.pyramid.Backbone`, such as ``{"name": "resnet50"}``.
    levels, channels, p6_from : as :class:`~napari_medlab.models.networks.pyramid.FeaturePyramid` has them
    convs : int
        How many convolutions each tower has before its outputs.
    anchors : mapping or None
        Settings of :class:`~napari_medlab.models.detection.heads.AnchorSettings`, ``{}`` for all by default; None for no
        branch with anchors.
    anchor_free : mapping or None
        Settings of :class:`~napari_medlab.models.detection.heads.AnchorFreeSettings`, ``{}`` for all by default; None for
        no branch without anchors.
    centreness : mapping or None
        Settings of :class:`~napari_medlab.models.detection.centreness.CentrenessSettings`; None for no centre-ness.
    candidates : int
        At most this many boxes of each branch and image are decoded, those with the best scores.

    Notes
    -----
    Input is float (batch, in_channels, …), its sizes divisible by ``multiple``. The outputs are one dictionary of
    tensors, ``"anchors.classification"``, ``"anchor_free.box"`` and so on: see
    :class:`~napari_medlab.models.detection.heads.Branch`. A network for mammograms as in many of the field's tables is
    ``{"backbone": {"name": "resnet50"}, "anchors": {"ratios": [1.0]}, "anchor_free": {}, "p6_from": "p5",
    "centreness": {"place": "regression"}}``.

    References
    ----------
    Lin et al., "Focal Loss for Dense Object Detection", 2017; Zhu, He and Savvides, "Feature Selective Anchor-Free Module
    for Single-Shot Object Detection", 2019; Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019.
    """

    def __init__(  # noqa: PLR0913 - what a bundle may set, as plain JSON values
        self, spatial_dims: int = 2, in_channels: int = 1, classes: int = 1, backbone: Mapping[str, Any] | None = None,
        levels: Sequence[int] = (3, 4, 5, 6, 7), channels: int = 256, p6_from: str = "c5", convs: int = 4,
        anchors: Mapping[str, Any] | None = None, anchor_free: Mapping[str, Any] | None = None,
        centreness: Mapping[str, Any] | None = None, candidates: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        given = {ANCHORS: anchors, ANCHOR_FREE: anchor_free}
        names = [name for name, settings in given.items() if settings is not None]
        if not names:
            raise ValueError("a detector needs anchors, an anchor-free branch, or both")
        self.spatial_dims, self.classes, self.candidates = spatial_dims, classes, candidates
        self.pyramid = FeaturePyramid(spatial_dims, in_channels, backbone, levels, channels, p6_from)
        self.multiple = self.pyramid.multiple
        strides = self.pyramid.strides
        says = _centreness_by_branch(centreness, names)
        shares = False
        self.branches = nn.ModuleDict()
        if anchors is not None:
            chosen = AnchorSettings.from_json(anchors)
            self._add(ANCHORS, chosen.grid(strides), AnchorCoding(chosen.code_weights), says[ANCHORS])
        if anchor_free is not None:
            shares = not AnchorFreeSettings.from_json(anchor_free).own_towers and anchors is not None
            self._add(ANCHOR_FREE, cell_grid(strides), DistanceCoding(), says[ANCHOR_FREE])
        self._towers_of = {name: ANCHORS if shares else name for name in names}
        self.towers = nn.ModuleDict(
            {name: Towers(spatial_dims, channels, convs) for name in sorted(set(self._towers_of.values()))}
        )

    def _add(self, name: str, grid: AnchorGrid, coding: Coding, says: CentrenessSettings | None) -> None:
        pyramid = self.pyramid
        self.branches[name] = Branch(pyramid.channels, self.classes, grid, pyramid.strides, coding, says)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the outputs of all branches for images (batch, in_channels, …)."""
        levels = self.pyramid(image)
        features = {name: towers(levels) for name, towers in self.towers.items()}
        return {
            f"{name}.{output}": tensor
            for name, branch in self.named_branches()
            for output, tensor in branch(features[self._towers_of[name]]).items()
        }

    def named_branches(self) -> Iterable[tuple[str, Branch]]:
        """Return the branches with their names."""
        return ((name, branch) for name, branch in self.branches.items() if isinstance(branch, Branch))

    @torch.no_grad()
    def decode(
        self, outputs: Mapping[str, torch.Tensor], image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        """Return what was found in each image of a batch, boxes cut at the image's faces, of all branches together.

        Parameters
        ----------
        outputs : what :meth:`forward` returned
        image_shape : spatial shape of the images in voxels
        settings : DecodeSettings
        """
        found: list[list[Detections]] = []
        for name, branch in self.named_branches():
            said = outputs_of(outputs, name)
            scores = branch.scores(said)
            priors = branch.priors(image_shape, scores.device)
            found.append([
                self._best(branch, priors, codes, of_image, image_shape, settings.threshold)
                for codes, of_image in zip(said["box"], scores, strict=True)
            ])  # fmt: skip
        return [suppress(Detections.joined(parts), settings) for parts in zip(*found, strict=True)]

    def _best(
        self, branch: Branch, priors: torch.Tensor, codes: torch.Tensor, scores: torch.Tensor,
        image_shape: Sequence[int], threshold: float,
    ) -> Detections:  # fmt: skip
        """Decode the best scores of one image, above a threshold."""
        best, where = scores.flatten().topk(min(self.candidates, scores.numel()))
        best, where = best[best >= threshold], where[best >= threshold]
        rows, classes = where // self.classes, where % self.classes
        boxes = clip(branch.coding.decode(priors[rows], codes[rows]), image_shape)
        solid = (sizes(boxes) > 0).all(dim=1)
        parts = (boxes[solid].double(), best[solid].double(), classes[solid])
        return Detections(*(part.cpu().numpy() for part in parts))


def outputs_of(outputs: Mapping[str, torch.Tensor], branch: str) -> dict[str, torch.Tensor]:
    """Return the outputs of one branch, without its name before theirs."""
    start = f"{branch}."
    return {name.removeprefix(start): tensor for name, tensor in outputs.items() if name.startswith(start)}


def _centreness_by_branch(
    given: Mapping[str, Any] | None, names: Sequence[str]
) -> dict[str, CentrenessSettings | None]:
    """Return what each branch says of centre-ness."""
    if given is None:
        return dict.fromkeys(names)
    settings = CentrenessSettings.from_json(given)
    saying = settings.branches or (names[-1],)
    if not set(saying) <= set(names):
        raise ValueError(
            f"centre-ness is asked of {', '.join(saying)}, but the branches are {', '.join(names)}"
        )
    return {name: settings if name in saying else None for name in names}
