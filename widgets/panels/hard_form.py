"""What goes into a package of hard examples: the form, each choice with what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medlab.hardcases.mining import KINDS, STRATEGIES, MiningRule
from napari_medlab.models.workflows.hard_examples import HardOptions
from napari_medlab.widgets.panels.panel import button, chooser, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle

__all__ = ["LEAST_DIFFERENCE", "HardForm"]

Box = TypeVar("Box", QSpinBox, QDoubleSpinBox)

LEAST_DIFFERENCE = 0.05
"""The cosine distance below which two objects count as much alike."""
NARROWEST = 60
"""Pixels: the panel has to fit a narrow dock."""
FOLDED, UNFOLDED = "▸ More", "▾ More"
PARTS = {"network": "its network", "classifier": "its classifier of candidates"}
SIDES = {"patient": "whole patients", "interval": "evenly spaced frames"}
TITLES = {
    "fp": "False positives", "fn": "Misses", "duplicate": "Duplicates", "poor outline": "Poor outlines",
    "disagreement": "Disagreements", "low confidence": "Unsure",
}  # fmt: skip
BALANCED = ("semi-hard", "mixture", "hardest")
"""The strategies that know a ratio."""


class HardForm(QWidget):
    """The settings of a package.

    Signals
    -------
    changed()
        Something else was chosen.
    """

    changed = Signal()

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bundles: list[Bundle] = []
        self._make_choosers()
        self._make_numbers()
        self.about = note()
        self.fold = button(
            FOLDED, lambda: self.unfold(self._further.isHidden()), "Limits, ratios, split, chance"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(self._first_rows())
        column.addWidget(self.about)
        column.addLayout(self._kind_rows())
        column.addLayout(self._number_rows())
        column.addWidget(self.alike)
        column.addWidget(self.fold)
        column.addWidget(self._further_rows())
        self._on_strategy()

    # -- what is chosen -------------------------------------------------------------------------------------------

    @property
    def bundle(self) -> Bundle | None:
        """The model that the package is for."""
        number = self.model.currentIndex()
        return self._bundles[number] if 0 <= number < len(self._bundles) else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of error that are ticked."""
        return tuple(kind for kind, box in self.kind_boxes.items() if box.isChecked())

    def options(self) -> HardOptions:
        """Return what the form says.

        Raises
        ------
        InputRefusedError
            Where no kind of error is ticked.
        """
        strategy = self.strategy.currentText()
        rule = MiningRule(
            strategy=strategy, budget=self.budget.value(), per_case=self.per_case.value(),
            per_patient=self.per_patient.value() or None, replay_share=self.replay.value() / 100,
            kinds=tuple(kind for kind in KINDS if kind in self.kinds),
            ratio=self.ratio.value() or None if strategy in BALANCED else None,
            random_share=self.by_chance.value() / 100, widening=self.widening.value(),
            least_difference=LEAST_DIFFERENCE if self.alike.isChecked() else None, seed=self.seed.value(),
            earlier_weight=self.earlier.value() / 100,
        )  # fmt: skip
        is_fused = self.bundle is not None and self.bundle.classifier is not None
        return HardOptions(
            self.points.value(), rule, part=self.part.currentData() if is_fused else "network",
            validation_share=self.validation.value() / 100, split_by=self.split_by.currentData(),
        )  # fmt: skip

    def show_bundles(self, bundles: Sequence[Bundle], usual: str) -> None:
        """List the models that a package can be for, and choose the usual one unless another was chosen before."""
        chosen = self.bundle
        wanted = usual if chosen is None else chosen.hash
        self._bundles = list(bundles)
        self.model.blockSignals(True)
        self.model.clear()
        self.model.addItems([one.title for one in self._bundles])
        hashes = [one.hash for one in self._bundles]
        self.model.setCurrentIndex(next((hashes.index(one) for one in (wanted, usual) if one in hashes), 0))
        self.model.blockSignals(False)
        self._on_model()

    def choose_model(self, bundle_hash: str) -> None:
        """Choose a model by its hash."""
        hashes = [one.hash for one in self._bundles]
        if bundle_hash in hashes:
            self.model.setCurrentIndex(hashes.index(bundle_hash))

    def unfold(self, on: bool) -> None:
        """Show the further settings, or fold them away."""
        self.fold.setText(UNFOLDED if on else FOLDED)
        self._further.setVisible(on)

    # -- how it is made -------------------------------------------------------------------------------------------

    def _make_choosers(self) -> None:
        self.model, self.part, self.strategy, self.split_by = (
            chooser(),
            chooser(),
            chooser(*STRATEGIES),
            chooser(),
        )
        self.model.setToolTip("The model that is to learn from the package: crops are cut as it sees images")
        for name, words in PARTS.items():
            self.part.addItem(words, name)
        self.part.setToolTip("Which part of the model is to learn: each sees crops of its own")
        for name, words in SIDES.items():
            self.split_by.addItem(words, name)
        self.split_by.setToolTip(
            "Frames of a sequence are told by their patient; neighbours of a held-out frame stay in training"
        )
        self.model.currentIndexChanged.connect(lambda _: self._on_model())
        self.strategy.currentTextChanged.connect(lambda _: self._on_strategy())
        for box in (self.model, self.part, self.strategy, self.split_by):
            box.setMinimumContentsLength(6)
            box.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.kind_boxes = {kind: QCheckBox(TITLES[kind]) for kind in KINDS}
        for kind, tick in self.kind_boxes.items():
            tick.setChecked(kind in ("fp", "fn"))
            tick.toggled.connect(lambda _: self.changed.emit())
        self.alike = QCheckBox("Leave out what looks alike")
        self.alike.setToolTip(
            "Objects that the model itself can hardly tell apart are taken once; reads the images"
        )
        self.alike.toggled.connect(lambda _: self.changed.emit())

    def _make_numbers(self) -> None:
        self.points = self._decimal(
            4.0, 0.1, 100.0, "Looser than for reading: many negatives to learn from, few to judge"
        )
        self.budget = self._number(200, 1, 100_000, "How many examples at most; a replay comes beside them")
        self.per_case = self._number(12, 1, 100_000, "A slide with hundreds of errors may need more")
        self.per_patient = self._number(0, 0, 100_000, "All of one patient together")
        self.per_patient.setSpecialValueText("any number")
        self.replay = self._share(50, "Of all examples: what the model had right. Without it a model forgets")
        self.validation = self._share(
            0, "Of the patients: held out, to see while training whether it gets better"
        )
        self.ratio = self._decimal(0.0, 0.0, 100.0, "Negatives for each positive")
        self.ratio.setSpecialValueText("as usual")
        self.by_chance = self._share(0, "Of a mixture: any candidate, whatever its score")
        self.widening = self._decimal(
            4.0, 1.0, 100.0, "Semi-hard: drawn from so many times the budget of the highest scored"
        )
        self.earlier = self._share(
            100, "What an earlier package holds is drawn so much; 0 leaves it out", most=100
        )
        self.seed = self._number(0, 0, 2**31 - 1, "The same number gives the same package")

    def _first_rows(self) -> QFormLayout:
        form = _form()
        form.addRow(note("For the model"))
        form.addRow(self.model)
        form.addRow("Learns", self.part)
        form.addRow("Chosen by", self.strategy)
        self._first = form
        return form

    def _kind_rows(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setHorizontalSpacing(6)
        grid.setVerticalSpacing(2)
        for number, box in enumerate(self.kind_boxes.values()):
            grid.addWidget(box, number // 2, number % 2)
        return grid

    def _number_rows(self) -> QFormLayout:
        form = _form()
        form.addRow("False positives per scan", self.points)
        form.addRow("Examples at most", self.budget)
        form.addRow("… of one case", self.per_case)
        form.addRow("Replay", self.replay)
        form.addRow("Validate on", self.validation)
        self._numbers = form
        return form

    def _further_rows(self) -> QWidget:
        self._further = QWidget()
        form = _form(self._further)
        form.addRow("… of one patient", self.per_patient)
        form.addRow("Hold out", self.split_by)
        form.addRow("Ratio", self.ratio)
        form.addRow("By chance", self.by_chance)
        form.addRow("Widening", self.widening)
        form.addRow("Earlier ones", self.earlier)
        form.addRow("Seed", self.seed)
        self._further.hide()
        return self._further

    def _number(self, value: int, low: int, high: int, tip: str) -> QSpinBox:
        box = QSpinBox()
        box.setRange(low, high)
        box.setValue(value)
        return self._ready(box, tip)

    def _decimal(self, value: float, low: float, high: float, tip: str) -> QDoubleSpinBox:
        box = QDoubleSpinBox()
        box.setDecimals(1)
        box.setRange(low, high)
        box.setValue(value)
        return self._ready(box, tip)

    def _share(self, value: int, tip: str, most: int = 95) -> QSpinBox:
        box = self._number(value, 0, most, tip)
        box.setSuffix(" %")
        box.setSingleStep(5)
        return box

    def _ready(self, box: Box, tip: str) -> Box:
        box.setToolTip(tip)
        box.setMinimumWidth(NARROWEST)
        box.valueChanged.connect(lambda _: self.changed.emit())
        return box

    # -- what follows from a choice -------------------------------------------------------------------------------

    def _on_model(self) -> None:
        is_fused = self.bundle is not None and self.bundle.classifier is not None
        for widget in (self.part, self._first.labelForField(self.part)):
            if widget is not None:
                widget.setVisible(is_fused)
        self.changed.emit()

    def _on_strategy(self) -> None:
        name = self.strategy.currentText()
        strategy = STRATEGIES[name]
        self.about.setText(f"⚠ {strategy.warning}" if strategy.warning else strategy.about)
        self.ratio.setEnabled(name in BALANCED)
        self.by_chance.setEnabled(name == "mixture")
        self.widening.setEnabled(name == "semi-hard")
        for widget in (self.replay, self._numbers.labelForField(self.replay)):
            if widget is not None:
                widget.setVisible(not strategy.is_filled)


def _form(parent: QWidget | None = None) -> QFormLayout:
    form = QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    return form
