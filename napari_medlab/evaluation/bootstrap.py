"""How sure a FROC figure is: intervals from resampling patients."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.evaluation.events import Events, Patients
from napari_medlab.evaluation.froc import FP_POINTS
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Here, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable
    from napari_medlab.jobs.spreading import Spread, TaskFunction, Tell

__all__ = [
    "CONFIDENCE",
    "BootstrapResult",
    "Interval",
    "Resampling",
    "average_precisions_of_draws",
    "bootstrap",
    "percentile_interval",
    "resample",
    "resample_average_precision",
    "sensitivities_of_draws",
]

Interval = tuple[float, float]
"""The lower and the upper end; both nan where nothing could be estimated."""

CONFIDENCE = 0.95
CHUNK = 64
"""How many replicates are held in memory at a time: 26 MB for 50,000 candidates."""
PIECE = 4 * CHUNK
"""How many replicates are one piece of work: to send all events elsewhere must be worth it."""


@dataclass(frozen=True)
class Resampling:
    """How to resample.

    Parameters
    ----------
    replicates : int
        How many sets of patients are drawn; 0 for none.
    seed : int
        The same seed gives the same figures.
    spread : Spread
        Who computes the figures of what was drawn, some replicates each: this process, or the workers of a cluster. The
        figures are the same, as all is drawn here.
    """

    replicates: int = 1000
    seed: int = 0
    spread: Spread = field(default_factory=Here, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """Resampled sensitivities.

    Parameters
    ----------
    points : tuple of float, (p,)
        False positives per scan.
    samples : float64 array, (replicates, p)
        The sensitivity of each replicate at each point; nan where a replicate drew no findings.
    """

    points: tuple[float, ...]
    samples: NDArray[np.float64]

    @property
    def cpm(self) -> Interval:
        """The 95 % interval of the mean over all points, which is the CPM where these are its own."""
        return percentile_interval(self.samples.mean(axis=1))

    @property
    def sensitivity(self) -> dict[float, Interval]:
        """The 95 % interval of the sensitivity at each point."""
        columns = zip(self.points, self.samples.T, strict=True)
        return {point: percentile_interval(column) for point, column in columns}


def bootstrap(
    match: MatchTable,
    resampling: Resampling | None = None,
    points: Sequence[float] = FP_POINTS,
    groups: Mapping[str, str] | None = None,
) -> BootstrapResult:
    """Return the sensitivities of resampled sets of patients at the given false positives per scan.

    Parameters
    ----------
    match : MatchTable
    resampling : Resampling, optional
    points : sequence of float, (p,)
    groups : mapping of str to str, optional
        The patient of each case, where patients have several. By default each case is a patient of its own.
    """
    (samples,) = resample([match], resampling or Resampling(), points, groups)
    return BootstrapResult(tuple(points), samples)


def resample(
    matches: Sequence[MatchTable],
    resampling: Resampling,
    points: Sequence[float] = FP_POINTS,
    groups: Mapping[str, str] | None = None,
) -> NDArray[np.float64]:
    """Return sensitivities, (matches, replicates, points), where all matches share each draw of patients.

    The parameters are those of :func:`bootstrap`; all matches must have the same cases and findings.
    """
    samples = np.empty((len(matches), resampling.replicates, len(points)))
    request = _request(matches, groups) | {"points": list(points)}
    for rows, figures in _of_draws(sensitivities_of_draws, request, resampling):
        samples[:, rows] = figures
    return samples


def resample_average_precision(
    matches: Sequence[MatchTable], resampling: Resampling, groups: Mapping[str, str] | None = None
) -> NDArray[np.float64]:
    """Return average precisions, (matches, replicates), where all matches share each draw of patients.

    The parameters are those of :func:`resample`.
    """
    samples = np.empty((len(matches), resampling.replicates))
    for rows, figures in _of_draws(average_precisions_of_draws, _request(matches, groups), resampling):
        samples[:, rows] = figures
    return samples


def sensitivities_of_draws(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> NDArray[np.float64]:
    """Return the sensitivities of some replicates, (matches, replicates, points).

    Parameters
    ----------
    request : dict
        ``weights``, how often each replicate holds each patient, (replicates, patients); ``patients``; ``events``, those of each
        match; and ``points``.
    cancel : CancelToken
    tell : callable
    """
    patients, points = request["patients"], request["points"]
    figures = []
    for weights in _chunks(request["weights"]):
        cases, findings = weights @ patients.cases, weights @ patients.findings
        figures.append([each.sensitivity(weights, cases, findings, points) for each in request["events"]])
    return np.concatenate(figures, axis=1)


def average_precisions_of_draws(
    request: dict[str, Any], cancel: CancelToken, tell: Tell
) -> NDArray[np.float64]:
    """Return the average precisions of some replicates, (matches, replicates); see :func:`sensitivities_of_draws`."""
    patients, figures = request["patients"], []
    for weights in _chunks(request["weights"]):
        findings = weights @ patients.findings
        figures.append([each.average_precision(weights, findings) for each in request["events"]])
    return np.concatenate(figures, axis=1)


def _chunks(weights: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    return [weights[start : start + CHUNK] for start in range(0, len(weights), CHUNK)]


def _request(matches: Sequence[MatchTable], groups: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what all replicates have in common: the patients, and the events of each match."""
    patients = Patients.of(matches[0], groups)
    events = [Events.of(match, patients) for match in matches]
    return {"patients": replace(patients, number_of={}), "events": events}


def _of_draws(
    function: TaskFunction, request: dict[str, Any], resampling: Resampling
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield which replicates are done, and what a function makes of them."""
    rng, patients = np.random.default_rng(resampling.seed), request["patients"]
    pieces = {
        str(start): slice(start, min(start + PIECE, resampling.replicates))
        for start in range(0, resampling.replicates, PIECE)
    }
    tasks = [
        Task(key, request | {"weights": patients.resample(rng, rows.stop - rows.start)})
        for key, rows in pieces.items()
    ]
    with results_of(resampling.spread, function, tasks, CancelToken()) as results:
        for key, figures in results:
            yield pieces[key], figures


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """Return the central 95 % of ``values``, (n,), leaving out nan."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return (np.nan, np.nan)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [tail, 100 - tail])
    return (float(low), float(high))
