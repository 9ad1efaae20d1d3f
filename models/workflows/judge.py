"""Whether a proposed bundle may take the place of the current one: the frozen test set decides, by a rule that is stated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.evaluation import Comparison, MatchTable, Resampling, compare, match
from napari_medlab.evaluation.bootstrap import resample
from napari_medlab.evaluation.froc import FP_POINTS
from napari_medlab.evaluation.paired import paired_difference
from napari_medlab.project.edits import add_judgement
from napari_medlab.project.records import JudgementRecord
from napari_medlab.project.unread import NO, READ, YES
from napari_medlab.reports.case_dice import dice_of_cases, has_outlines, has_reference_outlines
from napari_medlab.reports.run_figures import pairing_distance

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import CaseRecord, Project

__all__ = [
    "METRICS", "NEEDS", "JudgeRule", "Judgement", "check_reference", "compare_runs", "judge", "match_run", "usual_rule",
]  # fmt: skip

Metric = Literal["cpm", "sensitivity", "dice"]
Need = Literal["not worse", "not inferior", "better"]
METRICS: tuple[Metric, ...] = get_args(Metric)
NEEDS: tuple[Need, ...] = get_args(Need)
LEAST_PATIENTS = 2
"""Of one patient every draw is the same, and the interval would be as narrow as if all were certain."""


@dataclass(frozen=True)
class JudgeRule:
    """By what a proposal is judged.

    Parameters
    ----------
    metric : {"cpm", "sensitivity", "dice"}
        The mean sensitivity at 1/8 to 8 false positives per scan; the sensitivity at one rate; or the mean over cases of the
        Dice coefficient of outlines, for segmenters.
    at_fp_per_scan : float
        The rate of ``"sensitivity"``.
    margin : float
        How much is of no account, in the unit of the metric; see ``needs``.
    confidence : float
        Of the interval of the paired difference, patients being resampled.
    needs : {"not worse", "not inferior", "better"}
        ``"not worse"``: refused where the whole interval lies below minus the margin, so that the proposal is shown to be
        worse. ``"not inferior"``: the whole interval must lie above minus the margin, so that a loss of more than that is
        ruled out. ``"better"``: the whole interval must lie above the margin.
    replicates, seed : int
        Of the resampling; the same seed gives the same figures.

    Raises
    ------
    InputRefusedError
        Where a value is none of these or out of its limits.
    """

    metric: Metric = "cpm"
    at_fp_per_scan: float = 1.0
    margin: float = 0.0
    confidence: float = 0.95
    needs: Need = "not worse"
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = {
            f"the metric is one of {', '.join(METRICS)}": self.metric not in METRICS,
            f"what it needs is one of {', '.join(NEEDS)}": self.needs not in NEEDS,
            "the rate of false positives is above 0": not 0 < self.at_fp_per_scan < float("inf"),
            "the margin is from 0 to below 1": not 0 <= self.margin < 1,
            "a margin above 0 goes with not inferior": self.needs == "not inferior" and not self.margin > 0,
            "the confidence is above 0.5 and below 1": not 0.5 < self.confidence < 1,
            "100 replicates at least are drawn": self.replicates < 100,
        }
        if problems := [text for text, is_wrong in wrong.items() if is_wrong]:
            raise InputRefusedError(f"This rule cannot judge: {'; '.join(problems)}.", code="judge-rule")

    @property
    def words(self) -> str:
        """What is compared, such as ``"sensitivity at 1 false positive per scan"``."""
        rate = f"{self.at_fp_per_scan:g} false positive{'s' if self.at_fp_per_scan != 1 else ''} per scan"
        return {"cpm": "CPM", "dice": "Dice", "sensitivity": f"sensitivity at {rate}"}[self.metric]

    def as_json(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Judgement:
    """What the frozen test set says about a proposal.

    Parameters
    ----------
    may_publish : bool
    reason : str
        One sentence with the figures.
    comparison : Comparison
        Of the candidates of both, whatever the rule looks at.
    rule : JudgeRule
    figures : dict
        ``current``, ``proposed`` and ``difference`` (proposed less current), each with its interval such as
        ``difference_interval``, ``p_value`` (of a permutation test; not for a sensitivity), ``cpm`` of both, ``cases``,
        ``patients`` and ``findings``. What could not be told is None.
    bundle_hash, against_hash : str
        The proposal, and the model that it was held against.
    """

    may_publish: bool
    reason: str
    comparison: Comparison
    rule: JudgeRule
    figures: dict[str, Any]
    bundle_hash: str
    against_hash: str

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab models judge`` prints."""
        return {
            "may_publish": self.may_publish,
            "reason": self.reason,
            "rule": self.rule.as_json(),
            "figures": self.figures,
        }


