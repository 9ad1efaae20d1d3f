"""Drives the real window through figures and a comparison of two runs, on images of every kind."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mixed_project import RUN, make_id, make_project
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medlab.annotations import Candidate, Region, RegionTable
from napari_medlab.geometry import Grid
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_candidates, add_regions, add_run, finish_case, finish_run
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.layers.case_layers import MARKS
from napari_medlab.widgets.panels.compare import ComparePanel
from napari_medlab.widgets.panels.evaluate import EvaluatePanel
from napari_medlab.widgets.robot import Robot

OTHER = make_id("another run")
NAME = "before and after"
HANG = 120.0


def add_other_run(project: Project) -> None:
    """Add a run that finds everything, outlined a little beside the reference, and marks one place more in each image."""
    project.commit(add_run(OTHER, "", {"model": "better model"}))
    for case in project.cases():
        findings = project.findings(case.case_id)
        found = [
            Candidate(case.case_id, tuple(centre), 0.9, diameter, label, make_id(f"other {finding_id}"))
            for finding_id, centre, diameter, label in zip(
                findings.ids.tolist(), findings.centres.tolist(), findings.diameters.tolist(), findings.labels.tolist(),
                strict=True,
            )
        ]  # fmt: skip
        wrong = _in_the_middle(case)
        project.commit(add_candidates(OTHER, case.case_id, 0, [*found, wrong]))
        _add_outlines(project, case)
        project.commit(finish_case(OTHER, case.case_id, 1.0))
    project.commit(finish_run(OTHER))


def _in_the_middle(case: CaseRecord) -> Candidate:
    grid = Grid.from_json(case.grid or {})
    centre = grid.to_world((np.asarray(grid.shape) - 1) * 0.45)
    return Candidate(
        case.case_id, tuple(centre.tolist()), 0.5, -1.0, "other", make_id(f"wrong {case.case_id}")
    )


def _add_outlines(project: Project, case: CaseRecord) -> None:
    table = project.region_table(case.case_id, run_id="")
    regions = []
    for row in range(len(table)):
        region = table.region(row)
        beside = tuple(ring + 1.0 * (np.arange(table.ndim) >= table.ndim - 2) for ring in region.rings)
        owner = make_id(f"other {region.owner_id}")
        regions.append(Region(case.case_id, beside, owner, region.label, make_id(f"outline {owner}")))
    if regions:
        outlines = RegionTable.from_regions(case.case_id, regions, ndim=table.ndim)
        project.commit(add_regions(case.case_id, "outlines", outlines, OTHER))


class Visit:
    """One window, some steps; each returns what was to be seen."""

    def __init__(self, root: Path, out: Path) -> None:
        make_project(root, scans=1, photos=1)
        with Project.open(root, reader="first") as project:
            add_other_run(project)
        self.workspace = open_window((1280, 800))
        self.controller = self.workspace.controller
        self.session, self.display = self.controller.session, self.controller.display
        self.robot = Robot(self.workspace, out)
        self.controller.open_project(root)
        self.robot.wait_for(lambda: self.session.review is not None, HANG, "the project")

    def evaluate(self) -> dict[str, Any]:
        panel = self.workspace.station("Evaluate")
        if not isinstance(panel, EvaluatePanel):
            raise TypeError(panel)
        self.workspace.show_station("Evaluate")
        panel._run.setCurrentIndex(panel._run.findData(RUN))
        panel.evaluate()
        self.robot.wait_for(lambda: "CPM" in panel.summary.text(), HANG, "the figures")
        fits = panel.minimumSizeHint().width() <= panel.width()
        curve = panel.curve_page.curve
        plot = curve._plot_area()
        at = QPoint(round(plot.left() + 0.7 * plot.width()), round(plot.center().y()))
        QTest.mouseClick(curve, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)
        self.robot.wait_for(lambda: self.session.place == 0, HANG, "the first error")
        station = self.workspace.stations[self.workspace._stack.currentIndex()].title
        run = self.session.review.run_id if self.session.review is not None else ""
        return {"fits": fits, "station": station, "run": run == RUN, "fp_per_scan": self.session.fp_per_scan}

    def compare(self) -> dict[str, Any]:
        panel = self.workspace.station("Compare")
        if not isinstance(panel, ComparePanel):
            raise TypeError(panel)
        self.panel = panel
        self.workspace.show_station("Compare")
        panel._a.setCurrentIndex(panel._a.findData(RUN))
        panel._b.setCurrentIndex(panel._b.findData(OTHER))
        panel._split.setCurrentText("training cases")
        panel.compare()
        self.robot.wait_for(lambda: "difference" in panel.summary.text(), HANG, "the comparison")
        kinds = {case.case_id: case.kind for case in self.controller.cases}
        first = {
            kinds[row.case_id]: number
            for number, row in reversed(list(enumerate(panel._shown)))
            if row.kind == "fixed"
        }
        seen = {kind: self._visit(number) for kind, number in first.items()}
        return {"rows": seen, "keys": self._keys(), "fits": panel.minimumSizeHint().width() <= panel.width()}

    def _visit(self, number: int) -> dict[str, Any]:
        """Choose a row and return what is on the canvas once its outlines are drawn."""
        panel, viewer = self.panel, self.controller.viewer
        lesion = panel._shown[number]
        panel.table.selectRow(number)
        self.robot.wait_for(
            lambda: self.display.view is not None and self.display.view.case_id == lesion.case_id
            and self.display.turns.is_done and NAME in viewer.layers, HANG, "the outlines",
        )  # fmt: skip
        layer, view = viewer.layers[NAME], self.display.view
        if view is None:
            raise TypeError
        place = view.to_display(np.asarray(lesion.centre)[: view.grid.ndim]) / np.asarray(view.scale)
        gaps = [float(np.abs(np.asarray(ring).mean(axis=0) - place)[-2:].max()) for ring in layer.data]
        colours = {
            tuple(np.rint(colour * 255).astype(int).tolist()[:3])
            for colour in np.atleast_2d(layer.edge_color)
        }
        self.robot.picture(f"compare-{view.kind}")
        return {
            "on_top": viewer.layers[-1].name == NAME,
            "rings": len(layer.data),
            "nearest": min(gaps) * max(view.scale),
            "size": lesion.diameter,
            "colours": sorted(colours),
            "others_hidden": [
                not viewer.layers[name].visible for name in ("outlines", MARKS) if name in viewer.layers
            ],
            "zoom": float(viewer.scene.camera.zoom),
        }

    def _keys(self) -> list[int]:
        """Press J, J and K while the list has the keyboard."""
        table, places = self.panel.table, []
        table.selectRow(0)
        table.setFocus()
        for key in (Qt.Key.Key_J, Qt.Key.Key_J, Qt.Key.Key_K):
            self.robot.key(key)
            places.append(table.currentIndex().row())
        return places

    def leave(self) -> dict[str, Any]:
        """Turn to another station."""
        viewer = self.controller.viewer
        self.robot.wait_for(
            lambda: self.display.turns.is_done and NAME in viewer.layers, HANG, "the last outlines"
        )
        self.workspace.show_station("Correct")
        self.robot.pause(0.3)
        shown = [viewer.layers[name].visible for name in ("outlines", MARKS) if name in viewer.layers]
        return {"is_gone": NAME not in viewer.layers, "others_shown": shown}

    def report(self, out: Path) -> dict[str, Any]:
        self.panel.write_report(out)
        self.robot.wait_for(lambda: "Written" in self.panel.summary.text(), HANG, "the report")
        text = (out / "report.html").read_text(encoding="utf-8")
        counts = self.panel.compared.comparison.transitions.counts if self.panel.compared is not None else {}
        return {"pictures": text.count("data:image/png"), "names": "Kidney slide" in text, "counts": counts}


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with display(headless=True):
        visit = Visit(Path(sys.argv[1]), out)
        seen: dict[str, Any] = {
            "evaluate": visit.evaluate(),
            "compare": visit.compare(),
            "leave": visit.leave(),
        }
        seen |= {"report": visit.report(out), "errors": visit.controller.errors}
        (out / "seen.json").write_text(json.dumps(seen), encoding="utf-8")
        visit.workspace.close()
        os._exit(0)  # napari's threads outlive its window
