"""The layers that show a case in one viewer: image, marks, the chosen mark, and the cross where the planes meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Window
    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.marks import Marks

__all__ = ["CHOSEN", "CROSS", "IMAGE", "MARKS", "PLACEHOLDER", "Beside", "CaseLayers", "colormap_of"]

IMAGE, MARKS, CHOSEN, CROSS = "image", "candidates and misses", "chosen", "planes"
PLACEHOLDER = "medlab_placeholder"
"""In the metadata of layers that show no case: they make room for whatever else is opened."""

SPARE = 64
"""How many rows the layer of marks has to begin with."""

RING_ON_SLIDES = "#101010"
"""Stained tissue on glass is bright."""
CROSS_PX, LINE_PX = 2.0, 2.5
THINNEST, THICKEST = 0.004, 0.15
"""The least and greatest part of a mark that its line may take."""
LEAST_PX, AROUND = 56.0, 5.0
"""An error that is gone to is at least so many pixels wide, and takes no more than this part of the canvas."""

GAP = 8.0
"""The cross leaves this much (display units) free around its middle."""


CHANNEL_COLOURS = ("blue", "green", "red", "magenta", "cyan", "yellow", "gray")
"""For fluorescence: nuclei, which come first by custom, in blue."""


class Beside(NamedTuple):
    """Another view of the exam, drawn beside the case.

    Parameters
    ----------
    view : CaseView
    place : (y, x)
        Where its first pixel lies in the coordinates of the case.
    """

    view: CaseView
    place: tuple[float, float]


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

    def __init__(
        self, viewer: Any, order: tuple[int, ...], orientation: tuple[str, str] = ("down", "right")
    ) -> None:
        self.viewer = viewer
        self._order = order
        self._orientation = orientation
        self._view: CaseView | None = None
        self._made_for: CaseView | None = None
        """The case that the layers are of; None while they are being made, which may be given up half way."""
        self._layers: dict[str, Any] = {}
        self._images: list[Any] = []
        self._beside: list[Any] = []
        self._lines_for = 1.0
        """The zoom that lines are drawn for."""

    def show_image(self, view: CaseView) -> None:
        """Show another case at once; see :meth:`image_steps`."""
        for step in self.image_steps(view):
            step()

    def image_steps(self, view: CaseView) -> list[Callable[[], None]]:
        """Return what it takes to show another case, in pieces that each hold the window for a moment only.

        The marks of the case before, and what lay beside it, are taken away. Layers are kept where they can show the
        new case; making them anew takes napari some tenths of a second each.
        """

        def begin() -> None:
            self._view = view
            if self.can_reuse(view):
                for layer in self._beside:  # of another patient, until the next ones are there
                    layer.visible = False
            else:
                self._take_away(self._beside)

        def finish() -> None:
            self.show_window(view.windows[0])
            self.fit()
            for layer in (*self._images, *self._layers.values()):
                layer.metadata = {} if view.case_id else {PLACEHOLDER: True}

        return [begin, *(self._reusing(view) if self.can_reuse(view) else self._making(view)), finish]

    def _reusing(self, view: CaseView) -> list[Callable[[], None]]:
        def change() -> None:
            image = self._layers[IMAGE]
            image.data = view.levels if image.multiscale else view.levels[0]
            image.metadata = view.metadata
            for layer in self._layers.values():
                if not np.array_equal(layer.scale, view.scale):  # each is a redraw
                    layer.scale = view.scale
            self.hide_cross()  # as long as the volume before: the new one would be fitted beside it
            for name in (MARKS, CHOSEN):
                layer = self._layers[name]
                with layer.events.blocker_all():
                    # nothing of theirs may reach beyond the new image: napari would let the reader go there
                    layer.data = np.zeros_like(layer.data)
                    layer.shown = False
                    layer.border_color = "transparent"
                layer.refresh()

        return [change]

    def show_beside(self, others: Sequence[Beside]) -> None:
        """Show other views of the exam around the case, and all of them at once."""
        if len(self._beside) == len(others) and all(
            _fits(layer, view) for layer, (view, _) in zip(self._beside, others, strict=True)
        ):
            for layer, beside in zip(self._beside, others, strict=True):
                _change_image(layer, beside)
        else:
            self._take_away(self._beside)
            active = self.viewer.layers.selection.active
            for view, place in others:
                self._beside += self._add_images(view, view.title, translate=place)
            for layer in self._beside:
                self.viewer.layers.move(self.viewer.layers.index(layer), 0)  # marks stay on top
            self.viewer.layers.selection.active = active
        self.fit()

    def show_window(self, window: Window) -> None:
        """Set the limits of brightness; images of several channels have theirs for each."""
        if self._view is None or self._view.is_rgb or len(self._view.channels) > 1:
            return
        image = self._layers[IMAGE]
        image.contrast_limits_range = _wider(self._view, window)
        image.contrast_limits = (window.low, window.high)
        image.colormap = colormap_of(window, is_inverted=self._view.is_inverted)

    def refresh_pixels(self) -> None:
        """Draw the image again: more of it has been read."""
        for layer in (*self._images, *self._beside):
            layer.refresh(thumbnail=False, highlight=False, extent=False)

    @property
    def _scale(self) -> NDArray[np.float64]:
        """What one step of an index is, for layers that lie on the image's own grid."""
        return np.ones(1) if self._view is None else np.asarray(self._view.scale)

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
            layer.data = _padded(marks.positions / self._scale, capacity)
            layer.shown = np.arange(capacity) < count
            # in 2D napari draws what is not shown, so that it has to have neither size nor colour
            colours = _padded(marks.colours().reshape(-1, 4), capacity)
            layer.size = _padded(marks.sizes / self._scale[-1], capacity)
            layer.border_width = self._line_widths(layer)
            layer.border_color = colours
            # an empty middle: what lies below must stay visible
            layer.face_color = np.column_stack([colours[:, :3], np.zeros(capacity)])
            if count:
                layer.symbol = [*marks.symbols(), *["disc"] * (capacity - count)]
        layer.refresh()

    def show_chosen(self, position: NDArray[np.float64] | None, size: float, text: str) -> None:
        """Draw a ring around the chosen mark with its text, or take it away."""
        layer = self._layers[CHOSEN]
        # one redraw for all of it, as with the marks
        with layer.events.blocker_all():
            layer.shown = position is not None
            if position is None:
                layer.border_color = "transparent"
            else:
                layer.data = position[None] / self._scale
                layer.border_color = colour = (
                    RING_ON_SLIDES if self._view is not None and self._view.kind == "slide" else "white"
                )
                layer.size = [(size * 1.35 + 4) / self._scale[-1]]
                layer.border_width = self._line_widths(layer)
                beside = np.zeros(len(position))
                beside[list(self._order[-2:]) if len(position) == 3 else [0, 1]] = (
                    0.75 * (size + 4) / self._scale[-1]
                )
                layer.text = {
                    "string": [text],
                    "size": 11,
                    "color": colour,
                    "anchor": "upper_left",
                    "translation": beside,
                }
        layer.refresh()

    def go_to(self, position: NDArray[np.float64]) -> None:
        """Turn to the slice of a position (the viewer's coordinates), and mark where the planes meet."""
        if self._view is None:
            return
        self.viewer.dims.point = tuple(position)
        if self._view.grid.ndim == 3:
            # lines between two slices would be on neither
            self._layers[CROSS].data = _cross(np.rint(position / self._scale), self._view)
        else:
            self.viewer.scene.camera.center = (0.0, *position)

    def zoom_to(self, position: NDArray[np.float64], size: float) -> None:
        """Bring an object to the middle of the canvas, large enough to be judged and small enough to see what is around it."""
        camera, height = self.viewer.scene.camera, min(self.viewer.canvas.size)
        if self._view is None or size <= 0 or not height:
            return
        most = height / (AROUND * size)
        camera.zoom = float(np.clip(camera.zoom, min(LEAST_PX / size, most), most))
        shown = list(self._order[-2:]) if self._view.grid.ndim == 3 else [0, 1]
        camera.center = (0.0, *self._in_sight(position[shown], shown))
        self.thin_lines()

    def _in_sight(self, centre: NDArray[np.float64], shown: list[int]) -> NDArray[np.float64]:
        """Return where to look so that no canvas is left empty beside an image that could fill it."""
        if self._view is None:
            return centre
        size = np.asarray(self._view.grid.shape)[shown] * np.asarray(self._view.scale)[shown]
        half = (
            0.5 * np.asarray(self.viewer.canvas.size, dtype=np.float64) / float(self.viewer.scene.camera.zoom)
        )
        middle: NDArray[np.float64] = np.where(
            2 * half >= size, size / 2, np.clip(centre, half, np.maximum(size - half, half))
        )
        return middle

    def thin_lines(self) -> None:
        """Draw marks, ring and cross in lines of one width, whatever the zoom."""
        zoom = float(self.viewer.scene.camera.zoom)
        if abs(np.log2(zoom / self._lines_for)) < 0.3:
            return
        self._lines_for = zoom  # where there are no marks yet
        self._thin_cross()
        for name in (MARKS, CHOSEN):
            if name in self._layers:
                self._layers[name].border_width = self._line_widths(self._layers[name])

    def _line_widths(self, layer: Any) -> NDArray[np.float64]:
        """Return which part of each mark its line takes at the present zoom."""
        self._lines_for = float(self.viewer.scene.camera.zoom)
        across = np.asarray(layer.size) * float(self._scale[-1]) * self._lines_for
        return np.clip(LINE_PX / np.maximum(across, 1.0), THINNEST, THICKEST)

    def _thin_cross(self) -> None:
        """Draw the cross in lines of one width whatever the zoom: napari takes it in steps of the grid."""
        if CROSS in self._layers:
            self._layers[CROSS].edge_width = (
                CROSS_PX / float(self.viewer.scene.camera.zoom) / float(self._scale[-1])
            )

    def hide_cross(self) -> None:
        """Take the cross away until the next :meth:`go_to`."""
        if CROSS in self._layers:
            self._layers[CROSS].data = np.zeros((0, 2, 3))

    def fit(self) -> None:
        """Show the whole slice; planar images stand as they are stored whatever the plane."""
        self.viewer.fit_to_view()
        is_flat = self._view is not None and self._view.grid.ndim == 2
        wanted = ("down", "right") if is_flat else self._orientation
        if tuple(str(side) for side in self.viewer.scene.camera.orientation2d) != wanted:
            self.viewer.scene.camera.orientation2d = wanted

    def can_reuse(self, view: CaseView) -> bool:
        """Tell whether the layers there are can show a case: making them anew takes napari some tenths of a second."""
        last = self._made_for
        return (
            last is not None and {IMAGE, MARKS, CHOSEN} <= self._layers.keys() and len(last.channels) == len(view.channels) == 1
            and (len(last.levels) > 1) == (len(view.levels) > 1)
            and all(layer in self.viewer.layers for layer in self._layers.values())
            and (last.kind, last.is_rgb, last.grid.ndim, last.grid.unit)
            == (view.kind, view.is_rgb, view.grid.ndim, view.grid.unit)
        )  # fmt: skip

    def _take_away(self, layers: list[Any]) -> None:
        for layer in layers:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        layers.clear()

    def _add_images(self, view: CaseView, name: str, **place: Any) -> list[Any]:
        """Add one layer for each channel and return them."""
        multiscale = len(view.levels) > 1
        made = []
        for number, levels in enumerate(view.channels):
            options: dict[str, Any] = {}
            if not view.is_rgb:
                limits = (
                    view.channel_limits[number]
                    if view.channel_limits
                    else (view.windows[0].low, view.windows[0].high)
                )
                options = {
                    "contrast_limits": limits,
                    "colormap": colormap_of(view.windows[0], is_inverted=view.is_inverted),
                }
            title = name
            if view.channel_names:
                title = f"{name}: {view.channel_names[number]}" if number else name
                options |= {"colormap": CHANNEL_COLOURS[number % len(CHANNEL_COLOURS)],
                            "blending": "additive" if number else "translucent_no_depth"}  # fmt: skip
            image = self.viewer.add_image(
                levels if multiscale else levels[0], name=title, rgb=view.is_rgb, multiscale=multiscale,
                scale=view.scale, units=view.units, axis_labels=view.axis_labels, metadata=view.metadata, cache=False,
                **options, **place,
            )  # fmt: skip
            image.locked = True
            made.append(image)
        return made

    def _making(self, view: CaseView) -> list[Callable[[], None]]:
        viewer, ndim = self.viewer, view.grid.ndim
        # the image's own scale: napari steps through a volume by the smallest of all layers
        plain = {"scale": view.scale, "units": view.units, "axis_labels": view.axis_labels}
        points = {
            "shown": False,
            "border_color": "transparent",
            "face_color": "transparent",
            "projection_mode": "all",
            **plain,
        }

        def take_away() -> None:
            self._take_away([*self._images, *self._layers.values()])
            self._layers.clear()
            self._made_for = None

        def add_images() -> None:
            self._images = self._add_images(view, IMAGE)
            self._layers[IMAGE] = self._images[0]
            self.fit()  # at once: it is not to be seen for a moment as near as the case before

        def add_marks() -> None:
            self._layers[MARKS] = viewer.add_points(
                np.zeros((SPARE, ndim)), name=MARKS, border_width=0.06, **points
            )

        def add_chosen() -> None:
            self._layers[CHOSEN] = viewer.add_points(
                np.zeros((1, ndim)), name=CHOSEN, border_width=0.035, symbol="disc", **points
            )

        def add_cross() -> None:
            if ndim == 3:
                self._layers[CROSS] = viewer.add_vectors(
                    np.zeros((0, 2, 3)), ndim=3, name=CROSS, edge_color="#56B4E9", edge_width=1.2, opacity=0.7,
                    vector_style="line", **plain,
                )  # fmt: skip
                viewer.dims.order = self._order
            if self._images[0] in viewer.layers:  # which the reader may have cleared meanwhile
                viewer.layers.selection.active = self._images[0]
            self._made_for = view

        return [take_away, add_images, add_marks, add_chosen, add_cross]


