"""A gallery of 50,000 errors: how long it holds the window, and when its first crops are there.

Beside it a QListView of icons that holds the same items, their pictures in memory already.

Run as ``python benchmarks/gallery.py``; without a display it starts an Xvfb.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from open_series import write_series
from sparse_slide import write_sparse_slide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QAbstractListModel, QModelIndex
    from qtpy.QtGui import QPixmap
    from qtpy.QtWidgets import QAbstractScrollArea, QApplication, QListView

    from napari_medlab.images import Image

ITEMS, STEPS, STEP_PX, FRAME_MS, GOAL_MS, ROUNDS = 50_000, 200, 120, 16.7, 1000.0, 3
SIZE = (1100, 800)


class Error(NamedTuple):
    """One item of the gallery."""

    case_id: str
    centre: tuple[float, ...]
    diameter: float


class Figures(NamedTuple):
    """Seconds: to set all items, for each step of scrolling, and until the first crops were there."""

    sets: list[float]
    steps: list[float]
    first: list[float]


def main() -> None:
    """Print the figures."""
    from qtpy.QtWidgets import QApplication

    from napari_medlab.images import open_image
    from napari_medlab.images.isolation import close_reader, reader_process
    from napari_medlab.widgets.launcher import display

    with tempfile.TemporaryDirectory() as folder, display(headless="DISPLAY" not in os.environ):
        root = Path(folder)
        os.environ["MEDLAB_CACHE_DIR"] = str(root / "cache")
        (root / "ct").mkdir()
        write_series(root / "ct")
        write_sparse_slide(root / "slide.tif", 100_000, 80_000)
        app = QApplication([])
        reader_process().ask({"op": "warm"})
        for name, path, planes in (("CT", root / "ct", 3), ("slide", root / "slide.tif", 1)):
            items = _errors(name, open_image(path))
            _compare(app, name, items, lambda _, path=path: open_image(path), planes)
        close_reader()


def _errors(name: str, image: Image) -> list[Error]:
    rng = np.random.default_rng(1)
    index = rng.uniform(0.1, 0.9, (ITEMS, image.grid.ndim)) * image.grid.shape
    size = 6.0 if name == "CT" else 120.0
    return [Error(name, tuple(place), size) for place in image.grid.to_world(index).tolist()]


def _compare(
    app: QApplication, name: str, items: Sequence[Error], open_case: Callable[[str], Image], planes: int
) -> None:
    ours, theirs = Figures([], [], []), Figures([], [], [])
    for _ in range(ROUNDS):  # in turns, so that a busy moment meets both
        _measure_gallery(app, items, open_case, planes, ours)
        _measure_list(app, items, planes, theirs)
    a, b = (1e3 * float(np.median(figures.sets)) for figures in (ours, theirs))
    print(f"{name}, {ITEMS:,} items set and drawn: {a:.1f} ms; QListView {b:.0f} ms; ratio {a / b:.3f}")
    for share, label in ((50, "p50"), (95, "p95"), (100, "max")):
        a, b = (1e3 * float(np.percentile(figures.steps, share)) for figures in (ours, theirs))
        print(
            f"{name}, a step of scrolling, {label}: {a:.1f} ms, {a / FRAME_MS:.2f} of a frame; "
            f"QListView, pictures in memory, {b:.1f} ms; ratio {a / b:.2f}"
        )
    first = 1e3 * float(np.median(ours.first))
    print(
        f"{name}, image opened and first five crops there: {first:.0f} ms, {first / GOAL_MS:.2f} of the goal"
    )


def _measure_gallery(
    app: QApplication,
    items: Sequence[Error],
    open_case: Callable[[str], Image],
    planes: int,
    figures: Figures,
) -> None:
    from napari_medlab.widgets.views.crop_store import CropRequest, CropStore
    from napari_medlab.widgets.views.gallery import GalleryView
    from napari_medlab.widgets.views.gallery_cells import CellText

    def describe(row: int) -> CellText:
        return CellText("fp" if row % 2 else "fn", f"{row / ITEMS:.2f}", f"case {row}", "6 mm", "", "")

    def are_there(count: int) -> bool:
        return all(store.crop(CropRequest(*items[row])) for row in range(count))

    store = CropStore(open_case)
    gallery = GalleryView(store)
    _show(app, gallery)
    began = time.perf_counter()
    gallery.set_items(items, describe, planes=planes)
    app.processEvents()
    figures.sets.append(time.perf_counter() - began)
    _wait(app, lambda: are_there(5))
    figures.first.append(time.perf_counter() - began)
    _wait(app, lambda: are_there(15))
    figures.steps.extend(_scroll(app, gallery))
    store.close()
    gallery.close()


def _measure_list(app: QApplication, items: Sequence[Error], planes: int, figures: Figures) -> None:
    peer = _peer()
    _show(app, peer)
    model = _peer_model(peer, items, planes)
    began = time.perf_counter()
    peer.setModel(model)
    app.processEvents()
    figures.sets.append(time.perf_counter() - began)
    figures.steps.extend(_scroll(app, peer))
    peer.close()


def _show(app: QApplication, view: QAbstractScrollArea) -> None:
    view.resize(*SIZE)
    view.show()
    until = time.perf_counter() + 0.3
    _wait(app, lambda: time.perf_counter() > until)


def _scroll(app: QApplication, view: QAbstractScrollArea) -> list[float]:
    """Return how many seconds each step of scrolling took until it was drawn, what came in by the way included."""
    bar, held = view.verticalScrollBar(), []
    for _ in range(STEPS):
        began = time.perf_counter()
        bar.setValue(bar.value() + STEP_PX)
        app.processEvents()
        held.append(time.perf_counter() - began)
        time.sleep(0.004)
    return held


def _peer() -> QListView:
    from qtpy.QtCore import QSize
    from qtpy.QtWidgets import QListView

    view = QListView()
    view.setViewMode(QListView.ViewMode.IconMode)
    view.setUniformItemSizes(True)
    view.setResizeMode(QListView.ResizeMode.Adjust)
    view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
    view.setIconSize(QSize(194, 128))
    view.setGridSize(QSize(208, 172))
    return view


def _peer_model(parent: QListView, items: Sequence[Error], planes: int) -> QAbstractListModel:
    from qtpy.QtCore import QAbstractListModel, Qt
    from qtpy.QtGui import QPixmap

    rng = np.random.default_rng(0)
    pictures = []
    for shade in rng.integers(40, 200, 64).tolist():
        picture = QPixmap(194 if planes == 3 else 128, 128)
        picture.fill(shade * 0x10101)
        pictures.append(picture)

    class Model(QAbstractListModel):
        def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802 - a name of Qt
            return len(items)

        def data(self, index: QModelIndex, role: int = 0) -> str | QPixmap | None:
            if role == Qt.ItemDataRole.DisplayRole:
                return f"{items[index.row()].case_id} {index.row()}\n6 mm"
            return pictures[index.row() % 64] if role == Qt.ItemDataRole.DecorationRole else None

    return Model(parent)


def _wait(app: QApplication, condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > until:
            raise TimeoutError("the crops did not come")
        app.processEvents()
        time.sleep(0.002)


if __name__ == "__main__":
    main()
