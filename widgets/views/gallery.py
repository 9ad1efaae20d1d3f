"""A gallery of errors: pictures of tens of thousands of places, of which only those in sight are read and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QEvent, QPoint, QRect, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QKeySequence, QPainter, QPalette
from qtpy.QtWidgets import (
    QAbstractScrollArea,
    QApplication,
    QToolTip,
    QWidget,
)

from napari_medlab.widgets.views.crop_store import CropRequest
from napari_medlab.widgets.views.gallery_cells import CellLook, CellText, paint_cell, size_of_cell
from napari_medlab.widgets.views.gallery_grid import CellGrid, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qtpy.QtGui import (
        QHelpEvent,
        QKeyEvent,
        QMouseEvent,
        QPaintEvent,
        QResizeEvent,
        QShowEvent,
        QWheelEvent,
    )

    from napari_medlab.widgets.views.crop_store import CropStore

__all__ = ["SIDES", "GalleryView", "Item"]

SIDES = {"S": 88, "M": 128, "L": 200}
"""Usual sizes of cells: the side of the first plane in pixels."""
LEAST_SIDE, MOST_SIDE, ZOOM = 64, 320, 1.15
ASK_MS, BAND_MS = 15, 30
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


class Item(Protocol):
    """What a gallery has to know about a row; :class:`~napari_medlab.hardcases.errors.building.QueueItem` is one."""

    @property
    def case_id(self) -> str:
        """In which case it lies."""
        ...

    @property
    def centre(self) -> tuple[float, ...]:
        """Where it lies, in world coordinates."""
        ...

    @property
    def diameter(self) -> float:
        """In the unit of the centre; -1 where unknown."""
        ...


class GalleryView(QAbstractScrollArea):
    """Cells with crops, to be looked through, chosen and opened.

    Keys that it has no use for go on to the window: digits for verdicts, for instance.

    Signals
    -------
    selectionChanged()
        The reader chose other rows; not sent when the program does.
    currentChanged(int)
        Another row has the focus of the keyboard; not sent when the program moves it.
    opened(int)
        A row was double-clicked, or Enter pressed on it.
    cellSideChanged(int)
        The reader made cells larger or smaller.

    Parameters
    ----------
    store : CropStore
        Where crops come from; it may serve several views.
    """

    selectionChanged = Signal()
    currentChanged = Signal(int)
    opened = Signal(int)
    cellSideChanged = Signal(int)

    def __init__(self, store: CropStore, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._store = store
        self._items: Sequence[Item] = ()
        self._describe: Callable[[int], CellText] = lambda _: CellText("new", "", "")
        self._planes, self._side, self._has_rings = 3, SIDES["M"], True
        self._selection = Selection()
        self._asked: dict[CropRequest, list[int]] = {}
        self._first = 0
        self._band: QRect | None = None
        self._band_from: tuple[QPoint, set[int]] | None = None
        self._ask_timer, self._band_timer = QTimer(self), QTimer(self)
        self._ask_timer.setSingleShot(True)
        self._ask_timer.setInterval(ASK_MS)
        self._ask_timer.timeout.connect(self._ask)
        self._band_timer.setInterval(BAND_MS)
        self._band_timer.timeout.connect(self._scroll_along)
        store.arrived.connect(self._on_arrived)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Gallery of errors")
        self._arrange()

    def set_items(
        self, items: Sequence[Item], describe: Callable[[int], CellText], *, planes: int = 3
    ) -> None:
        """Show other items; nothing of them is looked at until it comes in sight.

        Parameters
        ----------
        items : sequence of Item
            Must not change while it is shown.
        describe : callable
            Returns what the cell of a row says; called whenever it is drawn.
        planes : int
            3 where some of the items lie in volumes, else 1.
        """
        self._items, self._describe, self._planes = items, describe, planes
        had_some = bool(self._selection.rows)
        self._selection.clear()
        self._asked.clear()
        self._arrange()
        self.verticalScrollBar().setValue(0)
        self.refresh()
        if had_some:
            self.selectionChanged.emit()

    def refresh(self) -> None:
        """Draw again, as what cells say has changed."""
        self.viewport().update()
        self._ask_timer.start()

    def selected(self) -> list[int]:
        """Return the chosen rows in order."""
        return sorted(self._selection.rows)

    @property
    def current(self) -> int:
        """The row that has the focus of the keyboard; -1 for none."""
        return self._selection.current

    def select(self, rows: Iterable[int], current: int = -1) -> None:
        """Choose rows, and bring the current one in sight, without telling listeners."""
        chosen = {row for row in rows if 0 <= row < len(self._items)}
        if not 0 <= current < len(self._items):
            current = min(chosen, default=-1)
        self._selection.replace(chosen, current)
        self._bring_in_sight(current)
        self.viewport().update()

    @property
    def cell_side(self) -> int:
        """The side of the first plane of a cell in pixels."""
        return self._side

    def set_cell_side(self, side: int) -> None:
        """Make cells larger or smaller; what is in the middle stays there."""
        self._zoom_to(side, self.viewport().rect().center())

    def set_rings(self, shown: bool) -> None:
        """Show rings around objects, or what lies under them."""
        self._has_rings = shown
        self.viewport().update()

    def sizeHint(self) -> QSize:  # noqa: N802 - a name of Qt
        """Return room for a few cells."""
        cell = self._cell()
        return QSize(3 * cell.width() + self.verticalScrollBar().sizeHint().width(), 2 * cell.height())

    def rect_of(self, row: int) -> QRect:
        """Return where the cell of a row lies in the viewport."""
        return self._grid().rect(row).translated(0, -self.verticalScrollBar().value())

    def row_at(self, place: QPoint) -> int:
        """Return the row at a place of the viewport, or -1."""
        return self._grid().row_at(place.x(), place.y() + self.verticalScrollBar().value())

    def _look(self) -> CellLook:
        return CellLook(self._side, self._planes, self._has_rings, self.palette())

    def _cell(self) -> QSize:
        return size_of_cell(self._look(), self.fontMetrics())

    def _grid(self) -> CellGrid:
        cell = self._cell()
        return CellGrid(len(self._items), self.viewport().width(), cell.width(), cell.height())

    def _arrange(self) -> None:
        """Tell the scroll bar how far it goes."""
        grid, bar = self._grid(), self.verticalScrollBar()
        bar.setRange(0, max(0, grid.height - self.viewport().height()))
        bar.setSingleStep(max(1, grid.cell_height // 2))
        bar.setPageStep(max(1, self.viewport().height() - grid.cell_height // 2))
        self._ask_timer.start()

    def _visible(self) -> range:
        top = self.verticalScrollBar().value()
        return self._grid().rows_between(top, top + self.viewport().height() - 1)

    def _request(self, row: int) -> CropRequest:
        item = self._items[row]
        return CropRequest(item.case_id, item.centre, item.diameter)

    def _ask(self) -> None:
        """Ask for the crops in sight, and then for those a page up and down."""
        visible = self._visible()
        if not self.isVisible():
            return
        ahead = range(visible.stop, min(len(self._items), visible.stop + len(visible)))
        behind = range(max(0, visible.start - len(visible)), visible.start)
        self._asked = {}
        tiers: list[list[CropRequest]] = []
        for rows in (visible, (*ahead, *reversed(behind))):
            tiers.append([self._request(row) for row in rows])
            for row, request in zip(rows, tiers[-1], strict=True):
                self._asked.setdefault(request, []).append(row)
        self._store.want(*tiers)

    def _on_arrived(self, requests: list[CropRequest]) -> None:
        for request in requests:
            for row in self._asked.get(request, ()):
                self.viewport().update(self.rect_of(row))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw the cells that are in need of it."""
        painter = QPainter(self.viewport())
        painter.fillRect(event.rect(), self.palette().color(QPalette.ColorRole.Base))
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        painter.setFont(self.font())
        top, grid, look = self.verticalScrollBar().value(), self._grid(), self._look()
        for row in grid.rows_between(event.rect().top() + top, event.rect().bottom() + top):
            rect = grid.rect(row).translated(0, -top)
            if rect.intersects(event.rect()):
                state = row in self._selection.rows, row == self.current
                paint_cell(
                    painter, rect, look, self._describe(row), self._store.crop(self._request(row)), state
                )
        if not self._items:
            painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
            painter.drawText(self.viewport().rect(), int(Qt.AlignmentFlag.AlignCenter), "Nothing to show.")
        if self._band is not None:
            self._paint_band(painter, self._band.translated(0, -top))
        painter.end()

    def _paint_band(self, painter: QPainter, band: QRect) -> None:
        colour = self.palette().color(QPalette.ColorRole.Highlight)
        painter.setPen(colour)
        colour.setAlpha(70)
        painter.setBrush(colour)
        painter.drawRect(band)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802 - a name of Qt
        """Arrange the cells anew; the first one in sight stays there."""
        super().resizeEvent(event)
        first = self._first
        self._arrange()
        if first > 0:
            self.verticalScrollBar().setValue(self._grid().rect(first).top())

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - a name of Qt
        """Ask for what comes in sight."""
        super().showEvent(event)
        self._ask_timer.start()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - a name of Qt
        """Arrange anew where letters have another size."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._arrange()

    def scrollContentsBy(self, dx: int, dy: int) -> None:  # noqa: N802 - a name of Qt
        """Move what is drawn, so that only what comes in sight is drawn anew."""
        if self._band is None:
            self.viewport().scroll(0, dy)
        else:
            self.viewport().update()
        top, grid = self.verticalScrollBar().value(), self._grid()
        self._first = grid.rows_between(top, top).start
        if not self._ask_timer.isActive():
            self._ask_timer.start()

    def viewportEvent(self, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        """Show the tip of the cell under the mouse."""
        if event.type() == QEvent.Type.ToolTip:
            help_event: QHelpEvent = event  # type: ignore[assignment]
            row = self.row_at(help_event.pos())
            tip = self._describe(row).tip if row >= 0 else ""
            QToolTip.showText(help_event.globalPos(), tip, self.viewport(), self.rect_of(max(row, 0)))
            return True
        return bool(super().viewportEvent(event))

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - a name of Qt
        """Scroll; with Ctrl, make cells larger or smaller."""
        if not event.modifiers() & CONTROL:
            super().wheelEvent(event)
            return
        self._zoom_to(round(self._side * ZOOM ** (event.angleDelta().y() / 120)), event.position().toPoint())
        event.accept()

    def _zoom_to(self, side: int, place: QPoint) -> None:
        side = min(MOST_SIDE, max(LEAST_SIDE, side))
        if side == self._side:
            return
        row = max(self.row_at(place), 0)
        offset = place.y() - self.rect_of(row).top()
        share = offset / self._cell().height()
        self._side = side
        self._arrange()
        rect = self._grid().rect(row)
        self.verticalScrollBar().setValue(round(rect.top() + share * rect.height()) - place.y())
        self.viewport().update()
        self.cellSideChanged.emit(side)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - a name of Qt
        """Move, choose and open; every other key goes on to the window."""
        if event.matches(QKeySequence.StandardKey.SelectAll):
            self._change(lambda: self._selection.replace(set(range(len(self._items))), max(self.current, 0)))
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.current >= 0:
            self.opened.emit(self.current)
        elif event.key() == Qt.Key.Key_Space and event.modifiers() & CONTROL and self.current >= 0:
            self._change(lambda: self._selection.toggle(self.current))
        elif (row := self._target(Qt.Key(event.key()))) is not None:
            self._go(row, event.modifiers())
        else:
            event.ignore()

    def _target(self, key: Qt.Key) -> int | None:
        """Return the row that a key leads to, or None for keys that lead nowhere."""
        grid = self._grid()
        columns = grid.columns
        page = max(1, self.viewport().height() // grid.cell_height) * columns
        steps = {
            Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: -columns, Qt.Key.Key_Down: columns,
            Qt.Key.Key_PageUp: -page, Qt.Key.Key_PageDown: page, Qt.Key.Key_Home: -len(self._items),
            Qt.Key.Key_End: len(self._items),
        }  # fmt: skip
        if key not in steps or not self._items:
            return None
        if self.current < 0:
            return len(self._items) - 1 if key == Qt.Key.Key_End else 0
        row = self.current + steps[key]
        if abs(steps[key]) == columns and not 0 <= row < len(self._items):
            row = self.current if row < 0 else max(self.current, len(self._items) - 1)
        return min(max(row, 0), len(self._items) - 1)

    def _go(self, row: int, modifiers: Qt.KeyboardModifier) -> None:
        act = self._selection.extend if modifiers & SHIFT else self._selection.choose
        self._change(lambda: act(row))
        self._bring_in_sight(row)

    def _change(self, act: Callable[[], None]) -> None:
        """Let the reader choose, and tell listeners what has changed."""
        rows, current = self._selection.rows, self.current
        act()
        self.viewport().update()
        if self._selection.rows != rows:
            self.selectionChanged.emit()
        if self.current != current:
            self.setAccessibleDescription(self._spoken(self.current))
            self.currentChanged.emit(self.current)

    def _spoken(self, row: int) -> str:
        if row < 0:
            return ""
        text = self._describe(row)
        return ", ".join(part for part in (text.headline, text.title, text.size, text.verdict) if part)

    def _bring_in_sight(self, row: int) -> None:
        if row < 0:
            return
        rect, bar = self._grid().rect(row), self.verticalScrollBar()
        if rect.top() < bar.value():
            bar.setValue(rect.top())
        elif rect.bottom() > bar.value() + self.viewport().height():
            bar.setValue(rect.bottom() - self.viewport().height() + 1)

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Choose the cell under the mouse; a rectangle can be drawn from here."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        place = event.position().toPoint()
        row, modifiers = self.row_at(place), event.modifiers()
        if row >= 0 and modifiers & SHIFT:
            self._change(lambda: self._selection.extend(row))
        elif row >= 0 and modifiers & CONTROL:
            self._change(lambda: self._selection.toggle(row))
        elif row >= 0:
            self._change(lambda: self._selection.choose(row))
        elif not modifiers & (SHIFT | CONTROL):
            self._change(self._selection.clear)
        kept = set(self._selection.rows) if modifiers & (SHIFT | CONTROL) else set()
        self._band_from = (place + QPoint(0, self.verticalScrollBar().value()), kept)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Draw a rectangle, and choose what it touches."""
        if self._band_from is None:
            return
        place = event.position().toPoint()
        begin, _ = self._band_from
        here = place + QPoint(0, self.verticalScrollBar().value())
        if self._band is None and (here - begin).manhattanLength() < QApplication.startDragDistance():
            return
        self._stretch_band(place)
        if not self.viewport().rect().contains(place):
            self._band_timer.start()

    def _stretch_band(self, place: QPoint) -> None:
        if self._band_from is None:
            return
        begin, kept = self._band_from
        here = place + QPoint(0, self.verticalScrollBar().value())
        self._band = QRect(begin, here).normalized()
        rows = self._grid().rows_touched(self._band)
        current = self.row_at(place)
        self._change(
            lambda: self._selection.replace(kept | set(rows), current if current >= 0 else self.current)
        )

    def _scroll_along(self) -> None:
        """Scroll while the rectangle is drawn beyond the border."""
        place = self.viewport().mapFromGlobal(self.cursor().pos())
        beyond = min(place.y(), 0) + max(place.y() - self.viewport().height(), 0)
        if self._band is None or beyond == 0:
            self._band_timer.stop()
            return
        self.verticalScrollBar().setValue(self.verticalScrollBar().value() + beyond)
        self._stretch_band(place)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """End the rectangle."""
        self._band, self._band_from = None, None
        self._band_timer.stop()
        self.viewport().update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802 - a name of Qt
        """Open the cell under the mouse."""
        row = self.row_at(event.position().toPoint())
        if row >= 0 and event.button() == Qt.MouseButton.LeftButton:
            self.opened.emit(row)
