"""Judges and corrects in the real window by key and mouse, and says which edits are on the disk; a script of its own.

Each line on standard output is one edit that the window has called saved: its journal id and a hash of what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

from napari_medlab.project.edits import canonical
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.project.edits import Edit

VERDICT_KEYS = (Qt.Key.Key_1, Qt.Key.Key_2, Qt.Key.Key_3, Qt.Key.Key_4)
VERDICTS, CORRECTIONS = 100, 30


class Reader:
    """Somebody who reviews as fast as the window lets them."""

    def __init__(self, project: Path, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.workspace = open_window((1100, 700))
        self.controller = self.workspace.controller
        self.session, self.display = self.controller.session, self.controller.display
        self.robot = Robot(self.workspace, project.parent / "pictures")
        self.stored: dict[str, int] = {}
        self.controller.editing.stored.connect(self._say)
        self.controller.open_project(project)
        self.robot.wait_for(lambda: self.session.review is not None, 60, "the run")
        self.session.set_operating_point(8.0)
        self.session.set_filter(self.session.filter, "case")  # as one reads who goes through case by case
        self.cases_seen: set[str] = set()

    def _say(self, edit: Edit, journal_id: int) -> None:
        digest = hashlib.sha256(canonical(edit.payload).encode()).hexdigest()
        sys.stdout.write(json.dumps({"id": journal_id, "kind": edit.kind, "sha": digest}) + "\n")
        sys.stdout.flush()
        self.stored[edit.kind] = self.stored.get(edit.kind, 0) + 1

    def work(self) -> dict[str, Any]:
        """Give the verdicts, with corrections strewn among them, and return how many of which kind were stored."""
        given = corrected = 0
        for _ in range(10 * VERDICTS):
            if given >= VERDICTS and corrected >= CORRECTIONS:
                break
            if corrected * VERDICTS < given * CORRECTIONS and self.correct():
                corrected += 1
            given += self.judge()
        self.robot.wait_for(lambda: self.controller.editing.pending == 0, 20, "everything to be saved")
        return {
            "verdicts": given,
            "corrections": corrected,
            "stored": self.stored,
            "cases": len(self.cases_seen),
        }

    def judge(self) -> int:
        """Give the current error a verdict by key, and go on."""
        if self.session.item is None:
            self.robot.key(Qt.Key.Key_N)
        self.settle()
        if self.session.item is None:
            return 0
        before = len(self.session.verdicts)
        self.robot.key(VERDICT_KEYS[int(self.rng.integers(4))])
        self.settle()
        if len(self.session.verdicts) == before:
            self.robot.key(Qt.Key.Key_N)
        return 1

    def settle(self) -> None:
        """Wait until what is chosen is on the screen."""

        def is_there() -> bool:
            view = self.display.view
            return view is not None and view.case_id == self.session.case_id and self.display.turns.is_done

        self.robot.wait_for(is_there, 60, "the case to be shown")
        self.cases_seen.add(self.session.case_id)

    def correct(self) -> bool:
        """Drag a vertex, draw a polygon, or add a finding: by key and mouse."""
        self.settle()
        return bool((self.drag_vertex, self.draw, self.add_finding)[int(self.rng.integers(3))]())

    def drag_vertex(self) -> bool:
        layer = self.display.outlines.layer
        here = self._rings_here()
        if layer is None or not here:
            return self.draw()
        self.robot.key(Qt.Key.Key_E)
        ring = here[int(self.rng.integers(len(here)))]
        vertex = ring[int(self.rng.integers(len(ring)))]
        scale = np.asarray(layer.scale[-2:])
        done = self._count(
            lambda: self.robot.drag(vertex * scale, (vertex + self.rng.uniform(-2, 2, 2)) * scale)
        )
        self.robot.key(Qt.Key.Key_E)
        return done

    def draw(self) -> bool:
        view = self.display.view
        if view is None:
            return False
        middle = self.display.place[-2:]
        radius = 12.0 / float(self.workspace.viewer.scene.camera.zoom)
        self.robot.key(Qt.Key.Key_D)
        corners = [middle + radius * np.array(step) for step in ((-3, -3), (-3, 3), (3, 3), (3, -3))]
        done = self._count(lambda: self._click_polygon(corners))
        self.robot.key(Qt.Key.Key_Escape)
        if self.display.outlines.is_editing:
            self.robot.key(Qt.Key.Key_E)
        return done

    def add_finding(self) -> bool:
        return self._count(lambda: self.robot.key(Qt.Key.Key_A))

    def _click_polygon(self, corners: list[NDArray[np.float64]]) -> None:
        for corner in corners:
            self.robot.click_at(corner)
        self.robot.click_at(corners[-1], double=True)

    def _rings_here(self) -> list[NDArray[np.float64]]:
        """Return the outlines that lie on the canvas, as (y, x) indices."""
        layer, view = self.display.outlines.layer, self.display.view
        if layer is None or view is None:
            return []
        at = (
            round(float(self.workspace.viewer.dims.point[0]) / view.scale[0]) if view.grid.ndim == 3 else None
        )
        camera, canvas = self.workspace.viewer.scene.camera, self.robot.canvas_size
        half = 0.4 * np.asarray(canvas) / float(camera.zoom) / np.asarray(view.scale[-2:])
        middle = np.asarray(camera.center[-2:]) / np.asarray(view.scale[-2:])
        rings = [
            np.asarray(ring)[:, -2:] for ring in layer.data if at is None or round(float(ring[0, 0])) == at
        ]
        return [ring for ring in rings if (np.abs(ring - middle) < half).all()]

    def _count(self, act: Any) -> bool:  # noqa: ANN401 - whatever the mouse does
        before = sum(self.stored.values())
        act()
        self.robot.wait_for(lambda: self.controller.editing.pending == 0, 20, "the correction to be saved")
        return sum(self.stored.values()) > before


if __name__ == "__main__":
    with display(headless=True):
        reader = Reader(Path(sys.argv[1]), int(sys.argv[2]))
        sys.stdout.write(json.dumps({"done": reader.work()}) + "\n")
        sys.stdout.flush()
        reader.workspace.close()
        os._exit(0)  # napari's threads outlive its window
