"""100,000 and a million outlines over a slide: opening, panning, picking and editing, beside napari's own Shapes layer.

    python benchmarks/polygons.py [--full]

Without a display it starts an Xvfb. Software OpenGL takes most of what a move then costs, so the same moves over an
empty canvas are printed as well, and apart from that what our own part holds the GUI thread. The Shapes layer
triangulates with bermuda; it is measured with 2,000 and 10,000 outlines, and with ``--full`` with 100,000, which takes
minutes.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from open_window import _settle

from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari import Viewer
    from numpy.typing import NDArray

    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.many_outlines import ManyOutlines
    from napari_medlab.widgets.layers.streaming import StreamedLevel

SHAPE = (80_000, 100_000)
VERTICES, PIXEL_UM = 40, 0.25
MOVES, MOVE_MS, TRIES = 60, 50, 30
MIB = 1 << 20
NEWS_MS = 40


def main() -> None:
    """Print the figures."""
    from napari_medlab.widgets.launcher import display

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="measure Shapes with 100,000 outlines, too")
    full = parser.parse_args().full
    with display(headless="DISPLAY" not in os.environ):
        import napari

        viewer = napari.Viewer(show=True)
        viewer.window.resize(1500, 1000)
        _settle(1500)
        ours(viewer)
        million(viewer)
        for count in (2_000, 10_000, *((100_000,) if full else ())):
            shapes(viewer, count)
        viewer.close()
        os._exit(0)  # napari's threads outlive its window


def table_of(count: int) -> RegionTable:
    """Return so many outlines of 40 vertices, 20 to 80 pixels wide, all over the slide."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    centre, radius = rng.uniform(100, np.asarray(SHAPE) - 100, (count, 2)), rng.uniform(10, 40, (count, 1))
    wave = radius * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6, (count, 1))))
    vertices = np.stack([centre[:, :1] + np.sin(angle) * wave, centre[:, 1:] + np.cos(angle) * wave], axis=2)
    return RegionTable(
        case_id="slide",
        ids=np.char.mod("%032x", np.arange(count)).astype("S32"),
        owner_ids=np.zeros(count, "S32"),
        labels=rng.integers(0, 4, count).astype(np.int32),
        label_names=("a", "b", "c", "d"),
        scores=rng.random(count),
        region_rings=np.arange(count + 1),
        ring_starts=np.arange(count + 1) * VERTICES,
        vertices=vertices.reshape(-1, 2),
    )


def slide_view() -> CaseView:
    """Return the case, of whose pixels nothing is drawn here."""
    from napari_medlab.widgets.layers.case_view import CaseView

    grid = Grid.axis_aligned(SHAPE, (PIXEL_UM, PIXEL_UM), unit="um")
    return CaseView("slide", "slide", "slide", [[]], grid, is_rgb=True, order=(0, 1), flips=(1, 1))


def ours(viewer: Viewer) -> None:
    """Measure 100,000 outlines of ours in every way."""
    from napari_medlab.widgets.layers.many_outlines import ManyOutlines, PreparedOutlines

    view, table = slide_view(), table_of(100_000)
    many = ManyOutlines(viewer)
    gc.collect()
    before = _resident()
    began = time.perf_counter()
    prepared = PreparedOutlines(view, table)
    made = time.perf_counter()
    many.show(prepared)
    added = time.perf_counter()
    _settle(10)
    drawn = time.perf_counter()
    _settle(500)
    print(
        f"100,000 outlines: prepared in a thread {made - began:.2f} s, layer added {added - made:.2f} s, drawn "
        f"{drawn - added:.2f} s: open after {drawn - began:.2f} s, {(drawn - began) / 3:.2f} × the goal of 3 s"
    )
    table_mib = table.nbytes / MIB
    rise = (_resident() - before) / MIB
    print(
        f"memory: {rise:.0f} MiB, and {table_mib:.0f} MiB of the table: {(rise + table_mib) / 500:.2f} × the goal of 500 MiB"
    )
    moving(viewer, many)
    print(f"memory after these moves: {(_resident() - before) / MIB:.0f} MiB, painted tiles with them")
    picking(many, table)
    editing(many, table)
    many.clear()
    empty = viewer.add_image(np.zeros((16, 16), np.uint8), scale=[side * PIXEL_UM / 16 for side in SHAPE])
    empty.visible = False
    held = _moves(viewer, lambda: None)
    _report("  the same moves, nothing on the canvas: whole turn", held)
    viewer.layers.remove(empty)


def moving(viewer: Viewer, many: ManyOutlines) -> None:
    """Measure zooming and panning: our own part, and the whole turn of the event loop."""
    from napari_medlab.widgets.layers import streaming

    slices: list[float] = []
    own: list[float] = []
    at_once = streaming.StreamedLevel._at_once

    def timed(self: StreamedLevel, index: object) -> NDArray[Any]:
        began, spent = time.perf_counter(), time.thread_time()
        try:
            return at_once(self, index)
        finally:
            slices.append(1e3 * (time.perf_counter() - began))
            own.append(1e3 * (time.thread_time() - spent))

    def news() -> None:
        if sum(pyramid.take_news() for pyramid in many.pyramids):
            many.refresh_pixels()

    streaming.StreamedLevel._at_once = timed  # type: ignore[method-assign]
    held = _moves(viewer, news)
    streaming.StreamedLevel._at_once = at_once  # type: ignore[method-assign]
    _report("pan and zoom, our part of a redraw (putting the tiles together)", slices, 16)
    _report("  processor time of that, without waiting for a core that draws or paints", own, 16)
    _report("  whole turn of the event loop, drawing in software", held)


