"""Outlines of the case in an editable Shapes layer; every change comes out as a region before and after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_medlab.annotations import Region
from napari_medlab.correcting import regions as regional
from napari_medlab.geometry import polygons
from napari_medlab.widgets.layers.case_layers import CHOSEN, IMAGE, MARKS, PLACEHOLDER
from napari_medlab.widgets.layers.working_set import WorkingSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.correcting.regions import Slice
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["BRUSH", "TOOLS", "Change", "DrawAs", "OutlineLayer", "to_shown", "to_stored"]

NAME = "outlines"
COLOUR, CHOSEN_COLOUR = "#009E73", "#F0E442"
THINNEST, LINE, WIDER = 0.4, 1.5, 1.6
"""The least width of lines in pixels of the image, theirs on the screen, and by how much it may be off."""
REST_MS = 150
"""While the camera moves on within this time, no other outlines are drawn."""

TOOLS = {
    "direct": "direct", "select": "select", "insert": "vertex_insert", "remove": "vertex_remove",
    "polygon": "add_polygon", "freehand": "add_polygon_lasso", "box": "add_rectangle", "ellipse": "add_ellipse",
    "cut": "add_path",
}  # fmt: skip
"""What the mouse may do, and napari's name for it."""
DRAWING = {"polygon", "freehand", "box", "ellipse", "cut"}
BRUSH = "brush"
"""The tool whose layer is the brush's own."""

Change = tuple[Region | None, Region | None]
"""A region before and after; None before for a new one, None after for one that was deleted."""
DrawAs = Literal["add", "subtract", "new"]
"""What becomes of a drawn polygon: added to the chosen object's outline, taken from it, or an outline of its own."""


@dataclass(frozen=True, eq=False)
class _Row:
    """One ring of the layer: of which region, as it is stored, and as it was drawn last."""

    region_id: str
    stored: NDArray[np.float64]
    drawn: NDArray[np.float64]


