"""Exporting findings or candidates: what, in which format, where to; written in the background, whole or not at all."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFileDialog, QFormLayout, QVBoxLayout

from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import Exported, Outgoing, export_objects
from napari_medlab.exchange.writers import WRITERS
from napari_medlab.widgets.panels.exchange_dialog import ExchangeDialog
from napari_medlab.widgets.panels.panel import button, chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["ExportDialog"]

SIZE = (460, 400)
HELLO = (
    "Files are called by the keys of cases and hold places, sizes, classes and scores: nothing of a patient, a file or a "
    "reader. Labels stay as they were written."
)
TITLES = {
    "luna16": "LUNA16 tables", "coco": "COCO JSON", "geojson": "GeoJSON (QuPath)", "nifti": "label maps (NIfTI)",
    "mha": "label maps (MHA)", "yolo": "YOLO folder", "monai": "MONAI datalist", "nnunet": "nnU-Net folder",
    "nndetection": "nnDetection folder", "hubmap": "HuBMAP RLE and JSON", "dicom-seg": "DICOM Segmentation",
    "rtstruct": "DICOM RT Structure Set",
}  # fmt: skip


class ExportDialog(ExchangeDialog):
    """Asks what is to be written, and writes it.

    Parameters
    ----------
    controller : Controller
    project : Project
    parent : QWidget or None
    """

    def __init__(self, controller: Controller, project: Project, parent: QWidget | None = None) -> None:
        self._task = Task(controller.background, "export objects", "Exporting")
        super().__init__("Export", self._task, parent=parent)
        self._controller, self._project = controller, project
        self._folder = project.folder / "exports"
        self._build()
        self._on_format()
        self._enable()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        column.addWidget(note(HELLO))
        form = QFormLayout()
        self.formats = chooser()
        for name in WRITERS:
            self.formats.addItem(TITLES[name], name)
        self.formats.currentIndexChanged.connect(lambda _: self._on_format())
        form.addRow("Format", self.formats)
        self.runs = chooser()
        self.runs.addItem("the reference, as it was corrected", "")
        for title, run_id in self._controller.titled_runs():
            self.runs.addItem(f"candidates of {title}", run_id)
        form.addRow("What", self.runs)
        self.cases = chooser()
        for title, split in (("all cases", ""), ("training cases", "train"), ("frozen test cases", "test")):
            self.cases.addItem(title, split)
        form.addRow("Cases", self.cases)
        queued = self._controller.session.queue
        self.only_queue = QCheckBox(f"only the {len(queued)} objects of the queue as it is filtered now")
        self.only_queue.setEnabled(bool(len(queued)))
        form.addRow("", self.only_queue)
        self.images = QCheckBox("images go along: pixels and geometry, without the source's header")
        form.addRow("", self.images)
        self.no_text = QCheckBox("I looked: no image has a name in its pixels")
        form.addRow("", self.no_text)
        self.where = note()
        self.where_button = button("Where…", self._ask_where, "The folder in which the new folder is made")
        form.addRow(self.where_button, self.where)
        column.addLayout(form)
        column.addWidget(self.text, stretch=1)
        column.addWidget(self.bar)
        self.export_button = button("Export", self._export)
        self.stop_button = button(
            "Stop", self._stop, "Stop; nothing is left of an export that is not finished"
        )
        column.addLayout(row(self.export_button, self.stop_button, button("Close", self.reject)))
        self.resize(*SIZE)
        self._show_where()

    def _on_format(self) -> None:
        self.images.setChecked(WRITERS[str(self.formats.currentData())].has_images)

    def _ask_where(self) -> None:
        if name := QFileDialog.getExistingDirectory(
            self, "Where to make the new folder", str(self._folder.parent)
        ):
            self._folder = Path(name)
            self._show_where()

    def _show_where(self) -> None:
        is_ours = self._folder == self._project.folder / "exports"
        self.where.setText("in the project's exports folder" if is_ours else f"in {self._folder.name}")

    def _export(self) -> None:
        name = str(self.formats.currentData())
        outgoing = Outgoing(name, self.images.isChecked(), self.no_text.isChecked(), "last")
        queued = self._controller.session.queue
        selection = Selection(
            split=str(self.cases.currentData()), run_id=str(self.runs.currentData()),
            object_ids=frozenset(queued.object_ids) if self.only_queue.isChecked() else None,
        )  # fmt: skip
        out = self._folder / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        work = partial(_written, self._project, out, outgoing, selection)
        self._run(self._task, work, self._on_done, "Writing …")

    def _on_done(self, done: Exported) -> None:
        objects = done.candidates or done.findings + done.excluded
        told = f"Written: {Path(done.out).name}, with {objects} objects on {done.cases} cases in {done.files} files"
        if done.left_out:
            told += f"; {len(done.left_out)} cases cannot be told in this format, and are left out"
        if done.excluded_left_out:
            told += f"; {done.excluded_left_out} findings that do not count cannot be told in it"
        if done.without_outline:
            told += f"; {done.without_outline} objects have neither an outline nor a size"
        self._settle(f"{told}.")

    def _on_error(self, error: Exception) -> None:
        is_stopped = getattr(error, "code", "") == "cancelled"
        self._settle("Stopped; nothing was written." if is_stopped else in_words(error))

    def _stop(self) -> None:
        self._cancel()
        self._settle("Stopped; nothing was written.")

    def _enable(self) -> None:
        self.export_button.setEnabled(not self.is_busy)
        self.stop_button.setEnabled(self.is_busy)


def _written(
    project: Project, out: Path, outgoing: Outgoing, selection: Selection, on_progress: Callable[[int, int], None],
    stop: Callable[[], None],
) -> Exported:  # fmt: skip
    return export_objects(project, out, outgoing, selection, on_progress=on_progress, stop=stop)
