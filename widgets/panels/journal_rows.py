"""What the journal's panel shows of an experiment: cells, order, and all that is known in lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.reports.experiments import Experiment

__all__ = [
    "COLUMNS",
    "DATE",
    "DIFFERENCE",
    "FIGURE",
    "MODEL",
    "cells",
    "descent",
    "sign",
    "sorted_experiments",
    "told",
]

COLUMNS = ("", "Date", "Model", "Fig.", "Δ")
DATE, MODEL, FIGURE, DIFFERENCE = range(1, 5)
SIGNS = {"current": ("★", "#F0E442"), "published": ("☆", "#F0E442"), "may be published": ("✓", "#009E73"),
         "refused": ("✗", "#D55E00"), "": ("·", "#999999")}  # fmt: skip
"""For each state its sign in the list, and its colour."""
DIGITS = 6
"""Of a hash, as many as fit into the narrowest panel."""


def sign(each: Experiment) -> tuple[str, str]:
    """Return the sign of what became of a model, and its colour."""
    return SIGNS["published"] if each.published and not each.is_current else SIGNS[each.state]


def cells(rows: Sequence[Experiment]) -> list[tuple[str, ...]]:
    """Return what stands in the columns of each row, figures with what they are of.

    What most rows share is left out: one year, the most frequent name.
    """
    is_one_year = len({each.at[:4] for each in rows}) < 2
    (usual, count), *_ = [*Counter(each.name for each in rows).most_common(1), ("", 0)]
    return [
        (
            sign(each)[0], each.at[5 if is_one_year else 0 : 10],
            each.about[:DIGITS] if each.name == usual and count > 1 else each.title,
            "" if each.figure is None else f"{briefly(each.figure.metric)} {each.figure.value:.3f}",
            "" if each.difference is None else f"{each.difference.value:+.3f}",
        )
        for each in rows
    ]  # fmt: skip


def briefly(metric: str) -> str:
    """Return what a figure is of, for a narrow column: ``"sens."`` for a sensitivity at any rate."""
    return "sens." if metric.startswith("sensitivity") else metric


def tip(each: Experiment) -> str:
    """Return what a row is about, in a line."""
    figure = "" if each.figure is None else f", {each.figure.metric} {each.figure}"
    return f"{each.title}, {each.at[:10]}{figure}: {each.state or 'never judged'}"


def sorted_experiments(rows: Sequence[Experiment], column: int, is_falling: bool) -> list[Experiment]:
    """Return rows, oldest first, in the order of a column; those without a value come last either way."""
    place = {each.about: number for number, each in enumerate(rows)}
    keys: dict[int, Callable[[Experiment], str | float | None]] = {
        0: lambda each: each.state, DATE: lambda each: f"{each.at} {place[each.about]:09d}",
        MODEL: lambda each: each.title.casefold(),
        FIGURE: lambda each: None if each.figure is None else each.figure.value,
        DIFFERENCE: lambda each: None if each.difference is None else each.difference.value,
    }  # fmt: skip
    key = keys[column]
    known = [each for each in rows if key(each) is not None]
    rest = [each for each in rows if key(each) is None]
    return [*sorted(known, key=lambda each: key(each) or 0, reverse=is_falling), *rest]


def descent(rows: Sequence[Experiment], about: str) -> set[str]:
    """Return a model and those that it comes from."""
    parents, line = {each.about: each.parent for each in rows}, set[str]()
    while about in parents and about not in line:
        line.add(about)
        about = parents[about]
    return line


def told(each: Experiment) -> str:
    """Return all that is known of a row, one line for each thing."""
    origin = f"{each.at[:16].replace('T', ' ')} UTC, {each.origin}"
    if each.parent:
        origin += f" in round {each.round} from {each.parent_title}"
    lines = [each.title, origin]
    if each.figure is not None:
        lines.append(f"{each.figure.metric} {each.figure}")
    if each.reason:
        lines.append(each.reason)
    elif each.difference is not None:
        lines.append(f"{each.difference.text(signed=True)} against {each.against_title}")
    if each.is_current or each.published:
        lines.append(
            "It is the current model."
            if each.is_current
            else f"It was published on {each.published[-1][:10]}, and is not current any more."
        )
    if each.corrected:
        lines.append(f"It rests on {each.corrected:,} corrected object{'' if each.corrected == 1 else 's'}.")
    return "\n".join([*lines, *(f"• {phrase}" for phrase in each.changed)])
