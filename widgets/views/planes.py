"""The two planes beside the axial one: coronal and sagittal, head up, linked to the same point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QSplitter, QVBoxLayout, QWidget

from napari_medlab.widgets.layers.case_layers import CaseLayers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.marks import Marks

__all__ = ["LinkedPlanes"]

PLANES = {"coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""For each plane the order of the axes (z, y, x): the first is the one that is sliced."""


class LinkedPlanes(QWidget):
    """Coronal and sagittal views of a volume.

    Signals
    -------
    pointChosen(object)
        Where a plane was clicked: (3,) in the viewer's coordinates.
    """

    pointChosen = Signal(object)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        from napari.components import ViewerModel
        from napari.qt import QtViewer

        splitter = QSplitter(Qt.Orientation.Vertical, self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)
        self._planes: list[CaseLayers] = []
        self._canvases: list[Any] = []
        for name, order in PLANES.items():
            model = ViewerModel(title=name)
            canvas = QtViewer(model)
            canvas.controls.hide() if hasattr(canvas, "controls") else None
            box = QWidget(splitter)
            column = QVBoxLayout(box)
            column.setContentsMargins(0, 0, 0, 0)
            column.setSpacing(0)
            column.addWidget(QLabel(f" {name}", box))
            column.addWidget(canvas, stretch=1)
            splitter.addWidget(box)
            model.mouse_drag_callbacks.append(self._on_click)
            self._planes.append(CaseLayers(model, order, ("up", "right")))
            self._canvases.append(canvas)
        self.setMinimumWidth(220)

    def show_image(self, view: CaseView) -> None:
        """Show another volume."""
        for plane in self._planes:
            plane.show_image(view)

    def show_marks(self, marks: Marks) -> None:
        """Draw the marks of the case."""
        for plane in self._planes:
            plane.show_marks(marks)

    def show_chosen(self, position: NDArray[np.float64] | None, size: float, text: str) -> None:
        """Draw a ring around the chosen mark."""
        for plane in self._planes:
            plane.show_chosen(position, size, text)

    def go_to(self, position: NDArray[np.float64]) -> None:
        """Turn both planes to a position."""
        for plane in self._planes:
            plane.go_to(position)

    def close_canvases(self) -> None:
        """Close the canvases: to be called once, before the window goes."""
        for canvas in self._canvases:
            canvas.close()

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Say where it was clicked, unless the mouse moved in between."""
        position = np.asarray(event.position, dtype=np.float64)
        yield
        if event.type == "mouse_release":
            self.pointChosen.emit(position)
