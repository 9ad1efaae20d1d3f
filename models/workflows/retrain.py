"""Training in a process of its own; what comes out is a bundle beside the old ones, a proposal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import read_bundle
from napari_medlab.models.training.examples import FineTuningOptions, sources_of
from napari_medlab.models.training.recipe import Recipe  # noqa: TC001 - part of the signature that users read
from napari_medlab.models.workflows.paused_trainings import PausedTraining, note_training

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.training.holding_out import HoldOut

__all__ = ["Experiment", "checkpoint_path", "experiment_path", "retrain", "train_experiment"]


@dataclass(frozen=True)
class Experiment:
    """A configuration and what it is trained on.

    Parameters
    ----------
    configuration : Configuration
    samples : folders of ``.npz`` files, as :func:`napari_medlab.models.training.samples.write_sample` writes them
    hold_out : HoldOut or None
        What the validation looks at, such as ``HoldOut(fold=(1, 5))``: folds count from 1, as on the command line.
    parent : Bundle or None
        Its weights are begun with, as far as they fit.
    """

    configuration: Configuration
    samples: Sequence[Path]
    hold_out: HoldOut | None = None
    parent: Bundle | None = None

    def as_request(self) -> dict[str, Any]:
        """Return what the training process is told of it."""
        return {
            "configuration": self.configuration.as_json(), "samples": [str(path.resolve()) for path in self.samples],
            "hold_out": None if self.hold_out is None else str(self.hold_out),
            "parent": None if self.parent is None else str(self.parent.folder.resolve()),
        }  # fmt: skip


def retrain(  # noqa: PLR0913 - what a retraining is made of
    packages: Sequence[Path], parent: Bundle, out: Path, recipe: Recipe, cancel: CancelToken,
    tensorboard: Path | None = None, *, options: FineTuningOptions | None = None,
) -> Generator[dict[str, Any]]:  # fmt: skip
    """Train a bundle further; yields the events of :func:`napari_medlab.models.training.process.fine_tune`.

    A training that was stopped or killed goes on from its last state when it is started again with packages of the same
    content, the same parent, recipe and options: what comes out is, on a CPU, what an undisturbed one gives, to the bit.
    The course of the training lies beside the state, and in the end beside the bundle.

    Parameters
    ----------
    packages : folders of hard examples, in any order; several rounds may be trained on together
    parent : the bundle to begin with
    out : folder that the new bundle is written into
    recipe : Recipe
    cancel : stops after the current step, with the state saved
    tensorboard : folder for event files, where they are wanted
    options : FineTuningOptions, optional
        Weights of packages, what is replayed, and the parent's share of the weights.

    Raises
    ------
    CancelledError, WorkerDiedError, InputRefusedError
    """
    chosen = options or FineTuningOptions()
    state = checkpoint_path(packages, parent, out, recipe, chosen)
    paused = PausedTraining(
        state, tuple(path.resolve() for path in packages), parent.folder.resolve(), recipe, chosen
    )
    request = {"op": "fine_tune", **paused.as_json(), "checkpoint": str(state)}
    out.mkdir(parents=True, exist_ok=True)
    note_training(paused)
    try:
        for event in _events(request, out, cancel, tensorboard):
            if event["event"] == "bundle":
                paused.forget()
            yield event
    finally:
        if not state.exists():
            paused.forget()


def train_experiment(
    experiment: Experiment, out: Path, cancel: CancelToken, tensorboard: Path | None = None
) -> Generator[dict[str, Any]]:
    """Train an experiment; yields the events of :func:`napari_medlab.models.training.process.train_configuration`.

    ``out``, ``cancel``, ``tensorboard``, resuming and errors are as in :func:`retrain`.
    """
    request = {"op": "train", **experiment.as_request(), "checkpoint": str(experiment_path(experiment, out))}
    yield from _events(request, out, cancel, tensorboard)


def checkpoint_path(
    packages: Sequence[Path],
    parent: Bundle,
    out: Path,
    recipe: Recipe,
    options: FineTuningOptions | None = None,
) -> Path:
    """Return where the state of a training lies, named by what it depends on, so that only the same one resumes.

    Raises
    ------
    InputRefusedError
        Where a package cannot be used.
    """
    chosen = options or FineTuningOptions()
    content = [source.as_json() for source in sources_of(packages, chosen)]
    return _state_path(out, [content, parent.hash, recipe.as_json(), chosen.replay_share, chosen.average])


def experiment_path(experiment: Experiment, out: Path) -> Path:
    """Return where the state of an experiment's training lies, named in the same way."""
    parent = "" if experiment.parent is None else experiment.parent.hash
    samples = sorted(str(path.resolve()) for path in experiment.samples)
    return _state_path(out, [experiment.configuration.hash, samples, str(experiment.hold_out), parent])


def _state_path(out: Path, words: list[Any]) -> Path:
    return (
        out.resolve()
        / f"{hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:16]}.checkpoint"
    )


def _events(
    request: dict[str, Any], out: Path, cancel: CancelToken, tensorboard: Path | None
) -> Generator[dict[str, Any]]:
    from napari_medlab.models.training.process import MODULE

    out.mkdir(parents=True, exist_ok=True)
    where = {
        "out": str(out.resolve()),
        "tensorboard": None if tensorboard is None else str(tensorboard.resolve()),
    }
    with WorkerProcess(MODULE) as worker:
        for event in worker.events({**request, **where}, cancel):
            if event["event"] == "bundle":
                yield {**event, "bundle": read_bundle(Path(event["folder"]))}
            else:
                yield event
