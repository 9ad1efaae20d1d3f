"""Retraining: live curve, stop, and the frozen test set's word on the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Container, FloatSpinBox, SpinBox, Widget
from qtpy.QtWidgets import QFormLayout, QProgressBar

from napari_medlab.models.training.recipe import FINE_TUNING
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes

if TYPE_CHECKING:
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement

__all__ = ["RetrainPanel"]

SMOOTHED = 12
"""The curve is a running mean over this many steps."""


class RetrainPanel(Panel):
    """Trains a new bundle from packages, and lets the frozen test set decide whether it may take the old one's place."""

    title = "Retrain"

    def build(self) -> None:
        """Make the form, the curve and the buttons."""
        self._package, self._parent = chooser(), chooser()
        form = QFormLayout()
        form.addRow("Examples", self._package)
        form.addRow("Start from", self._parent)
        self.column.addLayout(form)
        self._steps = SpinBox(value=FINE_TUNING.steps, min=1, max=1_000_000, label="Steps")
        self._rate = FloatSpinBox(value=FINE_TUNING.learning_rate * 1e4, min=0.01, max=100, step=0.5, label="Rate × 10⁻⁴")
        self._seed = SpinBox(value=0, min=0, max=2**31 - 1, label="Seed")
        fields: list[Widget] = [self._steps, self._rate, self._seed]
        self.column.addWidget(Container(widgets=fields, labels=True).native)
        self.train_button = button("Train", self.train, "In a process of its own; the new model stands beside the old")
        self.stop_button = button("Stop", self.controller.models.cancel, "Stop after this step; Train goes on from here")
        self.column.addLayout(row(self.train_button, self.stop_button))
        self._bar = QProgressBar()
        self.column.addWidget(self._bar)
        self._curve = CurveView(self._axes(FINE_TUNING.steps, 1.0))
        self.column.addWidget(self._curve)
        self.judge_button = button("Judge on the frozen test set", self.judge, "Run both models and compare them")
        self.judge_button.setEnabled(False)
        self.column.addWidget(self.judge_button)
        self.publish_button = button("Publish", self._publish, "Make the new model the current one; undo takes it back")
        self.publish_button.setEnabled(False)
        self.column.addWidget(self.publish_button)
        self.text = note("A new model is a proposal: it is published only if the frozen test set does not show it to be worse.")
        self.column.addWidget(self.text)
        self.column.addStretch(1)
        self._losses: list[float] = []
        self.proposal: Bundle | None = None
        self.judgement: Judgement | None = None
        self._connect()

    def _connect(self) -> None:
        models = self.controller.models
        self.listen(models.bundles_changed, self._fill_parents)
        self.listen(models.exported, lambda _: self._fill_packages())
        self.listen(models.stepped, self._on_step)
        self.listen(models.trained, self._on_trained)
        self.listen(models.judged, self._on_judged)
        self.listen(models.running_changed, self._on_running)
        self.listen(models.published, self._on_published)
        self.listen(self.session.project_changed, self._forget)
        self.redraw_on(self.session.project_changed, self._fill_packages)
        self._fill_packages()
        self._fill_parents()
        self._on_running(models.is_running)

    @property
    def seen_steps(self) -> int:
        """How many steps of the training have been reported."""
        return len(self._losses)

    def set_steps(self, steps: int) -> None:
        """Set the length of the training."""
        self._steps.value = steps

    def train(self) -> None:
        """Start, or go on where a training with these settings was stopped."""
        recipe = replace(FINE_TUNING, steps=self._steps.value, learning_rate=self._rate.value * 1e-4, seed=self._seed.value)
        self._losses.clear()
        folder = self._package.currentData()
        self.text.setText("Loading …")
        self.controller.models.train([Path(folder)] if folder else [], str(self._parent.currentData() or ""), recipe)

    def judge(self) -> None:
        """Ask the frozen test set about the newest proposal."""
        if self.proposal is not None:
            self.text.setText("Running both models on the frozen test set …")
            self.controller.models.judge(self.proposal)

    def _publish(self) -> None:
        if self.proposal is not None and self.judgement is not None:
            self.publish_button.setEnabled(False)
            self.controller.models.publish(self.proposal, self.judgement)

    def _fill_packages(self) -> None:
        self._package.clear()
        project = self.session.project
        folder = project.folder / "exports" if project is not None else None
        manifests = sorted(folder.glob("*/manifest.json"), reverse=True) if folder is not None else []
        for manifest in manifests:
            self._package.addItem(manifest.parent.name, str(manifest.parent))

    def _fill_parents(self) -> None:
        self._parent.clear()
        models = self.controller.models
        for bundle in models.bundles:
            self._parent.addItem(bundle.title + ("  (current)" if bundle.hash == models.current_hash else ""), bundle.hash)
        self._parent.setCurrentIndex(max(self._parent.findData(models.current_hash), 0))

    def _on_step(self, event: dict[str, Any]) -> None:
        self._losses.append(event["losses"]["total"])
        self._bar.setRange(0, event["steps"])
        self._bar.setValue(event["number"])
        self.text.setText(f"Step {event['number']} of {event['steps']} · loss {self._losses[-1]:.3f}")
        kernel = np.ones(min(SMOOTHED, len(self._losses)))
        smooth = np.convolve(self._losses, kernel / len(kernel), mode="valid")
        first = event["number"] - len(smooth) + 1
        self._curve.set_axes(self._axes(event["steps"], float(max(smooth.max() * 1.1, 1e-3))))
        self._curve.set_lines(Line(first + np.arange(len(smooth), dtype=np.float64), smooth, "loss, running mean"))

    def _on_trained(self, bundle: Bundle) -> None:
        self.proposal = bundle
        self.judge_button.setEnabled(True)
        self.publish_button.setEnabled(False)
        self.text.setText(f"{bundle.title} is trained, a proposal beside its parent. Let the frozen test set judge it.")

    def _on_judged(self, judgement: Judgement, bundle: Bundle) -> None:
        self.judgement = judgement
        self.publish_button.setEnabled(judgement.may_publish)
        self.text.setText(judgement.reason)

    def _on_published(self, bundle: Bundle) -> None:
        reason = self.judgement.reason if self.judgement is not None else ""
        self.text.setText(f"{reason}\n\n{bundle.title} is the current model. The one before stays in the list.")

    def _forget(self) -> None:
        self.proposal = self.judgement = None
        self.judge_button.setEnabled(False)
        self.publish_button.setEnabled(False)

    def _on_running(self, running: bool) -> None:
        self.train_button.setEnabled(not running)
        self.stop_button.setEnabled(running)

    @staticmethod
    def _axes(steps: int, top: float) -> PlotAxes:
        quarter = tuple(round(steps * k / 4) for k in range(5))
        return PlotAxes("step", "loss", tuple(map(float, quarter)), tuple(np.linspace(0, top, 5).round(2).tolist()))
