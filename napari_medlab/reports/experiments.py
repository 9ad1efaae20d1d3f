"""The journal of experiments as a table: one dated row for each model, written as Markdown or CSV, and drawn as a curve."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.annotations.formats.csv_tables import neutral_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "AXES",
    "Experiment",
    "Figure",
    "as_csv",
    "as_json",
    "as_markdown",
    "metrics_of",
    "points_of",
    "without",
]

Axis = Literal["round", "corrected"]
AXES: tuple[Axis, ...] = ("round", "corrected")
"""What a curve runs over: rounds of training, or corrected objects that the models rest on."""

MARKUP = re.compile(r"([\\`*_{}\[\]<>#|!&~])")
"""What Markdown would take for more than text."""


@dataclass(frozen=True)
class Figure:
    """A figure with the ends of its interval, which are None where it has none; ``metric`` says of what, in words."""

    metric: str
    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return self.text()

    def text(self, *, signed: bool = False) -> str:
        """Return the figure as ``0.712 (0.650 to 0.771)``; ``signed`` for differences."""
        form = "{:+.3f}" if signed else "{:.3f}"
        value = form.format(self.value)
        if self.low is None or self.high is None:
            return value
        return f"{value} ({form.format(self.low)} to {form.format(self.high)})"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        interval = None if self.low is None else [self.low, self.high]
        return {"metric": self.metric, "value": self.value, "interval": interval}


@dataclass(frozen=True)
class Experiment:
    """One model, or predictions that were made elsewhere, as a row of the journal.

    Parameters
    ----------
    about : str
        The hash of the bundle; for predictions that were made elsewhere, the id of their run.
    at : str
        When it was made, or came into the project: UTC, ISO 8601.
    name, origin : str
        ``origin`` is ``"trained"``, ``"imported"``, ``"shipped"`` or ``"predictions"``.
    parent, parent_name : str
        The hash and name of what it was trained from; empty for none. The name is empty for a model that is not in the project.
    round : int
        How many trainings lie between it and a model without a known parent.
    changed : tuple of str
        What is not as in its parent, one phrase each.
    packages, examples : int
        How many packages it was trained on, and how many examples they hold.
    edits, corrected : int
        How many edits of readers are in what it and its ancestors were trained on, and how many objects these are about.
    figure : Figure or None
        What it reaches on the frozen test cases.
    difference : Figure or None
        By how much that is more than what ``against`` reaches, the same patients being resampled for both.
    against, against_name : str
        Its parent where that can be told, otherwise the model that it was held against.
    verdict, reason : str
        What the judge said of it: ``"may be published"`` or ``"refused"``, and why; empty where it was not judged.
    published : tuple of str
        When it became the current model, oldest first.
    is_current : bool
    conclusion : str
        What people wrote about it.
    run_id, against_run_id : str
        The runs on the test cases that the figures are of; empty for none.
    """

    about: str
    at: str
    name: str
    origin: str
    parent: str = ""
    parent_name: str = ""
    round: int = 0
    changed: tuple[str, ...] = ()
    packages: int = 0
    examples: int = 0
    edits: int = 0
    corrected: int = 0
    figure: Figure | None = None
    difference: Figure | None = None
    against: str = ""
    against_name: str = ""
    verdict: str = ""
    reason: str = ""
    published: tuple[str, ...] = ()
    is_current: bool = False
    conclusion: str = ""
    run_id: str = ""
    against_run_id: str = ""

    @property
    def title(self) -> str:
        """The name with the first eight digits of the hash."""
        return _titled(self.name, self.about)

    @property
    def parent_title(self) -> str:
        """The same of what it was trained from; empty for none."""
        return _titled(self.parent_name, self.parent)

    @property
    def against_title(self) -> str:
        """The same of what the difference is to; empty for none."""
        return _titled(self.against_name, self.against)

    @property
    def state(self) -> str:
        """Whether it is or was the current model, otherwise what the judge said."""
        if self.is_current:
            return "current"
        return f"published {self.published[-1][:10]}" if self.published else self.verdict

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain JSON values."""
        return {
            "about": self.about, "at": self.at, "model": self.name, "origin": self.origin, "parent": self.parent or None,
            "round": self.round, "changed": list(self.changed), "packages": self.packages, "examples": self.examples,
            "edits": self.edits, "corrected": self.corrected,
            "figure": None if self.figure is None else self.figure.as_json(),
            "difference": None if self.difference is None else {**self.difference.as_json(), "against": self.against},
            "verdict": self.verdict, "reason": self.reason, "published": list(self.published), "current": self.is_current,
            "conclusion": self.conclusion, "run_id": self.run_id or None,
        }  # fmt: skip


