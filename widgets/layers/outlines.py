"""Outlines of the case in an editable Shapes layer; every change comes out as a region before and after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medlab.annotations import Region
from napari_medlab.widgets.layers.case_layers import CHOSEN, IMAGE, MARKS, PLACEHOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["OutlineLayer"]

NAME = "outlines"
COLOUR, CHOSEN_COLOUR = "#009E73", "#F0E442"


class OutlineLayer:
    """Draws the regions of a case as polygons and notices what the reader does to them.

    The layer is a view: what it shows comes from :meth:`show`, and what is done to it goes out through ``edited``.

    Signals
    -------
    edited(Region | None, Region | None)
        A region before and after; None before for a new one, None after for one that was deleted.
    """

    edited = Signal(object, object)

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._view: CaseView | None = None
        self._regions: dict[str, Region] = {}
        self._owner = ("", "nodule")
        self._listening = True

    @property
    def layer(self) -> Any:
        """The Shapes layer; None before the first case."""
        return self._layer

    @property
    def is_editing(self) -> bool:
        """Whether the mouse draws or changes outlines."""
        return self._layer is not None and self._layer.mode not in ("pan_zoom", "transform")

    def make_room(self, view: CaseView) -> None:
        """Go away before a case is shown in other units: napari takes a world of two units for one without any."""
        last = self._view
        is_other = last is not None and (last.units, last.grid.ndim) != (view.units, view.grid.ndim)
        if is_other and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)

    def show(self, view: CaseView, regions: Sequence[Region]) -> None:
        """Draw the regions of a case in place of what was drawn before."""
        if self._view is None or self._view.units != view.units or self._layer not in self._viewer.layers:
            self._make_layer(view)
        self._view = view
        self._layer.metadata = {} if view.case_id else {PLACEHOLDER: True}
        self._regions = {region.region_id: region for region in regions}
        rings = [(region.region_id, ring) for region in regions for ring in region.rings]
        mode = self._layer.mode
        self._listening = False
        self._layer.mode = "pan_zoom"
        self._layer.scale = view.scale
        self._layer.selected_data = set(range(len(self._layer.data)))
        self._layer.remove_selected()
        self._layer.feature_defaults = {"region_id": ""}
        if rings:
            self._layer.add([view.to_shown(ring) for _, ring in rings], shape_type="polygon")
        self._layer.features = {"region_id": np.asarray([region_id for region_id, _ in rings], dtype=object)}
        self._layer.feature_defaults = {"region_id": ""}
        self._colour()
        self._layer.mode = mode
        self._listening = True

    def set_owner(self, owner_id: str, label: str) -> None:
        """Say what a newly drawn polygon outlines, and highlight what outlines it already."""
        self._owner = (owner_id, label)
        if self._layer is not None:
            self._colour()

    def edit(self, on: bool, *, drawing: bool = False) -> None:
        """Let vertices be dragged, or a new polygon be drawn, or neither."""
        if self._layer is None:
            return
        self._layer.mode = "pan_zoom" if not on else "add_polygon" if drawing else "direct"
        # the handles of what is being looked at appear at once
        self._layer.selected_data = self._owned_here() if on and not drawing else set()
        # what is drawn over the outlines steps aside while they are edited
        for layer in self._viewer.layers:
            if layer.name in (MARKS, CHOSEN):
                layer.opacity = 0.25 if on else 1.0
        others = [layer for layer in self._viewer.layers if layer.name == IMAGE]
        self._viewer.layers.selection.active = self._layer if on else (others[0] if others else None)

    def delete_selected(self) -> None:
        """Remove the polygons that are selected in the layer."""
        if self._layer is not None:
            self._layer.remove_selected()

    def _make_layer(self, view: CaseView) -> None:
        active = self._viewer.layers.selection.active
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = self._viewer.add_shapes(
            ndim=view.grid.ndim, name=NAME, scale=view.scale, units=view.units, axis_labels=view.axis_labels,
            edge_width=0.4, edge_color=COLOUR, face_color="transparent",
            features={"region_id": np.zeros(0, dtype=object)},
        )  # fmt: skip
        self._layer.events.data.connect(self._on_data)
        self._viewer.layers.selection.active = active

    def _owned_here(self) -> set[int]:
        """Return the rows that outline the chosen object on the slice shown."""
        if self._view is None:
            return set()
        owned = {r.region_id for r in self._regions.values() if self._owner[0] and r.owner_id == self._owner[0]}
        here = round(float(self._viewer.dims.point[0]) / self._view.scale[0])
        return {
            row
            for row, (region_id, data) in enumerate(zip(self._layer.features["region_id"], self._layer.data, strict=True))
            if region_id in owned and (data.shape[1] == 2 or round(float(data[0, 0])) == here)
        }

    def _colour(self) -> None:
        owned = {r.region_id for r in self._regions.values() if self._owner[0] and r.owner_id == self._owner[0]}
        ids = list(self._layer.features["region_id"])
        if ids:
            self._layer.edge_color = [CHOSEN_COLOUR if region_id in owned else COLOUR for region_id in ids]
            self._layer.face_color = np.zeros((len(ids), 4))

    def _on_data(self, event: Any) -> None:
        """Compare the layer with what it showed, after the reader has changed, added or removed something."""
        if not self._listening or self._view is None or str(event.action) not in ("changed", "added", "removed"):
            return
        before = dict(self._regions)
        self._claim_new()
        shown = self._regions_in_layer()
        self._regions = shown
        for region_id in before.keys() | shown.keys():
            old, new = before.get(region_id), shown.get(region_id)
            if old is None or new is None or old.digest() != new.digest():
                self.edited.emit(old, new)

    def _claim_new(self) -> None:
        """Give polygons that were just drawn the id of a new region of the chosen object."""
        features = self._layer.features
        fresh = [row for row, region_id in enumerate(features["region_id"]) if region_id not in self._regions]
        if not fresh or self._view is None:
            return
        region = Region(self._view.case_id, (), *self._owner)
        self._regions[region.region_id] = region
        features = features.copy()
        features.loc[fresh, "region_id"] = region.region_id
        self._listening = False
        self._layer.features = features
        self._layer.feature_defaults = {"region_id": ""}
        self._listening = True

    def _regions_in_layer(self) -> dict[str, Region]:
        view = self._view
        if view is None:
            return {}
        rings: dict[str, list[NDArray[np.float64]]] = {}
        for region_id, kind, data in zip(
            self._layer.features["region_id"], self._layer.shape_type, self._layer.data, strict=True
        ):
            ring = _round(data) if kind == "ellipse" else data
            rings.setdefault(str(region_id), []).append(view.to_stored(ring))
        return {i: replace(self._regions[i], rings=tuple(parts)) for i, parts in rings.items() if i in self._regions}


def _round(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an ellipse, which the layer keeps as the corners (4, n) of its box, as a polygon (48, n)."""
    middle = corners.mean(axis=0)
    across, along = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)[:, None]
    ring: NDArray[np.float64] = middle + np.cos(angle) * across + np.sin(angle) * along
    return ring
