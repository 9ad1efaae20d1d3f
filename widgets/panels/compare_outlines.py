"""The outlines of both models and of the reference on the canvas, each in a colour of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.reports.lesion_outlines import LesionOutlines, Side, outlines_around
from napari_medlab.reports.pictures import OUTLINE_COLOURS
from napari_medlab.widgets.layers.case_layers import MARKS

if TYPE_CHECKING:
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.panels.compare_rows import LesionRow

__all__ = ["ComparedOutlines", "legend"]

NAME = "before and after"
THINNEST, LINE_PX = 0.1, 2.0
"""The least width of lines in pixels of the image, and theirs on the screen."""
USUAL = {"mm": 10.0, "um": 100.0, "px": 20.0}
"""How large a place of unknown size is taken to be, by the unit of the image."""


def legend() -> str:
    """Return which colour is whose as rich text, on one line."""
    return " &nbsp; ".join(
        f'<span style="color:{colour}">━━</span>&nbsp;{side}' for side, colour in OUTLINE_COLOURS.items()
    )


class ComparedOutlines:
    """Draws what two models outline around the place that is visited, as long as nobody turns elsewhere.

    The outlines that can be edited and the marks of the run under review are hidden meanwhile: their colours mean
    something else, and the reference is drawn here, too.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._layer: Any = None
        self._case_id = ""
        self._drawing: tuple[LesionRow, LesionOutlines, str] | None = None

    def visit(self, lesion: LesionRow, sides: tuple[Side, Side], text: str) -> None:
        """Show the place of a lesion, and what each side outlines there once that is read."""
        controller, project = self._controller, self._controller.session.project
        case = next((case for case in controller.cases if case.case_id == lesion.case_id), None)
        if project is None or case is None:
            return
        if lesion.case_id != self._case_id:
            self.clear()  # lines of one image mean nothing over another
        self._case_id, self._drawing = lesion.case_id, None
        controller.display.visit(lesion.case_id, lesion.centre, text)
        work = partial(outlines_around, project, case, sides, lesion.centre)
        controller.background.run(
            "compared outlines", work, on_done=lambda found: self._take(lesion, found, text)
        )

    def clear(self) -> None:
        """Take the outlines away, and show those that can be edited again."""
        self._case_id, self._drawing = "", None
        layers = self._controller.viewer.layers
        if self._layer is not None and self._layer in layers:
            layers.remove(self._layer)
            self._hide_others(on=False)
        self._layer = None

    def follow_case(self, case_id: str) -> None:
        """Take the outlines away where another case is turned to."""
        if case_id != self._case_id:
            self.clear()

    def follow_view(self) -> None:
        """Draw what was read once the image of its case is on the canvas."""
        display, drawing = self._controller.display, self._drawing
        if drawing is not None and display.view is not None and display.view.case_id == drawing[0].case_id:
            display.turns.put("compared", partial(self._draw, display.view, *drawing))

    # -- inside ---------------------------------------------------------------------------------------------------

    def _take(self, lesion: LesionRow, found: LesionOutlines, text: str) -> None:
        if lesion.case_id == self._case_id:
            self._drawing = lesion, found, text
            self.follow_view()

    def _draw(self, view: CaseView, lesion: LesionRow, found: LesionOutlines, text: str) -> None:
        display = self._controller.display
        if display.view is not view or self._case_id != view.case_id:
            return
        if not display.turns.is_done:  # layers that are still to be made would lie over these
            display.turns.put("compared", partial(self._draw, view, lesion, found, text))
            return
        size = max(lesion.diameter, 0.0) or USUAL[view.grid.unit]
        position = view.to_display(np.asarray(lesion.centre)[: view.grid.ndim])
        for layers in display.viewers_of_case:
            layers.show_chosen(position, size, text)
            layers.zoom_to(position, size)
        rings = [
            (view.to_shown(ring), side)
            for side, some in found.by_side.items()
            for ring in some
            if len(ring) > 2
        ]
        layer = self._layer_for(view)
        layer.data = []
        if rings:
            zoom = float(self._controller.viewer.scene.camera.zoom)
            width = max(THINNEST, LINE_PX / (zoom * view.scale[-1]))
            colours = [OUTLINE_COLOURS[side] for _, side in rings]
            layer.add([ring for ring, _ in rings], shape_type="polygon", edge_width=width, edge_color=colours,
                      face_color="transparent")  # fmt: skip
        layers = self._controller.viewer.layers
        layers.move(layers.index(layer), len(layers))
        self._hide_others(on=True)

    def _hide_others(self, *, on: bool) -> None:
        self._controller.display.case_outlines.hide(on=on)
        display = self._controller.display
        everywhere = (display.layers, *(display.planes.planes if display.planes is not None else ()))
        for shown in display.viewers_of_case if on else everywhere:
            if MARKS in shown.viewer.layers:
                shown.viewer.layers[MARKS].visible = not on

    def _layer_for(self, view: CaseView) -> Any:
        """Return the layer, made anew where the image has other axes or another unit."""
        viewer, layer = self._controller.viewer, self._layer
        if layer is not None and layer in viewer.layers:
            if layer.ndim == view.grid.ndim and layer.metadata["unit"] == view.grid.unit:
                layer.scale = view.scale
                return layer
            viewer.layers.remove(layer)
        active = viewer.layers.selection.active
        self._layer = viewer.add_shapes(
            ndim=view.grid.ndim, name=NAME, scale=view.scale, units=view.units, axis_labels=view.axis_labels,
            metadata={"unit": view.grid.unit},
        )  # fmt: skip
        self._layer.editable = False
        viewer.layers.selection.active = active
        return self._layer
