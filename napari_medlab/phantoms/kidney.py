"""What a PAS-stained section of kidney is made of: tubules, nuclei, vessels and glomeruli.

Stains are two planes of uint8, (y, x): ``pink`` (PAS and cytoplasm) and ``blue`` (haematoxylin), 0 to 255 for an optical
density of 0 to about 1.4. Lengths are in pixels of 0.5 µm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.phantoms.noise import power_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COARSE",
    "Lattice",
    "Stains",
    "jittered_lattice",
    "nuclei_brushes",
    "paint_glomerulus",
    "paint_vessel",
    "stamp_nuclei",
    "tuft_texture",
]

COARSE = 4
"""Tubules are laid out on a plane this many times coarser, and drawn at full resolution from there."""


@dataclass(frozen=True)
class Stains:
    """The stain planes of a section, changed in place: two uint8 arrays (y, x)."""

    pink: NDArray[np.uint8]
    blue: NDArray[np.uint8]


@dataclass(frozen=True)
class Lattice:
    """A plane of cells around the points of a jittered lattice.

    Parameters
    ----------
    border : float32 array (y, x), distance from the nearest cell border, positive inside
    reach : float32 array (y, x), distance from the cell's own point
    cell : int32 array (y, x), which cell it is
    cells : how many there are
    """

    border: NDArray[np.float32]
    reach: NDArray[np.float32]
    cell: NDArray[np.int32]
    cells: int


def jittered_lattice(rng: np.random.Generator, shape: tuple[int, int], pitch: float, warp: float) -> Lattice:
    """Return cells about ``pitch`` wide whose shapes are drawn out and bent by a smooth warp of deviation ``warp``."""
    rows, columns = (int(np.ceil(n / pitch)) + 6 for n in shape)
    grid = np.stack(np.meshgrid(np.arange(rows) - 3, np.arange(columns) - 3, indexing="ij"), axis=-1)
    # every other row is shifted by half a cell, so that the cells have about six neighbours
    staggered = grid + np.stack([np.zeros((rows, columns)), 0.5 * (grid[..., 0] % 2)], axis=-1)
    points = (staggered + 0.5 + rng.uniform(-0.3, 0.3, (rows, columns, 2))) * pitch
    size = rng.normal(0, 0.10 * pitch, (rows, columns)).astype(np.float32)
    bends = [power_noise(rng, shape, 4.0, 2 * pitch, 9 * pitch) * np.float32(warp) for _ in range(2)]
    y = np.arange(shape[0], dtype=np.float32)[:, None] + bends[0]
    x = np.arange(shape[1], dtype=np.float32)[None] + bends[1]
    row = np.clip(np.floor(y / np.float32(pitch)).astype(np.int32) + 3, 1, rows - 2)
    column = np.clip(np.floor(x / np.float32(pitch)).astype(np.int32) + 3, 1, columns - 2)
    first: NDArray[np.float32] = np.full(shape, np.inf, np.float32)
    second: NDArray[np.float32] = first.copy()
    cell = np.zeros(shape, np.int32)
    py, px = (points[..., k].astype(np.float32).ravel() for k in (0, 1))
    for step in [k * columns + m for k in (-1, 0, 1) for m in (-1, 0, 1)]:
        index = row * columns + column + step
        distance: NDArray[np.float32] = (
            np.sqrt((y - py[index]) ** 2 + (x - px[index]) ** 2) - size.ravel()[index]
        )
        nearer = distance < first
        np.minimum(second, np.where(nearer, first, distance), out=second)
        first = np.where(nearer, distance, first)
        cell = np.where(nearer, index, cell)
    second -= first
    second *= np.float32(0.5)
    return Lattice(second, first, cell, rows * columns)


def nuclei_brushes(rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return nuclei of many shapes, each a square uint8 array of haematoxylin, 0 outside."""
    brushes = []
    y, x = np.mgrid[-9:10, -9:10].astype(np.float32)
    for _ in range(48):
        turn, long, short = rng.uniform(0, np.pi), rng.uniform(5.5, 7.2), rng.uniform(4.6, 5.8)
        radius = np.hypot(
            (y * np.cos(turn) + x * np.sin(turn)) / long, (x * np.cos(turn) - y * np.sin(turn)) / short
        )
        body = np.clip((1 - radius) * 5, 0, 1)
        # chromatin gathers at the rim and in clumps
        chromatin = 0.72 + 0.18 * radius + 0.10 * rng.standard_normal(y.shape)
        brushes.append(np.clip(body * chromatin * rng.uniform(150, 215), 0, 255).astype(np.uint8))
    return brushes


