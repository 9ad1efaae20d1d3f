"""Targets and loss of a centre heatmap, and the way back from maps to candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from napari_medlab.models.networks.centre_heatmap import STRIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Peaks", "Targets", "decode_peaks", "heatmap_loss", "make_targets"]

SIGMA_CELLS = (0.6, 2.0)
"""The least and greatest width of the bump around a centre, in cells."""

SIGMA_PER_DIAMETER = 1 / 6
ALPHA, BETA = 2.0, 4.0
"""The exponents of the penalty-reduced focal loss (Law and Deng, "CornerNet", 2018, equation 1)."""


@dataclass(frozen=True)
class Targets:
    """What the maps should be, for a batch.

    Parameters
    ----------
    heat : float (batch, …cells): 1 at centres, falling off around them
    counted : float (batch, …cells): 0 where no loss is counted
    centre : bool (batch, …cells): the cells that hold a centre
    log_diameter : float (batch, …cells)
    offset : float (batch, dims, …cells), in cells
    """

    heat: torch.Tensor
    counted: torch.Tensor
    centre: torch.Tensor
    log_diameter: torch.Tensor
    offset: torch.Tensor


def cell_of(index: NDArray[np.floating]) -> NDArray[np.floating]:
    """Map voxel indices to cell coordinates: cell 0 is centred on voxel (stride - 1) / 2."""
    cells: NDArray[np.floating] = (index - (STRIDE - 1) / 2) / STRIDE
    return cells


def make_targets(
    shape: Sequence[int], centres: Sequence[NDArray[np.float32]], diameters: Sequence[NDArray[np.float32]],
    is_ignored: Sequence[NDArray[np.bool_]],
) -> Targets:
    """Return the targets of a batch of patches.

    Parameters
    ----------
    shape : spatial shape of the patches in voxels
    centres, diameters, is_ignored : one array for each patch, (n, dims), (n,) and (n,), in voxels
    """
    cells = tuple(size // STRIDE for size in shape)
    batch, dims = len(centres), len(cells)
    heat = np.zeros((batch, *cells), np.float32)
    counted = np.ones((batch, *cells), np.float32)
    log_diameter = np.zeros((batch, *cells), np.float32)
    offset = np.zeros((batch, dims, *cells), np.float32)
    centre = np.zeros((batch, *cells), np.bool_)
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in cells], indexing="ij", sparse=True)
    for b in range(batch):
        for place, diameter, ignored in zip(cell_of(centres[b]), diameters[b], is_ignored[b], strict=True):
            squared = sum((axis - c) ** 2 for axis, c in zip(axes, place, strict=True))
            if ignored:
                counted[b][np.asarray(squared <= (diameter / STRIDE / 2 + 1) ** 2)] = 0
                continue
            sigma = np.clip(diameter / STRIDE * SIGMA_PER_DIAMETER, *SIGMA_CELLS)
            np.maximum(heat[b], np.exp(-squared / (2 * sigma**2)), out=heat[b])
            nearest = tuple(np.rint(place).astype(int))
            if all(0 <= i < n for i, n in zip(nearest, cells, strict=True)):
                centre[(b, *nearest)] = True
                log_diameter[(b, *nearest)] = np.log(max(float(diameter), 1.0))
                offset[(b, slice(None), *nearest)] = place - nearest
    heat[centre] = 1.0
    counted[centre] = 1.0
    tensors = (torch.from_numpy(array) for array in (heat, counted, centre, log_diameter, offset))
    return Targets(*tensors)


def heatmap_loss(maps: torch.Tensor, targets: Targets, size_weight: float, offset_weight: float) -> dict[str, torch.Tensor]:
    """Return the terms of the loss and their weighted sum under ``"total"``.

    Parameters
    ----------
    maps : (batch, 1 + 1 + dims, …cells), as :class:`CentreHeatmapNet` returns them for one class
    targets : Targets
    size_weight, offset_weight : how much the L1 losses of log diameter and offset count
    """
    logits, log_diameter, offset = maps[:, 0].float(), maps[:, 1].float(), maps[:, 2:].float()
    positive = targets.centre
    count = positive.sum().clamp(min=1)
    probability = logits.sigmoid()
    at_centres = (1 - probability) ** ALPHA * F.softplus(-logits)
    elsewhere = (1 - targets.heat) ** BETA * probability**ALPHA * F.softplus(logits)
    heat = (torch.where(positive, at_centres, elsewhere) * targets.counted).sum() / count
    size = (log_diameter - targets.log_diameter).abs()[positive].sum() / count
    shift = (offset - targets.offset).abs().sum(dim=1)[positive].sum() / count
    return {"heat": heat, "size": size, "offset": shift, "total": heat + size_weight * size + offset_weight * shift}


@dataclass(frozen=True)
class Peaks:
    """Candidates of one patch in voxels: ``centres`` (n, dims) indices, ``diameters`` (n,), ``scores`` (n,) 0 … 1."""

    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]
    scores: NDArray[np.float64]


def decode_peaks(maps: torch.Tensor, threshold: float, most: int) -> Peaks:
    """Return the local maxima of one patch's heatmap, best first.

    Parameters
    ----------
    maps : (1 + 1 + dims, …cells)
    threshold : least score, 0 … 1
    most : at most this many
    """
    heat = maps[0].float().sigmoid()
    dims = heat.ndim
    pool = F.max_pool3d if dims == 3 else F.max_pool2d
    peak = (pool(heat[None, None], 3, stride=1, padding=1)[0, 0] == heat) & (heat >= threshold)
    cells = peak.nonzero()
    scores = heat[peak]
    order = scores.argsort(descending=True, stable=True)[:most]
    cells, scores = cells[order], scores[order]
    at = tuple(cells.T)
    offset = torch.stack([maps[2 + axis].float()[at] for axis in range(dims)], dim=1).clamp(-1, 1)
    centres = (cells + offset) * STRIDE + (STRIDE - 1) / 2
    diameters = maps[1].float()[at].exp().clamp(1, 200)
    return Peaks(*(tensor.double().numpy() for tensor in (centres, diameters, scores)))