def _fits(layer: Any, view: CaseView) -> bool:
    """Tell whether an image layer can show another image: making one anew takes napari some tenths of a second."""
    is_alike = (
        layer.multiscale == (len(view.levels) > 1) and layer.rgb == view.is_rgb and len(view.channels) == 1
    )
    return bool(is_alike and layer.metadata.get("unit") == view.grid.unit)


def _change_image(layer: Any, beside: Beside) -> None:
    view, place = beside
    layer.data = view.levels if layer.multiscale else view.levels[0]
    layer.scale, layer.translate = view.scale, place
    layer.name, layer.metadata = view.title, view.metadata
    if not view.is_rgb:
        window = view.windows[0]
        layer.contrast_limits_range = _wider(view, window)
        layer.contrast_limits = (window.low, window.high)
        layer.colormap = colormap_of(window, is_inverted=view.is_inverted)
    layer.visible = True


def colormap_of(window: Window, *, is_inverted: bool) -> Any:
    """Return the greys of a window: its curve where it has one, dark for high values where they are inverted."""
    if not window.curve:
        return "gray_r" if is_inverted else "gray"
    from napari.utils import Colormap

    grey = np.clip(np.asarray(window.curve), 0, 1)
    if is_inverted:
        grey = 1 - grey
    colours = np.column_stack([grey, grey, grey, np.ones(len(grey))])
    return Colormap(
        colours, controls=np.linspace(0, 1, len(grey)), name=f"VOI {hash(window) & 0xFFFFFFFF:08x}"
    )


def _padded(rows: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Return the rows with zeros after them."""
    out = np.zeros((length, *rows.shape[1:]))
    out[: len(rows)] = rows
    return out


def _wider(view: CaseView, window: Window) -> tuple[float, float]:
    """Return how far the sliders of brightness go."""
    if view.kind == "volume":
        return (min(window.low, -1024.0), max(window.high, 3071.0))
    width = window.high - window.low
    return (window.low - width, window.high + width)


def _cross(position: NDArray[np.float64], view: CaseView) -> NDArray[np.float64]:
    """Return six lines (6, 2, 3), start and direction, from around an index to the first and last of the volume."""
    last, gap = np.asarray(view.grid.shape) - 1.0, GAP / np.asarray(view.scale)
    lines: list[Sequence[NDArray[np.float64]]] = []
    for axis in range(3):
        for sign, reach in ((-1.0, position[axis]), (1.0, last[axis] - position[axis])):
            if reach > gap[axis]:
                direction = np.zeros(3)
                direction[axis] = sign
                lines.append((position + direction * gap[axis], direction * (reach - gap[axis])))
    return np.asarray(lines, dtype=np.float64).reshape(-1, 2, 3)
