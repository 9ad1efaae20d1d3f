"""Imports predictions of a foreign model in the real window and reviews them, and writes down what was to be seen."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))

from exchange_samples import fill, project_of, write_images
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QFileDialog, QPushButton

from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.project import Project
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.panels.exchange_export import ExportDialog
from napari_medlab.widgets.panels.exchange_import import ImportDialog
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

HANG = 60.0
HEADER = "seriesuid,coordX,coordY,coordZ,probability\n"


def make_photos(root: Path) -> tuple[Path, Path, Path]:
    """Make a project of photos, the COCO file of its images and the results of a model: a hit, a miss and a phantom."""
    images = write_images(root / "photos", photos=2, volumes=0)
    with project_of(root / "photo project", images) as project:
        fill(project)
        export_objects(project, root / "coco", Outgoing("coco"), Selection())
    reference = root / "coco" / "annotations.json"
    first = next(one for one in json.loads(reference.read_text())["images"])["id"]
    results = root / "results.json"
    results.write_text(json.dumps([
        {"image_id": first, "category_id": 2, "bbox": [3, 2, 8, 6], "score": 0.9},
        {"image_id": first, "category_id": 2, "bbox": [45, 30, 8, 8], "score": 0.8},
    ]))  # fmt: skip
    return root / "photo project", reference, results


def make_scans(root: Path) -> tuple[Path, Path]:
    """Make a project of two CT volumes, and a LUNA16 submission: one candidate on a finding, one on nothing."""
    images = write_images(root / "scans", photos=0, volumes=2)
    with project_of(root / "ct project", images) as project:
        fill(project)
        table = project.findings()
        hit = table.centres[table.labels.tolist().index("mass")].tolist()
    rows = [[*hit, 0.9], [hit[0] + 8, hit[1] + 9, hit[2] + 1, 0.7]]
    submission = root / "submission.csv"
    submission.write_text(HEADER + "".join(f"1.2.840.0,{','.join(map(str, row))}\n" for row in rows))
    return root / "ct project", submission


class Visit:
    """One window, two projects; each step returns what was to be seen."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = open_window((1100, 700))
        self.controller = self.workspace.controller
        self.session = self.controller.session
        self.robot = Robot(self.workspace, root / "pictures")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait whatever errors are told meanwhile."""
        end = time.monotonic() + HANG
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}; {self.controller.errors}")
            self.robot.pause(0.02)

    def open(self, folder: Path) -> None:
        self.controller.open_project(folder)
        self.wait(
            lambda: self.session.project is not None and self.session.project.folder == folder, str(folder)
        )
        self.wait(lambda: len(self.controller.cases) == 2, "the cases")

    def press(self, parent: QWidget, text: str) -> None:
        """Click the button with a text."""
        found = next(each for each in parent.findChildren(QPushButton) if each.text() == text)
        self.robot.click(found)

    def dialog(self, kind: type[Any]) -> Any:  # noqa: ANN401 - one of two
        self.wait(
            lambda: any(isinstance(w, kind) and w.isVisible() for w in QApplication.topLevelWidgets()),
            "a dialog",
        )
        return next(w for w in QApplication.topLevelWidgets() if isinstance(w, kind) and w.isVisible())

    def chosen(self, path: Path) -> None:
        """Have the next question for a file answered: the system's own dialog is none of ours to drive."""
        QFileDialog.getOpenFileName = staticmethod(lambda *_, **__: (str(path), ""))  # type: ignore[method-assign]

    def take_in(self, file: Path, images: Path | None, model: str) -> dict[str, Any]:
        """Import predictions by the buttons of the window, and return what it said."""
        self.press(self.workspace.cases, "Import…")
        dialog: ImportDialog = self.dialog(ImportDialog)
        self.robot.click(dialog.as_predictions)
        dialog.as_predictions.setChecked(True)
        self.chosen(file)
        self.robot.click(dialog.file_button)
        seen: dict[str, Any] = {}
        if images is not None:
            self.wait(dialog.images_button.isVisible, "what the results are about to be asked")
            seen["asked"] = dialog.text.text()
            self.chosen(images)
            self.robot.click(dialog.images_button)
        self.wait(dialog.import_button.isEnabled, "the file to be read")
        seen["planned"] = dialog.text.text()
        dialog.model.setText(model)
        if images is None:
            dialog.only_class.setFocus()
            dialog.only_class.setText("mass")
            QTest.keyClick(dialog.only_class, Qt.Key.Key_Return)
            self.wait(lambda: "Class: mass (2)." in dialog.text.text(), "the class in the plan")
            self.wait(dialog.import_button.isEnabled, "the file to be read again")
            seen["planned"] = dialog.text.text()
        self.robot.picture(f"import {model}")
        self.robot.click(dialog.import_button)
        self.wait(lambda: "are the run" in dialog.text.text(), "the import")
        seen["said"] = dialog.text.text()
        self.robot.click(dialog.close_button)
        self.wait(lambda: self.session.review is not None and len(self.session.queue) > 0, "the queue")
        return seen

    def review(self) -> dict[str, Any]:
        """Go to the first false positive and judge it by key."""
        session = self.session
        session.set_operating_point(8.0)
        self.workspace.show_station("Review")
        self.robot.pause(0.3)
        kinds = [item.kind for item in session.queue]
        place = kinds.index("fp")
        session.go_to(place)
        item = session.item
        assert item is not None
        self.wait(lambda: self.controller.display.view is not None
                  and self.controller.display.view.case_id == item.case_id, "the image")  # fmt: skip
        self.wait(lambda: self.controller.display.turns.is_done, "the picture")
        self.robot.key(Qt.Key.Key_1)
        self.wait(lambda: item.object_id in session.verdicts, "the verdict")
        self.robot.picture(f"reviewed {item.case_id[:6]}")
        review = session.review
        assert review is not None
        return {"kinds": sorted(kinds), "object_id": item.object_id, "run_id": review.run_id,
                "title": {run: title for title, run in self.controller.titled_runs()}[review.run_id]}  # fmt: skip

    def send_out(self) -> dict[str, Any]:
        """Export what was reviewed, by the buttons of the window."""
        self.press(self.workspace.cases, "Export…")
        dialog: ExportDialog = self.dialog(ExportDialog)
        self.robot.click(dialog.export_button)
        self.wait(lambda: dialog.text.text().startswith("Written"), f"the export ({dialog.text.text()})")
        said = dialog.text.text()
        self.robot.picture("export")
        dialog.reject()
        return {"exported": said}

    def go(self) -> None:
        self.workspace.close()
        self.workspace.viewer.close()


def visited(root: Path) -> dict[str, Any]:
    photos, reference, results = make_photos(root)
    scans, submission = make_scans(root)
    visit = Visit(root)
    seen: dict[str, Any] = {}
    for name, folder, file, images in (
        ("photos", photos, results, reference),
        ("scans", scans, submission, None),
    ):
        visit.open(folder)
        seen[name] = visit.take_in(file, images, f"foreign {name}") | visit.review()
    seen["scans"] |= visit.send_out()
    visit.controller.close_project()
    for name, folder in (("photos", photos), ("scans", scans)):
        with Project.open(folder, read_only=True) as project:
            verdicts = project.verdicts(seen[name]["run_id"])
            seen[name]["stored"] = {key: replace(one, at="").verdict for key, one in verdicts.items()}
            seen[name]["sound"] = project.verify() == []
            seen[name]["classes"] = sorted({*project.candidates(seen[name]["run_id"]).labels.tolist()})
    seen["errors"] = visit.controller.errors
    visit.go()
    return seen


if __name__ == "__main__":
    with display(headless=True):
        document = visited(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(document))
