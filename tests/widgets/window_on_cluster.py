"""Runs a model on a cluster from the real window; one of two workers is killed in the middle."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from cluster_parts import Parts, cluster
from mixed_project import make_project
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medlab.project import Project
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.panels.run import RunPanel
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QLineEdit

HANG = 240.0
SCANS = 5
MODEL = "lung-nodules"


class Visit:
    """One window, one run; each step returns what was to be seen."""

    def __init__(self, project: Path, out: Path, parts: Parts) -> None:
        self.parts = parts
        self.workspace = open_window((1280, 800))
        self.controller = self.workspace.controller
        self.models = self.controller.models
        self.robot = Robot(self.workspace, out)
        self.controller.open_project(project)
        session = self.controller.session
        self.wait(lambda: session.review is not None and len(self.models.bundles) >= 3, "the project")
        panel = self.workspace.station("Run")
        if not isinstance(panel, RunPanel):
            raise TypeError(panel)
        self.panel = panel

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + HANG
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}; {self.controller.errors}; {self.panel._text.text()}")
            self.robot.pause(0.02)

    def choose(self) -> None:
        """Choose the model, its cases, and the cluster."""
        self.workspace.show_station("Run")
        panel = self.panel
        row = [bundle.name for bundle in panel._bundles].index(MODEL)
        where = panel.models.visualRect(panel.models.model().index(row, 0)).center()
        QTest.mouseClick(
            panel.models.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where
        )
        panel.choose_cases("all cases")
        self.robot.click(panel.options.fold)
        self.type(panel.options.cluster, self.parts.address)
        self.type(panel.options.certificates, str(self.parts.certificates))

    def type(self, field: QLineEdit, text: str) -> None:
        self.robot.click(field)
        QTest.keyClicks(field, text)
        QTest.keyClick(field, Qt.Key.Key_Return)

    def run(self) -> dict[str, Any]:
        """Run the model, kill a worker when the first case is done, and wait for the end."""
        panel, told = self.panel, [""]
        self.models.progressed.connect(lambda _done, _total, text: told.append(text))
        self.robot.click(panel.start_button)
        self.wait(lambda: "2 workers" in panel._text.text(), "two workers")
        self.wait(lambda: self.models.progress.done >= 1, "the first case")
        self.robot.picture("on two workers")
        self.parts.kill(self.parts.workers[0].pid)
        self.wait(lambda: "1 worker" in panel._text.text(), "one worker")
        self.robot.picture("on one worker")
        self.wait(lambda: not self.models.is_running, "the end")
        self.robot.pause(0.5)
        self.robot.picture("done")
        return {
            "told": list(dict.fromkeys(told)),
            "text": panel._text.text(),
            "errors": self.controller.errors,
        }


def stored(folder: Path) -> dict[str, Any]:
    """Return what is in the project of the newest run: how many cases are done, and how many candidates each has."""
    with Project.open(folder, read_only=True) as project:
        run = project.runs()[-1]
        scans = [case.case_id for case in project.cases() if case.kind == "volume"]
        return {
            "done": len(project.cases_done(run.run_id)), "scans": len(scans), "state": run.is_finished,
            "candidates": [len(project.candidates(run.run_id, case_id)) for case_id in scans],
            "sound": project.verify() == [],
        }  # fmt: skip


if __name__ == "__main__":
    root, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    make_project(root / "project", scans=SCANS, photos=1)
    with cluster(root, 2) as parts, display(headless=True):
        visit = Visit(root / "project", out, parts)
        visit.choose()
        seen = visit.run()
        visit.controller.close_project()
        seen |= stored(root / "project")
        (out / "seen.json").write_text(json.dumps(seen), encoding="utf-8")
        visit.workspace.close()
    os._exit(0)  # napari's threads outlive its window
