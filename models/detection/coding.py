"""How boxes are written relative to others: as shifts of anchors, or as distances from the middles of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.apps.detection.utils.box_coder import BoxCoder

from napari_medlab.models.detection.boxes import centres, count_of_dims, distances_to_sides, sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["decode", "decode_distances", "encode", "encode_distances"]

LOG_MOST = 6.0
"""The greatest logarithm that becomes a length: exp(6) is 403 strides, more than any lesion at any level."""

LOG_LEAST = -6.0

LEAST_SIZE = 1e-3
"""What an empty side counts as, in voxels: its logarithm is finite."""


def encode(
    anchors: torch.Tensor, boxes: torch.Tensor, weights: Sequence[float] | None = None
) -> torch.Tensor:
    """Return each box as what turns its anchor into it (Girshick et al., "R-CNN", 2014, appendix C).

    Parameters
    ----------
    anchors, boxes : floating tensors (n, 2 · dims)
    weights : 2 · dims numbers, or None
        What the shifts of the centres and the logarithms of the sizes are multiplied by; None leaves them as they are.

    Returns
    -------
    float tensor (n, 2 · dims) : the shift of the centre in sides of the anchor, then the logarithm of the ratio of the
        sides, in array order
    """
    dims = count_of_dims(anchors)
    full = boxes.float()
    grown = torch.cat([full[:, :dims], torch.maximum(full[:, dims:], full[:, :dims] + LEAST_SIZE)], dim=1)
    deltas: torch.Tensor = _coder(dims, weights).encode_single(grown, anchors.float())
    return deltas


def decode(
    anchors: torch.Tensor, deltas: torch.Tensor, weights: Sequence[float] | None = None
) -> torch.Tensor:
    """Return the boxes that shifts make of anchors: :func:`encode` the other way round; float32, differentiable.

    Sides grow at most by a factor of 62.5, whatever the network says.
    """
    boxes: torch.Tensor = _coder(count_of_dims(anchors), weights).decode_single(
        deltas.float(), anchors.float()
    )
    return boxes


def encode_distances(cells: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return each box as the logarithm of the distances from a cell's middle to its sides, in sides of the cell.

    Parameters
    ----------
    cells, boxes : floating tensors (n, 2 · dims)
        A cell spans one stride of its level along each axis. A middle outside of the box counts as just within.

    References
    ----------
    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019, section 3.1.
    """
    distances = distances_to_sides(centres(cells).float(), boxes.float())
    least = torch.tensor(LOG_LEAST).exp().item()
    return (distances / sizes(cells).float().repeat(1, 2)).clamp(min=least).log()


def decode_distances(cells: torch.Tensor, logarithms: torch.Tensor) -> torch.Tensor:
    """Return the boxes whose sides lie that far from the cells' middles; float32, differentiable."""
    distances = logarithms.float().clamp(LOG_LEAST, LOG_MOST).exp() * sizes(cells).float().repeat(1, 2)
    dims = count_of_dims(cells)
    middles = centres(cells).float()
    return torch.cat([middles - distances[:, :dims], middles + distances[:, dims:]], dim=1)


def _coder(dims: int, weights: Sequence[float] | None) -> BoxCoder:
    return BoxCoder(tuple(weights) if weights is not None else (1.0,) * (2 * dims))
