"""The panel of hard examples, without a window of napari: what it asks for, and what it says of what was found."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel
from review_hub import RUN, Hub, make_project

from napari_medlab.hardcases.mining import KINDS, STRATEGIES, Chosen, Example
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import Bundle
from napari_medlab.models.workflows.hard_examples import HardOptions
from napari_medlab.models.workflows.look_before import AlikePair, BoxSizes, Intensity, Look
from napari_medlab.widgets.background import Background
from napari_medlab.widgets.panels import hard
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.hard import HardExamplesPanel
from napari_medlab.widgets.panels.hard_form import HardForm
from napari_medlab.widgets.panels.hard_look import LookView, size_lines, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytestqt.qtbot import QtBot

    from napari_medlab.project import Project

    Watch = tuple[Callable[[int, int], None], Callable[[], None]]

LEFT = Qt.MouseButton.LeftButton


def bundle(name: str, *, is_fused: bool = False) -> Bundle:
    spec = {"name": name, "task": "detection", "network": {"name": "centre-heatmap", "arguments": {}}, "preprocessing": {},
            "postprocessing": {}, "classes": ["nodule"], "classifier": {"shape": [32] * 3} if is_fused else None}  # fmt: skip
    return Bundle(Path("nowhere"), spec, name.encode().hex().ljust(64, "0")[:64])


PLAIN, FUSED = bundle("plain"), bundle("fused", is_fused=True)


class Models(QObject):
    """Stands in for what runs models."""

    bundles_changed = Signal()
    progressed = Signal(int, int, str)
    running_changed = Signal(bool)
    exported = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.bundles = [PLAIN, FUSED]
        self.current_hash = FUSED.hash
        self.is_running = False
        self.token = CancelToken()
        self.begun: list[dict[str, Any]] = []
        self.may = True

    def may_start(self, _: object) -> bool:
        return self.may

    def start(self, kind: str, function: Callable[[], object], **calls: Callable[..., None]) -> None:
        self.begun.append({"kind": kind, "function": function, **calls})
        self.is_running = True
        self.running_changed.emit(True)

    def end(self) -> None:
        self.is_running = False
        self.running_changed.emit(False)

    def cancel(self) -> None:
        self.token.cancel()


class HardHub(Hub):
    """A controller with models and threads."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.models = Models()
        self.background = Background(self.show_error)


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[HardHub]:
    project = make_project(tmp_path / "project")
    made = HardHub(project)
    yield made
    made.background.close()
    project.close()


@pytest.fixture
def panel(qtbot: QtBot, hub: HardHub, monkeypatch: pytest.MonkeyPatch) -> HardExamplesPanel:
    monkeypatch.setattr(panels, "controller_of", lambda _: hub)
    made = HardExamplesPanel(None)
    qtbot.addWidget(made)
    made.resize(300, 1000)
    made.show()
    return made


@pytest.fixture
def form(qtbot: QtBot) -> HardForm:
    made = HardForm()
    qtbot.addWidget(made)
    made.show_bundles([PLAIN, FUSED], FUSED.hash)
    made.show()
    return made


def a_look(*, anchor: float | None = 16.0, alike: bool = True, looked_at: int = 3) -> Look:
    first, second = (
        Example(case, (0.0, 0.0, 0.0), "miss", 1.0, "x", "agreed", True) for case in ("one", "two")
    )
    chosen = Chosen(
        (first, second, Example("two", (1.0, 1.0, 1.0), "replay")), {"label in doubt": 4}, ("Beware.",)
    )
    brightness = Intensity(3, np.linspace(0, 1, 5), np.full(32, 1 / 32), (0.0, 1.0))
    picture = np.zeros((12, 9), np.uint8)
    return Look(
        chosen, {"train": {"nodule": 1}, "validation": {"nodule": 1, "none": 1}},
        BoxSizes(np.asarray([10.0, 30.0]), np.asarray([5.0, 15.0]), anchor),
        {"Bonn": brightness, "Ulm": brightness} if looked_at else {}, (AlikePair(first, second, 0.999),) if alike else (),
        ((first, picture), (second, np.zeros((12, 9, 3), np.uint8))) if looked_at else (), looked_at,
    )  # fmt: skip


