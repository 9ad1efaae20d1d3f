"""``napari-medlab queue DIR``: where a run went wrong, worst first, as the review panel shows it."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.compare import positive
from napari_medlab.cli.comparing import is_called
from napari_medlab.cli.queue_text import queue_text
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.hardcases.errors.filters import FieldValue, QueueFilter, Span
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.next_cases import NextCases
    from napari_medlab.project import Project, RunRecord

__all__ = ["FP_PER_SCAN", "VERB", "add_run_arguments", "choose_run"]

FP_PER_SCAN = 1.0
"""The operating point where none is asked for."""
UNREAD = "unread"
KINDS = ("fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence", UNREAD)
"""The kinds of error that follow from one run and the verdicts on it, and what nobody has read yet."""
TOP = 20
"""So many rows are shown to people where they ask for no other number."""
CRITERIA, MEASURES = ("uncertainty", "diversity", "errors", "mixed"), ("entropy", "margin", "variance")
"""As :class:`~napari_medlab.models.workflows.next_cases.NextRule` takes them; a test holds the two together."""


def add_run_arguments(parser: argparse.ArgumentParser, elsewhere: str = "") -> None:
    """Add what every verb about a project's run is given: the project, the run and the operating point.

    ``elsewhere`` says where the usual operating point is another one.
    """
    parser.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    parser.add_argument(
        "--run",
        metavar="ID",
        help="the run to look at, by its id, or the name of predictions made elsewhere (default: the newest that has looked "
        "at cases in question)",
    )
    parser.add_argument(
        "--fp-per-scan",
        type=positive,
        metavar="X",
        help=f"the operating point ({FP_PER_SCAN:g} where left out{elsewhere})",
    )


def choose_run(project: Project, wanted: str | None, *, training: bool) -> RunRecord:
    """Return the run of an id or a name (the newest of predictions made elsewhere), or the newest that is done with a case.

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
        for run in reversed(runs):
            if run.run_id == wanted or is_called(run, wanted):
                return run
        raise InputRefusedError(
            f"The project has no run {wanted}.",
            code="unknown-run",
            hint="Leave --run out for the newest one.",
        )
    cases = {c.case_id for c in project.cases() if not training or (c.split == "train" and not c.frozen)}
    for run in reversed(runs):
        if project.cases_done(run.run_id) & cases:
            return run
    kind = "training case" if training else "case"
    raise InputRefusedError(
        f"No run of the project is done with a {kind}.",
        code="no-run",
        hint="Run a model on the project first.",
    )


def _configure(parser: argparse.ArgumentParser) -> None:
    from napari_medlab.evaluation.error_kinds import CAUSES
    from napari_medlab.hardcases.errors.filters import STATUSES

    add_run_arguments(parser)
    parser.add_argument(
        "--kind", action="append", type=_words, choices=KINDS, metavar="K",
        help=f"errors of this kind alone ({', '.join(k.replace(' ', '-') for k in KINDS)}); may be repeated; fp and fn "
        "where left out",
    )  # fmt: skip
    parser.add_argument(
        "--by", choices=CRITERIA, default=CRITERIA[0],
        help="which unread case comes first: that with most doubt, the one most unlike what was read, that with most errors to "
        "be expected, or doubt and unlikeness together (--kind unread; diversity and mixed look at the images)",
    )  # fmt: skip
    parser.add_argument(
        "--measure", choices=MEASURES, default=MEASURES[0],
        help="what doubt is: entropy, nearness to the operating point, or how far the runs of --with differ",
    )  # fmt: skip
    parser.add_argument(
        "--with", dest="others", action="append", metavar="ID", default=[],
        help="a further run for the variance; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--cases", dest="count", type=_count, metavar="N", help="so many unread cases (all where left out)"
    )
    parser.add_argument(
        "--cause", action="append", choices=CAUSES, metavar="C",
        help=f"errors of this cause alone ({', '.join(CAUSES)}); may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--filter", metavar="NAME", help="what a filter that was saved in the project lets through"
    )
    parser.add_argument(
        "--status", action="append", type=_words, choices=STATUSES, metavar="S",
        help="open, judged, or a verdict such as model-wrong; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--field", action="append", type=_field, metavar="NAME=VALUE",
        help="errors on cases whose field has this value, or lies in a range "
        "(slice_thickness_mm=0.5..1.5); may be repeated",
    )  # fmt: skip

    parser.add_argument(
        "--top", type=_top, default=TOP, metavar="N",
        help=f"so many rows are shown, or all of them (all); --json has all in any case (default: {TOP})",
    )  # fmt: skip


def _top(text: str) -> int | None:
    """Read how many rows are shown; None for all of them."""
    return None if text == "all" else _count(text)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text}")
    return value


def _words(text: str) -> str:
    """Return a name of several words, which may be typed with hyphens."""
    return text.replace("-", " ")


def _field(text: str) -> tuple[str, frozenset[FieldValue] | Span]:
    """Read ``NAME=VALUE`` or ``NAME=LOW..HIGH``; a value that is a number stands for the number and for its text."""
    from napari_medlab.hardcases.errors.filters import Span

    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    low, dots, high = value.partition("..")
    if dots and _number(low or "-inf") is not None and _number(high or "inf") is not None:
        try:
            return name, Span(float(low or "-inf"), float(high or "inf"))
        except InputRefusedError as error:
            raise argparse.ArgumentTypeError(error.message) from error
    number = _number(value)
    return name, frozenset([value] if number is None else [value, number])


