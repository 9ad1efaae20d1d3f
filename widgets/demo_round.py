"""Once round the loop in the real window, by real key and mouse events."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

from napari_medlab.errors import MedlabError
from napari_medlab.widgets.heartbeat import Heartbeat
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project import Project
    from napari_medlab.widgets.workspace import Workspace

__all__ = ["go_round"]

VERDICTS = (Qt.Key.Key_1, Qt.Key.Key_1, Qt.Key.Key_3, Qt.Key.Key_1, Qt.Key.Key_4, Qt.Key.Key_1)


def go_round(workspace: Workspace, out: Path, steps: int | None) -> dict[str, Any]:
    """Go once round and return what was done; raises where a station does not do what it should.

    Parameters
    ----------
    workspace : whose demo project is being made
    out : folder for screenshots and report
    steps : of the retraining; those of the panel where None
    """
    walk = _Walk(workspace, out)
    summary: dict[str, Any] = {}
    for station in (walk.detect, walk.review, walk.correct, walk.evaluate, walk.export):
        summary |= station()
    summary |= walk.retrain(steps)
    summary |= walk.compare()
    return summary


class _Walk:
    def __init__(self, workspace: Workspace, out: Path) -> None:
        self.workspace = workspace
        self.controller = workspace.controller
        self.session = workspace.controller.session
        self.out = out
        self.robot = Robot(workspace, out / "screenshots")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress goes to standard error

    @property
    def project(self) -> Project:
        """The demo project, which is open by now."""
        if self.session.project is None:
            raise MedlabError("The demo project is not open.", code="demo")
        return self.session.project

    def detect(self) -> dict[str, Any]:
        """Wait for the phantoms, then watch the window's pulse while the detector runs."""
        models = self.controller.models
        self.say("making phantoms …")
        self.robot.wait_for(lambda: models.is_running, 600, "the phantoms to be made")
        self.say("running the detector …")
        self.robot.pause(1.0)
        heartbeat = Heartbeat()
        heartbeat.start()
        began = time.monotonic()
        self.robot.wait_for(lambda: self.session.review is not None, 120, "the first case")
        self.robot.picture("1-run")
        self.robot.wait_for(
            lambda: self.session.item is not None, 600, "the detector to land on the worst error"
        )
        held = heartbeat.stop()
        self.say(
            f"GUI thread held at most {held.longest_ms:.0f} ms while the detector ran (p99 {held.p99_ms:.0f} ms)"
        )
        if self.session.item is None or self.session.item.kind != "fp":
            raise MedlabError("The window did not land on a false positive.", code="demo")
        return {"gui_held": asdict(held), "detection_seconds": round(time.monotonic() - began, 1)}

    def review(self) -> dict[str, Any]:
        """Give verdicts by keyboard."""
        self.robot.wait_for(lambda: self._case_is_shown(), 30, "the case of the worst error")
        self.robot.picture("2-review-worst-false-positive")
        for number, key in enumerate(VERDICTS):
            self.robot.wait_for(self._case_is_shown, 30, "the case of the next error")
            self.robot.key(key)
            self.robot.wait_for(partial(self._has_verdicts, number + 1), 20, "a verdict to be on the disk")
        self.robot.wait_for(lambda: self._case_is_shown(), 30, "the next case")
        self.robot.picture("3-review")
        return {"verdicts": len(self._verdicts())}

    def correct(self) -> dict[str, Any]:
        """Drag a vertex of a missed nodule's outline, undo it, and do it again."""
        miss = next((n for n, item in enumerate(self.session.queue) if item.kind == "fn"), None)
        if miss is None:
            raise MedlabError("No nodule was missed, so there is no outline to correct.", code="demo")
        self.session.go_to(miss)
        self.workspace.show_station("Correct")
        outlines = self.controller.display.outlines
        self.robot.wait_for(lambda: self._case_is_shown() and outlines.layer is not None and len(outlines.layer.data) > 0,
                            30, "the outlines")  # fmt: skip
        self.robot.pause(0.3)
        self.robot.key(Qt.Key.Key_E)
        self.robot.wait_for(
            lambda: outlines.is_editing and len(outlines.layer.selected_data) > 0, 10, "the vertices"
        )
        self._zoom_in()
        before = self._region_edits()
        row = sorted(outlines.layer.selected_data)[0]
        ring = outlines.layer.data[row][:, -2:] * np.asarray(outlines.layer.scale)[-2:]
        middle = ring.mean(axis=0)
        vertex = ring[int(np.argmax(np.linalg.norm(ring - middle, axis=1)))]
        self.robot.drag(vertex, vertex + (vertex - middle) * 0.6)
        self.robot.wait_for(
            lambda: self._edits_since(before) == 1, 20, "the corrected outline to be on the disk"
        )
        self.robot.picture("4-correct")
        self.robot.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        self.robot.wait_for(lambda: self._edits_since(before) == 2, 20, "the undo")
        self.robot.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
        self.robot.wait_for(lambda: self._edits_since(before) == 3, 20, "the redo")
        self.robot.key(Qt.Key.Key_E)
        return {"outline_edits": self._edits_since(before)}

    def evaluate(self) -> dict[str, Any]:
        """Look at the figures."""
        from napari_medlab.widgets.panels.evaluate import EvaluatePanel

        panel = self.workspace.station("Evaluate")
        if not isinstance(panel, EvaluatePanel):
            raise TypeError
        self.workspace.show_station("Evaluate")
        panel.evaluate()
        self.robot.wait_for(lambda: "CPM" in panel.summary.text(), 60, "the figures")
        self.robot.picture("5-evaluate")
        return {"evaluation": panel.summary.text()}

    def export(self) -> dict[str, Any]:
        """Write the package of hard examples."""
        from napari_medlab.widgets.panels.hard import HardExamplesPanel

        panel = self.workspace.station("Hard examples")
        if not isinstance(panel, HardExamplesPanel):
            raise TypeError
        self.workspace.show_station("Hard examples")
        panel.look()
        self.robot.wait_for(lambda: "were looked at" in panel.text.text(), 120, "the look before the package")
        preview = panel.view.text.text()
        panel.export()
        self.robot.wait_for(lambda: "Written" in panel.text.text(), 300, "the package")
        self.robot.picture("6-hard-examples")
        package = next((self.project.folder / "exports").glob("*/manifest.json")).parent
        return {"examples": preview, "package": str(package)}

    def retrain(self, steps: int | None) -> dict[str, Any]:
        """Train, and let the frozen test set judge."""
        from napari_medlab.widgets.panels.retrain import RetrainPanel

        panel, models = self.workspace.station("Retrain"), self.controller.models
        if not isinstance(panel, RetrainPanel):
            raise TypeError
        self.workspace.show_station("Retrain")
        if steps is not None:
            panel.set_steps(steps)
        began = time.monotonic()
        self.say("retraining …")
        self.robot.click(panel.train_button)
        self.robot.wait_for(lambda: panel.seen_steps > (steps or 24) // 2, 300, "the training to get going")
        self.robot.picture("7-retrain")
        self.robot.wait_for(
            lambda: panel.proposal is not None and not models.is_running, 600, "the new bundle"
        )
        seconds = time.monotonic() - began
        self.say("judging on the frozen test set …")
        self.robot.click(panel.judge_button)
        self.robot.wait_for(lambda: panel.judgement is not None, 600, "the frozen test set's word")
        judgement = panel.judgement
        if judgement is not None and judgement.may_publish and judgement.comparison.difference >= 0:
            self.robot.click(panel.publish_button)
            self.robot.wait_for(lambda: "is the current model" in panel.text.text(), 20, "publishing")
        self.robot.picture("8-judged")
        bundle = panel.proposal.folder if panel.proposal else ""
        return {
            "training_seconds": round(seconds, 1),
            "bundle": str(bundle),
            "judgement": judgement.reason if judgement else "",
        }

    def compare(self) -> dict[str, Any]:
        """Compare both models lesion by lesion, open one of them, and write the report."""
        from napari_medlab.widgets.panels.compare import ComparePanel

        panel = self.workspace.station("Compare")
        if not isinstance(panel, ComparePanel):
            raise TypeError
        self.workspace.show_station("Compare")
        self.robot.wait_for(lambda: len(self.controller.runs) > 1, 20, "both runs to be listed")
        panel.compare()
        self.robot.wait_for(lambda: "difference" in panel.summary.text(), 60, "the comparison")
        if panel.table.model().rowCount():
            panel.table.selectRow(0)
            self.robot.pause(1.5)
        self.robot.picture("9-compare")
        comparison = panel.summary.text()
        panel.write_report(self.out)
        self.robot.wait_for((self.out / "report.html").exists, 120, "the report")
        return {"comparison": comparison, "report": str(self.out / "report.html")}

    def _case_is_shown(self) -> bool:
        display = self.controller.display
        return (
            display.view is not None
            and display.view.case_id == self.session.case_id
            and display.turns.is_done
        )

    def _has_verdicts(self, count: int) -> bool:
        return len(self._verdicts()) == count

    def _verdicts(self) -> list[int]:
        return [entry.id for entry in self.project.journal(kinds=("verdict.set",))]

    def _region_edits(self) -> list[int]:
        return [entry.id for entry in self.project.journal(limit=40, kinds=("region.set",))]

    def _edits_since(self, before: list[int]) -> int:
        """Count the edits of outlines that came after those seen before."""
        last = before[-1] if before else 0
        return sum(edit > last for edit in self._region_edits())

    def _zoom_in(self) -> None:
        """Zoom to the chosen object, so that a vertex is a target one can hit."""
        display = self.controller.display
        item, view = self.session.item, display.view
        if item is None or view is None:
            return
        camera = self.workspace.viewer.scene.camera
        camera.center = (0.0, *view.to_display(item.centre)[-2:])
        camera.zoom = 12.0
        self.robot.pause(0.3)
