"""Retraining: packages and settings, live curves, pause and resume, the frozen test set's word, publish and roll back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QProgressBar, QWidget

from napari_medlab.errors import InputRefusedError
from napari_medlab.widgets.panels.panel import Panel, button, note, row
from napari_medlab.widgets.panels.retrain_choice import RetrainChoice
from napari_medlab.widgets.panels.retrain_curves import RetrainCurves
from napari_medlab.widgets.panels.retrain_judging import RuleForm

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement
    from napari_medlab.models.workflows.paused_trainings import PausedTraining
    from napari_medlab.project import JudgementRecord
    from napari_medlab.widgets.model_training import FoundPackages

__all__ = ["RetrainPanel"]

FIRST = (
    "A new model is a proposal: it is published only as far as the frozen test set does not speak against it."
)
SHIPPED = "the model that ships"


class RetrainPanel(Panel):
    """Trains a new bundle from packages, and lets the frozen test set decide whether it may take the old one's place."""

    title = "Retrain"

    def build(self) -> None:
        """Make the form, the curves and the buttons."""
        self.proposal: Bundle | None = None
        self.judgement: Judgement | None = None
        self.paused: PausedTraining | None = None
        self._was_paused = False
        self.choice = RetrainChoice()
        self.choice.changed.connect(self._enable)
        self.column.addWidget(self.choice)
        self.add_button = button(
            "Add package…", self._ask_package, "One that was written elsewhere, such as by the command line"
        )
        self.column.addWidget(self.add_button)
        self._add_training()
        self._add_judging()
        self.column.addStretch(1)
        self._connect()

    def _add_training(self) -> None:
        self.train_button = button(
            "Train", self.train, "In a process of its own; the new model stands beside the old"
        )
        self.resume_button = button("Resume", self.resume, "Go on exactly where the training was paused")
        self.pause_button = button(
            "Pause", self._pause, "Stop after this step; the training can go on, even tomorrow"
        )
        self.stop_button = button("Stop", self._stop, "End the training, and forget how far it was")
        self.column.addLayout(row(self.train_button, self.resume_button))
        self.column.addLayout(row(self.pause_button, self.stop_button))
        self._bar = QProgressBar()
        self._bar.setFormat("step %v of %m")
        self.state = note()
        self.curves = RetrainCurves()
        for widget in (self._bar, self.state, self.curves):
            self.column.addWidget(widget)
        self._bar.hide()

    def _add_judging(self) -> None:
        self.rule = RuleForm()
        self.judge_button = button(
            "Judge on the frozen test set", self.judge, "Run both models there, and compare them"
        )
        self.publish_button = button(
            "Publish", self._publish, "Make the new model the current one; it can be taken back"
        )
        self.back_button = button(
            "Roll back", self._roll_back, "Make the model current that was current before"
        )
        self.text = note(FIRST)
        self.current = note()
        parts: list[QWidget] = [
            self.rule,
            self.judge_button,
            self.text,
            self.publish_button,
            self.current,
            self.back_button,
        ]
        for widget in parts:
            self.column.addWidget(widget)

    def _connect(self) -> None:
        models = self.controller.models
        self.listen(models.bundles_changed, self._on_bundles)
        self.listen(models.exported, lambda _: models.training.look())
        self.listen(models.training.found, self._on_found)
        self.listen(models.training.told, self._on_told)
        self.listen(models.training.ended, self._on_ended)
        self.listen(models.stepped, self._on_step)
        self.listen(models.trained, self._on_trained)
        self.listen(models.judged, self._on_judged)
        self.listen(models.training.unjudged, self.text.setText)
        self.listen(models.progressed, self._on_progress)
        self.listen(models.running_changed, lambda _: self._enable())
        self.listen(models.published, self._on_published)
        self.listen(self.session.project_changed, self._forget)
        self.redraw_on(self.session.project_changed, models.training.look)
        self._before: str | None = None
        self._on_bundles()
        models.training.look()

    # -- what a person does ---------------------------------------------------------------------------------------

    @property
    def seen_steps(self) -> int:
        """How many steps of the training have been reported."""
        return self.curves.seen_steps

    def set_steps(self, steps: int) -> None:
        """Set the length of the training."""
        self.choice.steps.setValue(steps)

    def train(self) -> None:
        """Start; a training with these very settings that was paused goes on."""
        self.curves.clear()
        self._bar.hide()
        self.state.setText("Reading the examples …")
        self.reveal(self.state)
        packages = [package.folder for package in self.choice.chosen]
        chosen = self.choice
        self.controller.models.training.train(packages, chosen.parent_hash, chosen.recipe, chosen.options)

    def resume(self) -> None:
        """Go on with the paused training."""
        if self.paused is not None:
            self.state.setText("Reading the examples …")
            self.controller.models.training.resume(self.paused)

    def judge(self) -> None:
        """Ask the frozen test set about the newest proposal."""
        try:
            rule = self.rule.rule
        except InputRefusedError as error:
            self.text.setText(error.message)
            return
        if self.proposal is not None:
            self.judgement = None
            self.text.setText("Running both models on the frozen test set …")
            self.controller.models.training.judge(self.proposal, rule)

    def _ask_package(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Add a package of hard examples"):
            self.controller.models.training.add_package(Path(folder))

    def _pause(self) -> None:
        self.state.setText("Pausing after this step …")
        self._leave(self.controller.models.training.pause)

    def _leave(self, how: Callable[[], None]) -> None:
        """Ask the training at work to end; until it does there is nothing more to ask of it."""
        how()
        for asked in (self.pause_button, self.stop_button):
            asked.setEnabled(False)

    def _stop(self) -> None:
        """End the training at work, or forget the paused one."""
        if self.controller.models.training.at_work is not None:
            self.state.setText("Stopping after this step …")
            self._leave(self.controller.models.training.stop)
        elif self.paused is not None:
            self.controller.models.training.discard(self.paused)
            self.curves.clear()
            self._bar.hide()
            self.state.setText("The paused training is forgotten. Train begins anew.")

    def _publish(self) -> None:
        if self.proposal is not None and self.judgement is not None:
            self.publish_button.setEnabled(False)
            self.controller.models.training.publish(self.proposal, self.judgement)

    def _roll_back(self) -> None:
        self.back_button.setEnabled(False)
        self.controller.models.training.roll_back()

    # -- what happened --------------------------------------------------------------------------------------------

    def _on_bundles(self) -> None:
        models = self.controller.models
        self.choice.show_bundles(models.bundles, models.current_hash)
        self._say_current()

    def _on_found(self, found: FoundPackages) -> None:
        models = self.controller.models
        self.choice.show_packages(found)
        self._before = found.before
        was, self.paused = self.paused, (found.paused[0] if found.paused else None)
        is_idle = models.training.at_work is None
        if self.paused is not None and is_idle and was != self.paused:
            self._show_paused(self.paused)
        elif self.paused is None and self._was_paused:
            self.state.setText("Stopped before the first step. Train begins anew.")
        self._was_paused = False
        if self.proposal is None and found.proposal is not None:
            self._propose(
                found.proposal, f"{found.proposal.title} was trained here, and is not the current model."
            )
            if found.judged is not None:
                self.text.setText(
                    _judged_words(found.proposal, found.judged, models.bundle(found.judged.against_hash))
                )
        self._say_current()

    def _propose(self, bundle: Bundle, text: str) -> None:
        """Turn to a new model that nobody has judged yet."""
        self.proposal, self.judgement = bundle, None
        self.rule.show_usual(bundle)
        self.text.setText(f"{text} Let the frozen test set judge it.")
        self._enable()

    def _show_paused(self, paused: PausedTraining) -> None:
        course = paused.course
        done = course[-1]["number"] if course else 0
        self.curves.clear()
        self.curves.recall(course, paused.recipe.steps)
        self._show_step(done, paused.recipe.steps)
        names = ", ".join(path.name for path in paused.packages)
        self.state.setText(
            f"Paused after step {done} of {paused.recipe.steps}, on {names}. Resume goes on exactly there."
        )

    def _on_told(self, event: dict[str, Any]) -> None:
        self.curves.begin(event["before"])
        lesions = f"{event['examples']} examples, {event['lesions']} of them with a lesion"
        if event["task"] != "classification":
            lesions = f"{event['examples']} examples with {event['lesions']} lesions"
        replayed = f"; {event['replayed']} are replayed" if event["replayed"] else ""
        held_out = f"; {event['held_out']} held out" if event["held_out"] else ""
        self.state.setText(f"Training on {lesions}{replayed}{held_out}.")

    def _on_step(self, event: dict[str, Any]) -> None:
        self.curves.take(event)
        self._show_step(event["number"], event["steps"])

    def _show_step(self, done: int, steps: int) -> None:
        self._bar.setRange(0, steps)
        self._bar.setValue(done)
        self._bar.show()

    def _on_ended(self, how: str) -> None:
        if how == "stopped":
            self.curves.clear()
            self._bar.hide()
            self.state.setText("Stopped, and forgotten. Train begins anew.")
        elif how != "paused":
            self.state.setText(how)
        self._was_paused = how == "paused"
        self.paused = None
        self._enable()

    def _on_trained(self, bundle: Bundle) -> None:
        self.state.setText(f"Done: {bundle.title}.")
        self._propose(bundle, f"{bundle.title} is a proposal beside its parent.")
        self.reveal(self.text)
        self.controller.models.training.look()

    def _on_progress(self, done: int, total: int, text: str) -> None:
        if self.controller.models.doing.startswith("Judging") and self.controller.models.is_running and total:
            self.text.setText(f"Judging: case {done} of {total} · {text}")

    def _on_judged(self, judgement: Judgement, bundle: Bundle) -> None:
        self.judgement = judgement
        self.text.setText(judgement.reason)
        self._enable()
        self.reveal(self.publish_button)

    def _on_published(self, bundle: Bundle) -> None:
        is_new = self.proposal is not None and bundle.hash == self.proposal.hash
        reason = f"{self.judgement.reason}\n\n" if is_new and self.judgement is not None else ""
        self.text.setText(
            f"{reason}{bundle.title} is the current model. Nothing was overwritten: the others stay."
        )
        self.judgement = None if not is_new else self.judgement
        self._say_current()
        self.reveal(self.back_button)

    def _forget(self) -> None:
        self.proposal = self.judgement = self.paused = None
        self.curves.clear()
        self._bar.hide()
        self.state.setText("")
        self.text.setText(FIRST)
        self._enable()

    # -- what may be done -----------------------------------------------------------------------------------------

    def _say_current(self) -> None:
        models = self.controller.models
        current = models.bundle(models.current_hash)
        self.current.setText(f"Current: {current.title}" if current is not None else "No model is current.")
        before = models.bundle(self._before) if self._before else None
        name = (
            before.title
            if before is not None
            else SHIPPED
            if self._before == ""
            else "a model that is not here"
        )
        self.back_button.setText("Roll back" if self._before is None else f"Roll back to {name}")
        self.back_button.setToolTip(
            "No model was published before"
            if self._before is None
            else f"Make {name} the current model again"
        )
        self._enable()

    def _enable(self) -> None:
        models = self.controller.models
        is_idle, project = not models.is_running, self.session.project
        may_write = is_idle and project is not None and not project.is_read_only
        is_training = models.training.at_work is not None
        self.train_button.setEnabled(may_write and self.choice.may_train)
        self.resume_button.setEnabled(may_write and self.paused is not None)
        self.pause_button.setEnabled(is_training)
        self.stop_button.setEnabled(is_training or (may_write and self.paused is not None))
        is_other = self.proposal is not None and self.proposal.hash != models.current_hash
        self.judge_button.setEnabled(may_write and is_other)
        self.publish_button.setEnabled(
            may_write and is_other and self.judgement is not None and self.judgement.may_publish
        )
        self.add_button.setEnabled(project is not None)
        self.back_button.setEnabled(may_write and self._before is not None)


def _judged_words(proposed: Bundle, judged: JudgementRecord, against: Bundle | None) -> str:
    """Return what the last judgement about a model said; only a new one lets it be published."""
    other = against.title if against is not None else judged.against_hash[:8]
    return (
        f"{proposed.title} was trained here, and judged on {judged.at[:10]} against {other}: {judged.reason} "
        "Judge it again to publish it now."
    )
