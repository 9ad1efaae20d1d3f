"""The retrain panel without a window of napari: what it offers, says and asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog
from retrain_packages import detector, package_of

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.examples import FineTuningOptions
from napari_medlab.models.workflows.paused_trainings import PausedTraining
from napari_medlab.project import JudgementRecord
from napari_medlab.widgets.model_training import FoundPackages
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.retrain import RetrainPanel
from napari_medlab.widgets.panels.retrain_choice import RetrainChoice
from napari_medlab.widgets.panels.retrain_curves import RetrainCurves
from napari_medlab.widgets.panels.retrain_judging import RuleForm

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton


class Training(QObject):
    """Takes note of what it is asked for."""

    found, told, ended, unjudged = Signal(object), Signal(object), Signal(str), Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.at_work: Any = None
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method of any name
        return lambda *arguments: self.asked.append((name, *arguments))


class Models(QObject):
    """What a window knows of models."""

    bundles_changed, exported, stepped, trained = Signal(), Signal(object), Signal(object), Signal(object)
    judged, published, running_changed = Signal(object, object), Signal(object), Signal(bool)
    progressed = Signal(int, int, str)

    def __init__(self) -> None:
        super().__init__()
        self.training = Training()
        self.bundles = [detector(), detector("other", spacing_mm=2.0)]
        self.current_hash = self.bundles[0].hash
        self.is_running, self.doing = False, ""

    def bundle(self, wanted: str) -> Any:  # noqa: ANN401 - a bundle or None
        return next((one for one in self.bundles if one.hash == wanted), None)


class Session(QObject):
    """A project that can be written to."""

    project_changed = Signal()
    project = SimpleNamespace(is_read_only=False)


class Hub:
    """What stands in for the controller."""

    def __init__(self) -> None:
        self.models, self.session = Models(), Session()

    def attach(self, window: object) -> None:
        """Nothing has to follow the window."""


@pytest.fixture
def hub(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Hub:
    assert qtbot is not None
    made = Hub()
    monkeypatch.setattr(panels, "controller_of", lambda _: made)
    return made


@pytest.fixture
def panel(qtbot: QtBot, hub: Hub) -> RetrainPanel:
    made = RetrainPanel(None)
    qtbot.addWidget(made)
    made.resize(290, 1400)
    made.show()
    return made


@pytest.fixture
def choice(qtbot: QtBot) -> RetrainChoice:
    made = RetrainChoice()
    qtbot.addWidget(made)
    return made


def names(choice: RetrainChoice) -> list[str]:
    return [choice.parent_box.itemText(row) for row in range(choice.parent_box.count())]


def test_the_newest_package_is_ticked_and_only_fitting_models_are_offered(choice: RetrainChoice) -> None:
    fitting, other = detector(), detector("other", spacing_mm=2.0)
    choice.show_bundles([other, fitting], fitting.hash)
    assert choice.reason.text().startswith("Write a package")
    found = FoundPackages(
        (package_of(fitting, "new", held_out=2), package_of(fitting, "old")), {"ancient": "why"}
    )
    choice.show_packages(found)
    assert [package.folder.name for package in choice.chosen] == ["new"]
    assert [choice.packages.item(row).text() for row in range(3)] == [
        "new\n4 for the detector, 2 held out", "old\n6 for the detector", "ancient\nnot to be used",
    ]  # fmt: skip
    assert choice.packages.item(2).toolTip() == "why"
    assert names(choice) == [f"★ {fitting.title}"]
    assert "1 other models do not fit" in choice.reason.text()
    assert "prepared with spacing_mm 1.5" in choice.reason.toolTip()
    choice.packages.item(1).setCheckState(Qt.CheckState.Checked)
    assert len(choice.chosen) == 2
    for row in (0, 1):
        choice.packages.item(row).setCheckState(Qt.CheckState.Unchecked)
    assert choice.reason.text() == "Tick at least one package."
    assert not choice.may_train


def test_packages_for_different_parts_are_not_trained_together(choice: RetrainChoice) -> None:
    bundle = detector(with_classifier=True)
    choice.show_bundles([bundle], bundle.hash)
    packages = package_of(bundle, "a", part="classifier"), package_of(bundle, "b")
    choice.show_packages(FoundPackages(packages))
    assert "candidate classifier" in choice.packages.item(0).text()
    assert "the detector of" in choice.reason.text()
    assert (choice.steps.value(), choice.recipe.batch_size) == (160, 24)
    choice.packages.item(1).setCheckState(Qt.CheckState.Checked)
    assert "train one after the other" in choice.reason.text()
    assert not choice.may_train


def test_what_was_typed_stays_when_something_else_is_ticked(choice: RetrainChoice) -> None:
    bundle = detector(with_classifier=True)
    choice.show_bundles([bundle], bundle.hash)
    choice.show_packages(FoundPackages((package_of(bundle, "a"), package_of(bundle, "b", part="classifier"))))
    assert choice.recipe.learning_rate == 5e-4
    choice.steps.setValue(77)
    choice.replay.setValue(30)
    choice.average.setValue(40)
    choice.packages.item(0).setCheckState(Qt.CheckState.Unchecked)
    choice.packages.item(1).setCheckState(Qt.CheckState.Checked)
    assert (choice.recipe.steps, choice.recipe.learning_rate) == (77, 3e-4)
    assert choice.options == FineTuningOptions(replay_share=0.3, average=0.4)
    choice.show_packages(FoundPackages((package_of(bundle, "a"), package_of(bundle, "b", part="classifier"))))
    assert [package.folder.name for package in choice.chosen] == ["b"]


def test_nothing_is_cut_off_in_a_narrow_dock(panel: RetrainPanel, hub: Hub) -> None:
    hub.models.training.found.emit(FoundPackages((package_of(hub.models.bundles[0], "a"),)))
    assert panel.minimumSizeHint().width() <= 290


def test_training_pausing_and_going_on(panel: RetrainPanel, hub: Hub, tmp_path: Path) -> None:
    training, bundle = hub.models.training, hub.models.bundles[0]
    assert not panel.train_button.isEnabled()
    training.found.emit(FoundPackages((package_of(bundle, "a"),)))
    training.asked.clear()
    QTest.mouseClick(panel.train_button, LEFT)
    (asked,) = training.asked
    assert asked[0] == "train"
    assert [path.name for path in asked[1]] == ["a"]
    assert asked[2] == bundle.hash
    training.at_work, hub.models.is_running = object(), True
    hub.models.running_changed.emit(True)
    assert [one.isEnabled() for one in (panel.train_button, panel.pause_button, panel.stop_button)] == [
        False,
        True,
        True,
    ]
    training.told.emit(
        {
            "task": "detection",
            "examples": 9,
            "lesions": 4,
            "replayed": 3,
            "held_out": 2,
            "before": {"cpm": 0.5},
        }
    )
    assert panel.state.text() == "Training on 9 examples with 4 lesions; 3 are replayed; 2 held out."
    hub.models.stepped.emit({"number": 1, "steps": 8, "losses": {"total": 0.7}, "metrics": {"cpm": 0.6}})
    assert panel.seen_steps == 1
    QTest.mouseClick(panel.pause_button, LEFT)
    assert training.asked[-1][0] == "pause"
    assert panel.state.text() == "Pausing after this step …"
    assert not panel.pause_button.isEnabled()
    assert not panel.stop_button.isEnabled()
    training.at_work, hub.models.is_running = None, False
    training.ended.emit("paused")
    paused = PausedTraining(
        tmp_path / "x.checkpoint", (tmp_path / "a",), tmp_path, panel.choice.recipe, FineTuningOptions()
    )
    (tmp_path / "x.metrics.jsonl").write_text(
        '{"number": 1, "losses": {"total": 0.7}, "metrics": {"cpm": 0.6}}\n'
    )
    training.found.emit(FoundPackages((package_of(bundle, "a"),), paused=(paused,)))
    assert (
        panel.state.text()
        == f"Paused after step 1 of {paused.recipe.steps}, on a. Resume goes on exactly there."
    )
    QTest.mouseClick(panel.resume_button, LEFT)
    assert list(training.asked[-1]) == ["resume", paused]
    QTest.mouseClick(panel.stop_button, LEFT)
    assert list(training.asked[-1]) == ["discard", paused]
    assert "Train begins anew" in panel.state.text()


def test_a_proposal_is_judged_published_and_rolled_back(panel: RetrainPanel, hub: Hub) -> None:
    models, training = hub.models, hub.models.training
    child = detector("child")
    models.bundles.append(child)
    models.trained.emit(child)
    assert "proposal" in panel.text.text()
    panel.rule.needs.setCurrentIndex(panel.rule.needs.findData("better"))
    QTest.mouseClick(panel.judge_button, LEFT)
    assert list(training.asked[-1]) == ["judge", child, panel.rule.rule]
    assert panel.rule.rule.needs == "better"
    assert not panel.publish_button.isEnabled()
    for may_publish in (False, True):
        models.judged.emit(SimpleNamespace(may_publish=may_publish, reason="Because."), child)
        assert panel.text.text() == "Because."
        assert panel.publish_button.isEnabled() is may_publish
    QTest.mouseClick(panel.publish_button, LEFT)
    assert training.asked[-1][:2] == ("publish", child)
    parent, models.current_hash = models.current_hash, child.hash
    models.published.emit(child)
    training.found.emit(FoundPackages(before=parent))
    assert f"{child.title} is the current model" in panel.text.text()
    assert panel.back_button.text() == f"Roll back to {models.bundles[0].title}"
    QTest.mouseClick(panel.back_button, LEFT)
    assert training.asked[-1][0] == "roll_back"
    training.found.emit(FoundPackages(before=""))
    assert panel.back_button.text() == "Roll back to the model that ships"
    training.found.emit(FoundPackages())
    assert not panel.back_button.isEnabled()


def test_why_nothing_was_judged_is_told(panel: RetrainPanel, hub: Hub) -> None:
    hub.models.trained.emit(detector("child"))
    QTest.mouseClick(panel.judge_button, LEFT)
    assert panel.text.text().startswith("Running both models")
    hub.models.training.unjudged.emit("The project has no frozen test cases.")
    assert panel.text.text() == "The project has no frozen test cases."
    assert not panel.publish_button.isEnabled()


def test_a_model_that_was_trained_before_the_window_opened_can_be_judged(
    panel: RetrainPanel, hub: Hub
) -> None:
    child = detector("child")
    hub.models.training.found.emit(FoundPackages(proposal=child))
    assert (
        panel.text.text()
        == f"{child.title} was trained here, and is not the current model. Let the frozen test set judge it."
    )
    QTest.mouseClick(panel.judge_button, LEFT)
    assert hub.models.training.asked[-1][:2] == ("judge", child)


def test_what_the_last_judgement_said_is_told_again(panel: RetrainPanel, hub: Hub) -> None:
    child, parent = detector("child"), hub.models.bundles[0]
    judged = JudgementRecord(
        child.hash, parent.hash, "a", "b", {}, {}, False, "It is worse.", "2026-03-04T05:06:07Z"
    )
    hub.models.training.found.emit(FoundPackages(proposal=child, judged=judged))
    assert f"judged on 2026-03-04 against {parent.title}: It is worse." in panel.text.text()
    assert panel.judge_button.isEnabled()
    assert not panel.publish_button.isEnabled(), "only a judgement of now publishes"


def test_a_package_from_elsewhere_is_added(
    panel: RetrainPanel, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    QTest.mouseClick(panel.add_button, LEFT)
    assert hub.models.training.asked[-1] == ("add_package", tmp_path)


def test_curves_show_the_old_model_beside_the_new(qtbot: QtBot) -> None:
    curves = RetrainCurves()
    qtbot.addWidget(curves)
    curves.begin({"loss": 2.0, "dice_mean": 0.5})
    for number in range(1, 6):
        looks = {"dice_mean": 0.5 + number / 50, "loss": float("nan")} if number % 2 == 0 else None
        curves.take({"number": number, "steps": 40, "losses": {"total": 1 / number}, "metrics": looks})
    assert curves.seen_steps == 5
    new, old = curves._figure._lines
    assert (new.x.tolist(), new.name) == ([0, 2, 4], "new model")
    assert new.y.tolist() == pytest.approx([0.5, 0.54, 0.58])
    assert old.y.tolist() == [0.5, 0.5]
    (loss,) = curves._loss._lines
    assert loss.y[1] == pytest.approx(0.75)
    curves.clear()
    assert curves.seen_steps == 0


def test_a_rule_that_needs_a_margin_gets_one(qtbot: QtBot) -> None:
    form = RuleForm()
    qtbot.addWidget(form)
    assert form.rule.metric == "cpm"
    assert "not shown to be worse" in form.fold.text()
    form.needs.setCurrentIndex(form.needs.findData("not inferior"))
    assert form.rule.margin == 0.02
    form.margin.setValue(0)
    with pytest.raises(InputRefusedError):
        form.rule.as_json()
    assert "a margin is needed" in form.fold.text()
    form.figure.setCurrentIndex(form.figure.findData("sensitivity"))
    assert form.rate.isEnabled()
