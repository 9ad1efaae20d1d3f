"""Outlines of what a model found, brought from the lattice that it saw to the voxels of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry import mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid

    Rings = tuple[NDArray[np.float64], ...]

__all__ = ["box_ring", "moved_rings"]


def box_ring(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline (4, 2), (y, x), of a box (y0, x0, y1, x1)."""
    y0, x0, y1, x1 = box
    return np.asarray([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])


def moved_rings(rings: Sequence[NDArray[np.float64]], seen: Grid, image: Grid) -> Rings:
    """Return outlines as indices of the image.

    Parameters
    ----------
    rings : sequence of float64 arrays (n, dims)
        Indices of ``seen``; in a volume each lies in one slice.
    seen : Grid
        The lattice that the model saw.
    image : Grid
        That of the image's level 0, which may be of another spacing, and in a volume turned against it.

    Returns
    -------
    tuple of float64 arrays (n, dims). In a plane the vertices are the same points. In a volume the rings lie in the
    slices of the image: the object is sampled there, linearly, and traced anew.
    """
    if seen.ndim == 2:
        return tuple(image.to_index(seen.to_world(ring)) for ring in rings)
    if not rings:
        return ()
    mask, first = _mask_of(rings)
    sampled, start = _sampled(mask, seen.cropped(first, mask.shape), image)
    return tuple(
        np.insert(ring + start[1:], 0, float(start[0] + z), axis=1)
        for z, plane in enumerate(sampled)
        if plane.any()
        for ring in mask_to_rings(plane)
    )


def _mask_of(rings: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return the mask (z, y, x) inside rings, with a rim of nothing around it, and the index of its first voxel."""
    every = np.concatenate(list(rings))
    first = np.floor(every.min(axis=0)).astype(np.int64) - 1
    shape = np.ceil(every.max(axis=0)).astype(np.int64) + 2 - first
    mask = np.zeros(shape, np.bool_)
    for z in np.unique(np.rint([ring[0, 0] for ring in rings]).astype(np.int64)):
        flat = [ring[:, 1:] - first[1:] for ring in rings if round(float(ring[0, 0])) == z]
        mask[z - first[0]] = rings_to_mask(flat, (int(shape[1]), int(shape[2])))
    return mask, first


def _sampled(mask: NDArray[np.bool_], near: Grid, image: Grid) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return a mask on the image's lattice, and the index of its first voxel there."""
    from scipy.ndimage import affine_transform

    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in mask.shape], indexing="ij"), axis=-1)
    reached = image.to_index(near.to_world(corners.reshape(-1, mask.ndim)))
    start = np.maximum(np.floor(reached.min(axis=0)).astype(np.int64), 0)
    stop = np.minimum(np.ceil(reached.max(axis=0)).astype(np.int64) + 1, image.shape)
    if (stop <= start).any():
        return np.zeros((0, 0, 0), np.bool_), start
    back = near.to_index(image.to_world(np.vstack([start, start + np.eye(mask.ndim)])))
    offset, matrix = back[0], (back[1:] - back[0]).T
    values = affine_transform(
        mask.astype(np.float32), matrix, offset, output_shape=tuple((stop - start).tolist()), order=1
    )
    return np.asarray(values >= 0.5), start