def _fields(
    asked: Sequence[tuple[str, frozenset[FieldValue] | Span]],
) -> dict[str, frozenset[FieldValue] | Span]:
    """Return what each field may hold: several values of one field are alternatives."""
    wanted: dict[str, frozenset[FieldValue] | Span] = {}
    for name, value in asked:
        before = wanted.get(name, frozenset())
        if isinstance(value, frozenset) and isinstance(before, frozenset):
            wanted[name] = before | value
        elif before:
            raise InputRefusedError(
                f"The field {name} is given more than once, and not with values alone.",
                code="option",
                hint="Give one range, or any number of values.",
            )
        else:
            wanted[name] = value
    return wanted


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _saved_filter(project: Project, name: str | None) -> QueueFilter:
    """Return a filter of the project by its name; the one that lets everything through where none is asked for."""
    from napari_medlab.hardcases.errors.filters import QueueFilter

    if name is None:
        return QueueFilter()
    saved = project.filters()
    if name not in saved:
        known = f"It has {', '.join(map(repr, sorted(saved)))}." if saved else "It has none yet."
        raise InputRefusedError(f"The project has no filter {name!r}.", code="unknown-filter", hint=known)
    return QueueFilter.from_json(saved[name])


def _run(options: argparse.Namespace) -> dict[str, Any]:
    said, units = _errors(options)
    return said if options.json else {**said, "text": queue_text(said, units, options.top)}


def _errors(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the document that is printed, and the unit in which each case's places are given, by the case's id."""
    from napari_medlab.hardcases.errors.filters import QueueFilter, context_of_run
    from napari_medlab.hardcases.errors.table import ErrorTable
    from napari_medlab.models.workflows.hard_examples import queue_of_run
    from napari_medlab.project import Project

    fp_per_scan = options.fp_per_scan or FP_PER_SCAN
    asked = QueueFilter(
        causes=frozenset(options.cause or ()),
        status=frozenset(options.status or ()),
        fields=_fields(options.field or ()),
    )
    with Project.open(options.folder, read_only=True) as project:
        run = choose_run(project, options.run, training=True)
        saved = _saved_filter(project, options.filter)
        kinds: Sequence[Any] = options.kind or sorted(saved.kinds) or ("fp", "fn")
        table = queue_of_run(project, run.run_id, fp_per_scan, [kind for kind in kinds if kind != UNREAD])
        following = _next_cases(project, run, options) if UNREAD in kinds else None
        if following is not None:
            table = ErrorTable.joined([table, following.queue])
        context = context_of_run(project, run.run_id, table)
        models = {bundle.hash: bundle.name for bundle in project.bundles()}
        cases = project.cases()
    planar = {case.case_id for case in cases if case.kind != "volume"}
    units = {case.case_id: (case.grid or {}).get("unit", "") for case in cases}
    items = [
        {
            **item.as_json(),
            # beside volumes, what lies on planar images has a third coordinate
            "centre": list(item.centre[:2] if item.case_id in planar else item.centre),
            "case": context.case_names[item.case_id],
            "verdict": context.verdicts[item.object_id].verdict
            if item.object_id in context.verdicts
            else None,
        }
        for item in table.where(saved.mask(table, context) & asked.mask(table, context))
    ]
    said = {
        "run_id": run.run_id,
        "model": models.get(run.bundle_hash) or run.configuration.get("model"),
        "fp_per_scan": fp_per_scan,
        "items": items,
        **({} if following is None else {"cases": [case.as_json() for case in following.cases]}),
    }
    return said, units


def _next_cases(project: Project, run: RunRecord, options: argparse.Namespace) -> NextCases:
    """Rank the unread cases of a run; where that needs an embedding, the images are looked at."""
    from napari_medlab.models.workflows.embed import embed_run
    from napari_medlab.models.workflows.next_cases import NextRule, next_cases

    rule = NextRule(
        options.by, options.measure, fp_per_scan=options.fp_per_scan or FP_PER_SCAN, count=options.count
    )
    embedded = None
    if rule.needs_vectors:
        embedded = embed_run(project, run.run_id, _bundle_of(project, run), on_progress=_tell_progress)
        sys.stderr.write("\n")
    return next_cases(project, run.run_id, rule, others=options.others, embedded=embedded)


def _bundle_of(project: Project, run: RunRecord) -> Bundle | None:
    """Return the model of a run; None where its files are not here."""
    from napari_medlab.models.bundles import read_bundle

    record = next((each for each in project.bundles() if each.hash == run.bundle_hash), None)
    if record is None:
        return None
    try:
        return read_bundle(project.folder / record.path)
    except InputRefusedError:
        return None


def _tell_progress(done: int, total: int) -> None:
    sys.stderr.write(f"\rlooking at {done} of {total} objects")


VERB = Verb("queue", "list the errors of a run on training cases, worst first", _configure, _run)
