"""The gallery of errors: what it asks for, draws and lets choose."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_cases import GREY, Cases, Place
from qtpy.QtCore import QPoint, QPointF, QRect, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.views.crop_cache import PictureCache
from napari_medlab.widgets.views.crop_fetcher import Pictures
from napari_medlab.widgets.views.crop_store import Crop, CropRequest, CropStore
from napari_medlab.widgets.views.gallery import SIDES, GalleryView
from napari_medlab.widgets.views.gallery_cells import CellText
from napari_medlab.widgets.views.gallery_grid import CellGrid, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytestqt.qtbot import QtBot
    from qtpy.QtGui import QKeyEvent

pytestmark = pytest.mark.window
MANY = 50_000
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
SHIFT, CONTROL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier


class Places:
    """A long sequence whose items are made when they are looked at."""

    def __init__(self, count: int, cases: int = 5) -> None:
        self.count, self.cases = count, cases
        self.seen: set[int] = set()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> Place:
        self.seen.add(row)
        return Place(f"case {row % self.cases}", (0.0, 0.0, float(row % 7)))


def describe(row: int) -> CellText:
    return CellText(
        "fp" if row % 2 else "fn", "0.50", f"case {row}", "6 mm", "agreed" if row == 3 else "", f"tip {row}"
    )


@pytest.fixture
def cases() -> Cases:
    return Cases()


@pytest.fixture
def store(qtbot: QtBot, cases: Cases) -> Iterator[CropStore]:
    made = CropStore(cases, size_px=32)
    yield made
    cases.gate.set()
    made.close()


@pytest.fixture
def gallery(qtbot: QtBot, store: CropStore) -> GalleryView:
    made = GalleryView(store)
    qtbot.addWidget(made)
    made.resize(700, 500)
    made.show()
    qtbot.waitExposed(made)
    return made


def fill(gallery: GalleryView, count: int = 40) -> Places:
    places = Places(count)
    gallery.set_items(places, describe)  # type: ignore[arg-type]
    return places


def click(gallery: GalleryView, row: int, modifiers: Qt.KeyboardModifier = NONE) -> None:
    QTest.mouseClick(gallery.viewport(), LEFT, modifiers, gallery.rect_of(row).center())


def columns_of(gallery: GalleryView) -> int:
    return next(row for row in range(1, 100) if gallery.rect_of(row).top() > gallery.rect_of(0).top())


def test_only_what_is_in_sight_or_near_is_looked_at(
    qtbot: QtBot, gallery: GalleryView, store: CropStore
) -> None:
    places = fill(gallery, MANY)
    request = CropRequest(*places[0])
    qtbot.waitUntil(lambda: isinstance(store.crop(request), Crop) and store.is_idle, timeout=5000)
    assert max(places.seen) < 100
    gallery.verticalScrollBar().setValue(gallery.verticalScrollBar().maximum())
    qtbot.wait(60)
    assert {MANY - 1} <= places.seen
    assert len(places.seen) < 200


def test_crops_come_in_and_are_drawn(
    qtbot: QtBot, gallery: GalleryView, store: CropStore, cases: Cases
) -> None:
    cases.gate.clear()
    fill(gallery)
    gallery.set_rings(False)
    qtbot.wait(60)
    middle = gallery.rect_of(0).topLeft() + QPoint(70, 70)
    assert gallery.viewport().grab().toImage().pixelColor(middle).red() < 120
    cases.gate.set()
    qtbot.waitUntil(lambda: store.is_idle, timeout=5000)
    qtbot.wait(60)
    assert gallery.viewport().grab().toImage().pixelColor(middle) == QColor(GREY, GREY, GREY)
    gallery.set_rings(True)
    drawn = gallery.viewport().grab(gallery.rect_of(0)).toImage()
    colours = {drawn.pixelColor(x, y).name() for x in range(drawn.width()) for y in range(30, 110)}
    assert MARKS["fn"].colour.lower() in colours


def test_a_case_is_opened_once_for_all_its_crops_and_in_a_thread(
    qtbot: QtBot, gallery: GalleryView, store: CropStore, cases: Cases
) -> None:
    gallery.set_items([Place("one", (0.0, 0.0, float(z))) for z in range(12)], describe)
    qtbot.waitUntil(lambda: store.is_idle and bool(cases.opened), timeout=5000)
    assert cases.opened == ["one"]
    assert all(name.startswith("medlab-pictures") for name in cases.threads)


def test_what_scrolled_out_of_sight_is_not_read(
    qtbot: QtBot, gallery: GalleryView, store: CropStore, cases: Cases
) -> None:
    cases.gate.clear()
    gallery.set_items([Place(f"case {row}") for row in range(2000)], describe)
    qtbot.waitUntil(lambda: len(cases.opened) == 2, timeout=5000)
    gallery.verticalScrollBar().setValue(gallery.verticalScrollBar().maximum())
    qtbot.wait(60)
    cases.gate.set()
    qtbot.waitUntil(lambda: isinstance(store.crop(CropRequest(*Place("case 1999"))), Crop), timeout=10_000)
    opened = {int(case_id.split()[1]) for case_id in cases.opened}
    assert not opened & set(range(5, 1900))


def test_a_case_that_cannot_be_read_says_so_in_its_cell_alone(
    qtbot: QtBot, gallery: GalleryView, store: CropStore
) -> None:
    gallery.set_items([Place("broken"), Place("fine")], describe)
    qtbot.waitUntil(lambda: isinstance(store.crop(CropRequest(*Place("fine"))), Crop), timeout=5000)
    qtbot.waitUntil(lambda: store.crop(CropRequest(*Place("broken"))) is not None, timeout=5000)
    assert store.crop(CropRequest(*Place("broken"))) == "Slices are missing.\nLook for them."
    assert QApplication.activeModalWidget() is None


def test_keys_move_and_choose(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery)
    columns = columns_of(gallery)
    changes: list[list[int]] = []
    gallery.selectionChanged.connect(lambda: changes.append(gallery.selected()))
    for key, row in (
        (Qt.Key.Key_Right, 0), (Qt.Key.Key_Right, 1), (Qt.Key.Key_Down, 1 + columns), (Qt.Key.Key_Left, columns),
        (Qt.Key.Key_Up, 0), (Qt.Key.Key_Up, 0), (Qt.Key.Key_End, 39), (Qt.Key.Key_Home, 0),
    ):  # fmt: skip
        QTest.keyClick(gallery, key)
        assert (gallery.current, gallery.selected()) == (row, [row])
    QTest.keyClick(gallery, Qt.Key.Key_PageDown)
    assert gallery.current >= 2 * columns
    QTest.keyClick(gallery, Qt.Key.Key_Home)
    QTest.keyClick(gallery, Qt.Key.Key_Down, SHIFT)
    assert gallery.selected() == list(range(columns + 1))
    QTest.keyClick(gallery, Qt.Key.Key_A, CONTROL)
    assert gallery.selected() == list(range(40))
    assert changes[-1] == list(range(40))


def test_the_last_row_is_reached_from_above_where_the_line_is_not_full(
    qtbot: QtBot, gallery: GalleryView
) -> None:
    fill(gallery, 40)
    columns = columns_of(gallery)
    fill(gallery, columns + 1)
    gallery.select([columns - 1], columns - 1)
    QTest.keyClick(gallery, Qt.Key.Key_Down)
    assert gallery.current == columns


def test_mouse_and_modifiers_choose(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery)
    current: list[int] = []
    gallery.currentChanged.connect(current.append)
    click(gallery, 1)
    click(gallery, 3, SHIFT)
    assert gallery.selected() == [1, 2, 3]
    click(gallery, 2, CONTROL)
    assert gallery.selected() == [1, 3]
    click(gallery, 0)
    assert gallery.selected() == [0]
    assert current == [1, 3, 2, 0]


def test_a_rectangle_chooses_what_it_touches(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery)
    columns = columns_of(gallery)
    begin, end = gallery.rect_of(0).center(), gallery.rect_of(columns + 1).center()
    QTest.mousePress(gallery.viewport(), LEFT, NONE, begin)
    QTest.mouseMove(gallery.viewport(), QRect(begin, end).center())
    QTest.mouseMove(gallery.viewport(), end)
    assert gallery.selected() == [0, 1, columns, columns + 1]
    QTest.mouseRelease(gallery.viewport(), LEFT, NONE, end)
    assert gallery.selected() == [0, 1, columns, columns + 1]


def test_enter_and_double_click_open(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery)
    opened: list[int] = []
    gallery.opened.connect(opened.append)
    QTest.keyClick(gallery, Qt.Key.Key_Return)
    assert opened == []
    click(gallery, 2)
    QTest.keyClick(gallery, Qt.Key.Key_Return)
    QTest.mouseDClick(gallery.viewport(), LEFT, NONE, gallery.rect_of(1).center())
    assert opened == [2, 1]


class Window(QWidget):
    """What a gallery stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[int] = []

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - a name of Qt
        self.heard.append(event.key())


