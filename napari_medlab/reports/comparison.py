"""Two models side by side as one self-contained page: curves, figures, strata, and a picture of every lesion that changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from napari_medlab.durable import replace_file
from napari_medlab.evaluation.bootstrap import BootstrapResult, Resampling, resample
from napari_medlab.evaluation.precision_recall import precision_recall
from napari_medlab.project.records import CaseRecord
from napari_medlab.reports.comparison_tables import count_table, figure_table, strata_table, transition_table
from napari_medlab.reports.lesion_figures import LesionFigures, case_keys
from napari_medlab.reports.lesion_outlines import Side
from napari_medlab.reports.pictures import OUTLINE_COLOURS
from napari_medlab.reports.plots import (
    BAND_POINTS,
    FrocLine,
    RecallLine,
    as_svg,
    froc_figure,
    recall_figure,
    strata_figure,
)
from napari_medlab.reports.recall_bands import recall_band
from napari_medlab.reports.run_figures import Measure
from napari_medlab.reports.run_strata import compared_strata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.figure import Figure

    from napari_medlab.evaluation import Comparison
    from napari_medlab.evaluation.paired import PairedDifference
    from napari_medlab.project import Project

__all__ = ["ReportOptions", "write_comparison_report"]

SECTIONS = {
    "fixed": "Fixed: missed before, found now",
    "regressed": "Broken: found before, missed now",
    "still_missed": "Still missed",
    "new_false_positive": "New false positives",
    "removed_false_positive": "Removed false positives",
}
LEGEND = {"reference": "reference", "before": "model before", "after": "model after"}
STYLE = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222;
background:#fff}
h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.15em;margin:1.8em 0 .5em}
table{border-collapse:collapse;margin:.6em 0;font-variant-numeric:tabular-nums}
td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
td:first-child,th:first-child{text-align:left}th{font-weight:600}.big{font-size:1.2em}.quiet{color:#666}
.plots{display:flex;flex-wrap:wrap;gap:12px}.plots svg{flex:1 1 440px;max-width:490px;min-width:0;height:auto}
svg.wide{max-width:640px;height:auto}
figure{display:inline-block;margin:0 10px 12px 0;width:170px;vertical-align:top}
figure img,.none{width:170px;height:170px;background:#000;display:block}
.none{color:#ccc;box-sizing:border-box;padding:4em 1em;text-align:center;font-size:12px}
figcaption{font-size:12px;line-height:1.35}.key{display:inline-block;width:22px;border-top:3px solid;margin:0 5px 4px 14px;
vertical-align:middle}
@media print{@page{margin:14mm}body{margin:0;max-width:none;font-size:11pt}figure,tr,svg{break-inside:avoid}
h2{break-after:avoid}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""


@dataclass(frozen=True)
class ReportOptions:
    """How a report is written.

    Parameters
    ----------
    runs : (before, after)
        The runs whose outlines are drawn in the pictures; empty ids for none.
    measure : Measure
        The rule that both were matched by.
    with_names : bool
        Whether cases are called by their names and free columns told as they are. Without, as is usual, they have the
        keys under which the project would be shared, and nothing that was typed about a patient is on the page.
    most_pictures : int
        How many lesions of each kind are pictured; the rest is counted.
    on_progress : callable, optional
        Told how many of how many cases are pictured.
    dice : PairedDifference, optional
        Of the models' outlines, which then comes first.
    """

    runs: tuple[str, str] = ("", "")
    measure: Measure = field(default_factory=Measure)
    with_names: bool = False
    most_pictures: int = 60
    on_progress: Callable[[int, int], None] | None = None
    dice: PairedDifference | None = None


def write_comparison_report(
    project: Project | None,
    comparison: Comparison,
    names: tuple[str, str],
    folder: Path,
    options: ReportOptions | None = None,
) -> Path:
    """Write ``report.html`` (or ``report-2.html`` …: nothing is overwritten) and return its path.

    The page needs nothing beside it, no network and no script. It can be printed.

    Parameters
    ----------
    project : whose cases are pictured; without one there are neither pictures nor strata
    comparison : with ``a`` before and ``b`` after
    names : of the two models
    folder : must exist
    options : ReportOptions, optional
    """
    page = _Page(project, comparison, names, options or ReportOptions())
    path = _free_name(folder)
    replace_file(path, page.text().encode())
    return path


class _Page:
    """One page under construction."""

    def __init__(
        self, project: Project | None, comparison: Comparison, names: tuple[str, str], options: ReportOptions
    ) -> None:
        self._project, self._comparison, self._names, self._options = project, comparison, names, options
        compared = set(comparison.a.match.cases)
        self._cases = (
            [case for case in project.cases() if case.case_id in compared]
            if project is not None
            else [CaseRecord(case_id, "", case_id) for case_id in comparison.a.match.cases]
        )
        self._groups = {case.case_id: case.group for case in self._cases}
        self._resampling = Resampling(len(comparison.a.intervals.samples) if comparison.a.intervals else 0)

    def text(self) -> str:
        """Return the whole page."""
        before, after = map(escape, self._names)
        return "\n".join(
            [
                '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>Model comparison: {before} and {after}</title><style>{STYLE}</style></head><body>",
                f"<h1>{before} → {after}</h1>",
                self._subtitle(),
                self._verdict(),
                *self._curves(),
                *self._changes(),
                *self._strata(),
                *self._lesions(),
                "</body></html>\n",
            ]
        )

    def _subtitle(self) -> str:
        patients, findings = len(set(self._groups.values())), self._comparison.a.match.n_findings
        return (
            f'<p class="quiet">{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {self._comparison.n_cases} scans of {patients} '
            f"patients, {findings} findings · {escape(self._options.measure.in_words())}.</p>"
        )

    def _verdict(self) -> str:
        compared, dice = self._comparison, self._options.dice
        figures = [("CPM", compared.cpm_a, compared.cpm_b, compared.difference_interval, compared.p_value)]
        if dice is not None:
            figures.insert(0, ("Dice of its outlines", dice.a, dice.b, dice.interval, dice.p_value))
        return "\n".join(_verdict_by(*figure) for figure in figures)

    def _curves(self) -> list[str]:
        a, b = self._comparison.a, self._comparison.b
        matches, replicates = (a.match, b.match), self._resampling
        samples = resample(matches, replicates, BAND_POINTS, self._groups)
        bands = [BootstrapResult(BAND_POINTS, drawn) if replicates.replicates else None for drawn in samples]
        recall_bands = [recall_band(match, replicates, self._groups) for match in matches]
        froc_lines = [
            FrocLine(name, each.curve, band)
            for name, each, band in zip(self._names, (a, b), bands, strict=True)
        ]
        recall_lines = [
            RecallLine(name, precision_recall(match), band)
            for name, match, band in zip(self._names, matches, recall_bands, strict=True)
        ]
        return [
            f'<div class="plots">{_inline(froc_figure(froc_lines))}{_inline(recall_figure(recall_lines))}</div>',
            '<p class="quiet">Bands and brackets: 95 % intervals, patients resampled; differences are of the same patients. '
            "p: permutation test, the models swapped for a random half of the patients.</p>",
            figure_table(self._comparison, recall_lines, self._names),
        ]

    @property
    def _point(self) -> str:
        allowed = self._comparison.fp_per_scan
        return f"{allowed:g} false positive{'' if allowed == 1 else 's'} per scan"

    def _changes(self) -> list[str]:
        return [
            "<h2>What changed</h2>",
            f'<p class="quiet">Each model stands at its own threshold of {self._point}.</p>',
            transition_table(self._comparison.transitions, SECTIONS),
            count_table(self._comparison, self._names),
        ]

    def _strata(self) -> list[str]:
        if self._project is None:
            return []
        strata = compared_strata(
            self._project, self._comparison, self._cases, with_names=self._options.with_names
        )
        if not strata[0].estimates:
            return []
        series = [type(one)(name, one.estimates) for name, one in zip(self._names, strata, strict=True)]
        return [
            "<h2>By stratum</h2>",
            f'<p class="quiet">Sensitivity of each model at its threshold of {self._point}; no interval where all '
            "findings are one patient's.</p>",
            _inline(strata_figure(series)).replace("<svg ", '<svg class="wide" ', 1),
            strata_table(series),
        ]

    def _lesions(self) -> list[str]:
        options, compared = self._options, self._comparison
        names = (
            {case.case_id: case.name for case in self._cases}
            if options.with_names
            else case_keys(self._cases)
        )
        sides = Side(options.runs[0], compared.threshold_a), Side(options.runs[1], compared.threshold_b)
        figures = LesionFigures(self._project, sides, names, options.most_pictures, options.on_progress)
        made = figures.sections(compared.transitions)
        lines = [_legend()] if self._project is not None else []
        for kind, title in SECTIONS.items():
            count = len(getattr(compared.transitions, kind))
            left = count - options.most_pictures
            lines.append(f'<h2 id="{kind}">{escape(title)} ({count})</h2>')
            lines.append(made[kind] or '<p class="quiet">none</p>')
            lines += [f"<p>… and {left} more</p>"] if left > 0 else []
        return lines


def _verdict_by(what: str, before: float, after: float, interval: tuple[float, float], p_value: float) -> str:
    low, high = interval
    word = "better" if low > 0 else "worse" if high < 0 else "not shown to be better or worse"
    return (
        f'<p class="big">The new model is <b>{word}</b>: {what} {before:.3f} → {after:.3f}, difference {after - before:+.3f} '
        f"(95 % interval {low:+.3f} to {high:+.3f}, p = {p_value:.3f}).</p>"
    )


def _inline(figure: Figure) -> str:
    """Return a figure as an SVG element, without what stands before it in a file of its own."""
    text = as_svg(figure)
    return text[text.index("<svg") :]


def _legend() -> str:
    keys = "".join(
        f'<span class="key" style="border-color:{OUTLINE_COLOURS[side]}"></span>{title}'
        for side, title in LEGEND.items()
    )
    return f'<p class="quiet">Outlines:{keys}</p>'


def _free_name(folder: Path) -> Path:
    path, number = folder / "report.html", 2
    while path.exists():
        path, number = folder / f"report-{number}.html", number + 1
    return path
