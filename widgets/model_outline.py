"""Taking the outline of an object from a model's mask, as an edit like any other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.annotations import Region
from napari_medlab.correcting import regions as regional
from napari_medlab.correcting.proposals import from_probabilities
from napari_medlab.geometry import polygons
from napari_medlab.models.inference.mask_store import MOST, MaskStore
from napari_medlab.widgets.layers.outlines import to_shown, to_stored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.widgets.case_mask import ShownMask
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.display import Display
    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.session import Session

__all__ = ["ModelOutline", "Wanted", "outline_from"]

TITLE = "model's outline taken"
REACH = 1.5
"""So many diameters to each side of an object are looked through."""
LEAST_VOXELS = 24
"""And at least so many voxels of the mask, where the diameter is not known or small."""
AWAY, AWAY_VOXELS = 0.75, 4.0
"""What the model outlines is the object where it is no farther from its centre than this part of the diameter, or so many
voxels of the mask."""
MIDDLE = 0.5
COARSE, TOLERANCE = 2.0, 0.15
"""Where a voxel of the mask spans so many pixels of the image, the outline may move by this part of a voxel."""


class Wanted(NamedTuple):
    """The object whose outline is wanted: centre in the world, diameter (or -1) in its unit, and label."""

    centre: tuple[float, ...]
    diameter: float
    label: str


class ModelOutline:
    """Works on the chosen object of the case shown.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def take(self) -> None:
        """Replace the outline of the chosen finding or candidate by the model's; read in the background."""
        controller, told = self._controller, self._controller.session.told
        if controller.editing.writable() is None:
            return
        display, session = controller.display, controller.session
        view, shown = display.view, display.mask.shown
        wanted = _chosen(session, view.case_id) if view is not None else None
        if view is None or wanted is None:
            told.emit("Choose a finding or candidate first.")
            return
        if shown is None or display.mask.picture is None:
            told.emit("No model has outlined anything in this case: run one that outlines.")
            return
        before = _outline_of(display, view, wanted)
        edits = controller.editing.outline_edits
        asked = before or Region(view.case_id, (), session.selected_id, wanted.label)

        def done(after: Region | None) -> None:
            if display.view is not view or controller.editing.outline_edits != edits:
                return
            if after is None:
                told.emit("The model outlines nothing at this object.")
            else:
                display.outlines.apply(TITLE, [(before, after)])

        controller.background.run(
            "model's outline", outline_from, shown, view, asked, wanted, on_done=done,
            on_error=lambda error: told.emit(str(error)),
        )  # fmt: skip


def outline_from(shown: ShownMask, view: CaseView, region: Region, wanted: Wanted) -> Region | None:
    """Return a region in the shape that a model gives an object; None where it outlines nothing there.

    Parameters
    ----------
    shown : ShownMask
    view : CaseView
    region : Region
        What it becomes the outline of; in indices of the image as stored.
    wanted : Wanted

    Raises
    ------
    InputRefusedError
        With code ``"partial"`` where the model has not looked at the place yet; and as
        :meth:`~napari_medlab.models.inference.mask_store.MaskStore.read` does.
    """
    store = MaskStore.open(shown.folder)
    known = max(wanted.diameter, 0.0)
    voxels = np.maximum(REACH * known / np.asarray(store.grid.spacing), LEAST_VOXELS)
    middle = store.grid.to_index(wanted.centre[: store.grid.ndim])
    start = np.clip(np.floor(middle - voxels), 0, np.asarray(store.grid.shape) - 1).astype(int)
    stop = np.clip(np.ceil(middle + voxels) + 1, start + 1, store.grid.shape).astype(int)
    answer = _answer(store, start, stop, shown, wanted.label)
    near = view.grid.to_index(wanted.centre[: view.grid.ndim])
    sampled, origin = _sampled(answer, store.grid.cropped(start.tolist(), answer.shape), view.grid)
    before = to_shown(region, view)
    reach = max(AWAY * known, AWAY_VOXELS * max(store.grid.spacing))
    if _distance(sampled, near - origin, np.asarray(view.scale)) > reach:
        return None
    found = from_probabilities(replace(before, rings=()), sampled, origin.tolist(), MIDDLE, near.tolist())
    if found is None or not found.rings:
        return None
    ratio = float(np.min(np.asarray(store.grid.spacing) / np.asarray(view.grid.spacing)))
    return to_stored(_smooth(found, ratio), before, region, view)