def usual_rule(bundle: Bundle) -> JudgeRule:
    """Return the rule that is usual for a bundle: Dice for segmenters, the CPM for all others."""
    return JudgeRule(metric="dice" if bundle.task == "segmentation" else "cpm")


def check_reference(project: Project, case_ids: Sequence[str], rule: JudgeRule) -> None:
    """Refuse to judge on cases of which nothing is known; those that were all read and found normal are known.

    Raises
    ------
    InputRefusedError
        ``no-reference`` where there is neither a finding nor an outline, and somebody has yet to read a case; ``no-outlines``
        where the rule looks at outlines, and there are findings alone.
    """
    if has_reference_outlines(project, case_ids):
        return
    if any(len(project.findings(case_id)) for case_id in case_ids):
        if rule.metric == "dice":
            raise InputRefusedError(
                "Dice compares outlines, and the reference has none on the frozen test cases.", code="no-outlines",
                hint="Judge by the CPM, or draw outlines for the findings.",
            )  # fmt: skip
        return
    touched = project.cases_read()
    if not all(_is_read(project.case(case_id), touched) for case_id in case_ids):
        which = "frozen case has" if len(case_ids) == 1 else f"{len(case_ids)} frozen cases have"
        raise InputRefusedError(
            f"The {which} no reference.", code="no-reference",
            hint="Import it (again): napari-medlab project import-reference DIR FILE. Give cases that were read and "
            "are normal the value yes in their column read: napari-medlab project fields.",
        )  # fmt: skip


def _is_read(case: CaseRecord, touched: Collection[str]) -> bool:
    """Tell whether a case was read: its own column has the last word, then what readers did there."""
    said = str(case.fields.get(READ, "")).strip().lower()
    return said == YES or (case.case_id in touched and said != NO)


def match_run(project: Project, run_id: str, cases: list[str]) -> MatchTable:
    """Return the match table of a run on some cases, under the LUNA16 rule."""
    return match(project.findings(), project.candidates(run_id), cases)


def compare_runs(
    project: Project, runs: tuple[str, str], records: Sequence[CaseRecord], resampling: Resampling | None = None,
    fp_per_scan: float = 1.0,
) -> Comparison:  # fmt: skip
    """Return two runs side by side on cases that both are done with; patients are resampled together.

    Raises
    ------
    ProjectError
        ``nothing-to-compare`` where there are none.
    """
    if not records:
        raise ProjectError(
            "The two runs have no such case in common.", code="nothing-to-compare",
            hint="Run both models on these cases first; for a judgement, on the frozen test cases.",
        )  # fmt: skip
    cases = [case.case_id for case in records]
    tables = [match_run(project, run_id, cases) for run_id in runs]
    return compare(
        tables[0], tables[1], groups=_groups(records), resampling=resampling, fp_per_scan=fp_per_scan,
        pairing_distance=pairing_distance(records),
    )  # fmt: skip


