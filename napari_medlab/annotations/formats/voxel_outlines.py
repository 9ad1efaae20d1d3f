"""Voxels to outlines and back, exactly: what label maps, DICOM segmentations and LIDC readings share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.image_regions import ImageRegions
from napari_medlab.annotations.objects import Region, new_id
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.geometry import mask_to_rings, rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Patch", "image_regions", "patch_of_region", "patch_of_voxels", "region_of_patch", "separate"]


@dataclass(frozen=True, eq=False)
class Patch:
    """A part of an image that holds all of an object.

    Parameters
    ----------
    corner : tuple of int
        The index of the part's first voxel, (z, y, x) or (y, x).
    mask : bool array of as many axes
        True in the object.
    """

    corner: tuple[int, ...]
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the part lies in the image."""
        return tuple(slice(low, low + size) for low, size in zip(self.corner, self.mask.shape, strict=True))


def patch_of_voxels(indices: NDArray[np.integer]) -> Patch:
    """Return the smallest part with the given voxels, (n, ndim) array indices; at least one is needed."""
    low, high = indices.min(axis=0), indices.max(axis=0)
    mask = np.zeros(tuple((high - low + 1).tolist()), dtype=np.bool_)
    mask[tuple((indices - low).T)] = True
    return Patch(tuple(low.tolist()), mask)


def region_of_patch(case_id: str, patch: Patch, label: str, region_id: str = "") -> Region:
    """Return the region that covers just the voxels of a patch: rings on each slice, holes and parts included.

    Parameters
    ----------
    case_id, label : str
    patch : Patch
    region_id : str
        A new one where left out.
    """
    corner = np.asarray(patch.corner[-2:], dtype=np.float64)
    region_id = region_id or new_id()
    if patch.mask.ndim == 2:
        rings = tuple(ring + corner for ring in mask_to_rings(patch.mask))
        return Region(case_id, rings, "", label, region_id)
    planes = {
        patch.corner[0] + number: [ring + corner for ring in mask_to_rings(plane)]
        for number, plane in enumerate(patch.mask)
        if plane.any()
    }
    on_slices = Region.on_slices(case_id, planes, "", label)
    return Region(case_id, on_slices.rings, "", label, region_id)


def patch_of_region(region: Region, shape: Sequence[int]) -> Patch | None:
    """Return the voxels of a region inside an image of a shape; None where there are none.

    A voxel belongs to the region when its centre lies inside an odd number of its rings
    (:func:`napari_medlab.geometry.rings_to_mask`); in a volume each ring counts on the slice that it is nearest to.
    """
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for ring in region.rings:
        z = round(float(ring[0, 0])) if ring.shape[1] == 3 else 0
        planes.setdefault(z, []).append(ring[:, -2:])
    depth = shape[0] if len(shape) == 3 else 1
    inner = {z: rings for z, rings in planes.items() if 0 <= z < depth}
    if not inner:
        return None
    vertices = np.concatenate([ring for rings in inner.values() for ring in rings])
    low = np.clip(np.floor(vertices.min(axis=0)), 0, None).astype(int)
    high = np.minimum(np.ceil(vertices.max(axis=0)).astype(int) + 1, shape[-2:])
    if (high <= low).any():
        return None
    height, width = (high - low).tolist()
    first = min(inner)
    mask = np.zeros((max(inner) - first + 1, height, width), dtype=np.bool_)
    for z, rings in inner.items():
        mask[z - first] = rings_to_mask([ring - low for ring in rings], (height, width))
    if not mask.any():
        return None
    if len(shape) == 2:
        return Patch(tuple(low.tolist()), mask[0])
    return Patch((first, *low.tolist()), mask)


def separate(patch: Patch) -> list[Patch]:
    """Return the connected components of a patch, voxels that share a corner counting as connected."""
    from scipy import ndimage

    numbers, count = ndimage.label(patch.mask, structure=np.ones((3,) * patch.mask.ndim))
    if count == 1:
        return [patch]
    found = enumerate(ndimage.find_objects(numbers), start=1)
    return [
        Patch(
            tuple(low + part.start for low, part in zip(patch.corner, box, strict=True)),
            numbers[box] == number,
        )
        for number, box in found
    ]


def image_regions(
    image: str,
    regions: Sequence[Region],
    shape: Sequence[int],
    is_excluded: ArrayLike = (),
    extra: dict[str, Any] | None = None,
) -> ImageRegions:
    """Return regions of one image with its shape; none is excluded where nothing is said."""
    table = RegionTable.from_regions(image, regions, ndim=len(shape))
    excluded = np.zeros(len(regions), dtype=np.bool_)
    if np.size(is_excluded):
        excluded[:] = is_excluded
    return ImageRegions(image, table, excluded, tuple(int(size) for size in shape), extra=extra or {})
