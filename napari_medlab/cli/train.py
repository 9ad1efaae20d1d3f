"""``napari-medlab train``: a model trained further on hard examples, or made by a configuration from samples."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.evaluate import count
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.project import Project

__all__ = ["VERB"]

REPORTED_STEPS = 10
"""Progress is said every so many steps."""

NO_SHARE = -1.0
"""Stands for no share of its own."""
USUAL_SHARE = 0.5
"""Of every batch is replayed where something to replay is named."""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a model further on packages of hard examples, or make one from samples as a configuration says; what comes "
        "out is a new model beside the old ones. A training that was stopped goes on where it was when it is started again "
        "with the same arguments."
    )
    add = parser.add_argument
    add(
        "--package",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="packages of hard examples, one or several rounds; they say which part of the model they are for",
    )
    add(
        "--from",
        dest="parent",
        metavar="MODEL",
        help="a name, a hash or a bundle's folder: what to begin with; the current model of --project by default",
    )
    add(
        "--project",
        type=Path,
        metavar="DIR",
        help="make the new model one of this project's, a proposal; it goes into its folder of models",
    )
    add("--config", metavar="NAME", help="a configuration's name or a .json file; needs --samples")
    add("--samples", nargs="+", type=Path, metavar="DIR", help="folders of .npz samples")
    held = parser.add_mutually_exclusive_group().add_argument
    held(
        "--fold",
        dest="hold_out",
        type=_fold,
        metavar="K/N",
        help="hold out the K-th of N folds, from 1, and validate on it",
    )
    held(
        "--hold-out",
        type=_hold_out,
        metavar="WHAT",
        help="fold:K/N; or of frames interval:SHARE, evenly spaced in every sequence, and interval:SHARE:GAP, with so many "
        "left out on both sides of each",
    )
    _configure_fine_tuning(parser)
    add("--out", type=Path, metavar="DIR", help="where the new bundle is written")
    add("--steps", type=_some, metavar="N", help="how long to train (default: the usual recipe)")
    add("--seed", type=count, metavar="S", help="the same seed gives the same weights")
    add("--rate", type=_above_zero, metavar="R", help="the highest learning rate (default: the usual recipe)")
    add("--tensorboard", type=Path, metavar="DIR", help="write event files for TensorBoard there")
    add(
        "--list",
        action="store_true",
        help="name the configurations that come with the application, and train nothing",
    )
    add(
        "--resume",
        action="store_true",
        help="refuse to begin anew: going on happens by itself, this makes sure that there is something to go on from",
    )


def _configure_fine_tuning(parser: argparse.ArgumentParser) -> None:
    """Add what is said about packages."""
    add = parser.add_argument_group("with --package").add_argument
    add(
        "--weights",
        nargs="+",
        type=_above_zero,
        metavar="W",
        default=[],
        help="how often the examples of each package are drawn, in their order (default: 1 each)",
    )
    add(
        "--replay",
        nargs="+",
        type=Path,
        metavar="DIR",
        default=[],
        help="packages or folders of samples from before, so that nothing is forgotten",
    )
    add(
        "--replay-share",
        type=_share,
        metavar="SHARE",
        help="what share of every batch is replayed, from there and from examples whose reason is replay; or 'none' to draw "
        "them like any other (default: 0.5 with --replay, none without)",
    )
    add(
        "--average",
        type=_share,
        metavar="SHARE",
        help="what share of the old model's weights stays in the new one (default: 0)",
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.list:
        from napari_medlab.models.configurations import list_configurations

        return {"configurations": list_configurations()}
    _check(options)
    began = time.monotonic()
    with ExitStack() as stack:
        project = None
        if options.project is not None:
            from napari_medlab.cli.project import open_to_write

            project = stack.enter_context(open_to_write(options.project))
        asked = _fine_tuning(options, project) if options.config is None else _experiment(options)
        if options.resume and not asked.checkpoint.exists():
            raise InputRefusedError(
                f"{asked.out} holds no state of this very training.",
                code="no-checkpoint",
                hint="Give the same packages, model, steps and seed as before, or leave --resume out.",
            )
        try:
            bundle = _follow(asked.events)
        except (KeyboardInterrupt, CancelledError):
            asked.events.close()  # the state is stored then, wherever this process was interrupted
            if asked.checkpoint.exists():
                sys.stderr.write("The state of the training is kept: the same command goes on from it.\n")
            raise
        if project is not None:
            from napari_medlab.models.workflows.predict import register_bundle

            register_bundle(project, bundle, "trained")
    training = bundle.spec["training"]
    return {
        "bundle": str(bundle.folder.absolute()),
        "hash": bundle.hash,
        "parent": bundle.parent,
        "steps": asked.recipe.steps,
        "seconds": round(time.monotonic() - began, 1),
        "final_loss": training["final_loss"],
        **({"part": training["part"]} if "part" in training else {}),
        **(
            {"before": training["before"], "validation": training["validation"]}
            if training.get("before")
            else {}
        ),
    }


@dataclass(frozen=True)
class _Asked:
    """A training as it was asked for."""

    checkpoint: Path
    events: Generator[dict[str, Any]]
    recipe: Recipe
    out: Path


def _check(options: argparse.Namespace) -> None:
    """Refuse arguments that do not go together, before anything slow is loaded."""
    fine_tuning, experiment = bool(options.package), options.config is not None
    tuned = (
        options.weights or options.replay or options.replay_share is not None or options.average is not None
    )
    problems = {
        "give either --package with --from, or --config with --samples": fine_tuning == experiment,
        "--package needs --from or --project": fine_tuning
        and options.parent is None
        and options.project is None,
        "--config needs --samples": experiment and not options.samples,
        "--samples, --fold and --hold-out go with --config": not experiment
        and bool(options.samples or options.hold_out),
        "--weights, --replay, --replay-share and --average go with --package": experiment and bool(tuned),
        "--out or --project is missing": options.out is None and options.project is None,
    }
    wrong = [text for text, is_wrong in problems.items() if is_wrong]
    if wrong:
        raise InputRefusedError(
            f"These arguments do not go together: {'; '.join(wrong)}.",
            code="usage",
            hint="See napari-medlab train --help.",
        )


def _fine_tuning(options: argparse.Namespace, project: Project | None) -> _Asked:
    from napari_medlab.models.training.examples import FineTuningOptions
    from napari_medlab.models.training.fine_tuning import rule_of
    from napari_medlab.models.training.packages import read_manifest
    from napari_medlab.models.workflows.retrain import checkpoint_path, retrain

    parent = _parent(project, options.parent)
    out = options.out or options.project / "bundles"
    part = read_manifest(options.package[0]).check_fits(parent)
    recipe = _changed(rule_of(part).recipe, options)
    usual = USUAL_SHARE if options.replay else NO_SHARE
    share = usual if options.replay_share is None else options.replay_share
    chosen = FineTuningOptions(
        tuple(options.weights),
        tuple(options.replay),
        None if share == NO_SHARE else share,
        options.average or 0.0,
    )
    events = retrain(options.package, parent, out, recipe, CancelToken(), options.tensorboard, options=chosen)
    return _Asked(checkpoint_path(options.package, parent, out, recipe, chosen), events, recipe, out)


def _parent(project: Project | None, wanted: str | None) -> Bundle:
    """Return what a training begins with: the current model of a project, or the one that is named."""
    from napari_medlab.cli.naming import model_for, model_in
    from napari_medlab.models.workflows.publishing import current_model

    if project is None:
        return model_for(None, wanted or "")
    return current_model(project) if wanted in (None, "current") else model_in(project, wanted)


def _experiment(options: argparse.Namespace) -> _Asked:
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.configurations import read_configuration
    from napari_medlab.models.workflows.retrain import Experiment, experiment_path, train_experiment

    named = read_configuration(options.config)
    configuration = replace(named, recipe=_changed(named.recipe, options))
    parent = None if options.parent is None else find_bundle(options.parent)
    experiment = Experiment(configuration, options.samples, options.hold_out, parent)
    out = options.out or options.project / "bundles"
    events = train_experiment(experiment, out, CancelToken(), options.tensorboard)
    return _Asked(experiment_path(experiment, out), events, configuration.recipe, out)


def _changed(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    seed = recipe.seed if options.seed is None else options.seed
    rate = options.rate or recipe.learning_rate
    return replace(recipe, steps=options.steps or recipe.steps, seed=seed, learning_rate=rate)


def _follow(events: Iterator[dict[str, Any]]) -> Bundle:
    """Say on standard error how a training goes, and return what comes out of it."""
    bundle: Bundle | None = None
    has_begun = False
    for event in events:
        if event["event"] == "data":
            sys.stderr.writelines(f"{line}\n" for line in _told(event))
        elif event["event"] == "step":
            if not has_begun and event["number"] > 1:
                sys.stderr.write(f"goes on with step {event['number']}, where it was stopped before\n")
            has_begun = True
            _say(event)
        elif event["event"] == "bundle":
            bundle = event["bundle"]
    if bundle is None:
        raise MedlabError("The training ended without a model.", code="no-bundle")
    return bundle


def _told(data: dict[str, Any]) -> Iterator[str]:
    """Yield in words what a training is about to learn from, so that a wrong folder or parent is seen before it."""
    part = f" for the {data['part']}" if "part" in data else ""
    yield f"{data['examples']} examples{part} with {data['lesions']} lesions: {_counted(data['classes']['training'])}"
    if data.get("replayed"):
        yield f"{data['replayed']} of them are replayed from before"
    if data.get("held_out"):
        left = f", {data['left_out']} beside them left out" if data["left_out"] else ""
        yield f"{data['held_out']} examples held out: {_counted(data['classes']['held_out'])}{left}"
    if boxes := data.get("boxes"):
        line = f"boxes of {boxes['smallest']:g} to {boxes['largest']:g} voxels, half of them below {boxes['median']:g}"
        if "smallest_anchor" in boxes:
            line += f"; {boxes['share_below']:.0%} are smaller than the smallest anchor of {boxes['smallest_anchor']:g}"
        yield line
    if data.get("before"):
        yield f"held out before the first step: {_figures(data['before'])}"
    if data.get("taken_over"):
        yield f"{data['taken_over']} of {data['tensors']} tensors taken over"


def _counted(classes: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in classes.items())


def _say(step: dict[str, Any]) -> None:
    if step["number"] % REPORTED_STEPS == 0 or step["number"] == step["steps"]:
        sys.stderr.write(f"step {step['number']} of {step['steps']}, loss {step['losses']['total']:.4f}\n")
    if step["metrics"] is not None:
        sys.stderr.write(f"held out after step {step['number']}: {_figures(step['metrics'])}\n")


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _some(text: str) -> int:
    value = count(text)
    if value == 0:
        msg = "expected 1 or more, got 0"
        raise argparse.ArgumentTypeError(msg)
    return value


def _share(text: str) -> float:
    if text == "none":
        return NO_SHARE
    value = _number(text)
    if not 0 <= value <= 1:
        msg = f"expected a share from 0 to 1, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _above_zero(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        msg = f"expected a number above 0, got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"expected a number, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _fold(text: str) -> HoldOut:
    try:
        return _hold_out(f"fold:{text}")
    except argparse.ArgumentTypeError:
        msg = f"expected K/N such as 1/5, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def _hold_out(text: str) -> HoldOut:
    from napari_medlab.models.training.holding_out import HoldOut

    try:
        return HoldOut.parse(text)
    except InputRefusedError as error:
        raise argparse.ArgumentTypeError(f"{error.message} {error.hint}") from error


VERB = Verb("train", "train a model further on hard examples, or from samples", _configure, _run)
