"""The outline of the chosen object painted as a mask: a small Labels layer over a part of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medlab.annotations import Region
from napari_medlab.correcting.masks import Patch, patch_in, region_of
from napari_medlab.errors import InputRefusedError
from napari_medlab.widgets.layers.outlines import BRUSH, CHOSEN_COLOUR, to_shown, to_stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.outlines import OutlineLayer

__all__ = ["MODES", "MaskBrush"]

NAME = "mask"
MODES = {"paint": "paint", "erase": "erase", "polygon": "polygon", "fill": "fill"}
"""What the mouse does with the mask, and napari's name for it."""
SIDE, SLICES, VOXELS = 4096, 64, 2**25
"""A patch has at most so many pixels a side, slices, and voxels in all."""


class MaskBrush:
    """Lets the mask of the chosen object be painted; every finished stroke becomes its exact outline.

    Undoing is the project's: napari's own history of the layer is emptied after each stroke.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    outlines : OutlineLayer
        Where the strokes go.
    later : callable, optional
        Calls a function after so many milliseconds, and after the event that is being handled.

    Signals
    -------
    changed(str)
        What the mouse does with the mask now: one of :data:`MODES`, or "" when the brush was put away.
    """

    changed = Signal(str)

    def __init__(
        self,
        viewer: Any,
        outlines: OutlineLayer,
        later: Callable[[int, Callable[[], None]], None] | None = None,
    ) -> None:
        self._viewer = viewer
        self._outlines = outlines
        self._later = later or QTimer.singleShot
        self._layer: Any = None
        self._view: CaseView | None = None
        self._region: Region | None = None
        self._origin: tuple[int, ...] = ()
        self._known: NDArray[np.uint8] = np.zeros((0, 0), np.uint8)
        self._is_due = False
        self._size = 10
        self._is_3d = False
        outlines.shown.connect(self._on_shown)
        outlines.tool_changed.connect(self._on_tool)
        viewer.dims.events.point.connect(self._on_slice)

    @property
    def layer(self) -> Any:
        """The Labels layer; None while the brush is away."""
        return self._layer

    @property
    def mode(self) -> str:
        """What the mouse does with the mask; "" while the brush is away."""
        return str(self._layer.mode) if self._layer is not None else ""

    @property
    def size(self) -> int:
        """The diameter of the brush in pixels."""
        return self._size

    @size.setter
    def size(self, pixels: int) -> None:
        self._size = max(1, int(pixels))
        if self._layer is not None:
            self._layer.brush_size = self._size

    @property
    def is_3d(self) -> bool:
        """Whether the brush is a ball; otherwise it is a disc on one slice."""
        return self._is_3d

    @is_3d.setter
    def is_3d(self, on: bool) -> None:
        self._is_3d = on
        if self._layer is not None:
            self._layer.n_edit_dimensions = self._layer.ndim if on else 2

    def use(self, mode: str = "paint") -> None:
        """Give the mouse to the brush, or to the eraser, the polygon or the bucket; the same again puts them away."""
        if mode == self.mode:
            self.stop()
            return
        if self._layer is None and not self._start():
            return
        self._layer.mode = MODES[mode]
        self._viewer.layers.selection.active = self._layer
        if self._outlines.tool != BRUSH:
            self._outlines.use(BRUSH)
        self.changed.emit(mode)

    def stop(self) -> None:
        """Put the brush away; what was painted is stored already."""
        if self._layer is None:
            return
        self._take_over()
        layer, self._layer, self._view = self._layer, None, None
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self._outlines.hide()
        if self._outlines.tool == BRUSH:
            self._outlines.use("")
        self.changed.emit("")

    def _start(self) -> bool:
        view = self._outlines.view
        if view is None or not view.case_id or self._outlines.layer is None:
            return False
        self._view = view
        self._region = self._outlines.chosen_region() or Region(view.case_id, (), *self._outlines.owner)
        try:
            patch = patch_in(to_shown(self._region, view), _box(view, self._place(view)))
        except InputRefusedError as error:
            self._outlines.told.emit(str(error))
            return False
        self._origin = patch.origin
        self._known = patch.mask.astype(np.uint8)
        self._layer = self._viewer.add_labels(
            self._known.copy(), name=NAME, opacity=0.4, scale=view.scale, units=view.units, axis_labels=view.axis_labels,
            translate=np.asarray(patch.origin) * np.asarray(view.scale), colormap=_colormap(),
        )  # fmt: skip
        self._layer.selected_label = 1
        self._layer.brush_size = self._size
        self._layer.n_edit_dimensions = self._layer.ndim if self._is_3d else 2
        self._layer.events.paint.connect(self._on_paint)
        self._outlines.hide(self._region.region_id)
        return True

    def _place(self, view: CaseView) -> NDArray[np.float64]:
        """Return the index that is looked at."""
        if view.grid.ndim == 2:
            return np.asarray(self._viewer.scene.camera.center[-2:]) / np.asarray(view.scale)
        return np.asarray(self._viewer.dims.point) / np.asarray(view.scale)

    def _on_paint(self, event: Any = None) -> None:
        if not self._is_due:
            self._is_due = True
            # napari is still busy with the release of the mouse
            self._later(0, self._take_over)

    def _take_over(self) -> None:
        """Make the stroke an outline: only on the slices on which it changed something."""
        view, region = self._view, self._region
        if not self._is_due or self._layer is None or view is None or region is None:
            return
        self._is_due = False
        data = self._layer.data
        rows = _changed_rows(data, self._known)
        if len(rows) == 0:
            return
        data[rows] = data[rows] != 0
        self._known[rows] = data[rows]
        slices = [None] if data.ndim == 2 else [self._origin[0] + int(row) for row in rows]
        shown = to_shown(region, view)
        painted = region_of(Patch(self._known.view(np.bool_), self._origin), shown, slices)
        after = to_stored(painted, shown, region, view) if painted is not None else None
        # napari has no public way to forget what was painted
        self._layer._reset_history()
        self._region = (
            after if after is not None else Region(region.case_id, (), region.owner_id, region.label)
        )
        self._outlines.apply("mask painted", [(region if region.rings else None, after)])

    def _on_tool(self, tool: str) -> None:
        if tool != BRUSH:
            self.stop()

    def _on_shown(self) -> None:
        """Follow what was undone, or read again; another case puts the brush away."""
        view, region = self._view, self._region
        if self._layer is None or view is None or region is None:
            return
        if self._outlines.view is None or self._outlines.view.case_id != view.case_id:
            self.stop()
            return
        now = self._outlines.region(region.region_id)
        if now is None or now.digest() != region.digest():
            self._again(self._layer.mode)

    def _on_slice(self, event: Any = None) -> None:
        """Take the slab around the slice shown."""
        if self._layer is None or self._view is None or self._view.grid.ndim == 2:
            return
        at = round(float(self._viewer.dims.point[0]) / self._view.scale[0])
        if not self._origin[0] <= at < self._origin[0] + len(self._known):
            self._again(self._layer.mode)

    def _again(self, mode: Any) -> None:
        """Take the patch anew, with what is stored now."""
        self._take_over()
        layer, self._layer = self._layer, None
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self.use(str(mode)) if str(mode) in MODES else self.use()


def _changed_rows(data: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the rows of the first axis that differ: slices of a volume, lines of a plane."""
    return np.flatnonzero((data != known).reshape(len(data), -1).any(axis=1))


def _box(view: CaseView, place: NDArray[np.float64]) -> tuple[slice, ...]:
    """Return the part of the image around a place that is painted on."""
    shape = view.grid.shape
    sides = [min(size, SIDE) for size in shape[-2:]]
    if len(shape) == 3:
        sides.insert(0, max(1, min(shape[0], SLICES, VOXELS // (sides[0] * sides[1]))))
    firsts = [
        int(np.clip(round(float(at)) - side // 2, 0, size - side))
        for at, side, size in zip(place, sides, shape, strict=True)
    ]
    return tuple(slice(first, first + side) for first, side in zip(firsts, sides, strict=True))


def _colormap() -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    return DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: CHOSEN_COLOUR})
