"""Removing a case for good, from the list of cases: says what goes and what is left elsewhere, and asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMessageBox

from napari_medlab.project.removing import plan_removal

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medlab.project import Project
    from napari_medlab.project.removing import Removal
    from napari_medlab.widgets.controller import Controller

__all__ = ["ask_to_remove"]


def ask_to_remove(controller: Controller, case_id: str, parent: QWidget) -> None:
    """Look in the background what would go with a case, ask, and remove it; the project is then read again."""
    project = controller.editing.writable()
    if project is None:
        return
    if controller.models.is_running:
        controller.models.complain("Something is at work already: wait for it, or cancel it.")
        return
    controller.background.run(
        "plan removal", plan_removal, project, [case_id],
        on_done=lambda plan: _ask(controller, project, plan, parent),
    )  # fmt: skip


def _ask(controller: Controller, project: Project, plan: Removal, parent: QWidget) -> None:
    box = QMessageBox(QMessageBox.Icon.Warning, "Remove for good", "", parent=parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(f"Remove {', '.join(plan.names)} from the project for good? It cannot be undone.")
    box.setInformativeText(plan.told()[0])
    box.setDetailedText("\n".join(plan.told()))
    remove = box.addButton("Remove for good", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    remove.clicked.connect(lambda: _remove(controller, project, plan))
    box.open()


def _remove(controller: Controller, project: Project, plan: Removal) -> None:
    controller.background.run(
        "remove case", project.remove, plan.cases, on_done=lambda _: controller.open_project(project.folder)
    )
