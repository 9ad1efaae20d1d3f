"""The hub of one window: it knows the session, the layers, the background and the models, and nobody knows more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from qtpy.QtCore import QEvent, QObject, QTimer, Signal

from napari_medlab.project import Project
from napari_medlab.project.edits import set_region, set_verdict
from napari_medlab.project.records import Verdict
from napari_medlab.widgets.background import Background
from napari_medlab.widgets.display import Display
from napari_medlab.widgets.keys import VERDICT_KEYS, bind_keys, show_key_card
from napari_medlab.widgets.model_host import ModelHost
from napari_medlab.widgets.session import ReviewData, Session, load_review

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox, QWidget

    from napari_medlab.annotations import Region
    from napari_medlab.project import CaseRecord, JournalEntry, RunRecord

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
    editing_changed(bool)
        Outlines can be edited, or no longer.
    """

    editing_changed = Signal(bool)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.session = Session()
        self.background = Background(self.show_error)
        self.cases: list[CaseRecord] = []
        self.runs: list[RunRecord] = []
        self.finding_counts: dict[str, int] = {}
        self.display = Display(viewer, self)
        self.models = ModelHost(self)
        self.session.case_changed.connect(lambda _: self.display.show_case())
        self.display.outlines.edited.connect(self.save_region)
        self._window: QWidget | None = None
        self.comment = ""
        self.errors: list[str] = []
        self.outline_edits = 0
        self._given: dict[str, Verdict] = {}
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
        self.background.run("project", _read_cases, project, on_done=lambda read: self._on_project(read, then))

    def close_project(self) -> None:
        """Let go of the project and wait until its pending edits are written: for when the window goes."""
        if (project := self._release_project()) is not None:
            project.close()

    def shut_down(self) -> None:
        """Stop models, close the project, and be forgotten; calling it again does nothing."""
        self.models.close()
        self.close_project()
        self.background.close()
        _controllers.pop(self.viewer, None)

    def attach(self, window: QWidget) -> None:
        """Bind the keys of a window and shut down when it goes; once, whichever panel comes first."""
        if self._window is not None:
            return
        self._window = window
        actions: dict[str, Callable[[], None]] = {
            key: partial(self.give_verdict, verdict) for key, verdict in VERDICT_KEYS.items()
        }
        actions |= {
            "N": self.session.go_to_next,
            "P": self.session.go_to_previous,
            "E": self.toggle_editing,
            "M": self.display.toggle_marks,
            "W": self.display.next_window,
            "Ctrl+Z": self.undo,
            "Ctrl+Shift+Z": self.redo,
            "?": partial(show_key_card, window),
        }
        bind_keys(window, actions)
        window.installEventFilter(self)
        window.destroyed.connect(self.shut_down)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - a name of Qt
        """Stop models once the window has been closed; a close that the reader took back changes nothing."""
        if event.type() == QEvent.Type.Close and watched is self._window:
            window = self._window
            QTimer.singleShot(0, lambda: None if window.isVisible() else self.models.cancel())
        return super().eventFilter(watched, event)

    def add_images(self, paths: list[Path]) -> None:
        """Add what files and folders hold to the project; what has to be decided is asked."""
        from napari_medlab.widgets.adding import AddImages

        project = self._writable()
        if project is not None:
            AddImages(self, project, self._window).start(paths)

    def reload_cases(self) -> None:
        """Read the lists of cases and runs again."""
        if self.session.project is not None:
            self.background.run("cases", _read_cases, self.session.project, on_done=self._on_cases)

    def reload_review(self, run_id: str, *, then: Callable[[], None] | None = None) -> None:
        """Read and match a run again, in the background; results of an earlier call are dropped."""
        project = self.session.project
        if project is None:
            return

        def work() -> tuple[ReviewData, list[RunRecord]]:
            return load_review(project, run_id), project.runs()

        def done(read: tuple[ReviewData, list[RunRecord]]) -> None:
            review, self.runs = read
            if self.session.review is None or self.session.review.run_id != run_id:
                self._given.clear()
            # verdicts that were given while the project was being read are not in what was read
            self.session.set_review(replace(review, verdicts={**review.verdicts, **self._given}))
            if then is not None:
                then()

        self.background.run("review", work, on_done=done)

    def fill_runs(self, box: QComboBox) -> None:
        """List the runs in a box, newest first, each by its model; what was chosen stays chosen."""
        chosen = box.currentData()
        box.clear()
        for run in reversed(self.runs):
            bundle = self.models.bundle(run.bundle_hash)
            box.addItem(bundle.title if bundle else run.bundle_hash[:8] or "imported", run.run_id)
        box.setCurrentIndex(max(box.findData(chosen), 0))

    def unit_of(self, case_id: str) -> str:
        """Return the unit of a case's world coordinates, as it is written after a number."""
        grid = next((case.grid for case in self.cases if case.case_id == case_id), None)
        return {"mm": "mm", "um": "µm"}.get(str(grid["unit"]) if grid else "mm", "px")

    # -- edits ----------------------------------------------------------------------------------------------------

    def give_verdict(self, verdict: str) -> None:
        """Record a verdict on the error that is on the screen; the next one comes up, the tick when it is on the disk."""
        project, item, review, view = self._writable(), self.session.item, self.session.review, self.display.view
        if project is None or item is None or review is None:
            return
        if view is None or view.case_id != item.case_id or self.session.selected_id != item.object_id:
            return  # the reader cannot have meant what is not shown
        before = review.verdicts.get(item.object_id)
        after = Verdict(verdict, self.comment)  # type: ignore[arg-type]  # the names are those of the keys
        edit = set_verdict(item.case_id, review.run_id, item.object_id, before=before, after=after)
        future = project.submit(edit)
        # shown as given, and as saved only later: an answer that fails is taken back by reading the project again
        self._given[item.object_id] = after
        self.session.set_verdicts({**review.verdicts, item.object_id: after})
        self._when_saved(future, lambda _: self.session.saved.emit(f"{verdict} · saved"))
        self.session.verdict_given.emit(verdict)
        self.session.go_to_next()

    def toggle_editing(self, *, drawing: bool = False) -> None:
        """Let outlines be edited, or a new one be drawn, or stop it."""
        outlines = self.display.outlines
        if not outlines.is_editing and self._writable() is None:
            return
        outlines.edit(not outlines.is_editing or drawing, drawing=drawing)
        self.editing_changed.emit(outlines.is_editing)

    def save_region(self, before: Region | None, after: Region | None) -> None:
        """Record a change of an outline."""
        project = self._writable()
        if project is None:
            self.display.reload_outlines()  # what is drawn is what is stored
            return
        self.outline_edits += 1
        self._when_saved(project.submit(set_region(before, after)), lambda _: self.session.saved.emit("outline · saved"))

    def undo(self) -> None:
        """Take the last edit back, and go to its case."""
        if (project := self._writable()) is not None:
            self._when_saved(project.submit_undo(), lambda entry: self._on_reversed(entry, "undone"))

    def redo(self) -> None:
        """Do again what was undone last, and go to its case."""
        if (project := self._writable()) is not None:
            self._when_saved(project.submit_redo(), lambda entry: self._on_reversed(entry, "done again"))

    # -- messages -------------------------------------------------------------------------------------------------

    def show_error(self, error: Exception) -> None:
        """Show an error as napari shows errors; cancelled work is no error."""
        from napari.utils.notifications import show_error

        # the reader process too answers with this code where it was asked to stop
        if getattr(error, "code", "") != "cancelled":
            text = str(error) or type(error).__name__
            self.errors.append(text)
            show_error(text)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _load_project(
        self, load: Callable[..., Project], folder: Path, then: Callable[[], None] | None
    ) -> None:
        from getpass import getuser

        before = self._release_project()

        def work() -> _Read:
            if before is not None:
                before.close()
            return _read_cases(load(folder, reader=getuser()))

        self.background.run("project", work, on_done=lambda read: self._on_project(read, then))

    def _release_project(self) -> Project | None:
        """Stop what works for the project and show nothing of it any more; it is still to be closed."""
        self.models.abandon()
        self.background.forget()
        self._given.clear()
        project = self.session.project
        if project is not None:
            self.cases, self.finding_counts, self.runs = [], {}, []
            self.session.set_project(None)
        return project

    def _on_project(self, read: _Read, then: Callable[[], None] | None) -> None:
        self.cases, self.finding_counts, self.runs = read.cases, read.finding_counts, read.runs
        self.session.set_project(read.project)
        self.models.reload()
        if read.review_run_id:
            self.reload_review(read.review_run_id, then=then)
        elif then is not None:
            then()

    def _on_cases(self, read: _Read) -> None:
        self.cases, self.finding_counts, self.runs = read.cases, read.finding_counts, read.runs
        self.session.cases_changed.emit()

    def _writable(self) -> Project | None:
        """Return the project where it can be written to; say why not otherwise."""
        from napari.utils.notifications import show_warning

        project = self.session.project
        if project is None:
            show_warning("No project is open, so nothing can be saved. Open or make one in Cases.")
            return None
        if project.is_read_only:
            show_warning(f"The project is read-only: {project.holder or 'its folder cannot be written to'}.")
            return None
        return project

    def _when_saved(self, future: Future[Any], action: Callable[[Any], None]) -> None:
        """Call ``action`` on the GUI thread once a write is on the disk."""
        self.background.deliver(future, partial(self._on_saved, action))

    def _on_saved(self, action: Callable[[Any], None], future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            action(future.result())
            return
        self.show_error(error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._given.clear()
        if self.session.review is not None:
            self.reload_review(self.session.review.run_id)
        self.display.reload_outlines()

    def _on_reversed(self, entry: JournalEntry | None, what: str) -> None:
        if entry is None:
            self.session.saved.emit("nothing to undo" if what == "undone" else "nothing to redo")
            return
        self.session.saved.emit(f"{entry.kind.split('.')[0]} {what} · saved")
        if entry.case_id and entry.case_id != self.session.case_id:
            self.session.show_case(entry.case_id)
        else:
            self.display.reload_outlines()
        self._given.clear()
        if entry.kind == "verdict.set" and self.session.review is not None:
            self.reload_review(self.session.review.run_id)
        if entry.kind == "bundle.current":
            self.models.reload()


@dataclass(frozen=True)
class _Read:
    """What the window keeps of a project, so that the GUI thread never asks the database."""

    project: Project
    cases: list[CaseRecord]
    finding_counts: dict[str, int]
    runs: list[RunRecord]
    review_run_id: str


def _read_cases(project: Project) -> _Read:
    """Read cases, how many findings each of them has that count, runs, and the newest with training cases; in a thread."""
    findings = project.findings()
    counted = findings.case_ids[~findings.is_excluded]
    counts = Counter(counted.tolist())
    cases, runs = project.cases(), project.runs()
    training = {case.case_id for case in cases if case.split == "train"}
    reviewable = [run.run_id for run in runs if training & project.cases_done(run.run_id)]
    return _Read(project, cases, dict(counts), runs, reviewable[-1] if reviewable else "")
