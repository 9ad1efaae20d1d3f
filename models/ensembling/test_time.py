"""Averaging over the symmetries of a square or a cube while predicting, each undone exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_medlab.models.augmentation.symmetries import GROUPS, by_name, group
from napari_medlab.models.detection.detections import Detections
from napari_medlab.models.ensembling.averaging import LOGITS, average_maps, channels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.augmentation.symmetries import Symmetry
    from napari_medlab.models.detection.detections import DecodeSettings
    from napari_medlab.models.ensembling.averaging import MapChannels

__all__ = ["TestTime", "symmetries", "turn_back"]


def symmetries(names: Sequence[str], dims: int) -> list[Symmetry]:
    """Return the symmetries that a bundle's ``test_time`` names, the identity first, none twice.

    Parameters
    ----------
    names : sequence of str
        Single ones such as ``"flip y"`` (up-down), ``"flip x"`` (left-right), ``"rot180"``; or whole groups such as
        ``"square"`` (8) or ``"cube rotations"`` (24): see :mod:`napari_medlab.models.augmentation.symmetries`.
    dims : 2 or 3

    Raises
    ------
    InputRefusedError
        Where a name is not known.
    """
    chosen = [by_name("identity", dims)]
    for name in names:
        chosen += group(name, dims) if name in GROUPS else [by_name(name, dims)]
    return list(dict.fromkeys(chosen))


def turn_back(maps: torch.Tensor, symmetry: Symmetry, channels: MapChannels) -> torch.Tensor:
    """Return maps (batch, channel, …) of a turned image as they lie on the image itself, vectors turned along."""
    back = symmetry.inverse
    if not channels.vectors:
        return back.apply(maps)
    logits, numbers, vectors = channels.split(back.apply(maps))
    turned = back.apply_vectors(vectors.movedim(1, -1)).movedim(-1, 1)
    return torch.cat([logits, numbers, turned], dim=1)


class TestTime(nn.Module):
    """Shows a network each image in several positions, and averages what it says.

    Its maps follow when the image is turned by a member of the group that was averaged over. Maps and logits are averaged
    by :func:`~napari_medlab.models.ensembling.averaging.average_maps`; of detectors whose outputs are no maps, the boxes
    of all positions are turned back and fused.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode; takes images (batch, channel, …) of any shape that is divisible by its ``multiple``.
    symmetries : sequence of Symmetry
        See :func:`symmetries`.
    exclusive : bool
        Whether the classes of maps exclude one another (softmax); those of a classifier with several logits always do.
    """

    __test__ = False  # no test case, whatever its name

    def __init__(
        self, network: nn.Module, symmetries: Sequence[Symmetry], *, exclusive: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self.symmetries = tuple(symmetries)
        self.exclusive = exclusive
        self.multiple = int(getattr(network, "multiple", 1))
        self.has_boxes = bool(getattr(network, "has_boxes", True))
        self.map_channels = channels_of(network)

    def forward(self, images: torch.Tensor) -> Any:  # noqa: ANN401 - whatever the network gives
        """Return the averaged maps or logits; or, where the network gives neither, its outputs for each position."""
        outputs = [self.network(symmetry.apply(images)) for symmetry in self.symmetries]
        if not isinstance(outputs[0], torch.Tensor):
            return outputs
        if outputs[0].ndim == images.ndim:
            pairs = zip(outputs, self.symmetries, strict=True)
            maps = [turn_back(output, symmetry, self.map_channels) for output, symmetry in pairs]
            return average_maps(maps, self._shares, self.map_channels, exclusive=self.exclusive)
        # several logits of a whole image are of classes that exclude one another, one logit is of a lesion or none
        return average_maps(outputs, self._shares, LOGITS, exclusive=outputs[0].ndim > 1)

    def decode(self, outputs: Any, image_shape: Sequence[int], settings: DecodeSettings) -> list[Detections]:  # noqa: ANN401 - what forward gave
        """Return the detections of each image of a batch, in voxels.

        Parameters
        ----------
        outputs : what :meth:`forward` gave
        image_shape : the spatial shape of the images
        settings : DecodeSettings
            Its ``iou`` says which boxes of different positions are one.
        """
        from napari_medlab.models.detection.suppression import fuse

        network: Any = self.network
        if isinstance(outputs, torch.Tensor):
            found: list[Detections] = network.decode(outputs, image_shape, settings)
            return found
        positions = [
            [
                _boxes_back(each, symmetry, image_shape)
                for each in network.decode(said, symmetry.shape(image_shape), settings)
            ]
            for said, symmetry in zip(outputs, self.symmetries, strict=True)
        ]
        return [fuse(list(of_image), self._shares, settings.iou) for of_image in zip(*positions, strict=True)]

    @property
    def _shares(self) -> list[float]:
        return [1 / len(self.symmetries)] * len(self.symmetries)


def _boxes_back(found: Detections, symmetry: Symmetry, image_shape: Sequence[int]) -> Detections:
    boxes = symmetry.inverse.apply_boxes(found.boxes, symmetry.shape(image_shape))
    return Detections(boxes, found.scores, found.classes)
