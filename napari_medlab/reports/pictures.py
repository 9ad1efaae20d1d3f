"""Pictures of lesions for pages: what lies around a place, with the outlines of several sides drawn over it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import index_at_level, level_factors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

    from napari_medlab.images import Image

__all__ = ["OUTLINE_COLOURS", "SIDES", "picture_of"]

SIDES = {"mm": 50.0, "um": 400.0, "px": 160.0}
"""How much of an image a picture shows at least, by the unit of the image."""
AROUND = 2.5
"""A picture shows so many diameters of a lesion, where that is more."""
OUTLINE_COLOURS = {"reference": "#009E73", "before": "#56B4E9", "after": "#E69F00"}
"""Okabe and Ito's green, sky blue and orange: told apart by colour-blind people, on black and on stained tissue."""
PADDING = 64
"""The grey of what lies outside the image."""
TICK = 7
PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class _Crop:
    """Where a picture lies: the level, the pixel in its middle, and how many of the level's pixels one of its own is."""

    level: int
    factor: tuple[float, ...]
    middle: NDArray[np.float64]
    step: NDArray[np.float64]


def picture_of(
    image: Image,
    centre: Sequence[float],
    diameter: float,
    rings: Mapping[str, Sequence[NDArray[np.float64]]],
    size_px: int = 200,
) -> bytes:
    """Return a square picture of a place as a PNG file; nothing is read but what it shows.

    Of a volume it is the axial slice through the place. Ticks on its edges point at the place in the middle.

    Parameters
    ----------
    image : Image
        Any kind; what has other channels than red, green and blue is shown as the mean of them.
    centre : (x, y, z) or (x, y)
        In world coordinates.
    diameter : float
        Of the lesion, in the unit of the image; -1 where unknown.
    rings : mapping of side to rings
        Array indices of the image as stored, by the names in :data:`OUTLINE_COLOURS`.
    size_px : int
        Width and height.
    """
    shown = image.oriented()
    ndim = shown.grid.ndim
    place = shown.grid.to_index(np.asarray(centre, dtype=np.float64)[:ndim])
    crop = _crop(shown, place, max(SIDES[shown.grid.unit], AROUND * diameter) / size_px)
    pixels = _pixels(shown, place, crop, size_px)
    picture = _resized(pixels, size_px)
    for side, of_side in rings.items():
        drawn = [_in_picture(image, shown, ring, place, crop, size_px) for ring in of_side]
        _draw(picture, [ring for ring in drawn if len(ring) > 1], OUTLINE_COLOURS[side])
    _draw_ticks(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _crop(image: Image, place: NDArray[np.float64], pixel: float) -> _Crop:
    """Return where a picture with pixels of this size (the unit of the grid) lies, on the coarsest level fine enough."""
    shapes = [array.shape[: image.grid.ndim] for array in image.arrays]
    factors = [factor[-2:] for factor in level_factors(shapes)]
    steps = pixel / np.asarray(image.grid.spacing[-2:])
    fitting = [n for n, factor in enumerate(factors) if max(factor) <= float(steps.min()) * (1 + 1e-6)]
    level = max(fitting, default=0) if image.grid.ndim == 2 else 0
    factor = factors[level]
    return _Crop(level, factor, index_at_level(place[-2:], factor), steps / np.asarray(factor))


def _pixels(image: Image, place: NDArray[np.float64], crop: _Crop, size_px: int) -> NDArray[np.uint8]:
    """Return the box that a picture shows in the pixels of its level, grey or RGB."""
    array = image.arrays[crop.level]
    planes: tuple[Any, ...] = ()
    if image.grid.ndim == 3:
        planes = (int(np.clip(round(float(place[0])), 0, array.shape[0] - 1)),)
    low = np.floor(crop.middle - crop.step * size_px / 2 + 0.5).astype(int)
    high = np.maximum(np.ceil(crop.middle + crop.step * size_px / 2 + 0.5).astype(int), low + 1)
    size = np.asarray(array.shape[len(planes) : len(planes) + 2])
    first, last = np.clip(low, 0, size), np.clip(high, 0, size)
    box = tuple(slice(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True))
    inside = np.asarray(array[(*planes, *box)])
    toned = _toned(image, inside)
    whole = np.full((*(high - low).tolist(), *toned.shape[2:]), PADDING, dtype=np.uint8)
    start = first - low
    whole[start[0] : start[0] + toned.shape[0], start[1] : start[1] + toned.shape[1]] = toned
    return whole


def _toned(image: Image, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixel values as the reader sees them: in the image's own window where it has one."""
    if image.is_rgb:
        top = float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else 1.0
        return _as_bytes(pixels[..., :3].astype(np.float32) / top)
    values = pixels.astype(np.float32)
    if values.ndim == 3:
        values = values.mean(axis=-1)
    window = next(iter(image.windows), None)
    if window is not None:
        low, high = window.low, window.high
    else:
        known = values[np.isfinite(values)]
        low, high = np.percentile(known, PERCENTILES).tolist() if known.size else (0.0, 1.0)
    share = np.clip(np.nan_to_num((values - low) / max(high - low, 1e-6)), 0, 1)
    if window is not None and window.curve:
        share = np.interp(share, np.linspace(0, 1, len(window.curve)), window.curve)
    return _as_bytes(1 - share if image.is_inverted else share)


def _as_bytes(share: NDArray[Any]) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = (np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def _resized(pixels: NDArray[np.uint8], size_px: int) -> Picture:
    from PIL import Image as Pictures

    return Pictures.fromarray(pixels).convert("RGB").resize((size_px, size_px), Pictures.Resampling.BICUBIC)


def _in_picture(
    image: Image,
    shown: Image,
    ring: NDArray[np.float64],
    place: NDArray[np.float64],
    crop: _Crop,
    size_px: int,
) -> list[tuple[float, float]]:
    """Return a ring as (x, y) pixels of the picture; empty where it lies on another slice."""
    at = ring if shown is image else shown.grid.to_index(image.grid.to_world(ring))
    if at.shape[1] == 3 and round(float(at[0, 0])) != round(float(place[0])):
        return []
    within = (index_at_level(at[:, -2:], crop.factor) - crop.middle) / crop.step + size_px / 2
    return [(float(x), float(y)) for y, x in within]


def _draw(picture: Picture, rings: Sequence[list[tuple[float, float]]], colour: str) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    for ring in rings:
        draw.line([*ring, ring[0]], fill=colour, width=2, joint="curve")


def _draw_ticks(picture: Picture) -> None:
    """Draw a tick in the middle of each edge."""
    from PIL import ImageDraw

    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    x, y = width // 2, height // 2
    for ends in (
        (x, 0, x, TICK),
        (x, height - 1 - TICK, x, height - 1),
        (0, y, TICK, y),
        (width - 1 - TICK, y, width - 1, y),
    ):
        draw.line(ends, fill="white", width=1)
