"""The journal's panel, without a window of napari: what it lists, keeps, asks for and writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psygnal import Signal
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from review_hub import RUN, Hub, make_project

from napari_medlab.annotations import Candidate, Finding
from napari_medlab.errors import ProjectError
from napari_medlab.project import BundleRecord, JudgementRecord
from napari_medlab.project.edits import (
    add_bundle,
    add_candidates,
    add_case,
    add_findings,
    add_judgement,
    add_run,
    finish_case,
    set_conclusion,
    set_current_bundle,
)
from napari_medlab.project.records import CaseRecord
from napari_medlab.reports.experiments import Experiment, Figure
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.journal import JournalPanel
from napari_medlab.widgets.panels.journal_rows import (
    DATE,
    DIFFERENCE,
    FIGURE,
    MODEL,
    cells,
    sorted_experiments,
    told,
)
from napari_medlab.widgets.views.experiment_curve import Dot, ExperimentCurve, ticks_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_medlab.project import Project

FIRST, SECOND, THIRD = "1" * 64, "2" * 64, "3" * 64
FIRST_RUN, SECOND_RUN = "d" * 32, "e" * 32


class Models:
    """Says that models changed."""

    bundles_changed = Signal()
    judged = Signal()


class Background:
    """Works at once."""

    def run(
        self, kind: str, work: Callable[..., Any], *given: Any,  # noqa: ANN401 - whatever the work takes
        on_done: Callable[[Any], None] | None = None, on_error: Callable[[Exception], None] | None = None,
    ) -> None:  # fmt: skip
        try:
            result = work(*given)
        except Exception as error:
            if on_error is None:
                raise
            on_error(error)
        else:
            if on_done is not None:
                on_done(result)

    def tell(self, say: Callable[..., None], *said: object) -> None:
        say(*said)


class JournalHub(Hub):
    """A controller with models and work in the background."""

    def __init__(self, project: Project) -> None:
        self.models, self.background = Models(), Background()
        super().__init__(project)
        self.editing.writable = lambda: None if project.is_read_only else project  # type: ignore[attr-defined]


def fill(project: Project) -> None:
    """Add three models, the second judged and published, the third never run, and a frozen test case."""
    project.commit(add_case(CaseRecord("test", "", "Test", split="test", frozen=True)))
    project.commit(add_findings([Finding("test", (0.0, 0.0, 0.0), 9.0)]))
    for digest, parent in ((FIRST, None), (SECOND, FIRST), (THIRD, SECOND)):
        project.commit(add_bundle(BundleRecord(digest, "", "nodules", parent, "trained")))
    for run_id, digest, at in ((FIRST_RUN, FIRST, 40.0), (SECOND_RUN, SECOND, 0.0)):
        project.commit(add_run(run_id, digest, {}))
        project.commit(add_candidates(run_id, "test", 0, [Candidate("test", (at, 0.0, 0.0), 0.9)]))
        project.commit(finish_case(run_id, "test", 0.1))
    figures = {"current": 0.5, "proposed": 0.75, "proposed_interval": [0.5, 0.875], "difference": 0.25,
               "difference_interval": [0.125, 0.375]}  # fmt: skip
    judged = JudgementRecord(
        SECOND, FIRST, SECOND_RUN, FIRST_RUN, {"metric": "CPM"}, figures, True, "It is better."
    )
    project.commit(add_judgement(judged))
    project.commit(set_current_bundle(None, SECOND))


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[JournalHub]:
    project = make_project(tmp_path / "project")
    fill(project)
    yield JournalHub(project)
    project.close()


@pytest.fixture
def panel(qtbot: QtBot, hub: JournalHub, monkeypatch: pytest.MonkeyPatch) -> JournalPanel:
    monkeypatch.setattr(panels, "controller_of", lambda _: hub)
    made = JournalPanel(None)
    qtbot.addWidget(made)
    made.resize(290, 900)
    made.show()
    return made


def listed(panel: JournalPanel, column: int) -> list[str]:
    model = panel.table.model()
    return [str(model.index(row, column).data()) for row in range(model.rowCount())]


def test_every_model_is_listed_the_newest_first_and_the_current_one_is_chosen(panel: JournalPanel) -> None:
    assert listed(panel, MODEL) == ["333333", "222222", "111111", f"theirs · {RUN[:8]}"]
    assert listed(panel, 0) == ["·", "★", "·", "·"]
    assert listed(panel, FIGURE)[1:3] == ["CPM 0.750", "CPM 0.000"]
    assert listed(panel, DIFFERENCE)[1] == "+0.250"
    assert panel.chosen is not None
    assert panel.chosen.about == SECOND
    text = panel.details.text()
    assert "from nodules · 11111111" in text
    assert "CPM 0.750 (0.500 to 0.875)\nIt is better.\nIt is the current model." in text
    assert panel.minimumSizeHint().width() <= 290


def test_a_click_on_a_title_sorts_and_another_turns_it_round(panel: JournalPanel) -> None:
    header = panel.table.horizontalHeader()
    for falls, expected in ((True, ["CPM 0.750", "CPM 0.000"]), (False, ["CPM 0.000", "CPM 0.750"])):
        header.sectionClicked.emit(FIGURE)
        assert listed(panel, FIGURE)[:2] == expected, falls
        assert listed(panel, FIGURE)[2:] == ["", ""]
    assert panel.chosen is not None
    assert panel.chosen.about == SECOND
    assert panel.table.currentIndex().row() == 1


def test_what_is_typed_is_kept_and_has_its_tick_only_then(
    panel: JournalPanel, hub: JournalHub, qtbot: QtBot
) -> None:
    QTest.keyClicks(panel.conclusion, "fewer vessels")
    assert (panel._tick.text(), hub.project.conclusions()) == ("not kept yet", {})
    QTest.keyClick(panel.conclusion, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert hub.project.conclusions() == {SECOND: "fewer vessels"}
    assert panel._tick.text() == "✓ saved"
    panel.choose(FIRST)
    assert panel.conclusion.toPlainText() == ""
    QTest.keyClicks(panel.conclusion, "the beginning")
    panel.choose(SECOND)
    assert hub.project.conclusions() == {SECOND: "fewer vessels", FIRST: "the beginning"}
    assert panel.conclusion.toPlainText() == "fewer vessels"


def test_what_was_typed_is_kept_when_the_panel_goes_out_of_sight(
    panel: JournalPanel, hub: JournalHub
) -> None:
    panel.conclusion.setPlainText("too early to say")
    panel.hide()
    assert hub.project.conclusions() == {SECOND: "too early to say"}


def test_an_undo_is_shown_and_does_not_touch_what_is_being_typed(
    panel: JournalPanel, hub: JournalHub
) -> None:
    panel.conclusion.setPlainText("good")
    panel.keep_conclusion()
    hub.project.undo()
    hub.session.saved.emit("conclusion undone · saved")
    assert panel.conclusion.toPlainText() == ""
    panel.conclusion.setPlainText("half a sent")
    hub.project.commit(set_conclusion(FIRST, "", "elsewhere"))
    hub.session.saved.emit("anything")
    assert panel.conclusion.toPlainText() == "half a sent"
    panel.choose(FIRST)
    assert panel.conclusion.toPlainText() == "elsewhere"


def test_models_that_change_meanwhile_leave_what_is_being_typed(panel: JournalPanel, hub: JournalHub) -> None:
    panel.conclusion.setPlainText("half a sent")
    hub.models.bundles_changed.emit()
    assert panel.conclusion.toPlainText() == "half a sent"
    assert panel._tick.text() == "not kept yet"


def test_a_conclusion_that_somebody_else_changed_meanwhile_is_not_written_over(
    panel: JournalPanel, hub: JournalHub
) -> None:
    hub.project.commit(set_conclusion(SECOND, "", "theirs"))
    panel.conclusion.setPlainText("mine")
    with pytest.raises(ProjectError, match="changed"):
        panel.keep_conclusion()
    assert hub.project.conclusions() == {SECOND: "theirs"}


def test_what_cannot_be_stored_is_said(panel: JournalPanel, hub: JournalHub) -> None:
    panel.conclusion.setPlainText("x" * 4001)
    panel.keep_conclusion()
    assert "4001 characters" in hub.errors[0]
    assert hub.project.conclusions() == {}
    panel.conclusion.setPlainText("")


def test_a_double_click_asks_for_the_comparison_with_the_parent(panel: JournalPanel, qtbot: QtBot) -> None:
    asked: list[tuple[str, str]] = []
    panel.compareAsked.connect(lambda *runs: asked.append(runs))
    panel.table.doubleClicked.emit(panel.table.model().index(1, 0))
    assert asked == [(FIRST_RUN, SECOND_RUN)]
    panel.choose(THIRD)
    panel.compare()
    assert len(asked) == 1
    assert "Run both models" in panel.said.text()


def test_dots_lie_along_rounds_and_a_click_chooses_one(panel: JournalPanel, qtbot: QtBot) -> None:
    dots = panel.curve._dots
    assert [(dot.x, dot.y) for dot in dots] == [(0, 0), (1, 0.75)]
    at = panel.curve._to_pixels(dots[0].x, dots[0].y)
    QTest.mouseClick(panel.curve, Qt.MouseButton.LeftButton, pos=QPoint(round(at.x()), round(at.y())))
    assert panel.chosen is not None
    assert panel.chosen.about == FIRST
    panel._axis.setCurrentIndex(1)
    assert [dot.x for dot in panel.curve._dots] == [0, 0]


def test_the_table_is_written_without_names_and_never_over_another(
    panel: JournalPanel, hub: JournalHub, tmp_path: Path
) -> None:
    hub.project.commit(set_conclusion(SECOND, "", "tester: better on Case one"))
    panel.reload()
    for name in ("journal.md", "journal.csv"):
        panel.export(tmp_path / name)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "[name]" in text.replace("\\", "")
        assert not any(each in text for each in ("tester", "Case one"))
    assert "Written" in panel.said.text()
    with pytest.raises(Exception, match="exists already"):
        panel.export(tmp_path / "journal.csv")


def test_another_project_begins_anew(panel: JournalPanel, hub: JournalHub) -> None:
    panel.conclusion.setPlainText("")
    hub.session.set_project(None)
    assert listed(panel, MODEL) == []
    assert panel.details.text() == ""
    assert "No model yet" in panel.said.text()


def test_rows_without_a_value_come_last_either_way() -> None:
    rows = [Experiment(str(n), f"202{n}", f"m{n}", "trained", figure=f) for n, f in enumerate(
        [Figure("CPM", 0.2), None, Figure("CPM", 0.0)])]  # fmt: skip
    for falls, expected in ((True, "021"), (False, "201")):
        assert "".join(each.about for each in sorted_experiments(rows, FIGURE, falls)) == expected
    assert [each.about for each in sorted_experiments(rows, DATE, True)] == ["2", "1", "0"]
    assert "from" not in told(rows[0])
    assert [row[1:3] for row in cells(rows)] == [("2020", "m0 · 0"), ("2021", "m1 · 1"), ("2022", "m2 · 2")]
    alike = [Experiment(digest * 9, f"2026-11-{digest}7", "nodules", "trained") for digest in "12"]
    assert [row[1:3] for row in cells(alike)] == [("11-17", "111111"), ("11-27", "222222")]
    twins = [Experiment(name, "2026", name, "trained") for name in "ab"]
    assert [each.about for each in sorted_experiments(twins, DATE, True)] == ["b", "a"]


def test_ticks_are_round_and_enclose_everything() -> None:
    assert ticks_over([0, 3], whole=True) == (0, 1, 2, 3)
    assert ticks_over([0, 120], whole=True) == (0, 50, 100, 150)
    assert ticks_over([], whole=True) == (0, 1)
    for values in ([0.512, 0.731], [0.7, 0.7], [-0.2, 0.9], [0.5001, 0.5002]):
        ticks = ticks_over(values)
        assert ticks[0] <= min(values) <= max(values) <= ticks[-1]
        assert 2 <= len(ticks) <= 8


def test_a_curve_without_dots_chooses_nothing(qtbot: QtBot) -> None:
    curve = ExperimentCurve()
    qtbot.addWidget(curve)
    chosen: list[int] = []
    curve.dotChosen.connect(chosen.append)
    curve.set_dots([], ("x", "y"))
    curve.show()
    QTest.mouseClick(curve, Qt.MouseButton.LeftButton)
    curve.set_dots([Dot(0, 0.5), Dot(4, 0.9, 0.8, 1.0)], ("x", "y"), [0, 1])
    assert len(curve._lines) == 1
    assert not curve.grab().isNull()
    assert chosen == []
