"""Resampling a volume onto another spacing, axes kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry.frames import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["isotropic_grid", "resample"]

FWHM_PER_SIGMA = 2.3548


def isotropic_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Return the grid with the same axes and the same first voxel centre, and one spacing along every axis.

    The last voxel lies at or before the last voxel of ``grid``, so that nothing is extrapolated.
    """
    ratio = spacing_mm / np.asarray(grid.spacing_mm)
    shape = np.floor((np.asarray(grid.shape) - 1) / ratio + 1e-6).astype(int) + 1
    affine = np.array(grid.affine)
    affine[: grid.ndim, : grid.ndim] *= ratio
    return Grid(tuple(shape.tolist()), affine, grid.unit)


def resample(
    volume: NDArray[np.generic], source: Grid, target: Grid, *, fill: float = 0.0
) -> NDArray[np.float32]:
    """Return the volume linearly interpolated at the voxel centres of another grid with parallel axes.

    Axes that become coarser are smoothed first, so that detail finer than the target does not alias.

    Parameters
    ----------
    volume : array, shape ``source.shape``
    source, target : Grid
        Their axes must be parallel; origins may differ.
    fill : float
        The value outside the source.

    Returns
    -------
    float32 array, shape ``target.shape``
    """
    from scipy import ndimage

    ratio = np.asarray(target.spacing) / np.asarray(source.spacing)
    offset = source.to_index(target.to_world(np.zeros(target.ndim)))
    smoothed = _smooth(np.asarray(volume, dtype=np.float32), ratio)
    out: NDArray[np.float32] = ndimage.affine_transform(
        smoothed,
        ratio,
        offset=offset,
        output_shape=target.shape,
        order=1,
        mode="constant",
        cval=fill,
        output=np.float32,
    )
    return out


def _smooth(volume: NDArray[np.float32], ratio: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float32]:
    from scipy import ndimage

    for axis, factor in enumerate(ratio):
        if factor > 1.25:
            sigma = float(np.sqrt(factor**2 - 1) / FWHM_PER_SIGMA)
            volume = ndimage.gaussian_filter1d(volume, sigma, axis=axis, truncate=2.5, mode="nearest")
    return volume