def test_the_form_says_what_the_command_line_says(form: HardForm) -> None:
    form.strategy.setCurrentText("mixture")
    form.budget.setValue(60)
    form.per_case.setValue(5)
    form.per_patient.setValue(9)
    form.replay.setValue(40)
    form.ratio.setValue(3)
    form.by_chance.setValue(20)
    form.validation.setValue(25)
    form.earlier.setValue(0)
    form.seed.setValue(7)
    form.points.setValue(8)
    form.alike.setChecked(True)
    form.kind_boxes["duplicate"].setChecked(True)
    form.kind_boxes["fp"].setChecked(False)
    form.part.setCurrentIndex(1)
    form.split_by.setCurrentIndex(1)
    asked = form.options()
    rule = asked.rule
    assert (rule.strategy, rule.budget, rule.per_case, rule.per_patient) == ("mixture", 60, 5, 9)
    assert (rule.replay_share, rule.ratio, rule.random_share, rule.seed) == (0.4, 3.0, 0.2, 7)
    assert (rule.kinds, rule.least_difference, rule.earlier_weight) == (("fn", "duplicate"), 0.05, 0.0)
    assert (asked.fp_per_scan, asked.part, asked.validation_share, asked.split_by) == (
        8.0,
        "classifier",
        0.25,
        "interval",
    )


def test_the_form_begins_with_the_defaults(form: HardForm) -> None:
    assert form.options() == HardOptions()
    assert form.bundle is FUSED
    assert [form.strategy.itemText(n) for n in range(form.strategy.count())] == list(STRATEGIES)
    assert list(form.kind_boxes) == list(KINDS)


def test_each_strategy_is_explained_and_the_naive_one_warned_about(form: HardForm) -> None:
    for name, strategy in STRATEGIES.items():
        form.strategy.setCurrentText(name)
        assert form.about.text() == (f"⚠ {strategy.warning}" if strategy.warning else strategy.about)
    assert form.about.text().startswith("⚠")
    assert form.ratio.isEnabled()
    assert not form.by_chance.isEnabled()
    form.strategy.setCurrentText("shown")
    assert not form.ratio.isEnabled()


def test_a_part_is_chosen_only_where_there_are_two(form: HardForm) -> None:
    form.part.setCurrentIndex(1)
    assert form.part.isVisible()
    form.choose_model(PLAIN.hash)
    assert not form.part.isVisible()
    assert form.options().part == "network"
    form.show_bundles([FUSED], FUSED.hash)  # the chosen one is gone
    assert form.bundle is FUSED


def test_no_kind_of_error_is_told(panel: HardExamplesPanel) -> None:
    for box in panel.form.kind_boxes.values():
        box.setChecked(False)
    panel.look()
    assert "kinds" in panel.text.text()
    assert panel.look_button.isEnabled()


def test_a_look_is_shown_number_by_number(qtbot: QtBot) -> None:
    view = LookView()
    qtbot.addWidget(view)
    view.resize(300, 900)
    view.show()
    view.show_look(a_look())
    said = view.text.text()
    assert "3 examples of 2 cases: 2 miss, 1 replay; 2 with a verdict." in said
    assert "Left out: 4 label in doubt." in said
    assert "Validation: 1 nodule, 1 without a finding." in said
    assert "⚠ Beware." in said
    assert "100%" in view.size_text.text()
    assert view.sizes.isVisible()
    assert view.brightness.isVisible()
    assert "1 of the examples to validate on" in view.alike_text.text()
    assert len([label for label in view.findChildren(QLabel) if not label.pixmap().isNull()]) == 2
    view.show_look(a_look(anchor=None, alike=False, looked_at=0))
    assert "⚠" not in view.size_text.text()
    assert not view.brightness.isVisible()
    assert not view.alike_text.isVisible()
    view.clear()
    assert not view.text.isVisible()


def test_the_sizes_are_drawn_against_the_smallest_anchor() -> None:
    axes, lines = size_lines(a_look().boxes)
    assert [line.name for line in lines] == ["pixels of the image", "as the model sees it", "smallest anchor"]
    assert set(lines[2].x.tolist()) == {16.0}
    assert axes.x_ticks[0] <= 5.0
    assert axes.x_ticks[-1] >= 30.0
    assert axes.is_log
    for line in lines[:2]:
        assert line.y.reshape(-1, 2)[:, 0].sum() == pytest.approx(1.0)
        assert line.y.max() <= axes.y_ticks[-1]
    assert "3 examples" in words_of(a_look())


