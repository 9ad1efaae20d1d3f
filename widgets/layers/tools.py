"""What the buttons and keys of correcting do: outlines changed at once, and helpers that propose a preview."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.correcting import regions as regional
from napari_medlab.correcting.growing import GrowLimits, grow
from napari_medlab.correcting.interpolation import fill_between, gaps
from napari_medlab.correcting.masks import Patch, region_of
from napari_medlab.correcting.proposals import ball
from napari_medlab.correcting.snapping import snap
from napari_medlab.geometry import polygons
from napari_medlab.widgets.layers.brush import MaskBrush
from napari_medlab.widgets.layers.outlines import to_shown, to_stored
from napari_medlab.widgets.layers.previews import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.correcting.regions import Slice
    from napari_medlab.geometry.polygons import Rings
    from napari_medlab.widgets.background import Background
    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.outlines import Change, OutlineLayer

__all__ = ["CorrectingTools"]

LARGEST = {"mm": 15.0, "um": 150.0, "px": 100.0}
"""The radius to which something grows at most where its diameter is not known, by unit."""
MARGIN = 0.6
"""Around an outline that is snapped, so much of its size is read, too."""


class CorrectingTools:
    """Works on what is selected in the layer of outlines, or else on the chosen object.

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    outlines : OutlineLayer
    background : Background
        Where the helpers are at work.
    """

    def __init__(self, viewer: Any, outlines: OutlineLayer, background: Background) -> None:
        self._viewer = viewer
        self._background = background
        self.outlines = outlines
        self.brush = MaskBrush(viewer, outlines)
        self.preview = Preview(viewer, outlines)

    # -- at once --------------------------------------------------------------------------------------------------

    def change(self, title: str, work: Callable[[Rings], Rings]) -> None:
        """Replace the rings of what is selected by what ``work`` makes of them, slice by slice."""
        view = self.outlines.view
        changes: list[Change] = []
        for region, slices in self._asked():
            if view is not None:
                shown = to_shown(region, view)
                after = regional.mapped(shown, work, slices)
                changes.append((region, to_stored(after, shown, region, view) if after is not None else None))
        self.outlines.apply(title, changes)

    def simplify(self, tolerance: float) -> None:
        """Leave away vertices of what is selected, as long as nothing moves by more than so many pixels."""
        before = self._vertices()
        self.change("outline simplified", partial(polygons.simplify, tolerance=tolerance))
        if before:
            self.outlines.told.emit(f"simplified: {before} vertices became {self._vertices()}")

    def smooth(self) -> None:
        """Take the small bends out of what is selected."""
        self.change("outline smoothed", polygons.smooth)

    def offset(self, distance: float) -> None:
        """Grow what is selected by so many pixels, or shrink it."""
        self.change(
            "outline grown" if distance > 0 else "outline shrunk", partial(polygons.offset, distance=distance)
        )

    def join(self) -> None:
        """Make one region of all that are selected: the chosen object's where it is among them."""
        found, view = [region for region, _ in self._asked()], self.outlines.view
        if len(found) < 2 or view is None:
            self.outlines.told.emit(
                "Select the outlines to be joined first: Select, then click them with Shift held."
            )
            return
        found.sort(key=lambda region: region.owner_id != self.outlines.owner[0])
        shown = [to_shown(region, view) for region in found]
        after = regional.joined(shown)
        if after is not None:
            whole = to_stored(after, shown[0], found[0], view)
            self.outlines.apply(
                "outlines joined", [(found[0], whole), *((region, None) for region in found[1:])]
            )

    def split(self) -> None:
        """Make a region of its own of each part of what is selected that hangs together with no other."""
        changes: list[Change] = []
        view = self.outlines.view
        for region, _ in self._asked():
            if view is not None:
                shown = to_shown(region, view)
                first, *others = [to_stored(part, shown, region, view) for part in regional.parts(shown)]
                changes += [(region, first), *((None, other) for other in others)] if others else []
        self.outlines.apply("outline split", changes)
        if not changes:
            self.outlines.told.emit("The outline is in one piece.")

    def duplicate(self, step: int = 1) -> None:
        """Copy the outline on this slice to the next one, or with -1 to the one before, and go there."""
        here, view, region = self.outlines.here, self.outlines.view, self.outlines.chosen_region()
        if (
            view is None
            or here is None
            or region is None
            or not regional.rings_on(to_shown(region, view), here)
        ):
            self.outlines.told.emit("There is no outline of the chosen object on this slice.")
            return
        if not 0 <= here + step < view.grid.shape[0]:
            self.outlines.told.emit("This is the last slice.")
            return
        shown = to_shown(region, view)
        copied = to_stored(regional.copied_to(shown, here, here + step), shown, region, view)
        self._viewer.dims.set_point(0, (here + step) * view.scale[0])
        self.outlines.apply("outline copied", [(region, copied)])

    # -- as a preview ---------------------------------------------------------------------------------------------

    def grow(self, position: Sequence[float], diameter: float = -1.0) -> None:
        """Propose what lies around a position of the viewer, up to about a diameter where one is known."""
        view = self.outlines.view
        if view is None or not view.case_id:
            return
        seed = np.asarray(position, dtype=np.float64)[-view.grid.ndim :] / np.asarray(view.scale)
        region, unit = self._chosen_or_new(view), view.grid.unit
        limits = GrowLimits.around(diameter) if diameter > 0 else GrowLimits(LARGEST[unit])

        def work() -> Change:
            reach = 1.6 * limits.largest / np.asarray(view.scale)
            pixels, origin = _pixels(view, seed - reach, seed + reach)
            patch = grow(pixels, seed - origin, view.scale, limits)
            moved = Patch(patch.mask, tuple(int(a + b) for a, b in zip(patch.origin, origin, strict=True)))
            shown = to_shown(region, view)
            grown = region_of(moved, Region(region.case_id, (), region.owner_id, region.label))
            after = regional.combined(shown, grown, "union") if grown is not None else None
            return self._change(region, shown, after, view)

        self._propose("region grown", work)

    def snap(self) -> None:
        """Propose the selected outline moved onto the nearest edges."""
        view = self.outlines.view
        asked = self._asked()
        if view is None or not asked:
            return
        region, slices = asked[0]

        def work() -> Change:
            shown = to_shown(region, view)
            moved = {
                z: _snapped(view, z, regional.rings_on(shown, z))
                for z in slices
                if regional.rings_on(shown, z)
            }
            return self._change(region, shown, regional.with_slices(shown, moved), view)

        self._propose("outline snapped", work)

    def fill_between(self) -> None:
        """Propose outlines on the slices that lie between outlined ones of the chosen object."""
        view, region = self.outlines.view, self.outlines.chosen_region()
        if view is None or region is None or view.grid.ndim == 2 or not gaps(to_shown(region, view)):
            self.outlines.told.emit(
                "The chosen object has no slices without an outline between outlined ones."
            )
            return

        def work() -> Change:
            shown = to_shown(region, view)
            return self._change(region, shown, fill_between(shown, view.scale[1:]), view)

        self._propose("slices filled", work)

    def circle(self, position: Sequence[float], diameter: float) -> None:
        """Propose the circle, or in a volume the ball, of a diameter around a position of the viewer."""
        view = self.outlines.view
        if view is None or not view.case_id:
            return
        centre = np.asarray(position, dtype=np.float64)[-view.grid.ndim :] / np.asarray(view.scale)
        region = self._chosen_or_new(view)

        def work() -> Change:
            shown = to_shown(region, view)
            return self._change(region, shown, ball(shown, centre.tolist(), diameter, view.scale), view)

        self._propose("circle drawn", work)

    def stop(self) -> None:
        """Discard the preview; where there is none, take the mouse back."""
        if self.preview.is_shown:
            self.preview.discard()
        else:
            self.outlines.use("")

    # -- inside ---------------------------------------------------------------------------------------------------

    def _propose(self, title: str, work: Callable[[], Change]) -> None:
        view = self.outlines.view

        def done(change: Change) -> None:
            if self.outlines.view is view and (
                change[0] is None or self.outlines.region(change[0].region_id) is change[0]
            ):
                self.preview.show(title, *change)

        def failed(error: Exception) -> None:
            self.outlines.told.emit(str(error))

        self._background.run("helper", work, on_done=done, on_error=failed)

    def _chosen_or_new(self, view: CaseView) -> Region:
        return self.outlines.chosen_region() or Region(view.case_id, (), *self.outlines.owner)

    def _change(self, region: Region, shown: Region, after: Region | None, view: CaseView) -> Change:
        before = region if region.rings else None
        return before, to_stored(after, shown, region, view) if after is not None else None

    def _asked(self) -> list[tuple[Region, list[Slice]]]:
        found = self.outlines.targets()
        if not found:
            self.outlines.told.emit("Choose an object or select an outline first.")
        return found

    def _vertices(self) -> int:
        view = self.outlines.view
        if view is None:
            return 0
        rings = (
            r
            for region, zs in self.outlines.targets()
            for z in set(zs)
            for r in regional.rings_on(to_shown(region, view), z)
        )
        return sum(map(len, rings))


def _snapped(view: CaseView, z: Slice, rings: Rings) -> Rings:
    vertices = np.concatenate(rings)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    margin = MARGIN * (high - low).max() + 8
    ends = [low - margin, high + margin]
    if z is not None:
        ends = [np.insert(end, 0, z) for end in ends]
    pixels, origin = _pixels(view, *ends)
    corner = np.asarray(origin[-2:], dtype=np.float64)
    moved = snap(pixels[0] if z is not None else pixels, [ring - corner for ring in rings])
    return [ring + corner for ring in moved]


def _pixels(
    view: CaseView, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the true pixels of a box of the image as shown, and its first index; to be called in a thread."""
    first = np.clip(np.floor(low), 0, np.asarray(view.grid.shape) - 1).astype(int)
    stop = np.clip(np.ceil(high) + 1, first + 1, view.grid.shape).astype(int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, stop, strict=True))
    return np.asarray(view.levels[0][box]), tuple(first.tolist())
