"""The other views of a mammography exam, hung around the one that is looked at."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.widgets.layers.case_layers import Beside
from napari_medlab.widgets.layers.hanging import companion_point, hang, partners

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.display import Display
    from napari_medlab.widgets.layers.case_layers import CaseLayers
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["ExamView"]

MARGIN = 0.95
"""Of a canvas that a whole view takes."""


class ExamView:
    """Hangs the views of an exam in the main viewer as radiologists are used to.

    Parameters
    ----------
    controller : Controller
    display : Display
    """

    def __init__(self, controller: Controller, display: Display) -> None:
        self._controller = controller
        self._display = display
        self._placed: dict[str, Beside] = {}
        self._followed: list[tuple[str, CaseView]] = []
        self.companions: list[tuple[CaseLayers, CaseView]] = []
        """What the smaller canvases show."""
        self.names: dict[str, str] = {}

    @property
    def views(self) -> tuple[CaseView, ...]:
        """What hangs beside the case."""
        return tuple(beside.view for beside in self._placed.values())

    def show(self, view: CaseView) -> None:
        """Hang the other views of a case's exam around it, once they are read."""
        self._placed, self._followed, self.companions = {}, [], []
        cases = {case.case_id: case for case in self._controller.cases}
        case = cases.get(view.case_id)
        key = case.exam_key if case is not None else ""
        self.names = {c.case_id: c.view for c in cases.values() if key and c.exam_key == key}
        others = [case_id for case_id in self.names if case_id != view.case_id]
        if others:
            self._controller.display.loader.load_companions(others, lambda views: self._hang(view, views))
        else:
            self._display.layers.show_beside([])

    def case_at(self, position: NDArray[np.float64]) -> str | None:
        """Return the case beside the one shown that lies at a position (y, x), or None."""
        for case_id, (view, place) in self._placed.items():
            inside = np.asarray(position) - np.asarray(place)
            size = np.asarray(view.grid.shape) * np.asarray(view.scale)
            if ((inside >= 0) & (inside < size)).all():
                return case_id
        return None

    def _hang(self, view: CaseView, others: list[CaseView]) -> None:
        if self._display.view is not view:
            return
        views = {v.case_id: (self.names[v.case_id], v) for v in (view, *others) if v.units == view.units}
        places = hang(views)
        top, left = places[view.case_id]
        placed = {
            case_id: Beside(views[case_id][1], (y - top, x - left))
            for case_id, (y, x) in places.items()
            if case_id != view.case_id
        }
        self._placed = placed
        self._display.turns.put("exam", lambda: self._display.layers.show_beside(list(placed.values())))
        self._display.turns.put("exam zoom", self._display.zoom_to_item)
        self._link(dict(views.values()), self.names[view.case_id])
        self._display.build_levels((view, *self.views))

    def _link(self, views: dict[str, CaseView], own: str) -> None:
        """Show the two companions of a view in the smaller canvases, and let them follow it."""
        planes = self._display.planes
        found = [name for name in partners(own) if name in views]
        if planes is None or not found:
            return
        planes.show_companions(found)
        self.companions = [
            (layers, views[name].again()) for layers, name in zip(planes.planes, found, strict=False)
        ]
        for number, (layers, companion) in enumerate(self.companions):
            self._display.turns.put(f"companion {number}", partial(layers.show_image, companion))
        self._followed = [(own, views[own]), *((name, views[name]) for name in found)]
        self._display.turns.put("follow", self.follow)

    def follow(self) -> None:
        """Move the companions to where the main canvas looks: as far from the chest wall, at the same scale."""
        planes = self._display.planes
        if planes is None or not self._followed or self._followed[0][1] is not self._display.view:
            return
        main = self._display.layers.viewer
        (own, view), *others = self._followed
        centre = np.asarray(main.scene.camera.center[-2:])
        width = max(1.0, float(main.canvas.size[1]))
        for layers, canvas, (name, other) in zip(planes.planes, planes.canvas_sizes, others, strict=False):
            camera, size = layers.viewer.scene.camera, _size(other)
            whole = min(canvas[0] / size[0], canvas[1] / size[1]) * MARGIN
            zoom = float(main.scene.camera.zoom) * canvas[1] / width
            middle = (size[0] / 2, size[1] / 2)
            camera.center = (
                0.0,
                *(companion_point(centre, (own, _size(view)), (name, size)) if zoom > whole else middle),
            )
            camera.zoom = max(zoom, whole)


def _size(view: CaseView) -> tuple[float, float]:
    height, width = np.asarray(view.grid.shape) * np.asarray(view.scale)
    return float(height), float(width)
