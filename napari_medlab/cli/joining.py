"""The part of ``napari-medlab models`` that makes one model of several, and searches how much each should count."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.naming import model_for
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.models.bundles import Bundle

    Act = Callable[[argparse.Namespace], dict[str, Any]]
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_joining"]

USUAL_WEIGHT = 0.5


def add_joining(actions: Actions) -> list[tuple[argparse.ArgumentParser, Act]]:
    """Add the actions, and return each with what does it."""
    join, attach, tune = _add_join(actions), _add_attach(actions), _add_tune(actions)
    for action in (join, attach):
        action.add_argument("--name", default="", help="what to call it")
        action.add_argument(
            "--out", metavar="DIR", type=Path, help="a folder for bundles, where it is for no project"
        )
    return [(join, _join), (attach, _attach), (tune, _tune)]


def _add_join(actions: Actions) -> argparse.ArgumentParser:
    join = actions.add_parser("join", help="make an ensemble of models that see images alike")
    join.add_argument(
        "members", metavar="NAME", nargs="+", help="names, hashes (8 digits suffice) or folders; two at least"
    )
    weighing = join.add_mutually_exclusive_group(required=True)
    weighing.add_argument(
        "--weights",
        metavar="W1,W2",
        type=_weights,
        help="how much each counts; or a file that 'models tune' wrote",
    )
    weighing.add_argument("--equal", action="store_true", help="all count the same")
    return join


def _add_attach(actions: Actions) -> argparse.ArgumentParser:
    attach = actions.add_parser("attach", help="let a classifier judge the candidates of a detector")
    attach.add_argument("detector", metavar="DETECTOR", help="a name, a hash or a folder")
    attach.add_argument("classifier", metavar="CLASSIFIER", help="a name, a hash or a folder")
    attach.add_argument(
        "--weight",
        metavar="W",
        type=_weights,
        default=[USUAL_WEIGHT],
        help="how much the classifier counts, 0 to 1 (default: 0.5); or a file that 'models tune' wrote",
    )
    attach.add_argument(
        "--rule",
        choices=("geometric mean", "arithmetic mean", "product"),
        default="geometric mean",
        help="how both scores become one (default: geometric mean)",
    )
    return attach


def _add_tune(actions: Actions) -> argparse.ArgumentParser:
    tune = actions.add_parser("tune", help="search on validation cases how much each of several runs counts")
    tune.add_argument("folder", metavar="PROJECT", type=Path, help="the project's folder")
    tune.add_argument(
        "--runs",
        metavar="R1,R2",
        type=_words,
        required=True,
        help="two runs or more; or a detector's, and a classifier's of its candidates",
    )
    on = tune.add_mutually_exclusive_group(required=True)
    on.add_argument("--cases", metavar="C", nargs="+", help="the validation cases, by name or key")
    on.add_argument(
        "--fold",
        metavar="K/N",
        type=_fold,
        help="the K-th of N folds of the training cases, as 'train --fold' held it out",
    )
    tune.add_argument(
        "--samples",
        metavar="DIR",
        nargs="+",
        type=Path,
        default=[],
        help="with --fold: the very samples that were trained on, so that the fold is what was held out of them",
    )
    tune.add_argument(
        "--out", metavar="FILE", type=Path, help="write the weights there, for 'join' and 'attach'"
    )
    return tune


def _join(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.workflows.joining import join_bundles

    members = [_found(wanted, options) for wanted in options.members]
    weights, searched = (None, None) if options.equal else _chosen(options.weights, members, "ensemble")

    def work(out: Path) -> Bundle:
        return join_bundles(members, out, weights=weights, name=options.name, searched=searched)

    bundle = _placed(options, work)
    arguments = bundle.spec["network"]["arguments"]
    return {**_address(bundle), "join": arguments["join"], "weights": arguments["weights"]}


def _attach(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.workflows.joining import Fusion, attach_classifier

    pair = [_found(options.detector, options), _found(options.classifier, options)]
    weights, searched = _chosen(options.weight, pair, "fusion")
    fusion = Fusion(weights[-1], options.rule, searched)

    def work(out: Path) -> Bundle:
        return attach_classifier(pair[0], pair[1], out, fusion=fusion, name=options.name)

    bundle = _placed(options, work)
    return {**_address(bundle), "fusion": bundle.spec["classifier"]["fusion"]}


def _tune(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.durable import make_folder, replace_file
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.workflows.tuning import tune_weights, validation_cases
    from napari_medlab.project import Project

    if options.samples and options.fold is None:
        raise InputRefusedError("--samples goes with --fold.", code="usage", hint="Add --fold K/N.")
    if options.out is not None and options.out.exists():
        raise InputRefusedError(f"{options.out} exists already, and nothing is overwritten.", code="exists")
    with Project.open(options.folder, read_only=True) as project:
        cases = validation_cases(
            project, named=options.cases or (), fold=options.fold, samples=options.samples
        )
        said = tune_weights(project, options.runs, cases, CancelToken()).as_json()
    if options.out is not None:
        make_folder(options.out.absolute().parent)
        replace_file(options.out, json.dumps(said, indent=1, allow_nan=False).encode())
    return said


def _placed(options: argparse.Namespace, work: Callable[[Path], Bundle]) -> Bundle:
    """Return what is made, in a folder that was named, or in a project, which then knows it."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.workflows.predict import register_bundle

    if options.out is not None:
        return work(options.out)
    if options.project is None:
        raise InputRefusedError(
            "Nobody said where the model is to be written.", code="no-project",
            hint="Add --out DIR for a folder of bundles, or --project DIR.",
        )  # fmt: skip
    with open_to_write(options.project) as project:
        bundle = work(project.folder / "bundles")
        register_bundle(project, bundle, "imported")
        return bundle


def _chosen(
    given: Sequence[float] | dict[str, Any], members: Sequence[Bundle], kind: str
) -> tuple[list[float], dict[str, Any] | None]:
    """Return weights in the order of the members, and what a search said of them where they come from one.

    Raises
    ------
    InputRefusedError
        ``"weights"`` where a search was for other models.
    """
    if not isinstance(given, dict):
        return [*given], None
    found = dict(zip(given.get("bundles", []), given.get("weights", []), strict=False))
    hashes = [member.hash for member in members]
    fits = given.get("kind") == kind and set(found) == set(hashes)
    if not fits or (kind == "fusion" and given["bundles"] != hashes):
        raise InputRefusedError(
            f"These weights were searched for other models, or for another way to join them: {kind} of "
            f"{', '.join(member.title for member in members)}.",
            code="weights", hint="Search them again with the runs of these models.",
        )  # fmt: skip
    return [float(found[one]) for one in hashes], given


def _found(wanted: str, options: argparse.Namespace) -> Bundle:
    return model_for(options.project, wanted)


def _address(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.name, "hash": bundle.hash, "path": str(bundle.folder.absolute())}


def _weights(text: str) -> list[float] | dict[str, Any]:
    """Read numbers with commas between them, or the file of a search."""
    from napari_medlab.models.bundles.documents import read_document

    if text.endswith(".json"):
        try:
            return dict(read_document(Path(text)))
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text} cannot be read: {error}") from error
    try:
        return [float(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"expected numbers such as 0.6,0.4 or a .json file, got {text!r}"
        ) from error


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _fold(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected K/N such as 1/5, got {text!r}")
    return int(first), int(second)
