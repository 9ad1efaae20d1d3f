"""Targets and loss of a centre heatmap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_medlab.models.networks.centre_heatmap import STRIDE
from napari_medlab.models.networks.scaled_heatmap import ScaledHeatmapNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.models.training.samples import Sample

__all__ = ["HeatmapObjective", "Targets", "heatmap_loss", "make_targets"]

SIGMA_PER_DIAMETER = 1 / 6
ALPHA, BETA = 2.0, 4.0
"""The exponents of the penalty-reduced focal loss (Law and Deng, "CornerNet", 2018, equation 1)."""


@dataclass(frozen=True)
class Targets:
    """What the maps should be, for a batch.

    Parameters
    ----------
    heat : float (batch, class, …cells): 1 at centres, falling off around them
    counted : float (batch, class, …cells): 0 where no loss is counted
    centre : bool (batch, class, …cells): the cells that hold a centre
    log_diameter : float (batch, …cells)
    offset : float (batch, dims, …cells), in cells
    """

    heat: torch.Tensor
    counted: torch.Tensor
    centre: torch.Tensor
    log_diameter: torch.Tensor
    offset: torch.Tensor

    def to(self, device: torch.device) -> Targets:
        """Return the same on a device."""
        return Targets(*(value.to(device) for value in vars(self).values()))


@dataclass(frozen=True)
class HeatmapObjective:
    """Trains a centre-heatmap network, or several at different scales.

    See :class:`~napari_medlab.models.networks.centre_heatmap.CentreHeatmapNet` and
    :class:`~napari_medlab.models.networks.scaled_heatmap.ScaledHeatmapNet`, whose parts' losses are added.

    Parameters
    ----------
    size_weight, offset_weight : how much the L1 losses of log diameter and offset count beside the heatmap's
    sigma_cells : (least, most) width of the bump around a centre, in cells
    class_weights : how much each class's heatmap counts; all the same where empty, or for parts with other classes
    """

    size_weight: float = 0.5
    offset_weight: float = 0.5
    sigma_cells: tuple[float, float] = (0.6, 2.0)
    class_weights: tuple[float, ...] = ()

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        """Return the terms ``heat``, ``size`` and ``offset``, and their weighted sum under ``total``."""
        outputs = network(images)
        if isinstance(network, ScaledHeatmapNet):
            looked_for = [number for numbers in network.class_numbers for number in numbers]
            # a cluster is what its specks become: no part finds it, and its place is no background either
            marked = [replace(s, is_ignored=s.is_ignored | ~np.isin(s.labels, looked_for)) for s in samples]
            parts = zip(outputs, network.factors, network.class_numbers, strict=True)
            each = [
                self._terms(maps, [_reduced(s, factor, known) for s in marked])
                for maps, factor, known in parts
            ]
            terms = {name: sum((part[name] for part in each[1:]), each[0][name]) for name in each[0]}
        else:
            terms = self._terms(outputs, samples)
        total = terms["heat"] + self.size_weight * terms["size"] + self.offset_weight * terms["offset"]
        return {**terms, "total": total}

    def _terms(self, maps: torch.Tensor, samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        classes = maps.shape[1] - 1 - samples[0].dims
        targets = make_targets(samples, classes, self.sigma_cells).to(maps.device)
        return heatmap_loss(maps, targets, self.class_weights if len(self.class_weights) == classes else ())


def _reduced(sample: Sample, factor: int, known: Sequence[int]) -> Sample:
    """Return what a part at a coarser scale has to find of a sample: the boxes of its classes, in blocks.

    Boxes of classes that other parts find are background to it; ignored ones are ignored whatever their class.
    """
    kept = np.isin(sample.labels, known) | sample.is_ignored
    labels = np.searchsorted(known, sample.labels[kept]).clip(0, len(known) - 1)
    boxes = ((sample.boxes[kept] + 0.5) / factor - 0.5).astype(np.float32)
    # the image itself is not looked at: a view of one voxel for each block has the right shape
    blocks = sample.image[(slice(None), *[slice(None, None, factor)] * sample.dims)]
    return replace(
        sample, image=blocks, boxes=boxes, labels=labels, is_ignored=sample.is_ignored[kept], mask=None
    )


def cell_of(index: NDArray[np.floating]) -> NDArray[np.floating]:
    """Map voxel indices to cell coordinates: cell 0 is centred on voxel (stride - 1) / 2."""
    cells: NDArray[np.floating] = (index - (STRIDE - 1) / 2) / STRIDE
    return cells


def make_targets(
    samples: Sequence[Sample], classes: int, sigma_cells: tuple[float, float] = (0.6, 2.0)
) -> Targets:
    """Return the targets of a batch of samples that are all of one shape."""
    each = [_targets_of(sample, classes, sigma_cells) for sample in samples]
    return Targets(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*each, strict=True)))


def _targets_of(
    sample: Sample, classes: int, sigma_cells: tuple[float, float]
) -> tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32], NDArray[np.float32]
]:
    cells = tuple(size // STRIDE for size in sample.shape)
    heat, counted = np.zeros((classes, *cells), np.float32), np.ones((classes, *cells), np.float32)
    log_diameter, offset = np.zeros(cells, np.float32), np.zeros((len(cells), *cells), np.float32)
    centre = np.zeros((classes, *cells), np.bool_)
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in cells], indexing="ij", sparse=True)
    rows = zip(cell_of(sample.centres), sample.diameters, sample.labels, sample.is_ignored, strict=True)
    for place, diameter, label, ignored in rows:
        squared = sum((axis - c) ** 2 for axis, c in zip(axes, place, strict=True))
        if ignored:
            counted[:, np.asarray(squared <= (diameter / STRIDE / 2 + 1) ** 2)] = 0
            continue
        sigma = np.clip(diameter / STRIDE * SIGMA_PER_DIAMETER, *sigma_cells)
        np.maximum(heat[label], np.exp(-squared / (2 * sigma**2)), out=heat[label])
        nearest = tuple(np.rint(place).astype(int))
        if all(0 <= i < n for i, n in zip(nearest, cells, strict=True)):
            centre[(label, *nearest)] = True
            log_diameter[nearest] = np.log(max(float(diameter), 1.0))
            offset[(slice(None), *nearest)] = place - nearest
    heat[centre] = 1.0
    counted[centre] = 1.0
    return heat, counted, centre, log_diameter, offset


def heatmap_loss(
    maps: torch.Tensor, targets: Targets, class_weights: Sequence[float] = ()
) -> dict[str, torch.Tensor]:
    """Return the terms of the loss.

    Parameters
    ----------
    maps : (batch, classes + 1 + dims, …cells), as :class:`CentreHeatmapNet` returns them
    targets : Targets
    class_weights : one for each class
    """
    classes = targets.heat.shape[1]
    logits, log_diameter, offset = (
        maps[:, :classes].float(),
        maps[:, classes].float(),
        maps[:, classes + 1 :].float(),
    )
    positive, anywhere = targets.centre, targets.centre.any(dim=1)
    count = positive.sum().clamp(min=1)
    probability = logits.sigmoid()
    at_centres = (1 - probability) ** ALPHA * F.softplus(-logits)
    elsewhere = (1 - targets.heat) ** BETA * probability**ALPHA * F.softplus(logits)
    each = torch.where(positive, at_centres, elsewhere) * targets.counted
    if class_weights:
        weights = torch.as_tensor(class_weights, dtype=each.dtype, device=each.device)
        each = each * weights.view(1, -1, *[1] * (each.ndim - 2))
    size = (log_diameter - targets.log_diameter).abs()[anywhere].sum() / count
    shift = (offset - targets.offset).abs().sum(dim=1)[anywhere].sum() / count
    return {"heat": each.sum() / count, "size": size, "offset": shift}