def test_digits_go_on_to_the_window(qtbot: QtBot, store: CropStore) -> None:
    window = Window()
    qtbot.addWidget(window)
    gallery = GalleryView(store, parent=window)
    gallery.resize(700, 500)
    fill(gallery)
    for key in (Qt.Key.Key_1, Qt.Key.Key_Down, Qt.Key.Key_N):
        QTest.keyClick(gallery, key)
    assert window.heard == [Qt.Key.Key_1, Qt.Key.Key_N]
    assert gallery.selected() == [0]


def test_what_the_program_chooses_is_brought_in_sight_and_not_told(
    qtbot: QtBot, gallery: GalleryView
) -> None:
    fill(gallery, MANY)
    heard: list[object] = []
    gallery.selectionChanged.connect(lambda: heard.append("selection"))
    gallery.currentChanged.connect(heard.append)
    gallery.select([40_000, 40_001, MANY + 5], 40_001)
    assert gallery.selected() == [40_000, 40_001]
    assert gallery.viewport().rect().contains(gallery.rect_of(40_001))
    assert heard == []


def test_zooming_keeps_what_is_under_the_mouse(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery, MANY)
    sides: list[int] = []
    gallery.cellSideChanged.connect(sides.append)
    gallery.select([20_000], 20_000)
    place = gallery.rect_of(20_000).center()
    wheel = QWheelEvent(QPointF(place), QPointF(gallery.viewport().mapToGlobal(place)), QPoint(), QPoint(0, 240),
                        Qt.MouseButton.NoButton, CONTROL, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(gallery.viewport(), wheel)
    assert sides == [gallery.cell_side]
    assert gallery.cell_side > SIDES["M"]
    assert abs(gallery.rect_of(20_000).center().y() - place.y()) <= 2
    gallery.set_cell_side(10_000)
    assert gallery.cell_side < 1000


def test_other_items_take_the_place_of_what_was_chosen(qtbot: QtBot, gallery: GalleryView) -> None:
    fill(gallery)
    click(gallery, 2)
    heard: list[list[int]] = []
    gallery.selectionChanged.connect(lambda: heard.append(gallery.selected()))
    gallery.set_items([], describe)
    assert heard == [[]]
    assert gallery.current == -1
    QTest.keyClick(gallery, Qt.Key.Key_Down)
    assert gallery.current == -1


@settings(deadline=None)
@given(st.integers(0, 80), st.integers(1, 900), st.integers(20, 200), st.integers(20, 200))
def test_every_cell_is_found_where_it_lies(count: int, width: int, cell_width: int, cell_height: int) -> None:
    grid = CellGrid(count, width, cell_width, cell_height)
    for row in range(count):
        centre = grid.rect(row).center()
        assert grid.row_at(centre.x(), centre.y()) == row
        assert row in grid.rows_between(centre.y(), centre.y())
        assert grid.rows_touched(QRect(centre, centre)) == [row]
    assert list(grid.rows_between(0, max(grid.height - 1, 0))) == list(range(count))
    everything = QRect(0, 0, max(width, cell_width), max(grid.height, 1))
    assert grid.rows_touched(everything) == list(range(count))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["choose", "toggle", "extend"]), st.integers(0, 9)), max_size=12))
