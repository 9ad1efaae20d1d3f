"""Which box each cell of a pyramid is to find where there are no anchors: after FCOS and after FSAF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from napari_medlab.models.detection.boxes import area, centres, distances_to_sides, sizes
from napari_medlab.models.detection.matchers import BACKGROUND, IGNORED
from napari_medlab.models.detection.tables import build_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Cost = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """Maps rows of boxes and rows of cells, both (pairs,), to the loss that each cell has for its box now, (pairs,)."""

__all__ = ["ASSIGNERS", "Assigner", "Cells", "FcosAssigner", "FsafAssigner", "build_assigner"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of all levels of one image.

    Parameters
    ----------
    boxes : float tensor (cells, 2 · dims), each one stride long along each axis
    levels : int64 tensor (cells,): 0 for the finest
    """

    boxes: torch.Tensor
    levels: torch.Tensor

    @classmethod
    def of(cls, boxes: torch.Tensor, per_level: Sequence[int]) -> Cells:
        """Return cells that come level by level."""
        counts = torch.tensor(list(per_level), device=boxes.device)
        return cls(boxes, torch.arange(len(counts), device=boxes.device).repeat_interleave(counts))

    @property
    def middles(self) -> torch.Tensor:
        """The middles as voxel indices, (cells, dims)."""
        return centres(self.boxes)

    @property
    def count_of_levels(self) -> int:
        """How many levels there are."""
        return int(self.levels.max()) + 1 if len(self.levels) else 0


class Assigner(Protocol):
    """Says for every cell which box it is to find.

    Contract: a row is one of ``boxes`` that is not ignored, -1 for background or -2 for what is ignored; a cell within
    an ignored box is never background; of several boxes a cell takes the smallest.
    """

    def assign(self, cells: Cells, boxes: torch.Tensor, is_ignored: torch.Tensor, cost: Cost) -> torch.Tensor:
        """Return the row of the box of each cell, int64 (cells,).

        Parameters
        ----------
        cells : Cells
        boxes : float tensor (boxes, 2 · dims)
        is_ignored : bool tensor (boxes,)
        cost : what cells lose for boxes at present, for assigners that ask
        """
        ...


@dataclass(frozen=True)
class FcosAssigner:
    """A cell within a box is to find it, if the box is of the size that its level is for.

    Parameters
    ----------
    limits : sequence of numbers, or None
        Up to which length in voxels each level but the last is for: of the greatest distance from a cell to a side. None
        for ``per_stride`` times the stride.
    per_stride : float
    radius : float
        How far a cell may lie from the box's middle along each axis, in strides; 0 for anywhere within the box.

    References
    ----------
    Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", 2019, section 3.2, and for the radius the
    authors' later version (2020).
    """

    limits: Sequence[float] | None = None
    per_stride: float = 8.0
    radius: float = 0.0

    def __post_init__(self) -> None:
        if self.radius < 0 or self.per_stride <= 0 or list(self.limits or ()) != sorted(self.limits or ()):
            raise ValueError(
                f"a radius from 0 on, a positive multiple of strides and ascending limits are needed: got {self}"
            )

    def assign(self, cells: Cells, boxes: torch.Tensor, is_ignored: torch.Tensor, cost: Cost) -> torch.Tensor:
        """Return the row of the box of each cell; see :class:`Assigner`. The cost plays no part."""
        distances = distances_to_sides(cells.middles[None], boxes[:, None])
        inside = distances.amin(dim=2) > 0
        least, most = self._lengths(cells)
        longest = distances.amax(dim=2)
        fits = inside & (longest > least) & (longest <= most)
        if self.radius > 0:
            away = (cells.middles[None] - centres(boxes)[:, None]).abs() / sizes(cells.boxes)
            fits &= away.amax(dim=2) <= self.radius
        return _rows(fits & ~is_ignored[:, None], inside & is_ignored[:, None], boxes)

    def _lengths(self, cells: Cells) -> tuple[torch.Tensor, torch.Tensor]:
        """Return from which to which length each cell's level is for, two (cells,) tensors."""
        others = cells.count_of_levels - 1
        strides = sizes(cells.boxes).amax(dim=1)
        limits = self.limits
        if limits is None:
            limits = [self.per_stride * float(strides[cells.levels == level][0]) for level in range(others)]
        if len(limits) != others:
            raise ValueError(f"{cells.count_of_levels} levels need one limit less: got {list(limits)}")
        bounds = torch.tensor([0.0, *limits, torch.inf], device=strides.device)
        return bounds[cells.levels], bounds[cells.levels + 1]


