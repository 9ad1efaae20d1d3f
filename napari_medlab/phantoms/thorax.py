"""The chest around the nodules: body wall, ribs, spine, mediastinum, lungs, vessels and airways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.phantoms.stamping import stamp_balls
from napari_medlab.phantoms.trees import Tree, grow_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Thorax", "build_thorax", "smooth_noise"]

AIR, FAT, MUSCLE, BLOOD, BONE = -1000.0, -95.0, 55.0, 40.0, 480.0
"""Hounsfield units of what the chest is made of."""


@dataclass
class Thorax:
    """A chest without nodules.

    Parameters
    ----------
    hu : float32 array (z, y, x), Hounsfield units
    lung : bool array (z, y, x)
    spacing_mm : (3,), array order
    vessels : the vessel trees joined
    """

    hu: NDArray[np.float32]
    lung: NDArray[np.bool_]
    spacing_mm: NDArray[np.float64]
    vessels: Tree


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> NDArray[np.float32]:
    """Return smooth noise of unit deviation with about ``cells`` bumps along the longest axis; float32, ``shape``."""
    coarse_shape = [max(3, round(cells * size / max(shape)) + 2) for size in shape]
    field = rng.normal(size=coarse_shape).astype(np.float32)
    for size, coarse_size in zip(shape, coarse_shape, strict=True):
        # each pass interpolates the leading axis and moves it to the back
        field = np.tensordot(field, _blend(coarse_size, size), axes=(0, 0))
    field /= field.std() + 1e-6
    return field


def _blend(coarse: int, fine: int) -> NDArray[np.float32]:
    """Return weights (coarse, fine) that interpolate with a raised cosine, smooth at the nodes."""
    position = np.linspace(0, coarse - 1, fine)
    distance = np.abs(position[None, :] - np.arange(coarse)[:, None])
    weights: NDArray[np.float32] = np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * distance), 0).astype(
        np.float32
    )
    return weights


def build_thorax(
    rng: np.random.Generator, shape: tuple[int, int, int], spacing_mm: NDArray[np.float64]
) -> Thorax:
    """Return a random chest: a body that fills most of the field of view, two lungs and what runs between them.

    Parameters
    ----------
    rng : the source of randomness
    shape : (z, y, x)
    spacing_mm : (3,), array order
    """
    z, y, x, extent = _axes(shape, spacing_mm)
    wobble = smooth_noise(rng, shape, 7) * 0.05
    body = _ellipse(y, x, (0.50, 0.5), (0.46, 0.48), extent) + wobble * 0.4
    chest = _ellipse(y, x, (0.50, 0.5), (0.385, 0.40), extent) + wobble * 0.5
    hu = np.where(body > 0, np.float32(FAT), np.float32(AIR))
    hu[chest > -0.28] = MUSCLE
    hu[chest > 0] = MUSCLE - 35
    _add_ribs(rng, hu, chest, z + 0.55 * y + 0.12 * np.abs(x - 0.5 * extent[2]))
    sides = [_lung(rng, z, y, x, side, extent) + wobble for side in (0.285, 0.715)]
    inside = np.maximum(*sides)
    lung = (inside > 0) & (chest > 0.02)
    parenchyma = _parenchyma(rng, shape, y, extent)
    hu[lung] = parenchyma[lung]
    _add_centre(rng, hu, lung, spacing_mm, extent)
    vessels = _add_trees(rng, hu, lung, spacing_mm, extent)
    return Thorax(hu, lung, spacing_mm, vessels)


def _axes(shape: tuple[int, ...], spacing_mm: NDArray[np.float64]) -> tuple[NDArray[np.float32], ...]:
    """Return broadcastable mm coordinates along each array axis, and the extent (3,) in mm."""
    extent = (np.asarray(shape) * spacing_mm).astype(np.float32)
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) * np.float32(s) for n, s in zip(shape, spacing_mm, strict=True)],
                       indexing="ij", sparse=True)  # fmt: skip
    return (*axes, extent)


def _ellipse(
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    centre: tuple[float, float],
    half: tuple[float, float],
    extent: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return a function positive inside an ellipse given in fractions of the extent (y, x)."""
    dy = (y - centre[0] * extent[1]) / (half[0] * extent[1])
    dx = (x - centre[1] * extent[2]) / (half[1] * extent[2])
    value: NDArray[np.float32] = 1 - np.abs(dy) ** 2.3 - np.abs(dx) ** 2.3
    return value


