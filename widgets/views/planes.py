"""Two canvases beside the main one, linked to it: coronal and sagittal, head up; or the companions of a mammogram."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSplitter, QVBoxLayout, QWidget

from napari_medlab.widgets.layers.case_layers import CaseLayers
from napari_medlab.widgets.views.contexts import keep_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LinkedPlanes"]

PLANES = {"coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""For each plane the order of the axes (z, y, x): the first is the one that is sliced."""


class LinkedPlanes(QWidget):
    """Coronal and sagittal views of a volume, or two other views of an exam.

    Signals
    -------
    pointChosen(object)
        Where a plane was clicked: (3,) in the viewer's coordinates.

    neededChanged(bool)
        There is something to show, or nothing.
    """

    pointChosen = Signal(object)
    neededChanged = Signal(bool)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from napari.components import ViewerModel
        from napari.qt import QtViewer

        splitter = QSplitter(Qt.Orientation.Vertical, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)
        self.is_needed = True
        """Whether there is something to show."""
        self._planes: list[CaseLayers] = []
        self._canvases: list[Any] = []
        self._titles: list[QLabel] = []
        for name, order in PLANES.items():
            model = ViewerModel(title=name)
            canvas = QtViewer(model)
            model.canvas.background_color_override = "black"  # as the main one
            keep_apart(model, canvas.canvas)
            box = QWidget(splitter)
            column = QVBoxLayout(box)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(0)
            title = QLabel(f" {name}", box)
            self._titles.append(title)
            column.addWidget(title)
            column.addWidget(canvas, stretch=1)
            splitter.addWidget(box)
            model.mouse_drag_callbacks.append(self._on_click)
            self._planes.append(CaseLayers(model, order, ("up", "right")))
            self._canvases.append(canvas)
        self.setMinimumWidth(200)

    @property
    def planes(self) -> tuple[CaseLayers, ...]:
        """The layers of the coronal and of the sagittal plane."""
        return tuple(self._planes)

    @property
    def canvas_sizes(self) -> tuple[tuple[int, int], ...]:
        """How high and wide each canvas is, in pixels."""
        return tuple((int(canvas.height()), int(canvas.width())) for canvas in self._canvases)

    def show_planes(self) -> None:
        """Be the two other planes of a volume."""
        for title, name in zip(self._titles, PLANES, strict=True):
            title.setText(f" {name}")
        self._need(True)

    def show_companions(self, titles: Sequence[str]) -> None:
        """Show other images, under these titles; none where there are none."""
        for title, text in zip(self._titles, titles, strict=False):
            title.setText(f" {text}")
        self._need(bool(titles))

    def close_canvases(self) -> None:
        """Close the canvases before the window goes; calling it again does nothing."""
        while self._canvases:
            with suppress(RuntimeError):  # it may have gone with the window before
                self._canvases.pop().close()

    def _need(self, is_needed: bool) -> None:
        self.is_needed = is_needed
        self.neededChanged.emit(is_needed)

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Say where it was clicked, unless the mouse moved in between."""
        position = np.asarray(event.position, dtype=np.float64)
        yield
        if event.type == "mouse_release":
            self.pointChosen.emit(position)
