"""A gallery of 50,000 errors: how long it holds the window, and when its first crops are there.

Beside it a QListView of icons that holds the same items, their pictures in memory already. Last, the errors grow to 500,000.

Run as ``python benchmarks/gallery.py``; without a display it starts an Xvfb.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from driving import leave, settle, turn, wait
from figures import Figure, Goal, Growth, percentiles
from measuring import Record, arguments, recording
from open_series import write_series
from sparse_slide import write_sparse_slide

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex
    from qtpy.QtGui import QPixmap
    from qtpy.QtWidgets import QAbstractScrollArea, QListView

    from napari_medlab.images import Image

AREA = "Gallery"
SIZES, QUICK_SIZES = (5_000, 50_000, 500_000), (500, 5_000)
STEPS, STEP_PX, ROUNDS = 200, 120, 3
FRAME, FIRST, SETTING = Goal(16.7), Goal(1000.0), Goal(1.0, "ratio")
SIZE = (1100, 800)
LIST = "QListView, pictures in memory"


class Error(NamedTuple):
    """One item of the gallery."""

    case_id: str
    centre: tuple[float, ...]
    diameter: float


class Times(NamedTuple):
    """Milliseconds: to set all items, for each step of scrolling, and until the first crops were there."""

    sets: list[float]
    steps: list[float]
    first: list[float]


def main() -> None:
    """Measure crops of a CT and of a slide."""
    options = arguments(__doc__).parse_args()
    leave(partial(measure, options))


def measure(options: argparse.Namespace) -> None:
    """Measure both, and how the time grows with the items, under the display there is or one of our own."""
    from qtpy.QtWidgets import QApplication

    from napari_medlab.images import open_image
    from napari_medlab.images.isolation import close_reader, reader_process
    from napari_medlab.widgets.launcher import display

    sizes = QUICK_SIZES if options.quick else SIZES
    with (
        tempfile.TemporaryDirectory() as folder,
        display(headless=False),
        recording(__file__, options) as record,
    ):
        root = Path(folder)
        os.environ["MEDLAB_CACHE_DIR"] = str(root / "cache")
        (root / "ct").mkdir()
        write_series(root / "ct")
        write_sparse_slide(root / "slide.tif", 100_000, 80_000)
        _app = QApplication([])
        reader_process().ask({"op": "warm"})
        for name, path, planes in (("CT", root / "ct", 3), ("slide", root / "slide.tif", 1)):

            def open_case(_: str, path: Path = path) -> Image:
                return open_image(path)

            compare(record, name, errors(name, open_image(path), sizes[1]), open_case, planes)
        set_in = []
        for size in sizes:
            ours = Times([], [], [])
            for _ in range(ROUNDS):
                measure_gallery(
                    errors("CT", open_image(root / "ct"), size), lambda _: open_image(root / "ct"), 3, ours
                )
            set_in.append(float(np.median(ours.sets)))
        record.add(Growth(AREA, "items set and drawn", "ms", "errors", "n", sizes, tuple(set_in)))
        close_reader()


def errors(name: str, image: Image, count: int) -> list[Error]:
    """Return errors at random places of an image."""
    rng = np.random.default_rng(1)
    index = rng.uniform(0.1, 0.9, (count, image.grid.ndim)) * image.grid.shape
    size = 6.0 if name == "CT" else 120.0
    return [Error(name, tuple(place), size) for place in image.grid.to_world(index).tolist()]


def compare(
    record: Record, name: str, items: Sequence[Error], open_case: Callable[[str], Image], planes: int
) -> None:
    """Measure the gallery and Qt's list in turns, so that a busy moment meets both."""
    ours, theirs = Times([], [], []), Times([], [], [])
    for _ in range(ROUNDS):
        measure_gallery(items, open_case, planes, ours)
        measure_list(items, planes, theirs)
    about = f"{len(items):,} crops of a {name}"
    record.add(
        Figure.of_turns(
            AREA, "items set and drawn", {"ours": ours.sets, LIST: theirs.sets}, "ms", SETTING, how=about
        )
    )
    for share, label in ((50, "p50"), (95, "p95")):
        step, other = percentiles(ours.steps, share)[0], percentiles(theirs.steps, share)[0]
        record.add(Figure(AREA, f"a step of scrolling, {label}", step, "ms", FRAME, LIST, other, how=about))
    what = "image opened and first five crops there"
    record.add(Figure(AREA, what, float(np.median(ours.first)), "ms", FIRST, how=about))


def measure_gallery(
    items: Sequence[Error], open_case: Callable[[str], Image], planes: int, times: Times
) -> None:
    """Set the items, wait for the first crops, and scroll."""
    from napari_medlab.widgets.views.crop_store import CropRequest, CropStore
    from napari_medlab.widgets.views.gallery import GalleryView
    from napari_medlab.widgets.views.gallery_cells import CellText

    def describe(row: int) -> CellText:
        return CellText("fp" if row % 2 else "fn", f"{row / len(items):.2f}", f"case {row}", "6 mm", "", "")

    def are_there(count: int) -> bool:
        return all(store.crop(CropRequest(*items[row])) for row in range(count))

    store = CropStore(open_case)
    gallery = GalleryView(store)
    _show(gallery)
    began = time.perf_counter()
    gallery.set_items(items, describe, planes=planes)
    turn()
    times.sets.append(1e3 * (time.perf_counter() - began))
    wait(lambda: are_there(5))
    times.first.append(1e3 * (time.perf_counter() - began))
    wait(lambda: are_there(15))
    times.steps.extend(_scroll(gallery))
    store.close()
    gallery.close()


def measure_list(items: Sequence[Error], planes: int, times: Times) -> None:
    """Set the same items in Qt's list, and scroll."""
    peer = _peer()
    _show(peer)
    model = _peer_model(peer, items, planes)
    began = time.perf_counter()
    peer.setModel(model)
    turn()
    times.sets.append(1e3 * (time.perf_counter() - began))
    times.steps.extend(_scroll(peer))
    peer.close()


def _show(view: QAbstractScrollArea) -> None:
    view.resize(*SIZE)
    view.show()
    settle(300)


def _scroll(view: QAbstractScrollArea) -> list[float]:
    """Return how many milliseconds each step of scrolling took until it was drawn, what came in by the way included."""
    bar, held = view.verticalScrollBar(), []
    for _ in range(STEPS):
        began = time.perf_counter()
        bar.setValue(bar.value() + STEP_PX)
        turn()
        held.append(1e3 * (time.perf_counter() - began))
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
        def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:  # noqa: N802 - a name of Qt
            return len(items)

        def data(self, index: QModelIndex | QPersistentModelIndex, role: int = 0) -> str | QPixmap | None:
            if role == Qt.ItemDataRole.DisplayRole:
                return f"{items[index.row()].case_id} {index.row()}\n6 mm"
            return pictures[index.row() % 64] if role == Qt.ItemDataRole.DecorationRole else None

    return Model(parent)


if __name__ == "__main__":
    main()
