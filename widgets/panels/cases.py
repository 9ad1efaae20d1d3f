"""The cases of the project: what there is, what has been read, where the errors are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_medlab.widgets.panels.panel import Panel, button, note, row
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

__all__ = ["CasesPanel"]


class CasesPanel(Panel):
    """Opens projects, adds images, lists cases."""

    title = "Cases"

    def build(self) -> None:
        """Make the buttons and the table."""
        self.column.addLayout(
            row(
                button("Open…", self._ask_open, "Open a project folder"),
                button("New…", self._ask_new, "Make an empty project in a folder"),
                button("Add files…", self._ask_add, "Add image files to the project"),
                button("Add folder…", self._ask_add_folder, "Add what a folder holds: series, exams, slides, frames"),
            )
        )
        self.setAcceptDrops(True)
        self._where = note()
        self.column.addWidget(self._where)
        self._table = RowsTable(("Case", "Set", "Findings", "FP", "Missed"), stretch=0)
        self._table.setToolTip("Click a case to show it. FP and Missed count at the chosen operating point.")
        self._table.rowChosen.connect(self._on_row_chosen)
        self.column.addWidget(self._table, stretch=1)
        self._case_ids: list[str] = []
        session = self.session
        for signal in (session.cases_changed, session.review_changed, session.operating_point_changed):
            self.redraw_on(signal, self._fill)
        self.listen(session.case_changed, self._on_case_changed)
        self._fill()

    def _fill(self) -> None:
        project, session = self.session.project, self.session
        if project is None:
            self._where.setText("No project is open. Open one, or drop images on the window to look at them.")
            self._table.set_rows([])
            return
        mode = f" · read-only, held by {project.holder}" if project.is_read_only else ""
        self._where.setText(f"{project.folder.name} · reader {project.reader}{mode}")
        cases = self.controller.cases
        errors = {kind: self._counts(kind) for kind in ("fp", "fn")}
        done = set(session.review.cases) if session.review else set()
        self._case_ids = [case.case_id for case in cases]
        rows = [
            (
                case.name,
                "frozen" if case.frozen else case.split,
                self.controller.finding_counts.get(case.case_id, 0),
                errors["fp"].get(case.case_id, 0) if case.case_id in done else None,
                errors["fn"].get(case.case_id, 0) if case.case_id in done else None,
            )
            for case in cases
        ]
        self._table.set_rows(rows)
        self._on_case_changed(session.case_id)

    def _counts(self, kind: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for item in self.session.queue:
            if item.kind == kind:
                counts[item.case_id] = counts.get(item.case_id, 0) + 1
        return counts

    def _on_row_chosen(self, number: int) -> None:
        self.session.show_case(self._case_ids[number])

    def _on_case_changed(self, case_id: str) -> None:
        self._table.choose(self._case_ids.index(case_id) if case_id in self._case_ids else -1)

    def _ask_open(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Open a project"):
            self.controller.open_project(Path(folder))

    def _ask_new(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Choose an empty folder for the new project"):
            self.controller.create_project(Path(folder))

    def _ask_add(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add images")
        if names:
            self.controller.add_images([Path(name) for name in names])

    def _ask_add_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Add what a folder holds"):
            self.controller.add_images([Path(folder)])

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - a name of Qt
        """Take files and folders that are dragged over the list."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - a name of Qt
        """Add what is dropped to the project."""
        event.acceptProposedAction()
        self.controller.add_images([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])