COLUMNS = (
    "date", "model", "hash", "parent", "round", "what changed", "packages", "examples", "edits", "corrected objects", "metric",
    "figure", "low", "high", "difference", "difference low", "difference high", "against", "state", "judge", "conclusion",
)  # fmt: skip


def without(rows: Iterable[Experiment], hide: Callable[[str], str]) -> list[Experiment]:
    """Return rows without what must not leave: ``hide`` is called with every text, and the judge's sentence is left out.

    That sentence says the figures once more, which are kept.
    """
    return [
        replace(
            row, name=hide(row.name), parent_name=hide(row.parent_name), against_name=hide(row.against_name), reason="",
            changed=tuple(map(hide, row.changed)), conclusion=hide(row.conclusion),
        )
        for row in rows
    ]  # fmt: skip


def as_json(rows: Sequence[Experiment]) -> dict[str, Any]:
    """Return what ``napari-medlab journal`` prints."""
    return {"experiments": [row.as_json() for row in rows]}


def as_csv(rows: Iterable[Experiment]) -> str:
    """Return rows as CSV, UTF-8 text; no cell is run as a formula, and numbers are written with all their digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([neutral_text(cell) if isinstance(cell, str) else cell for cell in _cells(row)])
    return text.getvalue()


def as_markdown(rows: Sequence[Experiment]) -> str:
    """Return rows as a table in Markdown, the newest first, with a section for each conclusion of several lines."""
    heads = (
        "date",
        "model",
        "trained from",
        "what changed",
        "corrected",
        "figure",
        "difference",
        "state",
        "conclusion",
    )
    lines = ["# Journal of experiments", "", _line(heads), _line(["---"] * len(heads))]
    for row in reversed(rows):
        difference = (
            ""
            if row.difference is None
            else f"{row.difference.text(signed=True)} against {row.against_title}"
        )
        lines.append(_line([
            row.at[:10], row.title, row.parent_title, "; ".join(row.changed), f"{row.corrected:,} objects",
            "" if row.figure is None else f"{row.figure.metric} {row.figure}", difference, row.state, row.conclusion,
        ]))  # fmt: skip
    return "\n".join(
        [*lines, "", "Intervals hold 95 % unless the judge was set otherwise; patients are resampled.", ""]
    )


def metrics_of(rows: Iterable[Experiment]) -> list[str]:
    """Return the metrics that the rows have figures of, the most frequent first."""
    found = [row.figure.metric for row in rows if row.figure is not None]
    return sorted(dict.fromkeys(found), key=lambda metric: (-found.count(metric), metric))


def points_of(rows: Iterable[Experiment], metric: str, axis: Axis) -> list[tuple[float, Experiment]]:
    """Return where on an axis each row with a figure of a metric lies, from left to right."""
    known = [row for row in rows if row.figure is not None and row.figure.metric == metric]
    placed = [(float(row.round if axis == "round" else row.corrected), row) for row in known]
    return sorted(placed, key=lambda point: (point[0], point[1].at))


def _cells(row: Experiment) -> list[str | float | int | None]:
    figure, difference = (
        (None, None, None) if each is None else (each.value, each.low, each.high)
        for each in (row.figure, row.difference)
    )
    metric = "" if row.figure is None else row.figure.metric
    return [
        row.at, row.name, row.about, row.parent, row.round, "; ".join(row.changed), row.packages, row.examples, row.edits,
        row.corrected, metric, *figure, *difference, row.against_name, row.state, row.verdict, row.conclusion,
    ]  # fmt: skip


def _titled(name: str, digest: str) -> str:
    """Return what a model is called among others of its name; without a name where the project does not know it."""
    if not name and digest:
        return f"{digest[:8]}, not in this project"
    return f"{name} · {digest[:8]}" if digest else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return text if set(text) == {"-"} else MARKUP.sub(r"\\\1", " ".join(text.split()))
