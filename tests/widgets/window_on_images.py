"""Drives the real window through images of every kind, and writes down what was to be seen; a script of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from image_files import exam_pixels, slide_pixels, write_all
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QDialogButtonBox, QListWidget, QTableView, QWidget

from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.robot import Robot

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier
HANG = 60.0
Kind = TypeVar("Kind", bound=QWidget)


class Visit:
    """One window, many steps; each returns what was to be seen."""

    def __init__(self, root: Path, out: Path) -> None:
        self.root, self.out = root, out
        self.workspace = open_window((1100, 650))  # software draws small windows faster
        self.viewer = self.workspace.viewer
        self.controller = self.workspace.controller
        self.session, self.display = self.controller.session, self.controller.display
        self.robot = Robot(self.workspace, out)
        self.texts: list[str] = []
        self.kept: set[Path] = set()
        self.display.loader.progress.connect(self._note)
        self.told: list[str] = []
        self.session.told.connect(self.told.append)

    # -- hands ----------------------------------------------------------------------------------------------------

    @property
    def header(self) -> str:
        return str(self.workspace.header._text.text())

    @property
    def table(self) -> QTableView:
        return child(self.workspace.cases, QTableView)

    @property
    def names(self) -> list[str]:
        return [case.name for case in self.controller.cases]

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait whatever errors are told meanwhile: these are among what is looked at."""
        end = time.monotonic() + HANG
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{what}; {self.controller.errors}; {self.header}")
            self.robot.pause(0.02)

    def drop(self, *paths: Path) -> None:
        """Drag files and folders over the list of cases and let them go."""
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        target = self.table.viewport()
        place, action = QPoint(20, 20), Qt.DropAction.CopyAction
        entering = QDragEnterEvent(place, action, data, LEFT, NONE)
        QApplication.sendEvent(target, entering)
        if not entering.isAccepted():
            raise AssertionError("the list takes no files")
        QApplication.sendEvent(target, QDropEvent(QPointF(place), action, data, LEFT, NONE))

    def dialog(self) -> QDialog:
        found: list[QDialog] = []

        def is_open() -> bool:
            found[:] = [w for w in QApplication.topLevelWidgets() if isinstance(w, QDialog) and w.isVisible()]
            return bool(found)

        self.wait(is_open, "a question")
        self.robot.pause(0.1)
        return found[0]

    def answer(self, dialog: QDialog, button: QDialogButtonBox.StandardButton) -> None:
        self.robot.click(child(dialog, QDialogButtonBox).button(button))

    def rows(self, dialog: QDialog) -> QListWidget:
        return child(dialog, QListWidget)

    def click_row(self, number: int) -> None:
        rect = self.table.visualRect(self.table.model().index(number, 0))
        QTest.mouseClick(self.table.viewport(), LEFT, NONE, rect.center())

    def show(self, name: str) -> None:
        """Click a case in the list and wait until it is drawn."""
        self.click_row(self.names.index(name))
        self.settle(name)

    def settle(self, name: str) -> None:
        case_id = self.controller.cases[self.names.index(name)].case_id
        self.wait(
            lambda: self.display.view is not None and self.display.view.case_id == case_id,
            f"{name} to be read",
        )
        self.sharp()

    def sharp(self) -> None:
        """Wait until nothing is to be drawn any more."""

        def is_sharp() -> bool:
            pyramids = [p for _, views in self.display._drawn for view in views for p in view.pyramids]
            return self.display.turns.is_done and not any(p.is_waiting or p._has_news for p in pyramids)

        for _ in range(3):
            self.wait(is_sharp, "the image to be sharp")
            self.robot.pause(0.1)

    def wheel(self, point: tuple[float, float], turns: int) -> None:
        """Turn the mouse wheel over a point (y, x) of the slice shown, in four goes; up is nearer."""
        canvas = self.robot._canvas()
        for _ in range(4):
            at = QPointF(self.robot._pixel(canvas, np.asarray(point)))
            event = QWheelEvent(at, QPointF(canvas.mapToGlobal(at.toPoint())), QPoint(), QPoint(0, 30 * turns),
                                Qt.MouseButton.NoButton, NONE, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
            QApplication.sendEvent(canvas, event)
            self.robot.pause(0.03)

    def click_at(self, point: tuple[float, float]) -> None:
        canvas = self.robot._canvas()
        at = self.robot._pixel(canvas, np.asarray(point))
        QTest.mouseMove(canvas, at)
        self.robot.pause(0.05)
        QTest.mouseClick(canvas, LEFT, NONE, at)
        self.robot.pause(0.05)

    def _note(self, text: str) -> None:
        self.texts.append(text)

    # -- steps ----------------------------------------------------------------------------------------------------

    def without_project(self) -> dict[str, Any]:
        from napari.utils.notifications import notification_manager

        self.drop(self.root / "photos")
        self.robot.pause(0.1)
        said = [record.message for record in notification_manager.records]
        self.controller.create_project(self.out / "project")
        self.wait(lambda: self.session.project is not None, "the project")
        return {"without_project": said}

    def add(self) -> dict[str, Any]:
        """Drop all folders at once; untick one series, resample the gap."""
        self.drop(*(self.root / name for name in ("exam", "two series", "gap", "slides", "photos")))
        which = self.dialog()
        rows = self.rows(which)
        series = [rows.item(row).text() for row in range(rows.count())]
        rect = rows.visualItemRect(rows.item(1))
        QTest.mouseClick(rows.viewport(), LEFT, NONE, QPoint(rect.left() + 9, rect.center().y()))
        ticks = [rows.item(row).checkState() == Qt.CheckState.Checked for row in range(rows.count())]
        self.answer(which, QDialogButtonBox.StandardButton.Open)
        how = self.dialog()
        rows = self.rows(how)
        ways = [rows.item(row).text() for row in range(rows.count())]
        rect = rows.visualItemRect(rows.item(rows.count() - 1))
        QTest.mouseClick(rows.viewport(), LEFT, NONE, rect.center())
        QTest.mouseDClick(rows.viewport(), LEFT, NONE, rect.center())  # a double click takes it at once
        self.wait(lambda: len(self.controller.cases) == 11, "the cases")
        self.wait(lambda: bool(self.controller.errors), "what is said of the broken one")
        cases = self.controller.cases
        self.wait(lambda: self.controller.redrawing.is_done, "the list")
        return {
            "series": series, "ticks": ticks, "ways": ways, "cases": self.names, "views": [case.view for case in cases],
            "kinds": [case.kind for case in cases], "exams": len({case.exam_key for case in cases if case.exam_key}),
            "decisions": {case.name: case.decisions for case in cases}, "broken": list(self.controller.errors),
            "listed": [self.table.model().index(row, 0).data() for row in range(self.table.model().rowCount())],
        }  # fmt: skip

    def add_again(self) -> dict[str, Any]:
        """Add what is there already and something new, twice at once; cancel both kinds of question."""
        self.controller.errors.clear()
        extra = self.root / "photos" / "c.png"
        extra.write_bytes((self.root / "photos" / "a.png").read_bytes())
        self.drop(self.root / "photos" / "a.png", extra)
        self.drop(self.root / "photos" / "b.png", extra)
        self.wait(lambda: len(self.controller.errors) == 2, "two refusals")
        twice, names = list(self.controller.errors), self.names
        self.controller.errors.clear()
        self.drop(self.root / "two series")
        self.answer(self.dialog(), QDialogButtonBox.StandardButton.Cancel)
        self.robot.pause(0.2)
        self.drop(self.root / "gap")
        self.answer(self.dialog(), QDialogButtonBox.StandardButton.Cancel)
        self.robot.pause(0.4)
        cancelled = {"errors": list(self.controller.errors), "cases": self.names}
        self.drop(self.root / "empty", self.root / "photos" / "never written.png")
        self.wait(lambda: bool(self.controller.errors), "what is said of the empty folder")
        empty = list(self.controller.errors)
        self.controller.errors.clear()
        return {"twice": twice, "after_twice": names, "cancelled": cancelled, "empty": empty}

    def hang(self) -> dict[str, Any]:
        """Look at an exam: how it hangs, what its pixels are, how the smaller canvases follow."""
        self.show("exam RCC")
        self.wait(lambda: len(self.exam_layers()) == 4, "the exam")
        self.sharp()
        exam, true = exam_pixels(), {}
        layers = self.exam_layers()
        for name, layer in layers.items():
            expected = 4095 - exam[name] if name == "RMLO" else exam[name]
            true[name] = bool(np.array_equal(np.asarray(layer.data[0]), expected))
        hung = {
            name: {"translate": [float(v) for v in layer.translate], "scale": [float(v) for v in layer.scale],
                   "shape": list(layer.data[0].shape), "colormap": str(layer.colormap.name),
                   "units": [str(unit) for unit in layer.units]}
            for name, layer in layers.items()
        }  # fmt: skip
        notes = {
            v.title: list(v.notes) for v in (self.display.view, *self.display.exam.views) if v is not None
        }
        return {"hung": hung, "true": true, "notes": notes, "followed": self.follow()}

    def exam_layers(self) -> dict[str, Any]:
        """Return the layers of the views by their names, that of the case by its own."""
        found = {"image": self.display.view.title.split()[-1] if self.display.view is not None else ""}
        return {found.get(layer.name, layer.name.split()[-1]): layer for layer in self.viewer.layers
                if layer.name == "image" or layer.name.startswith("exam ")}  # fmt: skip

    def follow(self) -> dict[str, Any]:
        """Zoom into the right CC view by the wheel, and say where the companions look and what they show."""
        rcc = self.exam_layers()["RCC"]
        height, width = np.asarray(rcc.data[0].shape) * rcc.scale
        point = (float(height) * 0.4, float(width) * 0.8)
        self.wheel(point, 16)
        self.sharp()
        camera = self.viewer.scene.camera
        planes = self.workspace.planes
        shown, exam = {}, exam_pixels()
        for plane, title in zip(planes.planes, planes._titles, strict=True):
            name, layer = title.text().strip(), plane.viewer.layers["image"]
            source = 4095 - exam[name] if name == "RMLO" else exam[name]
            shown[name] = {"centre": [float(v) for v in plane.viewer.scene.camera.center[-2:]],
                           "size": [float(v) for v in np.asarray(layer.data[0].shape) * layer.scale],
                           "level": int(layer.data_level), "zoom": float(plane.viewer.scene.camera.zoom),
                           "is_true": is_true(layer, source)}  # fmt: skip
        return {"centre": [float(v) for v in camera.center[-2:]], "size": [float(height), float(width)], "shown": shown,
                "level": int(rcc.data_level), "is_true": is_true(rcc, exam["RCC"])}  # fmt: skip

    def choose_view(self) -> dict[str, Any]:
        """Click the left MLO view beside the case: it becomes the case."""
        self.display.layers.fit()
        self.robot.pause(0.2)
        layer = self.exam_layers()["LMLO"]
        middle = layer.translate + np.asarray(layer.data[0].shape) * layer.scale / 2
        self.click_at((float(middle[0]), float(middle[1])))
        self.settle("exam LMLO")
        self.wait(lambda: len(self.exam_layers()) == 4, "the exam around the other view")
        self.sharp()
        hung = {name: [float(v) for v in layer.translate] for name, layer in self.exam_layers().items()}
        chosen = self.table.currentIndex().row()
        return {"chosen": self.names[chosen], "hung_again": hung, "header_of_view": self.header}

    def windows(self) -> dict[str, Any]:
        """Press W on a CT until it comes round."""
        name = next(name for name in self.names if name.startswith("two series"))
        self.show(name)
        image = self.viewer.layers["image"]
        limits = [list(map(float, image.contrast_limits))]
        self.told.clear()
        for _ in range(4):
            self.robot.key(Qt.Key.Key_W)
            self.wait(lambda: self.display.turns.is_done, "the window")
            limits.append(list(map(float, image.contrast_limits)))
        planes = [
            list(map(float, plane.viewer.layers["image"].contrast_limits))
            for plane in self.workspace.planes.planes
        ]
        saved = self.workspace.header._saved.text()
        self.show(next(name for name in self.names if name.startswith("gap")))
        return {
            "limits": limits,
            "told": list(self.told),
            "planes": planes,
            "saved": saved,
            "header_of_gap": self.header,
        }

    def slides(self) -> dict[str, Any]:
        return {"slides": {name: self.slide(name) for name in ("flat", "tiles", "sized")}}

    def slide(self, name: str) -> dict[str, Any]:
        """Look at a slide, of which levels may have to be made, and then at its pixels from near."""
        cache = Path(os.environ["MEDLAB_CACHE_DIR"]) / "pyramids"
        self.texts.clear()
        self.show(name)
        made = self.display.view.overview if self.display.view else None
        self.wait(lambda: made is None or made.is_exact, "the overview")
        self.wait(lambda: not self.texts or not self.texts[-1], "the end of the progress")
        self.sharp()
        layer, source = self.viewer.layers["image"], slide_pixels()
        height, width = (float(v) for v in np.asarray(layer.data[0].shape[:2]) * layer.scale)
        overview = np.asarray(layer.data[-1])
        true = source[: layer.data[0].shape[0], : layer.data[0].shape[1]]
        self.wheel((height / 2, width / 2), 16)
        self.sharp()
        # the list of cases may have had them made before, for its small pictures
        kept = {path for path in cache.rglob("*") if path.is_file()} - self.kept
        self.kept |= kept
        return {
            "texts": [text for text in self.texts if text], "kept": len(kept),
            "header": self.header, "level": int(layer.data_level), "is_true": is_true(layer, true),
            "units": [str(unit) for unit in layer.units], "scale": [float(v) for v in layer.scale],
            "overview_mean": overview.mean(axis=(0, 1)).tolist(), "true_mean": true.mean(axis=(0, 1)).tolist(),
        }  # fmt: skip

    def hurry(self) -> dict[str, Any]:
        """Go through all cases thirty times by keys and mouse, never waiting."""
        order = np.random.default_rng(5).integers(0, len(self.names), 15).tolist()
        self.table.setFocus()
        for number in order:
            self.click_row(number)
            self.robot.pause(0.03)
            key = Qt.Key.Key_Down if number < 5 else Qt.Key.Key_Up
            QTest.keyClick(self.table, key)
            self.robot.pause(0.01)
        row = self.table.currentIndex().row()
        self.settle(self.names[row])
        ends = [self.hurried(row)]
        for name in ("exam RMLO", "tiles", "two series", "a"):  # one upon the other, and the last one counts
            self.click_row(self.names.index(name))
        self.settle("a")
        ends.append(self.hurried(self.names.index("a")))
        return {"hurried": ends, "errors_of_hurry": list(self.controller.errors)}

    def hurried(self, row: int) -> dict[str, Any]:
        view, image = self.display.view, self.viewer.layers["image"]
        first = image.data[0] if image.multiscale else image.data
        return {
            "wanted": self.names[row], "shown": view.title if view is not None else "",
            "case": self.session.case_id == self.controller.cases[row].case_id, "header": self.header,
            "is_drawn": view is not None and first is view.levels[0], "title": str(self.viewer.title),
        }  # fmt: skip

    def lose(self) -> dict[str, Any]:
        """Choose a case whose file is gone, then another."""
        self.controller.errors.clear()
        self.show("b")
        self.robot.pause(0.1)
        there, away = self.root / "photos" / "c.png", self.root / "away.png"
        there.rename(away)
        self.display.loader.clear()
        self.click_row(self.names.index("c"))
        self.wait(lambda: bool(self.controller.errors), "what is said of the lost file")
        self.wait(lambda: self.display.turns.is_done, "an empty canvas")
        seen = {"errors": list(self.controller.errors), "header": self.header,
                "image": list(self.viewer.layers["image"].data.shape),
                "view": self.display.view.case_id if self.display.view is not None else "none"}  # fmt: skip
        self.controller.errors.clear()
        self.show("a")
        found = self.header
        self.click_row(self.names.index("c"))
        self.wait(lambda: bool(self.controller.errors), "what is said of the lost file again")
        away.rename(there)
        self.show("c")  # the row that is current already
        there.unlink()
        return {"lost": seen, "found": found, "found_again": self.header}

    def correct_without_a_run(self) -> dict[str, Any]:
        """Add, resize and remove a finding, each taken back, where no run is under review."""
        editing, seen, project = self.controller.editing, list[str](), self.session.project
        if project is None:
            raise AssertionError("no project is open")

        def look(what: str, *, count: int, diameter: float = 0.0) -> None:
            def is_so() -> bool:
                sizes = self.session.findings.diameters.tolist()
                return editing.pending == 0 and len(sizes) == count and (not count or sizes[0] == diameter)

            self.wait(is_so, what)
            seen.append(what)

        self.show("a")
        editing.add_finding_here()
        (usual,) = self.session.findings.diameters.tolist()
        look("added", count=1, diameter=usual)
        editing.set_diameter(usual + 4)
        look("resized", count=1, diameter=usual + 4)
        self.robot.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        look("resized back", count=1, diameter=usual)
        editing.remove_finding()
        look("removed", count=0)
        for what, count in (("there again", 1), ("not added", 0)):
            self.robot.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
            look(what, count=count, diameter=usual)
        return {"corrected": seen, "stored": len(project.findings(reader=project.reader))}

    def napari_opens(self) -> dict[str, Any]:
        """Open files as napari does, from a script and from within the loop, and the three samples by their menu."""
        self.controller.close_project()
        self.wait(lambda: self.display.turns.is_done, "an empty canvas")
        self.viewer.layers.clear()
        paths = [str(self.root / "photos" / "a.png"), str(self.root / "photos" / "b.png")]
        added = self.viewer.open(paths, plugin="napari-medlab")
        seen: dict[str, Any] = {"script": [[layer.name, list(layer.data.shape)] for layer in added]}
        self.viewer.layers.clear()
        self.display.warm_up()
        self.wait(lambda: self.display.turns.is_done, "an empty canvas")
        at_once: list[int] = []

        def within() -> None:
            self.viewer.open(str(self.root / "exam"), plugin="napari-medlab")
            at_once.append(len(self.viewer.layers))  # what was there for no case has made room

        QTimer.singleShot(0, within)
        self.wait(lambda: len(self.viewer.layers) == 4, "the exam in the background")
        seen["loop"] = {
            "at_once": at_once,
            "layers": sorted(layer.name.split()[0] for layer in self.viewer.layers),
        }
        seen["samples"] = [self.sample(key) for key in ("chest", "mammogram", "slide")]
        return {"napari": seen}

    def sample(self, key: str) -> dict[str, Any]:
        """Open a sample from within the loop, as the menu does."""
        from napari_medlab.widgets.layers.samples import ONE_MOMENT

        self.viewer.layers.clear()
        QTimer.singleShot(0, lambda: self.viewer.open_sample("napari-medlab", key))
        self.wait(
            lambda: len(self.viewer.layers) > 1 and ONE_MOMENT not in self.viewer.layers, f"the sample {key}"
        )
        self.robot.pause(0.2)
        kinds = [type(layer).__name__ for layer in self.viewer.layers]
        marks = sum(len(layer.data) for layer in self.viewer.layers if type(layer).__name__ == "Points")
        return {
            "kinds": kinds,
            "marks": marks,
            "units": sorted({str(u) for layer in self.viewer.layers for u in layer.units}),
        }

    def go(self) -> None:
        """Close the window while images are being added."""
        self.texts.clear()
        self.controller.open_project(self.out / "project")
        self.wait(lambda: len(self.controller.cases) > 5, "the project again")
        self.drop(self.root / "more")
        self.wait(lambda: self.texts and "adding" in self.texts[-1], "the adding")
        self.workspace.close()
        self.viewer.close()


def child(parent: QWidget, kind: type[Kind]) -> Kind:
    """Return the one widget of a kind within another."""
    found = parent.findChild(kind)
    if found is None:
        raise LookupError(f"{parent} holds no {kind}")
    return found


def is_true(layer: Any, source: NDArray[Any]) -> bool:  # noqa: ANN401 - a layer of napari
    """Tell whether a layer shows level 0, and exactly the pixels of the source."""
    raw = np.asarray(layer._slice.image.raw)
    corner = np.asarray(layer.corner_pixels)[0]
    at = tuple(
        slice(int(start), int(start) + size) for start, size in zip(corner, raw.shape[:2], strict=False)
    )
    return bool(layer.data_level == 0 and raw.size and np.array_equal(raw, source[at]))


def visited(root: Path, out: Path) -> dict[str, Any]:
    from napari.utils.notifications import notification_manager

    visit = Visit(root, out)
    seen: dict[str, Any] = {}
    steps = (visit.without_project, visit.add, visit.add_again, visit.hang, visit.choose_view, visit.windows, visit.slides,
             visit.hurry, visit.lose, visit.correct_without_a_run)  # fmt: skip
    for step in steps:
        began = time.monotonic()
        seen |= step()
        sys.stderr.write(f"{step.__name__}: {time.monotonic() - began:.1f} s\n")
    seen["messages"] = [[record.severity.value, record.message] for record in notification_manager.records]
    seen |= visit.napari_opens()
    seen["messages_of_napari"] = [
        record.message for record in notification_manager.records[len(seen["messages"]) :]
    ]
    visit.go()
    return seen


if __name__ == "__main__":
    files, results = Path(sys.argv[1]), Path(sys.argv[2])
    write_all(files)
    with display(headless=False):
        document = visited(files, results)
    (results / "seen.json").write_text(json.dumps(document), encoding="utf-8")
