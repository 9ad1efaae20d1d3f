"""How long the real window is held while errors are reviewed: the operating point dragged, verdicts given, cases opened.

    python benchmarks/review_window.py [--candidates 50000] [--large 1000000]

Without a display it starts an Xvfb, and draws with software OpenGL. A project of 888 cases, as LUNA16 has; the operating
point is also dragged, and a project opened, with a tenth of the candidates and with many more.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from driving import leave, settle, turn, wait
from figures import Figure, Goal, Growth, percentiles
from large_project import CASES, fill_project
from measuring import Record, arguments, recording

from napari_medlab.project import Project

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from napari_medlab.widgets.workspace import Workspace

AREA = "Review"
PICTURES, VERDICTS, QUICK_VERDICTS, POINTS = 12, 60, 10, 40
SETTLE_MS = 1500
DRAG, HELD, NEXT, OPEN = Goal(100.0), Goal(5.0), Goal(100.0), Goal(5.0)


def main() -> None:
    """Measure the window."""
    parser = arguments(__doc__)
    parser.add_argument("--candidates", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    leave(partial(measure, parser.parse_args()))


def measure(options: argparse.Namespace) -> None:
    """Open the window under the display there is or one of our own, and measure projects of three sizes."""
    from napari_medlab.widgets.launcher import display, open_window

    middle, large = (900, 2_700) if options.quick else (options.candidates, options.large)
    cases = CASES // 10 if options.quick else CASES
    with (
        tempfile.TemporaryDirectory() as folder,
        display(headless=False),
        recording(__file__, options) as record,
    ):
        root = Path(folder)
        os.environ["MEDLAB_STATE_DIR"] = os.environ["MEDLAB_CACHE_DIR"] = folder
        counts = {}
        for size in (max(cases, middle // 10), middle, large):
            with Project.create(root / str(size), reader="benchmark") as project:
                counts[fill_project(project, size, cases=cases, pictures=PICTURES)] = project.folder
        workspace = open_window()
        workspace.show_station("Review")
        settle(SETTLE_MS)
        opened, dragged = [], []
        for count, path in counts.items():
            opened.append(open_project(workspace, path, count))
            prepare(workspace)
            dragged.append(
                float(np.median(times(workspace.controller.session.set_operating_point, points())))
            )
            print(
                f"{count:,} candidates: ready after {opened[-1]:.2f} s, operating point {dragged[-1]:.1f} ms",
                flush=True,
            )
        sizes = tuple(counts)
        about = f"{sizes[-1]:,} candidates"
        record.add(Figure(AREA, "project ready for review", opened[-1], "s", OPEN, how=about))
        record.add(
            Growth(AREA, "project ready for review", "s", "candidates", "n log n", sizes, tuple(opened))
        )
        record.add(Growth(AREA, "operating point moved", "ms", "candidates", "n", sizes, tuple(dragged)))
        open_project(workspace, counts[sizes[1]], sizes[1])
        review(record, workspace, sizes[1], QUICK_VERDICTS if options.quick else VERDICTS)
        workspace.viewer.close()


def open_project(workspace: Workspace, folder: Path, candidates: int) -> float:
    """Open a project, and return the seconds from the folder to a queue that can be worked through."""
    session = workspace.controller.session
    began = time.perf_counter()
    workspace.controller.open_project(folder)
    wait(lambda: session.review is not None and len(session.review.candidates) == candidates, 120)
    return time.perf_counter() - began


def prepare(workspace: Workspace) -> None:
    """Go to the first error of a case with an image, at an operating point with many of them."""
    from napari_medlab.hardcases.errors.filters import QueueFilter

    controller = workspace.controller
    pictured = frozenset(case.case_id for case in controller.cases[:PICTURES])
    controller.session.set_filter(QueueFilter(case_ids=pictured))
    controller.session.set_operating_point(8.0)
    controller.session.go_to(0)
    shown(workspace)
    settle(SETTLE_MS)


def points() -> list[float]:
    """Return operating points that are dragged through."""
    return [float(point) for point in np.geomspace(0.125, 8, POINTS)]


def review(record: Record, workspace: Workspace, candidates: int, verdicts: int) -> None:
    """Drag, filter, judge and go on in a project of the size of LUNA16."""
    from napari_medlab.hardcases.errors.filters import QueueFilter

    session = workspace.controller.session
    prepare(workspace)
    about = f"{candidates:,} candidates"

    def drag(point: float) -> None:
        session.set_operating_point(point)
        turn()

    tell(record, "operating point moved, p95", times(session.set_operating_point, points()), DRAG, about)
    tell(record, "… with queue, counts, marks and curve drawn, p95", times(drag, points()[::-1]), DRAG, about)
    filters = [QueueFilter(kinds=frozenset({"fp"})), session.filter]
    tell(record, "filter set, p95", times(session.set_filter, filters), DRAG, about)
    prepare(workspace)
    held, other, same = judge(workspace, verdicts)
    tell(record, "a verdict key holds the window, p95", held, HELD, about)
    tell(record, "next error in another case drawn, p95", other, NEXT, about)
    tell(record, "next error in the same case drawn, p95", same, NEXT, about)


def judge(workspace: Workspace, verdicts: int) -> tuple[list[float], list[float], list[float]]:
    """Return milliseconds that each verdict held the window, and until the next error was drawn, in another case and the same."""
    controller, session, display = (
        workspace.controller,
        workspace.controller.session,
        workspace.controller.display,
    )
    held: list[float] = []
    others: list[float] = []
    same: list[float] = []
    for _ in range(verdicts):
        before = session.case_id
        began = time.perf_counter()
        controller.editing.give_verdict("model wrong")
        held.append(1e3 * (time.perf_counter() - began))
        shown(workspace)
        (others if session.case_id != before else same).append(1e3 * (time.perf_counter() - began))
        wait(lambda: display.turns.is_done and controller.editing.pending == 0, 20)
        turn()
    return held, others, same


def times(action: Callable[..., object], values: Sequence[object]) -> list[float]:
    """Return the milliseconds that an action takes with each value, the window settling in between."""
    taken = []
    for value in values:
        began = time.perf_counter()
        action(value)
        taken.append(1e3 * (time.perf_counter() - began))
        turn()
    return taken


def shown(workspace: Workspace) -> None:
    """Wait until the current error is on the canvas."""
    display, session = workspace.controller.display, workspace.controller.session
    wait(
        lambda: (
            display.view is not None and display.view.case_id == session.case_id and display.turns.is_done
        ),
        20,
    )


def tell(record: Record, what: str, values: Sequence[float], goal: Goal, about: str) -> None:
    """Record the 95th percentile beside its limit, and print what else there is."""
    if values:
        p50, p95, most = percentiles(values, 50, 95, 100)
        print(f"{what}: p50 {p50:.2f}, most {most:.2f} ms of {len(values)}")
        record.add(Figure(AREA, what, p95, "ms", goal, how=about))


if __name__ == "__main__":
    main()
