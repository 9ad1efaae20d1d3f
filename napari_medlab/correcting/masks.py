"""Regions as masks of a part of the image, and back: what brushes work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.correcting.regions import rings_on, slices_of, with_slices
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, polygons, rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.correcting.regions import Slice
    from napari_medlab.geometry.polygons import Rings

__all__ = ["MOST_VOXELS", "Patch", "components", "fill", "patch_in", "region_of", "stroke"]

MOST_VOXELS = 2**28
"""A patch of more voxels is refused: it would take more than a quarter of a gigabyte."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A mask of a part of the image.

    Parameters
    ----------
    mask : bool array, (z, y, x) or (y, x)
    origin : tuple of int
        The image's index of the mask's first voxel.
    """

    mask: NDArray[np.bool_]
    origin: tuple[int, ...]

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the mask lies in the image."""
        return tuple(
            slice(first, first + size) for first, size in zip(self.origin, self.mask.shape, strict=True)
        )

    def planes(self) -> list[tuple[Slice, NDArray[np.bool_]]]:
        """Return the slices with their (y, x) masks."""
        if self.mask.ndim == 2:
            return [(None, self.mask)]
        return [(self.origin[0] + row, plane) for row, plane in enumerate(self.mask)]


def patch_in(region: Region | None, box: Sequence[slice]) -> Patch:
    """Return the mask of a box of the image, as far as a region covers it; None covers nothing. Raises as above."""
    sizes = tuple(side.stop - side.start for side in box)
    if min(sizes) < 1:
        raise InputRefusedError("The region lies outside the image.", code="outside")
    if np.prod(sizes, dtype=float) > MOST_VOXELS:
        raise InputRefusedError(
            f"A mask of {' × '.join(map(str, sizes))} voxels is more than can be edited at once ({MOST_VOXELS:,}).",
            code="too-large", hint="Work on a smaller part of it.",
        )  # fmt: skip
    patch = Patch(np.zeros(sizes, bool), tuple(side.start for side in box))
    on_slices = set(slices_of(region)) if region is not None else set()
    for z, plane in patch.planes():
        if region is not None and z in on_slices:
            own = [ring - patch.origin[-2:] for ring in rings_on(region, z)]
            # most of a large plane lies far from any ring
            part = _extent(plane, own) or (slice(0), slice(0))
            corner = np.asarray([side.start or 0 for side in part])
            plane[part] = rings_to_mask([ring - corner for ring in own], plane[part].shape)
    return patch


def region_of(patch: Patch, region: Region, slices: Collection[Slice] | None = None) -> Region | None:
    """Return the region with the mask's shape inside the patch, and its own shape outside; None where nothing is left.

    The new rings' mask is the patch's exactly. Slices on which the mask says what the region says already keep their
    rings to the last bit.

    Parameters
    ----------
    patch : Patch
    region : Region
    slices : collection of slices, optional
        Where the mask is looked at; all of the patch by default.
    """
    corner = np.asarray(patch.origin[-2:], dtype=np.float64)
    changed: dict[Slice, Rings] = {}
    on_slices = set(slices_of(region))
    for z, plane in patch.planes():
        if slices is None or z in slices:
            own = [ring - corner for ring in rings_on(region, z)] if z in on_slices else []
            rings = _rings_of(plane, own)
            if rings is not None:
                changed[z] = [ring + corner for ring in rings]
    return with_slices(region, changed) if changed else region


def stroke(
    patch: Patch,
    path: ArrayLike,
    radius: float,
    spacing: Sequence[float],
    *,
    value: bool = True,
    flat: bool = False,
) -> Patch:
    """Return the patch after a brush was drawn along a path.

    Parameters
    ----------
    patch : Patch
    path : array (n, ndim)
        Image indices, joined by straight lines.
    radius : float
        Of the disc or ball, in the unit of ``spacing``: a ball in space, however thick the slices.
    spacing : one for each axis
    value : bool
        True adds, False erases.
    flat : bool
        In a volume: a disc on the path's first slice instead of a ball.
    """
    step = np.asarray(spacing, dtype=np.float64)
    points = np.atleast_2d(np.asarray(path, dtype=np.float64)) - patch.origin
    mask = patch.mask.copy()
    if flat and mask.ndim == 3:
        row = round(float(points[0, 0]))
        if 0 <= row < len(mask):
            _sweep(mask[row], points[:, 1:], radius, step[1:], value)
    else:
        _sweep(mask, points, radius, step, value)
    return replace(patch, mask=mask)


