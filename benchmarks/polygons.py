"""100,000 and a million outlines over a slide: opening, panning, picking and editing, beside napari's own Shapes layer.

    python benchmarks/polygons.py [--full]

Without a display it starts an Xvfb. Software OpenGL takes most of what a move then costs, so the same moves over an
empty canvas are measured as well, and apart from that what our own part holds the GUI thread. The Shapes layer
triangulates with bermuda; it is measured with 10,000 outlines, and with ``--full`` with 100,000, which takes minutes.
"""

from __future__ import annotations

import gc
import time
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from driving import leave, settle
from figures import Figure, Goal, Growth, percentiles
from measuring import MIB, Record, arguments, recording, resident_mib
from outline_tables import PIXEL_UM, SHAPE, VERTICES, slide_view, table_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from napari import Viewer
    from numpy.typing import NDArray

    from napari_medlab.annotations.region_table import RegionTable
    from napari_medlab.widgets.layers.many_outlines import ManyOutlines
    from napari_medlab.widgets.layers.streaming import StreamedLevel

AREA = "Outlines"
EDIT = "taking one out for editing, or putting it back"
MOVES, MOVE_MS, TRIES, PICKS = 60, 50, 30, 200
SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (1_000, 10_000)
NEWS_MS = 40
OPENS = {100_000: Goal(3.0), 1_000_000: Goal(20.0)}
"""Seconds, by the number of outlines."""
MEMORY, FRAME, PICK = Goal(500.0), Goal(16.0), Goal(10.0)


class Run(NamedTuple):
    """Seconds until the outlines were on the canvas, and milliseconds of every edit and pick."""

    seconds: float
    edits: list[float]
    picks: list[float]


