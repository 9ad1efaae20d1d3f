"""The part of ``napari-medlab models`` that judges a proposed model, publishes it, and goes back to the one before."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.naming import model_in
from napari_medlab.jobs import CancelToken

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement, JudgeRule
    from napari_medlab.models.workflows.predict import RunEvent
    from napari_medlab.project import Project

    Act = Callable[[argparse.Namespace], dict[str, Any]]
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_judging", "judge_model", "publish_model", "roll_back_model"]

NEEDS = ("not worse", "not inferior", "better")
METRICS = ("cpm", "sensitivity", "dice")


def add_judging(actions: Actions) -> list[tuple[argparse.ArgumentParser, Act]]:
    """Add the actions ``judge``, ``publish`` and ``rollback``, and return each with what does it."""
    judging = actions.add_parser(
        "judge", help="run a proposed model and the current one on the frozen test set, compare"
    )
    publishing = actions.add_parser(
        "publish", help="make a proposed model the current one, unless it is worse"
    )
    back = actions.add_parser("rollback", help="make the model current that was current before")
    for action in (judging, publishing):
        add_judge_arguments(action)
    for action in (judging, publishing, back):
        action.add_argument("folder", metavar="DIR", type=Path, help="the project")
    return [(judging, judge_model), (publishing, publish_model), (back, roll_back_model)]


def add_judge_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which model is judged, against which, and by what rule."""
    add = parser.add_argument
    add(
        "--model",
        metavar="NAME",
        default="",
        help="a name, a hash or a folder (default: the one that was trained last)",
    )
    add("--against", metavar="NAME", default="", help="what it is held against (default: the current model)")
    add(
        "--metric",
        choices=METRICS,
        help="what is compared (default: dice for segmenters, cpm for all others)",
    )
    add("--at", dest="at_fp_per_scan", metavar="FP", type=float, default=1.0,
        help="the false positives per scan at which the sensitivity is read (default: 1)")  # fmt: skip
    add(
        "--margin",
        metavar="M",
        type=float,
        default=0.0,
        help="a difference that is of no account (default: 0)",
    )
    add("--confidence", metavar="C", type=float, default=0.95, help="of the interval (default: 0.95)")
    add("--needs", choices=NEEDS, default="not worse",
        help="not worse: not shown to be worse; not inferior: a loss of more than the margin is ruled out; better: shown to "
        "be better (default: not worse)")  # fmt: skip


def judge_model(options: argparse.Namespace) -> dict[str, Any]:
    """Judge a model, record it, and return the judgement."""
    from napari_medlab.cli.project import open_to_write

    with open_to_write(options.folder) as project:
        proposed, judgement = _judged(project, options)
        return {**_address(proposed), **judgement.as_json()}


def publish_model(options: argparse.Namespace) -> dict[str, Any]:
    """Judge a model and make it the current one; it is refused with the reason where the rule speaks against it."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.workflows.publishing import publish

    with open_to_write(options.folder) as project:
        before = project.current_bundle()
        proposed, judgement = _judged(project, options)
        publish(project, proposed.hash, judgement)
        return {**_address(proposed), **judgement.as_json(), "published": True, "before": before}


def roll_back_model(options: argparse.Namespace) -> dict[str, Any]:
    """Make the model current that was current before."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.models.workflows.publishing import current_model, roll_back

    with open_to_write(options.folder) as project:
        left = current_model(project)
        roll_back(project)
        return {**_address(current_model(project)), "before": left.hash}


def _judged(project: Project, options: argparse.Namespace) -> tuple[Bundle, Judgement]:
    from napari_medlab.models.inference.worker import start_worker
    from napari_medlab.models.workflows.publishing import current_model, judge_bundles, newest_proposal

    proposed = model_in(project, options.model) if options.model else newest_proposal(project)
    current = model_in(project, options.against) if options.against else current_model(project)
    worker = start_worker()
    try:
        steps = judge_bundles(project, current, proposed, worker, CancelToken(), _rule(options, proposed))
        while True:
            try:
                _say(project, next(steps))
            except StopIteration as done:
                judgement: Judgement = done.value
                return proposed, judgement
    finally:
        worker.close()


def _rule(options: argparse.Namespace, proposed: Bundle) -> JudgeRule:
    from napari_medlab.models.workflows.judge import JudgeRule, usual_rule

    return JudgeRule(
        options.metric or usual_rule(proposed).metric, options.at_fp_per_scan, options.margin, options.confidence,
        options.needs,
    )  # fmt: skip


def _say(project: Project, event: RunEvent) -> None:
    if event.kind not in ("case done", "case failed"):
        return
    bundle = project.run(event.run_id).bundle_hash[:12]
    failed = f" failed: {event.error}" if event.kind == "case failed" else ""
    sys.stderr.write(f"model {bundle}: frozen test case {event.done} of {event.total}{failed}\n")


def _address(bundle: Bundle) -> dict[str, Any]:
    return {"name": bundle.name, "hash": bundle.hash, "path": str(bundle.folder.absolute())}