def judge(
    project: Project, current_run: str, proposed_run: str, rule: JudgeRule | None = None, *,
    kinds: Collection[str] = (), cancel: CancelToken | None = None,
) -> Judgement:  # fmt: skip
    """Compare the proposed model with the current one on the frozen test cases, and say whether it may be published.

    Every frozen case must be done by both; a part of them is no judge. A model that finds nothing where there is something
    to find is not published, whatever the current one does. The judgement is recorded in the project where that is
    open for writing.

    Parameters
    ----------
    project : Project
    current_run, proposed_run : str
    rule : JudgeRule, optional
    kinds : collection of str
        The kinds of image that the models read; frozen cases of other kinds have no say. All kinds where empty.
    cancel : CancelToken, optional
        Looked at between two cases whose outlines are compared.

    Raises
    ------
    ProjectError
        ``nothing-to-compare`` where the runs have no frozen case in common.
    InputRefusedError
        ``no-outlines`` where the rule looks at outlines, and the reference or what a model found has none; ``no-reference``
        where it does, and nothing is known of the cases.
    CancelledError
    """
    by = rule or JudgeRule()
    runs = (current_run, proposed_run)
    frozen = [case for case in project.cases() if case.frozen and (not kinds or case.kind in kinds)]
    done = [project.cases_done(run_id) for run_id in runs]
    common = [case for case in frozen if case.case_id in done[0] & done[1]]
    at = Resampling(by.replicates, by.seed)
    comparison = compare_runs(project, runs, common, at, by.at_fp_per_scan)
    failed = [sum(case.case_id not in each for case in frozen) for each in done]
    figures = _figures(project, runs, common, comparison, by, cancel)
    may_publish, reason = _decided(figures, by, [len(frozen), *failed])
    if may_publish and _misses_all(project, proposed_run, common):
        may_publish, reason = (
            False,
            f"Refused: the new model found nothing on the {len(common)} frozen test cases.",
        )
    current, proposed = (project.run(run_id).bundle_hash for run_id in runs)
    judgement = Judgement(may_publish, reason, comparison, by, figures, proposed, current)
    if not project.is_read_only:
        project.commit(add_judgement(JudgementRecord(
            proposed, current, proposed_run, current_run, by.as_json(), figures, may_publish, reason,
        )))  # fmt: skip
    return judgement


def _groups(records: Sequence[CaseRecord]) -> dict[str, str]:
    return {case.case_id: case.group for case in records}


def _figures(
    project: Project, runs: tuple[str, str], records: Sequence[CaseRecord], comparison: Comparison, rule: JudgeRule,
    cancel: CancelToken | None,
) -> dict[str, Any]:  # fmt: skip
    groups = _groups(records)
    if rule.metric == "dice":
        cases = [case.case_id for case in records]
        check_reference(project, cases, rule)
        _check_outlined(project, runs, cases)
        check = cancel.check if cancel is not None else None
        values = np.stack([dice_of_cases(project, run_id, cases, check) for run_id in runs])
        patients = [groups[case] for case in cases]
        means, drawn = values.mean(axis=1), _resampled_means(values, patients, rule)
        paired = paired_difference(values[0], values[1], patients, Resampling(rule.replicates, rule.seed))
        p_value = _number(paired.p_value)
    else:
        means, drawn = _sensitivities(comparison, rule, groups)
        p_value = _number(comparison.p_value) if rule.metric == "cpm" else None
    interval = _interval(drawn[1] - drawn[0], rule.confidence)
    return {
        "metric": rule.words, "current": _number(means[0]), "proposed": _number(means[1]),
        "current_interval": _interval(drawn[0], rule.confidence), "proposed_interval": _interval(drawn[1], rule.confidence),
        "difference": _number(means[1] - means[0]), "difference_interval": interval,
        "p_value": p_value, "cpm": [_number(comparison.cpm_a), _number(comparison.cpm_b)], "cases": len(records),
        "patients": len({*groups.values()}), "findings": comparison.a.match.n_findings,
    }  # fmt: skip


def _check_outlined(project: Project, runs: Sequence[str], cases: Sequence[str]) -> None:
    """Refuse runs that found something and outlined nothing; one that found nothing has a Dice of 0."""
    for run_id, which in zip(runs, ("current", "new"), strict=True):
        if _finds_any(project, run_id, cases) and not has_outlines(project, run_id, cases):
            raise InputRefusedError(
                f"Dice compares outlines, and the {which} model outlines nothing of what it found on the frozen test cases.",
                code="no-outlines", hint="Judge by the CPM.",
            )  # fmt: skip


