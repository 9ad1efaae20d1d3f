"""Detectors that first say where something is, then what it is: Faster and Cascade R-CNN, in 2D and 3D."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_medlab.models.detection.anchors import AnchorGrid
from napari_medlab.models.detection.boxes import clip, sizes
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.detection.proposals import ProposalHead, ProposalSettings, propose
from napari_medlab.models.detection.stages import HeadSettings, Pyramid, RegionStages, Rois, RoiSettings
from napari_medlab.models.detection.suppression import suppress
from napari_medlab.models.networks.deformable import replace_convolutions
from napari_medlab.models.networks.pyramid import FeaturePyramid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.models.detection.detections import DecodeSettings

__all__ = ["ANCHOR_SCALE", "TwoStageDetector"]

ANCHOR_SCALE = 8
"""The size of anchors in cells of their level, where no sizes are given (Lin et al., 2017: 32 pixels at stride 4)."""

PADDING_SCORE = -1.0
"""Of rows that only fill up, so that all images of a batch have as many."""

DEFORMABLE_STAGES = {
    "c2": "backbone.stages.0",
    "c3": "backbone.stages.1",
    "c4": "backbone.stages.2",
    "c5": "backbone.stages.3",
}


class TwoStageDetector(nn.Module):
    """A pyramid of features, proposals out of all its levels, and stages that look at each proposal.

    Parameters
    ----------
    spatial_dims : 2 or 3
    in_channels : int
    classes : int
    backbone : dict
        Arguments of :class:`~napari_medlab.models.networks.pyramid.Backbone`.
    levels : ints
        Consecutive levels of the pyramid, 2 for P2; those beyond the backbone's last stage are made from P5.
    channels : int
        Of every level.
    anchors : dict
        ``"sizes"``, one or several for each level, in voxels, and ``"ratios"``; see
        :class:`~napari_medlab.models.detection.anchors.AnchorGrid`. By default one size, 8 cells, at 1/2, 1 and 2.
    rpn : dict
        The fields of :class:`~napari_medlab.models.detection.proposals.ProposalSettings`.
    roi : dict
        The fields of :class:`~napari_medlab.models.detection.stages.RoiSettings`.
    head : dict
        The fields of :class:`~napari_medlab.models.detection.stages.HeadSettings`, such as ``{"name": "cascade"}``.
    deformable : dict or None
        Where the backbone's convolutions of size 3 are deformable: ``{"stages": ["c4", "c5"], "modulated": true,
        "offset_groups": 1}``; see :mod:`napari_medlab.models.networks.deformable`.

    Attributes
    ----------
    multiple : int
        What the sizes of images are to be divisible by.
    stages : RegionStages or None
        None where the proposals themselves are what is found.

    Notes
    -----
    It returns, for a batch of images (batch, channel, …), the boxes of at most ``rpn["after"]`` regions, (batch, regions,
    1 or classes, 2 · dims), in voxels, and their scores (batch, regions, classes), 0 … 1, or -1 in rows that only fill up.
    """

    def __init__(  # noqa: PLR0913 - what a bundle may set, as plain JSON values
        self, spatial_dims: int = 2, in_channels: int = 3, classes: int = 1, backbone: Mapping[str, Any] | None = None,
        levels: Sequence[int] = (2, 3, 4, 5, 6), channels: int = 256, anchors: Mapping[str, Any] | None = None,
        rpn: Mapping[str, Any] | None = None, roi: Mapping[str, Any] | None = None, head: Mapping[str, Any] | None = None,
        deformable: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if classes < 1 or list(levels) != list(range(levels[0], levels[0] + len(levels))):
            raise ValueError(
                f"at least one class and consecutive levels are needed: got {classes} and {list(levels)}"
            )
        self.spatial_dims = spatial_dims
        self.proposal_settings = ProposalSettings(**(rpn or {}))
        settings = HeadSettings(**(head or {}))
        self.pyramid = FeaturePyramid(spatial_dims, in_channels, backbone, levels, channels, "p5")
        if deformable is not None:
            _deform(self.pyramid, **deformable)
        self.multiple = self.pyramid.multiple
        grid = _anchors(self.pyramid.strides, spatial_dims, **(anchors or {}))
        self.proposals = ProposalHead(spatial_dims, channels, grid)
        cut = RoiSettings(**(roi or {}))
        self.stages = (
            RegionStages(spatial_dims, channels, classes, cut, settings) if settings.weights else None
        )

    def pyramid_of(self, images: torch.Tensor) -> Pyramid:
        """Return the maps of a batch of images (batch, channel, …), whose sizes are divisible by ``multiple``."""
        return Pyramid(self.pyramid(images), images.shape[2:], self.pyramid.levels[0])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes and scores of regions; see the class for shapes."""
        pyramid = self.pyramid_of(images)
        found = propose(
            self.proposals(pyramid.maps, pyramid.image_shape), pyramid.image_shape, self.proposal_settings
        )
        counts = [len(proposals.boxes) for proposals in found]
        if self.stages is None:
            boxes = torch.cat([proposals.boxes for proposals in found])[:, None]
            scores = torch.cat([proposals.scores for proposals in found])[:, None]
        else:
            boxes, scores = self.stages(pyramid, Rois.joined([proposals.boxes for proposals in found]))
        return _padded(boxes, counts, 0.0), _padded(scores, counts, PADDING_SCORE)

    def decode(
        self, outputs: tuple[torch.Tensor, torch.Tensor], image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        """Return the detections of each image of a batch, best first; boxes of which the border leaves nothing are dropped.

        Parameters
        ----------
        outputs : what :meth:`forward` returned
        image_shape : spatial shape in voxels, where boxes are cut
        settings : DecodeSettings
        """
        found = []
        for boxes, scores in zip(*(maps.detach().double().cpu() for maps in outputs), strict=True):
            rows, classes = (scores >= max(settings.threshold, 0.0)).nonzero(as_tuple=True)
            cut = clip(boxes[rows, classes.clamp(max=boxes.shape[1] - 1)], image_shape)
            solid = (sizes(cut) > 0).all(dim=1)
            kept = (cut[solid], scores[rows, classes][solid], classes[solid])
            of_image = Detections(*(values.numpy() for values in kept))
            found.append(suppress(of_image, settings))
        return found


def _anchors(strides: Sequence[Sequence[int]], spatial_dims: int, **given: Any) -> AnchorGrid:  # noqa: ANN401 - JSON values
    sizes = given.pop("sizes", None) or [ANCHOR_SCALE * max(stride) for stride in strides]
    if len(sizes) != len(strides):
        raise ValueError(f"there are {len(strides)} levels, but anchors of {len(sizes)} sizes")
    return AnchorGrid(sizes, strides=strides, spatial_dims=spatial_dims, **given)


def _deform(
    pyramid: FeaturePyramid, stages: Sequence[str], modulated: bool = True, offset_groups: int = 1
) -> None:
    unknown = [stage for stage in stages if stage not in DEFORMABLE_STAGES]
    if unknown:
        raise ValueError(f"deformable stages are {', '.join(DEFORMABLE_STAGES)}: got {unknown}")
    replace_convolutions(pyramid, [DEFORMABLE_STAGES[stage] for stage in stages], modulated, offset_groups)


def _padded(values: torch.Tensor, counts: Sequence[int], fill: float) -> torch.Tensor:
    """Return the rows of all images, which lie one after the other, as (batch, most rows, …)."""
    return nn.utils.rnn.pad_sequence(values.split(list(counts)), batch_first=True, padding_value=fill)
