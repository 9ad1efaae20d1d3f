"""Models at work for one window, one thing at a time and off the GUI thread; running and importing are told here."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medlab.annotations import CandidateTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.models.bundles import import_model
from napari_medlab.models.inference.worker import start_worker
from napari_medlab.models.inference.workers import OnCluster
from napari_medlab.models.workflows.predict import PredictOptions, RunEvent, register_bundle, run_bundle
from napari_medlab.widgets.activity import Activity
from napari_medlab.widgets.model_listing import FoundBundles, read_bundles
from napari_medlab.widgets.model_training import ModelTraining
from napari_medlab.widgets.model_words import backend_words
from napari_medlab.widgets.run_memory import RunChoice
from napari_medlab.widgets.run_progress import RunProgress, time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_medlab.annotations import Candidate
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle, ImportOptions
    from napari_medlab.models.inference.workers import Workers
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["ModelHost"]

DOING = {
    "run": "Running the model", "export": "Exporting hard examples", "train": "Retraining the model",
    "judge": "Judging the proposed model", "import": "Importing a model",
}  # fmt: skip


@dataclass(frozen=True)
class _Chosen:
    """What the worker chose to compute a run with, in words."""

    text: str


class ModelHost(QObject):
    """Runs what takes long, one thing at a time, and says how it goes.

    Signals
    -------
    bundles_changed()
        What models there are, or which is current.
    running_changed(bool)
        Whether something is at work.
    progressed(int, int, str)
        Done, in all, and a sentence.
    run_advanced()
        :attr:`progress` has changed.
    run_finished(str)
        The id of a run that is complete.
    backend_chosen(str)
        What a run is computed with, in words.
    devices_found(list)
        The names of the devices that there are.
    imported(object)
        A bundle that was made elsewhere and is one of the project's now.
    exported(object)
        The folder of a new package.
    stepped(object)
        One step of a training, as the worker reports it.
    trained(object)
        The new bundle.
    judged(object, object)
        The judgement and the bundle that it is about.
    published(object)
        The bundle that is the current one from now on, published or rolled back to.
    """

    bundles_changed = Signal()
    running_changed = Signal(bool)
    progressed = Signal(int, int, str)
    run_advanced = Signal()
    run_finished = Signal(str)
    backend_chosen = Signal(str)
    devices_found = Signal(list)
    imported = Signal(object)
    exported = Signal(object)
    stepped = Signal(object)
    trained = Signal(object)
    judged = Signal(object, object)
    published = Signal(object)

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self._worker: Worker | None = None
        self._worker_lock = Lock()
        self._devices: list[str] = []
        self.training = ModelTraining(controller, self)
        """Retraining, judging, publishing and rolling back."""
        self._cancel = CancelToken()
        self._live: dict[str, list[Candidate]] = {}
        self.bundles: list[Bundle] = []
        self.current_hash = ""
        self.is_running = False
        self.progress = RunProgress()
        """How far the run at work is, or how far the one before came."""
        self.running_hash = ""
        """The bundle of that run."""
        self._told_damaged: set[str] = set()
        self._activity: Activity | None = None
        self.doing = ""
        """What is at work, as the beginning of a sentence."""

    # -- what there is --------------------------------------------------------------------------------------------

    def reload(self) -> None:
        """Read again which bundles there are and which is current."""
        self._controller.background.run("bundles", read_bundles, self._controller.session.project,
                                        on_done=self._on_bundles)  # fmt: skip

    def bundle(self, wanted: str) -> Bundle | None:
        """Return a known bundle by hash."""
        return next((b for b in self.bundles if b.hash == wanted), None)

    # -- what can be done -----------------------------------------------------------------------------------------

    def run(
        self,
        bundle_hash: str,
        case_ids: list[str],
        options: PredictOptions | None = None,
        *,
        where: RunChoice | None = None,
    ) -> None:
        """Run a bundle over cases; candidates and masks appear as they are found, what is on the screen first.

        Parameters
        ----------
        bundle_hash : str
        case_ids : list of str
        options : PredictOptions, optional
            Its focus is what is on the screen, whatever it says.
        where : RunChoice, optional
            The cluster that the cases are spread over, if there is one.
        """
        project, bundle = self._controller.session.project, self.bundle(bundle_hash)
        if not self.may_start(project) or project is None:
            return
        if bundle is None or not case_ids:
            self.complain("Choose a model and at least one case.")
            return
        self.begin_run(bundle.hash)
        shown, focus = self._controller.session.case_id, self._controller.display.focus
        first = [shown] if shown in case_ids else []
        ordered = [*first, *(case_id for case_id in case_ids if case_id != shown)]
        asked = replace(
            options or PredictOptions(), focus={shown: focus} if first and focus is not None else {}
        )
        self.start("run", self._running, project, bundle, ordered, asked, where or RunChoice(),
                   on_item=self._on_run_event, on_done=self._on_run_done)  # fmt: skip
        self.progressed.emit(0, 0, "Starting the model, and trying what is fastest here …")

    @property
    def token(self) -> CancelToken:
        """What stops the work that was begun last."""
        return self._cancel

    def is_at(self, case_id: str) -> bool:
        """Tell whether a run is at work on a case just now."""
        return self.is_running and self.progress.case_id == case_id

    def find_devices(self) -> None:
        """Ask the worker which devices there are; :attr:`devices_found` tells."""
        if self._devices:
            self.devices_found.emit(self._devices)
            return
        self._controller.background.run("devices", self._ask_for_devices, on_done=self._on_devices)

    def import_model(
        self, path: Path, options: ImportOptions, on_refused: Callable[[InputRefusedError], None]
    ) -> None:
        """Turn a model that was made elsewhere into a bundle of the project.

        Parameters
        ----------
        path : Path
            A file or folder.
        options : ImportOptions
            What a person said about it.
        on_refused : callable
            Gets the refusal where the files do not say all that is needed, or cannot be used.
        """
        project = self._controller.session.project
        if not self.may_start(project) or project is None:
            return

        def failed(error: Exception) -> None:
            if isinstance(error, InputRefusedError):
                on_refused(error)
            else:
                self._controller.show_error(error)

        self.start("import", self._importing, project, path, options, on_done=self._on_imported, on_error=failed,
                     on_item=lambda text: self.progressed.emit(0, 0, text))  # fmt: skip

    def cancel(self) -> None:
        """Stop what is at work; what is finished stays."""
        self._cancel.cancel()

    def abandon(self) -> None:
        """Stop, and expect no answer: the project that the work was for is going."""
        self.cancel()
        self.training.forget()
        self._live.clear()
        if self.is_running:
            if self._activity is not None:
                self._activity.finish()
            self._set_running(False)

    def close(self) -> None:
        """Stop everything and end the worker process."""
        self.abandon()
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    # -- for what is at work --------------------------------------------------------------------------------------

    def warm_worker(self) -> Worker:
        """Return the worker that runs models, started where it is not alive; for threads other than the window's."""
        with self._worker_lock:
            if self._worker is None or not self._worker.is_alive:
                if self._worker is not None:
                    self._worker.close()
                self._worker = start_worker()
            return self._worker

    def _ask_for_devices(self) -> list[str]:
        found: list[str] = []
        for event in self.warm_worker().events({"op": "devices"}, CancelToken()):
            found += event.get("devices", [])
        return found

    def _running(
        self, project: Project, bundle: Bundle, case_ids: list[str], options: PredictOptions, where: RunChoice
    ) -> Generator[RunEvent | _Chosen, None, str]:
        run_id = ""
        with self._workers(where) as workers:
            for event in run_bundle(project, bundle, case_ids, workers, self._cancel, options=options):
                run_id = event.run_id
                if event.kind == "started" and event.done < event.total:
                    yield _Chosen(backend_words(project.run(run_id).configuration.get("backend", {})))
                yield event
        return run_id

    @contextmanager
    def _workers(self, where: RunChoice) -> Iterator[Worker | Workers]:
        """Give the workers of the cluster that was chosen, or the worker of this machine."""
        if not where.cluster:
            yield self.warm_worker()
            return
        certificates = Path(where.certificates).expanduser() if where.certificates else None
        with connect(where.cluster, certificates=certificates) as cluster:
            yield OnCluster(cluster)

    def _importing(
        self, project: Project, path: Path, options: ImportOptions
    ) -> Generator[str, None, Bundle]:
        yield f"Looking at {path.name} …"
        told = partial(self._controller.background.tell, self.progressed.emit, 0, 0)
        bundle = import_model(
            path, project.folder / "bundles", options, cancel=self._cancel, on_progress=told
        )
        register_bundle(project, bundle, "imported")
        return bundle

    # -- inside, on the GUI thread --------------------------------------------------------------------------------

    def may_start(self, project: Project | None) -> bool:
        """Tell whether something may begin; a person is told why not."""
        if project is None or project.is_read_only:
            self.complain("Open a project that can be written to first.")
        elif self.is_running:
            self.complain("Something is at work already: wait for it, or cancel it.")
        else:
            return True
        return False

    def complain(self, text: str) -> None:
        """Tell a person that something cannot be done as asked."""
        from napari.utils.notifications import show_warning

        show_warning(text)

    def begin_run(self, bundle_hash: str) -> None:
        """Forget how far the run before came; the hash is that of the bundle that will run, empty for several."""
        self._live.clear()
        self.progress, self.running_hash = RunProgress(), bundle_hash
        self._controller.display.mask.begin_run()
        self.backend_chosen.emit("")
        self.run_advanced.emit()

    def start(
        self, kind: str, function: Any, *arguments: Any, on_item: Any, on_done: Any, on_error: Any = None
    ) -> None:
        """Begin work in the background, with a line in the activity dock; see :meth:`Background.stream`.

        Parameters
        ----------
        kind : str
            One of :data:`DOING`.
        function : callable
            A generator function; what it yields goes to ``on_item``, what it returns to ``on_done``.
        *arguments : its arguments
        on_item, on_done, on_error : callable
            Called on the GUI thread; an error is shown where ``on_error`` is left out.
        """
        self._cancel = CancelToken()
        self.doing = DOING[kind]
        self._set_running(True)
        activity = self._activity = Activity(self.doing, self.cancel, parent=self)
        self.progressed.connect(activity.update)

        def done(result: Any) -> None:
            activity.finish()
            self._set_running(False)
            on_done(result)

        def failed(error: Exception) -> None:
            activity.finish()
            self._set_running(False)
            is_run = kind == "run"
            if is_run:
                self.progress.stop()
                self.run_advanced.emit()
                self._controller.display.mask.renamed()
            done, total = (self.progress.done, self.progress.total) if is_run else (0, 0)
            self.progressed.emit(done, max(total, 1), self._last_words(kind, error))
            (on_error or self._controller.show_error)(error)

        self._controller.background.stream(
            kind, function, *arguments, on_item=on_item, on_done=done, on_error=failed
        )

    def _last_words(self, kind: str, error: Exception) -> str:
        is_cancelled = getattr(error, "code", "") == "cancelled"
        if kind == "run" and self.progress.total:
            return self.progress.summary() + ("" if is_cancelled else f" {_first_line(error)}")
        return "Stopped." if is_cancelled else _first_line(error)

    def _set_running(self, running: bool) -> None:
        self.is_running = running
        self.running_changed.emit(running)

    def _on_bundles(self, found: FoundBundles) -> None:
        self.bundles, self.current_hash = found.bundles, found.current
        for error in found.damaged:
            if error.message not in self._told_damaged:
                self._told_damaged.add(error.message)
                self._controller.show_error(error)
        self.bundles_changed.emit()

    def _on_devices(self, found: list[str]) -> None:
        self._devices = found
        self.devices_found.emit(found)

    def _on_imported(self, bundle: Bundle) -> None:
        self.progressed.emit(1, 1, f"{bundle.title} is one of the project's models now.")
        self.reload()
        self.imported.emit(bundle)

    def _on_run_event(self, event: RunEvent | _Chosen) -> None:
        if isinstance(event, _Chosen):
            self.backend_chosen.emit(event.text)
            return
        display = self._controller.display
        self.progress.take(event)
        display.mask.take(event)
        if event.kind == "batch":
            found = self._live.setdefault(event.case_id, [])
            found += event.candidates
            display.show_new(CandidateTable.from_objects(found))
        elif event.kind != "mask":
            self.say(event)
        if event.kind == "case done":
            self._on_case_done(event)

    def _on_case_done(self, event: RunEvent) -> None:
        if event.case_id == self._controller.session.case_id:
            self._controller.display.reload_outlines()
        review = self._controller.session.review
        # another run that is under review stays there until this one is complete
        if review is None or review.run_id == event.run_id:
            self._controller.reload_review(event.run_id)

    def say(self, event: RunEvent) -> None:
        """Tell how far a run is."""
        name = next((c.name for c in self._controller.cases if c.case_id == event.case_id), "")
        left = time_left(self.progress.seconds_left)
        spread = self.progress.spread()
        texts = {
            "workers": spread,
            "started": "starting …" if event.done < event.total else "every case was done before",
            "progress": " · ".join([spread or name, *([left] if left else [])]),
            "case done": f"{name} took {event.seconds:.1f} s" + (f" · {left}" if left else ""),
            "case failed": f"{name} failed: {event.error}",
        }
        self.progressed.emit(event.done, event.total, texts[event.kind])
        self.run_advanced.emit()

    def _on_run_done(self, run_id: str) -> None:
        progress = self.progress
        self.run_advanced.emit()
        if progress.troubles or progress.done:
            self.progressed.emit(progress.done, progress.total, progress.summary())
        self._controller.display.mask.renamed()
        self._controller.reload_review(run_id, then=lambda: self.run_finished.emit(run_id))
        self.reload()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
