"""What is on the canvases: the case, its marks and outlines, in the main viewer and in the linked planes."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.geometry import Grid
from napari_medlab.images.budget import memory_budget_bytes
from napari_medlab.widgets.layers.case_layers import CHOSEN, CROSS, MARKS, CaseLayers
from napari_medlab.widgets.layers.case_view import LUNG_WINDOW, CaseView, load_case_view
from napari_medlab.widgets.layers.marks import Marks, marks_of_case, marks_of_new
from napari_medlab.widgets.layers.outlines import OutlineLayer
from napari_medlab.widgets.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.views.planes import LinkedPlanes

__all__ = ["Display"]

READ_AHEAD = 2
"""How many of the next cases in the queue are read while the current one is looked at."""


class Display:
    """Shows the session's case, and keeps marks, ring, cross and outlines where they belong.

    Parameters
    ----------
    viewer : napari.Viewer
    controller : Controller
    """

    def __init__(self, viewer: Any, controller: Controller) -> None:
        self._viewer = viewer
        self._controller = controller
        self.layers = CaseLayers(viewer, (0, 1, 2))
        self.outlines = OutlineLayer(viewer)
        self.planes: LinkedPlanes | None = None
        self.view: CaseView | None = None
        self.marks: Marks | None = None
        self.turns = Turns()
        self._cache: OrderedDict[str, CaseView] = OrderedDict()
        self._visiting: tuple[str, tuple[float, ...], str] | None = None
        self._reading_ahead: set[str] = set()
        session = controller.session
        for signal in (session.review_changed, session.operating_point_changed):
            signal.connect(self.refresh_marks)
        session.selection_changed.connect(lambda _: self.follow_selection())
        session.item_changed.connect(self._read_ahead)
        session.project_changed.connect(self.clear)
        viewer.mouse_drag_callbacks.append(self._on_click)

    def attach_planes(self, planes: LinkedPlanes) -> None:
        """Link coronal and sagittal planes."""
        self.planes = planes
        planes.pointChosen.connect(self._on_plane_point)
        if self.view is not None:
            self._on_view(self.view)

    def warm_up(self) -> None:
        """Make every layer and let it be drawn once, so that the first case costs no more than others."""
        square = np.array([[4.0, 4.0], [4.0, 6.0], [6.0, 5.0]])
        self._show_blank([Region.on_slices("", {0: [square]})])

    def clear(self) -> None:
        """Show nothing of a project that is not open any more."""
        self._cache.clear()
        self._reading_ahead.clear()  # what is still being read will not be told of
        self._visiting = None
        if self.view is not None and self.view.case_id:
            self.outlines.edit(False)
            self._show_blank([])

    def _show_blank(self, regions: list[Region]) -> None:
        pixels = np.full((8, 16, 16), -1000, np.int16)
        grid = Grid.axis_aligned(pixels.shape, (1.0, 1.0, 1.0))
        blank = CaseView("", "", "volume", [pixels], grid, LUNG_WINDOW, False, (0, 1, 2), (1, 1, 1))
        self.view, self.marks = blank, None
        self.turns.clear()
        self._each("image", lambda layers: layers.show_image(blank))
        self._go_to(np.zeros(3))
        self._each("cross", lambda layers: layers.hide_cross())
        self.turns.put("outlines", lambda: self.outlines.show(blank, regions))

    def show_case(self) -> None:
        """Show the session's case: at once where it has been read ahead, when it is read otherwise."""
        case_id = self._controller.session.case_id
        if case_id in self._cache:
            self._on_view(self._cache[case_id])
        elif (work := self._reading(case_id)) is not None:
            self._controller.background.run("case", *work, on_done=self._on_view)

    def refresh_marks(self) -> None:
        """Draw the marks of the case again, as the operating point has it."""
        session = self._controller.session
        if self.view is None:
            return
        review = session.review
        if review is None or session.at_point is None or self.view.case_id not in review.cases:
            self._draw_marks(Marks.none(self.view.grid.ndim))
        else:
            self._draw_marks(marks_of_case(session.at_point, review.candidates, review.findings, self.view))

    def show_new(self, candidates: CandidateTable) -> None:
        """Draw candidates that arrive while the detector is still at work on the case."""
        if self.view is not None and (candidates.case_ids == self.view.case_id).any():
            self._draw_marks(marks_of_new(candidates, self.view))

    def follow_selection(self) -> None:
        """Turn every plane to the chosen object and put a ring around it."""
        session = self._controller.session
        place = self._place_of(session.selected_id)
        if place is None or self.view is None:
            return
        position, size, text = place
        self._go_to(position, size, text)
        label = session.item.label if session.item else "nodule"
        self.outlines.set_owner(session.selected_id, label)

    def visit(self, case_id: str, centre: tuple[float, ...], text: str) -> None:
        """Show a place (world coordinates) of a case with a ring and a text around it, whatever is marked there."""
        self._visiting = (case_id, centre, text)
        self._controller.session.show_case(case_id)
        if self.view is not None and self.view.case_id == case_id:
            self._finish_visit()

    def toggle_marks(self) -> None:
        """Hide the marks, or show them again."""
        for name in (MARKS, CHOSEN, CROSS):
            if name in self._viewer.layers:
                layer = self._viewer.layers[name]
                layer.visible = not layer.visible

    def reload_outlines(self) -> None:
        """Read the outlines of the case again and draw them."""
        project, view = self._controller.session.project, self.view
        if project is None or view is None or not view.case_id:
            return
        edits = self._controller.outline_edits

        def done(regions: list[Region]) -> None:
            if edits != self._controller.outline_edits:
                self.reload_outlines()  # something was edited while it was being read
            else:
                self._on_regions(view, regions)

        self._controller.background.run("outlines", project.regions, view.case_id, on_done=done)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _each(self, name: str, draw: Callable[[CaseLayers], None]) -> None:
        """Draw in every viewer that shows the case, the main one first, each in a turn of its own."""
        has_planes = self.planes is not None and self.view is not None and self.view.kind == "volume"
        others = self.planes.planes if has_planes and self.planes is not None else ()
        for number, layers in enumerate((self.layers, *others)):
            self.turns.put(f"{name} {number}", partial(draw, layers))

    def _go_to(self, position: NDArray[np.float64], size: float = 0.0, text: str = "") -> None:
        """Turn every viewer to a position, and put a ring with a text around it where there is one."""

        def draw(layers: CaseLayers) -> None:
            layers.go_to(position)
            layers.show_chosen(position if size else None, size, text)

        self._each("place", draw)

    def _reading(self, case_id: str) -> tuple[Any, ...] | None:
        project = self._controller.session.project
        record = next((c for c in self._controller.cases if c.case_id == case_id), None)
        if project is None or record is None:
            return None
        return _read, project, record.case_id, record.name

    def _on_view(self, view: CaseView) -> None:
        self._remember(view)
        if view.case_id != self._controller.session.case_id:
            return
        self.view, self.marks = view, None
        self.turns.clear()
        if self.planes is not None:
            self.planes.setVisible(view.kind == "volume")
        self._each("image", lambda layers: layers.show_image(view))
        self._viewer.title = f"MedLab · {view.title}"
        self.refresh_marks()
        self.reload_outlines()
        if self._visiting is not None and self._visiting[0] == view.case_id:
            self._finish_visit()
        elif self._controller.session.selected_id:
            self.follow_selection()
        else:
            self._go_to((np.asarray(view.grid.shape) - 1) / 2 * np.asarray(view.scale))

    def _finish_visit(self) -> None:
        view, visiting = self.view, self._visiting
        self._visiting = None
        if view is None or visiting is None:
            return
        _, centre, text = visiting
        self._go_to(view.to_display(np.asarray(centre)[: view.grid.ndim]), 10.0, text)

    def _on_regions(self, view: CaseView, regions: list[Region]) -> None:
        if self.view is view:
            self.turns.put("outlines", lambda: self._draw_outlines(view, regions))

    def _draw_outlines(self, view: CaseView, regions: list[Region]) -> None:
        session = self._controller.session
        self.outlines.show(view, regions)
        self.outlines.set_owner(session.selected_id, session.item.label if session.item else "nodule")

    def _draw_marks(self, marks: Marks) -> None:
        if marks.same_as(self.marks):
            return
        self.marks = marks
        self._each("marks", lambda layers: layers.show_marks(marks))

    def _place_of(self, object_id: str) -> tuple[NDArray[np.float64], float, str] | None:
        """Return position, size and text of an object of the case shown; None where it is not on show."""
        marks = self.marks
        if marks is None or self.view is None or not object_id:
            return None
        rows = np.flatnonzero(marks.ids == object_id)
        if len(rows):
            row = int(rows[0])
            score = marks.scores[row]
            text = str(marks.kinds[row]).upper() + (f" {score:.2f}" if np.isfinite(score) else "")
            return marks.positions[row], float(marks.sizes[row]), text
        item = self._controller.session.item
        if item is not None and item.object_id == object_id and item.case_id == self.view.case_id:
            centre = np.asarray(item.centre)[: self.view.grid.ndim]
            return self.view.to_display(centre), max(item.diameter, 6.0), item.kind.upper()
        return None

    def _remember(self, view: CaseView) -> None:
        """Keep the cases seen last, as long as they take less than half of the memory budget."""
        self._cache[view.case_id] = view
        self._cache.move_to_end(view.case_id)
        sizes = [sum(getattr(level, "nbytes", 0) for level in v.levels if isinstance(level, np.ndarray))
                 for v in self._cache.values()]  # fmt: skip
        while len(self._cache) > 1 and sum(sizes) > memory_budget_bytes() // 2:
            self._cache.popitem(last=False)
            sizes.pop(0)

    def _read_ahead(self) -> None:
        session = self._controller.session
        following = [item.case_id for item in session.queue[session.place + 1 : session.place + 30]]
        known = {*self._cache, *self._reading_ahead, session.case_id}
        unread = [case_id for case_id in dict.fromkeys(following) if case_id not in known]
        for case_id in unread[: READ_AHEAD - len(self._reading_ahead)]:
            work = self._reading(case_id)
            if work is not None:
                self._reading_ahead.add(case_id)
                # a case that cannot be read says so when it is opened, not before
                self._controller.background.run(f"read ahead {case_id}", *work, on_done=self._on_read_ahead,
                                                on_error=partial(self._on_unread, case_id))  # fmt: skip

    def _on_read_ahead(self, view: CaseView) -> None:
        self._reading_ahead.discard(view.case_id)
        self._remember(view)

    def _on_unread(self, case_id: str, _: Exception) -> None:
        self._reading_ahead.discard(case_id)

    def _on_click(self, viewer: Any, event: Any) -> Any:
        """Choose the mark under a click; a drag means something else and is left alone."""
        position = np.asarray(event.position, dtype=np.float64)
        yield
        if event.type == "mouse_release" and event.button == 1 and not self.outlines.is_editing:
            self._on_point(position)

    def _on_plane_point(self, position: NDArray[np.float64]) -> None:
        if self.view is not None and self.view.kind == "volume":
            self._on_point(position)

    def _on_point(self, position: NDArray[np.float64]) -> None:
        if self.marks is None or self.view is None:
            return
        object_id = self.marks.nearest(position[-self.view.grid.ndim :])
        if object_id is not None:
            self._controller.session.select(object_id)
        else:
            self._go_to(position[-self.view.grid.ndim :])


def _read(project: Project, case_id: str, title: str) -> CaseView:
    return load_case_view(project.case_path(case_id), case_id, title)