@dataclass(frozen=True)
class FsafAssigner:
    """Each box is found by the level that finds it best already, at the cells around its middle.

    Parameters
    ----------
    effective : float
        The share of a box's sides, around its middle, within which cells are to find it. The cell nearest to the middle
        always is.
    ignoring : float
        The share within which other cells, and those of the next levels, are ignored; at least ``effective``.

    References
    ----------
    Zhu, He and Savvides, "Feature Selective Anchor-Free Module for Single-Shot Object Detection", 2019.
    """

    effective: float = 0.2
    ignoring: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.effective <= self.ignoring <= 1:
            raise ValueError(
                f"0 < effective ≤ ignoring ≤ 1 is needed: got {self.effective} and {self.ignoring}"
            )

    def assign(self, cells: Cells, boxes: torch.Tensor, is_ignored: torch.Tensor, cost: Cost) -> torch.Tensor:
        """Return the row of the box of each cell; see :class:`Assigner`."""
        effective = self._effective(cells, boxes)
        chosen = least_costly_levels(effective, cells, cost)
        apart = (cells.levels[None] - chosen[:, None]).abs()
        counted = ~is_ignored[:, None]
        around = _within(cells, boxes, self.ignoring) & (apart <= 1) & counted
        objects = _within(cells, boxes, 1.0) & ~counted
        return _rows(effective & (apart == 0) & counted, around | objects, boxes)

    def _effective(self, cells: Cells, boxes: torch.Tensor) -> torch.Tensor:
        """Say which cells lie in the effective region of each box, (boxes, cells), on every level."""
        region = _within(cells, boxes, self.effective)
        away = (cells.middles[None] - centres(boxes)[:, None]).square().sum(dim=2)
        every = torch.arange(len(boxes), device=boxes.device)
        for level in range(cells.count_of_levels):
            of_level = torch.where(cells.levels == level, away, torch.inf)
            region[every, of_level.argmin(dim=1)] = True
        return region


ASSIGNERS: Mapping[str, type[Assigner]] = {"fcos": FcosAssigner, "fsaf": FsafAssigner}


def build_assigner(given: Mapping[str, Any]) -> Assigner:
    """Return what a configuration names, such as ``{"name": "fsaf", "effective": 0.2, "ignoring": 0.5}``."""
    return build_part(ASSIGNERS, given, "anchor-free assignment")


def least_costly_levels(region: torch.Tensor, cells: Cells, cost: Cost) -> torch.Tensor:
    """Return for each box the level whose cells in a region find it with the least loss on average, int64 (boxes,).

    Parameters
    ----------
    region : bool tensor (boxes, cells)
    cells : Cells
    cost : see :class:`Assigner`
    """
    of_box, of_cell = region.nonzero(as_tuple=True)
    levels = cells.count_of_levels
    where = of_box * levels + cells.levels[of_cell]
    losses = cost(of_box, of_cell).detach()
    sums = losses.new_zeros(len(region) * levels).index_add(0, where, losses)
    counts = torch.bincount(where, minlength=len(region) * levels)
    means = torch.where(counts > 0, sums / counts.clamp(min=1), torch.inf)
    return means.view(-1, levels).argmin(dim=1)


def _within(cells: Cells, boxes: torch.Tensor, share: float) -> torch.Tensor:
    """Say which cells' middles lie within boxes whose sides are cut to a share, (boxes, cells)."""
    reach = sizes(boxes) * share / 2
    away = (cells.middles[None] - centres(boxes)[:, None]).abs()
    return (away <= reach[:, None]).all(dim=2)


def _rows(fits: torch.Tensor, ignored: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return the rows of the smallest boxes that fit, from (boxes, cells) each."""
    if not len(boxes):
        return torch.full((fits.shape[1],), BACKGROUND, dtype=torch.int64, device=fits.device)
    smallest, rows = torch.where(fits, area(boxes)[:, None], torch.inf).min(dim=0)
    elsewhere = torch.where(ignored.any(dim=0), IGNORED, BACKGROUND)
    return torch.where(smallest < torch.inf, rows, elsewhere)
