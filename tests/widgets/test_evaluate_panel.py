"""The panel of figures: rules, curves, strata and classes, and the way from each figure to its errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from figure_hub import FigureHub
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from review_hub import make_project

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.evaluate import EvaluatePanel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
PATIENCE = 20_000


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[FigureHub]:
    project = make_project(tmp_path / "project")
    made = FigureHub(project)
    yield made
    made.background.close()
    project.close()


@pytest.fixture
def panel(qtbot: QtBot, hub: FigureHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[EvaluatePanel]:
    monkeypatch.setattr(panels, "controller_of", lambda _: hub)
    made = EvaluatePanel(None)
    qtbot.addWidget(made)
    made.resize(300, 900)
    made.show()
    evaluate(made, qtbot)
    yield made
    for timer in made.findChildren(QTimer):  # what rests still would ask for work that nobody does any more
        timer.stop()


def evaluate(panel: EvaluatePanel, qtbot: QtBot) -> None:
    panel.evaluate()
    qtbot.waitUntil(lambda: "CPM" in panel.summary.text(), timeout=PATIENCE)
    qtbot.waitUntil(lambda: bool(panel.curve_page.point_text.text()), timeout=PATIENCE)
    qtbot.waitUntil(lambda: panel.strata_page.table.model().rowCount() > 0, timeout=PATIENCE)
    qtbot.waitUntil(lambda: panel.classes_page.matrix.model().rowCount() > 0, timeout=PATIENCE)


def texts(table: object, row: int) -> list[str]:
    model = table.model()  # type: ignore[attr-defined]
    return [str(model.index(row, column).data() or "") for column in range(model.columnCount())]


def click_curve(panel: EvaluatePanel, share: float) -> None:
    curve = panel.curve_page.curve
    plot = curve._plot_area()
    QTest.mouseClick(
        curve, LEFT, NONE, QPoint(round(plot.left() + share * plot.width()), round(plot.center().y()))
    )


def test_figures_have_intervals(panel: EvaluatePanel) -> None:
    assert "average precision" in panel.summary.text()
    assert "95 % interval" in panel.summary.text()
    assert "over 2 scans of 2 patients: 3 findings" in panel.summary.text()
    assert panel.curve_page.table.model().rowCount() == 7


def test_any_number_of_false_positives_can_be_typed(panel: EvaluatePanel, qtbot: QtBot) -> None:
    panel.curve_page._spin.setValue(0.5)
    qtbot.waitUntil(lambda: "at 0.5 false" in panel.curve_page.point_text.text(), timeout=PATIENCE)
    assert "At threshold 0.800: 1 found, 2 missed, 1 false positives" in panel.curve_page.point_text.text()


def test_a_click_on_the_curve_sets_the_point_and_opens_its_errors(
    panel: EvaluatePanel, hub: FigureHub
) -> None:
    click_curve(panel, 1 / 3)  # of the six steps from 1/8 to 8
    assert hub.session.fp_per_scan == pytest.approx(0.5, rel=0.03)
    assert hub.stations == ["Review"]
    assert hub.session.place == 0


def test_a_drag_along_the_curve_opens_nothing(panel: EvaluatePanel, hub: FigureHub) -> None:
    curve = panel.curve_page.curve
    plot = curve._plot_area()
    start, end = (
        QPoint(round(plot.left() + share * plot.width()), round(plot.center().y())) for share in (0.2, 0.8)
    )
    QTest.mousePress(curve, LEFT, NONE, start)
    QTest.mouseMove(curve, end)
    QTest.mouseRelease(curve, LEFT, NONE, end)
    assert hub.stations == []
    assert hub.session.fp_per_scan == 1.0


def test_precision_against_recall_is_the_same_plot(panel: EvaluatePanel) -> None:
    page = panel.curve_page
    page._kind.setChecked(True)
    (line,) = page.curve._lines
    np.testing.assert_array_equal(line.y, page._shown.figures.recall.precision_at(line.x))  # type: ignore[union-attr]
    assert line.band is not None
    page.set_point(0.5)
    assert page.curve._marker == pytest.approx(1 / 3)


def test_a_row_of_a_stratum_lists_its_errors(panel: EvaluatePanel, hub: FigureHub, qtbot: QtBot) -> None:
    page = panel.strata_page
    page._by.setCurrentText("site")
    page._by.activated.emit(page._by.currentIndex())
    qtbot.waitUntil(lambda: texts(page.table, 0)[0] == "Bonn", timeout=PATIENCE)
    page.table.selectRow(1)
    assert hub.session.filter == QueueFilter(case_ids=frozenset({"two"}))
    assert {item.case_id for item in hub.session.queue} == {"two"}


def test_a_size_lists_the_findings_that_are_missed(panel: EvaluatePanel, hub: FigureHub) -> None:
    page = panel.strata_page
    names = [texts(page.table, row)[0] for row in range(page.table.model().rowCount())]
    assert names == ["6 to 10 mm", "10 to 20 mm", "20 mm and above"]
    page.table.selectRow(2)
    assert [item.object_id for item in hub.session.queue] == ["never"]


def test_a_cell_of_the_matrix_lists_what_is_in_it(panel: EvaluatePanel, hub: FigureHub) -> None:
    page = panel.classes_page
    matrix = page.matrix.matrix
    row, column = matrix.rows.index("mass"), len(matrix.columns) - 1
    page.matrix.setCurrentIndex(page.matrix.model().index(row, column))
    listed = [texts(page.table, number)[0] for number in range(page.table.model().rowCount())]
    assert listed == ["Case two"] * int(matrix.counts[row, column])
    assert {item.object_id for item in hub.session.queue} == {"never"}
    page.table.selectRow(0)
    assert hub.display.visited[0][0] == "two"


def test_frozen_cases_are_not_listed_for_review(panel: EvaluatePanel, hub: FigureHub, qtbot: QtBot) -> None:
    told: list[str] = []
    hub.session.told.connect(told.append)
    assert panel._shown is not None
    panel._show(replace(panel._shown, split="test"))
    assert not panel.curve_page.review_button.isEnabled()
    qtbot.waitUntil(lambda: panel.strata_page._shown is panel._shown, timeout=PATIENCE)
    panel.strata_page.table.selectRow(0)
    assert hub.session.filter == QueueFilter()
    assert "not queued" in told[0]


def test_a_rule_is_chosen_with_its_overlap(panel: EvaluatePanel, qtbot: QtBot) -> None:
    panel.choose_rule("iou", 0.99)
    assert panel._rule.iou.isVisible()
    panel.evaluate()
    qtbot.waitUntil(lambda: not panel._task.is_running, timeout=PATIENCE)
    assert "Overlap cannot be measured" in panel.summary.text(), "these candidates have no size"
    panel.choose_rule("luna16")
    assert panel._rule.iou.isHidden()


def test_cases_that_the_newest_run_is_done_with_are_chosen_until_somebody_chooses(
    panel: EvaluatePanel, hub: FigureHub
) -> None:
    newest = panel._run.itemData(0)
    panel._on_project()
    hub.run_splits = {newest: frozenset({"test"})}
    panel._fill_runs()
    assert (panel._run.currentData(), panel._split.currentText()) == (newest, "frozen test cases")
    panel._split.setCurrentIndex(0)
    panel._split.activated.emit(0)
    panel._fill_runs()
    assert panel._split.currentText() == "training cases"


def test_without_cases_of_the_split_the_reason_is_told(panel: EvaluatePanel, qtbot: QtBot) -> None:
    panel._split.setCurrentIndex(1)
    panel.evaluate()
    qtbot.waitUntil(lambda: not panel._task.is_running, timeout=PATIENCE)
    assert panel.summary.text().startswith("This run is not done with any of the frozen test cases")
    assert panel.curve_page.table.model().rowCount() == 0, (
        "figures of training cases would be taken for theirs"
    )
    assert not panel._save.isEnabled()


def test_figures_go_when_another_question_is_asked(panel: EvaluatePanel) -> None:
    panel._run.activated.emit(panel._run.currentIndex())
    assert panel.curve_page.table.model().rowCount() == 7, "the same run was chosen again"
    panel.choose_rule("picai")
    assert panel.curve_page.table.model().rowCount() == 0
    assert panel.strata_page.table.model().rowCount() == 0
    assert panel.summary.text() == panel.measure.in_words() + "."
    assert not panel.curve_page.review_button.isEnabled()


@pytest.mark.parametrize("page", ["curve_page", "strata_page", "classes_page"])
def test_the_plot_that_is_shown_is_saved(
    panel: EvaluatePanel, qtbot: QtBot, tmp_path: Path, page: str
) -> None:
    panel.pages.setCurrentWidget(getattr(panel, page))
    path = tmp_path / f"{page}.svg"
    panel.save_plot(path)
    qtbot.waitUntil(lambda: path.exists() and path.stat().st_size > 0, timeout=PATIENCE)
    assert "<svg" in path.read_text(encoding="utf-8")


def test_another_project_leaves_nothing_behind(panel: EvaluatePanel, hub: FigureHub) -> None:
    hub.session.set_project(None)
    assert panel.curve_page.table.model().rowCount() == 0
    assert panel.strata_page.table.model().rowCount() == 0
    assert panel.classes_page.matrix.model().rowCount() == 0
    assert panel.summary.text().startswith("LUNA16")
