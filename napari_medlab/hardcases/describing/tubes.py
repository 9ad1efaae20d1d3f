"""Vessels around an object: how tube-like its surroundings are, and whether a tube leads away from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tubes", "tubes_around"]

SCALE_PER_RADIUS = 0.3
"""The width (sigma) at which tubes are looked for, as a share of the object's radius."""
LARGEST_SCALE_MM = 1.5
ALPHA, BETA = 0.5, 0.5
"""Frangi's sensitivities to plates and to blobs."""
STRUCTURE = 0.2
"""Frangi's ``c`` as a share of the crop's largest Hessian norm: below his half, as vessels are thinner than the object."""
TOP_SHARE = 0.02
"""A vessel that touches a ball covers about this share of the shell around it."""
TUBE = 0.25
"""Vesselness above which a pixel counts as part of a tube."""


@dataclass(frozen=True)
class Tubes:
    """``vesselness`` is 0 to 1; ``is_attached`` tells whether a tube begins at the object's rim and leads away."""

    vesselness: float
    is_attached: bool


def tubes_around(
    bright: NDArray[np.float32],
    distance: NDArray[np.float64],
    spacing: NDArray[np.float64],
    radii: tuple[float, float],
    unit: str,
) -> Tubes:
    """Return what leads to an object in a crop around it; the object itself does not count.

    Parameters
    ----------
    bright : float32 array (z, y, x) or (y, x), tubes brighter than what is around them
    distance : array of the same shape, from the object's centre
    spacing : (d,)
    radii : (inner, outer)
        Of the object, and of the ball in which tubes are looked for.
    unit : str
        Of ``distance``, ``spacing`` and ``radii``.

    Notes
    -----
    The measure is that of A. F. Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998, at one scale,
    with a share of the largest Hessian norm of the crop for ``c``, so that it does not depend on the range of values.
    """
    radius, outer = radii
    finest = float(spacing.min())
    largest = LARGEST_SCALE_MM if unit == "mm" else np.inf
    scale = float(np.clip(SCALE_PER_RADIUS * radius, finest, max(largest, finest)))
    around = (distance > radius + 0.5 * scale) & (distance <= outer)
    if min(bright.shape) < 3 or not around.any():
        return Tubes(np.nan, False)
    values = np.zeros(bright.shape, np.float32)
    values[around] = _vesselness(_hessian(bright, spacing, scale), around)
    top = max(1, round(TOP_SHARE * int(around.sum())))
    strongest = np.partition(values[around], -top)[-top:]
    rim = radius + 0.5 * scale + finest
    return Tubes(float(strongest.mean()), _leads_away(values, distance, rim, (rim + outer) / 2))


def _hessian(
    bright: NDArray[np.float32], spacing: NDArray[np.float64], scale: float
) -> list[NDArray[np.float32]]:
    """Return second derivatives times the square of the scale: the diagonal, then what is above it."""
    from scipy import ndimage

    sigma = scale / spacing
    smooth = ndimage.gaussian_filter(bright, np.where(sigma < 0.35, 0.0, sigma), mode="nearest", truncate=3.0)
    first = [_slope(smooth, axis, float(step)) for axis, step in enumerate(spacing)]
    dims = bright.ndim
    diagonal = [_slope(first[axis], axis, float(spacing[axis])) for axis in range(dims)]
    mixed = [_slope(first[a], b, float(spacing[b])) for a in range(dims) for b in range(a + 1, dims)]
    return [term * np.float32(scale**2) for term in (*diagonal, *mixed)]


def _slope(values: NDArray[np.float32], axis: int, step: float) -> NDArray[np.float32]:
    """Return central differences along an axis, one-sided at the ends."""
    moved = np.moveaxis(values, axis, 0)
    slope = np.empty_like(moved)
    np.subtract(moved[2:], moved[:-2], out=slope[1:-1])
    slope[0], slope[-1] = 2 * (moved[1] - moved[0]), 2 * (moved[-1] - moved[-2])
    slope *= np.float32(0.5 / step)
    return np.moveaxis(slope, 0, axis)


def _vesselness(hessian: list[NDArray[np.float32]], around: NDArray[np.bool_]) -> NDArray[np.float32]:
    dims = around.ndim
    squares = sum(term**2 for term in hessian[:dims]) + 2 * sum(term**2 for term in hessian[dims:])
    strength = STRUCTURE * float(np.sqrt(np.max(squares)))
    if strength == 0:
        return np.zeros(int(around.sum()), np.float32)
    at = [term[around] for term in hessian]
    structure = 1 - np.exp(-np.asarray(squares)[around] / (2 * strength**2))
    shape = _tube_3d(at) if dims == 3 else _tube_2d(at)
    vesselness: NDArray[np.float32] = (shape * structure).astype(np.float32)
    return vesselness


def _tube_2d(terms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    yy, xx, yx = terms
    mean, spread = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + yx**2)
    across, along = mean - spread, mean + spread
    blob = np.abs(along) / np.maximum(np.abs(across), 1e-9)
    tube: NDArray[np.float32] = np.where((across < 0) & (blob < 1), np.exp(-(blob**2) / (2 * BETA**2)), 0)
    return tube


def _tube_3d(terms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    along, second, third = _eigenvalues(terms)
    # largest first: a bright tube falls off steeply along two axes, and the third matters least
    is_tube = (second < 0) & (np.abs(along) <= -second)
    plate = second / np.minimum(third, -1e-9)
    blob = np.abs(along) / np.maximum(np.sqrt(np.abs(second * third)), 1e-9)
    tube = (1 - np.exp(-(plate**2) / (2 * ALPHA**2))) * np.exp(-(blob**2) / (2 * BETA**2))
    bright: NDArray[np.float32] = np.where(is_tube, tube, 0)
    return bright


def _eigenvalues(terms: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the eigenvalues, (3, n), largest first, of symmetric matrices by the trigonometric solution (Smith, 1961)."""
    zz, yy, xx, zy, zx, yx = terms
    mean = (zz + yy + xx) / 3
    a, b, c = zz - mean, yy - mean, xx - mean
    size = np.sqrt(np.maximum((a**2 + b**2 + c**2 + 2 * (zy**2 + zx**2 + yx**2)) / 6, 1e-18))
    determinant = a * (b * c - yx**2) - zy * (zy * c - yx * zx) + zx * (zy * yx - b * zx)
    angle = np.arccos(np.clip(determinant / (2 * size**3), -1, 1)) / 3
    first = mean + 2 * size * np.cos(angle)
    last = mean + 2 * size * np.cos(angle + 2 * np.pi / 3)
    return np.stack([first, 3 * mean - first - last, last])


def _leads_away(values: NDArray[np.float32], distance: NDArray[np.float64], rim: float, far: float) -> bool:
    """Tell whether tube-like pixels that touch one another lead from the rim of an object to the distance ``far``."""
    from scipy import ndimage

    labels, count = ndimage.label(values > TUBE, np.ones((3,) * values.ndim))
    begins, goes_on = (np.zeros(count + 1, np.bool_) for _ in range(2))
    begins[labels[distance < rim]] = True
    goes_on[labels[distance > far]] = True
    return bool((begins & goes_on)[1:].any())