def _lung(
    rng: np.random.Generator,
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    side: float,
    extent: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return a function positive inside one lung, which narrows towards the apex (large z)."""
    height = z / extent[0]
    narrowing = np.clip(1.12 - 0.5 * np.clip(height - rng.uniform(0.5, 0.75), 0, 1) * 2, 0.45, 1)
    dy = (y - rng.uniform(0.47, 0.53) * extent[1]) / (rng.uniform(0.30, 0.335) * extent[1])
    dx = (x - side * extent[2]) / (rng.uniform(0.165, 0.19) * extent[2])
    value: NDArray[np.float32] = narrowing - np.abs(dy) ** 2.2 - np.abs(dx) ** 2.2
    return value


def _parenchyma(
    rng: np.random.Generator, shape: tuple[int, int, int], y: NDArray[np.float32], extent: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the texture of aerated lung in HU: denser towards the back, patchy at two scales."""
    base = rng.uniform(-890, -820) + rng.uniform(10, 60) * (y / extent[1])
    patches = smooth_noise(rng, shape, 9) * rng.uniform(6, 22) + smooth_noise(rng, shape, 40) * rng.uniform(
        4, 12
    )
    texture: NDArray[np.float32] = (base + patches).astype(np.float32)
    return texture


def _add_ribs(
    rng: np.random.Generator, hu: NDArray[np.float32], chest: NDArray[np.float32], height: NDArray[np.float32]
) -> None:
    """Paint bands of bone on the chest wall, spaced as ribs are; ``height`` (mm) is constant along a rib."""
    pitch, phase = rng.uniform(22, 30), rng.uniform(0, 30)
    band = np.abs((height + phase) % pitch - pitch / 2) < rng.uniform(3.5, 5.5)
    wall = np.abs(chest + 0.14) < 0.09
    ribs = band & wall
    hu[ribs] = BONE * rng.uniform(0.6, 1.0)


def _add_centre(
    rng: np.random.Generator,
    hu: NDArray[np.float32],
    lung: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
    extent: NDArray[np.float32],
) -> None:
    """Paint heart, aorta, spine and trachea as columns along z, and take the first three out of the lungs."""
    shape = hu.shape
    z, y, x, _ = _axes(shape, spacing_mm)

    def column(centre: tuple[float, float], radius: NDArray[np.float32] | float, value: float, drift: float,
               edge_mm: float = 2.0) -> NDArray[np.bool_]:  # fmt: skip
        sway = drift * np.sin(z / extent[0] * np.pi + rng.uniform(0, 6))
        distance = np.hypot(y - centre[0] * extent[1] - sway, x - centre[1] * extent[2] - sway * 0.5)
        field: NDArray[np.float32] = np.clip(0.5 + (radius - distance) / edge_mm, 0, 1).astype(np.float32)
        hu[:] = hu * (1 - field) + value * field
        inside: NDArray[np.bool_] = field > 0.5
        return inside

    heart = 0.16 * extent[2] * np.clip(1.15 - 1.3 * z / extent[0], 0.3, 1)
    lung &= ~column((0.40, 0.53), heart, BLOOD, 2.0)
    lung &= ~column((0.62, 0.54), 0.06 * float(extent[2]), BLOOD + rng.uniform(0, 120), 2.0)
    lung &= ~column((0.80, 0.50), 0.085 * float(extent[2]), BONE * 0.6, 0.0, 3.0)
    column((0.80, 0.50), 0.05 * float(extent[2]), BONE * 0.35, 0.0, 4.0)
    column((0.47, 0.49), 0.035 * float(extent[2]), AIR + 20, 1.0, 1.2)


def _add_trees(
    rng: np.random.Generator,
    hu: NDArray[np.float32],
    lung: NDArray[np.bool_],
    spacing_mm: NDArray[np.float64],
    extent: NDArray[np.float32],
) -> Tree:
    """Grow vessels and airways from both hila into the lungs; returns the vessels."""
    vessel_field, wall, lumen = (np.zeros(hu.shape, np.float32) for _ in range(3))
    grown = []
    for side, outward in ((0.40, -1.0), (0.60, 1.0)):
        for _ in range(rng.integers(4, 7)):
            root = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.42, 0.58), side]) * extent
            heading = np.array([rng.normal(0, 0.8), rng.normal(0, 0.7), outward])
            grown.append(grow_tree(rng, root, heading, rng.uniform(2.6, 4.0), 0.55))
        root = np.array([0.5, 0.48, side]) * extent
        airway = grow_tree(rng, root, np.array([rng.normal(0, 0.5), rng.normal(0, 0.4), outward]), 3.2, 1.1)
        stamp_balls(wall, spacing_mm, airway.centres_mm, airway.radii_mm + 0.9, 1.0)
        stamp_balls(lumen, spacing_mm, airway.centres_mm, airway.radii_mm, 1.0)
    tree = _join(grown)
    stamp_balls(vessel_field, spacing_mm, tree.centres_mm, tree.radii_mm, float(spacing_mm.max()) * 0.8)
    for field, value in ((wall, -150.0), (vessel_field, BLOOD), (lumen, AIR + 30)):
        inside = lung & (field > 0)
        hu[inside] += (value - hu[inside]) * field[inside]
    return tree


def _join(trees: list[Tree]) -> Tree:
    starts = np.cumsum([0] + [len(t.radii_mm) for t in trees[:-1]])
    return Tree(
        np.concatenate([t.centres_mm for t in trees]),
        np.concatenate([t.radii_mm for t in trees]),
        np.concatenate([t.forks + start for t, start in zip(trees, starts, strict=True)]),
    )
