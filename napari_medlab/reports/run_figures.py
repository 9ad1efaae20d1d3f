"""What runs of a project are worth: matched by a named rule, with curves, intervals, and another run beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_medlab.errors import ProjectError
from napari_medlab.evaluation.bootstrap import BootstrapResult, Resampling, bootstrap
from napari_medlab.evaluation.compare import Comparison, compare
from napari_medlab.evaluation.froc import FP_POINTS, froc, match_at
from napari_medlab.evaluation.matching import MatchTable, match, rule_by_name
from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve, precision_recall
from napari_medlab.evaluation.report import FrocReport
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.evaluation.transitions import transitions
from napari_medlab.geometry import Grid
from napari_medlab.project.unread import reading_of
from napari_medlab.reports.case_dice import compared_dice
from napari_medlab.reports.plots import BAND_POINTS, RecallBand
from napari_medlab.reports.recall_bands import recall_band

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.bootstrap import Interval
    from napari_medlab.evaluation.matching import MatchRule
    from napari_medlab.evaluation.paired import PairedDifference
    from napari_medlab.project import CaseRecord, Project

    Progress = Callable[[int, int], None]

__all__ = [
    "RULE_TITLES",
    "ComparedRuns",
    "MatchedRun",
    "Measure",
    "PointFigures",
    "RunFigures",
    "compared_at",
    "compared_runs",
    "matched_run",
    "pairing_distance",
    "point_figures",
    "run_figures",
]

RULE_TITLES = {
    "luna16": "centre (LUNA16)",
    "iou": "overlap (IoU)",
    "picai": "overlap (PI-CAI)",
    "camelyon": "inside (CAMELYON)",
}
"""The rules that the window offers, by name."""

PAIRING = {"mm": 5.0, "um": 50.0, "px": 20.0}
"""How far apart two models' false positives may lie to count as the same, by the unit of the images."""

STEPS = 3
"""So many times one run's progress is told."""


@dataclass(frozen=True)
class Measure:
    """By which rule runs are measured, and how sure the figures are to be.

    Parameters
    ----------
    rule : str
        One of :data:`RULE_TITLES`.
    iou : float
        The least intersection over union of a hit, above 0 and at most 1; of the rule ``"iou"`` alone.
    resampling : Resampling
    """

    rule: str = "luna16"
    iou: float = 0.5
    resampling: Resampling = field(default_factory=Resampling)

    def in_words(self) -> str:
        """Return the rule as a sentence without its full stop."""
        return {
            "luna16": "LUNA16 rules: a candidate hits a finding when its centre lies within the finding's radius",
            "iou": f"Overlap: a candidate hits a finding when their intersection over union is at least {self.iou:g}",
            "picai": "PI-CAI rules: a candidate hits a finding when their intersection over union is at least 0.1",
            "camelyon": "CAMELYON rules: a candidate hits a finding when it lies inside the finding's outline",
        }[self.rule]


@dataclass(frozen=True, eq=False)
class MatchedRun:
    """A run beside the reference.

    Parameters
    ----------
    run_id : str
    cases : list of CaseRecord
        Those that were matched.
    findings : FindingTable
    candidates : CandidateTable
    match : MatchTable
    """

    run_id: str
    cases: Sequence[CaseRecord]
    findings: FindingTable
    candidates: CandidateTable
    match: MatchTable

    @property
    def groups(self) -> dict[str, str]:
        """The patient of each case."""
        return {case.case_id: case.group for case in self.cases}


@dataclass(frozen=True, eq=False)
class RunFigures:
    """What a run is worth.

    Parameters
    ----------
    run : MatchedRun
    report : FrocReport
        With intervals at the seven points of LUNA16.
    band : BootstrapResult
        At :data:`~napari_medlab.reports.plots.BAND_POINTS`.
    recall : PrecisionRecallCurve
    recall_band : RecallBand
    """

    run: MatchedRun
    report: FrocReport
    band: BootstrapResult
    recall: PrecisionRecallCurve
    recall_band: RecallBand