def stamp_nuclei(
    rng: np.random.Generator,
    blue: NDArray[np.uint8],
    centres: NDArray[np.floating],
    brushes: list[NDArray[np.uint8]],
) -> None:
    """Stamp nuclei at ``centres`` (n, 2), as (y, x) indices; those that would cross the border are left out."""
    half = brushes[0].shape[0] // 2
    index = np.rint(centres).astype(int)
    inside = ((index >= half) & (index < np.asarray(blue.shape) - half)).all(axis=1)
    kinds = rng.integers(0, len(brushes), len(index))
    for (y, x), kind in zip(index[inside].tolist(), kinds[inside].tolist(), strict=True):
        view = blue[y - half : y + half + 1, x - half : x + half + 1]
        np.maximum(view, brushes[kind], out=view)


def tuft_texture(rng: np.random.Generator, size: int = 768) -> NDArray[np.float32]:
    """Return capillary loops cut across, float32 (size, size): 0 in lumens, 1 in their walls and in the mesangium."""
    loops = jittered_lattice(rng, (size, size), 17.0, 6.0)
    lumen = rng.uniform(0.3, 1.3, loops.cells).astype(np.float32)[loops.cell]
    walls: NDArray[np.float32] = np.clip(1 - (loops.border - 1.6) * lumen / 2.2, 0, 1)
    mesangium = np.clip(0.55 * power_noise(rng, (size, size), 3.0, 10, 60) - 0.1, 0, 1)
    np.maximum(walls, mesangium, out=walls)
    return walls


