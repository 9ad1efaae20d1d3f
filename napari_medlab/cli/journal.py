"""``napari-medlab journal DIR``: every model of a project as a dated row, what changed, how good it is, what was concluded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.tables import plain_table
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

    from napari_medlab.reports.experiments import Experiment

__all__ = ["VERB"]

FORMATS = ("markdown", "csv")


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="write the table in this format; names of the project are put out of it",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="where the table goes; it must not exist (standard output)"
    )
    parser.add_argument(
        "--with-names", action="store_true",
        help="leave names of files, patients, cases and readers in what people wrote: the table is then not for others",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="do not measure models that were never judged (large test sets)"
    )
    parser.add_argument(
        "--conclude", nargs=2, metavar=("MODEL", "TEXT"),
        help="store what you conclude about a model, by its name or the first digits of its hash; empty text takes it away",
    )  # fmt: skip


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.workflows.experiments import experiments_of, shareable_experiments
    from napari_medlab.project import Project
    from napari_medlab.reports.experiments import as_json

    if options.conclude is not None:
        return _conclude(options)
    kind = options.format or (
        "csv" if options.out is not None and options.out.suffix.lower() == ".csv" else None
    )
    if options.out is not None:
        kind = kind or FORMATS[0]
    with Project.open(options.folder, read_only=True) as project:
        rows = experiments_of(project, evaluate=not options.quick)
        if kind is not None and not options.with_names:
            rows = shareable_experiments(project, rows)
    if kind is None:
        return as_json(rows) if options.json else {**as_json(rows), "text": _text(rows)}
    return _written(rows, kind, options) if options.out is not None else _printed(rows, kind)


def _table(rows: list[Any], kind: str) -> str:
    from napari_medlab.reports.experiments import as_csv, as_markdown

    return as_csv(rows) if kind == "csv" else as_markdown(rows)


def _text(rows: list[Experiment]) -> str:
    """Return the table as plain text, the newest first, without what takes a page: ``--format`` has that."""
    heads = ("date", "model", "trained from", "corrected", "figure", "difference", "state", "conclusion")
    cells = [
        [
            row.at[:10],
            row.title,
            row.parent_title,
            str(row.corrected),
            "" if row.figure is None else f"{row.figure.metric} {row.figure}",
            "" if row.difference is None else row.difference.text(signed=True),
            row.state,
            row.conclusion,
        ]
        for row in reversed(rows)
    ]
    return plain_table(heads, cells)


def _written(rows: list[Any], kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Write the table into a file."""
    from napari_medlab.annotations.formats.files import write_new

    write_new(options.out, _table(rows, kind).encode())
    return {"format": kind, "out": str(options.out), "experiments": len(rows)}


def _printed(rows: list[Any], kind: str) -> dict[str, Any]:
    """Return the table, which is printed as it is where nobody asked for JSON, and the rows."""
    from napari_medlab.reports.experiments import as_json

    return {**as_json(rows), "format": kind, "text": _table(rows, kind)}


def _conclude(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.models.workflows.experiments import conclude, model_named
    from napari_medlab.project import Project

    name, text = options.conclude
    with Project.open(options.folder) as project:
        about = model_named(project, name)
        conclude(project, about, text)
        return {"about": about, "conclusion": project.conclusions().get(about, "")}


VERB = Verb(
    "journal",
    "every model as a dated row: what changed, how good it is, what was concluded",
    _configure,
    _run,
)
