"""The question before code of another package runs for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medlab.models.bundles import Bundle

__all__ = ["asked_to_allow"]


def asked_to_allow(bundle: Bundle, window: QWidget) -> bool:
    """Ask whether the code of a model may run, and tell what was answered; data needs no permission."""
    if bundle.code is None:
        return True
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Warning)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setWindowTitle("Code of another package")
    box.setText(f"{bundle.title} is code of the package {bundle.code['package']} {bundle.code['version']}.")
    box.setInformativeText(
        f"It lies in {bundle.folder}. Code can do whatever you can do with your files. Allow this very version to run? "
        "Once it changes, you are asked again."
    )
    allow = box.addButton("Allow and run", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("Leave it", QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is allow
