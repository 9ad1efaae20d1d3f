"""``napari-medlab train``: a model trained further on hard examples, or made by a configuration from samples."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.evaluate import count
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelToken
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.recipe import Recipe

__all__ = ["VERB"]

REPORTED_STEPS = 10
"""Progress is said every so many steps."""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a model further on packages of hard examples, or make one from samples as a configuration says; what comes "
        "out is a new model beside the old ones. A training that was stopped goes on where it was when it is started again "
        "with the same arguments."
    )
    add = parser.add_argument
    add("--package", nargs="+", type=Path, metavar="DIR", help="packages of hard examples; needs --from")
    add(
        "--from",
        dest="parent",
        metavar="MODEL",
        help="a name, a hash or a bundle's folder: what to begin with",
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
    add("--out", type=Path, metavar="DIR", help="where the new bundle is written")
    add("--steps", type=_some, metavar="N", help="how long to train (default: the usual recipe)")
    add("--seed", type=count, metavar="S", help="the same seed gives the same weights")
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


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.list:
        from napari_medlab.models.configurations import list_configurations

        return {"configurations": list_configurations()}
    _check(options)
    began = time.monotonic()
    checkpoint, events, recipe = _fine_tuning(options) if options.config is None else _experiment(options)
    if options.resume and not checkpoint.exists():
        raise InputRefusedError(
            f"{options.out} holds no state of this very training.",
            code="no-checkpoint",
            hint="Give the same packages, model, steps and seed as before, or leave --resume out.",
        )
    bundle = _follow(events)
    return {
        "bundle": str(bundle.folder.absolute()),
        "hash": bundle.hash,
        "parent": bundle.parent,
        "steps": recipe.steps,
        "seconds": round(time.monotonic() - began, 1),
        "final_loss": bundle.spec["training"]["final_loss"],
    }


def _check(options: argparse.Namespace) -> None:
    """Refuse arguments that do not go together, before anything slow is loaded."""
    fine_tuning, experiment = bool(options.package), options.config is not None
    problems = {
        "give either --package with --from, or --config with --samples": fine_tuning == experiment,
        "--package needs --from": fine_tuning and options.parent is None,
        "--config needs --samples": experiment and not options.samples,
        "--samples, --fold and --hold-out go with --config": not experiment
        and bool(options.samples or options.hold_out),
        "--out is missing": options.out is None,
    }
    wrong = [text for text, is_wrong in problems.items() if is_wrong]
    if wrong:
        raise InputRefusedError(
            f"These arguments do not go together: {'; '.join(wrong)}.",
            code="usage",
            hint="See napari-medlab train --help.",
        )


def _fine_tuning(options: argparse.Namespace) -> tuple[Path, Iterator[dict[str, Any]], Recipe]:
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.training.recipe import FINE_TUNING
    from napari_medlab.models.workflows.retrain import checkpoint_path, retrain

    parent = find_bundle(options.parent)
    recipe = _changed(FINE_TUNING, options)
    events = retrain(options.package, parent, options.out, recipe, CancelToken(), options.tensorboard)
    return checkpoint_path(options.package, parent, options.out, recipe), events, recipe


def _experiment(options: argparse.Namespace) -> tuple[Path, Iterator[dict[str, Any]], Recipe]:
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.configurations import read_configuration
    from napari_medlab.models.workflows.retrain import Experiment, experiment_path, train_experiment

    named = read_configuration(options.config)
    configuration = replace(named, recipe=_changed(named.recipe, options))
    parent = None if options.parent is None else find_bundle(options.parent)
    experiment = Experiment(configuration, options.samples, options.hold_out, parent)
    events = train_experiment(experiment, options.out, CancelToken(), options.tensorboard)
    return experiment_path(experiment, options.out), events, configuration.recipe


def _changed(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    seed = recipe.seed if options.seed is None else options.seed
    return replace(recipe, steps=options.steps or recipe.steps, seed=seed)


def _follow(events: Iterator[dict[str, Any]]) -> Bundle:
    """Say on standard error how a training goes, and return what comes out of it."""
    bundle: Bundle | None = None
    for event in events:
        if event["event"] == "data":
            sys.stderr.writelines(f"{line}\n" for line in _told(event))
        elif event["event"] == "step":
            _say(event)
        elif event["event"] == "bundle":
            bundle = event["bundle"]
    if bundle is None:
        raise MedlabError("The training ended without a model.", code="no-bundle")
    return bundle


def _told(data: dict[str, Any]) -> Iterator[str]:
    """Yield in words what a training is about to learn from, so that a wrong folder or parent is seen before it."""
    yield f"{data['examples']} examples with {data['lesions']} lesions: {_counted(data['classes']['training'])}"
    if data.get("held_out"):
        left = f", {data['left_out']} beside them left out" if data["left_out"] else ""
        yield f"{data['held_out']} examples held out: {_counted(data['classes']['held_out'])}{left}"
    if boxes := data.get("boxes"):
        line = f"boxes of {boxes['smallest']:g} to {boxes['largest']:g} voxels, half of them below {boxes['median']:g}"
        if "smallest_anchor" in boxes:
            line += f"; {boxes['share_below']:.0%} are smaller than the smallest anchor of {boxes['smallest_anchor']:g}"
        yield line
    if data.get("taken_over"):
        yield f"{data['taken_over']} of {data['tensors']} tensors taken over"


def _counted(classes: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in classes.items())


def _say(step: dict[str, Any]) -> None:
    if step["number"] % REPORTED_STEPS == 0 or step["number"] == step["steps"]:
        sys.stderr.write(f"step {step['number']} of {step['steps']}, loss {step['losses']['total']:.4f}\n")
    if step["metrics"] is not None:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in step["metrics"].items())
        sys.stderr.write(f"held out after step {step['number']}: {shown}\n")


def _some(text: str) -> int:
    value = count(text)
    if value == 0:
        msg = "expected 1 or more, got 0"
        raise argparse.ArgumentTypeError(msg)
    return value


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