def test_looking_tells_the_numbers_at_once_and_then_the_pixels(
    panel: HardExamplesPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []
    gate = threading.Event()

    def look(
        project: Project, run_id: str, chosen: Bundle, options: HardOptions, *, most: int = 160, watch: Watch
    ) -> Look:
        asked.append((run_id, chosen.name, options, most))
        if most:
            assert gate.wait(20)
            watch[0](2, 3)
        return a_look(looked_at=3 if most else 0)

    monkeypatch.setattr(hard, "look_before", look)
    panel.form.budget.setValue(33)
    QTest.mouseClick(panel.look_button, LEFT)
    qtbot.waitUntil(lambda: "3 examples" in panel.view.text.text(), timeout=20_000)
    assert not panel.view.brightness.isVisible()
    assert (panel.look_button.isEnabled(), panel.stop_button.isEnabled()) == (False, True)
    gate.set()
    qtbot.waitUntil(panel.view.brightness.isVisible, timeout=20_000)
    assert "The pixels of 3 of 3" in panel.text.text()
    assert [most for *_, most in asked] == [0, 160]
    assert asked[0][:2] == (RUN, "fused")
    assert asked[0][2].rule.budget == 33
    panel.form.budget.setValue(34)  # what is shown is about other settings
    assert not panel.view.text.isVisible()


def test_a_look_is_stopped(panel: HardExamplesPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def look(*_: object, watch: Watch, **__: object) -> Look:
        begun.set()
        while True:
            try:
                watch[1]()
            except Exception:
                stopped.set()
                raise

    monkeypatch.setattr(hard, "look_before", look)
    panel.look()
    assert begun.wait(20)
    QTest.mouseClick(panel.stop_button, LEFT)
    assert panel.text.text() == "Stopped."
    assert stopped.wait(20)
    assert panel.look_button.isEnabled()


def test_a_package_is_written_through_what_runs_models(
    panel: HardExamplesPanel, hub: HardHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []
    monkeypatch.setattr(hard, "export_hard_examples", lambda *asked: made.append(asked))
    QTest.mouseClick(panel.write_button, LEFT)
    (begun,) = hub.models.begun
    assert begun["kind"] == "export"
    assert not panel.write_button.isEnabled()
    begun["function"]()
    ((project, chosen, run_id, folder, options, token),) = made
    assert (project, run_id, chosen.name, token) == (hub.project, RUN, "fused", hub.models.token)
    assert folder.parent == hub.project.folder / "exports"
    assert options == panel.form.options()
    begun["on_item"]((4, 9))
    assert panel.text.text() == "example 4 of 9"
    assert (panel._bar.value(), panel._bar.maximum()) == (4, 9)
    QTest.mouseClick(panel.stop_button, LEFT)
    assert hub.models.token.is_cancelled
    hub.models.end()
    begun["on_done"](None)
    assert panel.text.text().startswith(f"Written: exports/{folder.name}.")
    assert panel.write_button.isEnabled()
    assert panel.stop_button.isHidden()


def test_why_a_package_was_not_written_is_said(panel: HardExamplesPanel, hub: HardHub) -> None:
    panel.export()
    hub.models.end()
    hub.models.begun[0]["on_error"](ValueError("The disk is full."))
    assert panel.text.text() == "The disk is full."
    assert panel.write_button.isEnabled()
    hub.models.may = False
    panel.export()
    assert len(hub.models.begun) == 1


def test_without_a_run_or_a_project_it_says_what_is_missing(panel: HardExamplesPanel, hub: HardHub) -> None:
    hub.session.review = None
    panel.look()
    assert "run a model first" in panel.text.text()
    hub.session.project = None
    panel.export()
    assert panel.text.text() == "No project is open."
    assert hub.models.begun == []


def test_nothing_is_cut_off_in_a_narrow_dock(panel: HardExamplesPanel) -> None:
    panel.form.unfold(True)
    panel.view.show_look(a_look())
    assert panel.minimumSizeHint().width() <= 290
    for label in panel.findChildren(QLabel):
        if label.isVisible() and label.text() and not label.wordWrap():
            assert label.sizeHint().width() <= label.width() + 1, label.text()