def test_the_current_row_is_the_last_one_touched(steps: Sequence[tuple[str, int]]) -> None:
    selection = Selection()
    for name, row in steps:
        getattr(selection, name)(row)
        assert selection.current == row
        assert name == "toggle" or row in selection.rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60)), max_size=30))
def test_pictures_never_take_more_than_they_may(puts: list[tuple[int, int]]) -> None:
    pictures = Pictures(100)
    held: dict[int, int] = {}
    for key, size in puts:
        pictures.put(key, f"{key} {size}", size)
        held[key] = size
        held = {kept: held[kept] for kept in held if kept in pictures}
        assert pictures.used_bytes == sum(held.values()) <= 100
        assert pictures.get(key) == f"{key} {size}"


def test_crops_are_found_on_disk_again_even_without_the_image(
    qtbot: QtBot, cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLAB_CACHE_DIR", str(tmp_path))
    request = CropRequest(*Place("one"))

    def read(name: str) -> Crop:
        store = CropStore(cases, lambda case_id: name, size_px=32)
        store.want([request])
        qtbot.waitUntil(lambda: store.crop(request) is not None and store.is_idle, timeout=5000)
        crop = store.crop(request)
        store.close()
        assert isinstance(crop, Crop)
        return crop

    first, again = read("fingerprint"), read("fingerprint")
    assert cases.opened == ["one"]
    assert (first.strip, first.radius_px) == (again.strip, again.radius_px)
    read("another fingerprint")
    assert cases.opened == ["one", "one"]
    files = [path for path in (tmp_path / "crops").rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "crops").stat().st_mode) == 0o700


def test_a_damaged_picture_on_disk_is_none(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path / "pictures")
    picture = np.arange(400, dtype=np.uint8).reshape(20, 20)
    cache.put("a", picture=picture)
    stored = cache.get("a")
    assert stored is not None
    np.testing.assert_array_equal(stored["picture"], picture)
    (path,) = (tmp_path / "pictures").rglob("*.npz")
    whole = path.read_bytes()
    for damaged in (
        b"",
        whole[:50],
        whole[:-10],
        whole[: len(whole) // 2] + b"\0" + whole[len(whole) // 2 + 1 :],
    ):
        path.write_bytes(damaged)
        assert cache.get("a") is None
    assert cache.get("b") is None


def test_pictures_used_least_recently_go_first_where_the_disk_has_no_more_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medlab.widgets.views.crop_cache.CHECK_EVERY", 2)
    cache = PictureCache(tmp_path / "pictures", limit_bytes=20_000)
    noise = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    for number in range(20):
        cache.put(str(number), picture=noise)
        cache.get("0")
    assert cache.get("0") is not None
    assert cache.get("19") is not None
    assert sum(path.stat().st_size for path in (tmp_path / "pictures").rglob("*.npz")) < 30_000
