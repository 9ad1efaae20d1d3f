"""Closes the real window while the detector is at work, answering what it asks; a script of its own.

Prints what was asked, and when the window had gone, as seconds since it was closed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.robot import Robot


def answer(wanted: str, asked: list[str]) -> None:
    """Click a button of the question that the window asks, once it is there."""
    for box in QApplication.topLevelWidgets():
        if isinstance(box, QMessageBox) and box.isVisible():
            asked.append(box.text())
            next(button for button in box.buttons() if button.text() == wanted).click()
            return
    QTimer.singleShot(20, lambda: answer(wanted, asked))


def main(project: Path) -> None:
    """Run the detector, close the window, first to go on after all, then to stop."""
    workspace = open_window((1000, 650))
    controller = workspace.controller
    robot = Robot(workspace, project.parent / "pictures")
    window = workspace.header.window()
    controller.open_project(project)
    robot.wait_for(lambda: controller.cases and controller.models.bundles, 60, "the project")
    controller.models.run(controller.models.current_hash, [case.case_id for case in controller.cases])
    found: list[int] = []
    controller.models.progressed.connect(lambda done, *_: found.append(done))
    robot.wait_for(lambda: any(found), 120, "the first case")
    asked: list[str] = []
    QTimer.singleShot(0, lambda: answer("Go on", asked))
    window.close()
    if not (window.isVisible() and controller.models.is_running):
        raise AssertionError("the window went although the reader wanted to go on")
    QTimer.singleShot(0, lambda: answer("Stop and close", asked))
    QTimer.singleShot(0, window.close)
    began = time.monotonic()
    napari.run()
    sys.stdout.write(f"{asked}\n{time.monotonic() - began:.2f}\n")


if __name__ == "__main__":
    with display(headless=True):
        main(Path(sys.argv[1]))
