"""Retraining, judging, publishing and rolling back for one window: work that the model host runs in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.bundles import read_bundle
from napari_medlab.models.training.packages import MANIFEST, Package, read_manifest
from napari_medlab.models.workflows.paused_trainings import PausedTraining, paused_trainings
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.models.workflows.publishing import (
    judge_bundles,
    newest_proposal,
    publish,
    published_before,
    roll_back,
)
from napari_medlab.models.workflows.retrain import retrain
from napari_medlab.widgets.refusals import in_words

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.examples import FineTuningOptions
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.workflows.judge import Judgement, JudgeRule
    from napari_medlab.models.workflows.predict import RunEvent
    from napari_medlab.project import JudgementRecord, Project
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.model_host import ModelHost

__all__ = ["FoundPackages", "ModelTraining"]


@dataclass(frozen=True)
class FoundPackages:
    """What a project has to retrain with.

    Parameters
    ----------
    packages : tuple of Package
        Of hard examples, the newest first.
    unfit : dict of str to str
        Why others in its exports cannot be used, by the name of the folder.
    paused : tuple of PausedTraining
        The trainings that may go on.
    before : str or None
        The hash of the bundle that was current before; ``""`` for the one that ships, None for none.
    proposal : Bundle or None
        The bundle that was trained last and is not the current one.
    judged : JudgementRecord or None
        The last judgement about the proposal; None where nobody has asked.
    """

    packages: tuple[Package, ...] = ()
    unfit: dict[str, str] | None = None
    paused: tuple[PausedTraining, ...] = ()
    before: str | None = None
    proposal: Bundle | None = None
    judged: JudgementRecord | None = None


class ModelTraining(QObject):
    """Trains proposals, lets the frozen test set judge them, publishes them, and goes back.

    Signals
    -------
    found(object)
        A :class:`FoundPackages`, after :meth:`look`.
    told(object)
        What a training is about to learn from: its ``data`` event.
    ended(str)
        A training ended without a model: ``"paused"``, ``"stopped"`` or why.
    unjudged(str)
        Judging ended without a judgement, and why.
    """

    found = Signal(object)
    told = Signal(object)
    ended = Signal(str)
    unjudged = Signal(str)

    def __init__(self, controller: Controller, host: ModelHost) -> None:
        super().__init__(host)
        self._controller, self._host = controller, host
        self.at_work: PausedTraining | None = None
        """The training at work, in the form in which it can go on."""
        self._discards = self._is_news = False
        self._added: list[Path] = []
        controller.session.project_changed.connect(self._forget_added)
        host.bundles_changed.connect(self._announce)

    def look(self) -> None:
        """Look which packages and paused trainings there are; :attr:`found` tells."""
        project = self._controller.session.project
        self._controller.background.run(
            "packages", _look, project, tuple(self._added), on_done=self.found.emit
        )

    def add_package(self, folder: Path) -> None:
        """List a package that was written elsewhere, as long as the project is open; why it cannot be used is shown."""

        def added(package: Package) -> None:
            if package.folder not in self._added:
                self._added.append(package.folder)
            self.look()

        self._controller.background.run("package", read_manifest, folder.resolve(), on_done=added)

    def _forget_added(self) -> None:
        self._added.clear()

    def train(
        self, packages: Sequence[Path], parent_hash: str, recipe: Recipe, options: FineTuningOptions
    ) -> None:
        """Retrain a bundle on packages; the new one is a proposal. A paused one with the same settings goes on."""
        project, parent = self._controller.session.project, self._host.bundle(parent_hash)
        if not self._host.may_start(project) or project is None:
            return
        if parent is None or not packages:
            self._host.complain("Choose at least one package of hard examples, and a model that it is for.")
            return
        self._begin(project, tuple(packages), parent, recipe, options)

    def resume(self, training: PausedTraining) -> None:
        """Go on with a training exactly where it was."""
        project = self._controller.session.project
        if not self._host.may_start(project) or project is None:
            return
        try:
            parent = read_bundle(training.parent)
        except MedlabError as error:
            self._controller.show_error(error)
            return
        self._begin(project, training.packages, parent, training.recipe, training.options)

    def pause(self) -> None:
        """Stop after the current step and keep its state: it can go on, even after the window was closed."""
        self._host.cancel()

    def stop(self) -> None:
        """Stop after the current step and forget the training; its course and its state are removed."""
        self._discards = True
        self._host.cancel()

    def forget(self) -> None:
        """Expect no answer of the training at work: its project is going, where it can be gone on with."""
        self.at_work = None

    def discard(self, training: PausedTraining) -> None:
        """Forget a paused training."""
        self._controller.background.run("discard", training.discard, on_done=lambda _: self.look())

    def judge(self, proposed: Bundle, rule: JudgeRule) -> None:
        """Run the current and the proposed bundle on the frozen test set where they have not been, and compare."""
        project, current = self._controller.session.project, self._host.bundle(self._host.current_hash)
        if not self._host.may_start(project) or project is None:
            return
        if current is None or proposed.hash == current.hash:
            self._host.complain("Choose a proposed model that is not the current one.")
            return
        self._host.begin_run("")
        self._host.start(
            "judge", self._judging, project, current, proposed, rule, on_item=self._on_judging_event,
            on_done=lambda judgement: self._on_judged(judgement, proposed), on_error=self._on_unjudged,
        )  # fmt: skip

    def publish(self, bundle: Bundle, judgement: Judgement) -> None:
        """Make a bundle the current one, if the judgement allows it."""
        project = self._controller.session.project
        if project is not None:
            self._controller.background.run("publish", publish, project, bundle.hash, judgement,
                                            on_done=lambda _: self._on_current())  # fmt: skip

    def roll_back(self) -> None:
        """Make the bundle current that was current before."""
        project = self._controller.session.project
        if project is not None:
            self._controller.background.run(
                "roll back", roll_back, project, on_done=lambda _: self._on_current()
            )

    # -- inside, off the GUI thread -------------------------------------------------------------------------------

    def _training(
        self, project: Project, parent: Bundle, training: PausedTraining
    ) -> Generator[dict[str, Any], None, Bundle | None]:
        bundle = None
        steps = retrain(training.packages, parent, project.folder / "bundles", training.recipe, self._host.token,
                        options=training.options)  # fmt: skip
        for event in steps:
            if event["event"] == "bundle":
                bundle = event["bundle"]
                register_bundle(project, bundle, "trained")
            else:
                yield event
        return bundle

    def _judging(
        self, project: Project, current: Bundle, proposed: Bundle, rule: JudgeRule
    ) -> Generator[RunEvent, None, Judgement]:
        worker = self._host.warm_worker()
        return (yield from judge_bundles(project, current, proposed, worker, self._host.token, rule))

    # -- inside, on the GUI thread --------------------------------------------------------------------------------

    def _begin(
        self, project: Project, packages: tuple[Path, ...], parent: Bundle, recipe: Recipe, options: FineTuningOptions
    ) -> None:  # fmt: skip
        self._discards = False
        resolved = tuple(path.resolve() for path in packages)
        self.at_work = PausedTraining(project.folder, resolved, parent.folder, recipe, options)
        self._host.start(
            "train", self._training, project, parent, self.at_work, on_item=self._on_event, on_done=self._on_trained,
            on_error=self._on_ended,
        )  # fmt: skip

    def _on_event(self, event: dict[str, Any]) -> None:
        if event["event"] == "data":
            self.told.emit(event)
        elif event["event"] == "step":
            self._host.stepped.emit(event)
            number, steps, loss = event["number"], event["steps"], event["losses"]["total"]
            text = f"step {number} of {steps} · loss {loss:.3f} · {event['seconds']:.0f} s"
            self._host.progressed.emit(number, steps, text)

    def _on_trained(self, bundle: Bundle) -> None:
        self.at_work = None
        self._host.reload()
        self._host.trained.emit(bundle)

    def _on_ended(self, error: Exception) -> None:
        is_cancelled = getattr(error, "code", "") == "cancelled"
        training, self.at_work = self.at_work, None
        project = self._controller.session.project
        if is_cancelled and self._discards and training is not None and project is not None:
            self._controller.background.run("discard", _discard, project.folder / "bundles", training,
                                            on_done=lambda _: self.look())  # fmt: skip
        else:
            self.look()
        if not is_cancelled:
            self._controller.show_error(error)
        self.ended.emit(
            "stopped" if is_cancelled and self._discards else "paused" if is_cancelled else in_words(error)
        )

    def _on_judging_event(self, event: RunEvent) -> None:
        self._host.progress.take(event)
        if event.kind not in ("batch", "mask"):
            self._host.say(event)

    def _on_judged(self, judgement: Judgement, proposed: Bundle) -> None:
        self._controller.reload_cases()
        self._host.judged.emit(judgement, proposed)

    def _on_unjudged(self, error: Exception) -> None:
        self._controller.reload_cases()
        is_cancelled = getattr(error, "code", "") == "cancelled"
        self.unjudged.emit("Stopped: what was run so far is kept." if is_cancelled else in_words(error))

    def _on_current(self) -> None:
        """Take note that another bundle is current."""
        self._is_news = True
        self._host.reload()
        self.look()

    def _announce(self) -> None:
        """Tell which bundle is current from now on, once that has been read."""
        bundle = self._host.bundle(self._host.current_hash)
        if self._is_news and bundle is not None:
            self._is_news = False
            self._host.published.emit(bundle)


def _look(project: Project | None, added: Sequence[Path] = ()) -> FoundPackages:
    if project is None:
        return FoundPackages()
    packages: list[Package] = []
    unfit: dict[str, str] = {}
    own = [manifest.parent for manifest in (project.folder / "exports").glob(f"*/{MANIFEST}")]
    for folder in dict.fromkeys(path.resolve() for path in (*own, *added)):
        try:
            packages.append(read_manifest(folder))
        except InputRefusedError as error:
            if error.code == "old-package":  # exports of other kinds have manifests, too
                unfit[folder.name] = str(error)
    packages.sort(key=lambda one: (one.created, one.folder.name), reverse=True)
    paused = tuple(paused_trainings(project.folder / "bundles"))
    try:
        proposal = newest_proposal(project)
    except MedlabError:  # nothing was trained, or its files are gone
        proposal = None
    about = [one for one in project.judgements() if proposal is not None and one.bundle_hash == proposal.hash]
    judged = about[-1] if about else None
    return FoundPackages(tuple(packages), unfit, paused, published_before(project), proposal, judged)


def _discard(folder: Path, training: PausedTraining) -> None:
    """Remove the state of a training that is found by what it is made of."""
    for one in paused_trainings(folder):
        if (one.recipe, one.options, set(one.packages)) == (
            training.recipe,
            training.options,
            set(training.packages),
        ):
            one.discard()