@dataclass(frozen=True)
class PointFigures:
    """What a run is worth at one operating point.

    Parameters
    ----------
    fp_per_scan : float
        What is allowed.
    threshold : float
        The least score that counts; inf where none does.
    sensitivity : float
    interval : (low, high)
        Of the sensitivity, 95 %, patients resampled.
    precision : float
        Of the candidates that count; nan where none does.
    tp, fn, fp : int
        At the threshold.
    """

    fp_per_scan: float
    threshold: float
    sensitivity: float
    interval: Interval
    precision: float
    tp: int
    fn: int
    fp: int


@dataclass(frozen=True, eq=False)
class ComparedRuns:
    """Two runs side by side on the same cases.

    Parameters
    ----------
    comparison : Comparison
    a, b : RunFigures
        Before and after.
    measure : Measure
    dice : PairedDifference or None
        Of the mean Dice over cases; None where the reference or a run outlines nothing.
    """

    comparison: Comparison
    a: RunFigures
    b: RunFigures
    measure: Measure
    dice: PairedDifference | None = None


def matched_run(
    project: Project, run_id: str, cases: Sequence[CaseRecord], measure: Measure, reader: str | None = None
) -> MatchedRun:
    """Return a run matched with the reference.

    Parameters
    ----------
    project : Project
    run_id : str
    cases : sequence of CaseRecord
        Those to evaluate.
    measure : Measure
    reader : str, optional
        Whose corrections of the reference count; all that hold where left out.
    """
    findings, candidates = project.findings(reader=reader), project.candidates(run_id)
    shapes = None if measure.rule == "luna16" else _shapes(project, run_id, cases, reader)
    rule: MatchRule = rule_by_name(measure.rule, shapes, measure.iou if measure.rule == "iou" else None)
    table = match(findings, candidates, [case.case_id for case in cases], rule)
    return MatchedRun(run_id, tuple(cases), findings, candidates, table)


def run_figures(
    project: Project, run_id: str, split: str, measure: Measure, *, reader: str | None = None,
    on_progress: Progress | None = None,
) -> RunFigures:  # fmt: skip
    """Return what a run is worth on the cases of a split that it is done with.

    Training cases that nobody is known to have read are left out where others were read: what is marked on them is not known
    to be wrong.

    Parameters
    ----------
    project : Project
    run_id : str
    split : {"train", "test"}
    measure : Measure
    reader : str, optional
        As in :func:`matched_run`.
    on_progress : callable, optional
        Told how many of how many steps are done; it raises where nobody wants the figures any more.

    Raises
    ------
    ProjectError
        ``no-cases`` where there are none.
    """
    cases = _cases_done(project, [run_id], split)
    steps = _Steps(STEPS, on_progress)
    return _figures(matched_run(project, run_id, cases, measure, reader), measure, steps)


def point_figures(figures: RunFigures, fp_per_scan: float, resampling: Resampling) -> PointFigures:
    """Return what a run is worth at any number of false positives per scan, with the interval at just that number."""
    table, curve = figures.run.match, figures.report.curve
    threshold = curve.threshold_at(fp_per_scan)
    counts = match_at(table, threshold).counts
    drawn = bootstrap(table, resampling, [fp_per_scan], figures.run.groups)
    hits, wrong = counts["tp"], counts["fp"]
    return PointFigures(
        fp_per_scan=fp_per_scan,
        threshold=threshold,
        sensitivity=float(curve.sensitivity_at(fp_per_scan)),
        interval=drawn.sensitivity[fp_per_scan],
        precision=hits / (hits + wrong) if hits + wrong else float("nan"),
        tp=hits,
        fn=counts["fn"],
        fp=wrong,
    )


