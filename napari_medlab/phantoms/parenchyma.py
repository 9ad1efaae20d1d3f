"""What a mammogram shows of healthy tissue: fat, gland, ligaments, vessels, muscle and skin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.phantoms.brushes import stamp_discs
from napari_medlab.phantoms.noise import power_noise, ridges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.phantoms.breast import Outline

__all__ = ["paint_tissue"]

FAT, GLAND, MUSCLE, SKIN, NIPPLE = 980.0, 880.0, 1000.0, 230.0, 600.0
"""Grey values: that of fat, and what the others add to it."""

EDGE_MM = 16.0
"""The width of the rim in which a compressed breast gets thinner towards the skin."""


def paint_tissue(
    rng: np.random.Generator, outline: Outline, density: float, shape: tuple[int, int], pixel_mm: float
) -> NDArray[np.float32]:
    """Return a breast without lesions.

    Parameters
    ----------
    rng : the source of randomness
    outline : Outline
    density : 0 (fatty) to 1 (extremely dense)
    shape : (y, x), pixels
    pixel_mm : float

    Returns
    -------
    float32 array (y, x)
        Grey values before noise, 0 in air; the chest wall lies at column 0.
    """
    y = np.arange(shape[0], dtype=np.float32)[:, None] * np.float32(pixel_mm)
    x = np.arange(shape[1], dtype=np.float32)[None] * np.float32(pixel_mm)
    skin = outline.skin_distance(y, x) + 0.8 * power_noise(rng, shape, 4.0, 40 / pixel_mm, 90 / pixel_mm)
    texture = power_noise(rng, shape, 3.0, 2.0, 40 / pixel_mm)
    lobules = power_noise(rng, shape, 3.2, 5 / pixel_mm, 45 / pixel_mm)
    streaks, strands = _along_rays(rng, outline, y, x)
    web = _ligaments(rng, strands, pixel_mm)
    gland = _gland(
        outline, density, (y, x), skin, 0.65 * lobules + 0.4 * streaks + 0.1 * texture + 0.35 * web
    )
    grey = FAT + 75 * texture + web * (210 - 60 * gland)
    grey += gland * (GLAND * (0.55 + 0.35 * density) + 120 * texture + 90 * lobules + 130 * streaks)
    _add_vessels(rng, grey, outline, pixel_mm)
    if outline.pectoral[0] > 0:
        _add_muscle(grey, outline, (y, x), (texture, lobules))
    grey = _compressed(grey, skin)
    nipple_y, nipple_x = outline.nipple
    areola = np.exp(-(((y - nipple_y) / np.float32(4.5)) ** 2) - ((x - nipple_x - 1) / np.float32(4.0)) ** 2)
    grey += NIPPLE * areola * np.clip(skin / np.float32(1.5), 0, 1)
    return grey


def _compressed(grey: NDArray[np.float32], skin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thin the rim, draw the skin, and clear the air; ``skin`` is the distance (mm) from it."""
    depth = np.clip(skin / np.float32(EDGE_MM), 0, 1)
    grey *= 0.30 + 0.70 * np.sqrt(depth * (2 - depth))
    grey += SKIN * np.exp(-(((skin - 0.9) / np.float32(0.6)) ** 2))
    grey *= np.clip(skin / np.float32(0.8), 0, 1)
    return grey