def paint_glomerulus(
    rng: np.random.Generator,
    stains: Stains,
    centre: tuple[float, float],
    radius: float,
    texture: NDArray[np.float32],
    brushes: list[NDArray[np.uint8]],
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Paint a glomerulus over what is there.

    Returns
    -------
    box : the part of the planes that it lies in
    inside : bool array of that box, True within Bowman's capsule
    """
    box, distance, angle = _polar_window(stains.pink.shape, centre, radius * 1.3)
    capsule = radius * _wobble(rng, angle, 0.028, 5) - distance
    tuft = _tuft_distance(rng, (distance, angle), radius)
    shape = distance.shape
    top, left = (int(rng.integers(0, n - m)) for n, m in zip(texture.shape, shape, strict=True))
    loops = texture[top : top + shape[0], left : left + shape[1]]
    in_tuft = np.clip(tuft / 3, 0, 1)
    fringe = np.clip(1 - np.abs(tuft - 1.5) / 3, 0, 1)
    pink = in_tuft * (14 + 88 * loops + 40 * fringe) + 4
    wall = np.clip(1.2 - np.abs(capsule - 2) / 2.6, 0, 1)
    pink = np.maximum(pink, 150 * wall)
    inside = capsule > 0
    stains.pink[box][inside] = pink[inside].astype(np.uint8)
    stains.blue[box][inside] = (in_tuft * (5 + 11 * loops))[inside].astype(np.uint8)
    _tuft_nuclei(rng, stains, (box, tuft), radius, brushes)
    _capsule_nuclei(rng, stains, centre, radius, brushes)
    return box, inside


def paint_vessel(
    rng: np.random.Generator,
    stains: Stains,
    centre: tuple[float, float],
    radius: float,
    brushes: list[NDArray[np.uint8]],
) -> None:
    """Paint an artery cut across: adventitia, a layered muscular wall, and a lumen with some blood."""
    box, distance, angle = _polar_window(stains.pink.shape, centre, radius * 1.5)
    turned, flat = angle - np.float32(rng.uniform(0, np.pi)), rng.uniform(1.0, 1.6)
    squeeze = 1 / np.hypot(np.cos(turned), np.sin(turned) * flat)
    wall = radius * _wobble(rng, angle, 0.03, 5) * squeeze - distance
    lumen = wall - radius * rng.uniform(0.3, 0.45)
    layers = np.sin(wall * 0.55 + 2 * np.sin(3 * angle)) * 12
    pink = np.where(lumen > 0, 2.0, 88 + layers + 4 * rng.standard_normal(wall.shape))
    pink = np.maximum(pink, 150 * np.clip(1.2 - np.abs(lumen + 1) / 2.5, 0, 1))
    blood = power_noise(rng, wall.shape, 2.0, 12, 40)
    pink += np.where(lumen > 6, 55 * np.clip((blood - 0.9) * 4, 0, 1), 0)
    keep = wall > -8
    stains.pink[box][keep] = np.clip(pink[keep], 0, 255).astype(np.uint8)
    stains.blue[box][keep] = np.where(lumen > 0, 0, 20)[keep].astype(np.uint8)
    muscle = np.argwhere((wall > 6) & (lumen < -6))
    chosen = muscle[rng.integers(0, len(muscle), max(len(muscle) // 700, 3))]
    stamp_nuclei(rng, stains.blue, chosen + np.array([box[0].start, box[1].start]), brushes)


def _polar_window(
    shape: tuple[int, ...], centre: tuple[float, float], reach: float
) -> tuple[tuple[slice, slice], NDArray[np.float32], NDArray[np.float32]]:
    """Return the box around a point, and the distance and direction of its pixels from it."""
    low = [max(int(c - reach), 0) for c in centre]
    high = [min(int(c + reach) + 2, n) for c, n in zip(centre, shape, strict=True)]
    y = (np.arange(low[0], high[0], dtype=np.float32) - np.float32(centre[0]))[:, None]
    x = (np.arange(low[1], high[1], dtype=np.float32) - np.float32(centre[1]))[None]
    return (slice(low[0], high[0]), slice(low[1], high[1])), np.hypot(y, x), np.arctan2(y, x)


def _wobble(
    rng: np.random.Generator, angle: NDArray[np.float32], size: float, orders: int
) -> NDArray[np.float32]:
    """Return a radius of about 1 that varies with the direction."""
    radius = np.ones_like(angle)
    for order in range(2, 2 + orders):
        phase, height = np.float32(rng.uniform(0, 2 * np.pi)), np.float32(size * rng.normal())
        radius += height * np.cos(order * angle + phase)
    return radius


def _tuft_distance(
    rng: np.random.Generator, polar: tuple[NDArray[np.float32], NDArray[np.float32]], radius: float
) -> NDArray[np.float32]:
    """Return the distance from the surface of the tuft, positive inside: lobes with clefts between them."""
    distance, angle = polar
    lobes, phase = int(rng.integers(5, 9)), rng.uniform(0, 2 * np.pi)
    twist = np.float32(rng.uniform(-0.6, 0.6) / radius) * distance
    position = (
        (angle + twist) * np.float32(lobes / 2)
        + np.float32(phase)
        + 0.5 * np.sin(2 * angle + np.float32(phase))
    )
    cleft = np.exp(-((np.sin(position) / 0.13) ** 2)) * np.clip(distance / radius - 0.2, 0, 1)
    scallop = np.float32(0.07 * radius) * (1 - np.sqrt(np.abs(np.sin(position))))
    border = np.float32(radius * rng.uniform(0.80, 0.88)) * _wobble(rng, angle, 0.02, 6)
    surface: NDArray[np.float32] = border - distance - scallop - cleft * np.float32(radius * 0.6)
    return surface


def _tuft_nuclei(
    rng: np.random.Generator,
    stains: Stains,
    place: tuple[tuple[slice, slice], NDArray[np.float32]],
    radius: float,
    brushes: list[NDArray[np.uint8]],
) -> None:
    box, tuft = place
    spots = np.argwhere(tuft > 5)
    # endothelial, mesangial and epithelial cells
    chosen = spots[rng.integers(0, len(spots), int(len(spots) / 560))] if len(spots) else spots
    stamp_nuclei(rng, stains.blue, chosen + np.array([box[0].start, box[1].start]), brushes)


def _capsule_nuclei(
    rng: np.random.Generator,
    stains: Stains,
    centre: tuple[float, float],
    radius: float,
    brushes: list[NDArray[np.uint8]],
) -> None:
    """Stamp the flat cells that line Bowman's capsule, far apart."""
    angle = rng.uniform(0, 2 * np.pi, int(radius / 11))
    centres = np.stack([np.sin(angle), np.cos(angle)], axis=1) * (radius - 6) + np.asarray(centre)
    stamp_nuclei(rng, stains.blue, centres, brushes)
