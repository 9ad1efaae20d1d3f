"""What a model runs on, and where: folded away, as the choice that the worker makes is nearly always right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QLineEdit, QVBoxLayout, QWidget

from napari_medlab.models.workflows.predict import PredictOptions
from napari_medlab.widgets.model_words import PRECISIONS, device_words
from napari_medlab.widgets.panels.panel import button, chooser
from napari_medlab.widgets.run_memory import RunChoice, recall_choice, remember_choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.widgets.controller import Controller

__all__ = ["LEAST_LETTERS", "RunOptions"]

AUTO = "auto"
FOLDED, UNFOLDED = "▸ More", "▾ More"
LEAST_LETTERS = 6
"""So much of a choice is to be seen in large letters, too."""


class RunOptions(QWidget):
    """Device, precision and cluster, under a button that unfolds them.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        choice = recall_choice()
        tip = "On which device and in which precision the model is computed"
        self.fold = button(FOLDED, lambda: self.unfold(self._fields.isHidden()), tip)
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
            box.setMinimumContentsLength(LEAST_LETTERS)
            box.activated.connect(lambda _: remember_choice(self.choice))
        self.cluster, self.certificates = QLineEdit(choice.cluster), QLineEdit(choice.certificates)
        self.cluster.setPlaceholderText("tls://HOST:PORT")
        self.cluster.setToolTip(
            "The scheduler of a cluster that the cases are spread over; empty for this machine"
        )
        self.certificates.setPlaceholderText("folder")
        self.certificates.setToolTip("The folder of ca.pem, cert.pem and key.pem of that cluster")
        for field in (self.cluster, self.certificates):
            field.editingFinished.connect(lambda: remember_choice(self.choice))
        self._fields = QWidget()
        form = QFormLayout(self._fields)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Device", self.device)
        form.addRow("Precision", self.precision)
        form.addRow("Cluster", self.cluster)
        form.addRow("Certificates", self.certificates)
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

    @property
    def choice(self) -> RunChoice:
        """What is chosen, with where it is run."""
        return RunChoice(
            self._device, self._precision, self.cluster.text().strip(), self.certificates.text().strip()
        )

    def show_devices(self, names: Sequence[str]) -> None:
        """List devices below the automatic choice; what is chosen stays so, even where it is not here just now."""
        chosen = self.device.currentData() or AUTO
        self.device.clear()
        self.device.addItem("Automatic", AUTO)
        for name in dict.fromkeys([*names, *([chosen] if chosen != AUTO else [])]):
            is_here = not names or name in names
            self.device.addItem(device_words(name) + ("" if is_here else " (not here)"), name)
        self.device.setCurrentIndex(max(self.device.findData(chosen), 0))

    def unfold(self, on: bool) -> None:
        """Show the fields, or fold them away."""
        self.fold.setText(UNFOLDED if on else FOLDED)
        self._fields.setVisible(on)
        if on:
            self._controller.models.find_devices()

    @property
    def _device(self) -> str:
        return str(self.device.currentData() or AUTO)

    @property
    def _precision(self) -> str:
        return str(self.precision.currentData() or AUTO)
