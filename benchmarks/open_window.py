"""How long the window is held while cases open, and while a slide of 200,000 × 150,000 pixels is panned and zoomed.

Run as ``python benchmarks/open_window.py``; without a display it starts an Xvfb, and draws with software OpenGL, which
takes most of what is measured. As the limit, the same moves over a slide of which everything is in memory already.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from driving import leave, settle, wait
from figures import Figure, Goal, Growth
from measuring import Record, arguments, recording
from open_series import write_series
from sparse_slide import write_sparse_slide

if TYPE_CHECKING:
    import argparse

    from napari_medlab.widgets.heartbeat import HeldTimes
    from napari_medlab.widgets.workspace import Workspace

AREA = "The window"
MOVE_MS, SETTLE_MS = 50, 1500
MOVES, QUICK_MOVES = 60, 12
SMALL = (6_000, 4_500)
SIDES = ((20_000, 15_000), (63_246, 47_434), (200_000, 150_000))
HELD, HELD_P99 = Goal(100.0), Goal(16.0)


def main() -> None:
    """Measure a window on slides of several sizes and a CT."""
    leave(partial(measure, arguments(__doc__).parse_args()))


def measure(options: argparse.Namespace) -> None:
    """Open the window under the display there is or one of our own, and measure."""
    from napari_medlab.widgets.launcher import display, open_window

    sides = SIDES[:2] if options.quick else SIDES
    with (
        tempfile.TemporaryDirectory() as folder,
        display(headless=False),
        recording(__file__, options) as record,
    ):
        root = Path(folder)
        os.environ["MEDLAB_STATE_DIR"] = os.environ["MEDLAB_CACHE_DIR"] = str(root / "state")
        project = make_project(root, [SMALL, *sides])
        workspace = open_window()
        workspace.controller.open_project(project)
        wait(lambda: len(workspace.controller.cases) == len(sides) + 2, 20)
        small, *slides, scan = (case.case_id for case in workspace.controller.cases)
        settle(SETTLE_MS)
        open_case(workspace, small)  # what the first slide brings along is there now
        shown = [opening(record, workspace, case_id, f"slide of {side[0]:,} × {side[1]:,} pixels")
                 for case_id, side in zip(slides, sides, strict=True)]  # fmt: skip
        opening(record, workspace, scan, "CT of 120 slices")
        areas = tuple(float(width * height) for width, height in sides)
        record.add(
            Growth(AREA, "opening a slide, until it is shown", "ms", "pixels", "n", areas, tuple(shown))
        )
        panning(record, workspace, small, slides[-1], QUICK_MOVES if options.quick else MOVES)
        workspace.viewer.close()


def make_project(root: Path, sides: list[tuple[int, int]]) -> Path:
    """Make a project of slides and a CT, in this order."""
    from napari_medlab.project import Project
    from napari_medlab.project.adding import add_images

    paths = []
    for width, height in sides:
        paths.append(root / f"{width}.tif")
        write_sparse_slide(paths[-1], width, height)
    (root / "ct").mkdir()
    write_series(root / "ct")
    with Project.create(root / "project") as project:
        list(add_images(project, [*paths, root / "ct"]))
    return root / "project"


def open_case(workspace: Workspace, case_id: str) -> float:
    """Show a case and return the milliseconds until it is drawn."""
    display = workspace.controller.display
    began = time.perf_counter()
    workspace.controller.session.show_case(case_id)
    wait(lambda: display.view is not None and display.view.case_id == case_id, 20)
    wait(lambda: display.turns.is_done, 20)
    shown = 1e3 * (time.perf_counter() - began)
    settle(SETTLE_MS)
    return shown


def opening(record: Record, workspace: Workspace, case_id: str, name: str) -> float:
    """Open a case with a heartbeat, and return the milliseconds until it was shown."""
    from napari_medlab.widgets.heartbeat import Heartbeat

    beat = Heartbeat()
    beat.start()
    shown = open_case(workspace, case_id)
    held = beat.stop()
    print(
        f"opening, {name}: shown after {shown:.0f} ms, window held {held.longest_ms:.0f} ms at most, p99 {held.p99_ms:.0f} ms"
    )
    record.add(
        Figure(AREA, "opening a case holds the window, at most", held.longest_ms, "ms", HELD, how=name)
    )
    return shown


def panning(record: Record, workspace: Workspace, small: str, large: str, moves: int) -> None:
    """Pan a slide that is in memory already, and one that is read as it is looked at."""
    in_memory, read = (panned(workspace, case_id, moves, warm=case_id == small) for case_id in (small, large))
    for what, ours, limit, goal in (
        ("panning a slide holds the window, at most", read.longest_ms, in_memory.longest_ms, HELD),
        ("panning a slide holds the window, p99", read.p99_ms, in_memory.p99_ms, HELD_P99),
    ):
        record.add(
            Figure(AREA, what, ours, "ms", goal, "the same with all in memory", limit, how="software OpenGL")
        )


def panned(workspace: Workspace, case_id: str, moves: int, *, warm: bool) -> HeldTimes:
    """Return how long the window was held while a slide was panned, once before where it shall be in memory."""
    from napari_medlab.widgets.heartbeat import Heartbeat

    open_case(workspace, case_id)
    if warm:
        pan(workspace, moves)
    beat = Heartbeat()
    beat.start()
    pan(workspace, moves)
    return beat.stop()


def pan(workspace: Workspace, moves: int) -> None:
    """Zoom in step by step and pan across at full resolution."""
    viewer: Any = workspace.viewer
    view = workspace.controller.display.view
    if view is None:
        raise RuntimeError("no case is shown")
    extent = np.asarray(view.grid.shape) * np.asarray(view.scale)
    camera = viewer.scene.camera
    fit = camera.zoom
    full = 1 / view.scale[0]
    for zoom in np.geomspace(fit, full, moves // 3):
        camera.zoom = float(zoom)
        settle(MOVE_MS)
    for number in range(moves):
        share = 0.3 + 0.4 * number / moves
        step = 200 * number * view.scale[0]
        camera.center = (0.0, float(extent[0] * 0.4 + step), float(extent[1] * 0.4 + step * share))
        settle(MOVE_MS)
    settle(SETTLE_MS)
    camera.zoom = fit
    camera.center = (0.0, float(extent[0] / 2), float(extent[1] / 2))


if __name__ == "__main__":
    main()