class OutlineLayer:
    """Draws the regions of a case as polygons and notices what the reader does to them.

    The layer is a view: what it shows comes from :meth:`show`, and what is done to it goes out through ``edited`` and
    ``edited_together``. What the reader drew is taken over once napari is done with the mouse event.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    later : callable, optional
        Calls a function after so many milliseconds, and after the event that is being handled.

    Signals
    -------
    edited(Region | None, Region | None)
        A region before and after; None before for a new one, None after for one that was deleted.
    edited_together(str, list)
        What was done, and several such pairs: one edit, undone at once.
    told(str)
        Something to say for a moment, such as what was mended.
    shown()
        Other regions were shown, or of another case.
    tool_changed(str)
        The mouse was given to another of the tools, or ("") to none.
    """

    edited = Signal(object, object)
    edited_together = Signal(str, list)
    told = Signal(str)
    shown = Signal()
    tool_changed = Signal(str)

    def __init__(self, viewer: Any, later: Callable[[int, Callable[[], None]], None] | None = None) -> None:
        self._viewer = viewer
        self._later = later or QTimer.singleShot
        self._layer: Any = None
        self._view: CaseView | None = None
        self._regions: dict[str, Region] = {}
        self._rows: dict[int, _Row] = {}
        self._next_row = 0
        self._near: WorkingSet | None = None
        self._owner = ("", "nodule")
        self._listening = True
        self._is_due = self._is_moving = False
        self._tool = ""
        self._hidden = ""
        self._width = THINNEST
        self.draw_as: DrawAs = "add"
        viewer.dims.events.point.connect(self._on_moved)
        viewer.scene.camera.events.center.connect(self._on_moved)

    @property
    def layer(self) -> Any:
        """The Shapes layer; None before the first case."""
        return self._layer

    @property
    def view(self) -> CaseView | None:
        """The case that the outlines are of."""
        return self._view

    @property
    def regions(self) -> list[Region]:
        """All outlines of the case, drawn or not."""
        return list(self._regions.values())

    @property
    def tool(self) -> str:
        """What the mouse does: one of :data:`TOOLS`, the brush, or "" for nothing."""
        return self._tool

    @property
    def is_editing(self) -> bool:
        """Whether the mouse draws or changes outlines."""
        return bool(self._tool)

    @property
    def owner(self) -> tuple[str, str]:
        """Id and label of the chosen object."""
        return self._owner

    @property
    def here(self) -> Slice:
        """The slice that is shown; None for planar images."""
        if self._view is None or self._view.grid.ndim == 2:
            return None
        return round(float(self._viewer.dims.point[0]) / self._view.scale[0])

    def region(self, region_id: str) -> Region | None:
        """Return an outline by its id."""
        return self._regions.get(region_id)

    def make_room(self, view: CaseView) -> None:
        """Go away before a case is shown in other units: napari takes a world of two units for one without any."""
        last = self._view
        is_other = last is not None and (last.units, last.grid.ndim) != (view.units, view.grid.ndim)
        if is_other and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def show(self, view: CaseView, regions: Sequence[Region]) -> None:
        """Draw the regions of a case in place of what was drawn before."""
        if self._is_due and self._layer in self._viewer.layers:
            self._take_over()
        if self._view is None or self._view.units != view.units or self._layer not in self._viewer.layers:
            self._make_layer(view)
        self._view = view
        self._layer.metadata = {} if view.case_id else {PLACEHOLDER: True}
        self._regions = {region.region_id: region for region in regions}
        self._draw()
        self.shown.emit()

    def set_owner(self, owner_id: str, label: str) -> None:
        """Say what a newly drawn polygon outlines, and highlight what outlines it already."""
        self._owner = (owner_id, label)
        if self._layer is not None:
            self._restock()
            self._colour()

    def use(self, tool: str = "") -> None:
        """Give the mouse to one of :data:`TOOLS`, to the brush, or ("") to none."""
        if self._layer is None or tool not in ("", BRUSH, *TOOLS):
            return
        self._tool = tool
        self._layer.mode = TOOLS.get(tool, "pan_zoom")
        # the handles of what is being looked at appear at once
        self._select(self._owned_here() if tool in TOOLS and tool not in DRAWING else set())
        # what is drawn over the outlines steps aside while they are edited
        for layer in self._viewer.layers:
            if layer.name in (MARKS, CHOSEN):
                layer.opacity = 0.25 if tool else 1.0
        others = [layer for layer in self._viewer.layers if layer.name == IMAGE]
        if tool != BRUSH:
            self._viewer.layers.selection.active = self._layer if tool else (others[0] if others else None)
        self.tool_changed.emit(tool)

    def edit(self, on: bool, *, drawing: bool = False) -> None:
        """Let vertices be dragged, or a new polygon be drawn, or neither."""
        self.use("" if not on else "polygon" if drawing else "direct")

    # -- what is chosen -------------------------------------------------------------------------------------------

    def chosen_region(self) -> Region | None:
        """Return the outline of the chosen object, the one on this slice where it has several; None for none."""
        owned = self._owned()
        here = [region for region in owned if self.here in regional.slices_of(self._to_shown(region))]
        return next(iter(here or owned), None)

    def targets(self) -> list[tuple[Region, list[Slice]]]:
        """Return what a button works on: the selected outlines with their slices, else the chosen object's on this slice."""
        found: dict[str, list[Slice]] = {}
        rows = self._rows_by_position()
        for position in sorted(self._layer.selected_data) if self._layer is not None else ():
            if (row := rows[position]) is not None:
                found.setdefault(row.region_id, []).append(_slice_of(row.drawn))
        if not found and (chosen := self.chosen_region()) is not None:
            found[chosen.region_id] = [self.here]
        return [(self._regions[region_id], slices) for region_id, slices in found.items()]

    # -- what is done to it ---------------------------------------------------------------------------------------

    def apply(self, title: str, changes: Sequence[Change]) -> None:
        """Draw changes of regions and send them out: as one edit, whether one region changes or several."""
        changes = [(before, after) for before, after in changes if before is not after]
        if changes:
            self._keep(changes)
            if any(
                region is not None and region.region_id != self._hidden
                for change in changes
                for region in change
            ):
                self._draw()
            self._send(title, changes)

    def hide(self, region_id: str = "") -> None:
        """Leave a region undrawn while it is shown otherwise, as by the brush; "" shows all again."""
        if region_id != self._hidden:
            self._hidden = region_id
            self._draw()

    def delete_selected(self) -> None:
        """Remove the polygons that are selected in the layer."""
        if self._layer is not None:
            self._layer.remove_selected()

    # -- drawing --------------------------------------------------------------------------------------------------

    def _make_layer(self, view: CaseView) -> None:
        active = self._viewer.layers.selection.active
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._rows.clear()
        self._layer = self._viewer.add_shapes(
            ndim=view.grid.ndim, name=NAME, scale=view.scale, units=view.units, axis_labels=view.axis_labels,
            edge_width=THINNEST, edge_color=COLOUR, face_color="transparent",
            features={"region_id": np.zeros(0, dtype=object), "row": np.zeros(0, dtype=np.int64)},
        )  # fmt: skip
        self._layer.events.data.connect(self._on_data)
        self._layer.events.mode.connect(self._on_mode)
        self._viewer.layers.selection.active = active

    def _draw(self) -> None:
        """Put the working set into the layer; what is selected stays selected."""
        layer, view = self._layer, self._view
        if view is None or layer not in self._viewer.layers:
            return
        selected = {(r.region_id, _slice_of(r.drawn)) for r in self._selected_rows()}
        self._listening = False
        mode, layer.mode = layer.mode, "pan_zoom"
        layer.scale = view.scale
        layer.selected_data = set(range(len(layer.data)))
        layer.remove_selected()
        near = self._near = WorkingSet(
            view, [r for r in self._regions.values() if r.region_id != self._hidden]
        )
        drawn = near.nearest(self._place, self._owned_ids())
        rows = [_Row(r.region_id, ring, view.to_shown(ring)) for r in drawn for ring in r.rings]
        numbers = range(self._next_row, self._next_row + len(rows))
        self._next_row += len(rows)
        layer.feature_defaults = {"region_id": "", "row": -1}
        if rows:
            self._width = self.line_width
            layer.add([row.drawn for row in rows], shape_type="polygon", edge_width=self._width)
        # napari keeps 32 bits of each coordinate
        rows = [replace(row, drawn=np.array(data)) for row, data in zip(rows, layer.data, strict=True)]
        self._rows = dict(zip(numbers, rows, strict=True))
        ids = np.asarray([row.region_id for row in rows], dtype=object)
        layer.features = {"region_id": ids, "row": np.asarray(numbers, dtype=np.int64)}
        layer.feature_defaults = {"region_id": "", "row": -1}
        self._colour()
        layer.mode = mode
        self._select({n for n, r in enumerate(rows) if (r.region_id, _slice_of(r.drawn)) in selected})
        self._listening = True

    @property
    def _place(self) -> NDArray[np.float64]:
        """The index that is looked at."""
        scale = np.asarray(self._view.scale) if self._view is not None else np.ones(3)
        here = self.here
        return (
            np.asarray([here, 0, 0])
            if here is not None
            else np.asarray(self._viewer.scene.camera.center[-2:]) / scale
        )

    def _on_moved(self, event: Any = None) -> None:
        if self._near is not None and self._rows and not self._is_moving:
            self._is_moving = True
            self._later(REST_MS, partial(self._on_rest, self._place))

    def _on_rest(self, before: NDArray[np.float64]) -> None:
        """Draw other outlines once the reader has got where there are others."""
        self._is_moving = False
        if not np.array_equal(before, self._place):
            self._on_moved()
        elif self._tool not in DRAWING and not self._is_due:
            self._restock()
            if self._rows and not 1 / WIDER < self.line_width / self._width < WIDER:
                self._width = self.line_width
                self._layer.edge_width = [self._width] * len(self._layer.data)

    @property
    def line_width(self) -> float:
        """How wide lines are, in pixels of the image: as wide as the screen needs."""
        if self._view is None:
            return THINNEST
        return max(THINNEST, LINE / (float(self._viewer.scene.camera.zoom) * self._view.scale[-1]))

    def _restock(self) -> None:
        """Draw other outlines where others have come near."""
        drawn = {row.region_id for row in self._rows.values()}
        if self._near is not None and self._near.is_stale(drawn, self._place, self._owned_ids()):
            self._draw()

    def _colour(self) -> None:
        owned = self._owned_ids()
        ids = list(self._layer.features["region_id"])
        if ids:
            self._layer.edge_color = [CHOSEN_COLOUR if region_id in owned else COLOUR for region_id in ids]
            self._layer.face_color = np.zeros((len(ids), 4))

    def _select(self, positions: set[int]) -> None:
        self._layer.selected_data = positions

    def _owned(self) -> list[Region]:
        return [r for r in self._regions.values() if self._owner[0] and r.owner_id == self._owner[0]]

    def _owned_ids(self) -> set[str]:
        return {region.region_id for region in self._owned()}

    def _owned_here(self) -> set[int]:
        """Return the positions of what outlines the chosen object on the slice shown."""
        owned, here = self._owned_ids(), self.here
        return {
            position
            for position, row in enumerate(self._rows_by_position())
            if row is not None and row.region_id in owned and _slice_of(row.drawn) == here
        }

    def _rows_by_position(self) -> list[_Row | None]:
        return (
            [self._rows.get(int(number)) for number in self._layer.features["row"]]
            if self._layer is not None
            else []
        )

    def _selected_rows(self) -> list[_Row]:
        rows = self._rows_by_position()
        return [row for n in self._layer.selected_data if n < len(rows) and (row := rows[n]) is not None]

    # -- what the reader did --------------------------------------------------------------------------------------

    def _on_mode(self, event: Any) -> None:
        """Follow napari's own buttons."""
        names = {mode: tool for tool, mode in TOOLS.items()}
        tool = names.get(str(self._layer.mode), BRUSH if self._tool == BRUSH else "")
        if self._listening and tool != self._tool:
            self._tool = tool
            self.tool_changed.emit(tool)

    def _on_data(self, event: Any) -> None:
        if (
            not self._listening
            or self._view is None
            or str(event.action) not in ("changed", "added", "removed")
        ):
            return
        if not self._is_due:
            self._is_due = True
            self._later(0, self._take_over)

    def _take_over(self) -> None:
        """Compare the layer with what it showed, after the reader has changed, added or removed something."""
        if not self._is_due or self._view is None:
            return
        self._is_due = False
        kept, fresh = self._read_rows()
        before = {row.region_id for row in self._rows.values()}
        changes: list[Change] = []
        is_mended = False
        for region_id in before:
            old = self._regions[region_id]
            rings = tuple(row.stored for row in kept.values() if row.region_id == region_id)
            if len(rings) != len(old.rings) or any(a is not b for a, b in zip(rings, old.rings, strict=True)):
                after, told = self._mended(old, rings)
                is_mended |= bool(told)
                changes.append((old, after))
        for kind, vertices in fresh:
            is_line = kind in ("path", "line")
            changes = [*changes, *self._cut(vertices)] if is_line else self._drawn(changes, vertices)
        if fresh or is_mended:
            self._keep(changes)
            self._draw()
            self._send("outline cut" if self._tool == "cut" else "outlines changed", changes)
            return
        self._rows = kept
        self._keep(changes)
        self._send("outlines changed", changes)

    def _read_rows(self) -> tuple[dict[int, _Row], list[tuple[str, NDArray[np.float64]]]]:
        """Return the rows as they are now, and the kinds and vertices of what was drawn."""
        kept: dict[int, _Row] = {}
        fresh: list[tuple[str, NDArray[np.float64]]] = []
        layer, view = self._layer, self._view
        for number, kind, data in zip(layer.features["row"], layer.shape_type, layer.data, strict=True):
            row = self._rows.get(int(number))
            ring = _round(data) if kind == "ellipse" else np.asarray(data, dtype=np.float64)
            # a copied shape comes with the number of the one it was copied from
            if row is None or int(number) in kept:
                fresh.append((str(kind), ring))
            elif np.array_equal(ring, row.drawn):
                kept[int(number)] = row
            elif view is not None:
                kept[int(number)] = _Row(row.region_id, _moved(row, ring, view), ring.copy())
        return kept, fresh

    def _mended(self, old: Region, rings: tuple[NDArray[np.float64], ...]) -> tuple[Region | None, list[str]]:
        """Return a region with other rings, mended on the slices on which something changed."""
        if not rings:
            return None, []
        changed = replace(old, rings=rings)
        shown = self._to_shown(changed)
        same = {id(ring) for ring in old.rings}
        touched = {_slice_of(s) for s, ring in zip(shown.rings, rings, strict=True) if id(ring) not in same}
        after, told = regional.mended(shown, sorted(touched, key=lambda z: z or 0))
        if told:
            self.told.emit(f"mended: {told[0]}")
        return (self._to_stored(after, shown, changed) if told else changed), told

    def _drawn(self, changes: list[Change], vertices: NDArray[np.float64]) -> list[Change]:
        if self._view is None:
            return changes
        z = _slice_of(vertices)
        rings, fault = polygons.mended([vertices[:, -2:]])
        if fault:
            self.told.emit(f"mended: {fault}")
        chosen = self.chosen_region() if self.draw_as != "new" else None
        if chosen is None and self.draw_as == "subtract":
            self.told.emit("Choose an object that has an outline, to subtract from it.")
            return changes
        drawn = regional.with_slice(Region(self._view.case_id, (), *self._owner), z, rings)
        if chosen is None or drawn is None:
            return [*changes, (None, self._to_stored(drawn, drawn, drawn))] if drawn is not None else changes
        done = next((after for before, after in changes if before is chosen), chosen) or chosen
        shown = self._to_shown(done)
        combined = regional.combined(shown, drawn, "union" if self.draw_as == "add" else "difference")
        after = self._to_stored(combined, shown, done)
        return [*(change for change in changes if change[0] is not chosen), (chosen, after)]

    def _cut(self, line: NDArray[np.float64]) -> list[Change]:
        """Cut the chosen object's outline, or any other where it is not crossed."""
        z = _slice_of(line)
        found: list[tuple[Region, list[Change]]] = []
        for region in self._regions.values():
            shown = self._to_shown(region)
            pieces = regional.cut(shown, z, line[:, -2:]) if z in regional.slices_of(shown) else []
            if len(pieces) > 1:
                first, *others = [self._to_stored(piece, shown, region) for piece in pieces]
                found.append((region, [(region, first), *((None, other) for other in others)]))
        owned = [changes for region, changes in found if region.owner_id == self._owner[0]]
        if not found:
            self.told.emit("The line crosses no outline from border to border.")
        return [change for changes in (owned or [changes for _, changes in found]) for change in changes]

    def _keep(self, changes: Sequence[Change]) -> None:
        for before, after in changes:
            if after is not None:
                self._regions[after.region_id] = after
            elif before is not None:
                self._regions.pop(before.region_id, None)

    def _send(self, title: str, changes: Sequence[Change]) -> None:
        if len(changes) == 1:
            self.edited.emit(*changes[0])
        elif changes:
            self.edited_together.emit(title, list(changes))

    def _to_shown(self, region: Region) -> Region:
        return region if self._view is None else to_shown(region, self._view)

    def _to_stored(self, changed: Region | None, shown: Region, stored: Region) -> Region | None:
        return (
            changed
            if changed is None or self._view is None
            else to_stored(changed, shown, stored, self._view)
        )