def main() -> None:
    """Measure ours, and the Shapes layer."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--full", action="store_true", default=None, help="measure Shapes with 100,000 outlines, too"
    )
    leave(partial(measure, parser.parse_args()))


def measure(options: argparse.Namespace) -> None:
    """Open a viewer under the display there is or one of our own, and measure."""
    from napari_medlab.widgets.launcher import display

    sizes = QUICK_SIZES if options.quick else SIZES
    with display(headless=False), recording(__file__, options) as record:
        import napari

        viewer = napari.Viewer(show=True)
        viewer.window.resize(1500, 1000)
        settle(1500)
        ours(viewer, 100)  # what is imported and compiled late is there now
        runs = [ours(viewer, count, record if count == sizes[1] else None) for count in sizes]
        for what, unit, order, values in (
            ("outlines on the canvas", "s", "n", [run.seconds for run in runs]),
            ("picking one", "ms", "constant", [float(np.median(run.picks)) for run in runs]),
            (EDIT, "ms", "constant", [float(np.median(run.edits)) for run in runs]),
        ):
            record.add(Growth(AREA, what, unit, "outlines", order, sizes, tuple(values)))  # type: ignore[arg-type]
        for count, run in list(zip(sizes, runs, strict=True))[1:]:
            tell(record, count, run)
        for count, run in list(zip(sizes, runs, strict=True))[: 2 if options.full else 1]:
            against(record, count, shapes(viewer, count), run)
        viewer.close()


def tell(record: Record, count: int, run: Run) -> None:
    """Record what has limits of its own."""
    about = f"{count:,} outlines"
    opens = next((goal for most, goal in OPENS.items() if count <= most), OPENS[1_000_000])
    record.add(
        Figure(AREA, "outlines on the canvas", run.seconds, "s", opens, how=about),
        Figure(AREA, "picking one, p95", percentiles(run.picks, 95)[0], "ms", PICK, how=about),
        Figure(AREA, f"{EDIT}, p95", percentiles(run.edits, 95)[0], "ms", FRAME, how=about),
    )


def against(record: Record, count: int, peer: Run, run: Run) -> None:
    """Record what the Shapes layer takes beside ours."""
    name, about, faster = "napari's Shapes", f"{count:,} outlines", Goal(1.0, "ratio")
    ours, theirs = float(np.median(run.edits)), float(np.median(peer.edits))
    record.add(
        Figure(AREA, "outlines on the canvas", run.seconds, "s", faster, name, peer.seconds, how=about),
        Figure(AREA, "an edit of one", ours, "ms", faster, name, theirs, how=about),
    )


def ours(viewer: Viewer, count: int, record: Record | None = None) -> Run:
    """Measure so many outlines of ours; with a record, its memory and moves as well."""
    from napari_medlab.widgets.layers.many_outlines import ManyOutlines, PreparedOutlines

    view, table = slide_view(), table_of(count)
    many = ManyOutlines(viewer)
    gc.collect()
    before = resident_mib()
    began = time.perf_counter()
    prepared = PreparedOutlines(view, table)
    made = time.perf_counter()
    many.show(prepared)
    settle(10)
    seconds = time.perf_counter() - began
    settle(500)
    rise = resident_mib() - before + table.nbytes / MIB
    print(
        f"{count:,} outlines: prepared in a thread {made - began:.2f} s, open after {seconds:.2f} s",
        flush=True,
    )
    held: list[float] = []
    if record is not None:
        record.add(
            Figure(
                AREA, "memory for them", rise, "MiB", MEMORY, how=f"{count:,} outlines, their table counted"
            )
        )
        held = moving(record, viewer, many)
    run = Run(seconds, editing(many, table), picking(many, table))
    many.clear()
    if record is not None:
        turns = {"ours": percentiles(held, 95), "an empty canvas": percentiles(moving_nothing(viewer), 95)}
        what = "pan and zoom, a whole turn of the event loop, p95"
        record.add(Figure.of_turns(AREA, what, turns, "ms", None, how="software OpenGL"))
    return run


def moving(record: Record, viewer: Viewer, many: ManyOutlines) -> list[float]:
    """Record our own part of zooming and panning, and return how long each whole turn of the event loop took."""
    from napari_medlab.widgets.layers import streaming

    slices: list[float] = []
    spent: list[float] = []
    at_once = streaming.StreamedLevel._at_once

    def timed(self: StreamedLevel, index: object) -> NDArray[Any]:
        began, computed = time.perf_counter(), time.thread_time()
        try:
            return at_once(self, index)
        finally:
            slices.append(1e3 * (time.perf_counter() - began))
            spent.append(1e3 * (time.thread_time() - computed))

    def news() -> None:
        if sum(pyramid.take_news() for pyramid in many.pyramids):
            many.refresh_pixels()

    streaming.StreamedLevel._at_once = timed  # type: ignore[method-assign]
    held = _moves(viewer, news)
    streaming.StreamedLevel._at_once = at_once  # type: ignore[method-assign]
    what, waiting = (
        "pan and zoom, our part of a redraw, p95",
        "without waiting for a core that draws or paints",
    )
    record.add(
        Figure(AREA, what, percentiles(slices, 95)[0], "ms", FRAME, how="putting the tiles together"),
        Figure(AREA, f"{what}, processor time", percentiles(spent, 95)[0], "ms", FRAME, how=waiting),
    )
    return held


def moving_nothing(viewer: Viewer) -> list[float]:
    """Return how long the turns of the event loop took with the same moves over a canvas of the same extent."""
    empty = viewer.add_image(np.zeros((16, 16), np.uint8), scale=[side * PIXEL_UM / 16 for side in SHAPE])
    empty.visible = False
    held = _moves(viewer, lambda: None)
    viewer.layers.remove(empty)
    return held


def picking(many: ManyOutlines, table: RegionTable) -> list[float]:
    """Return how long each search for the outline under a point took."""
    rng, took, hits = np.random.default_rng(1), [], 0
    for row in rng.integers(0, len(table), PICKS).tolist():
        position = table.boxes[row].mean(axis=0) * PIXEL_UM
        began = time.perf_counter()
        hits += many.pick(position) is not None
        took.append(1e3 * (time.perf_counter() - began))
    if hits != PICKS:
        raise RuntimeError(f"{hits} of {PICKS} outlines were found")
    return took


def editing(many: ManyOutlines, table: RegionTable) -> list[float]:
    """Return how long it took to take one outline out, and to put it back, with the tiles around it in memory."""
    rng, took = np.random.default_rng(2), []
    for row in rng.integers(0, len(table), TRIES).tolist():
        region_id = table.region(row).region_id
        began = time.perf_counter()
        region = many.take_out(region_id)
        took.append(1e3 * (time.perf_counter() - began))
        if region is None:
            raise RuntimeError("an outline is not there")
        began = time.perf_counter()
        many.put_back(region)
        took.append(1e3 * (time.perf_counter() - began))
        settle(20)
    return took


def shapes(viewer: Viewer, count: int) -> Run:
    """Measure napari's Shapes layer in the same ways."""
    table = table_of(count)
    rings = list(table.vertices.reshape(count, VERTICES, 2))
    gc.collect()
    began = time.perf_counter()
    layer = viewer.add_shapes(
        rings, shape_type="polygon", edge_width=4, edge_color="#009E73", face_color="transparent"
    )
    settle(10)
    opened = time.perf_counter() - began
    edits = []
    for row in range(min(TRIES, 10)):
        began = time.perf_counter()
        layer._data_view.edit(row, rings[row] + 1)
        layer.refresh()
        edits.append(1e3 * (time.perf_counter() - began))
    viewer.layers.remove(layer)
    return Run(opened, edits, [])


def _moves(viewer: Viewer, news: Callable[[], None]) -> list[float]:
    """Zoom in to full resolution and pan there; return how long each turn of the event loop after a move took."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    timer = QTimer()
    timer.setInterval(NEWS_MS)
    timer.timeout.connect(news)
    timer.start()
    viewer.fit_to_view()
    settle(500)
    held = []
    for zoom, centre in _places(viewer.scene.camera.zoom):
        viewer.scene.camera.zoom = zoom
        viewer.scene.camera.center = (0.0, *centre)
        began = time.perf_counter()
        QApplication.processEvents()
        held.append(1e3 * (time.perf_counter() - began))
        settle(MOVE_MS)
    timer.stop()
    return held


def _places(fit: float) -> Iterator[tuple[float, tuple[float, float]]]:
    middle = np.asarray(SHAPE) * PIXEL_UM / 2
    for zoom in np.geomspace(fit, 1 / PIXEL_UM, MOVES // 2):
        yield float(zoom), (float(middle[0]), float(middle[1]))
    for number in range(MOVES // 2):
        y, x = middle + np.asarray([40.0, 60.0]) * number
        yield 1 / PIXEL_UM, (float(y), float(x))


if __name__ == "__main__":
    main()
