"""Chest CT with known nodules: procedural, seeded, and as varied as a small detector needs it to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.phantoms.nodules import (
    Nodule,
    paint_calcified,
    paint_distractors,
    paint_nodule,
    place_nodules,
)
from napari_medlab.phantoms.thorax import build_thorax

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REFERENCE_SITE", "SECOND_SITE", "ChestPhantom", "Site", "chest_phantom"]


@dataclass(frozen=True)
class Site:
    """How one hospital scans, and what it sees: the ranges that cases are drawn from.

    Parameters
    ----------
    shape : (z, y, x), voxels
    slice_mm, pixel_mm, noise_hu, blur_mm : (low, high)
        Spacing along z, spacing in the slice, deviation of the noise, and width (sigma) of the reconstruction kernel.
    subsolid : float
        The share of nodules that are ground-glass or part-solid.
    most_nodules : int
        Cases hold 0 to this many nodules.
    calcified : (least, most)
        How many calcified granulomas a case holds: round and dense, healed long ago, and no findings.
    """

    shape: tuple[int, int, int] = (48, 128, 144)
    slice_mm: tuple[float, float] = (1.25, 2.5)
    pixel_mm: tuple[float, float] = (0.95, 1.25)
    noise_hu: tuple[float, float] = (12.0, 32.0)
    blur_mm: tuple[float, float] = (0.45, 0.8)
    subsolid: float = 0.2
    most_nodules: int = 5
    calcified: tuple[int, int] = (0, 0)


REFERENCE_SITE = Site()
"""What the shipped detector was trained on."""

SECOND_SITE = Site(noise_hu=(22.0, 38.0), subsolid=0.35, slice_mm=(1.5, 2.75), calcified=(2, 5))
"""Another hospital: noisier, more sub-solid nodules, and patients with calcified granulomas, which look like nodules to a
detector that has never seen one."""


@dataclass(frozen=True)
class ChestPhantom:
    """A case whose truth is known.

    Parameters
    ----------
    volume : int16 array (z, y, x), Hounsfield units
    labels : uint8 array (z, y, x); voxel value i + 1 marks ``findings[i]``
    grid : Grid
    findings : the nodules
    excluded : specks too small to count, as the "irrelevant findings" of LUNA16
    """

    volume: NDArray[np.int16]
    labels: NDArray[np.uint8]
    grid: Grid
    findings: tuple[Finding, ...]
    excluded: tuple[Finding, ...]


def chest_phantom(seed: int, case_id: str, site: Site = REFERENCE_SITE) -> ChestPhantom:
    """Return the phantom of a seed; the same seed and site give the same voxels.

    Parameters
    ----------
    seed : int
    case_id : str
        Written into the findings.
    site : Site
    """
    rng = np.random.default_rng([seed, 0xC7])
    pixel = rng.uniform(*site.pixel_mm)
    spacing = np.array([rng.uniform(*site.slice_mm), pixel, pixel])
    thorax = build_thorax(rng, site.shape, spacing)
    labels = np.zeros(site.shape, np.uint8)
    nodules = place_nodules(rng, thorax, int(rng.integers(0, site.most_nodules + 1)), site.subsolid)
    for number, nodule in enumerate(nodules, start=1):
        paint_nodule(rng, thorax, nodule, labels, number)
    specks = paint_distractors(rng, thorax, nodules)
    if site.calcified[1] > 0:
        paint_calcified(rng, thorax, nodules, int(rng.integers(site.calcified[0], site.calcified[1] + 1)))
    volume = _scan(rng, thorax.hu, spacing, site)
    origin = tuple(float(v) for v in (-spacing * np.asarray(site.shape) / 2)[::-1])
    grid = Grid.axis_aligned(site.shape, spacing, origin)
    return ChestPhantom(
        volume,
        labels,
        grid,
        tuple(_finding(case_id, grid, spacing, n, f"{case_id}-n{i}") for i, n in enumerate(nodules, 1)),
        tuple(
            _finding(case_id, grid, spacing, n, f"{case_id}-x{i}", excluded=True)
            for i, n in enumerate(specks, 1)
        ),
    )


def _scan(
    rng: np.random.Generator, hu: NDArray[np.float32], spacing: NDArray[np.float64], site: Site
) -> NDArray[np.int16]:
    """Blur by the kernel, add noise that is correlated within slices, and round to Hounsfield units."""
    from scipy import ndimage

    blur = rng.uniform(*site.blur_mm)
    blurred = ndimage.gaussian_filter(hu, (0.35, blur / spacing[1], blur / spacing[2]))
    noise = ndimage.gaussian_filter(rng.normal(size=hu.shape).astype(np.float32), (0.0, 0.7, 0.7))
    blurred += noise * (rng.uniform(*site.noise_hu) / noise.std())
    scanned: NDArray[np.int16] = np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)
    return scanned


def _finding(
    case_id: str,
    grid: Grid,
    spacing: NDArray[np.float64],
    nodule: Nodule,
    finding_id: str,
    *,
    excluded: bool = False,
) -> Finding:
    world = grid.to_world(nodule.centre_mm / spacing)
    return Finding(case_id, tuple(world.tolist()), 2 * nodule.radius_mm, nodule.kind, excluded, finding_id)
