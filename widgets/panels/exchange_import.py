"""Importing annotations or predictions: a file is chosen, what would happen is shown, and then it happens."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QCompleter,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QRadioButton,
    QVBoxLayout,
)

from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.formats import AUTO, FORMATS, LONGEST_CLASS
from napari_medlab.exchange.matched import Matched, matched
from napari_medlab.exchange.predictions import MODEL, ImportedPredictions, import_predictions
from napari_medlab.exchange.reference import ImportedReference, import_reference
from napari_medlab.widgets.panels.exchange_dialog import ExchangeDialog
from napari_medlab.widgets.panels.panel import button, chooser, note, row
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["ImportDialog"]

ANNOTATIONS = "Annotations (*.json *.geojson *.csv *.txt *.xml *.zip *.roi *.dcm *.nii *.gz *.mha *.mhd *.nrrd);;All files (*)"
SHOWN = 3
SIZE = (460, 420)
HELLO = "Choose a file or a folder: what is in it is recognised. Nothing is changed before you press Import."
NEEDS_IMAGES = (
    "COCO results name images and classes by numbers alone: choose the COCO file of the images, too."
)
STOPPED = "Stopped. What was imported is kept: import the same file again to go on."


class ImportDialog(ExchangeDialog):
    """Asks for a file, reads it in the background, says which cases it is about, and imports it.

    Parameters
    ----------
    controller : Controller
    project : Project
        One that can be written to.
    parent : QWidget or None
    """

    def __init__(self, controller: Controller, project: Project, parent: QWidget | None = None) -> None:
        self._looking = Task(controller.background, "import: look", "Reading annotations")
        self._importing = Task(controller.background, "import objects", "Importing annotations")
        super().__init__("Import annotations", self._looking, self._importing, parent=parent)
        self._controller, self._project = controller, project
        self._path: Path | None = None
        self._images: Path | None = None
        self._found: Matched | None = None
        self._build()
        self._enable()

    def _build(self) -> None:
        column = QVBoxLayout(self)
        self.where = note(HELLO)
        self.file_button = button("File…", self._ask_file, "A file of annotations, masks or predictions")
        self.folder_button = button("Folder…", self._ask_folder, "A folder of such files, or a data set")
        column.addWidget(self.where)
        column.addLayout(row(self.file_button, self.folder_button))
        form = QFormLayout()
        self.formats = chooser()
        self.formats.addItem("recognised by its content", AUTO)
        for one in FORMATS:
            if one.reads:
                self.formats.addItem(one.title, one.name)
        self.formats.activated.connect(lambda _: self._look())
        form.addRow("Format", self.formats)
        self.as_reference = QRadioButton("the reference: findings and their outlines")
        self.as_predictions = QRadioButton("predictions of a model: a run to review")
        self._kinds = QButtonGroup(self)
        for choice in (self.as_reference, self.as_predictions):
            self._kinds.addButton(choice)
        self.as_reference.setChecked(True)
        self.as_predictions.toggled.connect(lambda _: self._look())
        form.addRow("As", self.as_reference)
        form.addRow("", self.as_predictions)
        self.model = QLineEdit(MODEL)
        self.model.setToolTip("The name under which the run is listed")
        form.addRow("Model", self.model)
        self.only_class = QLineEdit()
        self.only_class.setPlaceholderText("as the file says")
        self.only_class.setMaxLength(LONGEST_CLASS)
        self.only_class.setToolTip(
            "One class for all that is imported, such as the one that your model learns; what was imported before gets it, too"
        )
        learnt = {name for bundle in self._controller.models.bundles for name in bundle.classes}
        self.only_class.setCompleter(QCompleter(sorted(learnt), self.only_class))
        self.only_class.editingFinished.connect(self._on_class)
        form.addRow("Class", self.only_class)
        column.addLayout(form)
        self.images_button = button(
            "COCO file of the images…", self._ask_images, "Names and sizes of the images, and classes"
        )
        column.addWidget(self.images_button)
        column.addWidget(self.text, stretch=1)
        column.addWidget(self.bar)
        self.import_button = button("Import", self._import)
        self.import_button.setDefault(True)
        self.stop_button = button("Stop", self._stop)
        self.close_button = button("Close", self.reject)
        column.addLayout(row(self.import_button, self.stop_button, self.close_button))
        self.resize(*SIZE)

    # -- choosing -------------------------------------------------------------------------------------------------

    def choose(self, path: Path) -> None:
        """Take a file or folder, and look into it."""
        self._path, self._images = path, None
        self.where.setText(path.name)
        if self.formats.currentData() != AUTO:
            self.formats.setCurrentIndex(0)
        self._look()

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import annotations", "", ANNOTATIONS)
        if name:
            self.choose(Path(name))

    def _ask_folder(self) -> None:
        if name := QFileDialog.getExistingDirectory(self, "Import what a folder holds"):
            self.choose(Path(name))

    def _ask_images(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "The COCO file of the images", "", "COCO (*.json);;All files (*)"
        )
        if name:
            self._images = Path(name)
            self._look()

    def _on_class(self) -> None:
        """Look again where another class is wanted than that of what was found."""
        if self._found is None or self._found.wanted.only_class != self.only_class.text().strip():
            self._look()

    def _look(self) -> None:
        """Read the file in the background, and say what it is about."""
        self._found = None
        if self._path is None:
            self._enable()
            return
        wanted = Wanted(
            self._path, str(self.formats.currentData()), is_predicted=self.as_predictions.isChecked(),
            images=self._images, only_class=self.only_class.text().strip(),
        )  # fmt: skip
        self._run(self._looking, partial(_looked, self._project, wanted), self._on_looked, "Reading …")

    def _on_looked(self, found: Matched) -> None:
        self._found = found
        self._settle(_plan(found))

    # -- importing ------------------------------------------------------------------------------------------------

    def _import(self) -> None:
        found = self._found
        if found is None:
            return
        if self.as_predictions.isChecked():
            work: Callable[..., object] = partial(
                _predictions, self._project, found, self.model.text().strip()
            )
            self._run(self._importing, work, self._on_predictions, "Importing …")
        else:
            self._run(
                self._importing, partial(_reference, self._project, found), self._on_reference, "Importing …"
            )

    def _on_reference(self, done: ImportedReference) -> None:
        self._finish(
            f"{_counted(done.added, 'finding')} on {_counted(done.cases, 'case')} were added, {done.outlines} with an outline"
            + _further((done.excluded, "do not count"), (done.already, "were there already"),
                       (done.relabelled, "of these have the class now"), (done.outside_image, "lie outside their image"))
        )  # fmt: skip
        self._controller.reload_cases()
        self._controller.display.reload_outlines()

    def _on_predictions(self, done: ImportedPredictions) -> None:
        self._finish(
            f"{_counted(done.candidates, 'candidate')} on {_counted(done.cases, 'image')} are the run {done.model!r}"
            + _further((done.already, "of the images were done already"), (done.without_score, "have no score and get 1"),
                       (done.outside_image, "lie outside their image"))
        )  # fmt: skip
        self._controller.reload_cases()
        self._controller.reload_review(done.run_id)

    # -- how it goes ----------------------------------------------------------------------------------------------

    def _on_error(self, error: Exception) -> None:
        code = getattr(error, "code", "")
        self._settle({"cancelled": STOPPED, "needs-images": NEEDS_IMAGES}.get(code, in_words(error)))
        if not self._is_closed:
            self.images_button.setVisible(code == "needs-images" or self._images is not None)

    def _stop(self) -> None:
        self._cancel()
        self._settle(STOPPED)

    def _finish(self, text: str) -> None:
        self._found = None
        self._settle(f"{text}.")

    def _enable(self) -> None:
        self.images_button.setVisible(self._images is not None)
        self.model.setEnabled(self.as_predictions.isChecked())
        for widget in (
            self.file_button,
            self.folder_button,
            self.formats,
            self.as_reference,
            self.as_predictions,
            self.only_class,
        ):
            widget.setEnabled(not self._importing.is_running)
        self.import_button.setEnabled(self._found is not None and not self.is_busy)
        self.stop_button.setEnabled(self.is_busy)


def _looked(
    project: Project, wanted: Wanted, on_progress: Callable[[int, int], None], stop: Callable[[], None]
) -> Matched:
    return matched(project, wanted, on_progress=on_progress, stop=stop)


def _reference(
    project: Project, found: Matched, on_progress: Callable[[int, int], None], stop: Callable[[], None]
) -> ImportedReference:
    return import_reference(project, found, on_progress=on_progress, stop=stop)


def _predictions(
    project: Project,
    found: Matched,
    model: str,
    on_progress: Callable[[int, int], None],
    stop: Callable[[], None],
) -> ImportedPredictions:
    return import_predictions(project, found, model=model, on_progress=on_progress, stop=stop)


def _plan(found: Matched) -> str:
    """Return in words what would be imported, and what not."""
    images, cases = len(found.contents.names), len(found.cases)
    lines = [
        f"{found.contents.format.title}: {_counted(found.count, 'object')} on {cases} of {_counted(images, 'image')} are about "
        "cases of this project."
    ]
    if called := Counter(
        label for placed in found.objects.values() if placed is not None for label in placed.labels
    ):
        shown = ", ".join(f"{label} ({count:,})" for label, count in called.most_common(SHOWN))
        lines.append(
            f"{'Class' if len(called) == 1 else 'Classes'}: {shown}{', …' if len(called) > SHOWN else ''}."
        )
    if found.unmatched:
        shown = ", ".join(found.unmatched[:SHOWN]) + (", …" if len(found.unmatched) > SHOWN else "")
        lines.append(f"No case is called {shown} ({_counted(len(found.unmatched), 'image')}): left out.")
    return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _further(*counts: tuple[int, str]) -> str:
    told = [f"{count} {what}" for count, what in counts if count]
    return f"; {', '.join(told)}" if told else ""
