"""Boxes as tensors, in 2D and 3D: sizes, areas, overlaps.

Boxes are (n, 2 · dims) tensors: the corners where they start, then those where they stop, in array order, as voxel
indices with 0 at a voxel's centre. It is what MONAI calls ``xyxy`` and ``xyzxyz``, with x the first axis of the array.
MONAI's own functions (:mod:`monai.data.box_utils`) compute in float32 whatever they are given and wait for the device to
look for invalid values; these keep the dtype, never wait, and agree with them where both apply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Overlap", "aligned_iou", "area", "centres", "clip", "count_of_dims", "distances_to_sides", "pairwise_inside",
    "pairwise_iou", "sizes",
]  # fmt: skip

Overlap = Literal["iou", "giou", "diou"]


def count_of_dims(boxes: torch.Tensor) -> int:
    """Return how many axes boxes (…, 2 · dims) have: 2 or 3."""
    return boxes.shape[-1] // 2


def sizes(boxes: torch.Tensor) -> torch.Tensor:
    """Return the lengths of the sides in voxels, (…, dims)."""
    dims = count_of_dims(boxes)
    return boxes[..., dims:] - boxes[..., :dims]


def centres(boxes: torch.Tensor) -> torch.Tensor:
    """Return the middles as voxel indices, (…, dims)."""
    dims = count_of_dims(boxes)
    return (boxes[..., dims:] + boxes[..., :dims]) / 2


def area(boxes: torch.Tensor) -> torch.Tensor:
    """Return the areas in 2D, the volumes in 3D, (…,); 0 for a box that stops before it starts."""
    return sizes(boxes).clamp(min=0).prod(dim=-1)


def clip(boxes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the boxes cut at the outer faces of an array: -0.5 and its length less 0.5 along each axis.

    Parameters
    ----------
    boxes : tensor (…, 2 · dims)
    shape : spatial shape of the array in voxels
    """
    most = torch.tensor(shape, dtype=boxes.dtype, device=boxes.device).repeat(2) - 0.5
    return boxes.clamp(min=-0.5).minimum(most)


def distances_to_sides(points: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return how far it is from each point to the sides of its box, (…, 2 · dims); negative outside of that side.

    Parameters
    ----------
    points : tensor (…, dims), voxel indices
    boxes : tensor (…, 2 · dims), broadcast against the points

    Returns
    -------
    tensor (…, 2 · dims) : to the sides where the box starts, then to those where it stops
    """
    dims = count_of_dims(boxes)
    return torch.cat([points - boxes[..., :dims], boxes[..., dims:] - points], dim=-1)


def pairwise_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of every box of one set with every one of another, (n, m), 0 … 1.

    Parameters
    ----------
    a, b : floating tensors (n, 2 · dims) and (m, 2 · dims)
    """
    common = _intersections(a, b)
    return _ratio(common, area(a)[:, None] + area(b)[None] - common)


def pairwise_inside(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return what share of every box of ``a`` lies within every box of ``b``, (n, m), 0 … 1."""
    return _ratio(_intersections(a, b), area(a)[:, None])


def aligned_iou(a: torch.Tensor, b: torch.Tensor, kind: Overlap = "iou") -> torch.Tensor:
    """Return how well each box covers its partner, (n,); differentiable.

    Parameters
    ----------
    a, b : floating tensors (n, 2 · dims)
    kind : {"iou", "giou", "diou"}
        Intersection over union, 0 … 1; less the share of the hull that neither box fills (Rezatofighi et al.,
        "Generalized Intersection over Union", 2019), or less the squared distance of the centres over that of the
        hull's corners (Zheng et al., "Distance-IoU Loss", 2020); both -1 … 1, and with a gradient for boxes apart.

    Raises
    ------
    ValueError
        Where the kind is none of these.
    """
    if kind not in ("iou", "giou", "diou"):
        raise ValueError(f"there is no overlap called {kind!r}: known are iou, giou and diou")
    dims = count_of_dims(a)
    inner = torch.cat(
        [torch.maximum(a[:, :dims], b[:, :dims]), torch.minimum(a[:, dims:], b[:, dims:])], dim=1
    )
    common = area(inner)
    union = area(a) + area(b) - common
    iou = _ratio(common, union)
    if kind == "iou":
        return iou
    hull = torch.cat(
        [torch.minimum(a[:, :dims], b[:, :dims]), torch.maximum(a[:, dims:], b[:, dims:])], dim=1
    )
    if kind == "giou":
        return iou - _ratio(area(hull) - union, area(hull))
    apart = (centres(a) - centres(b)).square().sum(dim=1)
    return iou - _ratio(apart, sizes(hull).square().sum(dim=1))


def _intersections(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the areas that pairs share, axis by axis, so that no array of all pairs and axes is ever held."""
    dims = count_of_dims(a)
    common = a.new_ones((len(a), len(b)))
    for axis in range(dims):
        start = torch.maximum(a[:, None, axis], b[None, :, axis])
        stop = torch.minimum(a[:, None, dims + axis], b[None, :, dims + axis])
        common = common * (stop - start).clamp(min=0)
    return common


def _ratio(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    return part / whole.clamp(min=torch.finfo(part.dtype).tiny)
