"""Masses and clusters of calcifications: where they lie in a breast, and how a view shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.phantoms.brushes import stamp_discs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.phantoms.breast import Outline

__all__ = ["Canvas", "Lesion", "Painted", "lesion_place", "paint_lesion", "place_lesions"]

SKIN_MM = 9.0
"""Lesions keep this far from the skin, beyond their own radius."""

MASS_SHAPES = ("round", "oval", "irregular", "spiculated")


@dataclass(frozen=True)
class Lesion:
    """A mass, or a cluster of calcifications, as both views of a breast see it.

    Parameters
    ----------
    label : ``"mass"`` or ``"calcification"``
    shape : one of ``MASS_SHAPES``; empty for a cluster
    depth_mm : behind the nipple
    across_mm : to the upper side of the nipple's axis, in CC (outwards) and in MLO views (upwards)
    radius_mm : float
    contrast : grey values above what surrounds it
    specks_mm : (n, 3) offsets of calcifications, (depth, across in CC, across in MLO); none in a mass
    """

    label: str
    shape: str
    depth_mm: float
    across_mm: tuple[float, float]
    radius_mm: float
    contrast: float
    specks_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Canvas:
    """One view while it is painted; arrays are changed in place.

    Parameters
    ----------
    grey : float32 array (y, x), grey values
    labels : uint8 array (y, x); value i + 1 marks the view's lesion i
    outline : Outline
    pixel_mm : float
    """

    grey: NDArray[np.float32]
    labels: NDArray[np.uint8]
    outline: Outline
    pixel_mm: float


class Painted(NamedTuple):
    """Where a view shows a lesion, in mm: its centre, its diameter, and its specks (n, 2), (y, x); none in a mass."""

    y: float
    x: float
    diameter: float
    specks: NDArray[np.float64]


def place_lesions(rng: np.random.Generator, outlines: tuple[Outline, Outline], count: int) -> list[Lesion]:
    """Return up to ``count`` lesions that lie well inside the breast in both views, clear of one another."""
    placed: list[Lesion] = []
    for _ in range(count * 40):
        if len(placed) == count:
            break
        lesion = _draw_lesion(rng, outlines[0])
        if _fits(lesion, outlines) and all(_apart(lesion, other, outlines) for other in placed):
            placed.append(lesion)
    return placed


def lesion_place(lesion: Lesion, outline: Outline) -> tuple[float, float]:
    """Return where a view shows the middle of a lesion, (y, x) in mm."""
    return outline.place(lesion.depth_mm, lesion.across_mm[_view_index(outline)])


def paint_lesion(rng: np.random.Generator, canvas: Canvas, lesion: Lesion, number: int) -> Painted:
    """Paint a lesion and mark it with ``number``."""
    if lesion.label == "mass":
        return _paint_mass(rng, canvas, lesion, number)
    return _paint_cluster(rng, canvas, lesion, number)


def _view_index(outline: Outline) -> int:
    return 1 if outline.pectoral[0] > 0 else 0


def _draw_lesion(rng: np.random.Generator, outline: Outline) -> Lesion:
    is_mass = rng.random() < 0.6
    depth = rng.uniform(0.22, 0.75) * outline.depth
    # most lesions lie in the upper outer quadrant
    across = (rng.normal(0.14, 0.28) * outline.below, rng.normal(0.12, 0.28) * outline.below)
    if is_mass:
        radius = 0.5 * float(np.clip(np.exp(rng.normal(np.log(12.0), 0.35)), 7.0, 24.0))
        shape = str(rng.choice(MASS_SHAPES, p=[0.2, 0.25, 0.25, 0.3]))
        return Lesion("mass", shape, depth, across, radius, rng.uniform(380, 640), np.zeros((0, 3)))
    radius = rng.uniform(3.5, 8.5)
    axes = radius * rng.uniform([0.6, 0.4, 0.4], [1.0, 0.9, 0.9])
    specks = rng.normal(0, 0.5, (int(rng.integers(5, 21)), 3)).clip(-1, 1) * axes
    return Lesion("calcification", "", depth, across, radius, rng.uniform(650, 1250), specks)


def _fits(lesion: Lesion, outlines: tuple[Outline, Outline]) -> bool:
    """Tell whether both views show all of a lesion, and neither of them within the muscle."""
    need = lesion.radius_mm + SKIN_MM
    for outline in outlines:
        y, x = (np.full(1, value, np.float32) for value in lesion_place(lesion, outline))
        if x[0] < lesion.radius_mm + 6 or outline.skin_distance(y, x)[0] < need:
            return False
        if outline.pectoral[0] > 0 and outline.pectoral_distance(y, x)[0] > -lesion.radius_mm - 4:
            return False
    return True


def _apart(first: Lesion, second: Lesion, outlines: tuple[Outline, Outline]) -> bool:
    gaps = [np.subtract(lesion_place(first, outline), lesion_place(second, outline)) for outline in outlines]
    return bool(min(np.hypot(*gap) for gap in gaps) > 1.4 * (first.radius_mm + second.radius_mm) + 6)


def _window(
    canvas: Canvas, centre: tuple[float, float], reach_mm: float
) -> tuple[tuple[slice, slice], NDArray[np.float64], NDArray[np.float64]]:
    """Return the box around a point, and the offsets (mm) of its rows (n, 1) and columns (1, m) from it."""
    index = np.asarray(centre) / canvas.pixel_mm
    low = np.maximum(np.floor(index - reach_mm / canvas.pixel_mm), 0).astype(int)
    high = np.minimum(np.ceil(index + reach_mm / canvas.pixel_mm) + 1, canvas.grey.shape).astype(int)
    rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
    box = (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))
    return box, (rows * canvas.pixel_mm - centre[0])[:, None], (columns * canvas.pixel_mm - centre[1])[None]


def _paint_mass(rng: np.random.Generator, canvas: Canvas, lesion: Lesion, number: int) -> Painted:
    centre = lesion_place(lesion, canvas.outline)
    box, down, right = _window(canvas, centre, 2.2 * lesion.radius_mm)
    distance, angle = np.hypot(down, right), np.arctan2(down, right)
    relative = distance / (lesion.radius_mm * _border(rng, lesion.shape, angle))
    core = relative <= 1
    grey = canvas.grey[box]
    ring = (relative > 1.15) & (relative < 1.7)
    # a mass is denser than what surrounds it, also where it lies in fat beside gland
    lift = lesion.contrast + max(0.0, float(grey[ring].mean() - grey[core].mean()))
    sharp = 0.2 if lesion.shape in ("round", "oval") else 0.32
    edge = np.clip(0.5 + (1 - relative) / sharp, 0, 1)
    dome = 0.4 + 0.6 * np.sqrt(np.clip(1 - relative**2, 0, 1))
    grey += (lift * edge * dome).astype(np.float32)
    if lesion.shape == "spiculated":
        _paint_spicules(rng, canvas, lesion, centre)
    canvas.labels[box][core] = number
    diameter = 2 * canvas.pixel_mm * np.sqrt(core.sum() / np.pi)
    return Painted(*centre, float(diameter), np.zeros((0, 2)))


def _border(rng: np.random.Generator, shape: str, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the radius for each direction, in units of the lesion's."""
    wobble = {"round": 0.02, "oval": 0.03, "irregular": 0.085, "spiculated": 0.08}[shape]
    squeeze = rng.uniform(0.62, 0.78) if shape == "oval" else rng.uniform(0.85, 1.0)
    turned = angle - rng.uniform(0, np.pi)
    border: NDArray[np.float64] = 1 / np.hypot(
        np.cos(turned) * np.sqrt(squeeze), np.sin(turned) / np.sqrt(squeeze)
    )
    for order in range(2, 8):
        border = border + wobble * rng.normal() * np.cos(
            order * angle + rng.uniform(0, 2 * np.pi)
        ) * 2 / np.sqrt(order)
    return np.maximum(border, 0.45)


