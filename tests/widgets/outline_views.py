"""Outlines in a viewer without a window, and what becomes of what is done to them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.geometry import Grid
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.outlines import OutlineLayer

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SQUARE = np.array([[10.0, 10.0], [10.0, 20.0], [20.0, 20.0], [20.0, 10.0]])


class Events:
    """Stands for Qt's loop: what is to be called later is called by :meth:`run`."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], None]] = deque()

    def later(self, milliseconds: int, function: Callable[[], None]) -> None:
        """Keep a function for the next :meth:`run`."""
        self._due.append(function)

    def run(self) -> None:
        """Call all that is due."""
        while self._due:
            self._due.popleft()()


class Bench:
    """A viewer that shows a case with outlines, and a record of the edits that come out.

    Parameters
    ----------
    shape : sizes of the image
    order, flips : as in CaseView
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (8, 40, 50),
        order: tuple[int, ...] = (0, 1, 2),
        flips: tuple[int, ...] = (1, 1, 1),
    ) -> None:
        from napari.components import ViewerModel

        self.viewer: Any = ViewerModel()
        self.events = Events()
        self.outlines = OutlineLayer(self.viewer, self.events.later)
        self.edits: list[tuple[Region | None, Region | None]] = []
        self.together: list[tuple[str, list[tuple[Region | None, Region | None]]]] = []
        self.told: list[str] = []
        self.outlines.edited.connect(lambda before, after: self.edits.append((before, after)))
        self.outlines.edited_together.connect(lambda title, changes: self.together.append((title, changes)))
        self.outlines.told.connect(self.told.append)
        ndim = len(shape)
        spacing = (2.0, 0.5, 0.5)[-ndim:]
        kind, pixels = (
            ("volume", np.zeros(shape, np.int16)) if ndim == 3 else ("photo", np.zeros(shape, np.uint8))
        )
        grid = Grid.axis_aligned(shape, spacing, unit="mm")
        self.view = CaseView("c", "case", kind, [[pixels]], grid, order=order[:ndim], flips=flips[:ndim])
        self.viewer.add_image(pixels, scale=spacing, units=self.view.units, name="image")

    def show(self, *regions: Region, owner: str = "o", z: int = 3) -> None:
        """Show regions with the object ``owner`` chosen, on slice ``z``."""
        self.outlines.show(self.view, regions)
        self.outlines.set_owner(owner, "nodule")
        if self.view.grid.ndim == 3:
            self.viewer.dims.set_point(0, z * self.view.scale[0])

    def draw(self, vertices: NDArray[np.float64], kind: str = "polygon") -> None:
        """Draw a shape, as napari adds one."""
        self.outlines.layer.add([vertices], shape_type=kind)
        self.events.run()

    def drag(self, position: int, vertex: int, to: tuple[float, ...]) -> None:
        """Drag a vertex, as napari does it: the shape is changed, and then said to be."""
        layer = self.outlines.layer
        vertices = np.array(layer.data[position])
        vertices[vertex] = to
        layer._data_view.edit(position, vertices)
        layer.events.data(
            value=layer.data, action="changed", data_indices=(position,), vertex_indices=((vertex,),)
        )
        self.events.run()


def on_slice(ring: NDArray[np.float64], z: int = 3) -> NDArray[np.float64]:
    """Return (y, x) vertices as (z, y, x)."""
    return np.insert(ring, 0, z, axis=1)


def volume(*zs: int, owner: str = "o", ring: NDArray[np.float64] = SQUARE) -> Region:
    """Return a region with the same ring on several slices."""
    return Region.on_slices("c", {z: [ring] for z in zs}, owner)
