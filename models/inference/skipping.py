"""Where an image can hold something: air outside the body, what is not lung, and glass beside the tissue need no look.

Every rule is relative to the image's own background, and errs towards looking: where no background stands out clearly,
nothing is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.models.inference.coarse import Coarse

__all__ = ["Foreground", "body_mask", "breast_mask", "find_foreground", "lung_mask", "tissue_mask"]

BODY_HU, OPEN_AIR_HU = -500.0, -900.0
"""Soft tissue lies above the first; lungs and foam, but not plain air, above the second."""
LEAST_SHARE = 0.1
"""Bodies smaller than this share of the largest are clothes, cushions and cables."""
LEAST_LUNGS = 0.03
"""Where lungs would be a smaller share of the body than this, none are in the image, or they were not understood."""
LUNG_MARGIN_MM = 10.0
"""What lies so near to the lungs is looked at too."""
CONTRAST = (0.02, 0.1)
"""A breast stands out from its background by at least a share of its contrast between these."""
SIGMA_PER_MAD = 1.4826
CLEAR, PALE = 0.5, 0.3
"""Parts of the way from the glass to Otsu's threshold: a glass whose own spread ends below the first is clear, and what lies
above the second may be pale tissue."""


@dataclass(frozen=True, eq=False)
class Foreground:
    """Where something can be, coarsely.

    Parameters
    ----------
    mask : bool array, the axes of the image
        Each value stands for the voxels nearest to it.
    ratio, offset : tuple of float
        Voxel ``i`` of the image lies at ``i * ratio + offset`` on the mask, axis by axis.
    """

    mask: NDArray[np.bool_]
    ratio: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def share(self) -> float:
        """Which part of the image can hold something, 0 … 1."""
        return float(self.mask.mean())

    def along(
        self, axis: int, start: Sequence[int], stop: Sequence[int], edges: NDArray[np.intp]
    ) -> NDArray[np.bool_]:
        """Tell which parts of one axis hold anything, within a box.

        Parameters
        ----------
        axis : int
        start, stop : sequence of int
            The box, in voxels: from ``start`` to ``stop - 1``. That of ``axis`` does not count.
        edges : int array (n + 1,)
            Part ``i`` is the voxels ``edges[i]`` … ``edges[i + 1] - 1``.

        Returns
        -------
        bool array (n,)
        """
        box = [
            slice(*self._span(number, a, b)) for number, (a, b) in enumerate(zip(start, stop, strict=True))
        ]
        box[axis] = slice(None)
        others = tuple(number for number in range(self.mask.ndim) if number != axis)
        counts = np.concatenate([[0], np.cumsum(self.mask[tuple(box)].any(axis=others))])
        low, high = self._span(axis, edges[:-1], edges[1:])
        return np.asarray(counts[high] > counts[low])

    def _span(self, axis: int, start: Any, stop: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a number or an array
        """Return from where to where on the mask the voxels ``start`` … ``stop - 1`` of the image lie."""
        ratio, offset, last = self.ratio[axis], self.offset[axis], self.mask.shape[axis] - 1
        low = np.clip(np.floor(np.asarray(start) * ratio + offset + 0.5), 0, last).astype(np.intp)
        high = np.clip(np.ceil((np.asarray(stop) - 1) * ratio + offset - 0.5), 0, last).astype(np.intp)
        return low, high + 1


def find_foreground(image: Image, coarse: Coarse, grid: Grid, rule: str) -> Foreground | None:
    """Return where an image can hold something, by a rule of its bundle; None where the rule skips nothing.

    Parameters
    ----------
    image : Image
        A volume must be turned to (+S, +P, +L) axes.
    coarse : Coarse
        Its pixels, every few of them.
    grid : Grid
        The lattice of which boxes will be asked for.
    rule : {"none", "air", "lungs", "glass"}
        ``"air"`` keeps bodies of a CT volume, and the breast of a mammogram; ``"lungs"`` keeps the lungs of a CT volume and
        what lies between them; ``"glass"`` keeps the tissue of a slide.
    """
    if rule == "none":
        return None
    if rule == "lungs" and image.kind == "volume":
        mask = lung_mask(coarse.pixels, np.asarray(image.grid.spacing) * coarse.steps)
    elif image.kind == "volume":
        mask = body_mask(coarse.pixels)
    elif rule == "glass" and image.is_rgb:
        mask = tissue_mask(coarse.pixels)
    else:
        mask = breast_mask(_grey(coarse.pixels) * (-1 if image.is_inverted else 1))
    zero, one = (image.grid.to_index(grid.to_world(np.full(grid.ndim, place))) for place in (0.0, 1.0))
    ratio, offset = (one - zero) / coarse.steps, (zero - coarse.first) / coarse.steps
    return Foreground(mask, tuple(ratio.tolist()), tuple(offset.tolist()))


def body_mask(volume: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the bodies in a coarse CT volume: the largest ones above -500 HU, with what they enclose in each slice.

    Lungs that the border of the image cuts open are enclosed by nothing: what is not plain air counts as well, wherever
    it is thicker than the blurred edge of a body.

    Parameters
    ----------
    volume : array (z, y, x), Hounsfield units, z towards the head
    """
    dense, airy = _bodies(volume)
    return _wider(dense | airy)


