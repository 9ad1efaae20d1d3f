"""What a retraining is made of: packages, the model to begin with, and the settings, each with what fits and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDoubleSpinBox,
    QFormLayout,
    QListWidget,
    QListWidgetItem,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.examples import FineTuningOptions
from napari_medlab.models.training.fine_tuning import rule_of
from napari_medlab.models.training.parts import CLASSIFIER
from napari_medlab.models.training.recipe import FINE_TUNING, Recipe
from napari_medlab.widgets.panels.panel import chooser, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.packages import Package
    from napari_medlab.models.training.parts import BundlePart
    from napari_medlab.widgets.model_training import FoundPackages

__all__ = ["RetrainChoice"]

RATE = 1e-4
"""The unit in which learning rates are typed."""

ROWS_SEEN = 3
AS_EXPORTED = -1.0
"""The replayed share that leaves it to the package."""
NARROWEST = 60
"""Pixels: the panel has to fit a narrow dock."""
DOES = {"detection": "detector", "segmentation": "segmenter", "classification": "classifier"}
WHY_NONE = "Write a package in Hard examples first, or add one that was written elsewhere."


class RetrainChoice(QWidget):
    """The form of a retraining.

    Signals
    -------
    changed()
        Something else was chosen.
    """

    changed = Signal()

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._packages: tuple[Package, ...] = ()
        self._bundles: list[Bundle] = []
        self._current = ""
        self._recipe = FINE_TUNING
        self.packages = QListWidget()
        self.packages.setToolTip("Tick one package, or several rounds to train on together")
        self.packages.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.packages.setWordWrap(True)
        self.packages.setMaximumHeight(ROWS_SEEN * 3 * self.fontMetrics().height())
        self.packages.setMinimumHeight(3 * self.fontMetrics().height())
        self.packages.itemChanged.connect(lambda _: self._fill_parents())
        self.parent_box = chooser()
        self.parent_box.setToolTip("Only models that the packages are for can be chosen")
        self.parent_box.currentIndexChanged.connect(lambda _: self._on_parent())
        self.reason = note()
        self._make_fields()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(note("Packages of hard examples"))
        column.addWidget(self.packages)
        column.addLayout(self._form())
        column.addWidget(self.reason)

    def _make_fields(self) -> None:
        self.steps, self.seed = QSpinBox(), QSpinBox()
        self.steps.setRange(1, 1_000_000)
        self.steps.setToolTip("How often the weights change")
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same model on a CPU")
        self.rate, self.replay, self.average = QDoubleSpinBox(), QDoubleSpinBox(), QDoubleSpinBox()
        self.rate.setRange(0.001, 1000.0)
        self.rate.setDecimals(3)
        self.rate.setSuffix(" × 10⁻⁴")
        self.rate.setToolTip("The highest learning rate")
        self.replay.setRange(AS_EXPORTED, 95.0)
        self.replay.setSpecialValueText("as exported")
        self.replay.setDecimals(0)
        self.replay.setSuffix(" % of each batch")
        self.replay.setValue(AS_EXPORTED)
        self.replay.setToolTip(
            "How much of every batch is what the model had right before, so that it is not forgotten; below 0 %, as much as "
            "the package holds"
        )
        self.average.setRange(0.0, 95.0)
        self.average.setDecimals(0)
        self.average.setSuffix(" % of the weights")
        self.average.setToolTip(
            "How much of the old model stays in the new one; 0 keeps what was learnt as it is"
        )
        for field in (self.steps, self.seed, self.rate, self.replay, self.average):
            field.setMinimumWidth(NARROWEST)
        self._show_usual(FINE_TUNING)

    def _form(self) -> QFormLayout:
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(note("Start from the model"))
        form.addRow(self.parent_box)
        form.addRow("Steps", self.steps)
        form.addRow("Rate", self.rate)
        form.addRow("Seed", self.seed)
        form.addRow("Replayed", self.replay)
        form.addRow("Old model", self.average)
        return form

    # -- what there is --------------------------------------------------------------------------------------------

    def show_packages(self, found: FoundPackages) -> None:
        """List packages; what was ticked stays ticked, and the newest is where nothing was."""
        ticked = {package.sha256 for package in self.chosen}
        self._packages = found.packages
        self.packages.blockSignals(True)
        self.packages.clear()
        for package in found.packages:
            item = QListWidgetItem(f"{package.folder.name}\n{_words(package)}")
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            is_ticked = package.sha256 in ticked or (not ticked and package is found.packages[0])
            item.setCheckState(Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked)
            item.setToolTip(str(package.folder))
            self.packages.addItem(item)
        for name, why in (found.unfit or {}).items():
            item = QListWidgetItem(f"{name}\nnot to be used")
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            item.setToolTip(why)
            self.packages.addItem(item)
        for row in range(self.packages.count()):
            self.packages.item(row).setSizeHint(QSize(0, int(2.6 * self.fontMetrics().height())))
        self.packages.blockSignals(False)
        self._fill_parents()

    def show_bundles(self, bundles: Sequence[Bundle], current: str) -> None:
        """Offer models to begin with."""
        self._bundles, self._current = list(bundles), current
        self._fill_parents()

    # -- what is chosen -------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> list[Package]:
        """The packages that are ticked."""
        rows = range(min(self.packages.count(), len(self._packages)))
        return [
            self._packages[row]
            for row in rows
            if self.packages.item(row).checkState() == Qt.CheckState.Checked
        ]

    @property
    def parent_hash(self) -> str:
        """The model to begin with; empty for none."""
        return str(self.parent_box.currentData() or "")

    @property
    def may_train(self) -> bool:
        """Whether there are packages and a model that they fit."""
        return bool(self.chosen and self.parent_hash)

    @property
    def recipe(self) -> Recipe:
        """The usual recipe for what is trained, with what was typed."""
        rate = self._recipe.learning_rate
        if abs(self.rate.value() - rate / RATE) > 1e-6:  # what nobody changed is not rounded
            rate = self.rate.value() * RATE
        return replace(self._recipe, steps=self.steps.value(), learning_rate=rate, seed=self.seed.value())

    @property
    def options(self) -> FineTuningOptions:
        """What is replayed and how much of the old model stays."""
        share = None if self.replay.value() < 0 else self.replay.value() / 100
        return FineTuningOptions(replay_share=share, average=self.average.value() / 100)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _fill_parents(self) -> None:
        before = self.parent_hash
        fitting, reasons = self._fitting()
        self.parent_box.blockSignals(True)
        self.parent_box.clear()
        for bundle in fitting:
            star = "★ " if bundle.hash == self._current else ""
            self.parent_box.addItem(f"{star}{bundle.title}", bundle.hash)
            self.parent_box.setItemData(
                self.parent_box.count() - 1, str(bundle.folder), Qt.ItemDataRole.ToolTipRole
            )
        wanted = [before, self._current, *(package.model for package in self.chosen)]
        found = (self.parent_box.findData(one) for one in wanted if one)
        self.parent_box.setCurrentIndex(next((row for row in found if row >= 0), 0 if fitting else -1))
        self.parent_box.blockSignals(False)
        self._on_parent()
        self.reason.setText(self._words_of(fitting, reasons))

    def _fitting(self) -> tuple[list[Bundle], list[str]]:
        """Return the models that all ticked packages are for, and why the others are not."""
        fitting, reasons = [], []
        for bundle in self._bundles:
            try:
                parts = {package.check_fits(bundle).name for package in self.chosen}
            except InputRefusedError as error:
                reasons.append(f"{bundle.title}: {error.message}")
                continue
            if len(parts) == 1:
                fitting.append(bundle)
            elif parts:
                reasons.append(
                    "The ticked packages are for different parts of a model; train one after the other."
                )
        return fitting, list(dict.fromkeys(reasons))

    def _words_of(self, fitting: Sequence[Bundle], reasons: Sequence[str]) -> str:
        self.reason.setToolTip("\n".join(reasons))
        if not self._packages:
            return WHY_NONE
        if not self.chosen:
            return "Tick at least one package."
        if not fitting:
            return reasons[0] if reasons else "No model is here yet."
        left_out = f" {len(reasons)} other models do not fit (why: hover here)." if reasons else ""
        part = self._part()
        does = "" if part is None else f"Trains the {_part_words(part)}."
        return does + left_out

    def _part(self) -> BundlePart | None:
        bundle = next((one for one in self._bundles if one.hash == self.parent_hash), None)
        return self.chosen[0].check_fits(bundle) if bundle is not None and self.chosen else None

    def _on_parent(self) -> None:
        part = self._part()
        if part is not None:
            self._show_usual(rule_of(part).recipe)
        self.changed.emit()

    def _show_usual(self, recipe: Recipe) -> None:
        """Show another usual recipe where nobody changed the one before."""
        if self.steps.value() in (1, self._recipe.steps):
            self.steps.setValue(recipe.steps)
        if self.rate.value() < 0.01 or abs(self.rate.value() - self._recipe.learning_rate / RATE) < 1e-6:
            self.rate.setValue(recipe.learning_rate / RATE)
        self._recipe = recipe


def _words(package: Package) -> str:
    """Return what a package holds, in one line."""
    held_out = package.counts.get("validation", 0)
    count = len(package.examples) - held_out
    what = "candidate classifier" if package.part == CLASSIFIER else DOES.get(package.task, package.task)
    rest = f", {held_out} held out" if held_out else ""
    return f"{count} for the {what}{rest}"


def _part_words(part: BundlePart) -> str:
    if part.name == CLASSIFIER:
        return f"classifier of candidates; the detector of {part.bundle.name} stays as it is"
    stays = "; its classifier of candidates stays as it is" if part.bundle.classifier is not None else ""
    return f"{DOES[part.task]} {part.bundle.name}{stays}"
