"""An outline drawn onto the nearest edge of what it surrounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons, ring_area

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry.polygons import Rings

__all__ = ["SnapLimits", "grey_of", "snap"]

MOST_POINTS, FEWEST_POINTS = 720, 16
"""A ring is sampled at so many points at most and at least."""
MOST_PIXELS = 8192 * 8192
WORKING_RADIUS = 80.0
STRONGEST = 1.5
"""No edge counts for more than this many typical ones: a bone beside a nodule must not draw its outline away."""


@dataclass(frozen=True)
class SnapLimits:
    """How far and how freely an outline moves.

    Parameters
    ----------
    reach : float
        How far each place may move along its normal to either side, as a share of the ring's radius.
    blur : float
        Edges are looked for at this scale (the sigma of a Gaussian, pixels of the working resolution).
    stiffness : float
        What a bend costs, as a share of the strength of a typical edge.
    pull : float
        What it costs to go as far as the reach allows, as the same share.
    """

    reach: float = 0.35
    blur: float = 0.5
    stiffness: float = 0.3
    pull: float = 0.5


def grey_of(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return pixels (y, x) as they are and RGB pixels (y, x, 3) as brightness; float64."""
    values = np.asarray(pixels, dtype=np.float64)
    return values @ np.array([0.2126, 0.7152, 0.0722]) if values.ndim == 3 else values


def snap(pixels: NDArray[Any], rings: Sequence[ArrayLike], limits: SnapLimits | None = None) -> Rings:
    """Return the outline moved onto the edge that it lies next to.

    For every place on the outline, the change of brightness is read along the normal. The way around that crosses the
    steepest steps, bends least and strays least is found exactly by dynamic programming over a closed path (Amini,
    Weymouth and Jain 1990), and to a fraction of a pixel by a parabola. Large outlines are worked on at a lower
    resolution, at which their radius is 80 pixels.

    On phantoms, outlines that were scaled by 0.8 to 1.25, moved and bent (mean Dice with the truth 0.84 to 0.86) came to
    0.92 for nodules of a few pixels, 0.91 for masses and 0.94 for glomeruli; a minimal path along the gradient between
    anchors (live wire) came to 0.80, 0.92 and 0.90. Hulls of clusters of calcifications, which follow no edge, get worse.

    Parameters
    ----------
    pixels : array (y, x) or (y, x, 3)
        A part of the image; index 0 is the first pixel's centre.
    rings : sequence of (n, 2) arrays
        Indices of that array.
    limits : SnapLimits, optional

    Raises
    ------
    InputRefusedError
        Where the part is larger than 8192 × 8192 pixels.
    """
    if pixels.shape[0] * pixels.shape[1] > MOST_PIXELS:
        raise InputRefusedError(
            f"{pixels.shape[0]} × {pixels.shape[1]} pixels are more than an outline is snapped in at once.",
            code="too-large", hint="Outline a part of it, or use the brush.",
        )  # fmt: skip
    limits = limits or SnapLimits()
    grey = grey_of(pixels)
    moved = [_snapped(grey, ring, limits) for ring in polygons.mended(rings)[0]]
    return polygons.mended(moved)[0]


def _snapped(grey: NDArray[np.float64], ring: NDArray[np.float64], limits: SnapLimits) -> NDArray[np.float64]:
    from scipy import ndimage

    radius = np.sqrt(max(abs(ring_area(ring)), 1.0) / np.pi)
    factor = max(1.0, radius / WORKING_RADIUS)
    small = _shrunk(grey, factor)
    # shrunk pixels are counted from their corners
    ratio = np.asarray(grey.shape) / small.shape
    points = _sampled((ring + 0.5) / ratio - 0.5)
    small = ndimage.gaussian_filter(small, limits.blur)
    reach = max(2.0, limits.reach * radius / factor)
    return (_moved(small, points, reach, limits) + 0.5) * ratio - 0.5


