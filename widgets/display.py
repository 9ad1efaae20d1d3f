"""What is on the canvases: the case, its marks and outlines, in the main viewer and in the linked planes."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_medlab.annotations import Region
from napari_medlab.annotations.tables import changed_findings
from napari_medlab.geometry import Grid
from napari_medlab.widgets.case_loader import CaseLoader
from napari_medlab.widgets.case_mask import CaseMask
from napari_medlab.widgets.case_outlines import CaseOutlines
from napari_medlab.widgets.exam_view import ExamView
from napari_medlab.widgets.layers.case_layers import CHOSEN, CROSS, MARKS, CaseLayers
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.marks import (
    Marks,
    marks_of_case,
    marks_of_findings,
    marks_of_new,
    marks_of_unread,
)
from napari_medlab.widgets.turns import Turns
from napari_medlab.widgets.views.contexts import draw_again, hold_still, mouse_from_middle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.views.planes import LinkedPlanes

__all__ = ["Display"]

NEWS_MS = 40
"""How often the canvas looks whether tiles have arrived."""
PICK_PX = 4.0
"""An outline is meant where the mouse is no farther from it than this."""
QUIET = 4
"""So many looks lie at least between two drawings while tiles are still arriving."""
OVERVIEW_STEPS = 4
"""A slide whose levels are being made is drawn again after so many parts of it."""


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
        self.case_outlines = CaseOutlines(controller)
        self.outlines = self.case_outlines.layer
        self.mask = CaseMask(controller)
        self.planes: LinkedPlanes | None = None
        self.view: CaseView | None = None
        self.marks: Marks | None = None
        self.turns = Turns()
        self.loader = CaseLoader(controller)
        self.exam = ExamView(controller, self)
        self._window = self._quiet = 0
        self._building: object = None
        self._news = QTimer(self.turns)
        self._news.setInterval(NEWS_MS)
        self._news.timeout.connect(self._draw_news)
        self._visiting: tuple[str, tuple[float, ...], str] | None = None
        session = controller.session
        for signal in (session.review_changed, session.operating_point_changed, session.findings_changed):
            signal.connect(self.refresh_marks)
        session.review_changed.connect(self.mask.look)
        session.review_changed.connect(self._follow_review)
        session.selection_changed.connect(lambda _: self.follow_selection())
        session.item_changed.connect(self._read_ahead)
        session.project_changed.connect(self.clear)
        viewer.mouse_drag_callbacks.append(self._on_click)
        for event in (viewer.scene.camera.events.center, viewer.scene.camera.events.zoom):
            event.connect(lambda _: self.turns.put("follow", self._follow))

    def _follow_review(self) -> None:
        if self.view is not None:
            self.case_outlines.follow_review(self.view)

    def _follow(self) -> None:
        self.exam.follow()
        self.case_outlines.follow()
        self.layers.thin_lines()

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
        self.turns.put("warm", lambda: self.turns.put("no outlines", self._forget_warm_up))

    def _forget_warm_up(self) -> None:
        if self.view is not None and not self.view.case_id:
            self.outlines.show(self.view, [])
            self._hide_planes()

    def _hide_planes(self) -> None:
        """Give the room of the planes to the canvas: there is nothing to see on them."""
        if self.planes is not None:
            self.planes.show_companions([])

    def close(self) -> None:
        """Draw nothing any more: the canvases are going, and the timer may have gone before them."""
        with suppress(RuntimeError):
            self._news.stop()
        self.turns.close()

    def clear(self) -> None:
        """Show nothing of a project that is not open any more."""
        self.loader.clear()
        self._visiting = None
        if self.view is not None and self.view.case_id:
            self.outlines.edit(False)
            self._show_blank([])
            self._hide_planes()

    def _show_blank(self, regions: list[Region]) -> None:
        pixels = np.full((8, 16, 16), -1000, np.int16)
        grid = Grid.axis_aligned(pixels.shape, (1.0, 1.0, 1.0))
        blank = CaseView("", "", "volume", [[pixels]], grid)
        self.view, self.marks, self._building = blank, None, None
        self.turns.clear()
        for layers in self._viewers:
            draw_again(layers.viewer)
        self._news.stop()
        self._show_image(blank)
        self._go_to(np.zeros(3))
        self._each("cross", lambda layers: layers.hide_cross())
        self.turns.put("outlines", lambda: self.outlines.show(blank, regions))

    def show_case(self) -> None:
        """Show the session's case: at once where it has been read ahead, when it is read otherwise."""
        case_id = self._controller.session.case_id
        self._controller.session.view_changed.emit(
            ()
        )  # what is known of the case before says nothing of this one
        # whoever turned to the case goes on at once
        take = partial(self.turns.put, "view")
        self.loader.load(
            case_id, lambda view: take(lambda: self._on_view(view)), partial(self._on_unread, case_id)
        )

    def next_window(self) -> None:
        """Go on to the next of the case's limits of brightness."""
        view = self.view
        if view is None or view.is_rgb or not view.case_id:
            return
        self._window = (self._window + 1) % len(view.windows)
        window = view.windows[self._window]
        self._each("window", lambda layers: layers.show_window(window))
        name = window.name or "window"
        self._controller.session.told.emit(f"{name}: {window.low:.6g} to {window.high:.6g}")

    def refresh_marks(self) -> None:
        """Draw the marks of the case again, as the operating point and the reader's corrections have it."""
        session, view = self._controller.session, self.view
        if view is None:
            return
        review = session.review
        known = marks_of_findings(session.findings, view)
        if review is not None and view.case_id in review.unread_cases:
            self._draw_marks(marks_of_unread(review.candidates, session.threshold, view).joined(known))
        elif review is None or session.at_point is None or view.case_id not in review.cases:
            self._draw_marks(known)
        else:
            marks = marks_of_case(session.at_point, review.candidates, review.given.findings, view)
            changed = changed_findings(
                review.given.findings.for_case(view.case_id), session.findings.for_case(view.case_id)
            )
            self._draw_marks(marks.joined(marks_of_findings(changed, view)))

    def show_new(self, candidates: CandidateTable) -> None:
        """Draw candidates that arrive while the detector is still at work on the case."""
        if self.view is not None and (candidates.case_ids == self.view.case_id).any():
            self._draw_marks(marks_of_new(candidates, self.view))

    def follow_selection(self) -> None:
        """Turn every plane to the chosen object and put a ring around it."""
        session = self._controller.session
        finding = session.chosen_finding
        label = session.item.label if session.item else finding.label if finding else "finding"
        self.outlines.set_owner(session.selected_id, label)
        place = self._place_of(session.selected_id)
        if place is None or self.view is None:
            return
        position, size, text = place
        self._go_to(position, size, text)
        self.zoom_to_item()

    def zoom_to_item(self) -> None:
        """Look at the current error from near, in every plane; not at what was merely clicked."""
        session = self._controller.session
        place = self._place_of(session.selected_id) if session.item is not None else None
        if place is not None:
            position, size, _ = place
            self._each("zoom", lambda layers: layers.zoom_to(position, size))

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
        if self.view is not None:
            self.case_outlines.read(self.view)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _each(self, name: str, draw: Callable[[CaseLayers], None]) -> None:
        """Draw in every viewer that shows the case, the main one first, each in a turn of its own."""
        for number, layers in enumerate(self.viewers_of_case):
            self.turns.put(f"{name} {number}", partial(draw, layers))

    def _show_image(self, view: CaseView) -> None:
        """Show an image in every viewer, in as many turns as it takes."""

        def begin(layers: CaseLayers) -> None:
            steps = layers.image_steps(view)
            if layers is self.layers:
                self.case_outlines.make_room(view)
                self.mask.make_room(view)
            steps[0]()
            number = self._viewers.index(layers)
            self.turns.put_first([(f"image {number}.{n}", step) for n, step in enumerate(steps[1:])])

        self._each("image", begin)

    @property
    def viewers_of_case(self) -> tuple[CaseLayers, ...]:
        """What shows the case: the main viewer and, for volumes, the planes beside it."""
        has_planes = self.planes is not None and self.view is not None and self.view.kind == "volume"
        return (self.layers, *(self.planes.planes if has_planes and self.planes is not None else ()))

    @property
    def focus(self) -> tuple[float, ...] | None:
        """The middle of what is to be seen, in the world: (x, y, z) or (x, y); None where no case is shown."""
        view = self.view
        if view is None or not view.case_id:
            return None
        place = self.place
        place[-2:] = self._viewer.scene.camera.center[-2:]
        last = (np.asarray(view.grid.shape) - 1) * np.asarray(view.scale)
        within: list[float] = view.to_world(np.clip(place[-view.grid.ndim :], 0, last)).tolist()
        return tuple(within)

    @property
    def _viewers(self) -> tuple[CaseLayers, ...]:
        """All that may show the case."""
        return (self.layers, *(self.planes.planes if self.planes is not None else ()))

    def _go_to(self, position: NDArray[np.float64], size: float = 0.0, text: str = "") -> None:
        """Turn every viewer to a position, and put a ring with a text around it where there is one."""

        def draw(layers: CaseLayers) -> None:
            layers.go_to(position)
            layers.show_chosen(position if size else None, size, text)

        self._each("place", draw)

    def _on_view(self, view: CaseView) -> None:
        if view.case_id != self._controller.session.case_id:
            return
        self.view, self.marks, self._window = view, None, 0
        self._news.start() if view.pyramids else self._news.stop()
        self.turns.clear()
        for layers in self._viewers:
            if layers.can_reuse(
                view
            ):  # where layers have to be made anew it takes too long to keep the case before
                hold_still(layers.viewer)
        if self.planes is not None:
            self.planes.show_planes() if view.kind == "volume" else self.planes.show_companions([])
        self._show_image(view)
        self._viewer.title = f"MedLab · {view.title}"
        self.build_levels([view])
        self._controller.session.view_changed.emit(view.notes)
        self.refresh_marks()
        self.reload_outlines()
        self.mask.look()
        if self._visiting is not None and self._visiting[0] == view.case_id:
            self._finish_visit()
        elif self._controller.session.selected_id:
            self.follow_selection()
        elif view.grid.ndim == 3:
            self._go_to((np.asarray(view.grid.shape) - 1) / 2 * np.asarray(view.scale))
        for number, layers in enumerate(self._viewers):
            self.turns.put(f"draw {number}", partial(draw_again, layers.viewer))
        self.exam.show(view)

    def _on_unread(self, case_id: str, error: Exception) -> None:
        """Show nothing of a case that cannot be read: the one before must not be taken for it."""
        self._controller.show_error(error)
        if case_id == self._controller.session.case_id:
            self.outlines.edit(False)
            self._show_blank([])
            self._controller.session.view_changed.emit(("This image cannot be shown.",))
            self._controller.session.forget_case()

    def build_levels(self, views: Sequence[CaseView]) -> None:
        """Make the levels that slides lack, in the background, as long as the first of them is looked at."""
        lacking = [
            (view.title, view.overview)
            for view in views
            if view.overview is not None and not view.overview.is_exact
        ]
        self._building = token = object()
        if not lacking:
            return

        def is_stale() -> bool:
            return self._building is not token

        def steps() -> Iterator[tuple[str, int, int]]:
            for title, overview in lacking:
                for done, total in overview.steps(is_stale):
                    yield title, done, total

        def told(step: tuple[str, int, int]) -> None:
            title, done, total = step
            self.loader.progress.emit(f"overview of {title}: {done} of {total}")
            if done % OVERVIEW_STEPS == 0 or done == total:
                self._refresh_pixels()

        def done(_: object) -> None:
            self.loader.progress.emit("")
            self._refresh_pixels()

        def failed(error: Exception) -> None:
            self.loader.progress.emit("")
            self._controller.show_error(error)

        self._controller.background.stream("levels", steps, on_item=told, on_done=done, on_error=failed)

    def _finish_visit(self) -> None:
        view, visiting = self.view, self._visiting
        self._visiting = None
        if view is None or visiting is None:
            return
        _, centre, text = visiting
        self._go_to(view.to_display(np.asarray(centre)[: view.grid.ndim]), 10.0, text)

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

    def _read_ahead(self) -> None:
        session = self._controller.session
        self.loader.read_ahead(
            [item.case_id for item in session.queue[session.place + 1 : session.place + 30]]
        )

    def place_under_mouse(self) -> NDArray[np.float64]:
        """Where the mouse points, (d,) in the viewer's coordinates; where the planes meet if it is not over the canvas."""
        place = self.place
        offset = mouse_from_middle(self._viewer)
        if offset is not None:
            camera = self._viewer.scene.camera
            place[-2:] = np.asarray(camera.center[-2:]) + offset / float(camera.zoom)
        return place

    @property
    def place(self) -> NDArray[np.float64]:
        """Where the planes meet; on a planar image the middle of what is on the canvas. (d,) in the viewer's coordinates."""
        if self.view is not None and self.view.grid.ndim == 2:
            return np.asarray(self._viewer.scene.camera.center[-2:], dtype=np.float64)
        return np.asarray(self._viewer.dims.point, dtype=np.float64)

    @property
    def _drawn(self) -> list[tuple[CaseLayers, tuple[CaseView, ...]]]:
        """Which images each viewer shows."""
        main = tuple(view for view in (self.view, *self.exam.views) if view is not None)
        return [(self.layers, main), *((layers, (view,)) for layers, view in self.exam.companions)]

    def _refresh_pixels(self) -> None:
        for number, (layers, _) in enumerate(self._drawn):
            self.turns.put(f"news {number}", layers.refresh_pixels)

    def _draw_news(self) -> None:
        """Draw what has been read since the last time."""
        drawn = [
            (layers, [pyramid for view in views for pyramid in view.pyramids])
            for layers, views in self._drawn
        ]
        painted = self.case_outlines.many.pyramids
        pyramids = [*painted, *(pyramid for _, shown in drawn for pyramid in shown)]
        for pyramid in pyramids:
            for error in pyramid.take_errors():
                self._controller.show_error(error)
        # while more is on its way, not more often than the eye needs
        self._quiet += 1
        if any(pyramid.is_waiting for pyramid in pyramids) and self._quiet < QUIET:
            return
        for number, (layers, shown) in enumerate(drawn):
            news = [pyramid.take_news() for pyramid in shown]
            if any(news):
                self._quiet = 0
                self.turns.put(f"news {number}", layers.refresh_pixels)
        painted_news = [pyramid.take_news() for pyramid in painted]
        if any(painted_news):
            self._quiet = 0
            self.turns.put("painted", self.case_outlines.many.refresh_pixels)

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
        other = self.exam.case_at(position[-2:]) if self.view.grid.ndim == 2 else None
        if other is not None:
            self._controller.session.show_case(other)
            return
        object_id = self.marks.nearest(position[-self.view.grid.ndim :])
        if object_id is None and self.view.grid.ndim == 2:
            reach = PICK_PX / float(self._viewer.scene.camera.zoom)
            object_id = self.case_outlines.pick(position, reach) or None
        if object_id is not None:
            self._controller.session.select(object_id)
        elif self.view.grid.ndim == 3:
            self._go_to(position[-self.view.grid.ndim :])
