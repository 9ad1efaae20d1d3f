"""The figures of one detector, as the command line and the window show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.bootstrap import BootstrapResult, Interval, Resampling, bootstrap
from napari_medlab.evaluation.froc import FP_POINTS, FrocCurve, froc
from napari_medlab.evaluation.matching import MatchRule, MatchTable, match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable

__all__ = ["FrocReport", "evaluate_froc", "json_interval", "json_number", "report", "sensitivity_at"]


@dataclass(frozen=True, eq=False)
class FrocReport:
    """A match table, its FROC curve, and the intervals where patients were resampled."""

    match: MatchTable
    curve: FrocCurve
    intervals: BootstrapResult | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab evaluate froc`` prints; a figure that does not exist is None."""
        counts = self.match.counts
        sensitivity = self.curve.sensitivity_at(FP_POINTS).tolist()
        return {
            "cpm": json_number(self.curve.cpm),
            "sensitivity": {
                f"{x:g}": json_number(value) for x, value in zip(FP_POINTS, sensitivity, strict=True)
            },
            "cases": len(self.match.cases),
            "findings": self.match.n_findings,
            "candidates": self.match.n_candidates,
            "tp": counts["tp"],
            "fp": counts["fp"],
            "fn": counts["fn"],
            "ignored": counts["ignored"],
            "duplicates": counts["duplicate"],
            "interval": self._intervals_as_json(),
        }

    def _intervals_as_json(self) -> dict[str, list[float] | None]:
        if self.intervals is None:
            return {}
        each = {f"{x:g}": json_interval(ends) for x, ends in self.intervals.sensitivity.items()}
        return {"cpm": json_interval(self.intervals.cpm), **each}


def evaluate_froc(
    findings: FindingTable,
    candidates: CandidateTable,
    cases: Sequence[str] | None = None,
    *,
    rule: str | MatchRule = "luna16",
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> FrocReport:
    """Match candidates with findings and return the figures; without ``resampling`` there are no intervals.

    ``groups`` names the patient of each case, where patients have several: patients are resampled.

    Raises
    ------
    InputRefusedError
        With code ``"no-cases"`` where there is not a single case.
    """
    return report(match(findings, candidates, cases, rule), resampling, groups)


def report(
    table: MatchTable, resampling: Resampling | None = None, groups: Mapping[str, str] | None = None
) -> FrocReport:
    """Return the figures of a match table; without ``resampling`` there are no intervals.

    ``groups`` names the patient of each case, where patients have several: patients are resampled.

    Raises
    ------
    InputRefusedError
        With code ``"no-cases"`` where there is not a single case.
    """
    if not table.cases:
        msg = "There is nothing to evaluate: no case in the reference, the candidates or the list of cases."
        raise InputRefusedError(msg, code="no-cases", hint="Check that these are the right files.")
    wanted = resampling is not None and resampling.replicates > 0
    return FrocReport(table, froc(table), bootstrap(table, resampling, groups=groups) if wanted else None)


def sensitivity_at(
    table: MatchTable,
    fps_per_scan: Sequence[float],
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the sensitivity at any false positives per scan, and their mean, as plain JSON values.

    The parameters are those of :func:`report`; without ``resampling`` the intervals are None.
    """
    points = tuple(fps_per_scan)
    values = froc(table).sensitivity_at(points)
    unknown = (np.nan, np.nan)
    ends, of_mean = dict.fromkeys(points, unknown), unknown
    if resampling is not None and resampling.replicates > 0:
        drawn = bootstrap(table, resampling, points, groups)
        ends, of_mean = drawn.sensitivity, drawn.cpm
    each = {
        f"{point:g}": {"sensitivity": json_number(value), "interval": json_interval(ends[point])}
        for point, value in zip(points, values.tolist(), strict=True)
    }
    return {
        **each,
        "mean": {"sensitivity": json_number(float(values.mean())), "interval": json_interval(of_mean)},
    }


def json_number(value: float) -> float | None:
    """Return the value, or None where it is not finite: JSON knows no nan."""
    return float(value) if np.isfinite(value) else None


def json_interval(ends: Interval) -> list[float] | None:
    """Return both ends, or None where they could not be estimated."""
    return None if np.isnan(ends).any() else [float(end) for end in ends]
