"""Tens of thousands of small marks drawn into one picture by numpy: no loop over points."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPolygonF

from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.views.qimages import pixels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["draw_marks", "mark_pixels"]

DOT, DOTTED = "·", "◌"
"""Signs of marks that are drawn as a small disc, and as a ring of dots."""
THIRD = 0.34
POLYGONS: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "diamond": ((0, -1), (1, 0), (0, 1), (-1, 0)),
    "triangle_up": ((0, -1), (1, 0.85), (-1, 0.85)),
    "triangle_down": ((0, 1), (-1, -0.85), (1, -0.85)),
    "cross": (
        (-THIRD, -1), (THIRD, -1), (THIRD, -THIRD), (1, -THIRD), (1, THIRD), (THIRD, THIRD),
        (THIRD, 1), (-THIRD, 1), (-THIRD, THIRD), (-1, THIRD), (-1, -THIRD), (-THIRD, -THIRD),
    ),
    "x": (
        (-1, -0.6), (-0.6, -1), (0, -0.4), (0.6, -1), (1, -0.6), (0.4, 0),
        (1, 0.6), (0.6, 1), (0, 0.4), (-0.6, 1), (-1, 0.6), (-0.4, 0),
    ),
    "hbar": ((-1, -THIRD), (1, -THIRD), (1, THIRD), (-1, THIRD)),
    "star": tuple(
        (radius * math.sin(turn * math.pi / 5), -radius * math.cos(turn * math.pi / 5))
        for turn, radius in enumerate((1.0, 0.45) * 5)
    ),
}  # fmt: skip
"""Corners of the symbols that are not round, from -1 to 1."""
BORDER = QColor(0, 0, 0, 150)


@lru_cache(maxsize=64)
def mark_pixels(kind: str, side: int) -> NDArray[np.uint8]:
    """Return how a kind of match is drawn.

    Parameters
    ----------
    kind : str
        A key of :data:`~napari_medlab.widgets.palette.MARKS`.
    side : int
        Width and height in pixels, odd.

    Returns
    -------
    uint8 array (side, side, 4)
        Blue, green, red and alpha, premultiplied, as Qt keeps them.
    """
    image = QImage(side, side, QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    mark, middle, radius = MARKS[kind], side / 2, side / 2 - 0.8
    colour = QColor(mark.colour)
    if mark.symbol == "ring" or mark.sign == DOTTED:
        line = Qt.PenStyle.DotLine if mark.sign == DOTTED else Qt.PenStyle.SolidLine
        painter.setPen(QPen(colour, max(1.4, side / 6), line))
        radius -= side / 12
    else:
        painter.setPen(QPen(BORDER, 0.8))
        painter.setBrush(colour)
    if mark.sign == DOT:
        radius /= 2
    corners = POLYGONS.get(mark.symbol)
    if corners is None:
        painter.drawEllipse(QPointF(middle, middle), radius, radius)
    else:
        painter.drawPolygon(
            QPolygonF([QPointF(middle + radius * x, middle + radius * y) for x, y in corners])
        )
    painter.end()
    return pixels_of(image)


def draw_marks(
    places: NDArray[np.int64],
    kinds: NDArray[np.int64],
    names: Sequence[str],
    size: tuple[int, int],
    side: int,
) -> NDArray[np.uint8]:
    """Return a picture of marks, later ones over earlier ones.

    Parameters
    ----------
    places : int array (n, 2)
        Where the middle of each mark lies, (x, y) in pixels; those outside are drawn as far as they reach in.
    kinds : int array (n,)
        Indices into ``names``.
    names : sequence of str
        Kinds of match.
    size : (height, width)
    side : int
        Of a mark, odd.

    Returns
    -------
    uint8 array (height, width, 4)
        Blue, green, red and alpha, premultiplied.
    """
    height, width = size
    reach = side // 2
    rows = np.flatnonzero(((places >= -reach) & (places < np.array([width, height]) + reach)).all(axis=1))
    # each pixel remembers the last mark that covers it, and which pixel of that mark it is
    cover = np.full((height + 2 * reach) * (width + 2 * reach), -1, np.int64)
    across = width + 2 * reach
    corners = places[rows, 1] * across + places[rows, 0]
    looks = (
        np.stack([mark_pixels(name, side) for name in names])
        if names
        else np.zeros((1, side, side, 4), np.uint8)
    )
    flat = looks.reshape(len(looks), side * side, 4)
    codes = np.arange(len(rows)) * (side * side)
    for part in np.flatnonzero((flat[..., 3] > 0).any(axis=0)).tolist():
        covers = flat[kinds[rows], part, 3] > 0
        at = corners[covers] + (part // side) * across + part % side
        cover[at] = np.maximum(cover[at], codes[covers] + part)
    cover = cover.reshape(height + 2 * reach, across)[reach : reach + height, reach : reach + width]
    picture = np.zeros((height, width, 4), np.uint8)
    is_covered = cover >= 0
    number, part_of = np.divmod(cover[is_covered], side * side)
    picture[is_covered] = flat[kinds[rows][number], part_of]
    return picture
