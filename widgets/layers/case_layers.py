"""The layers that show a case in one viewer: image, marks, the chosen mark, and the cross where the planes meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.marks import Marks

__all__ = ["CHOSEN", "CROSS", "IMAGE", "MARKS", "CaseLayers"]

IMAGE, MARKS, CHOSEN, CROSS = "image", "candidates and misses", "chosen", "planes"
SPARE = 64
"""How many rows the layer of marks has to begin with."""

GAP = 8.0
"""The cross leaves this much (display units) free around its middle."""


class CaseLayers:
    """Keeps the four layers of a viewer up to date; every layer carries the image's scale, units and axis labels.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    order : tuple of int
        ``dims.order`` of the viewer: which axes of a volume are on the canvas.
    orientation : pair of str
        Where the vertical and the horizontal axis of the canvas point, such as ``("up", "right")``.
    """

    def __init__(self, viewer: Any, order: tuple[int, ...], orientation: tuple[str, str] = ("down", "right")) -> None:
        self.viewer = viewer
        self._order = order
        self._orientation = orientation
        self._view: CaseView | None = None
        self._layers: dict[str, Any] = {}

    def show_image(self, view: CaseView) -> None:
        """Show another case; the marks of the one before are taken away."""
        same_kind = self._view is not None and self._can_reuse(view)
        self._view = view
        if same_kind:
            image = self._layers[IMAGE]
            image.data = view.levels[0]
            image.scale = view.scale
            image.contrast_limits_range = _wider(view)
            image.contrast_limits = view.window
            for name in (MARKS, CHOSEN):
                self._layers[name].shown = False
        else:
            self._rebuild(view)
        self.fit()

    def show_marks(self, marks: Marks) -> None:
        """Draw these marks in place of those before."""
        layer, count = self._layers[MARKS], len(marks)
        # The layer only ever grows: where napari slices in a thread, that would look rows up that are gone.
        capacity = max(len(layer.data), SPARE)
        while capacity < count:
            capacity *= 2
        # one redraw for all of it, instead of one for each property
        with layer.events.blocker_all():
            layer.selected_data = set()
            layer.data = _padded(marks.positions, capacity)
            layer.shown = np.arange(capacity) < count
            if count:
                colours = _padded(marks.colours(), capacity)
                layer.size = _padded(marks.sizes, capacity)
                layer.symbol = [*marks.symbols(), *["disc"] * (capacity - count)]
                layer.border_color = colours
                # an empty middle: what lies below must stay visible
                layer.face_color = np.column_stack([colours[:, :3], np.zeros(capacity)])
        layer.refresh()

    def show_chosen(self, position: NDArray[np.float64] | None, size: float, text: str) -> None:
        """Draw a ring around the chosen mark with its text, or take it away."""
        layer = self._layers[CHOSEN]
        layer.shown = position is not None
        if position is not None:
            layer.data = position[None]
            layer.size = [size * 1.35 + 4]
            layer.text = {"string": [text], "size": 11, "color": "white", "anchor": "upper_left"}

    def go_to(self, position: NDArray[np.float64]) -> None:
        """Turn to the slice of a position (the viewer's coordinates), and mark where the planes meet."""
        if self._view is None:
            return
        self.viewer.dims.point = tuple(position)
        if self._view.grid.ndim == 3:
            # lines between two slices would be on neither
            spacing = np.asarray(self._view.scale)
            self._layers[CROSS].data = _cross(np.rint(position / spacing) * spacing, self._view)
        else:
            self.viewer.scene.camera.center = (0.0, *position)

    def hide_cross(self) -> None:
        """Take the cross away until the next :meth:`go_to`."""
        if CROSS in self._layers:
            self._layers[CROSS].data = np.zeros((0, 2, 3))

    def fit(self) -> None:
        """Show the whole slice."""
        self.viewer.fit_to_view()
        if self._order != (0, 1, 2) or self._orientation != ("down", "right"):
            self.viewer.scene.camera.orientation2d = self._orientation

    def _can_reuse(self, view: CaseView) -> bool:
        last = self._view
        plain = len(view.levels) == 1 and isinstance(view.levels[0], np.ndarray)
        return (
            last is not None and plain and len(last.levels) == 1
            and all(layer in self.viewer.layers for layer in self._layers.values())
            and (last.kind, last.is_rgb, last.grid.ndim, last.grid.unit)
            == (view.kind, view.is_rgb, view.grid.ndim, view.grid.unit)
        )  # fmt: skip

    def _rebuild(self, view: CaseView) -> None:
        viewer, ndim = self.viewer, view.grid.ndim
        for layer in self._layers.values():
            if layer in viewer.layers:
                viewer.layers.remove(layer)
        common = {"units": view.units, "axis_labels": view.axis_labels}
        multiscale = len(view.levels) > 1
        pixels = view.levels if multiscale else view.levels[0]
        image_options: dict[str, Any] = {} if view.is_rgb else {"contrast_limits": view.window, "colormap": "gray"}
        image = viewer.add_image(pixels, name=IMAGE, rgb=view.is_rgb, multiscale=multiscale, scale=view.scale,
                                 cache=False, **image_options, **common)  # fmt: skip
        image.locked = True
        plain = {"scale": (1.0,) * ndim, **common}
        plain_points = {"shown": False, "projection_mode": "all", **plain}
        marks = viewer.add_points(np.zeros((SPARE, ndim)), name=MARKS, border_width=0.1, **plain_points)
        chosen = viewer.add_points(np.zeros((1, ndim)), name=CHOSEN, border_width=0.035, border_color="white",
                                   face_color="transparent", symbol="disc", **plain_points)  # fmt: skip
        self._layers = {IMAGE: image, MARKS: marks, CHOSEN: chosen}
        if ndim == 3:
            self._layers[CROSS] = viewer.add_vectors(
                np.zeros((0, 2, 3)), ndim=3, name=CROSS, edge_color="#56B4E9", edge_width=0.25, opacity=0.7,
                vector_style="line", **plain,
            )  # fmt: skip
            viewer.dims.order = self._order
        viewer.layers.selection.active = image


def _padded(rows: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the rows with zeros after them."""
    out = np.zeros((length, *rows.shape[1:]))
    out[: len(rows)] = rows
    return out


def _wider(view: CaseView) -> tuple[float, float]:
    low, high = view.window
    return (min(low, -1024.0), max(high, 3071.0))


def _cross(position: NDArray[np.float64], view: CaseView) -> NDArray[np.float64]:
    """Return six lines (6, 2, 3), start and direction, from around the position to the borders of the volume."""
    extent = np.asarray(view.grid.shape) * np.asarray(view.scale)
    lines: list[Sequence[NDArray[np.float64]]] = []
    for axis in range(3):
        for sign, reach in ((-1.0, position[axis]), (1.0, extent[axis] - position[axis])):
            if reach > GAP:
                direction = np.zeros(3)
                direction[axis] = sign
                lines.append((position + direction * GAP, direction * (reach - GAP)))
    return np.asarray(lines, dtype=np.float64).reshape(-1, 2, 3)
