"""What a run is worth in parts of its data at an operating point: by size, by class, by what the cases say of themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import CandidateTable
from napari_medlab.evaluation.bootstrap import Interval, Resampling, percentile_interval
from napari_medlab.evaluation.events import Patients
from napari_medlab.evaluation.froc import match_at
from napari_medlab.evaluation.strata import UNKNOWN, by_case, by_class, by_finding, size_classes
from napari_medlab.geometry import Grid
from napari_medlab.project.keep_lists import case_fields
from napari_medlab.reports.plots import Estimate, Series
from napari_medlab.reports.run_figures import MatchedRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation import Comparison
    from napari_medlab.evaluation.matching import MatchTable
    from napari_medlab.project import CaseRecord, Project

__all__ = ["StratumFigures", "compared_strata", "strata_of", "stratifications"]

SIZES = {"mm": (6.0, 10.0, 20.0), "um": (50.0, 100.0, 200.0), "px": (16.0, 32.0, 96.0)}
"""The diameters at which sizes are divided, by the unit of the image."""
UNITS = {"mm": "mm", "um": "µm", "px": "px"}
SIZE, CLASS = "size", "class"
MOST_VALUES = 24
"""A number that has more values than this is divided at its quartiles."""
TOLD_FIELDS = ("site", "scanner", "manufacturer", "kernel", "view")
"""Free columns that a page without names tells of, their values numbered in order."""


@dataclass(frozen=True)
class StratumFigures:
    """What a run is worth in one stratum at an operating point.

    Parameters
    ----------
    name : str
    cases, findings : int
        How many there are.
    sensitivity : float
        nan where there is no finding.
    interval : (low, high)
        95 %, patients resampled; nan where all findings are one patient's.
    fp_per_scan : float
        nan where sizes are divided: a false positive has none by the reference.
    case_ids, finding_ids : frozenset of str
    is_of_cases : bool
        Whether whole cases are divided, and not the findings in them.
    """

    name: str
    cases: int
    findings: int
    sensitivity: float
    interval: Interval
    fp_per_scan: float
    case_ids: frozenset[str]
    finding_ids: frozenset[str]
    is_of_cases: bool

    @property
    def estimate(self) -> Estimate:
        """The sensitivity as plots take it."""
        return Estimate(self.name, self.sensitivity, self.interval, self.findings)


def stratifications(run: MatchedRun) -> list[str]:
    """Return by what a run can be divided: sizes, classes, and the fields that any of its cases has."""
    return [SIZE, CLASS, *sorted({name for case in run.cases for name in case.fields})]


def strata_of(
    run: MatchedRun, by: str, threshold: float, resampling: Resampling | None = None
) -> list[StratumFigures]:
    """Return what a run is worth in each stratum of one kind, at an operating point of all cases together.

    Parameters
    ----------
    run : MatchedRun
    by : str
        One of :func:`stratifications`.
    threshold : float
        The least score of a candidate that counts.
    resampling : Resampling, optional
    """
    figures = []
    for name, table in _divided(run, by).items():
        at = match_at(table, threshold)
        hits, total = _by_patient(at, run.groups)
        n_findings = int(total.sum())
        has_false = by != SIZE and not (by == CLASS and not len(run.candidates))
        figures.append(
            StratumFigures(
                name=name,
                cases=len(at.cases),
                findings=n_findings,
                sensitivity=float(hits.sum() / n_findings) if n_findings else float("nan"),
                interval=_interval(hits, total, resampling or Resampling()),
                fp_per_scan=at.counts["fp"] / len(at.cases) if has_false else float("nan"),
                case_ids=frozenset(at.cases),
                finding_ids=frozenset(at.finding_id[at.is_finding].tolist()),
                is_of_cases=by not in (SIZE, CLASS),
            )
        )
    return figures


def compared_strata(
    project: Project, comparison: Comparison, cases: Sequence[CaseRecord], *, with_names: bool = False
) -> tuple[Series, Series]:
    """Return the sensitivities of both models in strata of every kind, each model at its own threshold.

    Parameters
    ----------
    project : Project
        Where the findings are.
    comparison : Comparison
    cases : sequence of CaseRecord
        Those that were compared.
    with_names : bool
        Whether free columns are told as they are. Without, only those are told whose names are known, and text in them
        becomes a number.
    """
    told = list(cases)
    if not with_names:
        told = [replace(case, fields=fields) for case, fields in zip(cases, _told(cases), strict=True)]
    findings, nothing = project.findings(), CandidateTable.from_objects([])
    replicates = len(comparison.a.intervals.samples) if comparison.a.intervals is not None else 0
    series = []
    for side, threshold in ((comparison.a, comparison.threshold_a), (comparison.b, comparison.threshold_b)):
        run = MatchedRun("", told, findings, nothing, side.match)
        estimates = [
            replace(stratum.estimate, name=f"{by}: {stratum.name}")
            for by in stratifications(run)
            for stratum in strata_of(run, by, threshold, Resampling(replicates))
            if stratum.findings
        ]
        series.append(Series("", estimates))
    return series[0], series[1]


def _divided(run: MatchedRun, by: str) -> dict[str, MatchTable]:
    """Return the match table of each stratum."""
    if by == SIZE:
        values, order = _sizes(run)
        tables = by_finding(run.match, run.findings, values)
        return {name: tables[name].match for name in order if name in tables}
    if by == CLASS:
        divided = (
            by_class(run.match, run.findings, run.candidates)
            if len(run.candidates)
            else by_finding(run.match, run.findings, run.findings.labels.tolist())
        )
        return {name: report.match for name, report in divided.items()}
    of_case, order = _field(run.cases, by)
    tables = by_case(run.match, of_case)
    return {name: tables[name].match for name in (*order, UNKNOWN) if name in tables}


def _by_patient(table: MatchTable, groups: Mapping[str, str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many findings each patient has that are found, and how many in all."""
    patients = Patients.of(table, groups)
    hits = np.bincount(patients.owners(table)[table.kind == "tp"], minlength=len(patients))
    return hits, patients.findings


