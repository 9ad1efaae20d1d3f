"""The part of ``napari-medlab compare`` that looks into a project, and that writes the page to keep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.comparison_text import comparison_text
from napari_medlab.cli.studies import resampling
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import argparse

    from napari_medlab.evaluation import Comparison, Resampling
    from napari_medlab.project import Project, RunRecord
    from napari_medlab.reports.comparison import ReportOptions

__all__ = ["compare_in_project", "drawing", "is_called", "report_on_files", "with_text"]

LEAST_DIGITS = 8
"""So many digits of a hash name a model."""


def drawing(options: argparse.Namespace) -> Resampling:
    """Return how to resample: as asked for, and as is usual for projects and pages where nothing was."""
    from napari_medlab.evaluation import Resampling

    if options.bootstrap == 0 and (options.folder is not None or options.report is not None):
        return Resampling(seed=options.seed, spread=options.spread)
    return resampling(options)


def compare_in_project(options: argparse.Namespace) -> dict[str, Any]:
    """Compare two runs of a project on the cases that both are done with, and write the page where one was asked for."""
    from napari_medlab.project import Project
    from napari_medlab.reports.comparison import ReportOptions
    from napari_medlab.reports.run_figures import Measure, compared_runs

    measure = Measure(options.rule, options.iou or Measure.iou, drawing(options))
    with Project.open(options.folder, read_only=True) as project:
        before, after = _runs(project, options)
        ids, split = (before.run_id, after.run_id), options.split or "test"
        compared = compared_runs(project, ids, split, measure, fp_per_scan=options.fp_per_scan)
        dice = compared.dice.as_json() if compared.dice is not None else None
        said = {"split": split, "runs": list(ids), "dice": dice, **compared.comparison.as_json()}
        names = _name(project, before, 0), _name(project, after, 1)
        if options.report is not None:
            how = ReportOptions(
                ids, measure, options.with_names, on_progress=_tell_progress, dice=compared.dice
            )
            said |= _written(project, compared.comparison, names, (options.report, how))
        return with_text(options, said, names)


def with_text(options: argparse.Namespace, said: dict[str, Any], names: tuple[str, str]) -> dict[str, Any]:
    """Return the document, and with it what people are shown where nobody asked for the document itself."""
    return said if options.json else {**said, "text": comparison_text(said, names)}


def report_on_files(options: argparse.Namespace, comparison: Comparison) -> dict[str, Any]:
    """Write the page about two files of candidates where one was asked for; there are no images to picture."""
    if options.report is None:
        return {}
    from napari_medlab.reports.comparison import ReportOptions
    from napari_medlab.reports.run_figures import Measure

    how = ReportOptions(measure=Measure(options.rule, options.iou or Measure.iou, drawing(options)))
    names = Path(options.a).stem, Path(options.b).stem
    return _written(None, comparison, names, (options.report, how))


def _written(
    project: Project | None, comparison: Comparison, names: tuple[str, str], where: tuple[Path, ReportOptions]
) -> dict[str, Any]:
    from napari_medlab.durable import make_folder
    from napari_medlab.reports.comparison import write_comparison_report

    folder, how = where
    make_folder(folder.absolute())
    return {"report": str(write_comparison_report(project, comparison, names, folder.absolute(), how))}


def _runs(project: Project, options: argparse.Namespace) -> tuple[RunRecord, RunRecord]:
    """Return the runs that were named, or those of the last judgement."""
    if options.runs is not None:
        before, after = (_run_named(project, wanted) for wanted in options.runs)
        return before, after
    judged = project.judgements()
    if not judged:
        raise InputRefusedError(
            "Nobody said which runs are to be compared, and no model of the project was judged.", code="no-runs",
            hint="Name two with --runs, or judge a model: napari-medlab models judge DIR.",
        )  # fmt: skip
    return project.run(judged[-1].against_run_id), project.run(judged[-1].run_id)


def _run_named(project: Project, wanted: str) -> RunRecord:
    """Return a run by its id, or the newest one of a model by its hash, or of predictions made elsewhere by their name."""
    runs = project.runs()
    for run in reversed(runs):
        is_of_model = len(wanted) >= LEAST_DIGITS and run.bundle_hash.startswith(wanted)
        if run.run_id == wanted or is_of_model or is_called(run, wanted):
            return run
    known = ", ".join(run.run_id for run in runs)
    raise InputRefusedError(
        f"The project has no run {wanted:.80}, and none of a model with this hash.",
        code="unknown-run",
        hint=f"It has {known}." if known else "Run a model on it first: napari-medlab project run DIR.",
    )


def is_called(run: RunRecord, name: str) -> bool:
    """Tell whether a run holds predictions made elsewhere that were given this name when they came in."""
    return not run.bundle_hash and run.configuration.get("model") == name


def _name(project: Project, run: RunRecord, place: int) -> str:
    """Return what a run is called on the page: its model, or what predictions from elsewhere were called."""
    names = {bundle.hash: bundle.name for bundle in project.bundles()}
    model = names.get(run.bundle_hash) or str(run.configuration.get("model", ""))
    return f"{model} {(run.bundle_hash or run.run_id)[:12]}".strip() or ("before", "after")[place]


def _tell_progress(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total} cases pictured" + ("\n" if done == total else ""))
