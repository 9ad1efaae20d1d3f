"""What a model runs on: folded away, as the choice that the worker makes is nearly always right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QToolButton, QVBoxLayout, QWidget

from napari_medlab.models.workflows.predict import PredictOptions
from napari_medlab.widgets.model_words import PRECISIONS, device_words
from napari_medlab.widgets.panels.panel import chooser
from napari_medlab.widgets.run_memory import RunChoice, recall_choice, remember_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.widgets.controller import Controller

__all__ = ["RunOptions"]

AUTO = "auto"


class RunOptions(QWidget):
    """Device and precision, under a button that unfolds them.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        choice = recall_choice()
        self.fold = QToolButton()
        self.fold.setText("More")
        self.fold.setToolTip("On which device and in which precision the model is computed")
        self.fold.setCheckable(True)
        self.fold.setAutoRaise(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setArrowType(Qt.ArrowType.RightArrow)
        self.fold.toggled.connect(self._unfold)
        self.device, self.precision = chooser(), chooser()
        self.precision.addItem("Automatic", AUTO)
        for name in PRECISIONS:
            self.precision.addItem(name, name)
        self.precision.setCurrentIndex(max(self.precision.findData(choice.precision), 0))
        self.show_devices([choice.device] if choice.device != AUTO else [])
        self.device.setCurrentIndex(max(self.device.findData(choice.device), 0))
        self.device.setToolTip("Automatic: all GPUs that there are, else the CPU")
        self.precision.setToolTip(
            "Automatic: the fastest that a short test finds right; other runs keep theirs"
        )
        for box in (self.device, self.precision):
            box.activated.connect(lambda _: remember_choice(RunChoice(self._device, self._precision)))
        self._fields = QWidget()
        form = QFormLayout(self._fields)
        form.setContentsMargins(12, 0, 0, 0)
        form.addRow("Device", self.device)
        form.addRow("Precision", self.precision)
        self._fields.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.fold)
        column.addWidget(self._fields)

    @property
    def options(self) -> PredictOptions:
        """What is chosen."""
        return PredictOptions(device=self._device, precision=self._precision)

    def show_devices(self, names: Sequence[str]) -> None:
        """List devices below the automatic choice; what is chosen stays so, even where it is not here just now."""
        chosen = self.device.currentData() or AUTO
        self.device.clear()
        self.device.addItem("Automatic", AUTO)
        for name in dict.fromkeys([*names, *([chosen] if chosen != AUTO else [])]):
            is_here = not names or name in names
            self.device.addItem(device_words(name) + ("" if is_here else " (not here)"), name)
        self.device.setCurrentIndex(max(self.device.findData(chosen), 0))

    @property
    def _device(self) -> str:
        return str(self.device.currentData() or AUTO)

    @property
    def _precision(self) -> str:
        return str(self.precision.currentData() or AUTO)

    def _unfold(self, on: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self._fields.setVisible(on)
        if on:
            self._controller.models.find_devices()
