"""``napari-medlab train``: a model trained further on packages of hard examples."""

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

__all__ = ["VERB"]

REPORTED_STEPS = 10
"""Progress is said every so many steps."""


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train a model further; what comes out is a new model beside the old one. A training that was stopped goes on "
        "where it was when it is started again with the same packages, model, folder, steps and seed."
    )
    parser.add_argument(
        "--package", required=True, nargs="+", type=Path, metavar="DIR", help="packages of hard examples"
    )
    parser.add_argument(
        "--from", required=True, dest="parent", metavar="MODEL", help="a name, a hash or a bundle's folder"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the new bundle is written")
    parser.add_argument("--steps", type=_some, metavar="N", help="how long to train (default: the usual recipe)")
    parser.add_argument("--seed", type=count, default=0, metavar="S", help="the same seed gives the same weights")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="refuse to begin anew: going on happens by itself, this makes sure that there is something to go on from",
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.training.recipe import FINE_TUNING
    from napari_medlab.models.workflows.retrain import checkpoint_path, retrain

    parent = find_bundle(options.parent)
    recipe = replace(FINE_TUNING, steps=options.steps or FINE_TUNING.steps, seed=options.seed)
    checkpoint = checkpoint_path(options.package, parent, options.out, recipe)
    if options.resume and not checkpoint.exists():
        raise InputRefusedError(
            f"{options.out} holds no state of this very training.",
            code="no-checkpoint",
            hint="Give the same packages, model, steps and seed as before, or leave --resume out.",
        )
    began = time.monotonic()
    bundle = _follow(retrain(options.package, parent, options.out, recipe, CancelToken()))
    return {
        "bundle": str(bundle.folder.absolute()),
        "hash": bundle.hash,
        "parent": parent.hash,
        "steps": recipe.steps,
        "seconds": round(time.monotonic() - began, 1),
        "final_loss": bundle.spec["training"]["final_loss"],
    }


def _follow(events: Iterator[dict[str, Any]]) -> Bundle:
    """Say on standard error how a training goes, and return what comes out of it."""
    bundle: Bundle | None = None
    for event in events:
        if event["event"] == "data":
            sys.stderr.write(f"{event['examples']} examples with {event['lesions']} lesions\n")
        elif event["event"] == "step" and (event["number"] % REPORTED_STEPS == 0 or event["number"] == event["steps"]):
            loss = event["losses"]["total"]
            sys.stderr.write(f"step {event['number']} of {event['steps']}, loss {loss:.4f}\n")
        elif event["event"] == "bundle":
            bundle = event["bundle"]
    if bundle is None:
        raise MedlabError("The training ended without a model.", code="no-bundle")
    return bundle


def _some(text: str) -> int:
    value = count(text)
    if value == 0:
        msg = "expected 1 or more, got 0"
        raise argparse.ArgumentTypeError(msg)
    return value


VERB = Verb("train", "train a model further on hard examples", _configure, _run)