def fill(patch: Patch, rings: Sequence[ArrayLike], z: Slice = None, *, value: bool = True) -> Patch:
    """Return the patch with what (y, x) rings enclose on a slice set or cleared."""
    inside = rings_to_mask([np.asarray(ring) - patch.origin[-2:] for ring in rings], patch.mask.shape[-2:])
    mask = patch.mask.copy()
    row = 0 if z is None else z - patch.origin[0]
    if z is None or 0 <= row < len(mask):
        plane = mask if z is None else mask[row]
        plane[inside] = value
    return replace(patch, mask=mask)


def components(patch: Patch) -> list[Patch]:
    """Return each part whose voxels touch by their faces, the largest first."""
    from scipy import ndimage

    labels, count = ndimage.label(patch.mask)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable") + 1
    return [replace(patch, mask=labels == number) for number in order]


def _rings_of(plane: NDArray[np.bool_], own: Rings) -> Rings | None:
    """Return the outline of a mask with what of ``own`` lies outside of it; None where ``own`` says the same already."""
    box = _extent(plane, own)
    if box is None:
        return None
    corner = np.asarray([side.start for side in box], dtype=np.float64)
    part = plane[box]
    if np.array_equal(rings_to_mask([ring - corner for ring in own], part.shape), part):
        return None
    inside = [ring + corner for ring in mask_to_rings(part)]
    outside = _outside(own, plane.shape)
    return polygons.mended([*inside, *outside])[0] if outside else inside


def _extent(plane: NDArray[np.bool_], rings: Rings) -> tuple[slice, slice] | None:
    """Return the box of a mask that holds all that is set and all that rings enclose; None for neither."""
    sides = []
    for axis, size in enumerate(plane.shape):
        at = np.flatnonzero(plane.any(axis=1 - axis))
        ends = [*at[[0, -1]].tolist()] if at.size else []
        ends += [
            end for ring in rings for end in (np.floor(ring[:, axis].min()), np.ceil(ring[:, axis].max()))
        ]
        if not ends:
            return None
        first, stop = np.clip((min(ends), max(ends) + 1), 0, size)
        sides.append(slice(int(first), int(stop)))
    return sides[0], sides[1]


def _outside(rings: Rings, shape: tuple[int, ...]) -> Rings:
    """Return what of rings lies outside a mask of that size, whose pixels reach half a pixel beyond their centres."""
    last = np.asarray(shape) - 0.5
    within = all((ring >= -0.5).all() and (ring <= last).all() for ring in rings)
    return [] if within else polygons.difference(rings, [polygons.box((-0.5, -0.5), (last[0], last[1]))])


def _sweep(
    mask: NDArray[np.bool_],
    points: NDArray[np.float64],
    radius: float,
    step: NDArray[np.float64],
    value: bool,
) -> None:
    """Set the voxels whose centres lie no further than ``radius`` from the line through ``points``."""
    for start, end in zip(points, np.vstack([points[1:], points[-1:]]), strict=True):
        low = np.floor(np.minimum(start, end) - radius / step).astype(int)
        high = np.ceil(np.maximum(start, end) + radius / step).astype(int) + 1
        box = tuple(
            slice(max(a, 0), max(min(b, size), 0)) for a, b, size in zip(low, high, mask.shape, strict=True)
        )
        grid = np.stack(
            np.meshgrid(*[np.arange(side.start, side.stop) for side in box], indexing="ij"), axis=-1
        )
        from_start, along = (grid - start) * step, (end - start) * step
        share = np.clip(from_start @ along / max(float(along @ along), 1e-12), 0, 1)
        near = ((from_start - share[..., None] * along) ** 2).sum(axis=-1) <= radius**2
        mask[box][near] = value
