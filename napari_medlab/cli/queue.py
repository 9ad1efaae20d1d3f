"""``napari-medlab queue DIR``: where a run went wrong, worst first, as the review panel shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.compare import positive
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

    from napari_medlab.project import Project, RunRecord

__all__ = ["FP_PER_SCAN", "VERB", "add_run_arguments", "choose_run"]

FP_PER_SCAN = 1.0
"""The operating point where none is asked for."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every verb about a project's run is given: the project, the run and the operating point."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    parser.add_argument(
        "--run", metavar="ID", help="the run to look at (default: the newest that has looked at cases in question)"
    )
    parser.add_argument(
        "--fp-per-scan", type=positive, metavar="X", help=f"the operating point ({FP_PER_SCAN:g} where left out)"
    )


def choose_run(project: Project, wanted: str | None, *, training: bool) -> RunRecord:
    """Return the run of an id, or the newest one that is done with a case.

    Parameters
    ----------
    project : Project
    wanted : str or None
    training : bool
        Whether only training cases count: a run on the frozen test set alone has nothing to review.

    Raises
    ------
    InputRefusedError
        ``unknown-run`` where there is none of that id, ``no-run`` where there is none at all.
    """
    runs = project.runs()
    if wanted is not None:
        for run in runs:
            if run.run_id == wanted:
                return run
        raise InputRefusedError(
            f"The project has no run {wanted}.", code="unknown-run", hint="Leave --run out for the newest one."
        )
    cases = {c.case_id for c in project.cases() if not training or (c.split == "train" and not c.frozen)}
    for run in reversed(runs):
        if project.cases_done(run.run_id) & cases:
            return run
    kind = "training case" if training else "case"
    raise InputRefusedError(
        f"No run of the project is done with a {kind}.", code="no-run", hint="Run a model on the project first."
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--kind", choices=("fp", "fn"), help="false positives (fp) or misses (fn) alone; both where left out"
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.workflows.hard_examples import queue_of_run
    from napari_medlab.project import Project

    fp_per_scan = options.fp_per_scan or FP_PER_SCAN
    with Project.open(options.folder, read_only=True) as project:
        run = choose_run(project, options.run, training=True)
        names = {case.case_id: case.name for case in project.cases()}
        verdicts = project.verdicts(run.run_id)
        models = {bundle.hash: bundle.name for bundle in project.bundles()}
        items = [
            {
                **item.as_json(),
                "case": names[item.case_id],
                "verdict": verdicts[item.object_id].verdict if item.object_id in verdicts else None,
            }
            for item in queue_of_run(project, run.run_id, fp_per_scan)
            if options.kind in (None, item.kind)
        ]
    return {
        "run_id": run.run_id,
        "model": models.get(run.bundle_hash),
        "fp_per_scan": fp_per_scan,
        "items": items,
    }


VERB = Verb("queue", "list the errors of a run on training cases, worst first", _configure, _run)
