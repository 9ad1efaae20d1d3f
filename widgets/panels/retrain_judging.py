"""The rule by which the frozen test set judges a proposal, as a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDoubleSpinBox, QFormLayout, QVBoxLayout, QWidget

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.workflows.judge import JudgeRule, Metric, Need, usual_rule
from napari_medlab.widgets.panels.panel import button, chooser

if TYPE_CHECKING:
    from napari_medlab.models.bundles import Bundle

__all__ = ["RuleForm"]

METRIC_WORDS: dict[Metric, str] = {
    "cpm": "CPM (mean sensitivity)", "sensitivity": "Sensitivity at a rate", "dice": "Dice of outlines",
}  # fmt: skip
NEED_WORDS: dict[Need, str] = {
    "not worse": "not shown to be worse", "not inferior": "a loss ruled out", "better": "shown to be better",
}  # fmt: skip
NARROWEST = 60
USUAL_MARGIN = 0.02
FOLDED, UNFOLDED = "▸ Rule", "▾ Rule"


class RuleForm(QWidget):
    """Metric, margin and what is needed, under a button that unfolds them and says the rule."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.fold = button(
            FOLDED, lambda: self.unfold(self._fields.isHidden()), "By what a new model is judged"
        )
        self.figure, self.needs = chooser(), chooser()
        for metric, words in METRIC_WORDS.items():
            self.figure.addItem(words, metric)
        for need, words in NEED_WORDS.items():
            self.needs.addItem(words, need)
        self.needs.setToolTip(
            "What the interval of the paired difference has to say before a model may be published"
        )
        self.rate, self.margin = QDoubleSpinBox(), QDoubleSpinBox()
        self.rate.setRange(0.01, 100.0)
        self.rate.setValue(1.0)
        self.rate.setSuffix(" FP per scan")
        self.margin.setRange(0.0, 0.5)
        self.margin.setSingleStep(0.01)
        self.margin.setDecimals(3)
        self.margin.setToolTip("A difference that is of no account, in the unit of the metric")
        for field in (self.rate, self.margin):
            field.setMinimumWidth(NARROWEST)
        self._fields = QWidget()
        form = QFormLayout(self._fields)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Compare", self.figure)
        form.addRow("at", self.rate)
        form.addRow("Must be", self.needs)
        form.addRow("Margin", self.margin)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.fold)
        column.addWidget(self._fields)
        self.needs.currentIndexChanged.connect(lambda _: self._on_needs())
        for signal in (self.figure.currentIndexChanged, self.needs.currentIndexChanged):
            signal.connect(lambda _: self._say())
        for field in (self.rate, self.margin):
            field.valueChanged.connect(lambda _: self._say())
        self.unfold(False)

    @property
    def rule(self) -> JudgeRule:
        """The rule that the form says.

        Raises
        ------
        InputRefusedError
            Where its parts do not go together.
        """
        return JudgeRule(
            self.figure.currentData(), self.rate.value(), self.margin.value(), needs=self.needs.currentData()
        )

    def show_usual(self, bundle: Bundle) -> None:
        """Choose the metric that is usual for a bundle."""
        self.figure.setCurrentIndex(self.figure.findData(usual_rule(bundle).metric))

    def unfold(self, on: bool) -> None:
        """Show the fields, or fold them away."""
        self._fields.setVisible(on)
        self._say()

    def _on_needs(self) -> None:
        if self.needs.currentData() == "not inferior" and self.margin.value() == 0:
            self.margin.setValue(USUAL_MARGIN)

    def _say(self) -> None:
        self.rate.setEnabled(self.figure.currentData() == "sensitivity")
        try:
            rule = self.rule
            words = f"{rule.metric if rule.metric != 'cpm' else 'CPM'}, {NEED_WORDS[rule.needs]}"
        except InputRefusedError:
            words = "a margin is needed"
        self.fold.setText(f"{FOLDED if self._fields.isHidden() else UNFOLDED}: {words}")
