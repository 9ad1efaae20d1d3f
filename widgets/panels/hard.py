"""Hard examples: what would be taken, and the package it is written into."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QProgressBar

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.workflows.hard_examples import export_hard_examples
from napari_medlab.models.workflows.look_before import look_before
from napari_medlab.widgets.panels.hard_form import HardForm
from napari_medlab.widgets.panels.hard_look import LookView
from napari_medlab.widgets.panels.panel import Panel, button, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.hard_examples import HardOptions
    from napari_medlab.models.workflows.look_before import Look
    from napari_medlab.project import Project

__all__ = ["HardExamplesPanel"]

NO_RUN = "There is no run to take examples from: run a model first."
NO_MODEL = "Choose the model that is to learn from the package."


class HardExamplesPanel(Panel):
    """Chooses examples by rule, shows what that gives, writes the package."""

    title = "Hard examples"

    def build(self) -> None:
        """Make the form, the buttons and what shows the look."""
        self.column.addWidget(
            note("Examples of what the model gets wrong on training cases, to train it further. Errors judged ambiguous or "
                 "the reference's stay out, and frozen test cases, too.")
        )  # fmt: skip
        self.form = HardForm()
        self.column.addWidget(self.form)
        self.look_button = button(
            "Look first", self.look, "Count, and look at the pixels, before anything is written"
        )
        self.write_button = button(
            "Write package", self.export, "Into the project's exports folder; nothing is overwritten"
        )
        self.stop_button = button(
            "Stop", self._stop, "Stop; nothing is left of a package that is not finished"
        )
        self.column.addLayout(row(self.look_button, self.write_button))
        self.column.addWidget(self.stop_button)
        self._bar = QProgressBar()
        self.column.addWidget(self._bar)
        self.text = note()
        self.column.addWidget(self.text)
        self.view = LookView()
        self.column.addWidget(self.view)
        self.column.addStretch(1)
        self._looking = Task(self.controller.background, "look before", "Looking at hard examples")
        self._is_writing = False
        models, session = self.controller.models, self.session
        self.listen(models.progressed, self._on_progress)
        self.listen(models.running_changed, self._on_running)
        self.listen(models.exported, self._on_exported)
        for signal in (models.bundles_changed, session.project_changed, session.review_changed):
            self.redraw_on(signal, self._fill_models)
        self.listen(session.project_changed, self._forget)
        self.form.changed.connect(self._on_changed)
        self._fill_models()
        self._enable()

    # -- what can be done -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """Find out in the background what the package would hold: the counts at once, then what the pixels say."""
        asked = self._asked()
        if asked is None:
            return
        self.view.clear()
        self.text.setText("Choosing …")
        self._looking.start(
            partial(_looked, asked, lambda quick: self.controller.background.tell(self._show_quick, quick)),
            on_done=self._show, on_step=self._on_step, on_error=self._on_look_error,
        )  # fmt: skip
        self._bar.setRange(0, 0)
        self._enable()
        self.reveal(self.text)

    def export(self) -> None:
        """Write the package under a name made of date and time."""
        asked, models = self._asked(), self.controller.models
        if asked is None or not models.may_start(asked[0]):
            return
        project, run_id, bundle, options = asked
        folder = project.folder / "exports" / f"hard-{datetime.now():%Y%m%d-%H%M%S}"
        self._looking.cancel()
        self._is_writing = True
        models.start(
            "export", lambda: export_hard_examples(project, bundle, run_id, folder, options, models.token),
            on_item=lambda step: models.progressed.emit(*step, f"example {step[0]} of {step[1]}"),
            on_done=lambda _: models.exported.emit(folder), on_error=self._on_export_error,
        )  # fmt: skip
        self.text.setText("Choosing …")
        self._bar.setRange(0, 0)
        self._enable()
        self.reveal(self.text)

    def _asked(self) -> tuple[Project, str, Bundle, HardOptions] | None:
        """Return what the form asks for, of what is open; say what is missing where something is."""
        project, review, bundle = self.session.project, self.session.review, self.form.bundle
        if project is None:
            self.text.setText("No project is open.")
        elif review is None:
            self.text.setText(NO_RUN)
        elif bundle is None:
            self.text.setText(NO_MODEL)
        else:
            try:
                return project, review.run_id, bundle, self.form.options()
            except InputRefusedError as error:
                self.text.setText(in_words(error))
        self.reveal(self.text)
        return None

    def _stop(self) -> None:
        if self._looking.is_running:
            self._looking.cancel()
            self._settle("Stopped.")
        if self._is_writing:
            self.controller.models.cancel()

    # -- what comes of it -----------------------------------------------------------------------------------------

    def _show_quick(self, look: Look) -> None:
        if self._looking.is_running:
            self.view.show_look(look)
            self.text.setText("Looking at pixels …")
            self.reveal(self.view.text)

    def _show(self, look: Look) -> None:
        self.view.show_look(look)
        self._settle(f"The pixels of {look.looked_at} of {len(look.chosen)} were looked at.")

    def _on_look_error(self, error: Exception) -> None:
        self._settle("Stopped." if getattr(error, "code", "") == "cancelled" else in_words(error))

    def _on_export_error(self, error: Exception) -> None:
        self._is_writing = False
        self._settle(
            "Stopped; nothing was written." if getattr(error, "code", "") == "cancelled" else in_words(error)
        )

    def _on_exported(self, folder: Path) -> None:
        self._is_writing = False
        self._settle(f"Written: {folder.parent.name}/{folder.name}. Train on it in Retrain.")

    def _settle(self, text: str) -> None:
        self.text.setText(text)
        self._enable()
        self.reveal(self.text)

    def _on_step(self, done: int, total: int) -> None:
        self._bar.setRange(0, total)
        self._bar.setValue(done)

    def _on_progress(self, done: int, total: int, text: str) -> None:
        if self._is_writing:
            self._on_step(done, total)
            self.text.setText(text)

    def _on_running(self, _: bool) -> None:
        self._enable()

    def _on_changed(self) -> None:
        """Take away what is about other settings."""
        if not self._looking.is_running and not self._is_writing:
            self.view.clear()
            self.text.setText("")

    def _forget(self) -> None:
        self._looking.cancel()
        self.view.clear()
        self._settle("")

    def _enable(self) -> None:
        is_busy = self.controller.models.is_running
        self.look_button.setEnabled(not self._looking.is_running)
        self.write_button.setEnabled(not is_busy and not self._looking.is_running)
        self._bar.setVisible(self._looking.is_running or self._is_writing)
        self.stop_button.setVisible(self._looking.is_running or self._is_writing)

    def _fill_models(self) -> None:
        models, review = self.controller.models, self.session.review
        usual = models.current_hash
        if review is not None and any(one.hash == review.bundle_hash for one in models.bundles):
            usual = review.bundle_hash
        self.form.show_bundles(models.bundles, usual)
        self._enable()


def _looked(
    asked: tuple[Project, str, Bundle, HardOptions], on_quick: Callable[[Look], None],
    on_progress: Callable[[int, int], None], stop: Callable[[], None],
) -> Look:  # fmt: skip
    """Look, in a thread: at the numbers first, which are told at once."""
    project, run_id, bundle, options = asked
    on_quick(look_before(project, run_id, bundle, options, most=0, watch=(None, stop)))
    return look_before(project, run_id, bundle, options, watch=(on_progress, stop))
