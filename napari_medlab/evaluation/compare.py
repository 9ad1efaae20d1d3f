"""Model against model on the same cases: is the difference real, and which lesions make it up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import (
    BootstrapResult,
    Interval,
    Resampling,
    percentile_interval,
    resample,
)
from napari_medlab.evaluation.events import Events, Patients
from napari_medlab.evaluation.froc import FP_POINTS, FrocCurve, froc, match_at
from napari_medlab.evaluation.paired import PairedDifference
from napari_medlab.evaluation.report import FrocReport, json_interval, json_number, report
from napari_medlab.evaluation.transitions import Transitions, transitions
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable
    from napari_medlab.jobs.spreading import Tell

__all__ = ["Comparison", "compare", "differences_of_swaps", "permutation_p_value", "sensitivity_difference"]

CHUNK = 32
"""How many permutations are held in memory at a time; each weighs the events of both models, twice."""
PIECE = 8 * CHUNK
"""How many permutations are one piece of work."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Model b measured against model a.

    Parameters
    ----------
    a, b : FrocReport
    difference_interval : (low, high)
        The 95 % interval of :attr:`difference`, the same patients being drawn for both; nan where none were
        drawn.
    p_value : float
        The chance of a difference at least as large, either way, were the models exchangeable; nan where
        nothing was resampled.
    fp_per_scan : float
        Where each model was taken for the transitions, at its own threshold.
    threshold_a, threshold_b : float
        inf where even the highest score alone gives more false positives.
    transitions : Transitions
    """

    a: FrocReport
    b: FrocReport
    difference_interval: Interval
    p_value: float
    fp_per_scan: float
    threshold_a: float
    threshold_b: float
    transitions: Transitions

    @property
    def cpm_a(self) -> float:
        """The CPM of model a."""
        return self.a.curve.cpm

    @property
    def cpm_b(self) -> float:
        """The CPM of model b."""
        return self.b.curve.cpm

    @property
    def difference(self) -> float:
        """The CPM of model b less that of model a."""
        return self.cpm_b - self.cpm_a

    @property
    def n_cases(self) -> int:
        """How many cases both models were evaluated on."""
        return len(self.a.match.cases)

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab compare`` prints; a figure that does not exist is None."""
        changes = self.transitions
        at_a, at_b = match_at(self.a.match, self.threshold_a), match_at(self.b.match, self.threshold_b)
        counts = {
            f"{kind}_{name}": at.counts[kind]
            for name, at in (("a", at_a), ("b", at_b))
            for kind in ("tp", "fp")
        }
        return {
            "a": self.a.as_json(),
            "b": self.b.as_json(),
            "difference": {
                "cpm": json_number(self.difference),
                "interval": json_interval(self.difference_interval),
                "p_value": json_number(self.p_value),
            },
            "operating_point": {
                "fp_per_scan": self.fp_per_scan,
                "threshold_a": json_number(self.threshold_a),
                "threshold_b": json_number(self.threshold_b),
            },
            "counts": {**changes.counts, **counts},
            "fixed": [each.as_json() for each in changes.fixed],
            "regressed": [each.as_json() for each in changes.regressed],
            "still_missed": [each.as_json() for each in changes.still_missed],
            "new_false_positive": [each.as_json() for each in changes.new_false_positive],
            "removed_false_positive": [each.as_json() for each in changes.removed_false_positive],
        }