def _finds_any(project: Project, run_id: str, cases: Sequence[str]) -> bool:
    return any(len(project.candidates(run_id, case_id)) for case_id in cases)


def _misses_all(project: Project, run_id: str, records: Sequence[CaseRecord]) -> bool:
    """Tell whether a run found nothing at all where the reference has something."""
    cases = [case.case_id for case in records]
    if _finds_any(project, run_id, cases):
        return False
    has_findings = any(len(project.findings(case_id)) for case_id in cases)
    return has_findings or has_reference_outlines(project, cases)


def _sensitivities(
    comparison: Comparison, rule: JudgeRule, groups: Mapping[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the figure of both models, (2,), and those of resampled patients, (2, replicates)."""
    points = FP_POINTS if rule.metric == "cpm" else (rule.at_fp_per_scan,)
    tables = [comparison.a.match, comparison.b.match]
    drawn = resample(tables, Resampling(rule.replicates, rule.seed), points, groups).mean(axis=2)
    curves = [comparison.a.curve, comparison.b.curve]
    means = [curve.sensitivity_at(points).mean() for curve in curves]
    return np.asarray(means, np.float64), drawn


def _resampled_means(
    values: NDArray[np.float64], patients: Sequence[str], rule: JudgeRule
) -> NDArray[np.float64]:
    """Return the means over cases of both models, (2, replicates), the same patients being drawn for both."""
    _, owners = np.unique(patients, return_inverse=True)
    count = int(owners.max()) + 1
    drawn = np.random.default_rng(rule.seed).integers(count, size=(rule.replicates, count))
    weights = np.stack([np.bincount(each, minlength=count) for each in drawn])[:, owners]
    means: NDArray[np.float64] = (values @ weights.T) / weights.sum(axis=1)
    return means


def _interval(values: NDArray[np.float64], confidence: float) -> list[float] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(known, [tail, 100 - tail])
    return [float(low), float(high)]


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _decided(figures: dict[str, Any], rule: JudgeRule, frozen: Sequence[int]) -> tuple[bool, str]:
    """Return whether the proposal may be published, and why; ``frozen`` counts cases, and those each run is not done with."""
    total, *failed = frozen
    if any(failed):
        return False, (
            f"Refused: of {total} frozen test cases the current model is not done with {failed[0]} and the new one not with "
            f"{failed[1]}, and a part of them is no judge."
        )
    interval = figures["difference_interval"]
    if figures["difference"] is None or interval is None:
        return False, "Refused: the frozen test set holds no finding, so it cannot tell models apart."
    if figures["patients"] < LEAST_PATIENTS:
        return (
            False,
            "Refused: the frozen test set is of one patient, and what differs there says nothing about others.",
        )
    said = (
        f"{rule.words} {figures['current']:.3f} → {figures['proposed']:.3f}, difference {figures['difference']:+.3f} "
        f"({100 * rule.confidence:g} % interval {interval[0]:+.3f} to {interval[1]:+.3f}, {figures['cases']} frozen test cases)"
    )
    may_publish, verdict = _verdict(figures["difference"], interval, rule)
    return (
        may_publish,
        f"{'May be published' if may_publish else 'Refused'}: the new model {verdict}. {said}.",
    )


def _verdict(difference: float, interval: Sequence[float], rule: JudgeRule) -> tuple[bool, str]:
    low, high = interval
    by = f" by more than {rule.margin:g}" if rule.margin else ""
    if high < -rule.margin:
        return False, f"is worse{by}"
    if low > rule.margin:
        return True, f"is better{by}"
    if rule.needs == "better":
        return False, f"is not shown to be better{by}"
    if rule.needs == "not inferior":
        ruled_out = low > -rule.margin
        return ruled_out, f"{'is shown not to be' if ruled_out else 'may be'} worse{by}"
    lower = ", though its figure is lower" if difference < 0 else ""
    return True, f"is not shown to be worse{by}{lower}"
