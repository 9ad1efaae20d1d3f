"""Where the organ ends: the pleura in CT, the skin line in mammograms, the border of the tissue on slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.hardcases.describing.reduced_image import ReducedImage, reduced, single_channel

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["OrganEdge", "organ_edge"]

LUNG_STEP_MM = 2.5
AIR_HU = -400.0
"""Between lung and soft tissue."""
LEAST_LUNG_MM3 = 20_000.0
LARGEST_GAP_MM = 10.0
"""Half the width of what is filled in: vessels, and lesions that dent the pleura."""
MAMMOGRAM_SIDE, SLIDE_SIDE = 512, 1024
"""The longer side of the reduced image, in pixels."""
LEAST_SHARE = 0.002
"""Pieces of tissue that cover less than this share of a slide are dirt."""


@dataclass(frozen=True, eq=False)
class OrganEdge:
    """The border of a mask on a coarse copy of an image.

    Parameters
    ----------
    coarse : ReducedImage
    mask : bool array over its pixels
    """

    coarse: ReducedImage
    mask: NDArray[np.bool_]

    def distance(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return distances to the edge, (n,), in the unit of the grid: positive inside, negative outside.

        Parameters
        ----------
        index : float64 array (n, d), indices at level 0

        Notes
        -----
        Where the image ends is no edge. Right to about half a coarse pixel.
        """
        from scipy.spatial import cKDTree

        at = self.coarse.to_coarse(index)
        border = _faces(self.mask)
        if not len(border):
            return np.full(len(at), np.nan)
        distance, _ = cKDTree(border * self.coarse.spacing).query(at * self.coarse.spacing)
        nearest = np.clip(np.rint(at).astype(int), 0, np.asarray(self.mask.shape) - 1)
        inside = self.mask[tuple(nearest.T)]
        signed: NDArray[np.float64] = np.where(inside, distance, -distance)
        return signed


def organ_edge(image: Image, modality: str, stop: Callable[[], None] | None = None) -> OrganEdge | None:
    """Return the border of the organ that an image shows; None where there is no such border to be found.

    Parameters
    ----------
    image : Image
        A volume with its axes as :meth:`~napari_medlab.images.Image.oriented` turns them.
    modality : str
        Volumes of CT have lungs, and those of unknown modality are looked through for them.
    stop : callable, optional
        Called before each tile is decoded; it raises where nobody wants the answer any more.
    """
    if image.kind == "volume" and modality in ("CT", "") and image.grid.unit == "mm":
        coarse = reduced(image, LUNG_STEP_MM, stop)
        mask = _lungs(coarse.pixels, coarse.spacing)
    elif image.kind == "mammogram":
        coarse = reduced(image, _step(image, MAMMOGRAM_SIDE), stop)
        mask = _breast(single_channel(coarse.pixels, 2), is_inverted=image.is_inverted)
    elif image.kind == "slide":
        coarse = reduced(image, _step(image, SLIDE_SIDE), stop)
        mask = _tissue(coarse.pixels)
    else:
        return None
    return None if mask is None else OrganEdge(coarse, mask)


def _step(image: Image, side: int) -> float:
    spacing = np.asarray(image.grid.spacing)
    return float(max(np.asarray(image.grid.shape) * spacing) / side)


def _lungs(hu: NDArray[np.float32], spacing: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Return the lungs with the vessels and lesions in them: air that the body encloses, its gaps closed."""
    from scipy import ndimage

    labels, count = ndimage.label(hu < AIR_HU)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * np.prod(spacing)
    sizes[0] = 0
    for border in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        sizes[np.unique(border)] = 0
    if sizes.max() < LEAST_LUNG_MM3:
        return None
    lungs = (sizes >= 0.1 * sizes.max())[labels]
    return _without_holes(_closed(lungs, LARGEST_GAP_MM / spacing))


def _breast(grey: NDArray[np.float32], *, is_inverted: bool) -> NDArray[np.bool_] | None:
    shown = -grey if is_inverted else grey
    low, high = np.percentile(shown, (1, 99))
    if high <= low:
        return None
    # on a logarithmic scale the skin is far from air, however bright the dense tissue is
    return _largest(_above_otsu(np.log(np.clip(shown - low, 0, None) + 0.02 * (high - low))))


def _tissue(pixels: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    if pixels.ndim == 3 and pixels.shape[-1] >= 3:
        red_green_blue = pixels[..., :3]
        most = red_green_blue.max(axis=-1)
        stained = (most - red_green_blue.min(axis=-1)) / np.maximum(most, 1.0)
    else:
        stained = -single_channel(pixels, 2)
    if np.ptp(stained) == 0:
        return None
    return _pieces(_closed(_above_otsu(stained), np.asarray([2.0, 2.0])))


def _above_otsu(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    from skimage.filters import threshold_otsu

    above: NDArray[np.bool_] = values > threshold_otsu(values)
    return above


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return None
    sizes = np.bincount(labels.ravel())
    return _without_holes(labels == 1 + int(sizes[1:].argmax()))


def _pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    from scipy import ndimage

    labels, _ = ndimage.label(mask)
    keep = np.bincount(labels.ravel()) >= LEAST_SHARE * mask.size
    keep[0] = False
    return _without_holes(keep[labels]) if keep.any() else None


def _closed(mask: NDArray[np.bool_], half_widths: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Close gaps by a box of the given half widths in pixels; the image goes on as it is beyond its borders."""
    from scipy import ndimage

    widths = [2 * max(1, round(float(half))) + 1 for half in half_widths]
    padded = np.pad(mask.astype(np.uint8), [(n, n) for n in widths], mode="edge")
    closed = ndimage.minimum_filter(ndimage.maximum_filter(padded, widths), widths)
    inner = tuple(slice(n, -n) for n in widths)
    return np.asarray(closed[inner] > 0)


def _without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what the mask encloses; what reaches the border of the image is no hole."""
    from scipy import ndimage

    labels, count = ndimage.label(~mask)
    open_ = np.zeros(count + 1, np.bool_)
    for axis in range(mask.ndim):
        for end in (0, -1):
            open_[np.unique(labels.take(end, axis=axis))] = True
    open_[0] = False
    return np.asarray(~open_[labels])


def _faces(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the middle of each face between a pixel inside and one outside, as coarse indices (n, d)."""
    faces = []
    for axis in range(mask.ndim):
        low = np.argwhere(np.diff(mask, axis=axis)).astype(np.float64)
        low[:, axis] += 0.5
        faces.append(low)
    return np.concatenate(faces)
