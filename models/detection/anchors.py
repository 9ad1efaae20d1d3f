"""Boxes of chosen sizes and shapes at every cell of a pyramid, from which a detector starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AnchorGrid", "shape_of_anchor"]


class AnchorGrid:
    """The anchors of every level of a pyramid.

    Parameters
    ----------
    sizes : one entry for each level, finest first: a length in voxels, or several
        The side of a square or cube with the anchor's area.
    ratios : sequence of numbers, or of dims numbers
        The shapes at every size. A number is the length along the first axis over that along the others, at the same
        area: 2.0 is twice as high as wide. Several numbers are the sides themselves in units of the size.
    strides : one entry for each level, or None
        How many voxels a cell spans: one number, or one for each axis. None divides the image's shape by the map's.
    spatial_dims : 2 or 3

    Notes
    -----
    The middle of cell i is voxel index (i + 1/2) · stride - 1/2. Anchors come level by level, cell by cell in array
    order, and within a cell size by size: the order of a head's outputs.

    Raises
    ------
    ValueError
        Where levels have different numbers of anchors in a cell, or a size or ratio is not positive.
    """

    def __init__(
        self, sizes: Sequence[float | Sequence[float]], ratios: Sequence[float | Sequence[float]] = (0.5, 1.0, 2.0),
        strides: Sequence[int | Sequence[int]] | None = None, spatial_dims: int = 2,
    ) -> None:  # fmt: skip
        levels = [[size] if isinstance(size, int | float) else list(size) for size in sizes]
        if len({len(level) for level in levels}) != 1:
            raise ValueError(
                f"every level needs as many sizes as the others: got {[len(level) for level in levels]}"
            )
        if strides is not None and len(strides) != len(levels):
            raise ValueError(f"there are {len(levels)} levels of sizes, but {len(strides)} strides")
        self.spatial_dims = spatial_dims
        self._strides = None if strides is None else [_by_axis(stride, spatial_dims) for stride in strides]
        self._shapes = [
            torch.tensor([shape_of_anchor(size, ratio, spatial_dims) for size in level for ratio in ratios])
            for level in levels
        ]

    @property
    def per_cell(self) -> int:
        """How many anchors every cell has."""
        return len(self._shapes[0])

    @property
    def smallest(self) -> float:
        """The size of the smallest anchor in voxels: the side of the square or cube of its area or volume."""
        dims = self.spatial_dims
        areas = [float(shape.prod(dim=1).min()) for shape in self._shapes]
        return math.pow(min(areas), 1 / dims)

    @property
    def levels(self) -> int:
        """How many levels there are."""
        return len(self._shapes)

    def anchors(
        self,
        feature_shapes: Sequence[Sequence[int]],
        image_shape: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> torch.Tensor:
        """Return all anchors of an image, float32 (n, 2 · dims), some of them partly outside of it.

        Parameters
        ----------
        feature_shapes : spatial shape of the map of each level, in cells, finest first
        image_shape : spatial shape of the image in voxels
        device : where they are made

        Raises
        ------
        ValueError
            Where there are more or fewer maps than levels.
        """
        if len(feature_shapes) != self.levels:
            raise ValueError(
                f"the anchors have {self.levels} levels, but there are {len(feature_shapes)} maps"
            )
        parts = []
        for level, cells in enumerate(feature_shapes):
            strides = self._strides[level] if self._strides else _quotients(image_shape, cells)
            middles = _middles(cells, strides, device)[:, None]
            reach = self._shapes[level].to(device)[None] / 2
            parts.append(torch.cat([middles - reach, middles + reach], dim=2).flatten(0, 1))
        return torch.cat(parts)


def shape_of_anchor(size: float, ratio: float | Sequence[float], spatial_dims: int) -> tuple[float, ...]:
    """Return the sides of an anchor in voxels, in array order; see :class:`AnchorGrid` for what a ratio is."""
    if isinstance(ratio, int | float):
        if not (size > 0 and ratio > 0):
            raise ValueError(f"sizes and ratios are positive: got {size} and {ratio}")
        across = size * ratio ** (-1 / spatial_dims)
        return (across * ratio, *[across] * (spatial_dims - 1))
    if len(ratio) != spatial_dims or not (size > 0 and min(ratio) > 0):
        raise ValueError(
            f"a shape is {spatial_dims} positive numbers, a size is positive: got {list(ratio)} and {size}"
        )
    return tuple(size * float(side) for side in ratio)


def _by_axis(stride: int | Sequence[int], spatial_dims: int) -> tuple[int, ...]:
    return (stride,) * spatial_dims if isinstance(stride, int) else tuple(stride)


def _quotients(image_shape: Sequence[int], cells: Sequence[int]) -> tuple[int, ...]:
    return tuple(voxels // count for voxels, count in zip(image_shape, cells, strict=True))


def _middles(cells: Sequence[int], strides: Sequence[int], device: torch.device | str) -> torch.Tensor:
    """Return the middles of all cells in array order, (n, dims)."""
    axes = [
        (torch.arange(count, dtype=torch.float32, device=device) + 0.5) * stride - 0.5
        for count, stride in zip(cells, strides, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)
