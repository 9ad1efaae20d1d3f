"""Models at work for one window: running, exporting, retraining, judging; all of it off the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medlab.annotations import CandidateTable
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import Bundle, import_model, read_bundle, shipped_bundles
from napari_medlab.models.inference.worker import start_worker
from napari_medlab.models.workflows.hard_examples import export_hard_examples
from napari_medlab.models.workflows.judge import Judgement, judge, publish
from napari_medlab.models.workflows.predict import PredictOptions, RunEvent, register_bundle, run_bundle
from napari_medlab.models.workflows.retrain import retrain
from napari_medlab.widgets.activity import Activity
from napari_medlab.widgets.model_words import backend_words, usual_bundle
from napari_medlab.widgets.run_progress import RunProgress, time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from napari_medlab.annotations import Candidate
    from napari_medlab.hardcases.mining import MiningRule
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import ImportOptions
    from napari_medlab.models.training.recipe import Recipe
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


@dataclass(frozen=True)
class _Found:
    """What bundles there are.

    Parameters
    ----------
    bundles : list of Bundle
    current : str
        The hash of the current one; empty for none.
    damaged : list of MedlabError
        Why others cannot be used.
    """

    bundles: list[Bundle]
    current: str
    damaged: list[MedlabError] = field(default_factory=list)


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
        The bundle that is the current one from now on.
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
        self._controller.background.run("bundles", _read_bundles, self._controller.session.project,
                                        on_done=self._on_bundles)  # fmt: skip

    def bundle(self, wanted: str) -> Bundle | None:
        """Return a known bundle by hash."""
        return next((b for b in self.bundles if b.hash == wanted), None)

    # -- what can be done -----------------------------------------------------------------------------------------

    def run(self, bundle_hash: str, case_ids: list[str], options: PredictOptions | None = None) -> None:
        """Run a bundle over cases; candidates and masks appear as they are found, what is on the screen first.

        Parameters
        ----------
        bundle_hash : str
        case_ids : list of str
        options : PredictOptions, optional
            Its focus is what is on the screen, whatever it says.
        """
        project, bundle = self._controller.session.project, self.bundle(bundle_hash)
        if not self._may_start(project) or project is None:
            return
        if bundle is None or not case_ids:
            self._complain("Choose a model and at least one case.")
            return
        self._begin_run(bundle.hash)
        shown, focus = self._controller.session.case_id, self._controller.display.focus
        first = [shown] if shown in case_ids else []
        ordered = [*first, *(case_id for case_id in case_ids if case_id != shown)]
        asked = replace(options or PredictOptions(), focus={shown: focus} if first and focus is not None else {})
        self._stream("run", self._running, project, bundle, ordered, asked, on_item=self._on_run_event,
                     on_done=self._on_run_done)  # fmt: skip
        self.progressed.emit(0, 0, "Starting the model, and trying what is fastest here …")

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
        if not self._may_start(project) or project is None:
            return

        def failed(error: Exception) -> None:
            if isinstance(error, InputRefusedError):
                on_refused(error)
            else:
                self._controller.show_error(error)

        self._stream("import", self._importing, project, path, options, on_done=self._on_imported, on_error=failed,
                     on_item=lambda text: self.progressed.emit(0, 0, text))  # fmt: skip

    def export(self, folder: Path, fp_per_scan: float, rule: MiningRule) -> None:
        """Write the hard examples of the run under review into a new package."""
        project, review = self._controller.session.project, self._controller.session.review
        if not self._may_start(project) or project is None:
            return
        if review is None:
            self._complain("There is no run to take examples from: run a model on training cases first.")
            return
        bundle = self.bundle(review.bundle_hash)
        if bundle is None:
            self._complain("The model of this run is not here any more, so its spacing is unknown.")
            return
        self._stream(
            "export", export_hard_examples, project, bundle, review.run_id, folder, (fp_per_scan, rule),
            on_item=lambda step: self.progressed.emit(step[0], step[1], f"crop {step[0]} of {step[1]}"),
            on_done=lambda _: self.exported.emit(folder),
        )  # fmt: skip

    def train(self, packages: list[Path], parent_hash: str, recipe: Recipe) -> None:
        """Retrain a bundle on packages; the new one is a proposal."""
        project, parent = self._controller.session.project, self.bundle(parent_hash)
        if not self._may_start(project) or project is None:
            return
        if parent is None or not packages:
            self._complain("Choose a model and at least one package of hard examples.")
            return
        self._stream("train", self._training, project, packages, parent, recipe, on_item=self._on_training_event,
                     on_done=self._on_trained)  # fmt: skip

    def judge(self, proposed: Bundle) -> None:
        """Run the current and the proposed bundle on the frozen test set, and compare."""
        project, current = self._controller.session.project, self.bundle(self.current_hash)
        if not self._may_start(project) or project is None:
            return
        if current is None or proposed.hash == current.hash:
            self._complain("Choose a proposed model that is not the current one.")
            return
        self._begin_run("")
        self._stream("judge", self._judging, project, current, proposed, on_item=self._on_judging_event,
                     on_done=lambda judgement: self._on_judged(judgement, proposed))  # fmt: skip

    def publish(self, bundle: Bundle, judgement: Judgement) -> None:
        """Make a bundle the current one, if the judgement allows it."""
        project = self._controller.session.project
        if project is not None:
            self._controller.background.run("publish", publish, project, bundle.hash, judgement,
                                            on_done=lambda _: self._on_published(bundle))  # fmt: skip

    def cancel(self) -> None:
        """Stop what is at work; what is finished stays."""
        self._cancel.cancel()

    def abandon(self) -> None:
        """Stop, and expect no answer: the project that the work was for is going."""
        self.cancel()
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

    # -- inside, off the GUI thread -------------------------------------------------------------------------------

    def _warm_worker(self) -> Worker:
        with self._worker_lock:
            if self._worker is None or not self._worker.is_alive:
                if self._worker is not None:
                    self._worker.close()
                self._worker = start_worker()
            return self._worker

    def _ask_for_devices(self) -> list[str]:
        found: list[str] = []
        for event in self._warm_worker().events({"op": "devices"}, CancelToken()):
            found += event.get("devices", [])
        return found

    def _running(
        self, project: Project, bundle: Bundle, case_ids: list[str], options: PredictOptions
    ) -> Generator[RunEvent | _Chosen, None, str]:
        run_id = ""
        for event in run_bundle(project, bundle, case_ids, self._warm_worker(), self._cancel, options=options):
            run_id = event.run_id
            if event.kind == "started" and event.done < event.total:
                yield _Chosen(backend_words(project.run(run_id).configuration.get("backend", {})))
            yield event
        return run_id

    def _importing(self, project: Project, path: Path, options: ImportOptions) -> Generator[str, None, Bundle]:
        yield f"Looking at {path.name} …"
        told = partial(self._controller.background.tell, self.progressed.emit, 0, 0)
        bundle = import_model(path, project.folder / "bundles", options, cancel=self._cancel, on_progress=told)
        register_bundle(project, bundle, "imported")
        return bundle

    def _training(
        self, project: Project, packages: list[Path], parent: Bundle, recipe: Recipe
    ) -> Generator[dict[str, Any], None, Bundle | None]:
        bundle = None
        for event in retrain(packages, parent, project.folder / "bundles", recipe, self._cancel):
            if event["event"] == "bundle":
                bundle = event["bundle"]
                register_bundle(project, bundle, "trained")
            else:
                yield event
        return bundle

    def _judging(
        self, project: Project, current: Bundle, proposed: Bundle
    ) -> Generator[RunEvent, None, Judgement]:
        cases = [case.case_id for case in project.cases() if case.frozen]
        runs = []
        for bundle in (current, proposed):
            for event in run_bundle(project, bundle, cases, self._warm_worker(), self._cancel):
                yield event
            runs.append(event.run_id)
        return judge(project, *runs)

    # -- inside, on the GUI thread --------------------------------------------------------------------------------

    def _may_start(self, project: Project | None) -> bool:
        if project is None or project.is_read_only:
            self._complain("Open a project that can be written to first.")
        elif self.is_running:
            self._complain("Something is at work already: wait for it, or cancel it.")
        else:
            return True
        return False

    def _complain(self, text: str) -> None:
        from napari.utils.notifications import show_warning

        show_warning(text)

    def _begin_run(self, bundle_hash: str) -> None:
        self._live.clear()
        self.progress, self.running_hash = RunProgress(), bundle_hash
        self._controller.display.mask.begin_run()
        self.backend_chosen.emit("")
        self.run_advanced.emit()

    def _stream(
        self, kind: str, function: Any, *arguments: Any, on_item: Any, on_done: Any, on_error: Any = None
    ) -> None:
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

        self._controller.background.stream(kind, function, *arguments, on_item=on_item, on_done=done, on_error=failed)

    def _last_words(self, kind: str, error: Exception) -> str:
        is_cancelled = getattr(error, "code", "") == "cancelled"
        if kind == "run" and self.progress.total:
            return self.progress.summary() + ("" if is_cancelled else f" {_first_line(error)}")
        return "Stopped." if is_cancelled else _first_line(error)

    def _set_running(self, running: bool) -> None:
        self.is_running = running
        self.running_changed.emit(running)

    def _on_bundles(self, found: _Found) -> None:
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
            self._say(event)
        if event.kind == "case done":
            self._on_case_done(event)

    def _on_case_done(self, event: RunEvent) -> None:
        if event.case_id == self._controller.session.case_id:
            self._controller.display.reload_outlines()
        review = self._controller.session.review
        # another run that is under review stays there until this one is complete
        if review is None or review.run_id == event.run_id:
            self._controller.reload_review(event.run_id)

    def _on_judging_event(self, event: RunEvent) -> None:
        self.progress.take(event)
        if event.kind not in ("batch", "mask"):
            self._say(event)

    def _say(self, event: RunEvent) -> None:
        """Tell how far a run is."""
        name = next((c.name for c in self._controller.cases if c.case_id == event.case_id), "")
        left = time_left(self.progress.seconds_left)
        texts = {
            "started": "starting …" if event.done < event.total else "every case was done before",
            "progress": " · ".join([name, *([left] if left else [])]),
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

    def _on_judged(self, judgement: Judgement, proposed: Bundle) -> None:
        self._controller.reload_cases()
        self.judged.emit(judgement, proposed)

    def _on_published(self, bundle: Bundle) -> None:
        self.current_hash = bundle.hash
        self.reload()
        self.published.emit(bundle)

    def _on_training_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            self.stepped.emit(event)
            number, steps, loss = event["number"], event["steps"], event["losses"]["total"]
            text = f"step {number} of {steps} · loss {loss:.3f} · {event['seconds']:.0f} s"
            self.progressed.emit(number, steps, text)

    def _on_trained(self, bundle: Bundle) -> None:
        self.reload()
        self.trained.emit(bundle)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _read_bundles(project: Project | None) -> _Found:
    """Return the bundles that ship and those of the project, and which is the current one."""
    shipped = shipped_bundles()
    if project is None:
        return _Found(shipped, usual_bundle(shipped, ()))
    known, damaged = {b.hash: b for b in shipped}, []
    for record in project.bundles():
        folder = project.folder / record.path
        if record.hash in known or not folder.exists():
            continue
        try:
            known[record.hash] = read_bundle(folder)
        except MedlabError as error:  # the others are there all the same
            damaged.append(error)
    # a project that has published nothing works with what ships; nothing is written for that
    current = project.current_bundle() or usual_bundle(shipped, [case.kind for case in project.cases()])
    return _Found(list(known.values()), current, damaged)
