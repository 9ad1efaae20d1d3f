"""The mask of the case on the canvases: that of the run at work, as it is computed, or that of the run under review."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_medlab.models.workflows.predict import mask_folder
from napari_medlab.widgets.layers.mask_overlay import MASK, MaskOverlay
from napari_medlab.widgets.layers.mask_picture import MaskPicture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from napari_medlab.models.workflows.predict import RunEvent
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.layers.case_layers import CaseLayers
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["CaseMask", "ShownMask"]

DEFAULT_THRESHOLD = 0.5
STEPS = 20
"""In so many steps it is told how much has been looked at."""


@dataclass(frozen=True)
class ShownMask:
    """The mask that belongs to the case shown.

    Parameters
    ----------
    folder : Path
        Of its store.
    threshold : float or sequence of float
        Of the model, one for all classes or one for each.
    model : str
        The model's name.
    """

    folder: Path
    threshold: float | Sequence[float]
    model: str


class CaseMask:
    """Finds the mask of a case, has it read off the GUI thread, and draws it in every viewer that shows the case.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._overlays: dict[int, MaskOverlay] = {}
        self._view: CaseView | None = None
        self._picture: MaskPicture | None = None
        self._live: dict[str, str] = {}
        """The cases whose mask is being computed, or was cut short, by the run that is at it."""
        self._announced: set[Path] = set()
        self._early: list[Any] = []
        """Boxes that were finished while the store was being opened, and may be missing in what was read of it."""
        self._is_wanted = True
        self.shown: ShownMask | None = None

    @property
    def picture(self) -> MaskPicture | None:
        """What is drawn; None where the case has no mask, or it is still being read."""
        return self._picture

    def make_room(self, view: CaseView) -> None:
        """Show no mask: another case is coming."""
        if self._picture is not None:
            self._picture.drop()
        self._view, self._picture, self.shown = view, None, None
        for overlay in self._overlays.values():
            overlay.make_room(view)

    def begin_run(self) -> None:
        """Take note that a run begins, which makes masks anew."""
        self._live.clear()
        self._announced.clear()

    def look(self) -> None:
        """Show the mask of the case shown, where there is one and it is not shown already."""
        view, controller = self._view, self._controller
        wanted = self._wanted()
        if view is None or wanted is None or not view.case_id:
            if self._picture is not None and view is not None:
                self.make_room(view)
            return
        if self.shown == wanted:
            return
        self.shown = wanted
        self._early = []
        controller.background.run(
            "mask", _opened, wanted, view, on_done=partial(self._on_opened, wanted), on_error=self._on_unread
        )

    def take(self, event: RunEvent) -> None:
        """Draw what a run says that it has done of a mask."""
        if event.mask is None:
            return
        is_shown = self._view is not None and event.case_id == self._view.case_id
        self._live[event.case_id] = event.run_id
        if event.mask not in self._announced:  # a store of that name may have been another one before
            self._announced.add(event.mask)
            if is_shown:
                self.shown = None
        if not is_shown:
            return
        picture = self._picture
        if self.shown is None or picture is None or picture.folder != event.mask:
            self.look()
            self._early += [event.box] if event.box[0] else []
        elif event.kind == "mask" and event.box[0]:
            self._fill(picture, [event.box])
        else:  # it has come to an end, or was cut short
            self._controller.background.run("mask state", picture.renew, on_done=lambda _: self._say(picture))

    def toggle(self) -> None:
        """Hide the mask, or show it again."""
        self._is_wanted = not self._is_wanted
        for overlay in self._overlays.values():
            overlay.set_visible(self._is_wanted)
        if self._picture is None:
            self._controller.session.told.emit("There is no mask here: run a model that outlines.")

    def renamed(self) -> None:
        """Say in the name of the layers anew whether the mask is all there."""
        if self._picture is not None:
            self._say(self._picture)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _wanted(self) -> ShownMask | None:
        """Return the mask that belongs to the case: of the run that is at it, else of the run under review."""
        controller, view = self._controller, self._view
        project, review = controller.session.project, controller.session.review
        if project is None or view is None:
            return None
        run_id = self._live.get(view.case_id) or (review.run_id if review is not None else "")
        record = next((run for run in controller.runs if run.run_id == run_id), None)
        made_by = record.bundle_hash if record is not None else controller.models.running_hash
        bundle = controller.models.bundle(made_by)
        if not run_id or bundle is None or bundle.task != "segmentation":
            return None
        threshold = bundle.postprocessing.get("threshold", DEFAULT_THRESHOLD)
        return ShownMask(mask_folder(project, run_id, view.case_id), threshold, bundle.name)

    def _on_opened(self, wanted: ShownMask, opened: tuple[MaskPicture, list[Any]] | None) -> None:
        if self.shown != wanted or opened is None or opened[0].view is not self._view:
            return
        picture, boxes = opened
        if self._picture is not None:
            self._picture.drop()
        self._picture = picture
        display = self._controller.display
        for number, layers in enumerate(display.viewers_of_case):
            display.turns.put(f"mask {number}", partial(self._show_in, layers, picture))
        self._fill(picture, [*boxes, *self._early])

    def _on_unread(self, error: Exception) -> None:
        self._controller.show_error(error)

    def _show_in(self, layers: CaseLayers, picture: MaskPicture) -> None:
        if picture is self._picture:
            overlay = self._overlays.setdefault(id(layers), MaskOverlay(layers.viewer))
            overlay.show(picture, self._name(picture), visible=self._is_wanted)

    def _fill(self, picture: MaskPicture, boxes: Sequence[Any]) -> None:
        background = self._controller.background
        if boxes and picture.add(boxes):
            told = partial(background.tell, self._on_news, picture)
            kind = f"mask of {picture.folder}"
            background.run(kind, picture.fill, told, time.monotonic, on_done=lambda _: None)

    def _on_news(self, picture: MaskPicture) -> None:
        if picture is not self._picture:
            return
        for number, overlay in enumerate(self._overlays.values()):
            self._controller.display.turns.put(f"mask news {number}", overlay.refresh)
        self._say(picture)

    def _say(self, picture: MaskPicture) -> None:
        if picture is self._picture:
            name = self._name(picture)
            for overlay in self._overlays.values():
                overlay.rename(name)

    def _name(self, picture: MaskPicture) -> str:
        model = self.shown.model if self.shown is not None else ""
        if picture.is_complete:
            return f"{MASK}: {model}"
        at_work = self._controller.models.is_at(picture.view.case_id)
        # in steps: each new name has the list of layers drawn again
        how_far = f"{int(picture.share * STEPS) / STEPS:.0%} looked at"
        return f"{MASK}: {model} ({'being computed' if at_work else 'partial'}, {how_far})"


def _opened(wanted: ShownMask, view: CaseView) -> tuple[MaskPicture, list[Any]] | None:
    if not wanted.folder.exists():
        return None
    picture = MaskPicture(wanted.folder, view, wanted.threshold)
    return picture, picture.boxes()
