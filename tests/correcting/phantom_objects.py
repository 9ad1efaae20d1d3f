"""Objects whose true outline is known, cut out of phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import rings_to_mask
from napari_medlab.phantoms.chest_ct import SECOND_SITE, chest_phantom
from napari_medlab.phantoms.mammogram import mammogram_exam

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Truth:
    """Pixels around an object, its mask, and the spacing; axes (z, y, x) or (y, x)."""

    pixels: NDArray[Any]
    mask: NDArray[np.bool_]
    spacing: tuple[float, ...]

    @property
    def diameter(self) -> float:
        """That of the circle or ball of the same size."""
        size = float(self.mask.sum() * np.prod(self.spacing))
        return float(
            2 * (3 * size / 4 / np.pi) ** (1 / 3) if self.mask.ndim == 3 else 2 * np.sqrt(size / np.pi)
        )

    @property
    def middle(self) -> tuple[int, ...]:
        """The voxel of the object that is nearest to the middle of all."""
        inside = np.argwhere(self.mask)
        row = int(((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin())
        return tuple(inside[row].tolist())

    def largest_slice(self) -> Truth:
        """The slice on which most of it lies."""
        z = int(self.mask.sum(axis=(1, 2)).argmax())
        return Truth(self.pixels[z], self.mask[z], self.spacing[1:])


@cache
def nodules() -> list[Truth]:
    """Nodules of four chest phantoms."""
    phantoms = [chest_phantom(910_000 + seed, "c", SECOND_SITE) for seed in range(4)]
    return [
        _cut_out(p.volume, p.labels, v, p.grid.spacing)
        for p in phantoms
        for v in range(1, len(p.findings) + 1)
    ]


@cache
def masses() -> list[Truth]:
    """Masses of three mammography phantoms."""
    views = [view for seed in range(3) for view in mammogram_exam(910_000 + seed).views]
    return [
        _cut_out(view.pixels, view.labels, value, view.grid.spacing)
        for view in views
        for value, finding in enumerate(view.findings, start=1)
        if finding.label == "mass"
    ]


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Twice what two masks share, over what they have."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def dice_of_rings(rings: Sequence[ArrayLike], mask: NDArray[np.bool_]) -> float:
    """The same for an outline."""
    return dice(rings_to_mask(rings, (mask.shape[0], mask.shape[1])), mask)


def _cut_out(pixels: NDArray[Any], labels: NDArray[Any], value: int, spacing: Sequence[float]) -> Truth:
    inside = np.argwhere(labels == value)
    margin = np.ceil(12 / np.asarray(spacing)).astype(int)
    low = np.maximum(inside.min(axis=0) - margin, 0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, inside.max(axis=0) + 1 + margin, strict=True))
    return Truth(pixels[box], labels[box] == value, tuple(float(step) for step in spacing))
