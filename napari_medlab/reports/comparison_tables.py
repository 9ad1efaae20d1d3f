"""The tables of a comparison as markup."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.bootstrap import percentile_interval
from napari_medlab.evaluation.froc import FP_POINTS, match_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation import Comparison, Transitions
    from napari_medlab.reports.plots import RecallLine, Series

__all__ = ["count_table", "figure_table", "strata_table", "transition_table"]

FRACTIONS = {0.125: "1/8", 0.25: "1/4", 0.5: "1/2"}


def figure_table(comparison: Comparison, recall: Sequence[RecallLine], names: tuple[str, str]) -> str:
    """Return the figures of both models, and their paired difference, each with its interval."""
    a, b = comparison.a, comparison.b
    nothing = np.zeros((0, len(FP_POINTS)))
    drawn = [each.intervals.samples if each.intervals is not None else nothing for each in (a, b)]
    rows = [_figures("CPM", (a.curve.cpm, b.curve.cpm), [each.mean(axis=1) for each in drawn])]
    for column, point in enumerate(FP_POINTS):
        values = float(a.curve.sensitivity_at(point)), float(b.curve.sensitivity_at(point))
        title = f"Sensitivity at {FRACTIONS.get(point, f'{point:g}')} FP per scan"
        rows.append(_figures(title, values, [each[:, column] for each in drawn]))
    areas = [line.band.areas if line.band is not None else np.zeros(0) for line in recall]
    rows.append(_figures("Average precision", [line.curve.average_precision for line in recall], areas))
    return _table(("", *names, "difference"), rows)


def count_table(comparison: Comparison, names: tuple[str, str]) -> str:
    """Return the counts of both models at their operating points, and what adds up to the difference."""
    changes = comparison.transitions.counts
    counts = [
        match_at(each.match, threshold).counts
        for each, threshold in (
            (comparison.a, comparison.threshold_a),
            (comparison.b, comparison.threshold_b),
        )
    ]
    sums = {
        "tp": f"+ {changes['fixed']} fixed − {changes['regressed']} broken",
        "fn": f"− {changes['fixed']} fixed + {changes['regressed']} broken",
        "fp": f"+ {changes['new_false_positive']} new − {changes['removed_false_positive']} removed",
    }
    titles = {"tp": "Findings that are found", "fn": "Findings that are missed", "fp": "False positives"}
    rows = [
        (title, str(counts[0][kind]), str(counts[1][kind]), sums[kind])  # type: ignore[index]
        for kind, title in titles.items()
    ]
    return _table(("", *names, "what changed"), rows)


def transition_table(changes: Transitions, sections: Mapping[str, str]) -> str:
    """Return how many lesions changed in which way, each a link to its pictures."""
    rows = "".join(
        f'<tr><td><a href="#{kind}">{escape(title)}</a></td><td>{len(getattr(changes, kind))}</td></tr>'
        for kind, title in sections.items()
    )
    return f"<table><tr><th></th><th>count</th></tr>{rows}</table>"


def strata_table(series: Sequence[Series]) -> str:
    """Return the sensitivities of both models in each stratum."""
    rows = [
        (
            each.name,
            str(each.count),
            *(_with_interval(one.estimates[n].value, one.estimates[n].interval) for one in series),
        )
        for n, each in enumerate(series[0].estimates)
    ]
    return _table(("Stratum", "findings", *(one.name for one in series)), rows)


def _figures(title: str, values: Sequence[float], drawn: Sequence[NDArray[np.float64]]) -> tuple[str, ...]:
    """Return one figure of both models, and its paired difference."""
    ends = [percentile_interval(each) for each in drawn]
    paired = percentile_interval(drawn[1] - drawn[0])
    each = (_with_interval(value, interval) for value, interval in zip(values, ends, strict=True))
    return (title, *each, _with_interval(values[1] - values[0], paired, signed=True))


def _with_interval(value: float, interval: tuple[float, float], *, signed: bool = False) -> str:
    """Return a figure with its interval; a dash where it does not exist."""
    if not np.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    low, high = interval
    ends = f" ({low:{sign}.3f} to {high:{sign}.3f})" if np.isfinite(interval).all() else ""
    return f"{value:{sign}.3f}{ends}"


def _table(titles: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
