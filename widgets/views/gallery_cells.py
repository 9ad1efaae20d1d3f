"""One cell of a gallery: the planes of a crop, a ring around the object, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRect, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen

from napari_medlab.widgets.palette import MARKS

if TYPE_CHECKING:
    from qtpy.QtGui import QFontMetrics

    from napari_medlab.widgets.views.crop_store import Crop

__all__ = ["CellLook", "CellText", "paint_cell", "size_of_cell"]

MARGIN, PADDING, GAP = 3, 4, 2
LINES = 2
DARK, FRAME = QColor(24, 24, 24), QColor(0, 0, 0, 190)
LEAST_RADIUS = 4.0
CORNER = 3.0


@dataclass(frozen=True)
class CellText:
    """What a cell says.

    Parameters
    ----------
    kind : str
        A key of :data:`~napari_medlab.widgets.palette.MARKS`.
    headline : str
        Such as a score, or ``"missed"``.
    title : str
        The name of the case; shortened where it does not fit.
    size : str
        Of the object, with unit; empty where it is unknown.
    verdict : str
        Empty where there is none yet.
    tip : str
        Shown while the mouse rests on the cell; plain text.
    """

    kind: str
    headline: str
    title: str
    size: str = ""
    verdict: str = ""
    tip: str = ""


@dataclass(frozen=True)
class CellLook:
    """How cells are drawn.

    Parameters
    ----------
    side : int
        Of the first plane, in pixels.
    planes : int
        For how many planes there is room: 3 where there are volumes, else 1.
    has_rings : bool
    palette : QPalette
    """

    side: int
    planes: int
    has_rings: bool
    palette: QPalette


def size_of_cell(look: CellLook, metrics: QFontMetrics) -> QSize:
    """Return how large a cell is, with the space around it."""
    extra = 2 * (MARGIN + PADDING)
    small = GAP + look.side // 2 if look.planes > 1 else 0
    return QSize(look.side + small + extra, look.side + LINES * metrics.height() + GAP + extra)


def paint_cell(
    painter: QPainter,
    rect: QRect,
    look: CellLook,
    text: CellText,
    crop: Crop | str | None,
    state: tuple[bool, bool],
) -> None:
    """Draw one cell.

    Parameters
    ----------
    painter : QPainter
    rect : QRect
        As large as :func:`size_of_cell` says.
    look : CellLook
    text : CellText
    crop : Crop, str or None
        The pictures; why there are none; None where they are not read yet.
    state : (is_chosen, is_current)
    """
    body = rect.adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)
    is_chosen, is_current = state
    if is_chosen:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(look.palette.highlight())
        painter.drawRoundedRect(body, CORNER, CORNER)
    inner = body.adjusted(PADDING, PADDING, -PADDING, -PADDING)
    picture = QRect(inner.left(), inner.top(), inner.width(), look.side)
    if crop is None or isinstance(crop, str):
        _paint_placeholder(painter, picture, crop)
    else:
        _paint_planes(painter, picture, look, crop, MARKS[text.kind].colour)
    _paint_badge(painter, picture, text)
    role = QPalette.ColorRole.HighlightedText if is_chosen else QPalette.ColorRole.WindowText
    painter.setPen(look.palette.color(role))
    _paint_text(painter, inner.adjusted(0, look.side + GAP, 0, 0), text)
    if is_current:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(look.palette.color(QPalette.ColorRole.WindowText), 2))
        painter.drawRoundedRect(body, CORNER, CORNER)


def _paint_planes(painter: QPainter, area: QRect, look: CellLook, crop: Crop, colour: str) -> None:
    source = crop.side_px
    for number, place in enumerate(_places(area, look, crop.planes)):
        painter.drawImage(place, crop.strip, QRectF(0, number * source, source, source))
        if look.has_rings:
            _paint_ring(painter, place, crop.radius_px * place.width() / source, colour)


def _places(area: QRect, look: CellLook, planes: int) -> list[QRectF]:
    """Return where planes go: the first large, the two others one below the other beside it; one alone in the middle."""
    left, top, side = float(area.left()), float(area.top()), float(look.side)
    if planes == 1:
        return [QRectF(left + (area.width() - side) / 2, top, side, side)]
    small = float(look.side // 2)
    beside = left + side + GAP
    return [
        QRectF(left, top, side, side),
        QRectF(beside, top, small, small - GAP / 2),
        QRectF(beside, top + side - small + GAP / 2, small, small - GAP / 2),
    ]


def _paint_ring(painter: QPainter, place: QRectF, radius: float, colour: str) -> None:
    """Draw a ring around the object; where its size is unknown, four ticks around its place."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    centre = place.center()
    painter.save()
    painter.setClipRect(place)
    for pen in (QPen(FRAME, 3.0), QPen(QColor(colour), 1.4)):
        painter.setPen(pen)
        if radius > 0:
            around = max(radius + 2, LEAST_RADIUS)
            painter.drawEllipse(centre, around, around)
        else:
            near, far = place.width() * 0.12, place.width() * 0.2
            for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                painter.drawLine(centre + QPointF(x * near, y * near), centre + QPointF(x * far, y * far))
    painter.restore()


def _paint_placeholder(painter: QPainter, area: QRect, reason: str | None) -> None:
    painter.fillRect(area, DARK)
    painter.setPen(QColor(Qt.GlobalColor.lightGray))
    if reason is None:
        painter.drawText(area, int(Qt.AlignmentFlag.AlignCenter), "…")
        return
    below = area.adjusted(PADDING, 5 * PADDING, -PADDING, -PADDING)
    flags = int(Qt.AlignmentFlag.AlignCenter) | int(Qt.TextFlag.TextWordWrap)
    painter.drawText(below, flags, f"⚠ cannot be read\n{reason}")


def _paint_badge(painter: QPainter, area: QRect, text: CellText) -> None:
    """Write sign and headline onto the picture, where any colour is seen on dark ground; a tick where it is judged."""
    mark, metrics = MARKS[text.kind], painter.fontMetrics()
    sign = metrics.horizontalAdvance(f"{mark.sign} ")
    box = QRect(
        area.left(), area.top(), sign + metrics.horizontalAdvance(text.headline) + 8, metrics.height() + 2
    )
    painter.fillRect(box, FRAME)
    painter.setPen(QColor(mark.colour))
    painter.drawText(box.adjusted(4, 0, 0, 0), _LEFT, mark.sign)
    painter.setPen(QColor(Qt.GlobalColor.white))
    painter.drawText(box.adjusted(4 + sign, 0, 0, 0), _LEFT, text.headline)
    if text.verdict:
        tick = QRect(
            area.right() - metrics.height() - 3, area.top(), metrics.height() + 4, metrics.height() + 2
        )
        painter.fillRect(tick, FRAME)
        painter.drawText(tick, int(Qt.AlignmentFlag.AlignCenter), "✓")


def _paint_text(painter: QPainter, area: QRect, text: CellText) -> None:
    metrics = painter.fontMetrics()
    line = metrics.height()
    title = metrics.elidedText(text.title, Qt.TextElideMode.ElideMiddle, area.width())
    painter.drawText(QRect(area.left(), area.top(), area.width(), line), _LEFT, title)
    below = QRect(area.left(), area.top() + line, area.width(), line)
    painter.drawText(below, _LEFT, text.size)
    if text.verdict:
        taken = metrics.horizontalAdvance(f"{text.size}  ")
        room = metrics.elidedText(text.verdict, Qt.TextElideMode.ElideRight, area.width() - taken)
        painter.drawText(below, _RIGHT, room)


_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
