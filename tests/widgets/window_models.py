"""Drives the real window through models: what fits, live masks, a stop half way, a failure, the model's outline."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mixed_project import make_project
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from tiny_models import limit_segmenter

from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.workflows.predict import mask_folder, register_bundle
from napari_medlab.project import Project, open_case
from napari_medlab.project.edits import add_run, finish_case, finish_run
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.panels.model_card import CardDialog
from napari_medlab.widgets.panels.run import RunPanel
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.models.bundles import Bundle

PAINTED = "c" * 32
HALF_UM = 40.0
HANG = 200.0


def prepare(folder: Path) -> dict[str, Any]:
    """Make a project with two segmenters, a finished run whose mask is one square, and a scan that cannot be read."""
    make_project(folder, scans=2, photos=1)
    # in tiles so small that there is time to stop it
    tiling = {"core": [8, 32, 32], "halo": [4, 4, 4], "batch": 1}
    scan = limit_segmenter(
        folder / "bundles", "dense", {"spacing_mm": 0.4, "window": [-1000, 400]}, 0.55, tiling=tiling
    )
    slide = limit_segmenter(
        folder / "bundles",
        "dark",
        {"kind": "slide", "spacing_um": 2.0, "channels": 3},
        0.5,
        is_dark=True,
        label="glomerulus",
    )
    with Project.open(folder, reader="first") as project:
        for bundle in (scan, slide):
            register_bundle(project, bundle, "imported")
        square = paint(project, slide)
        cases = {case.name: case.case_id for case in project.cases()}
        project.case_path(cases["CT 2"]).write_bytes(b"no image any more")
    return {"square": square, "cases": cases}


def paint(project: Project, bundle: Bundle) -> list[list[float]]:
    """Add a run with a mask in which a square around the first glomerulus is marked; return its corners in the world."""
    case_id = next(case.case_id for case in project.cases() if case.kind == "slide")
    grid = Preprocessing(kind="slide", spacing_um=2.0, channels=3).prepare(open_case(project, case_id)).grid
    finding = project.findings().for_case(case_id).finding(0)
    first = np.rint(grid.to_index(np.asarray(finding.centre[:2]) - HALF_UM)).astype(int)
    last = np.rint(grid.to_index(np.asarray(finding.centre[:2]) + HALF_UM)).astype(int)
    mask = mask_folder(project, PAINTED, case_id)
    mask.parent.mkdir(parents=True)
    store = MaskStore.create(mask, grid, bundle.classes, bundle=bundle.hash)
    whole = np.zeros((1, *grid.shape), np.uint8)
    whole[0, first[0] : last[0] + 1, first[1] : last[1] + 1] = 255
    for index in np.ndindex(*store.counts):
        box = store.box(index)
        store.write(index, whole[:, box.start[0] : box.stop[0], box.start[1] : box.stop[1]])
    store.finish()
    project.commit(add_run(PAINTED, bundle.hash, {}))
    project.commit(finish_case(PAINTED, case_id, 1.0))
    project.commit(finish_run(PAINTED))
    return [grid.to_world(first - 0.5).tolist(), grid.to_world(last + 0.5).tolist()]


class Visit:
    """One window, some steps; each returns what was to be seen."""

    def __init__(self, root: Path, out: Path) -> None:
        self.made = prepare(root)
        self.workspace = open_window((1280, 800))
        self.controller = self.workspace.controller
        self.session, self.display, self.models = (
            self.controller.session,
            self.controller.display,
            self.controller.models,
        )
        self.robot = Robot(self.workspace, out)
        self.controller.open_project(root)
        self.wait(lambda: self.session.review is not None and len(self.models.bundles) >= 3, "the project")
        panel = self.workspace.station("Run")
        if not isinstance(panel, RunPanel):
            raise TypeError(panel)
        self.panel = panel
        self.said: list[str] = []
        self.session.told.connect(self.said.append)
        self.session.saved.connect(self.said.append)

    def wait(self, condition: Any, what: str) -> None:  # noqa: ANN401 - a function
        """Wait whatever errors are told meanwhile."""
        for _ in range(int(HANG / 0.02)):
            if condition():
                return
            self.robot.pause(0.02)
        raise TimeoutError(f"{what}; {self.controller.errors}; {self.said}; {self.names}")

    def show(self, name: str) -> None:
        case_id = self.made["cases"][name]
        self.session.show_case(case_id)
        self.wait(lambda: self.display.view is not None and self.display.view.case_id == case_id, name)
        self.wait(lambda: self.display.turns.is_done, f"{name} to be drawn")

    def choose(self, name: str, cases: str) -> None:
        row = [bundle.name for bundle in self.panel._bundles].index(name)
        rect = self.panel.models.visualRect(self.panel.models.model().index(row, 0))
        QTest.mouseClick(
            self.panel.models.viewport(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            rect.center(),
        )
        self.panel.choose_cases(cases)
        self.robot.pause(0.1)

    @property
    def mask(self) -> Any:  # noqa: ANN401 - a layer
        return next((layer for layer in self.workspace.viewer.layers if layer.name.startswith("mask")), None)

    @property
    def names(self) -> list[str]:
        viewers = [layers.viewer for layers in self.display.viewers_of_case]
        return [layer.name for viewer in viewers for layer in viewer.layers if layer.name.startswith("mask")]

    def wait_for_names(self, are_right: Callable[[str], bool], what: str) -> None:
        """Wait until the mask is called so on every plane, each of which is drawn in a turn of its own."""
        self.wait(lambda: self.mask is not None and all(map(are_right, self.names)), what)

    # -- steps ----------------------------------------------------------------------------------------------------

    def painted(self) -> dict[str, Any]:
        """Look at the mask of the finished run."""
        self.show("Kidney slide")
        self.controller.reload_review(PAINTED)
        picture = self.display.mask
        self.wait(lambda: picture.picture is not None and (picture.picture.levels[0] == 1).any(), "the mask")
        self.wait(lambda: self.mask is not None, "its layer")
        layer, view = self.mask, self.display.view
        rows = np.argwhere(np.asarray(layer.data[0]) == 1)
        found = [layer.data_to_world(rows.min(axis=0) - 0.5), layer.data_to_world(rows.max(axis=0) + 0.5)]
        if view is None:
            raise TypeError("no view")
        on_top = [one.name for one in self.workspace.viewer.layers]
        self.robot.key(Qt.Key.Key_K)
        hidden = layer.visible
        self.robot.key(Qt.Key.Key_K)
        return {
            "found": np.asarray(found).tolist(),
            "expected": view.to_display(np.asarray(self.made["square"])).tolist(),
            "name": layer.name, "order": on_top, "hidden": hidden, "shown": layer.visible,
        }  # fmt: skip

    def take(self) -> dict[str, Any]:
        """Take the model's outline for the first finding, and undo it."""
        finding = self.session.findings.for_case(self.session.case_id).finding(0)
        self.session.select(finding.finding_id)
        self.workspace.show_station("Correct")
        self.wait(lambda: self.display.outlines.chosen_region() is not None, "its outline")
        before = self.extent()
        self.robot.key(Qt.Key.Key_T)
        self.wait(lambda: any("saved" in text for text in self.said), "the outline to be taken")
        after, said = self.extent(), list(self.said)
        self.robot.picture("taken")
        self.robot.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        self.wait(lambda: any("undone" in text for text in self.said), "undo")
        self.wait(lambda: np.allclose(self.extent(), before), "the outline as it was")
        return {"before": before, "after": after, "said": said, "undone": self.extent()}

    def extent(self) -> list[list[float]]:
        """Return where the outline of the chosen object is, in the world."""
        region, view = self.display.outlines.chosen_region(), self.display.view
        if region is None or view is None:
            return []
        world = view.to_world(view.to_shown(np.concatenate(region.rings)) * np.asarray(view.scale))
        return [world.min(axis=0).tolist(), world.max(axis=0).tolist()]

    def unfit(self) -> dict[str, Any]:
        """Choose a model for scans while a slide is shown, and look at its card."""
        self.workspace.show_station("Run")
        self.choose("lung-nodules", "the case shown")
        seen: dict[str, Any] = {"reason": self.panel._fits.text(), "may": self.panel.start_button.isEnabled()}
        model = self.panel.models.model()
        seen["marked"] = [model.index(row, 0).data() for row in range(model.rowCount())]
        self.robot.click(self.panel.about_button)
        self.wait(lambda: cards(), "the card")
        self.robot.picture("card")
        seen["card"] = cards()[0].browser.toPlainText()
        cards()[0].reject()
        self.choose("dark", "the case shown")
        seen["fitting"] = {"reason": self.panel._fits.text(), "may": self.panel.start_button.isEnabled()}
        return seen

    def stop(self) -> dict[str, Any]:
        """Run a slow model and stop it early: the worker is ahead of what is drawn of its mask."""
        self.show("CT 1")
        self.choose("dense", "all cases")
        note = self.panel._fits.text()
        self.robot.click(self.panel.start_button)
        self.wait(lambda: self.display.mask.shown is not None, "the first part of the mask")
        self.robot.click(self.panel.cancel_button)
        self.wait(lambda: not self.models.is_running, "the stop")
        self.wait_for_names(lambda name: "partial" in name, "the mask to be called partial")
        self.robot.picture("partial")
        labels = np.unique(np.asarray(self.mask.data)).tolist()
        return {
            "note": note, "partial": self.names, "labels": labels, "troubles": self.rows(),
            "text": self.panel._text.text(), "backend": self.panel._backend.text(),
        }  # fmt: skip

    def fail(self) -> dict[str, Any]:
        """Go on with the run, one case of which cannot be read, and go to that case from the list."""
        self.robot.click(self.panel.start_button)
        self.wait_for_names(lambda name: "computed" in name, "the mask as it is computed")
        live = self.names
        self.wait(lambda: not self.models.is_running, "the run")
        self.workspace.show_station("Run")
        self.wait_for_names(lambda name: "looked" not in name, "the whole mask")
        seen: dict[str, Any] = {
            "live": live,
            "troubles": self.rows(),
            "text": self.panel._text.text(),
            "whole": self.names,
        }
        table = self.panel.troubles
        rect = table.visualRect(table.model().index(0, 0))
        self.robot.picture("failed")
        asked_for: list[str] = []
        self.session.case_changed.connect(asked_for.append)
        QTest.mouseClick(
            table.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, rect.center()
        )
        self.robot.pause(0.1)
        seen["went_to"] = next(
            name for name, case_id in self.made["cases"].items() if case_id == asked_for[-1]
        )
        seen["told"] = self.panel._text.text()
        return seen

    def rows(self) -> list[list[str]]:
        model = self.panel.troubles.model()
        return [
            [str(model.index(row, column).data()) for column in range(2)] for row in range(model.rowCount())
        ]


def cards() -> list[CardDialog]:
    return [one for one in QApplication.topLevelWidgets() if isinstance(one, CardDialog) and one.isVisible()]


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with display(headless=True):
        visit = Visit(Path(sys.argv[1]), out)
        steps = (visit.painted, visit.take, visit.unfit, visit.stop, visit.fail)
        seen: dict[str, Any] = {step.__name__: step() for step in steps}
        seen["errors"] = visit.controller.errors
        (out / "seen.json").write_text(json.dumps(seen), encoding="utf-8")
        visit.workspace.close()
        os._exit(0)  # napari's threads outlive its window
