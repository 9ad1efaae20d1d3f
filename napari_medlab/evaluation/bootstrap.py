"""How sure a FROC figure is: intervals from resampling patients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.events import Events, Patients
from napari_medlab.evaluation.froc import FP_POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.evaluation.matching import MatchTable

__all__ = [
    "CONFIDENCE",
    "BootstrapResult",
    "Interval",
    "Resampling",
    "bootstrap",
    "percentile_interval",
    "resample",
    "resample_average_precision",
]

Interval = tuple[float, float]
"""The lower and the upper end; both nan where nothing could be estimated."""

CONFIDENCE = 0.95
CHUNK = 64
"""How many replicates are held in memory at a time: 26 MB for 50,000 candidates."""


@dataclass(frozen=True)
class Resampling:
    """How to resample.

    Parameters
    ----------
    replicates : int
        How many sets of patients are drawn; 0 for none.
    seed : int
        The same seed gives the same figures.
    """

    replicates: int = 1000
    seed: int = 0


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
    for rows, weights, patients, events in _draws(matches, resampling, groups):
        cases, findings = weights @ patients.cases, weights @ patients.findings
        for at, each in enumerate(events):
            samples[at, rows] = each.sensitivity(weights, cases, findings, points)
    return samples


def resample_average_precision(
    matches: Sequence[MatchTable], resampling: Resampling, groups: Mapping[str, str] | None = None
) -> NDArray[np.float64]:
    """Return average precisions, (matches, replicates), where all matches share each draw of patients.

    The parameters are those of :func:`resample`.
    """
    samples = np.empty((len(matches), resampling.replicates))
    for rows, weights, patients, events in _draws(matches, resampling, groups):
        findings = weights @ patients.findings
        for at, each in enumerate(events):
            samples[at, rows] = each.average_precision(weights, findings)
    return samples


def _draws(
    matches: Sequence[MatchTable], resampling: Resampling, groups: Mapping[str, str] | None
) -> Iterator[tuple[slice, NDArray[np.int32], Patients, list[Events]]]:
    """Yield which replicates are drawn, how often they hold each patient, the patients, and the events of each match."""
    patients = Patients.of(matches[0], groups)
    events = [Events.of(match, patients) for match in matches]
    rng = np.random.default_rng(resampling.seed)
    for start in range(0, resampling.replicates, CHUNK):
        size = min(CHUNK, resampling.replicates - start)
        yield slice(start, start + size), patients.resample(rng, size), patients, events


def percentile_interval(values: NDArray[np.float64]) -> Interval:
    """Return the central 95 % of ``values``, (n,), leaving out nan."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return (np.nan, np.nan)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [tail, 100 - tail])
    return (float(low), float(high))