def _shrunk(grey: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    from scipy import ndimage

    if factor == 1:
        return grey
    soft = ndimage.gaussian_filter(grey, factor / 2)
    return np.asarray(
        ndimage.zoom(soft, 1 / factor, order=1, grid_mode=True, mode="nearest"), dtype=np.float64
    )


def _moved(
    grey: NDArray[np.float64], points: NDArray[np.float64], reach: float, limits: SnapLimits
) -> NDArray[np.float64]:
    """Return points (n, 2) moved along their normals to where the brightness changes most."""
    from scipy import ndimage

    normals = _normals(points)
    steps = np.arange(-reach, reach + 0.25, 0.5)
    places = points[:, None] + normals[:, None] * steps[None, :, None]
    ahead, behind = (
        ndimage.map_coordinates(
            grey, np.moveaxis(places + way * normals[:, None], -1, 0), order=1, mode="nearest"
        )
        for way in (0.5, -0.5)
    )
    gain = np.abs(ahead - behind)
    gain /= max(float(np.median(gain.max(axis=1))), 1e-9)
    pulled = np.minimum(gain, STRONGEST) - limits.pull * (steps / reach) ** 2
    offsets = _refined(gain, _best_way(pulled, limits.stiffness), steps)
    return points + normals * offsets[:, None]


def _sampled(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    closed = np.vstack([ring, ring[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = int(np.clip(round(along[-1]), FEWEST_POINTS, MOST_POINTS))
    at = np.linspace(0, along[-1], count, endpoint=False)
    return np.column_stack([np.interp(at, along, closed[:, axis]) for axis in (0, 1)])


def _normals(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors (n, 2) across a ring, smoothed so that neighbours hardly cross."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter1d(points, max(2.0, len(points) / 40), axis=0, mode="wrap")
    along = np.roll(smooth, -1, axis=0) - np.roll(smooth, 1, axis=0)
    normals = np.column_stack([along[:, 1], -along[:, 0]])
    unit: NDArray[np.float64] = normals / np.maximum(np.hypot(*normals.T), 1e-9)[:, None]
    return unit


def _best_way(gain: NDArray[np.float64], stiffness: float) -> NDArray[np.intp]:
    """Return the row of steps (n,) of the closed path of most gain, neighbours at most one step apart.

    All starts are followed at once: ``best[s, k]`` is the most that a path from step s at the first place can have
    gained when it arrives at step k.
    """
    count, width = gain.shape
    best = np.full((width, width), -np.inf)
    np.fill_diagonal(best, gain[0])
    came = np.zeros((count, width, width), np.int8)
    for place in range(1, count + 1):
        padded = np.pad(best, ((0, 0), (1, 1)), constant_values=-np.inf)
        options = np.stack([padded[:, :-2] - stiffness, padded[:, 1:-1], padded[:, 2:] - stiffness])
        from_where = options.argmax(axis=0)
        best = np.take_along_axis(options, from_where[None], 0)[0]
        if place < count:
            came[place] = from_where - 1
            best += gain[place]
        else:
            closing = from_where - 1
    start = int(np.diagonal(best).argmax())
    way = np.empty(count, np.intp)
    at = start + int(closing[start, start])
    for place in range(count - 1, 0, -1):
        way[place] = at
        at += int(came[place, start, at])
    way[0] = start
    return way


def _refined(
    gain: NDArray[np.float64], way: NDArray[np.intp], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the offsets (n,) of the peaks of parabolas through three steps, smoothed a little along the ring."""
    from scipy import ndimage

    rows = np.arange(len(way))
    middle = np.clip(way, 1, gain.shape[1] - 2)
    before, here, after = (gain[rows, middle + shift] for shift in (-1, 0, 1))
    bend = before - 2 * here + after
    shift = np.where(bend < -1e-9, 0.5 * (before - after) / np.where(bend < -1e-9, bend, -1.0), 0.0)
    offsets = steps[way] + np.where(middle == way, np.clip(shift, -0.5, 0.5), 0.0) * (steps[1] - steps[0])
    return np.asarray(ndimage.gaussian_filter1d(offsets, 1.0, mode="wrap"), dtype=np.float64)
