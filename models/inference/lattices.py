"""The lattice on which a network sees an image, and what reads samples there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry import Grid, index_at_level0, level_factors
from napari_medlab.images.tiles import TileArray, TileCache
from napari_medlab.models.inference.resampled import ResampledTiles, Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["cached_levels", "plane_samples", "volume_samples"]

KEPT_BYTES = 96 << 20
"""How much of the decoded tiles of one image is kept, and as much again of what they were resampled to."""
SAME = 0.02
"""A level whose pixels are that near to the wanted size is taken as it is: the grid says how large they are."""
TILES = {2: (512, 512), 3: (32, 64, 128)}
"""What is resampled at once, by the number of axes."""
Limits = tuple[float, float] | None


def cached_levels(image: Image) -> tuple[TileArray, ...]:
    """Return the levels with a cache of their own, that holds what neighbouring boxes share and is gone with the run."""
    largest = max(
        int(np.prod(source.tile, dtype=np.int64)) * source.dtype.itemsize for source in image.sources
    )
    cache = TileCache(max(KEPT_BYTES, largest))
    return tuple(TileArray(source, cache) for source in image.sources)


def volume_samples(
    image: Image, levels: Sequence[TileArray], target: Grid, *, limits: Limits, fill: float
) -> tuple[TileArray, Grid]:
    """Return the samples of a volume on a grid with parallel axes, and that grid.

    Parameters
    ----------
    image : Image
    levels : sequence of TileArray
        What reads its levels, finest first.
    target : Grid
    limits : (low, high) or None
        Pixel values are cut at these before they are smoothed.
    fill : float
        The pixel value beyond the outermost voxels.
    """
    if target == image.grid:
        return levels[0], target
    ratio = np.asarray(target.spacing) / np.asarray(image.grid.spacing)
    offset = image.grid.to_index(target.to_world(np.zeros(target.ndim)))
    axes = _samplings(image.grid.shape, target.shape, ratio, offset)
    return _resampled(levels[0], axes, limits, fill), target


def plane_samples(
    image: Image, levels: Sequence[TileArray], factor: NDArray[np.float64], *, limits: Limits
) -> tuple[TileArray, Grid]:
    """Return the samples of a planar image, made of the level that is just finer than wanted, and their grid.

    Parameters
    ----------
    image, levels, limits
        As in :func:`volume_samples`.
    factor : float64 array (2,)
        How many pixels of level 0 one sample is to span. A level that is nearly so is taken as it is.
    """
    shapes = [level.shape[:2] for level in levels]
    factors = np.asarray(level_factors(shapes))
    fine_enough = np.flatnonzero((factors <= factor * (1 + SAME)).all(axis=1))
    number = int(fine_enough[-1]) if len(fine_enough) else 0
    ratio = factor / factors[number]
    if (np.abs(ratio - 1) <= SAME).all():
        return levels[number], _scaled(image.grid, factors[number], shapes[number])
    shape = tuple(np.maximum(1, np.floor(np.asarray(shapes[0]) / factor + 1e-6)).astype(int).tolist())
    axes = _samplings(shapes[number], shape, ratio, (ratio - 1) / 2)
    return _resampled(levels[number], axes, limits, None), _scaled(image.grid, factor, shape)


def _samplings(
    sizes: Sequence[int], counts: Sequence[int], ratio: NDArray[np.float64], offset: NDArray[np.float64]
) -> tuple[Sampling, ...]:
    each = zip(sizes, counts, ratio.tolist(), offset.tolist(), strict=True)
    return tuple(Sampling(*axis) for axis in each)


def _resampled(
    source: TileArray, axes: tuple[Sampling, ...], limits: Limits, fill: float | None
) -> TileArray:
    tiles = ResampledTiles(source, axes, limits=limits, fill=fill, tile=TILES[len(axes)])
    return TileArray(tiles, TileCache(KEPT_BYTES))


def _scaled(grid: Grid, factor: NDArray[np.float64], shape: tuple[int, ...]) -> Grid:
    """Return the grid of a level of which one pixel spans ``factor`` pixels of ``grid``."""
    affine = np.array(grid.affine)
    affine[:2, 2] = grid.to_world(index_at_level0(np.zeros(2), factor))
    affine[:2, :2] *= factor
    return Grid(shape, affine, grid.unit)
