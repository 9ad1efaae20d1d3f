"""The part of ``napari-medlab export`` that writes findings, or a run's candidates, in a format of exchange."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from napari_medlab.exchange.collecting import Selection
    from napari_medlab.project import Project

__all__ = ["OPTIONS", "add_object_arguments", "objects_asked_for", "write_objects"]

OPTIONS = {"cases": "--cases", "labels": "--labels", "filter": "--filter", "images": "--images", "no_text": "--no-text",
           "shared_voxels": "--shared-voxels"}  # fmt: skip
"""The options that only these formats know, by their places."""


def add_object_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is asked about these formats; nothing of it has a default that could not be told from being left out."""
    add = parser.add_argument_group("formats of exchange").add_argument
    add("--cases", nargs="+", metavar="CASE", help="these cases alone, by name or id (default: all)")
    add("--labels", nargs="+", metavar="CLASS", help="objects of these classes alone")
    add(
        "--filter", metavar="NAME",
        help="objects of the run that a filter saved in the project lets through; findings among them too",
    )  # fmt: skip
    add(
        "--images", action=argparse.BooleanOptionalAction,
        help="whether the images go along, as pixels and geometry alone (default: where a format is made to train on)",
    )  # fmt: skip
    add(
        "--no-text",
        action="store_true",
        default=None,
        help="somebody looked: no image has a name in its pixels",
    )
    add(
        "--shared-voxels", choices=("refuse", "last"),
        help="what becomes of voxels that several objects share in a label map (default: refuse)",
    )  # fmt: skip


def objects_asked_for(options: argparse.Namespace) -> list[str]:
    """Return the options about these formats that were given."""
    return [name for place, name in OPTIONS.items() if getattr(options, place) is not None]


def write_objects(options: argparse.Namespace) -> dict[str, Any]:
    """Write them, tell how it goes on standard error, and return what came of it."""
    from napari_medlab.exchange.exporting import Outgoing, export_objects
    from napari_medlab.project import Project

    if options.fp_per_scan is not None and options.filter is None:
        raise InputRefusedError(
            "--fp-per-scan chooses among the errors of a run; this format holds every object.",
            code="option",
            hint="Leave --fp-per-scan out, or name a filter with --filter.",
        )
    outgoing = Outgoing(
        options.format,
        options.images,
        bool(options.no_text),
        options.shared_voxels or "refuse",
        options.spread,
    )
    with Project.open(options.folder) as project:
        selection = _selection(project, options)
        done = export_objects(project, options.out.absolute(), outgoing, selection, on_progress=_show)
    for count, what in (
        (len(done.left_out), f"cases cannot be told in {done.format}, and are left out"),
        (done.excluded_left_out, f"findings do not count, which {done.format} cannot say, and are left out"),
        (
            done.unread,
            "cases were read by nobody: that nothing is told of them does not mean that there is nothing",
        ),
        (done.without_outline, "objects have neither an outline nor a size, and are left out of outlines"),
    ):
        if count:
            sys.stderr.write(f"{count} {what}\n")
    return {**asdict(done), "run_id": done.run_id or None}


def _selection(project: Project, options: argparse.Namespace) -> Selection:
    from napari_medlab.exchange.collecting import Selection

    asked = Selection(
        cases=tuple(options.cases or ()),
        split=options.split or "",
        labels=frozenset(options.labels or ()),
        object_ids=None if options.filter is None else _let_through(project, options),
    )
    return replace(asked, run_id=_run(project, options, asked))


def _run(project: Project, options: argparse.Namespace, asked: Selection) -> str:
    """Return the run that was named; for LUNA16 tables, which hold both, the newest on volumes that are asked for, if any."""
    from napari_medlab.cli.queue import choose_run

    if options.run is not None:
        return choose_run(project, options.run, training=False).run_id
    if options.format != "luna16":
        return ""
    volumes = {case.case_id for case in asked.chosen(project) if case.kind == "volume"}
    done = [run.run_id for run in project.runs() if project.cases_done(run.run_id) & volumes]
    return done[-1] if done else ""


def _let_through(project: Project, options: argparse.Namespace) -> frozenset[str]:
    """Return the objects that a saved filter lets through, among the errors of a run."""
    from napari_medlab.cli.queue import FP_PER_SCAN, choose_run
    from napari_medlab.hardcases.errors.filters import QueueFilter, context_of_run
    from napari_medlab.hardcases.errors.table import ERROR_KINDS
    from napari_medlab.models.workflows.hard_examples import queue_of_run

    known = project.filters()
    if options.filter not in known:
        raise InputRefusedError(
            f"The project has no filter {options.filter!r:.80}.",
            code="unknown-filter",
            hint=f"It has {', '.join(map(repr, sorted(known))) or 'none yet'}.",
        )
    saved, run = QueueFilter.from_json(known[options.filter]), choose_run(project, options.run, training=True)
    kinds = [kind for kind in ERROR_KINDS if kind in saved.kinds] or ["fp", "fn"]
    table = queue_of_run(project, run.run_id, options.fp_per_scan or FP_PER_SCAN, kinds)
    chosen = table.where(saved.mask(table, context_of_run(project, run.run_id, table)))
    return frozenset(item.object_id for item in chosen)


def _show(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total} cases" + ("\n" if done == total else ""))
