"""The hub of one window: it knows the session, the layers, the background and the models, and nobody knows more."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QEvent, QObject, QTimer, Signal

from napari_medlab.errors import ProjectError
from napari_medlab.hardcases.errors.table import ErrorTable
from napari_medlab.project import Project, open_case
from napari_medlab.project.edits import canonical
from napari_medlab.widgets.background import Background
from napari_medlab.widgets.display import Display
from napari_medlab.widgets.editing import Editing
from napari_medlab.widgets.keys import VERDICTS, Keys, show_key_card
from napari_medlab.widgets.layout_memory import recall, remember
from napari_medlab.widgets.model_host import ModelHost
from napari_medlab.widgets.model_outline import ModelOutline
from napari_medlab.widgets.preferences import chosen_keys, follow_keys
from napari_medlab.widgets.reading import Contents, model_disagreements, planar_of, read_contents, read_review
from napari_medlab.widgets.refusals import in_words
from napari_medlab.widgets.session import ReviewData, Session
from napari_medlab.widgets.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox, QWidget

    from napari_medlab.images import Image
    from napari_medlab.project import CaseRecord, RunRecord, Verdict
    from napari_medlab.project.records import Split

__all__ = ["Controller", "controller_of"]

_controllers: WeakKeyDictionary[Any, Controller] = WeakKeyDictionary()


def controller_of(viewer: Any) -> Controller:
    """Return the controller of a viewer; the first call makes it. Every panel of a viewer shares it."""
    # plugins get a proxy, which dies at once: the viewer inside it lives as long as the window
    inner = getattr(viewer, "__wrapped__", viewer)
    if inner not in _controllers:
        _controllers[inner] = Controller(inner)
    return _controllers[inner]


class Controller(QObject):
    """Acts on what the reader does.

    Signals
    -------
    gallery_asked()
        The gallery is to come up, or to go.
    remark_asked()
        The reader wants to type a comment.
    station_asked(str)
        The station with this title is to come to the front.
    closing()
        The window is about to go.
    """

    gallery_asked = Signal()
    remark_asked = Signal()
    station_asked = Signal(str)
    closing = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.session = Session()
        self.background = Background(self.show_error)
        self.cases: list[CaseRecord] = []
        self.runs: list[RunRecord] = []
        self.filters: dict[str, dict[str, Any]] = {}
        self.readers: list[str] = []
        self.run_splits: dict[str, frozenset[Split]] = {}
        self.display = Display(viewer, self)
        self.redrawing = Turns(self)
        """Panels that are to be drawn anew, once each, however often it was asked for."""
        self.models = ModelHost(self)
        self.session.case_changed.connect(lambda _: self.display.show_case())
        self.editing = Editing(self)
        self.model_outline = ModelOutline(self)
        outlines = self.display.outlines
        outlines.edited.connect(self.editing.save_region)
        outlines.edited_together.connect(self.editing.save_regions)
        outlines.told.connect(self.session.told.emit)
        outlines.tool_changed.connect(lambda tool: self.editing.outlining_changed.emit(bool(tool)))
        self._window: QWidget | None = None
        self.errors: list[str] = []
        self.keys: Keys | None = None
        self.rows_meant: Callable[[], list[int]] = list
        """Which rows of the queue a verdict is meant for in place of the current one; the gallery says."""
        self.models.reload()

    # -- projects -------------------------------------------------------------------------------------------------

    def open_project(self, folder: Path, *, then: Callable[[], None] | None = None) -> None:
        """Open a project in the background, and the newest run that it holds."""
        self._load_project(Project.open, folder, then)

    def create_project(self, folder: Path) -> None:
        """Make an empty project in a folder and open it."""
        self._load_project(Project.create, folder, None)

    def use_project(self, project: Project, *, then: Callable[[], None] | None = None) -> None:
        """Turn to a project that is open already."""
        self.background.run(
            "project", read_contents, project, on_done=lambda read: self._on_project(read, then)
        )

    def close_project(self) -> None:
        """Let go of the project and wait until its pending edits are written: for when the window goes."""
        if (project := self._release_project()) is not None:
            project.close()

    def shut_down(self) -> None:
        """Stop models, close the project, and be forgotten; calling it again does nothing."""
        self.redrawing.close()
        self.display.close()
        self.models.close()
        self.close_project()
        self.background.close()
        _controllers.pop(self.viewer, None)

    def attach(self, window: QWidget) -> None:
        """Bind the keys of a window and shut down when it goes; once, whichever panel comes first."""
        if self._window is not None:
            return
        self._window = window
        self.keys = Keys(window, self._actions())
        self.keys.assign(chosen_keys())
        self.keys.enable("accept", on=False)
        self.display.case_outlines.tools.preview.changed.connect(self._on_preview)
        unfollow = follow_keys(self.keys.assign)
        window.destroyed.connect(unfollow)
        window.installEventFilter(self)
        window.destroyed.connect(self.shut_down)

    def _actions(self) -> dict[str, Callable[[], Any]]:
        """Return what each key does."""
        editing, session, tools = self.editing, self.session, self.display.case_outlines.tools
        return {
            **{name: partial(self._on_verdict_key, verdict) for name, verdict in VERDICTS.items()},
            "next_error": session.go_to_next,
            "previous_error": session.go_to_previous,
            "comment": self.remark_asked.emit,
            "gallery": self.gallery_asked.emit,
            "edit_outline": editing.toggle_editing,
            "draw_polygon": partial(editing.toggle_editing, drawing=True),
            "draw_freehand": partial(editing.use_tool, partial(self.display.outlines.use, "freehand")),
            "brush": partial(editing.use_tool, partial(tools.brush.use, "paint")),
            "eraser": partial(editing.use_tool, partial(tools.brush.use, "erase")),
            "grow": partial(editing.use_tool, self._grow),
            "snap": partial(editing.use_tool, tools.snap),
            "fill_between": partial(editing.use_tool, tools.fill_between),
            "take_outline": self.model_outline.take,
            "accept": tools.preview.accept,
            "discard": tools.stop,
            "outlines": self.display.case_outlines.toggle,
            "mask": self.display.mask.toggle,
            "add_finding": editing.add_finding_here,
            "undo": editing.undo,
            "redo": editing.redo,
            "marks": self.display.toggle_marks,
            "window": self.display.next_window,
            "keys": self.show_keys,
        }

    def _on_verdict_key(self, verdict: str) -> None:
        """Judge the rows that are chosen in the gallery where it has the keyboard, and what is on the canvas elsewhere."""
        rows = self.rows_meant()
        if rows:
            self.editing.judge_rows(rows, verdict)
        else:
            self.editing.give_verdict(verdict)

    def _grow(self) -> None:
        """Grow a region from under the mouse, about as large as what is being looked at."""
        item = self.session.item
        diameter = item.diameter if item is not None else -1.0
        self.display.case_outlines.tools.grow(self.display.place_under_mouse().tolist(), diameter=diameter)

    def _on_preview(self, title: str) -> None:
        if self.keys is not None:
            self.keys.enable("accept", on=bool(title))

    def show_keys(self) -> None:
        """Show what the keys do."""
        if self._window is not None:
            show_key_card(self._window, chosen_keys())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        """Ask before the window is closed on a model that is at work; stop what is, once it has been closed."""
        window = self._window
        if window is None or watched is not window or event.type() != QEvent.Type.Close:
            return super().eventFilter(watched, event)
        if self.models.is_running and not _may_stop(window, self.models.doing):
            event.ignore()
            return True
        self.closing.emit()
        QTimer.singleShot(0, lambda: None if window.isVisible() else self._on_closed())
        return False

    def _on_closed(self) -> None:
        self.models.cancel()
        self.redrawing.close()
        self.display.close()

    def add_images(
        self, paths: list[Path], *, split: Split = "train", pixel_size_um: float | None = None
    ) -> None:
        """Add what files and folders hold to the project, for training or frozen for the test; what is unclear is asked.

        A pixel size is that of planar images whose header states none.
        """
        from napari_medlab.widgets.adding import AddImages

        project = self.editing.writable()
        if project is not None:
            AddImages(self, project, self._window, split, pixel_size_um).start(paths)

    def open_image(self, case_id: str) -> Image:
        """Open the image of a case, for pictures of it; to be called from threads.

        Raises
        ------
        ProjectError
            ``closed`` where the project went meanwhile; and as :func:`~napari_medlab.project.open_case` does.
        """
        project = self.session.project
        if project is None:
            raise ProjectError("The project is closed.", code="closed")
        return open_case(project, case_id, pyramid=True)

    def pixels_name(self, case_id: str) -> str:
        """Return what tells a case's pixels from all others; to be called from threads."""
        case = next((case for case in self.cases if case.case_id == case_id), None)
        return canonical([case.fingerprint, case.decisions]) if case is not None and case.fingerprint else ""

    def reload_cases(self) -> None:
        """Read the lists of cases and runs again."""
        project, is_outdated = self.session.project, self.editing.outdated()
        if project is None:
            return

        def done(read: Contents) -> None:
            if is_outdated():
                self.reload_cases()
            else:
                self._on_cases(read)

        read = partial(read_contents, project, is_adjudicating=self.session.is_adjudicating)
        self.background.run("cases", read, on_done=done)

    def reload_review(self, run_id: str, *, then: Callable[[], None] | None = None) -> None:
        """Read and match a run again, in the background; results of an earlier call are dropped."""
        project = self.session.project
        if project is None:
            return

        is_outdated = self.editing.outdated()

        def work() -> tuple[ReviewData, list[RunRecord]]:
            review = read_review(project, run_id, is_adjudicating=self.session.is_adjudicating)
            return review, project.runs()

        def done(read: tuple[ReviewData, list[RunRecord]]) -> None:
            if is_outdated():
                self.reload_review(run_id, then=then)
                return
            review, self.runs = read
            if self.session.review is None or self.session.review.run_id != run_id:
                self.editing.given.clear()
            self.session.set_review(replace(review, verdicts=self._with_given(review.verdicts)))
            if then is not None:
                then()

        self.background.run("review", work, on_done=done)

    def _with_given(self, read: dict[str, Verdict]) -> dict[str, Verdict]:
        """Return verdicts with those that were given while the project was being read."""
        merged = {**read, **self.editing.given}
        return {object_id: verdict for object_id, verdict in merged.items() if verdict is not None}

    def set_adjudicating(self, on: bool) -> None:
        """Settle what readers disagree on, or go on with one's own reading."""
        self.session.is_adjudicating = on
        if self.session.review is not None:
            self.editing.given.clear()
            self.reload_review(self.session.review.run_id)
        self.display.reload_outlines()

    def titled_runs(self) -> list[tuple[str, str]]:
        """Return the runs, newest first, each by the name of its model and its id."""
        titled = []
        for run in reversed(self.runs):
            bundle = self.models.bundle(run.bundle_hash)
            made_elsewhere = str(run.configuration.get("model", "imported predictions"))
            titled.append((bundle.title if bundle else run.bundle_hash[:8] or made_elsewhere, run.run_id))
        return titled

    def fill_runs(self, box: QComboBox) -> None:
        """List the runs in a box, newest first, each by its model; what was chosen stays chosen."""
        chosen = box.currentData()
        box.clear()
        for title, run_id in self.titled_runs():
            box.addItem(title, run_id)
        box.setCurrentIndex(max(box.findData(chosen), 0))

    def compare_with(self, run_id: str) -> None:
        """List what another run sees otherwise than the one under review; an empty id asks for readers alone."""
        project, session = self.session.project, self.session
        review = session.review
        if not run_id or project is None or review is None:
            session.set_model_disagreements(ErrorTable.empty())
            return
        arguments = (project, review, run_id, session.fp_per_scan)
        self.background.run(
            "disagree", model_disagreements, *arguments, on_done=session.set_model_disagreements
        )

    def unit_of(self, case_id: str) -> str:
        """Return the unit of a case's world coordinates, as it is written after a number."""
        grid = next((case.grid for case in self.cases if case.case_id == case_id), None)
        return {"mm": "mm", "um": "µm"}.get(str(grid["unit"]) if grid else "mm", "px")

    # -- messages -------------------------------------------------------------------------------------------------

    def show_error(self, error: Exception) -> None:
        """Show an error as napari shows errors; cancelled work is no error."""
        from napari.utils.notifications import show_error

        # the reader process too answers with this code where it was asked to stop
        if getattr(error, "code", "") != "cancelled":
            text = in_words(error)
            self.errors.append(text)
            show_error(text)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _load_project(
        self, load: Callable[..., Project], folder: Path, then: Callable[[], None] | None
    ) -> None:
        from getpass import getuser

        before = self._release_project()

        def work() -> Contents:
            if before is not None:
                before.close()
            return read_contents(load(folder, reader=getuser()))

        self.background.run("project", work, on_done=lambda read: self._on_project(read, then))

    def _release_project(self) -> Project | None:
        """Stop what works for the project and show nothing of it any more; it is still to be closed."""
        self.models.abandon()
        self.background.forget()
        self.editing.given.clear()
        project = self.session.project
        if project is not None:
            self.cases, self.runs, self.filters, self.readers, self.run_splits = [], [], {}, [], {}
            self.session.set_project(None)
        return project

    def _on_project(self, read: Contents, then: Callable[[], None] | None) -> None:
        self._take(read)
        folder = read.project.folder
        self.background.run(
            "remember", lambda: remember(recall().with_project(folder)), on_done=lambda _: None
        )
        self.session.set_project(read.project, read.findings, planar_of(read.cases))
        self.models.reload()
        if read.review_run_id:
            self.reload_review(read.review_run_id, then=then)
        elif then is not None:
            then()

    def _on_cases(self, read: Contents) -> None:
        self._take(read)
        self.session.planar = planar_of(read.cases)
        self.session.set_findings(read.findings)
        self.session.cases_changed.emit()

    def _take(self, read: Contents) -> None:
        self.cases, self.runs = read.cases, read.runs
        self.filters, self.readers, self.run_splits = read.filters, read.readers, read.run_splits


def _may_stop(window: QWidget, doing: str) -> bool:
    """Ask whether what is at work may be stopped for the window to be closed."""
    from qtpy.QtWidgets import QMessageBox

    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("MedLab is at work")
    box.setText(f"{doing} is still going on.")
    box.setInformativeText("What has been found so far is saved. Stop it and close the window?")
    stop = box.addButton("Stop and close", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("Go on", QMessageBox.ButtonRole.RejectRole))
    box.exec()
    return box.clickedButton() is stop
