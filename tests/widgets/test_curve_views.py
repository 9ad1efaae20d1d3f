"""The plot and the confusion matrix: what the mouse says on them, and what they draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medlab.widgets.views.curve import CurveView, Line
from napari_medlab.widgets.views.matrix import Matrix, MatrixView
from napari_medlab.widgets.views.operating_point import FROC_AXES

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
X = np.asarray(FROC_AXES.x_ticks)


@pytest.fixture
def curve(qtbot: QtBot) -> CurveView:
    made = CurveView(FROC_AXES)
    qtbot.addWidget(made)
    made.resize(320, 220)
    made.show()
    return made


def place(curve: CurveView, x: float, y: float) -> QPoint:
    return curve._to_pixels(x, y).toPoint()


def is_tinted(curve: CurveView, x: float, y: float) -> bool:
    """Whether the ground at a place of the plot is nearer to the first curve's colour than the bare one."""
    picture = curve.grab().toImage()
    ratio = picture.devicePixelRatio()
    at = place(curve, x, y) * ratio
    bare, here = picture.pixelColor(2, 2), picture.pixelColor(at)
    return abs(here.blue() - bare.blue()) + abs(here.red() - bare.red()) > 15


def test_the_band_is_drawn_between_its_ends_and_left_out_where_unknown(curve: CurveView) -> None:
    band = np.column_stack([np.full(len(X), 0.3), np.full(len(X), 0.7)])
    band[-3:] = np.nan
    curve.set_lines(Line(X, np.full(len(X), 0.5), "", band))
    assert is_tinted(curve, 0.35, 0.62)
    assert not is_tinted(curve, 0.35, 0.85)
    assert not is_tinted(curve, 5.6, 0.62)


def test_a_press_that_does_not_move_is_a_click(curve: CurveView) -> None:
    curve.set_marker(1.0)
    clicked: list[float] = []
    curve.pointClicked.connect(clicked.append)
    QTest.mouseClick(curve, LEFT, NONE, place(curve, 2.0, 0.5))
    assert clicked == [pytest.approx(2.0, rel=0.03)]


def test_a_drag_is_no_click_and_neither_is_anything_without_a_marker(curve: CurveView) -> None:
    clicked: list[float] = []
    curve.pointClicked.connect(clicked.append)
    QTest.mouseClick(curve, LEFT, NONE, place(curve, 2.0, 0.5))
    curve.set_marker(1.0)
    QTest.mousePress(curve, LEFT, NONE, place(curve, 0.5, 0.5))
    QTest.mouseMove(curve, place(curve, 4.0, 0.5))
    QTest.mouseRelease(curve, LEFT, NONE, place(curve, 4.0, 0.5))
    assert clicked == []


@pytest.fixture
def view(qtbot: QtBot) -> MatrixView:
    made = MatrixView()
    qtbot.addWidget(made)
    made.resize(300, 200)
    made.show()
    made.show_matrix(Matrix(("mass", "background"), ("mass", "missed"), np.array([[3, 1], [2000, 0]])))
    return made


def test_cells_show_counts_and_say_what_they_mean(view: MatrixView) -> None:
    model = view.model()
    assert [model.index(row, column).data() for row in range(2) for column in range(2)] == [
        "3",
        "1",
        "2,000",
        "0",
    ]
    tip = model.index(0, 1).data(Qt.ItemDataRole.ToolTipRole)
    assert tip == "1: reference “mass”, model “missed” (25% of the row)"
    shades = [model.index(0, column).data(Qt.ItemDataRole.BackgroundRole) for column in range(2)]
    assert shades[0].alpha() > shades[1].alpha()
    assert shades[0].name() != shades[1].name()


def test_a_cell_is_chosen_by_the_reader_and_not_by_the_program(view: MatrixView) -> None:
    chosen: list[tuple[int, int]] = []
    view.cellChosen.connect(lambda row, column: chosen.append((row, column)))
    QTest.mouseClick(view.viewport(), LEFT, NONE, view.visualRect(view.model().index(0, 1)).center())
    QTest.keyClick(view, Qt.Key.Key_Down)
    view.show_matrix(Matrix((), (), np.zeros((0, 0), dtype=np.int64)))
    assert chosen == [(0, 1), (1, 1)]
