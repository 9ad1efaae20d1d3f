"""More outlines than a Shapes layer bears: painted over the image in tiles, picked through an index, edited one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_medlab.annotations.painting import FILL, GROUPS, POINT_PX, SOLID
from napari_medlab.annotations.region_index import RegionIndex
from napari_medlab.widgets.layers.case_layers import IMAGE
from napari_medlab.widgets.layers.painted_tiles import FINER, PaintedPyramid, Painting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.annotations.region_table import RegionTable
    from napari_medlab.widgets.layers.case_view import CaseView

    Grouping = Callable[[RegionTable], NDArray[np.uint8]]

__all__ = ["CHOSEN_GROUP", "COLOURS", "SMALL", "ManyOutlines", "PreparedOutlines", "by_label", "is_many"]

NAME = "all outlines"
SMALL = 500
"""Up to so many outlines a Shapes layer answers at once; they can all be edited where they are."""
CHOSEN_GROUP = GROUPS
"""The group of the outline that is chosen; it lies over all others."""
COLOURS = ("#009E73", "#56B4E9", "#E69F00", "#CC79A7", "#D55E00", "#0072B2", "#999999")
"""Of the groups from 1 on (Okabe and Ito, 2008); they come again where there are more groups."""
CHOSEN_COLOUR = "#F0E442"
LINE_OPACITY, FILL_OPACITY = 0.95, 0.1


def is_many(view: CaseView, table: RegionTable) -> bool:
    """Tell whether outlines are to be painted; those of volumes are left to the Shapes layer whatever their number."""
    return view.grid.ndim == 2 and len(table) > SMALL


def by_label(table: RegionTable) -> NDArray[np.uint8]:
    """Return a group for each label, 1 for the first, uint8 (n,); the last ones share theirs where there are many."""
    groups: NDArray[np.uint8] = (table.labels % (CHOSEN_GROUP - 1) + 1).astype(np.uint8)
    return groups


class PreparedOutlines:
    """Outlines made ready for drawing; make it off the GUI thread.

    Parameters
    ----------
    view : CaseView
        A planar one.
    table : RegionTable
    grouping : callable
        Returns the group of each row of a table, uint8: 1 to 14, or 0 for outlines that are hidden.
    """

    def __init__(self, view: CaseView, table: RegionTable, grouping: Grouping = by_label) -> None:
        index = RegionIndex.of(table)
        shape = (int(view.grid.shape[0]), int(view.grid.shape[1]))
        self.view = view
        self.pyramid = PaintedPyramid(Painting(index, grouping(table)), shape, view.flips)
        sides = np.diff(table.boxes, axis=1)[:, 0].max(axis=1)
        self._sides = np.sort(sides[np.isfinite(sides)].astype(np.float32))

    @property
    def index(self) -> RegionIndex:
        """The outlines as they are now."""
        return self.pyramid.painting.index

    def note(self, level: int) -> str:
        """Return what a reader has to know who looks at a level; empty where each outline is drawn as a line."""
        count = int(
            np.searchsorted(self._sides, POINT_PX / self.pyramid.pixels_per_index(level), side="right")
        )
        if not count:
            return ""
        return f"{count:,} of {len(self.index):,} outlines are too small at this zoom: a point stands for one or more."


class ManyOutlines:
    """Shows the outlines of a planar case as an image of painted tiles, above the case and below its marks.

    The layer is a view; what is drawn comes from :meth:`show`, :meth:`put_back` and :meth:`take_out`. The chosen outline
    has a colour of its own. Nothing here waits: tiles are painted in threads while coarser ones stand for them, and
    :attr:`streamed` tells when there is something new to draw.

    Signals
    -------
    noted(str)
        What the points mean at the zoom that has been reached; empty where lines are drawn.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    """

    noted = Signal(str)

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._layer: Any = None
        self._prepared: PreparedOutlines | None = None
        self._view: CaseView | None = None
        self._grouping: Grouping = by_label
        self._look: object = None
        self._chosen = -1
        self._scores: dict[str, float] = {}
        """Of the outlines that are taken out."""
        self._note = ""

    @property
    def layer(self) -> Any:
        """The layer of tiles; None where nothing is shown."""
        return self._layer

    @property
    def pyramids(self) -> tuple[Any, ...]:
        """What the canvas asks for news."""
        return () if self._prepared is None else (self._prepared.pyramid.streamed,)

    @property
    def index(self) -> RegionIndex | None:
        """The outlines that are shown, as they are now; None where nothing is."""
        return None if self._prepared is None else self._prepared.index

    def show(
        self, prepared: PreparedOutlines, colours: Sequence[str] = COLOURS, grouping: Grouping = by_label
    ) -> None:
        """Draw outlines in place of those before.

        Parameters
        ----------
        prepared : PreparedOutlines
        colours : sequence of str
            Of the groups from 1 on, such as ``"#009E73"``.
        grouping : callable
            What the outlines were prepared with; those that are edited are grouped by it too.
        """
        layer = self._layer if self._can_reuse(prepared.view) else None
        self._let_go(keeping=layer)
        self._prepared, self._grouping, self._view = prepared, grouping, prepared.view
        # the first pixels of both begin at the same place, and napari places their centres
        scale = np.asarray(prepared.view.scale) / FINER
        place = {"scale": scale, "translate": (scale - prepared.view.scale) / 2}
        if layer is None:
            layer = self._add_layer(prepared, place)
        else:
            layer.data = prepared.pyramid.levels
            layer.scale, layer.translate = place["scale"], place["translate"]
            layer.visible = True
        layer.colormap = _colormap(colours)
        self._layer = layer
        self._on_drawn()

    def make_room(self, view: CaseView) -> None:
        """Show nothing until the outlines of another case are there, and go away where they need another layer."""
        layer = self._layer if self._can_reuse(view) else None
        self._let_go(keeping=layer)
        if layer is not None:
            # nothing of the case before is left: neither its outlines nor how far it reaches
            layer.data = [np.zeros((2, 2), np.uint8), np.zeros((1, 1), np.uint8)]
            layer.translate = (0.0, 0.0)
            layer.visible = False
            self._layer = layer
        self._tell("")

    def clear(self) -> None:
        """Show nothing, and take the layer away."""
        self._let_go()
        self._tell("")

    def refresh_pixels(self) -> None:
        """Draw again: more has been painted."""
        if self._layer is not None:
            self._layer.refresh(thumbnail=False, highlight=False, extent=False)

    def set_colours(self, colours: Sequence[str]) -> None:
        """Draw the groups, from 1 on, in other colours; nothing has to be painted for that."""
        if self._layer is not None:
            self._layer.colormap = _colormap(colours)

    def regrouping(self, grouping: Grouping) -> Callable[[], None]:
        """Return what paints everything in other groups, to be called off the GUI thread.

        What is shown stays until it is done; where this is asked for again meanwhile, only the last one counts.
        """
        self._grouping, self._look = grouping, (token := object())
        prepared = self._prepared

        def remake(painting: Painting) -> Painting:
            groups = [grouping(part.table) for part in (painting.index.base, painting.index.later)]
            return Painting(painting.index, self._with_chosen(np.concatenate(groups)))

        def work() -> None:
            if prepared is not None:
                prepared.pyramid.repaint(remake, lambda: self._look is not token)

        return work

    def pick(self, position: ArrayLike, reach: float = 0.0) -> str | None:
        """Return the id of the outline around a position, or None.

        Parameters
        ----------
        position : (y, x), the viewer's coordinates
        reach : float
            In the viewer's units; see :meth:`~napari_medlab.annotations.region_index.RegionIndex.at`.
        """
        prepared = self._prepared
        if prepared is None:
            return None
        scale = np.asarray(prepared.view.scale)
        point = prepared.view.to_stored(np.asarray(position, dtype=np.float64)[-2:] / scale)
        row = prepared.index.at(point, reach / float(scale.min()))
        return None if row < 0 else self._id(row)

    def in_lasso(self, positions: ArrayLike) -> list[str]:
        """Return the ids of the outlines whose middle lies in a polygon (n, 2) of the viewer's coordinates."""
        prepared = self._prepared
        if prepared is None:
            return []
        corners = np.asarray(positions, dtype=np.float64)[:, -2:] / np.asarray(prepared.view.scale)
        return [self._id(row) for row in prepared.index.in_lasso(prepared.view.to_stored(corners)).tolist()]

    def choose(self, region_id: str) -> None:
        """Draw one outline in the colour of the chosen one, or none where the id is empty or unknown."""
        if self._prepared is None:
            return
        before, index = self._chosen, self._prepared.index
        self._chosen = index.row_of(region_id) if region_id else -1
        if self._chosen == before:
            return
        groups = self._prepared.pyramid.painting.groups.copy()
        for part, inner, _ in index.parts(np.asarray([before] if before >= 0 else [], dtype=np.int64)):
            groups[before] = self._grouping(part.table.where(inner))[0]
        self._change(index, self._with_chosen(groups), [row for row in (before, self._chosen) if row >= 0])

    def take_out(self, region_id: str) -> Region | None:
        """Stop drawing an outline, which is being edited elsewhere or deleted, and return it; None where it is unknown."""
        if self._prepared is None:
            return None
        index = self._prepared.index
        row = index.row_of(region_id)
        if row < 0:
            return None
        self._chosen = -1 if row == self._chosen else self._chosen
        self._scores[region_id] = index.score(row)
        self._change(index.without(row), self._prepared.pyramid.painting.groups, [row])
        return index.region(row)

    def put_back(self, region: Region) -> None:
        """Draw an outline: one that was taken out, a changed one in place of that with its id, or a new one."""
        if self._prepared is None:
            return
        before = self._prepared.index.row_of(region.region_id)
        index = self._prepared.index.with_region(region, self._scores.pop(region.region_id, None))
        row = index.row_count - 1
        if 0 <= before == self._chosen:
            self._chosen = row
        groups = np.append(self._prepared.pyramid.painting.groups, self._grouping(index.later.table)[-1])
        self._change(index, self._with_chosen(groups), [before, row] if before >= 0 else [row])

    def _can_reuse(self, view: CaseView) -> bool:
        """Tell whether the layer can show another case: making one anew takes napari some tenths of a second."""
        return (
            self._view is not None and self._layer in self._viewer.layers and self._view.units == view.units
        )

    def _let_go(self, keeping: object = None) -> None:
        if self._layer is not None and self._layer is not keeping and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        if self._prepared is not None:
            self._prepared.pyramid.forget()
        self._layer = self._prepared = self._look = None
        self._chosen = -1
        self._scores.clear()

    def _add_layer(self, prepared: PreparedOutlines, place: dict[str, Any]) -> Any:
        view, layers = prepared.view, self._viewer.layers
        active = layers.selection.active
        layer = self._viewer.add_image(
            prepared.pyramid.levels, name=NAME, multiscale=True, rgb=False, contrast_limits=(0, 255),
            blending="translucent_no_depth", interpolation2d="nearest", cache=False, units=view.units,
            axis_labels=view.axis_labels, **place,
        )  # fmt: skip
        layer.locked = True
        layer.events.set_data.connect(self._on_drawn)
        images = [number for number, other in enumerate(layers) if other.name == IMAGE]
        layers.move(len(layers) - 1, images[-1] + 1 if images else 0)
        layers.selection.active = active
        return layer

    def _change(self, index: RegionIndex, groups: NDArray[np.uint8], rows: list[int]) -> None:
        if self._prepared is not None:
            self._prepared.pyramid.change(Painting(index, groups), rows, self._level)
            self.refresh_pixels()

    def _with_chosen(self, groups: NDArray[np.uint8]) -> NDArray[np.uint8]:
        chosen = self._chosen  # once: threads come here too, some of them with an index of before an edit
        if 0 <= chosen < len(groups):
            groups[chosen] = CHOSEN_GROUP
        return groups

    def _id(self, row: int) -> str:
        return "" if self._prepared is None else self._prepared.index.region(row).region_id

    @property
    def _level(self) -> int:
        return 0 if self._layer is None else int(self._layer.data_level)

    def _on_drawn(self) -> None:
        if self._prepared is not None:
            self._tell(self._prepared.note(self._level))

    def _tell(self, note: str) -> None:
        if note != self._note:
            self._note = note
            self.noted.emit(note)


def _colormap(colours: Sequence[str]) -> Any:
    """Return the colour of each of the 256 values that painting leaves in a pixel."""
    from napari.utils import Colormap

    table = np.zeros((256, 4), np.float32)
    opacity = np.arange(SOLID + 1) * (LINE_OPACITY / SOLID)
    opacity[FILL] = FILL_OPACITY
    for group in range(1, GROUPS + 1):
        colour = CHOSEN_COLOUR if group == CHOSEN_GROUP else colours[(group - 1) % len(colours)]
        # the values of one group lie 16 apart: strength * 16 + group
        table[group::16, :3] = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
        table[group::16, 3] = opacity
    # a value lies in the middle of its bin, so that no driver takes one for its neighbour
    controls = np.concatenate([[0.0], (np.arange(255) + 0.5) / 255, [1.0]])
    return Colormap(table, name="outlines", interpolation="zero", controls=controls)
