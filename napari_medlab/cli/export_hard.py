"""The part of ``napari-medlab export`` that writes hard examples, or looks at what it would write."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.evaluate import count
from napari_medlab.cli.naming import model_in
from napari_medlab.cli.queue import choose_run
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medlab.hardcases.mining import MiningRule
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.hard_examples import HardOptions
    from napari_medlab.project import Project, RunRecord

__all__ = ["HARD_FP_PER_SCAN", "add_hard_arguments", "hard_asked_for", "write_hard"]

STRATEGIES = ("balanced", "shown", "semi-hard", "mixture", "random", "random balanced", "hardest")
HARD_FP_PER_SCAN = 4.0
"""As :class:`~napari_medlab.models.workflows.hard_choosing.HardOptions` has it: nothing heavy is to be loaded for help."""
KINDS = ("fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence")
"""As the rules of mining know them: they are not asked, as nothing heavy is to be loaded for a word of help."""
OF_RULE = ("strategy", "budget", "per_case", "per_patient", "replay_share", "kinds", "ratio", "random_share", "widening",
           "least_difference", "seed", "earlier_weight")  # fmt: skip
OF_PACKAGE = ("part", "validation_share", "folds", "split_by")


def add_hard_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only hard examples are asked about; nothing of it has a default that could not be told from being left out."""
    group = parser.add_argument_group("hard examples")
    add = group.add_argument
    add(
        "--strategy",
        choices=STRATEGIES,
        help="how examples are chosen (default: balanced); hardest can make models worse",
    )
    add(
        "--budget",
        type=count,
        metavar="N",
        help="at most this many; a replay comes beside them, but of balanced (default: 200)",
    )
    add("--per-case", type=count, metavar="N", help="at most this many of one case (default: 12)")
    add(
        "--per-patient",
        type=count,
        metavar="N",
        help="at most this many of one patient (default: as many as there are)",
    )
    add("--replay-share", type=float, metavar="S",
        help="the share of all examples that the model had right, where the strategy has not its own (default: 0.5)")  # fmt: skip
    add("--errors", dest="kinds", nargs="+", choices=KINDS, metavar="KIND",
        help=f"the kinds of error that make the queue: {', '.join(KINDS)} (default: fp fn)")  # fmt: skip
    add("--ratio", type=float, metavar="X", help="negatives for each positive, for mixture and semi-hard")
    add(
        "--random-share",
        type=float,
        metavar="S",
        help="the share of a mixture that is drawn at random (default: 0)",
    )
    add("--widening", type=float, metavar="X",
        help="semi-hard negatives are among so many times the budget of the highest scored (default: 4)")  # fmt: skip
    add("--least-difference", type=float, metavar="D",
        help="leave out what is nearer to an earlier one than this cosine distance of embeddings, such as 0.05")  # fmt: skip
    add("--earlier-weight", type=float, metavar="W",
        help="weight of what an earlier package of the project holds; 0 leaves it out (default: 1)")  # fmt: skip
    add("--seed", type=int, metavar="N", help="of all that is drawn by chance (default: 0)")
    add("--part", choices=("network", "classifier"),
        help="which part of the model crops are cut for; classifier: the one that judges a detector's candidates")  # fmt: skip
    add("--for-model", metavar="NAME", help="the model that the package is for (default: that of the run)")
    add(
        "--validation-share",
        type=float,
        metavar="S",
        help="the share of patients to validate on (default: 0)",
    )
    add("--folds", type=count, metavar="K", help="deal patients into so many folds (default: 0)")
    add("--split-by", choices=("patient", "interval"),
        help="interval: evenly spaced frames of every sequence (default: patient)")  # fmt: skip
    add(
        "--crop",
        nargs="+",
        type=count,
        metavar="N",
        help="voxels of a crop: one size, or one for each axis, z y x or y x",
    )
    add("--look", action="store_true", default=None, help="write nothing: tell what would be in the package")


def hard_asked_for(options: argparse.Namespace) -> list[str]:
    """Return the options about hard examples that were given."""
    names = {"kinds": "errors"}
    return [
        f"--{names.get(name, name).replace('_', '-')}"
        for name in (*OF_RULE, *OF_PACKAGE, "for_model", "crop", "look")
        if getattr(options, name) is not None
    ]


def write_hard(options: argparse.Namespace) -> dict[str, Any]:
    """Write the package, tell how it goes on standard error, and return what came of it; or what would come of it."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.workflows.hard_examples import export_hard_examples
    from napari_medlab.models.workflows.look_before import look_before
    from napari_medlab.project import Project

    asked = _options(options)
    if options.look:
        with Project.open(options.folder, read_only=True) as project:
            run = choose_run(project, options.run, training=True)
            bundle = _bundle(project, run, options.for_model)
            look = look_before(project, run.run_id, bundle, asked)
        _warn(look.chosen.warnings)
        return {"format": "hard", "run_id": run.run_id, "model": bundle.name, **look.as_json()}
    with open_to_write(options.folder) as project:
        run = choose_run(project, options.run, training=True)
        bundle = _bundle(project, run, options.for_model)
        out = options.out.absolute()
        for done, total in export_hard_examples(
            project, bundle, run.run_id, out, asked, spread=options.spread
        ):
            if done == total or done % 20 == 0:
                sys.stderr.write(f"{done} of {total} examples\n")
        digest = project.exports()[-1].manifest_digest
    return {"format": "hard", "out": str(out), "run_id": run.run_id, "model": bundle.name, **_told(out),
            "manifest_sha256": digest}  # fmt: skip


def _options(options: argparse.Namespace) -> HardOptions:
    from napari_medlab.models.workflows.hard_examples import HardOptions

    given = {name: getattr(options, name) for name in OF_PACKAGE if getattr(options, name) is not None}
    asked = HardOptions(rule=_rule(options), shape=tuple(options.crop or ()), **given)
    return asked if options.fp_per_scan is None else replace(asked, fp_per_scan=options.fp_per_scan)


def _rule(options: argparse.Namespace) -> MiningRule:
    from napari_medlab.hardcases.mining import MiningRule

    given: dict[str, Any] = {
        name: getattr(options, name) for name in OF_RULE if getattr(options, name) is not None
    }
    if "kinds" in given:
        given["kinds"] = tuple(given["kinds"])
    return MiningRule(**given)


def _bundle(project: Project, run: RunRecord, wanted: str | None) -> Bundle:
    name = wanted or run.bundle_hash
    if not name:
        raise InputRefusedError(
            f"Run {run.run_id} was made elsewhere, so there is no model here to cut examples for.",
            code="no-model",
            hint="Name the model to be trained with --for-model, or a run of a model of this project with --run.",
        )
    return model_in(project, name)


def _told(out: Path) -> dict[str, Any]:
    """Return what is told of a package, and warn on standard error of what is known against it."""
    from napari_medlab.models.training.packages import read_manifest

    package = read_manifest(out)
    _warn(package.about["warnings"])
    return {
        "examples": len(package.examples),
        "by_reason": package.counts,
        "left_out": package.about["left_out"],
        "warnings": package.about["warnings"],
    }


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        sys.stderr.write(f"Warning: {warning}\n")
