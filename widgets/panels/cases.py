"""The cases of the project: what there is, what has been read, where the errors are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QMenu

from napari_medlab.widgets.layout_memory import recall
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.views.table import RowsTable
from napari_medlab.widgets.views.thumbnails import ThumbnailStore

if TYPE_CHECKING:
    from qtpy.QtCore import QPoint
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_medlab.project import CaseRecord

__all__ = ["CasesPanel"]

COLUMNS = {
    "Case": "The case; ❄ is frozen for the test", "Ref": "Findings of the reference", "FP": "False positives of the run",
    "FN": "Findings that the run missed", "Done": "Errors that have a verdict, of all of them",
}  # fmt: skip
"""Short titles, as the names need the width, and what they mean."""
THUMBNAIL = 72
"""Pixels, of pictures that are shown at half that size: sharp on dense screens, too."""


MOST_UM = 1000.0
"""The largest pixel size that is stated by hand."""


class CasesPanel(Panel):
    """Opens projects, adds images, lists cases."""

    title = "Cases"

    def build(self) -> None:
        """Make the buttons and the table."""
        # two lines: on small screens the image needs the width
        self.column.addLayout(
            row(
                button("Open…", self._ask_open, "Open a project folder"),
                button("New…", self._ask_new, "Make an empty project in a folder"),
            )
        )
        self._build_adding()
        self.column.addLayout(
            row(
                button("Import…", self._ask_import, "Findings, outlines or predictions made elsewhere"),
                button("Export…", self._ask_export, "Findings or candidates, under keys, in any format"),
            )
        )
        self.setAcceptDrops(True)
        self._where = note()
        self.column.addWidget(self._where)
        self._recent = chooser("open one of the latest projects")
        self._recent.activated.connect(self._open_recent)
        self.column.addWidget(self._recent)
        self._table = RowsTable(tuple(COLUMNS), stretch=0)
        self._table.set_title_tips(*COLUMNS.values())
        self._table.setToolTip("Click a case to show it")
        # names of one study begin alike and differ at their ends
        self._table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._table.rowChosen.connect(self._on_row_chosen)
        self._table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self._table.customContextMenuRequested.connect(self._on_menu)
        self._thumbnails = ThumbnailStore(
            self.controller.open_image, self.controller.pixels_name, size_px=THUMBNAIL, parent=self
        )
        self._thumbnails.arrived.connect(lambda _: self._table.redraw())
        self._table.set_pictures(self._picture, THUMBNAIL // 2)
        self.column.addWidget(self._table, stretch=1)
        self._case_ids: list[str] = []
        self._place_of: dict[str, int] = {}
        session = self.session
        for signal in (session.cases_changed, session.review_changed, session.operating_point_changed,
                       session.verdicts_changed, session.findings_changed):  # fmt: skip
            self.redraw_on(signal, self._fill)
        self.listen(session.case_changed, self._on_case_changed)
        self.listen(session.project_changed, self._thumbnails.clear)
        self.listen(session.project_changed, lambda: self._added_as.setCurrentIndex(0))
        self.listen(session.project_changed, lambda: self._pixel_size.setValue(0))
        self.destroyed.connect(self._thumbnails.close)
        self._fill()

    def _build_adding(self) -> None:
        """Make what adds images, and what is said about them then."""
        self.column.addLayout(
            row(
                button("Add files…", self._ask_add, "Add image files to the project"),
                button(
                    "Add folder…",
                    self._ask_add_folder,
                    "Add what a folder holds: series, exams, slides, frames",
                ),
            )
        )
        self._added_as = chooser()
        for words, split in (("add as training cases", "train"), ("add as frozen test cases", "test")):
            self._added_as.addItem(words, split)
        self._added_as.setToolTip(
            "Frozen test cases decide whether a new model may be published: they are never reviewed, and never trained on"
        )
        self._pixel_size = QDoubleSpinBox()
        self._pixel_size.setRange(0, MOST_UM)
        self._pixel_size.setDecimals(3)
        self._pixel_size.setSpecialValueText("pixel size: as the files say")
        self._pixel_size.setPrefix("pixel size ")
        self._pixel_size.setSuffix(" µm")
        self._pixel_size.setToolTip(
            "Of photographs and tiles whose header states none: models that learnt at a pixel size, and all that is measured, "
            "need it"
        )
        self.column.addWidget(self._added_as)
        self.column.addWidget(self._pixel_size)

    def _picture(self, number: int) -> Any:
        return self._thumbnails.picture(self._case_ids[number])

    def _fill(self) -> None:
        project, session = self.session.project, self.session
        self._fill_recent(is_open=project is not None)
        if project is None:
            self._where.setText("No project is open. Open one, or drop images on the window to look at them.")
            self._case_ids, self._place_of = [], {}
            self._table.set_rows([])
            return
        mode = f" · read-only, held by {project.holder}" if project.is_read_only else ""
        self._where.setText(f"{project.folder.name} · reader {project.reader}{mode}")
        cases = self.controller.cases
        self._case_ids = [case.case_id for case in cases]
        self._place_of = {case_id: place for place, case_id in enumerate(self._case_ids)}
        done = set(session.review.cases) if session.review else set()
        unread = set(session.review.unread_cases) if session.review else set()
        findings = Counter(session.findings.case_ids[~session.findings.is_excluded].tolist())
        errors = {
            kind: Counter(session.errors.case_id[session.errors.kind == kind].tolist())
            for kind in ("fp", "fn")
        }
        judged = Counter(
            case_id
            for object_id, case_id in zip(
                session.errors.object_ids, session.errors.case_id.tolist(), strict=True
            )
            if object_id in session.verdicts
        )
        in_all = Counter(session.errors.case_id.tolist())

        def cells(place: int) -> tuple[str | int | None, ...]:
            case = cases[place]
            if case.case_id in unread:
                return (_title(case), findings[case.case_id], None, None, "unread")
            if case.case_id not in done:
                return (_title(case), findings[case.case_id], None, None, "")
            fp, fn = errors["fp"][case.case_id], errors["fn"][case.case_id]
            total = in_all[case.case_id]
            status = (
                "✓"
                if total and judged[case.case_id] == total
                else f"{judged[case.case_id]}/{total}"
                if total
                else "–"
            )
            return (_title(case), findings[case.case_id], fp, fn, status)

        self._table.set_source(len(cases), cells, tip=lambda place: _tip(cases[place]))
        self._on_case_changed(session.case_id)

    def _fill_recent(self, *, is_open: bool) -> None:
        known = [folder for folder in recall().projects if Path(folder).is_dir()]
        self._recent.setVisible(not is_open and bool(known))
        if not is_open:
            while self._recent.count() > 1:
                self._recent.removeItem(1)
            for folder in known:
                self._recent.addItem(Path(folder).name, folder)

    def _open_recent(self, number: int) -> None:
        if folder := self._recent.itemData(number):
            self.controller.open_project(Path(folder))

    def _on_row_chosen(self, number: int) -> None:
        self.session.show_case(self._case_ids[number])

    def _on_menu(self, place: QPoint) -> None:
        index = self._table.indexAt(place)
        if index.isValid():
            case_id = self._case_ids[index.row()]
            menu = QMenu(self)
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.addAction("Remove from the project for good…", lambda: self._ask_remove(case_id))
            menu.popup(self._table.viewport().mapToGlobal(place))

    def _ask_remove(self, case_id: str) -> None:
        from napari_medlab.widgets.panels.case_removal import ask_to_remove

        ask_to_remove(self.controller, case_id, self.window())

    def _on_case_changed(self, case_id: str) -> None:
        self._table.choose(self._place_of.get(case_id, -1))

    def _ask_open(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Open a project"):
            self.controller.open_project(Path(folder))

    def _ask_new(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Choose an empty folder for the new project"):
            self.controller.create_project(Path(folder))

    def _ask_add(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add images")
        if names:
            self._add([Path(name) for name in names])

    def _ask_add_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Add what a folder holds"):
            self._add([Path(folder)])

    def _add(self, paths: list[Path]) -> None:
        size = self._pixel_size.value() or None
        self.controller.add_images(paths, split=self._added_as.currentData(), pixel_size_um=size)

    def _ask_import(self) -> None:
        from napari_medlab.widgets.panels.exchange_import import ImportDialog

        if (project := self.controller.editing.writable()) is not None:
            ImportDialog(self.controller, project, self.window()).open()

    def _ask_export(self) -> None:
        from napari_medlab.widgets.panels.exchange_export import ExportDialog

        if (project := self.session.project) is not None:
            ExportDialog(self.controller, project, self.window()).open()
        else:
            self._where.setText("No project is open: there is nothing to export.")

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - a name of Qt
        """Take files and folders that are dragged over the list."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - a name of Qt
        """Add what is dropped to the project."""
        event.acceptProposedAction()
        self._add([Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()])


def _title(case: CaseRecord) -> str:
    return f"❄ {case.name}" if case.frozen else case.name


def _tip(case: CaseRecord) -> str:
    """Return what there is to know about a case."""
    belongs = "frozen test set: never reviewed, never exported" if case.frozen else f"{case.split} case"
    said = [f"{name} = {value}" for name, value in case.fields.items()]
    return "\n".join([case.name, f"{case.kind} {case.modality}".strip(), belongs, *said])
