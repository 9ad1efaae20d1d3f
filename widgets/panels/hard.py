"""Hard examples: what would be taken, and the package it is written into."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from magicgui.widgets import Container, FloatSpinBox, SpinBox, Widget
from qtpy.QtWidgets import QProgressBar

from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.models.workflows.hard_examples import choose_examples
from napari_medlab.widgets.panels.panel import Panel, button, note, row

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.hardcases.mining import Example

__all__ = ["HardExamplesPanel"]


class HardExamplesPanel(Panel):
    """Chooses examples by rule, shows what that gives, writes the package."""

    title = "Hard examples"

    def build(self) -> None:
        """Make the form, the preview and the buttons."""
        self.column.addWidget(
            note("Errors are taken from the front of the review queue, and as much again of what the model had right: "
                 "without that replay a model forgets. Errors judged ambiguous, or the reference's, are left out. "
                 "Frozen test cases never enter.")
        )  # fmt: skip
        self._budget = SpinBox(value=200, min=1, max=100_000, label="Errors at most")
        self._per_case = SpinBox(value=12, min=1, max=10_000, label="… of one case")
        self._replay = FloatSpinBox(value=0.5, min=0.0, max=0.95, step=0.05, label="Share of replay")
        self._points = FloatSpinBox(value=4.0, min=0.1, max=100.0, step=1.0, label="False positives per scan")
        self._points.tooltip = "A looser operating point than for reading: many negatives to learn from, few to judge"
        fields: list[Widget] = [self._points, self._budget, self._per_case, self._replay]
        form = Container(widgets=fields, labels=True)
        self.column.addWidget(form.native)
        self.column.addLayout(
            row(
                button("Look first", self.preview, "Count what would be taken"),
                button("Write package", self.export, "Into the project's exports folder; nothing is overwritten"),
            )
        )
        self._bar = QProgressBar()
        self.column.addWidget(self._bar)
        self.text = note()
        self.column.addWidget(self.text)
        self.column.addStretch(1)
        models = self.controller.models
        self.listen(models.progressed, self._on_progress)
        self.listen(models.exported, self._on_exported)

    def rule(self) -> MiningRule:
        """Return the rule that the form says."""
        return MiningRule(self._budget.value, self._per_case.value, self._replay.value)

    def export(self) -> None:
        """Write the package under a name made of date and time."""
        project = self.session.project
        if project is None:
            self.text.setText("No project is open.")
            return
        name = f"hard-{datetime.now():%Y%m%d-%H%M%S}"
        self.controller.models.export(project.folder / "exports" / name, self._points.value, self.rule())

    def preview(self) -> None:
        """Count in the background what would be taken."""
        project, review = self.session.project, self.session.review
        if project is None or review is None:
            self.text.setText("There is no run to take examples from: run a model first.")
            return
        self.controller.background.run(
            "preview", choose_examples, project, review.run_id, self._points.value, self.rule(), on_done=self._show
        )

    def _show(self, examples: list[Example]) -> None:
        reasons = [e.reason for e in examples]
        reviewed = sum(bool(e.verdict) for e in examples)
        parts = [f"{reasons.count(reason)} {reason}" for reason in ("false positive", "miss", "replay")]
        cases = len({e.case_id for e in examples})
        self.text.setText(f"{len(examples)} examples of {cases} cases: {', '.join(parts)}; {reviewed} have a verdict.")

    def _on_progress(self, done: int, total: int, text: str) -> None:
        if text.startswith("crop"):
            self._bar.setRange(0, total)
            self._bar.setValue(done)

    def _on_exported(self, folder: Path) -> None:
        self.text.setText(f"Written: {folder.parent.name}/{folder.name}. Train on it in Retrain.")