def _gland(
    outline: Outline,
    density: float,
    place: tuple[NDArray[np.float32], NDArray[np.float32]],
    skin: NDArray[np.float32],
    texture: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the share of gland, 0 to 1: a cone behind the nipple with a scalloped border."""
    y, x = place
    across = y - outline.axis - outline.droop * x + 0.06 * outline.below
    ahead = (x - 0.56 * outline.depth) / (0.40 * outline.depth)
    # the cone narrows towards the nipple
    reach = outline.below * (0.78 - 0.30 * np.clip(x / outline.depth, 0, 1))
    cone = 1 - ahead**2 - (across / reach) ** 2
    nipple_y, nipple_x = outline.nipple
    near_nipple = np.exp(-((y - nipple_y) ** 2 + (x - nipple_x) ** 2) / np.float32(14**2))
    fat_below_skin = (
        np.exp(-np.clip(skin, 0, 30) / np.float32(4.5)) * (1 - 0.9 * near_nipple) - 0.45 * near_nipple
    )
    logit = 1.5 * np.maximum(cone, -4) + 2.6 * (density - 0.5) + 1.25 * texture - 3.0 * fat_below_skin
    gland: NDArray[np.float32] = (1 / (1 + np.exp(-2.6 * logit))).astype(np.float32)
    return gland


def _along_rays(
    rng: np.random.Generator, outline: Outline, y: NDArray[np.float32], x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return two fields of deviation 1, drawn out along rays that converge at the nipple: fine texture, and a smooth one."""
    from scipy import ndimage

    fine, smooth = power_noise(rng, (256, 512), 2.7, 2.0, 90.0), power_noise(rng, (256, 512), 3.6, 9.0, 36.0)
    nipple_y, nipple_x = outline.nipple
    # the rays meet in front of the skin: at the nipple itself they would form a star
    down, back = y - nipple_y, nipple_x + 12 - x
    radius, angle = np.hypot(down, back), np.arctan2(down, back)
    spots = np.stack([radius * np.float32(0.9), angle * np.float32(120) + 256])
    streaks, strands = (
        ndimage.map_coordinates(each, spots, order=1, mode="grid-wrap") for each in (fine, smooth)
    )
    return streaks, strands


def _ligaments(
    rng: np.random.Generator, strands: NDArray[np.float32], pixel_mm: float
) -> NDArray[np.float32]:
    """Return a web of thin filaments, 0 to about 1, that come and go; some of them run along ``strands``."""
    crossing = power_noise(rng, strands.shape, 4.0, 8 / pixel_mm, 30 / pixel_mm)
    strength = np.clip(0.45 + 0.5 * power_noise(rng, strands.shape, 3.0, 8 / pixel_mm, 40 / pixel_mm), 0, 1.4)
    web: NDArray[np.float32] = (ridges(crossing + 0.25 * strands, 0.07) + ridges(strands, 0.13)) * strength
    return web


def _add_vessels(
    rng: np.random.Generator, grey: NDArray[np.float32], outline: Outline, pixel_mm: float
) -> None:
    """Paint veins that wind from the chest wall towards the nipple."""
    field = np.zeros(grey.shape, np.float32)
    for _ in range(int(rng.integers(3, 7))):
        start = np.array([outline.axis + rng.uniform(-0.75, 0.75) * outline.below, rng.uniform(0, 15)])
        goal = np.asarray(outline.nipple) + rng.normal(0, 22, 2)
        heading = (goal - start) / 160
        bend = np.cumsum(np.cumsum(rng.normal(0, 0.014, (160, 2)), axis=0), axis=0)
        path = start + np.cumsum(heading + bend * np.sin(np.linspace(0, np.pi, 160))[:, None] * 0.25, axis=0)
        dense = np.stack(
            [np.interp(np.linspace(0, 159, 640), np.arange(160), path[:, k]) for k in (0, 1)], axis=1
        )
        radii = np.linspace(rng.uniform(0.6, 1.1), 0.4, len(dense))
        stamp_discs(field, dense / pixel_mm, radii / pixel_mm, 1 / pixel_mm)
    grey += 150 * field


def _add_muscle(
    grey: NDArray[np.float32],
    outline: Outline,
    place: tuple[NDArray[np.float32], NDArray[np.float32]],
    textures: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    """Lay the pectoral muscle over the breast, brighter towards the chest wall."""
    texture, lobules = textures
    front = outline.pectoral_distance(*place) + 0.7 * lobules
    muscle = np.clip(0.5 + front / 2.6, 0, 1)
    bright = FAT + MUSCLE * (0.50 + 0.50 * np.clip(front / 45, 0, 1)) + 60 * texture
    grey += muscle * (np.maximum(bright, 0.75 * bright + 0.25 * grey) - grey)