def to_shown(region: Region, view: CaseView) -> Region:
    """Return a region as it lies in the array that is shown: slices along its first axis."""
    return regional.in_frame(region, view.to_shown)


def to_stored(changed: Region, shown: Region, stored: Region, view: CaseView) -> Region:
    """Return a region that was worked on as shown as it is stored; what was not touched keeps every bit."""
    known = (
        shown if len(shown.rings) == len(stored.rings) and shown is not stored else replace(shown, rings=())
    )
    own = stored if known is shown else replace(stored, rings=())
    return regional.back_in_frame(changed, known, own, view.to_stored)


def _moved(row: _Row, ring: NDArray[np.float64], view: CaseView) -> NDArray[np.float64]:
    """Return a changed ring as it is stored; vertices that were left where they are keep every bit."""
    known = dict(zip(map(tuple, row.drawn.tolist()), row.stored, strict=True))
    moved = view.to_stored(ring)
    for number, vertex in enumerate(map(tuple, ring.tolist())):
        moved[number] = known.get(vertex, moved[number])
    return moved


def _slice_of(vertices: NDArray[np.float64]) -> Slice:
    return round(float(vertices[0, 0])) if vertices.shape[1] == 3 else None


def _round(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an ellipse, which the layer keeps as the corners (4, n) of its box, as a polygon (48, n)."""
    middle = corners.mean(axis=0)
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    ring: NDArray[np.float64] = middle + np.cos(angle) * across + np.sin(angle) * along
    return ring
