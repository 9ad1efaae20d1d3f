"""A map of points: what is drawn, what the mouse means, what the lasso goes around."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.views.scatter import ScatterView
from napari_medlab.widgets.views.scatter_marks import draw_marks, mark_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
CORNERS = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0), (5.0, 5.0)]
KINDS = ["fp", "fn", "tp", "fp", "duplicate"]


@pytest.fixture
def view(qtbot: QtBot) -> ScatterView:
    made = ScatterView()
    qtbot.addWidget(made)
    made.resize(400, 400)
    made.set_points(CORNERS, KINDS, lambda row: f"point {row}")
    made.show()
    qtbot.waitExposed(made)
    return made


def around(view: ScatterView, row: int, reach: int = 20) -> list[QPoint]:
    place = view.place_of(row).toPoint()
    return [
        place + QPoint(x, y) for x, y in ((-reach, -reach), (reach, -reach), (reach, reach), (-reach, reach))
    ]


def draw_lasso(view: ScatterView, places: Sequence[QPoint], modifiers: Qt.KeyboardModifier = NONE) -> None:
    QTest.mousePress(view, LEFT, modifiers, places[0])
    for place in places[1:]:
        QTest.mouseMove(view, place)
    QTest.mouseRelease(view, LEFT, modifiers, places[-1])


def wheel(view: ScatterView, place: QPointF, steps: int) -> None:
    event = QWheelEvent(place, QPointF(view.mapToGlobal(place.toPoint())), QPoint(), QPoint(0, 120 * steps),
                        Qt.MouseButton.NoButton, NONE, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(view, event)


def test_up_is_up_and_both_axes_have_one_scale(view: ScatterView) -> None:
    low, right, _, high, _ = (view.place_of(row) for row in range(5))
    assert high.y() < low.y()
    assert right.x() > low.x()
    assert right.x() - low.x() == pytest.approx(low.y() - high.y())


def test_each_point_is_drawn_in_the_colour_of_its_kind(view: ScatterView) -> None:
    drawn = view.grab().toImage()
    for row in range(4):
        assert drawn.pixelColor(view.place_of(row).toPoint()).name().upper() == MARKS[KINDS[row]].colour


def test_the_point_under_the_mouse_is_chosen_by_a_click(view: ScatterView) -> None:
    chosen: list[int] = []
    view.pointChosen.connect(chosen.append)
    for row in range(5):
        QTest.mouseClick(view, LEFT, NONE, view.place_of(row).toPoint() + QPoint(3, 2))
    QTest.mouseClick(view, LEFT, NONE, view.place_of(4).toPoint() + QPoint(40, 0))
    assert chosen == [0, 1, 2, 3, 4]


def test_a_lasso_chooses_what_it_goes_around_and_shift_adds_to_it(view: ScatterView) -> None:
    heard: list[list[int]] = []
    view.lassoed.connect(heard.append)
    draw_lasso(view, around(view, 4))
    draw_lasso(view, around(view, 1), Qt.KeyboardModifier.ShiftModifier)
    draw_lasso(view, around(view, 2))
    assert heard == [[4], [1, 4], [2]]
    QTest.keyClick(view, Qt.Key.Key_Escape)
    assert heard[-1] == []
    assert view.selected() == []


def test_a_lasso_agrees_with_geometry_for_many_points(qtbot: QtBot, view: ScatterView) -> None:
    rng = np.random.default_rng(4)
    view.set_points(rng.random((20_000, 2)), ["fp"] * 20_000, str)
    triangle = [QPoint(80, 90), QPoint(330, 160), QPoint(150, 340)]
    draw_lasso(view, [*triangle, triangle[0]])
    places = np.array([[view.place_of(row).x(), view.place_of(row).y()] for row in range(20_000)])
    corners = np.array([[corner.x(), corner.y()] for corner in triangle], float)
    following = np.roll(corners, -1, axis=0)
    edges = following - corners
    away = places[:, None] - corners
    distance = (edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0]) / np.linalg.norm(edges, axis=1)
    chosen = np.zeros(len(places), bool)
    chosen[view.selected()] = True
    assert chosen[(distance > 1.5).all(axis=1)].all()
    assert not chosen[(distance < -1.5).any(axis=1)].any()


def test_zooming_keeps_what_is_under_the_mouse_and_a_double_click_shows_all(view: ScatterView) -> None:
    place, before = view.place_of(1), view.place_of(4)
    wheel(view, place, 5)
    assert (view.place_of(1) - place).manhattanLength() < 1e-6
    assert (view.place_of(4) - place).manhattanLength() > 2 * (before - place).manhattanLength()
    QTest.mouseDClick(view, LEFT, NONE, QPoint(5, 5))
    assert (view.place_of(4) - before).manhattanLength() < 1e-6


def test_points_of_no_place_are_left_out(qtbot: QtBot, view: ScatterView) -> None:
    view.set_points([(np.nan, 0.0), (1.0, 1.0), (np.inf, 2.0)], ["fp"] * 3, str)
    assert view.point_at(view.place_of(1)) == 1
    draw_lasso(view, around(view, 1, 150))
    assert view.selected() == [1]
    view.set_points([], [], str)
    assert view.point_at(QPointF(200, 200)) == -1
    view.grab()


def test_what_the_program_chooses_is_not_told(view: ScatterView) -> None:
    heard: list[list[int]] = []
    view.lassoed.connect(heard.append)
    view.select([3, 1], current=3)
    assert (view.selected(), heard) == ([1, 3], [])


def test_later_marks_lie_over_earlier_ones_and_none_leaves_the_picture() -> None:
    places = np.array([[10, 10], [12, 10], [-3, 5], [500, 5], [29, 19]])
    kinds = np.array([0, 1, 0, 0, 1])
    picture = draw_marks(places, kinds, ["fp", "fn"], (20, 30), 9)
    assert picture.shape == (20, 30, 4)
    np.testing.assert_array_equal(picture[10, 12], mark_pixels("fn", 9)[4, 4])
    np.testing.assert_array_equal(picture[10, 7], mark_pixels("fp", 9)[4, 1])
    assert picture[5, 0, 3] > 0
    assert picture[19, 29, 3] > 0


@pytest.mark.parametrize("kind", sorted(MARKS))
def test_every_kind_has_a_shape_of_its_own(kind: str) -> None:
    shapes = {name: mark_pixels(name, 15)[..., 3] > 100 for name in MARKS if name != kind}
    own = mark_pixels(kind, 15)[..., 3] > 100
    assert own.sum() > 10
    assert all((own != shape).sum() > 5 for shape in shapes.values())
