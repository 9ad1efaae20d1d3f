"""What a helper proposes, drawn until the reader accepts or discards it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medlab.widgets.layers.outlines import to_shown

if TYPE_CHECKING:
    from napari_medlab.annotations import Region
    from napari_medlab.widgets.layers.outlines import OutlineLayer

__all__ = ["Preview"]

NAME = "preview"
COLOUR = "#D55E00"


class Preview:
    """One proposed change, in a layer of its own; nothing is stored before it is accepted.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    outlines : OutlineLayer
        Where an accepted change goes.

    Signals
    -------
    changed(str)
        What is proposed now; "" for nothing.
    """

    changed = Signal(str)

    def __init__(self, viewer: Any, outlines: OutlineLayer) -> None:
        self._viewer = viewer
        self._outlines = outlines
        self._layer: Any = None
        self._title = ""
        self._change: tuple[Region | None, Region | None] = (None, None)
        outlines.shown.connect(self.discard)
        outlines.edited.connect(lambda before, after: self.discard())
        outlines.edited_together.connect(lambda title, changes: self.discard())

    @property
    def is_shown(self) -> bool:
        """Whether something waits to be accepted or discarded."""
        return bool(self._title)

    def show(self, title: str, before: Region | None, after: Region | None) -> None:
        """Draw what a region would become; ``title`` says what was done to it."""
        self.discard()
        view = self._outlines.view
        if view is None or (before is None and after is None):
            self._outlines.told.emit("Nothing was found here.")
            return
        self._title, self._change = title, (before, after)
        rings = to_shown(after, view).rings if after is not None else ()
        active = self._viewer.layers.selection.active
        self._layer = self._viewer.add_shapes(
            ndim=view.grid.ndim, name=NAME, scale=view.scale, units=view.units, axis_labels=view.axis_labels,
        )  # fmt: skip
        if rings:
            # broken lines are not to be had in napari: another colour, and a light fill
            face = [*(int(COLOUR[at : at + 2], 16) / 255 for at in (1, 3, 5)), 0.15]
            self._layer.add(
                list(rings),
                shape_type="polygon",
                edge_width=self._outlines.line_width * 1.5,
                edge_color=COLOUR,
                face_color=np.asarray(face),
            )
        self._viewer.layers.selection.active = active
        self.changed.emit(title)

    def accept(self) -> None:
        """Make the change, as one edit."""
        title, change = self._title, self._change
        self.discard()
        if title:
            self._outlines.apply(title, [change])

    def discard(self) -> None:
        """Take the preview away."""
        if not self._title:
            return
        self._title, self._change = "", (None, None)
        if self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None
        self.changed.emit("")