def compared_runs(
    project: Project, runs: tuple[str, str], split: str, measure: Measure, *, fp_per_scan: float = 1.0,
    on_progress: Progress | None = None,
) -> ComparedRuns:  # fmt: skip
    """Return two runs side by side on the cases of a split that both are done with; patients are resampled together.

    Parameters
    ----------
    project : Project
    runs : (before, after)
        Their ids.
    split, measure, on_progress
        As in :func:`run_figures`.
    fp_per_scan : float
        The operating point at which lesions are compared.

    Raises
    ------
    ProjectError
        ``no-cases`` where there are none.
    """
    cases = _cases_done(project, runs, split)
    steps = _Steps(2 * STEPS + 2, on_progress)
    a, b = (_figures(matched_run(project, run_id, cases, measure), measure, steps) for run_id in runs)
    comparison = compare(
        a.run.match, b.run.match, groups=a.run.groups, resampling=measure.resampling, fp_per_scan=fp_per_scan,
        pairing_distance=pairing_distance(cases),
    )  # fmt: skip
    steps.next()
    dice = compared_dice(project, runs, cases, measure.resampling, steps.tell)
    steps.next()
    return ComparedRuns(comparison, a, b, measure, dice)


def compared_at(compared: ComparedRuns, fp_per_scan: float) -> ComparedRuns:
    """Return the same comparison with lesions compared at another operating point; nothing is resampled."""
    a, b = compared.comparison.a, compared.comparison.b
    thresholds = a.curve.threshold_at(fp_per_scan), b.curve.threshold_at(fp_per_scan)
    changes = transitions(
        match_at(a.match, thresholds[0]),
        match_at(b.match, thresholds[1]),
        pairing_distance(compared.a.run.cases),
    )
    comparison = replace(
        compared.comparison, fp_per_scan=fp_per_scan, threshold_a=thresholds[0], threshold_b=thresholds[1],
        transitions=changes,
    )  # fmt: skip
    return replace(compared, comparison=comparison)


class _Steps:
    """Counts what is done, and tells whoever wants to know."""

    def __init__(self, total: int, on_progress: Progress | None) -> None:
        self._done, self._total, self._on_progress = 0, total, on_progress

    def next(self) -> None:
        self._done += 1
        self.tell()

    def tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def _figures(run: MatchedRun, measure: Measure, steps: _Steps) -> RunFigures:
    table, resampling = run.match, measure.resampling
    steps.next()
    band = bootstrap(table, resampling, BAND_POINTS, run.groups)
    steps.next()
    # every tenth point of the band is one of LUNA16's
    tenths = BootstrapResult(FP_POINTS, band.samples[:, ::10])
    figures = RunFigures(
        run, FrocReport(table, froc(table), tenths), band, precision_recall(table),
        recall_band(table, resampling, run.groups),
    )  # fmt: skip
    steps.next()
    return figures


def _cases_done(project: Project, runs: Sequence[str], split: str) -> list[CaseRecord]:
    """Return the cases to evaluate: without those that nobody has read, unless nobody has read any."""
    done = set.intersection(*(project.cases_done(run_id) for run_id in runs))
    cases = [case for case in project.cases() if case.split == split and case.case_id in done]
    if not cases:
        which = "this run is" if len(runs) == 1 else "both runs are"
        raise ProjectError(
            f"There is no {split} case that {which} done with.", code="no-cases",
            hint=f"Run the model on the {split} cases first.",
        )  # fmt: skip
    unread = reading_of(project).unread
    return [case for case in cases if case.case_id not in unread] or cases


def _shapes(project: Project, run_id: str, cases: Sequence[CaseRecord], reader: str | None) -> Shapes:
    """Return the outlines of the reference, and those that a run proposed, whatever readers made of them since."""
    tables = (
        table
        for case in cases
        for table in (
            project.region_table(case.case_id, reader=reader, beside=""),
            project.region_table(case.case_id, run_id=run_id, as_given=True),
        )
    )
    grids = {case.case_id: Grid.from_json(case.grid) for case in cases if case.grid is not None}
    return Shapes.of_regions(tables, grids)


def pairing_distance(cases: Sequence[CaseRecord]) -> float:
    """Return how far apart two models' false positives may lie to count as the same, in the unit of most cases."""
    units = Counter(str(case.grid["unit"]) for case in cases if case.grid is not None)
    return PAIRING[units.most_common(1)[0][0]] if units else PAIRING["mm"]
