"""How long the window is held while cases open, and while a slide of 200,000 × 150,000 pixels is panned and zoomed.

Run as ``python benchmarks/open_window.py``; without a display it starts an Xvfb, and draws with software OpenGL, which
takes most of what is measured. As the limit, the same moves over a slide of which everything is in memory already.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from open_series import write_series
from sparse_slide import write_sparse_slide

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.widgets.workspace import Workspace

MOVES, MOVE_MS, SETTLE_MS = 60, 50, 1500


def main() -> None:
    """Print the figures."""
    from napari_medlab.widgets.launcher import display, open_window

    with tempfile.TemporaryDirectory() as folder, display(headless="DISPLAY" not in os.environ):
        root = Path(folder)
        os.environ["MEDLAB_CACHE_DIR"] = str(root / "cache")
        write_sparse_slide(root / "slide.tif", 200_000, 150_000)
        write_sparse_slide(root / "small.tif", 6_000, 4_500)
        (root / "ct").mkdir()
        write_series(root / "ct")
        project = _project(root)
        workspace = open_window()
        try:
            _measure(workspace, project)
        finally:
            workspace.viewer.close()
            os._exit(0)  # napari's threads outlive its window


def _project(root: Path) -> Path:
    from napari_medlab.project import Project
    from napari_medlab.project.adding import add_images

    with Project.create(root / "project") as project:
        list(add_images(project, [root / "slide.tif", root / "small.tif", root / "ct"]))
    return root / "project"


def _measure(workspace: Workspace, folder: Path) -> None:
    from napari_medlab.widgets.heartbeat import Heartbeat

    beat = Heartbeat()
    session, display = workspace.controller.session, workspace.controller.display
    workspace.controller.open_project(folder)
    _wait(lambda: len(workspace.controller.cases) == 3, 20)
    slide, small, scan = (case.case_id for case in workspace.controller.cases)
    _settle(SETTLE_MS)
    for name, case_id in (("slide", slide), ("small slide", small), ("CT of 120 slices", scan), ("slide", slide)):
        beat.start()
        began = time.perf_counter()
        session.show_case(case_id)
        _wait(lambda wanted=case_id: display.view is not None and display.view.case_id == wanted, 20)  # type: ignore[misc]
        _wait(lambda: display.turns.is_done, 20)
        shown = time.perf_counter() - began
        _settle(SETTLE_MS)
        held = beat.stop()
        print(
            f"opening, {name}: shown after {1e3 * shown:.0f} ms, window held {held.longest_ms:.0f} ms at most, "
            f"p99 {held.p99_ms:.0f} ms"
        )
    for name, case_id in (("small slide, all in memory", small), ("slide, read as it is looked at", slide)):
        session.show_case(case_id)
        _wait(lambda wanted=case_id: display.view is not None and display.view.case_id == wanted, 20)  # type: ignore[misc]
        _settle(SETTLE_MS)
        if case_id == small:
            _pan(workspace)  # once, so that everything is in memory
        beat.start()
        _pan(workspace)
        held = beat.stop()
        print(
            f"panning, {name}: window held {held.longest_ms:.0f} ms at most (goal ≤ 100), p99 {held.p99_ms:.0f} ms "
            f"(goal ≤ 16), {held.beats} beats"
        )


def _pan(workspace: Workspace) -> None:
    """Zoom in step by step and pan across at full resolution."""
    viewer: Any = workspace.viewer
    view = workspace.controller.display.view
    assert view is not None
    extent = np.asarray(view.grid.shape) * np.asarray(view.scale)
    camera = viewer.scene.camera
    fit = camera.zoom
    full = 1 / view.scale[0]
    for zoom in np.geomspace(fit, full, MOVES // 3):
        camera.zoom = float(zoom)
        _settle(MOVE_MS)
    for number in range(MOVES):
        share = 0.3 + 0.4 * number / MOVES
        step = 200 * number * view.scale[0]
        camera.center = (0.0, float(extent[0] * 0.4 + step), float(extent[1] * 0.4 + step * share))
        _settle(MOVE_MS)
    _settle(SETTLE_MS)
    camera.zoom = fit
    camera.center = (0.0, float(extent[0] / 2), float(extent[1] / 2))


def _settle(milliseconds: int) -> None:
    until = time.perf_counter() + milliseconds / 1000
    _wait(lambda: time.perf_counter() >= until, milliseconds / 1000 + 5)


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    until = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > until:
            raise TimeoutError("the window did not get there")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 5)


if __name__ == "__main__":
    main()
