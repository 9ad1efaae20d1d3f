"""Pictures of lesions for pages: what lies around a place, with the outlines of several sides drawn over it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.images.pictures.crops import crop_planes, is_mirrored

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
TICK = 7


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
        Any kind.
    centre : (x, y, z) or (x, y)
        In world coordinates.
    diameter : float
        Of the lesion, in the unit of the image; -1 where unknown.
    rings : mapping of side to rings
        Array indices of the image as stored, by the names in :data:`OUTLINE_COLOURS`.
    size_px : int
        Width and height.
    """
    from PIL import Image as Pictures

    crop = crop_planes(image, centre, max(SIDES[image.grid.unit], AROUND * diameter), size_px=size_px)
    picture = Pictures.fromarray(crop.planes[0]).convert("RGB")
    for side, of_side in rings.items():
        drawn = [_in_picture(image, ring, centre, crop.pixel_size, size_px) for ring in of_side]
        _draw(picture, [ring for ring in drawn if len(ring) > 1], OUTLINE_COLOURS[side])
    _draw_ticks(picture)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _in_picture(
    image: Image, ring: NDArray[np.float64], centre: Sequence[float], pixel_size: float, size_px: int
) -> list[tuple[float, float]]:
    """Return a ring as (x, y) pixels of the picture; empty where it lies on another slice."""
    stored = image.grid
    shown = stored.reordered(*stored.canonical_axes()) if stored.ndim == 3 else stored
    at = shown.to_index(stored.to_world(ring))
    place = shown.to_index(np.asarray(centre, dtype=np.float64)[: stored.ndim])
    if stored.ndim == 3 and round(float(at[0, 0])) != round(float(place[0])):
        return []
    away = (at[:, -2:] - place[-2:]) * np.asarray(shown.spacing[-2:]) / pixel_size
    if is_mirrored(image):
        away[:, 1] *= -1
    return [(float(x), float(y)) for y, x in away + (size_px - 1) / 2]


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