def _interval(hits: NDArray[np.int64], total: NDArray[np.int64], resampling: Resampling) -> Interval:
    """Return the 95 % interval of a share, patients resampled; nan where all comes from one patient."""
    n = len(total)
    if np.count_nonzero(total) < 2:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(resampling.seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resampling.replicates)
    drawn, found = weights @ total, weights @ hits
    share = np.full(len(drawn), np.nan)
    np.divide(found, drawn, out=share, where=drawn > 0)
    return percentile_interval(share)


def _sizes(run: MatchedRun) -> tuple[list[str], list[str]]:
    """Return the size class of each finding, and all that there are, smallest first; images differ in their unit."""
    units = {case.case_id: Grid.from_json(case.grid).unit if case.grid else "mm" for case in run.cases}
    of_finding = np.asarray(
        [units.get(case_id, "mm") for case_id in run.findings.case_ids.tolist()], dtype=np.str_
    )
    values = np.full(len(run.findings), UNKNOWN, dtype=object)
    order: list[str] = []
    for unit, edges in SIZES.items():
        rows = np.flatnonzero((of_finding == unit) & (run.findings.diameters >= 0))
        here = run.findings.where(rows)
        names = [_with_unit(name, UNITS[unit]) for name in size_classes(here, edges)]
        values[rows] = names
        least = dict(sorted(zip(here.diameters.tolist(), names, strict=True)))
        order += dict.fromkeys(least.values())
    return values.tolist(), [*order, UNKNOWN]


def _with_unit(name: str, unit: str) -> str:
    """Return the name of a size class with its unit behind the last number."""
    return name.replace(" and above", f" {unit} and above") if " and above" in name else f"{name} {unit}"


def _field(cases: Sequence[CaseRecord], name: str) -> tuple[dict[str, str], list[str]]:
    """Return what each case that has a field says in it, and all values in order; many numbers become four spans."""
    known = {case.case_id: case.fields[name] for case in cases if name in case.fields}
    numbers = [value for value in known.values() if not isinstance(value, str)]
    if len(set(numbers)) > MOST_VALUES and len(numbers) == len(known):
        edges = np.unique(np.quantile(numbers, (0.25, 0.5, 0.75)))
        spans = [f"below {edges[0]:g}", *(f"from {edge:g}" for edge in edges)]
        return {
            case: spans[int(np.searchsorted(edges, float(value), side="right"))]
            for case, value in known.items()
        }, spans
    ordered = sorted(set(known.values()), key=lambda value: (isinstance(value, str), value))
    return {case: _text(value) for case, value in known.items()}, list(dict.fromkeys(map(_text, ordered)))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _told(cases: Sequence[CaseRecord]) -> list[dict[str, str | float]]:
    """Return the fields of cases that may be told without names: what a shared project keeps, and numbered texts."""
    told: list[dict[str, str | float]] = [case_fields(dict(case.fields)) for case in cases]
    for name in TOLD_FIELDS:
        texts = sorted({str(case.fields[name]) for case in cases if name in case.fields})
        for case, fields in zip(cases, told, strict=True):
            if name in case.fields:
                fields[name] = str(texts.index(str(case.fields[name])) + 1)
    return told
