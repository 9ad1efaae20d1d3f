"""What the four readers of LIDC-IDRI agree on: one finding for each nodule, and what counts for nothing around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.voxel_outlines import (
    Patch,
    image_regions,
    patch_of_region,
    patch_of_voxels,
    region_of_patch,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["LEAST_READERS", "agreed"]

LEAST_READERS = 3
"""A nodule that fewer readers outlined counts neither as found nor as missed, as LUNA16 has it (Setio and others, 2017)."""
SHARE = 0.5
"""The share of those who outlined a nodule that must have a voxel inside (Hancock and Magnan, 2016, and pylidc)."""


def agreed(
    readings: Sequence[ImageRegions], marks: Sequence[tuple[str, tuple[int, int, int]]] = ()
) -> list[ImageRegions]:
    """Return one image with an outline for each nodule, of the readings of one series by several readers.

    Outlines of different readers that share a voxel are of one nodule. Its outline covers the voxels that at least half of
    its readers marked. One that fewer than three readers outlined is excluded, and so are points.

    Parameters
    ----------
    readings : sequence of ImageRegions
    marks : sequence of (label, voxel)
        The nodules below 3 mm and the non-nodules of all readers, points that are marked once each. ``extra["unsized"]``
        holds the ids of their outlines, which are single voxels and say nothing of a size.
    """
    if not readings:
        return []
    shape = readings[0].shape
    assert shape is not None  # label maps have one
    drawn: list[tuple[int, Patch]] = []
    for reader, image in enumerate(readings):
        patches = [patch_of_region(image.regions.region(row), shape) for row in range(len(image))]
        drawn += [(reader, patch) for patch in patches if patch is not None]
    label = next((name for image in readings for name in image.regions.label_names), "nodule")
    regions, excluded = [], []
    for members in _groups(drawn):
        readers = {drawn[member][0] for member in members}
        patch = _consensus([drawn[member] for member in members])
        if patch is not None:
            regions.append(region_of_patch(readings[0].image, patch, label))
            excluded.append(len(readers) < LEAST_READERS)
    points = [
        region_of_patch(readings[0].image, patch_of_voxels(np.asarray([voxel])), name)
        for name, voxel in dict.fromkeys(marks)
    ]
    extra = {"unsized": [point.region_id for point in points]}
    excluded += [True] * len(points)
    return [image_regions(readings[0].image, [*regions, *points], shape, excluded, extra)]


def _groups(drawn: list[tuple[int, Patch]]) -> list[list[int]]:
    """Return which outlines are of one nodule: those that share voxels, and those that share some with these."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(drawn)
    pairs = [
        (one, other)
        for one in range(count)
        for other in range(one)
        if drawn[one][0] != drawn[other][0] and _share_voxels(drawn[one][1], drawn[other][1])
    ]
    rows, columns = ([pair[side] for pair in pairs] for side in (0, 1))
    graph: Any = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(count, count))
    number, of = connected_components(graph, directed=False) if count else (0, np.zeros(0, int))
    return [np.flatnonzero(of == group).tolist() for group in range(number)]


def _share_voxels(first: Patch, second: Patch) -> bool:
    low = np.maximum(first.corner, second.corner)
    high = np.minimum(np.add(first.corner, first.mask.shape), np.add(second.corner, second.mask.shape))
    if (high <= low).any():
        return False
    one, other = (
        patch.mask[tuple(slice(a - c, b - c) for a, b, c in zip(low, high, patch.corner, strict=True))]
        for patch in (first, second)
    )
    return bool((one & other).any())


def _consensus(members: list[tuple[int, Patch]]) -> Patch | None:
    """Return the voxels that at least half of the readers marked; None where there are none."""
    low = np.min([patch.corner for _, patch in members], axis=0)
    high = np.max([np.add(patch.corner, patch.mask.shape) for _, patch in members], axis=0)
    readers = sorted({reader for reader, _ in members})
    marked = np.zeros((len(readers), *(high - low)), dtype=np.bool_)
    for reader, patch in members:
        box = tuple(
            slice(c - a, c - a + n) for c, a, n in zip(patch.corner, low, patch.mask.shape, strict=True)
        )
        marked[readers.index(reader)][box] |= patch.mask
    mask = marked.mean(axis=0) >= SHARE
    return Patch(tuple(low.tolist()), mask) if mask.any() else None