def compare(
    match_a: MatchTable,
    match_b: MatchTable,
    *,
    groups: Mapping[str, str] | None = None,
    resampling: Resampling | None = None,
    fp_per_scan: float = 1.0,
    pairing_distance: float = 5.0,
) -> Comparison:
    """Return model b measured against model a.

    Parameters
    ----------
    match_a, match_b : MatchTable
        Over the same cases and the same findings.
    groups : mapping of str to str, optional
        The patient of each case, where patients have several. By default each case is a patient of its own.
    resampling : Resampling, optional
        Its replicates serve for the intervals, and as many permutations for the p-value.
    fp_per_scan : float
        The operating point of each model at which lesions are compared.
    pairing_distance : float
        How far apart two false positives of one case may be to count as the same, in the unit of the centres
        (mm).

    Raises
    ------
    InputRefusedError
        With code ``"not-comparable"`` where cases or findings differ.
    """
    _check_comparable(match_a, match_b)
    resampling = resampling or Resampling()
    a, b = report(match_a), report(match_b)
    interval, p_value = (math.nan, math.nan), math.nan
    if resampling.replicates > 0:
        samples = resample([match_a, match_b], resampling, groups=groups)
        a, b = (
            FrocReport(each.match, each.curve, BootstrapResult(FP_POINTS, drawn))
            for each, drawn in zip((a, b), samples, strict=True)
        )
        interval = percentile_interval(samples[1].mean(axis=1) - samples[0].mean(axis=1))
        p_value = permutation_p_value(match_a, match_b, resampling, groups)
    thresholds = a.curve.threshold_at(fp_per_scan), b.curve.threshold_at(fp_per_scan)
    effective = match_at(match_a, thresholds[0]), match_at(match_b, thresholds[1])
    return Comparison(
        a=a,
        b=b,
        difference_interval=interval,
        p_value=p_value,
        fp_per_scan=fp_per_scan,
        threshold_a=thresholds[0],
        threshold_b=thresholds[1],
        transitions=transitions(*effective, pairing_distance),
    )


def sensitivity_difference(
    match_a: MatchTable,
    match_b: MatchTable,
    points: Sequence[float] = FP_POINTS,
    *,
    groups: Mapping[str, str] | None = None,
    resampling: Resampling | None = None,
) -> PairedDifference:
    """Return how the mean sensitivity at any false positives per scan differs between two models.

    Parameters
    ----------
    match_a, match_b : MatchTable
        Over the same cases and the same findings.
    points : sequence of float
        False positives per scan; one alone gives the sensitivity there, and the default the CPM.
    groups, resampling
        As in :func:`compare`.

    Raises
    ------
    InputRefusedError
        With code ``"not-comparable"`` where cases or findings differ.
    """
    _check_comparable(match_a, match_b)
    chosen = resampling or Resampling()
    values = [float(froc(each).sensitivity_at(points).mean()) for each in (match_a, match_b)]
    interval, p_value = (math.nan, math.nan), math.nan
    if chosen.replicates > 0:
        samples = resample([match_a, match_b], chosen, points, groups).mean(axis=2)
        interval = percentile_interval(samples[1] - samples[0])
        p_value = permutation_p_value(match_a, match_b, chosen, groups, points)
    n_patients = len(Patients.of(match_a, groups))
    return PairedDifference(values[0], values[1], interval, p_value, match_a.n_findings, n_patients)


def permutation_p_value(
    match_a: MatchTable,
    match_b: MatchTable,
    resampling: Resampling,
    groups: Mapping[str, str] | None = None,
    points: Sequence[float] = FP_POINTS,
) -> float:
    """Return the two-sided p-value of the CPM difference; nan where there are no findings.

    With other ``points``, false positives per scan, it is that of the mean sensitivity at these.

    Each permutation swaps the two models for a random half of the patients. The observed difference counts as
    one of the permutations, so that the value is never 0.

    Notes
    -----
    Swapping mixes the scores of both models, which need not be on one scale (a probability here, a logit
    there). So each score is first replaced by the number of its own model's false positives that lie above
    it, which leaves each model's curve as it is.
    """
    if match_a.n_findings == 0:
        return math.nan
    patients = Patients.of(match_a, groups)
    events = _joint_events(match_a, match_b, patients)
    cases, findings = patients.cases.sum(), patients.findings.sum()
    rng = np.random.default_rng(np.random.SeedSequence(resampling.seed).spawn(1)[0])
    as_they_are = np.zeros((1, len(patients)), dtype=bool)
    observed = abs(_difference(events, as_they_are, (cases, findings), points)[0])
    request = {"events": events, "counts": (cases, findings), "points": list(points)}
    tasks = []
    for start in range(0, resampling.replicates, PIECE):
        swapped = rng.random((min(PIECE, resampling.replicates - start), len(patients))) < 0.5
        tasks.append(Task(str(start), request | {"swapped": swapped}))
    with results_of(resampling.spread, differences_of_swaps, tasks, CancelToken()) as results:
        as_large = sum(int((np.abs(each) >= observed - 1e-12).sum()) for _, each in results)
    return (1 + as_large) / (1 + resampling.replicates)


