"""Nodules, and the things that a detector mistakes for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.phantoms.stamping import stamp_balls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.phantoms.thorax import Thorax

__all__ = ["Nodule", "paint_calcified", "paint_distractors", "paint_nodule", "place_nodules"]

SMALLEST_MM, LARGEST_MM = 4.0, 22.0
"""Diameters that count as nodules; below 3 mm they are specks."""

HU = {
    "solid": (-40.0, 70.0),
    "spiculated": (-60.0, 50.0),
    "ground-glass": (-690.0, -480.0),
    "part-solid": (-600.0, -450.0),
}


@dataclass(frozen=True)
class Nodule:
    """A ball-like lesion: ``centre_mm`` (3,) along the array axes (z, y, x), 0 at the first voxel's centre."""

    centre_mm: NDArray[np.float64]
    radius_mm: float
    kind: str
    hu: float


def place_nodules(rng: np.random.Generator, thorax: Thorax, count: int, subsolid: float) -> list[Nodule]:
    """Draw nodules that lie in the lungs, at the pleura or on a vessel, and do not touch one another."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(thorax.lung, sampling=thorax.spacing_mm)
    placed: list[Nodule] = []
    for _ in range(count * 12):
        if len(placed) == count:
            break
        radius = 0.5 * float(np.clip(np.exp(rng.normal(np.log(7.0), 0.45)), SMALLEST_MM, LARGEST_MM))
        centre = _spot(rng, thorax, depth, radius)
        if centre is None or any(_too_close(centre, radius, other) for other in placed):
            continue
        kind = _kind(rng, subsolid, radius)
        placed.append(Nodule(centre, radius, kind, rng.uniform(*HU[kind])))
    return placed


def paint_nodule(
    rng: np.random.Generator, thorax: Thorax, nodule: Nodule, labels: NDArray[np.uint8], number: int
) -> None:
    """Paint a nodule with an irregular surface into the chest and mark its voxels with ``number``."""
    box, distance = _neighbourhood(thorax, nodule.centre_mm, nodule.radius_mm * 1.6 + 3)
    surface = distance + _bumps(rng, thorax, box, nodule) * nodule.radius_mm * (
        0.16 if nodule.kind == "spiculated" else 0.09
    )
    edge = 1.2 if nodule.kind in ("solid", "spiculated") else 2.2
    occupancy = np.clip(0.5 + (nodule.radius_mm - surface) / edge, 0, 1)
    hu = thorax.hu[box]
    # a lesion never thins what is denser than itself: vessels run on through ground glass
    hu[...] = np.maximum(hu, hu + (nodule.hu - hu) * occupancy)
    if nodule.kind == "part-solid":
        core = np.clip(0.5 + (nodule.radius_mm * 0.5 - surface) / 1.2, 0, 1)
        hu[...] = np.maximum(hu, hu + (0.0 - hu) * core)
    if nodule.kind == "spiculated":
        _paint_spicules(rng, thorax, nodule)
    labels[box][(occupancy >= 0.5)] = number


def paint_distractors(rng: np.random.Generator, thorax: Thorax, nodules: list[Nodule]) -> list[Nodule]:
    """Paint swollen vessel forks, scars, haze and calcified specks; returns the specks."""
    tree = thorax.vessels
    forks = tree.forks[(tree.radii_mm[tree.forks] > 0.9) & _in_lung(thorax, tree.centres_mm[tree.forks])]
    field = np.zeros(thorax.hu.shape, np.float32)
    chosen = rng.choice(forks, size=min(len(forks), int(rng.integers(3, 9))), replace=False)
    swelling = tree.radii_mm[chosen] * rng.uniform(1.1, 1.5, len(chosen))
    stamp_balls(field, thorax.spacing_mm, tree.centres_mm[chosen], swelling, 1.0)
    inside = thorax.lung & (field > 0)
    thorax.hu[inside] = np.maximum(thorax.hu[inside], -860 + field[inside] * 900)
    for _ in range(int(rng.integers(0, 4))):
        _paint_scar(rng, thorax)
    for _ in range(int(rng.integers(0, 3))):
        _paint_haze(rng, thorax)
    return _paint_specks(rng, thorax, nodules)


def _kind(rng: np.random.Generator, subsolid: float, radius: float) -> str:
    if rng.random() < subsolid and radius > 2.5:
        return str(rng.choice(["ground-glass", "part-solid"]))
    return "spiculated" if radius > 4 and rng.random() < 0.3 else "solid"


def _in_lung(thorax: Thorax, centres_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    index = np.rint(centres_mm / thorax.spacing_mm).astype(int)
    inside = ((index >= 2) & (index < np.asarray(thorax.hu.shape) - 2)).all(axis=1)
    safe = np.clip(index, 0, np.asarray(thorax.hu.shape) - 1)
    in_lung: NDArray[np.bool_] = inside & thorax.lung[tuple(safe.T)]
    return in_lung


def _spot(
    rng: np.random.Generator, thorax: Thorax, depth: NDArray[np.floating], radius: float
) -> NDArray[np.float64] | None:
    """Return a centre: on a vessel, at the pleura, or free; None where the draw does not fit."""
    place = rng.choice(["free", "pleural", "vascular"], p=[0.5, 0.25, 0.25])
    if place == "vascular":
        tree = thorax.vessels
        rows = np.flatnonzero(
            (tree.radii_mm > 0.7) & (tree.radii_mm < 2.2) & _in_lung(thorax, tree.centres_mm)
        )
        if len(rows) == 0:
            return None
        on_vessel: NDArray[np.float64] = tree.centres_mm[rng.choice(rows)] + rng.normal(0, radius * 0.4, 3)
        return on_vessel
    low, high = (radius * 0.7, radius * 1.0) if place == "pleural" else (radius + 2, np.inf)
    # the outermost slices are left out, so that every nodule is seen whole
    margin = int(np.ceil((radius + 1) / thorax.spacing_mm[0]))
    inner = depth[margin : depth.shape[0] - margin]
    spots = np.flatnonzero((inner > low) & (inner < high))
    if len(spots) == 0:
        return None
    index = np.asarray(np.unravel_index(rng.choice(spots), inner.shape), dtype=float)
    index[0] += margin
    centre: NDArray[np.float64] = (index + rng.uniform(-0.5, 0.5, 3)) * thorax.spacing_mm
    return centre


def _too_close(centre: NDArray[np.float64], radius: float, other: Nodule) -> bool:
    return bool(np.linalg.norm(centre - other.centre_mm) < radius + other.radius_mm + 6)


def _neighbourhood(
    thorax: Thorax, centre_mm: NDArray[np.float64], reach_mm: float
) -> tuple[tuple[slice, ...], NDArray[np.float64]]:
    """Return the box around a point and the distance (mm) of each of its voxels from it."""
    low = np.clip(np.floor((centre_mm - reach_mm) / thorax.spacing_mm).astype(int), 0, None)
    high = np.minimum(np.ceil((centre_mm + reach_mm) / thorax.spacing_mm).astype(int) + 1, thorax.hu.shape)
    box = tuple(slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    axes = [np.arange(s.start, s.stop) * step for s, step in zip(box, thorax.spacing_mm, strict=True)]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - centre_mm
    distance: NDArray[np.float64] = np.linalg.norm(offset, axis=-1)
    return box, distance


def _bumps(
    rng: np.random.Generator, thorax: Thorax, box: tuple[slice, ...], nodule: Nodule
) -> NDArray[np.float64]:
    """Return an irregularity of about unit size that depends on the direction from the centre alone."""
    axes = [np.arange(s.start, s.stop) * step for s, step in zip(box, thorax.spacing_mm, strict=True)]
    offset = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - nodule.centre_mm
    unit = offset / np.maximum(np.linalg.norm(offset, axis=-1, keepdims=True), 1e-3)
    waves = rng.normal(size=(5, 3)) * rng.uniform(1.2, 3.5, (5, 1))
    phases = rng.uniform(0, 2 * np.pi, 5)
    total: NDArray[np.float64] = np.sin(unit @ waves.T + phases).sum(axis=-1) / np.sqrt(2.5)
    return total


def _paint_spicules(rng: np.random.Generator, thorax: Thorax, nodule: Nodule) -> None:
    rays = rng.normal(size=(int(rng.integers(6, 12)), 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    reach = np.linspace(0.8, 1.7, 9) * nodule.radius_mm
    points = (nodule.centre_mm + rays[:, None] * reach[None, :, None]).reshape(-1, 3)
    radii = np.tile(np.linspace(0.8, 0.35, 9), len(rays))
    field = np.zeros(thorax.hu.shape, np.float32)
    stamp_balls(field, thorax.spacing_mm, points, radii, float(thorax.spacing_mm.max()) * 0.8)
    inside = thorax.lung & (field > 0)
    thorax.hu[inside] = np.maximum(thorax.hu[inside], -860 + field[inside] * 800)


def _random_lung_point(rng: np.random.Generator, thorax: Thorax) -> NDArray[np.float64]:
    spots = np.flatnonzero(thorax.lung)
    index = np.asarray(np.unravel_index(rng.choice(spots), thorax.lung.shape), dtype=float)
    centre: NDArray[np.float64] = index * thorax.spacing_mm
    return centre


def _paint_scar(rng: np.random.Generator, thorax: Thorax) -> None:
    """Paint a short bent band, as scars are."""
    start, heading = _random_lung_point(rng, thorax), rng.normal(size=3)
    heading /= np.linalg.norm(heading)
    path = start + heading * np.linspace(0, rng.uniform(8, 22), 24)[:, None]
    field = np.zeros(thorax.hu.shape, np.float32)
    stamp_balls(field, thorax.spacing_mm, path, np.full(24, rng.uniform(0.7, 1.4)), 1.2)
    inside = thorax.lung & (field > 0)
    thorax.hu[inside] = np.maximum(thorax.hu[inside], -860 + field[inside] * rng.uniform(500, 850))


def _paint_haze(rng: np.random.Generator, thorax: Thorax) -> None:
    """Paint a wide, faint cloud without an edge."""
    radius = rng.uniform(8, 18)
    box, distance = _neighbourhood(thorax, _random_lung_point(rng, thorax), radius * 2)
    cloud = np.exp(-0.5 * (distance / (radius * 0.6)) ** 2) * rng.uniform(40, 140)
    thorax.hu[box] += np.where(thorax.lung[box], cloud, 0).astype(np.float32)


def _paint_specks(rng: np.random.Generator, thorax: Thorax, nodules: list[Nodule]) -> list[Nodule]:
    """Paint small dense specks, too small to count as nodules."""
    specks: list[Nodule] = []
    for _ in range(int(rng.integers(0, 5))):
        centre, radius = _random_lung_point(rng, thorax), rng.uniform(0.8, 1.4)
        if any(_too_close(centre, radius, other) for other in nodules):
            continue
        hu = rng.uniform(0, 400)
        _paint_ball(thorax, centre, radius, hu)
        specks.append(Nodule(centre, float(radius), "speck", float(hu)))
    return specks


def paint_calcified(rng: np.random.Generator, thorax: Thorax, nodules: list[Nodule], count: int) -> None:
    """Paint round calcified granulomas, 4 to 9 mm across, clear of the nodules."""
    for _ in range(count):
        centre, radius = _random_lung_point(rng, thorax), rng.uniform(2.0, 4.5)
        if not any(_too_close(centre, radius, other) for other in nodules):
            _paint_ball(thorax, centre, radius, rng.uniform(500, 1100))


def _paint_ball(thorax: Thorax, centre: NDArray[np.float64], radius: float, hu: float) -> None:
    """Paint a dense ball with a sharp surface."""
    box, distance = _neighbourhood(thorax, centre, radius + 3.6)
    occupancy = np.clip(0.5 + (radius - distance) / 1.2, 0, 1)
    thorax.hu[box] = np.maximum(thorax.hu[box], thorax.hu[box] + (hu - thorax.hu[box]) * occupancy)
