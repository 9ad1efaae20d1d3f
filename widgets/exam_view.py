"""The other views of a mammography exam, hung around the one that is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.widgets.layers.case_layers import Beside
from napari_medlab.widgets.layers.hanging import hang

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.display import Display
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["ExamView"]


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
        self.names: dict[str, str] = {}

    @property
    def views(self) -> tuple[CaseView, ...]:
        """What hangs beside the case."""
        return tuple(beside.view for beside in self._placed.values())

    def view_named(self, name: str) -> CaseView | None:
        """Return the view of the exam with a name such as ``"LCC"``, the case itself among them."""
        case_id = next((case_id for case_id, view in self.names.items() if view == name), None)
        shown = self._display.view
        if shown is not None and shown.case_id == case_id:
            return shown
        beside = self._placed.get(case_id or "")
        return beside.view if beside is not None else None

    def show(self, view: CaseView) -> None:
        """Hang the other views of a case's exam around it, once they are read."""
        self._placed = {}
        cases = {case.case_id: case for case in self._controller.cases}
        case = cases.get(view.case_id)
        key = case.exam_key if case is not None else ""
        self.names = {c.case_id: c.view for c in cases.values() if key and c.exam_key == key}
        others = [case_id for case_id in self.names if case_id != view.case_id]
        if others:
            self._controller.display.loader.load_companions(others, lambda views: self._hang(view, views))

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
        self._controller.session.exam_changed.emit()
