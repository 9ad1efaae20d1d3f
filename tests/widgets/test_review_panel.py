"""The review panel and its operating point, without a window of napari: what they say and ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QShortcut
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit, QPushButton, QVBoxLayout, QWidget
from review_hub import Hub, make_project

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.review import ReviewPanel
from napari_medlab.widgets.views.operating_point import FROC_AXES, OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[Hub]:
    project = make_project(tmp_path / "project")
    yield Hub(project)
    project.close()


@pytest.fixture
def panel(qtbot: QtBot, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> ReviewPanel:
    monkeypatch.setattr(panels, "controller_of", lambda _: hub)
    made = ReviewPanel(None)
    qtbot.addWidget(made)
    made.resize(300, 800)
    made.show()
    return made


@pytest.fixture
def point(qtbot: QtBot, hub: Hub) -> OperatingPoint:
    made = OperatingPoint()
    qtbot.addWidget(made)
    made.resize(300, 260)
    made.show()
    made.show_curves(hub.session.review, 1.0)
    return made


def drag_to(point: OperatingPoint, qtbot: QtBot, share: float) -> float:
    """Press at a share of the axis with the mouse and return what was chosen."""
    plot = point.curve._plot_area()
    at = QPoint(round(plot.left() + share * plot.width()), round(plot.center().y()))
    with qtbot.waitSignal(point.fpPerScanChosen, timeout=2000) as heard:
        QTest.mousePress(point.curve, LEFT, Qt.KeyboardModifier.NoModifier, at)
        QTest.mouseRelease(point.curve, LEFT, Qt.KeyboardModifier.NoModifier, at)
    return float(heard.args[0])


@pytest.mark.parametrize("number", range(len(FROC_AXES.x_ticks)))
def test_dragging_along_froc_chooses_what_stands_under_the_mouse(
    point: OperatingPoint, qtbot: QtBot, number: int
) -> None:
    chosen = drag_to(point, qtbot, number / (len(FROC_AXES.x_ticks) - 1))
    assert chosen == pytest.approx(FROC_AXES.x_ticks[number], rel=0.03)


def test_only_the_latest_place_of_a_drag_is_told(point: OperatingPoint, qtbot: QtBot) -> None:
    heard: list[float] = []
    point.fpPerScanChosen.connect(heard.append)
    for x in (0.5, 1.0, 2.0):
        point.curve.markerDragged.emit(x)
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == [2.0]


def test_a_typed_number_is_told_once_it_is_complete(point: OperatingPoint, qtbot: QtBot) -> None:
    heard: list[float] = []
    point.fpPerScanChosen.connect(heard.append)
    point._spin.selectAll()
    QTest.keyClicks(point._spin, "12")
    assert heard == []
    QTest.keyClick(point._spin, Qt.Key.Key_Return)
    assert heard == [12.0]


def test_showing_a_point_tells_nobody(point: OperatingPoint, hub: Hub) -> None:
    heard: list[float] = []
    point.fpPerScanChosen.connect(heard.append)
    point.show_curves(hub.session.review, 0.5)
    assert heard == []
    assert point._spin.value() == 0.5


def test_dragging_along_precision_recall_reaches_that_recall(
    point: OperatingPoint, qtbot: QtBot, hub: Hub
) -> None:
    assert hub.session.review is not None
    curve = hub.session.review.given.curve
    point._kind.click()
    for recall in (0.3, 0.6):
        point.curve.markerDragged.emit(recall)
        with qtbot.waitSignal(point.fpPerScanChosen, timeout=2000) as heard:
            pass
        assert float(curve.sensitivity_at(heard.args[0])) >= recall


def test_no_recall_at_all_allows_next_to_no_false_positive(
    point: OperatingPoint, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    """A threshold above all scores must not wrap around to the lowest one."""
    assert hub.session.review is not None
    curve = hub.session.review.given.precision_recall
    monkeypatch.setattr(type(curve), "threshold_at", lambda *_: np.inf)
    point._kind.click()
    point.curve.markerDragged.emit(0.0)
    with qtbot.waitSignal(point.fpPerScanChosen, timeout=2000) as heard:
        pass
    assert heard.args == [pytest.approx(0.01)]


def test_a_point_beyond_the_field_is_not_cut_off_by_another_kind_of_curve(
    point: OperatingPoint, hub: Hub
) -> None:
    point.show_curves(hub.session.review, 500.0)
    point._kind.click()
    point._kind.click()
    assert point.curve._marker == 500.0


def test_without_a_run_there_is_no_marker_to_drag(point: OperatingPoint) -> None:
    heard: list[float] = []
    point.fpPerScanChosen.connect(heard.append)
    point.show_curves(None, 1.0)
    QTest.mouseClick(point.curve, LEFT)
    assert point.curve._marker is None
    assert heard == []


# -- the panel ------------------------------------------------------------------------------------------------------


def test_the_panel_fits_a_narrow_dock(panel: ReviewPanel) -> None:
    panel.filter._more.click()
    assert panel.minimumSizeHint().width() <= 270


def test_the_list_follows_the_operating_point(panel: ReviewPanel, hub: Hub) -> None:
    before = panel.table.model().rowCount()
    assert before == len(hub.session.queue)
    assert "in 2 scans" in panel._counts.text()
    panel.point._spin.setValue(0.2)
    assert hub.session.fp_per_scan == 0.2
    assert panel.table.model().rowCount() == len(hub.session.queue) != before


def test_a_chosen_row_is_described(panel: ReviewPanel, hub: Hub) -> None:
    assert "press N" in panel._detail.text()
    panel.table.rowChosen.emit(0)
    assert hub.session.place == 0
    assert panel._detail.text().startswith("False positive, score 0.80")


def test_an_empty_list_says_how_to_get_errors_back(panel: ReviewPanel, hub: Hub) -> None:
    hub.session.set_filter(QueueFilter(text="no case is called so"))
    assert panel._detail.text() == "No error is listed: Clear lists all of them."
    panel.filter._clear.click()
    assert "press N" in panel._detail.text()


def test_the_buttons_give_their_verdicts_with_the_comment(panel: ReviewPanel, hub: Hub) -> None:
    panel._remark.setText("a vessel #vessel")
    for text in ("model wrong", "reference wrong", "ambiguous", "agreed"):
        made = next(b for b in panel.findChildren(QPushButton) if b.text().endswith(f"  {text}"))
        made.click()
    given = ["model wrong", "reference wrong", "ambiguous", "agreed"]
    assert hub.editing.given == [(name, "a vessel #vessel") for name in given]


def test_a_given_verdict_empties_the_comment_and_counts(panel: ReviewPanel, hub: Hub) -> None:
    panel._remark.setText("once")
    hub.session.verdict_given.emit("agreed")
    assert (panel._remark.text(), hub.editing.remark) == ("", "")
    assert panel._pace.text().startswith("1 verdict ·")
    hub.session.verdict_given.emit("agreed")
    assert panel._pace.text().startswith("2 verdicts ·")


def test_buttons_carry_the_keys_of_the_preferences(panel: ReviewPanel) -> None:
    panel._name_keys({"next_error": "J", "agreed": "Ctrl+4", "comment": "K"})
    texts = {b.text() for b in panel.findChildren(QPushButton)}
    assert {"J  next", "Ctrl+4  agreed", "P  previous"} <= texts
    assert panel._remark.placeholderText().startswith("K  ")


def test_adjudicating_is_offered_once_there_are_other_readers(panel: ReviewPanel, hub: Hub) -> None:
    assert not panel._adjudicate.isVisible()
    hub.readers = ["anna", "bert"]
    hub.session.cases_changed.emit()
    assert panel._adjudicate.isVisible()
    panel._adjudicate.click()
    assert hub.adjudicating == [True]


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Escape])
def test_a_field_gives_the_keys_back_before_a_shortcut_takes_them(qtbot: QtBot, key: Qt.Key) -> None:
    window, field, heard = QWidget(), QLineEdit(), []
    QVBoxLayout(window).addWidget(field)
    qtbot.addWidget(window)
    shortcut = QShortcut(key, window)
    shortcut.activated.connect(lambda: heard.append("shortcut"))
    give_keys_back(field, lambda: heard.append("back"))
    window.show()
    window.activateWindow()
    field.setFocus()
    QTest.keyClicks(field, "a")
    QTest.keyClick(field, key)
    qtbot.waitUntil(lambda: bool(heard))
    assert heard == ["back"]
    assert field.text() == "a"