def lung_mask(volume: NDArray[Any], spacing_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the lungs in a coarse CT volume with what lies between them in each slice, and a margin around.

    Vessels, nodules and consolidations are enclosed by air along rows or columns, so that they are kept. Without lungs, the
    bodies are returned.

    Parameters
    ----------
    volume : array (z, y, x), Hounsfield units, z towards the head
    spacing_mm : (3,) array
        Between its voxels.
    """
    from scipy import ndimage

    dense, airy = _bodies(volume)
    lungs = _largest(airy) & airy
    if lungs.sum() < LEAST_LUNGS * (dense | airy).sum():
        return body_mask(volume)
    for axis in (2, 1):
        lungs = _between(lungs, axis)
    apart = ndimage.distance_transform_edt(~lungs, sampling=spacing_mm)
    return _wider(np.asarray(apart <= LUNG_MARGIN_MM))


def _bodies(volume: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what is dense of the bodies, and the air in them: what they enclose in a slice, or what is not plain air."""
    from scipy import ndimage

    dense = _largest(volume > BODY_HU)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in dense])
    thick = np.ones(tuple(min(3, size) for size in volume.shape), np.bool_)
    airy = ndimage.binary_opening((volume > OPEN_AIR_HU) & ~filled, thick) if volume.size else filled
    return dense, (filled & ~dense) | airy


def _between(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Return a mask with what lies between its first and its last voxel along an axis."""
    begun = np.maximum.accumulate(mask, axis)
    ends = np.flip(np.maximum.accumulate(np.flip(mask, axis), axis), axis)
    return np.asarray(begun & ends)


def breast_mask(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return what stands out from the dark background of a coarse planar image, with what it encloses.

    The background is what the darker part of the image's border shows; its own noise says what stands out.

    Parameters
    ----------
    pixels : array (y, x), high values are dense
    """
    from scipy import ndimage

    values = ndimage.median_filter(np.asarray(pixels, np.float32), 3)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    background, middle = np.percentile(border, (25, 50)).tolist()
    reach = float(np.percentile(values, 99)) - background
    # the step between these two is about the noise of a background that fills most of the border
    stands_out = values > background + np.clip(
        5 * (middle - background), *(share * reach for share in CONTRAST)
    )
    return _wider(ndimage.binary_fill_holes(stands_out))


def tissue_mask(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the tissue of a coarse colour image, with what it encloses.

    Otsu's threshold (1979) on the saturation against the colour of the slide's own glass: how far the colour channel that
    is absorbed most lies below that of the glass, so that grey and black tissue stands out too. The threshold comes down
    to where the glass's own spread ends, or most of the way to the glass, so that pale tissue is kept; without glass that
    stands out, everything is.

    Parameters
    ----------
    pixels : array (y, x, 3 or more), red, green, blue first
    """
    from scipy import ndimage

    rgb = np.asarray(pixels[..., :3], np.float32)
    brightness = rgb.min(axis=-1)
    glass = np.median(rgb[brightness >= np.percentile(brightness, 90)], axis=0)
    absorbed = np.clip(1 - rgb / np.maximum(glass, 1), 0, 1).max(axis=-1)
    threshold = _otsu(absorbed)
    clear = absorbed[absorbed <= threshold]
    middle = float(np.median(clear))
    spread = 6 * SIGMA_PER_MAD * float(np.median(np.abs(clear - middle)))
    way = threshold - middle
    if not clear.size or spread > CLEAR * way + 2 / 255:
        return np.ones(absorbed.shape, np.bool_)
    return _wider(ndimage.binary_fill_holes(absorbed > middle + max(spread, PALE * way)))


def _grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    values = np.asarray(pixels, np.float32)
    return values if values.ndim == 2 else np.asarray(values.max(axis=-1))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected parts of a mask that are not small beside the largest."""
    from scipy import ndimage

    labels, count = ndimage.label(mask)
    if count == 0:
        return np.ones(mask.shape, np.bool_)
    sizes = np.bincount(labels.ravel())[1:]
    kept = np.concatenate([[False], sizes >= LEAST_SHARE * sizes.max()])
    return np.asarray(kept[labels])


def _wider(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with one more pixel all around."""
    from scipy import ndimage

    return np.asarray(ndimage.binary_dilation(mask, np.ones((3,) * mask.ndim, np.bool_)))


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold that parts values in 0 … 1 into two groups with the least spread within (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=256, range=(0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sum_below = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sum_below / below - (sum_below[-1] - sum_below) / above) ** 2
    return float(edges[1:][int(np.nanargmax(between))]) if (below * above).any() else 1.0