def _answer(
    store: MaskStore, start: NDArray[np.int64], stop: NDArray[np.int64], shown: ShownMask, label: str
) -> NDArray[np.float32]:
    """Return how sure the model is in a box, 0 … 1, moved so that every class begins at 0.5, whatever its threshold."""
    values = store.read(start.tolist(), stop.tolist())
    limits = np.broadcast_to(np.asarray(shown.threshold, np.float32), len(store.classes))
    own = [number for number, name in enumerate(store.classes) if name == label] or range(len(store.classes))
    above = np.max([values[number] / np.float32(MOST) - limits[number] for number in own], axis=0)
    return np.clip(above + np.float32(MIDDLE), 0, 1)


def _sampled(
    answer: NDArray[np.float32], near: Grid, image: Grid
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return an answer on the image's lattice, linearly interpolated, and the index of its first voxel there."""
    from scipy.ndimage import affine_transform

    ends = np.stack([np.zeros(near.ndim), np.asarray(near.shape) - 1.0])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(-1, near.ndim)
    reached = image.to_index(near.to_world(corners))
    first = np.clip(np.floor(reached.min(axis=0)), 0, np.asarray(image.shape) - 1).astype(np.int64)
    stop = np.clip(np.ceil(reached.max(axis=0)) + 1, first + 1, image.shape).astype(np.int64)
    back = near.to_index(image.to_world(np.vstack([first, first + np.eye(near.ndim)])))
    sampled = affine_transform(
        answer,
        (back[1:] - back[0]).T,
        back[0],
        output_shape=tuple((stop - first).tolist()),
        order=1,
        mode="nearest",
    )
    return sampled, first


def _smooth(region: Region, ratio: float) -> Region:
    """Return a region without the steps from pixel to pixel that are far finer than the model's voxels.

    Parameters
    ----------
    region : Region
    ratio : float
        How many pixels of the image one voxel of the mask spans.
    """
    if ratio < COARSE:
        return region
    work = partial(polygons.simplify, tolerance=ratio * TOLERANCE)
    return regional.mapped(region, work, list(set(regional.slices_of(region)))) or region


def _chosen(session: Session, case_id: str) -> Wanted | None:
    """Return the chosen object of a case: a finding, or a candidate of the run under review."""
    finding, review, item = session.chosen_finding, session.review, session.item
    if finding is not None:
        return Wanted(finding.centre, finding.diameter, finding.label) if finding.case_id == case_id else None
    if item is not None and item.object_id == session.selected_id:
        return Wanted(item.centre, item.diameter, item.label) if item.case_id == case_id else None
    table = review.candidates if review is not None else None
    rows = (
        []
        if table is None or not session.selected_id
        else np.flatnonzero(table.ids == session.selected_id).tolist()
    )
    if table is None or not rows or table.case_ids[rows[0]] != case_id:
        return None
    row = rows[0]
    return Wanted(tuple(table.centres[row].tolist()), float(table.diameters[row]), str(table.labels[row]))


def _outline_of(display: Display, view: CaseView, wanted: Wanted) -> Region | None:
    """Return the outline that the chosen object has: a shape, or one of many that are painted."""
    region, index = display.outlines.chosen_region(), display.case_outlines.many.index
    owner = display.outlines.owner[0]
    if region is not None or index is None or not owner:
        return region
    middle = view.to_stored(view.to_display(wanted.centre[:2]) / np.asarray(view.scale))
    reach = max(wanted.diameter, 1.0) / min(view.scale)
    near = (index.region(int(row)) for row in index.in_box(middle - reach, middle + reach))
    return next((one for one in near if one.owner_id == owner), None)


def _distance(answer: NDArray[np.float32], place: NDArray[np.float64], spacing: NDArray[np.float64]) -> float:
    """Return how far the nearest voxel that the model marks is from a place, in the unit of the spacing."""
    marked = np.argwhere(answer >= MIDDLE)
    return float(np.linalg.norm((marked - place) * spacing, axis=1).min(initial=np.inf))
