"""A map of many points, to look for groups in: hover to see what a point is, draw around points to choose them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.views.qimages import pixels_of
from napari_medlab.widgets.views.scatter_marks import draw_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from qtpy.QtCore import QEvent
    from qtpy.QtGui import QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent, QWheelEvent

__all__ = ["ScatterView"]

MARK_PX, SMALL_MARK_PX, MANY = 11, 7, 5_000
"""Marks are this large, and smaller where there are many of them."""
REACH_PX = 8.0
"""A point is meant where the mouse is no farther from it than this."""
MARGIN_PX = 14
ZOOM, MOST_ZOOM = 1.2, 200.0
STEP_PX = 3.0
FADED = 0.3
"""How much of the others is seen where some points are chosen."""


class ScatterView(QWidget):
    """Draws points by kind, in the colours and shapes of :data:`~napari_medlab.widgets.palette.MARKS`.

    The wheel zooms, dragging with the right or middle button moves the map, a double click shows all of it again.
    Dragging with the left button draws a lasso; with Shift it adds to what is chosen. Esc chooses nothing.

    Signals
    -------
    pointChosen(int)
        A point was clicked.
    lassoed(list)
        The points that are chosen now, in order; empty where the reader let go of them.
    """

    pointChosen = Signal(int)
    lassoed = Signal(list)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._points: NDArray[np.float64] = np.zeros((0, 2))
        self._kinds: NDArray[np.int64] = np.zeros(0, np.int64)
        self._names: tuple[str, ...] = ()
        self._describe: Callable[[int], str] = lambda _: ""
        self._caption = ""
        self._zoom, self._middle = 1.0, np.array([0.5, 0.5])
        self._picture: QImage | None = None
        self._legend_lines = 1
        self._chosen: NDArray[np.int64] = np.zeros(0, np.int64)
        self._current, self._hovered = -1, -1
        self._lasso: list[QPointF] = []
        self._moved_from: QPointF | None = None
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 100)
        self.setAccessibleName("Map of errors")

    def sizeHint(self) -> QSize:  # noqa: N802 - a name of Qt
        """Return a size at which groups can be told apart."""
        return QSize(420, 360)

    def set_points(
        self, points: ArrayLike, kinds: Sequence[str], describe: Callable[[int], str], *, caption: str = ""
    ) -> None:
        """Show other points, all of them.

        Parameters
        ----------
        points : (n, 2) float array
            Any coordinates; both axes are drawn at one scale. Points that are not finite are not drawn.
        kinds : sequence of n str
            Keys of :data:`~napari_medlab.widgets.palette.MARKS`.
        describe : callable
            Returns what a point is, as plain text.
        caption : str
            What the map shows, in its corner.
        """
        self._points = _to_unit_square(np.asarray(points, dtype=np.float64).reshape(-1, 2))
        self._names = tuple(name for name in MARKS if name in set(kinds))
        place = {name: number for number, name in enumerate(self._names)}
        self._kinds = np.fromiter((place[kind] for kind in kinds), np.int64, len(kinds))
        self._describe, self._caption = describe, caption
        self._chosen, self._current, self._hovered = np.zeros(0, np.int64), -1, -1
        self.show_all()

    def select(self, rows: Iterable[int], current: int = -1) -> None:
        """Mark points as chosen, and one as the current one, without telling listeners."""
        chosen = np.unique(np.fromiter(rows, np.int64))
        if not np.array_equal(chosen, self._chosen):
            self._chosen, self._picture = chosen, None
        self._current = current
        self.update()

    def selected(self) -> list[int]:
        """Return the chosen points in order."""
        return self._chosen.tolist()

    def show_all(self) -> None:
        """Zoom so that all points are in sight."""
        self._zoom, self._middle = 1.0, np.array([0.5, 0.5])
        self._arrange()

    def place_of(self, row: int) -> QPointF:
        """Return where a point lies in the widget."""
        x, y = self._places(self._points[row : row + 1])[0]
        return QPointF(float(x), float(y))

    def point_at(self, place: QPointF) -> int:
        """Return the point nearest to a place of the widget, or -1 where none is near."""
        if not len(self._points):
            return -1
        distance = np.hypot(*(self._places(self._points) - (place.x(), place.y())).T)
        nearest = int(np.nanargmin(distance)) if np.isfinite(distance).any() else 0
        return nearest if distance[nearest] <= REACH_PX else -1

    def _arrange(self) -> None:
        self._legend_lines = max((line for _, line, _ in self._legend()), default=0) + 1
        self._redraw()

    def _area(self) -> QRectF:
        top = self.fontMetrics().height() + MARGIN_PX
        return QRectF(
            MARGIN_PX, top, max(self.width() - 2 * MARGIN_PX, 10), max(self.height() - top - MARGIN_PX, 10)
        )

    def _scale(self) -> float:
        area = self._area()
        return min(area.width(), area.height()) * self._zoom

    def _places(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points of the unit square lie in the widget; up is up."""
        centre = self._area().center()
        away = (points - self._middle) * self._scale()
        return np.column_stack([centre.x() + away[:, 0], centre.y() - away[:, 1]])

    def _redraw(self) -> None:
        self._picture = None
        self.update()

    def _drawn(self) -> QImage:
        """Return all points as one picture, drawn once for as long as nothing moves."""
        if self._picture is not None:
            return self._picture
        ratio = self.devicePixelRatioF()
        size = max(1, round(self.height() * ratio)), max(1, round(self.width() * ratio))
        side = round((MARK_PX if len(self._points) < MANY else SMALL_MARK_PX) * ratio) | 1
        is_drawn = np.isfinite(self._points).all(axis=1)
        is_chosen = np.zeros(len(self._points), bool)
        is_chosen[self._chosen] = True
        pixels = np.zeros((*size, 4), np.uint8)
        for rows in (np.flatnonzero(is_drawn & ~is_chosen), np.flatnonzero(is_drawn & is_chosen)):
            places = np.clip(np.rint(self._places(self._points[rows]) * ratio), -1e6, 1e6).astype(np.int64)
            layer = draw_marks(places, self._kinds[rows], self._names, size, side)
            share = 1 - layer[..., 3:].astype(np.float32) / 255
            below = pixels * FADED if is_chosen.any() else pixels
            pixels = (layer + below * share).astype(np.uint8)
        image = QImage(
            pixels.data, size[1], size[0], 4 * size[1], QImage.Format.Format_ARGB32_Premultiplied
        ).copy()
        image.setDevicePixelRatio(ratio)
        self._picture = image
        return image

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw the points, the one under the mouse, the lasso, and what the kinds are."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.palette().color(QPalette.ColorRole.Base))
        painter.drawImage(0, 0, self._drawn())
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        for row, radius, width in ((self._hovered, 7.0, 1.5), (self._current, 9.0, 2.5)):
            if 0 <= row < len(self._points):
                painter.setPen(QPen(text, width))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawEllipse(self.place_of(row), radius, radius)
        if len(self._lasso) > 1:
            faint = QColor(text)
            faint.setAlpha(40)
            painter.setPen(QPen(text, 1.2, Qt.PenStyle.DashLine))
            painter.setBrush(faint)
            painter.drawPolygon(QPolygonF(self._lasso))
        self._paint_legend(painter, text)
        painter.end()

    def _legend(self) -> list[tuple[int, int, str]]:
        """Return where the name of each kind is written, from left to right and then down: x, line and the words."""
        metrics, room = self.fontMetrics(), self.width() - MARGIN_PX
        entries: list[tuple[int, int, str]] = []
        left, line = MARGIN_PX, 0
        counts = np.bincount(self._kinds, minlength=len(self._names)).tolist()
        for name, count in zip(self._names, counts, strict=True):
            words = f"{MARKS[name].sign} {MARKS[name].title} ({count:,})"
            width = metrics.horizontalAdvance(words)
            if left > MARGIN_PX and left + width > room:
                left, line = MARGIN_PX, line + 1
            entries.append((left, line, words))
            left += width + MARGIN_PX
        return entries

    def _paint_legend(self, painter: QPainter, text: QColor) -> None:
        metrics = self.fontMetrics()
        for name, (left, line, words) in zip(self._names, self._legend(), strict=True):
            place = QPointF(left, 4 + metrics.ascent() + line * metrics.height())
            sign = MARKS[name].sign
            painter.setPen(QColor(MARKS[name].colour))
            painter.drawText(place, sign)
            painter.setPen(text)
            painter.drawText(place + QPointF(metrics.horizontalAdvance(sign), 0), words.removeprefix(sign))
        painter.setPen(text)
        chosen = f"{len(self._chosen):,} chosen" if len(self._chosen) else ""
        words = " · ".join(part for part in (self._caption, chosen) if part)
        painter.drawText(MARGIN_PX, self.height() - metrics.descent() - 3, words)
        if not len(self._points):
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), "Nothing to show.")

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw anew."""
        super().resizeEvent(event)
        self._arrange()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Begin a lasso, or take hold of the map."""
        if event.button() == Qt.MouseButton.LeftButton:
            self._lasso = [event.position()]
        else:
            self._moved_from = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw the lasso on, move the map, or tell what the point under the mouse is."""
        here = event.position()
        if self._moved_from is not None:
            self._shift(here - self._moved_from)
            self._moved_from = here
        elif self._lasso:
            if (here - self._lasso[-1]).manhattanLength() >= STEP_PX:
                self._lasso.append(here)
                self.update()
        else:
            self._hover(here, event)

    def _hover(self, here: QPointF, event: QMouseEvent) -> None:
        row = self.point_at(here)
        if row == self._hovered:
            return
        self._hovered = row
        self.update()
        QToolTip.showText(event.globalPosition().toPoint(), self._describe(row) if row >= 0 else "", self)

    def _shift(self, by: QPointF) -> None:
        self._middle = self._middle + np.array([-by.x(), by.y()]) / self._scale()
        self._redraw()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Choose what the lasso goes around, or the point that was clicked."""
        lasso, self._lasso, self._moved_from = self._lasso, [], None
        self.update()
        if event.button() != Qt.MouseButton.LeftButton or not lasso:
            return
        if len(lasso) < 3:
            row = self.point_at(event.position())
            if row >= 0:
                self._current = row
                self.pointChosen.emit(row)
            return
        rows = self._within(QPolygonF(lasso))
        is_adding = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        self._choose(np.union1d(rows, self._chosen) if is_adding else rows)

    def _within(self, lasso: QPolygonF) -> NDArray[np.int64]:
        """Return the points in a lasso, to a pixel: it is filled, and points look what lies under them."""
        mask = QImage(self.width(), self.height(), QImage.Format.Format_Grayscale8)
        mask.fill(0)
        painter = QPainter(mask)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(Qt.GlobalColor.white))
        painter.drawPolygon(lasso, Qt.FillRule.WindingFill)
        painter.end()
        filled = pixels_of(mask)
        places = np.nan_to_num(self._places(self._points), nan=-1.0)
        rows = np.flatnonzero(((places >= 0) & (places < (self.width(), self.height()))).all(axis=1))
        x, y = places[rows].astype(np.int64).T
        return rows[filled[y, x] > 0]

    def _choose(self, rows: NDArray[np.int64]) -> None:
        self._chosen = rows
        self._redraw()
        self.lassoed.emit(rows.tolist())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Show all points again."""
        self.show_all()

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802 - a name of Qt
        """Point at nothing."""
        super().leaveEvent(event)
        self._hovered = -1
        self.update()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - a name of Qt
        """Zoom; what is under the mouse stays there."""
        self._zoom_by(ZOOM ** (event.angleDelta().y() / 120), event.position())
        event.accept()

    def _zoom_by(self, factor: float, place: QPointF) -> None:
        centre = self._area().center()
        away = np.array([place.x() - centre.x(), centre.y() - place.y()])
        before = self._middle + away / self._scale()
        self._zoom = float(np.clip(self._zoom * factor, 1 / 4, MOST_ZOOM))
        self._middle = before - away / self._scale()
        self._redraw()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - a name of Qt
        """Esc chooses nothing; plus, minus and 0 zoom; arrows move the map; other keys go on to the window."""
        step = 40.0
        moves = {
            Qt.Key.Key_Left: QPointF(step, 0), Qt.Key.Key_Right: QPointF(-step, 0),
            Qt.Key.Key_Up: QPointF(0, step), Qt.Key.Key_Down: QPointF(0, -step),
        }  # fmt: skip
        key = event.key()
        if key == Qt.Key.Key_Escape and (self._lasso or len(self._chosen)):
            self._lasso = []
            self._choose(np.zeros(0, np.int64))
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal, Qt.Key.Key_Minus):
            self._zoom_by(1 / ZOOM if key == Qt.Key.Key_Minus else ZOOM, self._area().center())
        elif key == Qt.Key.Key_0:
            self.show_all()
        elif (move := moves.get(Qt.Key(key))) is not None:
            self._shift(move)
        else:
            event.ignore()


def _to_unit_square(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points moved and scaled to lie in the unit square, both axes by the same factor."""
    finite = points[np.isfinite(points).all(axis=1)]
    if not len(finite):
        return np.full_like(points, np.nan)
    low, high = finite.min(axis=0), finite.max(axis=0)
    size = float((high - low).max()) or 1.0
    unit: NDArray[np.float64] = (points - (low + high) / 2) / size + 0.5
    return np.where(np.isfinite(points).all(axis=1, keepdims=True), unit, np.nan)
