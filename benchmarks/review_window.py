"""How long the real window is held while errors are reviewed: the operating point dragged, verdicts given, cases opened.

    python benchmarks/review_window.py [--candidates 50000] [--large 1000000]

Without a display it starts an Xvfb, and draws with software OpenGL. Prints milliseconds and their share of the limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from open_window import SETTLE_MS, _settle, _wait

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.geometry import Grid
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_candidates, add_case, add_findings, add_run, finish_case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.widgets.workspace import Workspace

RUN = new_id()
CASES, FINDINGS, PICTURES = 888, 1186, 12
SHAPE, SPACING = (40, 256, 256), (2.5, 1.0, 1.0)
DRAG_MS, HELD_MS, NEXT_MS, OPEN_S = 100.0, 5.0, 100.0, 5.0


def main() -> None:
    """Print the figures."""
    from napari_medlab.widgets.launcher import display, open_window

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, display(headless="DISPLAY" not in os.environ):
        os.environ["MEDLAB_STATE_DIR"] = os.environ["MEDLAB_CACHE_DIR"] = folder
        root = Path(folder)
        fill(root / "project", options.candidates)
        fill(root / "large", options.large)
        workspace = open_window()
        try:
            workspace.show_station("Review")
            _settle(SETTLE_MS)
            measure_open(workspace, root / "large", options.large)
            measure(workspace, root / "project", options.candidates)
        finally:
            workspace.viewer.close()
            os._exit(0)  # napari's threads outlive its window


def fill(folder: Path, candidates: int) -> None:
    """Make a project of 888 cases, some of them with an image, and so many candidates, as LUNA16 has them."""
    rng = np.random.default_rng(0)
    grid = Grid.axis_aligned(SHAPE, SPACING)
    size = np.asarray(SHAPE)[::-1] * np.asarray(SPACING)[::-1]
    with Project.create(folder, reader="benchmark") as project:
        project.commit(add_run(RUN, "", {"model": "synthetic"}))
        cases = [new_id() for _ in range(CASES)]
        for number, case_id in enumerate(cases):
            path = project.folder / "images" / f"{number}.mha"
            if number < PICTURES:
                path.parent.mkdir(exist_ok=True)
                write_volume(path, rng)
            project.commit(add_case(CaseRecord(case_id, f"images/{path.name}", f"scan {number}", grid=grid.as_json())))
        owners = rng.integers(CASES, size=FINDINGS)
        centres, diameters = rng.uniform(0, size, (FINDINGS, 3)), rng.uniform(4, 20, FINDINGS)
        found = [
            Finding(cases[n], tuple(c), float(d)) for n, c, d in zip(owners, centres.tolist(), diameters, strict=True)
        ]
        project.commit(add_findings(found))
        for case_id in cases:
            count = candidates // CASES
            near = [f for f in found if f.case_id == case_id]
            places = rng.uniform(0, size, (count, 3))
            places[: len(near)] = np.reshape([f.centre for f in near], (-1, 3))
            scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 8, count - len(near))])
            some = [Candidate(case_id, tuple(p), float(s)) for p, s in zip(places.tolist(), scores, strict=True)]
            project.commit(add_candidates(RUN, case_id, 0, some))
            project.commit(finish_case(RUN, case_id, 1.0))


def write_volume(path: Path, rng: np.random.Generator) -> None:
    """Write a volume of noise as MetaImage."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(rng.normal(-700, 60, SHAPE).astype(np.int16))
    image.SetSpacing(SPACING[::-1])
    sitk.WriteImage(image, str(path))


def measure_open(workspace: Workspace, folder: Path, candidates: int) -> None:
    """Open a project with very many candidates, from the folder to a queue that can be worked through."""
    began = time.perf_counter()
    workspace.controller.open_project(folder)
    _wait(lambda: workspace.controller.session.review is not None, 120)
    tell(f"project of {candidates:,} candidates ready for review", [time.perf_counter() - began], OPEN_S, "s")


def measure(workspace: Workspace, folder: Path, candidates: int) -> None:
    """Drag, judge and go on in a project of the size of LUNA16."""
    controller, session = workspace.controller, workspace.controller.session
    controller.open_project(folder)
    _wait(lambda: session.review is not None and len(session.review.candidates) == candidates // CASES * CASES, 60)
    pictured = frozenset(case.case_id for case in controller.cases[:PICTURES])
    from napari_medlab.hardcases.errors.filters import QueueFilter

    display = controller.display
    only = QueueFilter(case_ids=pictured)
    session.set_filter(only)
    session.set_operating_point(8.0)
    session.go_to(0)
    shown(workspace)
    _settle(SETTLE_MS)
    points = np.geomspace(0.125, 8, 40)
    tell(f"operating point moved, {candidates:,} candidates: session", times(session.set_operating_point, points), DRAG_MS)

    def drag(point: float) -> None:
        session.set_operating_point(point)
        turn()

    tell("… with queue, counts, marks and curve drawn", times(drag, points[::-1]), DRAG_MS)
    tell("filter set", times(session.set_filter, [QueueFilter(kinds=frozenset({"fp"})), only]), DRAG_MS)
    session.set_operating_point(8.0)
    session.go_to(0)
    shown(workspace)
    held, opened, others = [], [], []
    for _ in range(60):
        before = session.case_id
        began = time.perf_counter()
        controller.editing.give_verdict("model wrong")
        held.append(time.perf_counter() - began)
        shown(workspace)
        (opened if session.case_id != before else others).append(time.perf_counter() - began)
        _wait(lambda: display.turns.is_done and controller.editing.pending == 0, 20)
        turn()
    tell("a verdict key holds the window", [1e3 * t for t in held], HELD_MS)
    tell("next error in another case drawn", [1e3 * t for t in opened], NEXT_MS)
    tell("next error in the same case drawn", [1e3 * t for t in others], NEXT_MS)


def times(action: Callable[..., object], values: Sequence[object] | np.ndarray) -> list[float]:
    """Return how long the action takes for each value, in milliseconds."""
    taken = []
    for value in values:
        began = time.perf_counter()
        action(value)
        taken.append(1e3 * (time.perf_counter() - began))
    return taken


def turn() -> None:
    """Let the window draw what waits."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()


def shown(workspace: Workspace) -> None:
    """Wait until the current error is on the canvas."""
    display, session = workspace.controller.display, workspace.controller.session
    _wait(lambda: display.view is not None and display.view.case_id == session.case_id and display.turns.is_done, 20)


def tell(what: str, values: Sequence[float], limit: float, unit: str = "ms") -> None:
    """Print median, 95th percentile and maximum, and the latter's share of the limit."""
    if not values:
        return
    p50, p95, most = np.percentile(values, [50, 95, 100]).tolist()
    print(f"{what:62s} p50 {p50:7.2f}  p95 {p95:7.2f}  max {most:7.2f} {unit}  limit {limit:g}  p95/limit {p95 / limit:.2f}")


if __name__ == "__main__":
    main()
