"""Tables of any length: rows are made when they come in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from qtpy.QtCore import QItemSelectionModel, QPoint, Qt
from qtpy.QtGui import QColor, QImage
from qtpy.QtTest import QTest

from napari_medlab.widgets.palette import legible
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window
MANY = 50_000
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def table(qtbot: QtBot) -> RowsTable:
    made = RowsTable(("", "Case", "Score"), multiple=True)
    qtbot.addWidget(made)
    made.resize(400, 300)
    made.show()
    qtbot.waitExposed(made)
    return made


def shown(table: RowsTable, row: int, column: int, role: int = 0) -> object:
    return table.model().index(row, column).data(Qt.ItemDataRole(role))


def click(
    table: RowsTable, row: int, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> None:
    place = table.visualRect(table.model().index(row, 1)).center()
    QTest.mouseClick(table.viewport(), LEFT, modifiers, place)


def test_only_rows_in_sight_are_made(qtbot: QtBot, table: RowsTable) -> None:
    made: set[int] = set()

    def cells(row: int) -> tuple[str, str, float]:
        made.add(row)
        return "■", f"case {row}", row / 2

    table.set_source(MANY, cells, lambda row: "#E69F00" if row % 2 else None, tip=lambda row: f"tip {row}")
    qtbot.wait(50)
    table.choose(40_000)
    qtbot.wait(50)
    assert 0 < len(made) < 200
    assert {0, 40_000} <= made
    assert table.model().rowCount() == MANY
    assert [shown(table, 7, column) for column in range(3)] == ["■", "case 7", "3.50"]
    assert shown(table, 7, 1, Qt.ItemDataRole.ToolTipRole) == "tip 7"
    assert shown(table, 7, 0, Qt.ItemDataRole.ForegroundRole) == legible(QColor("#E69F00"), table.palette())
    assert shown(table, 8, 0, Qt.ItemDataRole.ForegroundRole) is None


def test_another_source_shows_nothing_of_the_one_before(qtbot: QtBot, table: RowsTable) -> None:
    table.set_source(10, lambda row: ("", f"old {row}", None))
    assert shown(table, 3, 1) == "old 3"
    table.set_source(5, lambda row: ("", f"new {row}", None))
    assert shown(table, 3, 1) == "new 3"
    assert table.model().rowCount() == 5


def test_plain_rows_still_do(qtbot: QtBot, table: RowsTable) -> None:
    table.set_rows([("■", "one", 0.5), ("◆", "two", None)], ["#E69F00", None], ["first", "second"])
    assert [shown(table, row, 2) for row in range(2)] == ["0.50", ""]
    assert shown(table, 1, 1, Qt.ItemDataRole.ToolTipRole) == "second"
    table.set_rows([])
    assert table.model().rowCount() == 0


def test_a_click_on_the_current_row_is_heard_again(qtbot: QtBot, table: RowsTable) -> None:
    heard: list[int] = []
    table.rowChosen.connect(heard.append)
    table.set_rows([("", "one", None), ("", "two", None)])
    for row in (0, 0, 1, 1):
        click(table, row)
    click(table, 1, Qt.KeyboardModifier.ControlModifier)
    assert heard == [0, 0, 1, 1]


def test_the_reader_is_heard_and_the_program_is_not(qtbot: QtBot, table: RowsTable) -> None:
    chosen: list[int] = []
    table.rowChosen.connect(chosen.append)
    table.set_source(100, lambda row: ("", str(row), None))
    table.choose(4)
    table.set_source(90, lambda row: ("", str(row), None))
    assert table.currentIndex().row() == 4
    assert chosen == []
    click(table, 2)
    QTest.keyClick(table, Qt.Key.Key_Down)
    assert chosen == [2, 3]


def test_several_rows_can_be_chosen(qtbot: QtBot, table: RowsTable) -> None:
    heard: list[list[int]] = []
    table.rowsSelected.connect(heard.append)
    table.set_source(100, lambda row: ("", str(row), None))
    click(table, 1)
    click(table, 3, Qt.KeyboardModifier.ShiftModifier)
    click(table, 5, Qt.KeyboardModifier.ControlModifier)
    assert heard == [[1], [1, 2, 3], [1, 2, 3, 5]]
    assert table.selected_rows() == [1, 2, 3, 5]


def test_one_row_alone_where_several_are_not_asked_for(qtbot: QtBot) -> None:
    table = RowsTable(("", "Case"))
    qtbot.addWidget(table)
    table.set_source(10, lambda row: ("", str(row)))
    table.selectionModel().select(
        table.model().index(2, 0),
        QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows,
    )
    table.selectRow(4)
    assert table.selected_rows() == [4]


def test_pictures_are_asked_for_rows_in_sight_and_drawn_when_they_are_there(
    qtbot: QtBot, table: RowsTable
) -> None:
    asked: set[int] = set()
    ready: list[QImage] = []

    def picture(row: int) -> QImage | None:
        asked.add(row)
        return ready[0] if ready else None

    table.set_source(MANY, lambda row: ("", str(row), None))
    table.set_pictures(picture, 24)
    qtbot.wait(50)
    assert 0 < len(asked) < 100
    red = QImage(96, 48, QImage.Format.Format_RGB888)
    red.fill(QColor(255, 0, 0))
    ready.append(red)
    table.redraw()
    qtbot.wait(50)
    rect = table.visualRect(table.model().index(0, 0))
    assert rect.height() >= 24
    drawn = table.viewport().grab().toImage()
    assert drawn.pixelColor(rect.topLeft() + QPoint(14, rect.height() // 2)) == QColor(255, 0, 0)
    assert drawn.pixelColor(rect.topLeft() + QPoint(14, rect.height() // 2 - 10)) != QColor(255, 0, 0)
