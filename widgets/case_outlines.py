"""The outlines of the case on the canvas: a few as shapes; thousands as painted tiles, of which those near are shapes to edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.widgets.layers.many_outlines import ManyOutlines, PreparedOutlines, is_many
from napari_medlab.widgets.layers.outlines import OutlineLayer
from napari_medlab.widgets.layers.tools import CorrectingTools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import Region
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["CaseOutlines"]

NEAR = 200
"""So many outlines at most become shapes when editing begins among many."""
Change = tuple["Region | None", "Region | None"]


class CaseOutlines:
    """Reads outlines off the GUI thread, draws them, and lets them be edited.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.layer = OutlineLayer(controller.viewer)
        self.many = ManyOutlines(controller.viewer)
        self.tools = CorrectingTools(controller.viewer, self.layer, controller.background)
        self._drawn: CaseView | None = None
        """The view whose outlines are drawn; None while they are being read."""
        self._changed: dict[str, Region | None] = {}
        """Of many, those that were edited since editing began, as they are now; None for removed ones."""
        self._stocked = np.zeros(2)
        self._run_id: str | None = None
        """The run whose outlines are drawn beside those of no run; all where None."""
        self._is_hidden = False
        self.many.noted.connect(controller.session.outlines_noted.emit)
        self.layer.edited.connect(lambda before, after: self._note_changes([(before, after)]))
        self.layer.edited_together.connect(lambda _, changes: self._note_changes(changes))
        self.layer.tool_changed.connect(self._on_tool)

    def make_room(self, view: CaseView) -> None:
        """Make room for another case: what was drawn is another patient's."""
        self._changed.clear()
        self._drawn = None
        self.many.make_room(view)
        self.layer.make_room(view)
        if self.layer.layer in self._controller.viewer.layers:
            # a layer that steps otherwise than the image would turn the viewer to another slice once it is drawn anew
            self.layer.show(view, [])

    def read(self, view: CaseView) -> None:
        """Read the outlines of a case and draw them, unless another case has come meanwhile."""
        controller, project = self._controller, self._controller.session.project
        if project is None or not view.case_id:
            return
        edits = controller.editing.outline_edits
        seat = "" if controller.session.is_adjudicating else project.reader

        def done(found: PreparedOutlines | list[Region]) -> None:
            if edits != controller.editing.outline_edits:
                self.read(view)  # something was edited while it was being read
            elif controller.display.view is view:
                controller.display.turns.put("outlines", lambda: self._draw(view, found))

        self._run_id = self._run_under_review()
        controller.background.run("outlines", _read, project, view, seat, self._run_id, on_done=done)

    def follow_review(self, view: CaseView) -> None:
        """Draw the outlines of another run, where another one is reviewed now."""
        if self._run_under_review() != self._run_id:
            self.read(view)

    def show(self, view: CaseView, regions: Sequence[Region]) -> None:
        """Draw a few outlines."""
        self.layer.show(view, regions)

    def owned_by(self, case_id: str, owner_id: str) -> list[Region] | None:
        """Return the outlines of an object as they are now; None where those of its case are not here."""
        view, index = self._drawn, self.many.index
        if view is None or view is not self._controller.display.view or view.case_id != case_id:
            return None
        if index is None:
            shown: Sequence[Region] = self.layer.regions
        else:
            edited = (region for region in self._changed.values() if region is not None)
            shown = [*(index.region(int(row)) for row in index.owned_by(owner_id)), *edited]
        return [region for region in shown if region.owner_id == owner_id]

    def pick(self, position: Any, reach: float) -> str:
        """Choose the outline around a position (the viewer's coordinates) among many; return its owner, or ""."""
        region_id = self.many.pick(position, reach)
        self.many.choose(region_id or "")
        index = self.many.index
        if region_id is None or index is None:
            return ""
        return index.region(index.row_of(region_id)).owner_id

    def follow(self) -> None:
        """Make other outlines editable where the reader has moved on among many."""
        view = self.layer.view
        if self.many.index is not None and self.layer.is_editing and view is not None:
            moved = np.abs(self._middle() - self._stocked)
            if (moved > self._half_canvas(view)).any():
                self._stock(view)

    def toggle(self) -> None:
        """Hide all outlines, or show them again."""
        for layer in self._layers:
            layer.visible = not layer.visible

    def hide(self, *, on: bool) -> None:
        """Hide all outlines, those of cases to come with them, while others are drawn in their place; or show them again."""
        self._is_hidden = on
        for layer in self._layers:
            layer.visible = not on

    # -- inside ---------------------------------------------------------------------------------------------------

    def _draw(self, view: CaseView, found: PreparedOutlines | list[Region]) -> None:
        session = self._controller.session
        self._changed.clear()
        self._drawn = view
        if isinstance(found, PreparedOutlines):
            self.layer.show(view, [])
            self.many.show(found)
            if self.layer.is_editing:
                self._stock(view)
        else:
            self.many.make_room(view)
            self.layer.show(view, found)
        self.layer.set_owner(session.selected_id, session.item.label if session.item else "nodule")
        if self._is_hidden:
            self.hide(on=True)

    @property
    def _layers(self) -> list[Any]:
        return [layer for layer in (self.layer.layer, self.many.layer) if layer is not None]

    def _on_tool(self, tool: str) -> None:
        """Make what is near editable when editing begins among many, and draw it with the others when it ends."""
        view = self.layer.view
        if self.many.index is None or view is None:
            return
        if tool and not self.layer.regions:
            self._stock(view)
        elif not tool:
            changed, self._changed = self._changed, {}
            for region in changed.values():
                if region is not None:
                    self.many.put_back(region)
            self.layer.show(view, [])

    def _stock(self, view: CaseView) -> None:
        index = self.many.index
        if index is None:
            return
        self._stocked = middle = self._middle()
        corners = view.to_stored(
            np.stack([middle - self._half_canvas(view), middle + self._half_canvas(view)])
        )
        rows = index.in_box(corners.min(axis=0), corners.max(axis=0))
        apart = np.abs(index.boxes(rows).mean(axis=1) - view.to_stored(middle)).max(axis=1)
        near = [index.region(int(row)) for row in rows[np.argsort(apart)[:NEAR]]]
        edited = [region for region in self._changed.values() if region is not None]
        self.layer.show(view, [*edited, *near])

    def _note_changes(self, changes: Sequence[Change]) -> None:
        """Draw what was edited among many as a shape alone, until editing ends."""
        if self.many.index is None:
            return
        for before, after in changes:
            for region in (before, after):
                if region is not None and region.region_id not in self._changed:
                    self.many.take_out(region.region_id)
            if before is not None:
                self._changed[before.region_id] = None
            if after is not None:
                self._changed[after.region_id] = after
        if not self.layer.is_editing:  # a button that works on what is chosen
            self._on_tool("")

    def _run_under_review(self) -> str | None:
        review = self._controller.session.review
        return None if review is None else review.run_id

    def _middle(self) -> Any:
        """Return the index (y, x), as shown, in the middle of the canvas."""
        view = self.layer.view
        scale = np.asarray(view.scale[-2:]) if view is not None else np.ones(2)
        return np.asarray(self._controller.viewer.scene.camera.center[-2:]) / scale

    def _half_canvas(self, view: CaseView) -> Any:
        camera, size = self._controller.viewer.scene.camera, self._controller.viewer.canvas.size
        return 0.5 * np.asarray(size, dtype=np.float64) / camera.zoom / np.asarray(view.scale[-2:])


def _read(project: Project, view: CaseView, seat: str, run_id: str | None) -> PreparedOutlines | list[Region]:
    table = project.region_table(view.case_id, reader=seat, beside=run_id)
    if is_many(view, table):
        return PreparedOutlines(view, table)
    return [table.region(row) for row in range(len(table))]