def picking(many: ManyOutlines, table: RegionTable) -> None:
    """Measure the search for the outline under a point."""
    rng, took, hits = np.random.default_rng(1), [], 0
    for row in rng.integers(0, len(table), 200).tolist():
        position = table.boxes[row].mean(axis=0) * PIXEL_UM
        began = time.perf_counter()
        hits += many.pick(position) is not None
        took.append(1e3 * (time.perf_counter() - began))
    assert hits == 200, hits
    _report("picking one", took, 10)


def editing(many: ManyOutlines, table: RegionTable) -> None:
    """Measure taking one outline out and putting it back changed, with the tiles around it in memory."""
    rng = np.random.default_rng(2)
    out, back, own = [], [], []
    for row in rng.integers(0, len(table), TRIES).tolist():
        region_id = table.region(row).region_id
        began, spent = time.perf_counter(), time.thread_time()
        region = many.take_out(region_id)
        out.append(1e3 * (time.perf_counter() - began))
        assert region is not None
        began = time.perf_counter()
        many.put_back(region)
        back.append(1e3 * (time.perf_counter() - began))
        own.append(1e3 * (time.thread_time() - spent) / 2)
        _settle(20)
    _report("taking one out for editing", out, 16)
    _report("putting one back after an edit", back, 16)
    _report("  processor time of either", own, 16)


def million(viewer: Viewer) -> None:
    """Measure how long a million outlines take to be on the canvas."""
    from napari_medlab.widgets.layers.many_outlines import ManyOutlines, PreparedOutlines

    view, table = slide_view(), table_of(1_000_000)
    many = ManyOutlines(viewer)
    began = time.perf_counter()
    prepared = PreparedOutlines(view, table)
    made = time.perf_counter()
    many.show(prepared)
    _settle(10)
    took = time.perf_counter() - began
    print(
        f"1,000,000 outlines: open after {took:.2f} s ({made - began:.2f} s of it in a thread), "
        f"{took / 20:.2f} × the goal of 20 s"
    )
    _settle(2000)
    picking(many, table)
    editing(many, table)
    many.clear()


def shapes(viewer: Viewer, count: int) -> None:
    """Measure napari's Shapes layer in the same ways."""
    from napari.settings import get_settings

    table = table_of(count)
    rings = list(table.vertices.reshape(count, VERTICES, 2))
    gc.collect()
    before = _resident()
    began = time.perf_counter()
    layer = viewer.add_shapes(
        rings, shape_type="polygon", edge_width=4, edge_color="#009E73", face_color="transparent"
    )
    _settle(10)
    opened = time.perf_counter() - began
    rise = (_resident() - before) / MIB
    edit = []
    for row in range(min(TRIES, 10)):
        began = time.perf_counter()
        layer._data_view.edit(row, rings[row] + 1)
        layer.refresh()
        edit.append(1e3 * (time.perf_counter() - began))
    backend = get_settings().experimental.triangulation_backend
    print(
        f"napari Shapes ({backend}), {count:,} outlines: open after {opened:.2f} s, {rise:.0f} MiB, "
        f"editing one {np.median(edit):.0f} ms"
    )
    viewer.layers.remove(layer)


def _moves(viewer: Viewer, news: Callable[[], None]) -> list[float]:
    """Zoom in to full resolution and pan there; return how long each turn of the event loop after a move took."""
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    timer = QTimer()
    timer.setInterval(NEWS_MS)
    timer.timeout.connect(news)
    timer.start()
    viewer.fit_to_view()
    _settle(500)
    held = []
    for zoom, centre in _places(viewer.scene.camera.zoom):
        viewer.scene.camera.zoom = zoom
        viewer.scene.camera.center = (0.0, *centre)
        began = time.perf_counter()
        QApplication.processEvents()
        held.append(1e3 * (time.perf_counter() - began))
        _settle(MOVE_MS)
    timer.stop()
    return held


def _places(fit: float) -> Iterator[tuple[float, tuple[float, float]]]:
    middle = np.asarray(SHAPE) * PIXEL_UM / 2
    for zoom in np.geomspace(fit, 1 / PIXEL_UM, MOVES // 2):
        yield float(zoom), (float(middle[0]), float(middle[1]))
    for number in range(MOVES // 2):
        y, x = middle + np.asarray([40.0, 60.0]) * number
        yield 1 / PIXEL_UM, (float(y), float(x))


def _report(name: str, values: list[float], limit: float = 0.0) -> None:
    p50, p95 = np.percentile(values, [50, 95]).tolist()
    share = f", p95 {p95 / limit:.2f} × the limit of {limit:.0f} ms" if limit else ""
    print(f"{name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, most {max(values):.1f} ms{share}")


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    main()
