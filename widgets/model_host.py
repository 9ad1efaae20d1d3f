"""Models at work for one window: running, exporting, retraining, judging; all of it off the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medlab.annotations import CandidateTable
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import Bundle, read_bundle, shipped_bundles
from napari_medlab.models.inference.worker import MODULE
from napari_medlab.models.workflows.hard_examples import export_hard_examples
from napari_medlab.models.workflows.judge import Judgement, judge, publish
from napari_medlab.models.workflows.predict import RunEvent, register_bundle, run_bundle
from napari_medlab.models.workflows.retrain import retrain
from napari_medlab.widgets.activity import Activity

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_medlab.annotations import Candidate
    from napari_medlab.hardcases.mining import MiningRule
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.project import Project
    from napari_medlab.widgets.controller import Controller

__all__ = ["ModelHost"]

DOING = {
    "run": "Running the model", "export": "Exporting hard examples", "train": "Retraining the model",
    "judge": "Judging the proposed model",
}  # fmt: skip


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
    run_finished(str)
        The id of a run that is complete.
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
    run_finished = Signal(str)
    exported = Signal(object)
    stepped = Signal(object)
    trained = Signal(object)
    judged = Signal(object, object)
    published = Signal(object)

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self._worker: WorkerProcess | None = None
        self._cancel = CancelToken()
        self._live: dict[str, list[Candidate]] = {}
        self.bundles: list[Bundle] = []
        self.current_hash = ""
        self.is_running = False
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

    def run(self, bundle_hash: str, case_ids: list[str]) -> None:
        """Run a bundle over cases; candidates appear batch by batch."""
        project, bundle = self._controller.session.project, self.bundle(bundle_hash)
        if not self._may_start(project) or project is None:
            return
        if bundle is None or not case_ids:
            self._complain("Choose a model and at least one case.")
            return
        self._live.clear()
        self._stream("run", self._running, project, bundle, case_ids, on_item=self._on_run_event, on_done=self._on_run_done)

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
        self._stream("judge", self._judging, project, current, proposed, on_item=self._say,
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

    def _warm_worker(self) -> WorkerProcess:
        if self._worker is None or not self._worker.is_alive:
            if self._worker is not None:
                self._worker.close()
            self._worker = WorkerProcess(MODULE)
        return self._worker

    def _running(self, project: Project, bundle: Bundle, case_ids: list[str]) -> Generator[RunEvent, None, str]:
        run_id = ""
        for event in run_bundle(project, bundle, case_ids, self._warm_worker(), self._cancel):
            run_id = event.run_id
            yield event
        return run_id

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

    def _stream(self, kind: str, function: Any, *arguments: Any, on_item: Any, on_done: Any) -> None:
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
            self.progressed.emit(0, 1, str(error).partition("\n")[0] or type(error).__name__)
            self._controller.show_error(error)

        self._controller.background.stream(kind, function, *arguments, on_item=on_item, on_done=done, on_error=failed)

    def _set_running(self, running: bool) -> None:
        self.is_running = running
        self.running_changed.emit(running)

    def _on_bundles(self, read: tuple[list[Bundle], str]) -> None:
        self.bundles, self.current_hash = read
        self.bundles_changed.emit()

    def _on_run_event(self, event: RunEvent) -> None:
        if event.kind == "batch":
            found = self._live.setdefault(event.case_id, [])
            found += event.candidates
            self._controller.display.show_new(CandidateTable.from_objects(found))
            return
        self._say(event)
        review = self._controller.session.review
        # another run that is under review stays there until this one is complete
        if event.kind == "case done" and (review is None or review.run_id == event.run_id):
            self._controller.reload_review(event.run_id)

    def _say(self, event: RunEvent) -> None:
        """Tell how far a run is."""
        if event.kind == "batch":
            return
        name = next((c.name for c in self._controller.cases if c.case_id == event.case_id), "")
        texts = {
            "started": "starting the model …" if event.done < event.total else "every case was done before",
            "case done": f"{event.done} of {event.total} cases · {name} took {event.seconds:.1f} s",
            "case failed": f"{name} failed: {event.error}",
        }
        self.progressed.emit(event.done, event.total, texts[event.kind])

    def _on_run_done(self, run_id: str) -> None:
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


def _read_bundles(project: Project | None) -> tuple[list[Bundle], str]:
    """Return the bundles that ship and those of the project, and the hash of the current one."""
    shipped = shipped_bundles()
    if project is None:
        return shipped, shipped[0].hash if shipped else ""
    known = {b.hash: b for b in shipped}
    for record in project.bundles():
        folder = project.folder / record.path
        if record.hash not in known and folder.exists():
            known[record.hash] = read_bundle(folder)
    # a project that has published nothing works with what ships; nothing is written for that
    current = project.current_bundle() or (shipped[0].hash if shipped else "")
    return list(known.values()), current