def _paint_spicules(
    rng: np.random.Generator, canvas: Canvas, lesion: Lesion, centre: tuple[float, float]
) -> None:
    """Paint thin, slightly bent lines that leave a mass in all directions."""
    count, steps = int(rng.integers(16, 28)), 60
    along = np.linspace(0.6, 1.0, steps)[None] * lesion.radius_mm * rng.uniform(1.5, 2.4, (count, 1))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))[:, None] + rng.normal(
        0, 0.12, (count, 1)
    ) * np.linspace(0, 1, steps)
    points = np.stack([centre[0] + along * np.sin(angle), centre[1] + along * np.cos(angle)], axis=-1)
    radii = np.tile(np.linspace(0.55, 0.12, steps), count)
    field = np.zeros(canvas.grey.shape, np.float32)
    stamp_discs(
        field, points.reshape(-1, 2) / canvas.pixel_mm, radii / canvas.pixel_mm, 0.5 / canvas.pixel_mm
    )
    canvas.grey[...] += 0.42 * lesion.contrast * field


def _paint_cluster(rng: np.random.Generator, canvas: Canvas, lesion: Lesion, number: int) -> Painted:
    middle = lesion_place(lesion, canvas.outline)
    along, across = lesion.specks_mm[:, 0], lesion.specks_mm[:, 1 + _view_index(canvas.outline)]
    origin = np.asarray(canvas.outline.place(0, 0))
    to_depth, to_side = (np.asarray(canvas.outline.place(*step)) - origin for step in ((1, 0), (0, 1)))
    specks = middle + along[:, None] * to_depth + across[:, None] * to_side
    field = np.zeros(canvas.grey.shape, np.float32)
    stamp_discs(field, specks / canvas.pixel_mm, rng.uniform(0.45, 1.4, len(specks)), 0.6)
    canvas.grey[...] += lesion.contrast * field
    return Painted(*_mark_cluster(canvas, specks, number), specks)


def _mark_cluster(canvas: Canvas, specks: NDArray[np.float64], number: int) -> tuple[float, float, float]:
    """Mark the hull of a cluster, 1 mm wider than its specks; returns its middle and the extent of the specks."""
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    y, x = (specks.max(axis=0) + specks.min(axis=0)) / 2
    box, down, right = _window(canvas, (y, x), float(np.ptp(specks, axis=0).max()) / 2 + 3)
    beyond = [a * down + b * right + c for a, b, c in ConvexHull(specks - (y, x)).equations]
    inside = np.max(np.broadcast_arrays(*beyond), axis=0) <= 1.0
    canvas.labels[box][inside] = number
    rows, columns = np.nonzero(inside)
    centre = (float(y + down[rows, 0].mean()), float(x + right[0, columns].mean()))
    return *centre, float(pdist(specks).max())