def differences_of_swaps(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> NDArray[np.float64]:
    """Return the difference of the mean sensitivities for some permutations, (n,).

    Parameters
    ----------
    request : dict
        ``events``, those of both models; ``swapped``, for which patients the models are swapped, (n, patients); ``counts``, the
        numbers of cases and of findings; and ``points``.
    cancel : CancelToken
    tell : callable
    """
    events, swapped = request["events"], request["swapped"]
    differences = []
    for start in range(0, len(swapped), CHUNK):
        cancel.check()
        chunk = swapped[start : start + CHUNK]
        differences.append(_difference(events, chunk, request["counts"], request["points"]))
    return np.concatenate(differences)


def _joint_events(match_a: MatchTable, match_b: MatchTable, patients: Patients) -> Events:
    """Return the events of both models on a common scale; the owners of b come after those of a."""
    scores, is_tp, owners = [], [], []
    for shift, match in ((0, match_a), (len(patients), match_b)):
        rows = (match.kind == "tp") | (match.kind == "fp")
        scores.append(-_false_positives_above(froc(match), match.score[rows]))
        is_tp.append(match.kind[rows] == "tp")
        owners.append(patients.owners(match)[rows] + shift)
    return Events.ordered(np.concatenate(scores), np.concatenate(is_tp), np.concatenate(owners))


def _false_positives_above(curve: FrocCurve, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many false positives per case score higher than each score, equal ones counting half."""
    middle = (curve.fps_per_scan[:-1] + curve.fps_per_scan[1:]) / 2
    ascending = curve.thresholds[1:][::-1]
    return middle[::-1][np.searchsorted(ascending, scores)]


def _difference(
    events: Events, swapped: NDArray[np.bool_], counts: tuple[int, int], points: Sequence[float]
) -> NDArray[np.float64]:
    """Return the mean sensitivity of b less that of a, (n,), the models swapped where ``swapped``, (n, patients).

    ``counts`` are the numbers of cases and of findings.
    """
    totals = np.full(len(swapped), counts[0]), np.full(len(swapped), counts[1])
    as_b = np.concatenate([swapped, ~swapped], axis=1).astype(np.int32)
    as_a = 1 - as_b
    of_a, of_b = (events.sensitivity(weights, *totals, points).mean(axis=1) for weights in (as_a, as_b))
    difference: NDArray[np.float64] = of_b - of_a
    return difference


def _check_comparable(match_a: MatchTable, match_b: MatchTable) -> None:
    if set(match_a.cases) != set(match_b.cases):
        different = len(set(match_a.cases) ^ set(match_b.cases))
        msg = f"The models were evaluated on different cases: {different} of them occur on one side alone."
        raise InputRefusedError(msg, code="not-comparable", hint="Evaluate both on one list of cases.")
    keys_a, keys_b = _finding_keys(match_a), _finding_keys(match_b)
    if set(keys_a) != set(keys_b) or len(keys_a) != len(keys_b) or len(set(keys_a)) != len(keys_a):
        msg = "The models were evaluated against different findings, or findings share an id."
        raise InputRefusedError(msg, code="not-comparable", hint="Evaluate both against one reference.")


def _finding_keys(match: MatchTable) -> list[tuple[str, str]]:
    rows = match.is_finding
    return list(zip(match.case_id[rows].tolist(), match.finding_id[rows].tolist(), strict=True))
