"""Features of boxes, cut out of maps without rounding (He et al., "Mask R-CNN", 2017, section 3), in 2D and 3D."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["align_over_levels", "assign_levels", "roi_align"]


def roi_align(
    features: torch.Tensor, boxes: torch.Tensor, images: torch.Tensor, bins: Sequence[int], stride: Sequence[float],
    points: int = 2,
) -> torch.Tensor:  # fmt: skip
    """Return the features of boxes, each box divided into the same number of bins.

    Parameters
    ----------
    features : float tensor (batch, channel, …cells)
        Cell j along an axis is centred on voxel (j + ½) · stride - ½.
    boxes : float tensor (n, 2 · dims)
        Starts then stops in voxels of the image, array order, 0 at a voxel's centre. No gradient flows to them.
    images : int64 tensor (n,)
        Which image of the batch each box lies in.
    bins : one int for each axis
    stride : one number for each axis
        How many voxels a cell spans.
    points : int
        Samples along each axis of a bin, evenly spaced; a bin is their mean.

    Returns
    -------
    tensor (n, channel, …bins), float32 at least
        Maps are interpolated linearly. Points up to one cell outside of the map repeat its border, those further out are 0.
    """
    exact = torch.promote_types(features.dtype, torch.float32)
    pooled = features.new_zeros((len(boxes), features.shape[1], *bins), dtype=exact)
    cells = tuple(features.shape[2:])
    places = _points(boxes.detach().to(exact), bins, points)
    coordinates = [(place + 0.5) / step - 0.5 for place, step in zip(places, stride, strict=True)]
    for image in range(len(features)):
        rows = (images == image).nonzero()[:, 0]
        if len(rows):
            values = _sample(features[image].to(exact), [along[rows] for along in coordinates], cells)
            pooled[rows] = _mean_of_bins(values, points)
    return pooled


def assign_levels(
    boxes: torch.Tensor, levels: int, canonical_size: float = 224.0, canonical_level: int = 2
) -> torch.Tensor:
    """Return which level of a pyramid looks at each box (Lin et al., "Feature Pyramid Networks", 2017, equation 1).

    Parameters
    ----------
    boxes : float tensor (n, 2 · dims), in voxels
    levels : int
        How many levels there are; each has cells twice as large as the one before.
    canonical_size : float
        The size in voxels, the geometric mean of a box's sides, of the least boxes that go to ``canonical_level``.
    canonical_level : int
        Counted from 0; the paper's level 4, where level 2 is the finest.

    Returns
    -------
    int64 tensor (n,), 0 … levels - 1
    """
    dims = boxes.shape[1] // 2
    sides = (boxes[:, dims:] - boxes[:, :dims]).clamp(min=1e-6)
    octaves = sides.log2().mean(dim=1) - math.log2(canonical_size)
    level = torch.floor(canonical_level + octaves + 1e-6)
    return level.clamp(0, levels - 1).long()


def align_over_levels(
    features: Sequence[torch.Tensor], strides: Sequence[Sequence[float]], boxes: torch.Tensor, images: torch.Tensor,
    levels: torch.Tensor, bins: Sequence[int],
) -> torch.Tensor:  # fmt: skip
    """Return the features of boxes, each from its own level of a pyramid, with two points along each axis of a bin.

    Parameters
    ----------
    features : one (batch, channel, …cells) for each level, all with as many channels
    strides : for each level, one number for each axis
    boxes, images, bins : as in :func:`roi_align`
    levels : int64 tensor (n,), as :func:`assign_levels` returns them

    Returns
    -------
    tensor (n, channel, …bins), float32 at least
    """
    exact = torch.promote_types(features[0].dtype, torch.float32)
    pooled = features[0].new_zeros((len(boxes), features[0].shape[1], *bins), dtype=exact)
    for level, (maps, stride) in enumerate(zip(features, strides, strict=True)):
        rows = (levels == level).nonzero()[:, 0]
        if len(rows):
            pooled[rows] = roi_align(maps, boxes[rows], images[rows], bins, stride)
    return pooled


def _points(boxes: torch.Tensor, bins: Sequence[int], points: int) -> list[torch.Tensor]:
    """Return where boxes are sampled, in voxels: for each axis (n, bins · points)."""
    starts, stops = boxes.chunk(2, dim=1)
    places = []
    for axis, count in enumerate(bins):
        total = count * points
        fraction = (torch.arange(total, device=boxes.device, dtype=boxes.dtype) + 0.5) / total
        places.append(starts[:, axis, None] + (stops - starts)[:, axis, None] * fraction)
    return places


def _sample(maps: torch.Tensor, coordinates: Sequence[torch.Tensor], cells: Sequence[int]) -> torch.Tensor:
    """Return the maps (channel, …cells) at the grids that the coordinates in cells span: (n, channel, …points)."""
    dims, rows = len(cells), len(coordinates[0])
    shape = [len(along[0]) for along in coordinates]
    normalised, inside = [], torch.ones((), dtype=torch.bool, device=maps.device)
    for axis, (along, count) in enumerate(zip(coordinates, cells, strict=True)):
        at = [rows] + [shape[axis] if other == axis else 1 for other in range(dims)]
        normalised.append(((2 * along + 1) / count - 1).view(at).expand(rows, *shape))
        inside = inside & ((along >= -1) & (along <= count)).view(at)
    grid = torch.stack(normalised[::-1], dim=-1)  # grid_sample wants the last axis first
    stacked = grid.reshape(1, rows * shape[0], *shape[1:], dims)
    sampled = F.grid_sample(maps[None], stacked, padding_mode="border", align_corners=False)[0]
    values: torch.Tensor = sampled.unflatten(1, (rows, shape[0])).transpose(0, 1)
    return values * inside[:, None]


def _mean_of_bins(values: torch.Tensor, points: int) -> torch.Tensor:
    """Average blocks of points along each axis: (n, channel, …bins · points) to (n, channel, …bins)."""
    for axis in range(2, values.ndim):
        split: torch.Tensor = values.unflatten(axis, (-1, points))
        values = split.mean(dim=axis + 1)
    return values
