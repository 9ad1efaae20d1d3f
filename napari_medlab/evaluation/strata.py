"""The figures by stratum: for each size, class, site, scanner, fold or other field by itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.report import FrocReport, report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.bootstrap import Resampling
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = [
    "UNKNOWN",
    "by_case",
    "by_class",
    "by_finding",
    "match_of_cases",
    "match_of_findings",
    "size_classes",
    "size_names",
]

UNKNOWN = "unknown"
"""The stratum of what has no value."""


def by_case(
    match: MatchTable,
    values: Mapping[str, str],
    *,
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, FrocReport]:
    """Return a report on the cases of each stratum, such as a site, a scanner or a fold.

    Parameters
    ----------
    match : MatchTable
        Of all cases.
    values : mapping of str to str
        The stratum of each case; :data:`UNKNOWN` for one that it leaves out.
    resampling : Resampling, optional
        For intervals, the patients of the stratum being drawn; none by default.
    groups : mapping of str to str, optional
        The patient of each case, where patients have several.
    """
    stratum_of = {case: values.get(case, UNKNOWN) for case in match.cases}
    return {
        name: report(
            match_of_cases(match, [c for c in match.cases if stratum_of[c] == name]), resampling, groups
        )
        for name in _in_order(stratum_of.values())
    }


def by_finding(
    match: MatchTable,
    findings: FindingTable,
    values: Sequence[str],
    *,
    order: Sequence[str] = (),
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, FrocReport]:
    """Return a report on the findings of each stratum, such as a size.

    A stratum's findings are looked for among all candidates of all cases: findings outside it are neither found nor
    missed, candidates that hit these are ignored, and the false positives stay those of all cases. So the curves of all
    strata share their horizontal axis, and a threshold has the same false positives in each.

    Parameters
    ----------
    match : MatchTable
    findings : FindingTable
        Those that were matched.
    values : sequence of str, (n,)
        The stratum of each finding.
    order : sequence of str, optional
        In which order the strata come; others follow.
    resampling, groups
        As in :func:`by_case`; all patients are drawn.
    """
    names = np.append(np.asarray(values, dtype=np.str_), "")
    if len(names) - 1 != len(findings):
        msg = f"There are {len(findings)} findings and {len(values)} strata for them."
        raise ValueError(msg)
    of_row = names[match.finding_rows(findings)]
    present = _in_order(of_row[match.is_finding].tolist())
    ranked = sorted(present, key=lambda name: order.index(name) if name in order else len(order))
    return {name: report(match_of_findings(match, of_row == name), resampling, groups) for name in ranked}


def by_class(
    match: MatchTable,
    findings: FindingTable,
    candidates: CandidateTable,
    *,
    resampling: Resampling | None = None,
    groups: Mapping[str, str] | None = None,
) -> dict[str, FrocReport]:
    """Return a report on each class of findings.

    As :func:`by_finding`, but with those false positives only that the model itself gave the class, where its labels are
    the reference's; one whose label no finding has counts in every class.

    Parameters
    ----------
    match : MatchTable
    findings, candidates : tables
        Those that were matched.
    resampling, groups
        As in :func:`by_finding`.
    """
    labels = np.append(findings.labels.astype(np.str_), "")[match.finding_rows(findings)]
    called = np.append(candidates.labels.astype(np.str_), "")[match.candidate_rows(candidates)]
    known = _in_order(labels[match.is_finding].tolist())
    of_others = (match.kind == "fp") & np.isin(called, known)
    reports = {}
    for name in known:
        kept = ~(of_others & (called != name))
        reports[name] = report(match_of_findings(match.where(kept), labels[kept] == name), resampling, groups)
    return reports


def match_of_cases(match: MatchTable, cases: Sequence[str]) -> MatchTable:
    """Return the rows of some cases, with these alone in the list of cases."""
    kept = set(cases)
    rows = np.fromiter((case in kept for case in match.case_id.tolist()), dtype=np.bool_, count=len(match))
    return replace(match.where(rows), cases=tuple(case for case in match.cases if case in kept))


def match_of_findings(match: MatchTable, chosen: NDArray[np.bool_]) -> MatchTable:
    """Return a match table in which the findings of other rows than the chosen ones count neither way.

    Misses of others are dropped; candidates that hit others alone are ignored. False positives stay.

    Parameters
    ----------
    match : MatchTable
    chosen : bool array, (n,)
        Rows of the match table whose finding counts.
    """
    of_others = (match.is_finding | (match.kind == "duplicate")) & ~chosen
    kind = np.where(of_others, "ignored", match.kind)
    serving = match.candidate_id[(kind == "tp") | (kind == "duplicate")]
    dropped = of_others & ((match.kind == "fn") | np.isin(match.candidate_id, serving))
    ignored = np.flatnonzero((kind == "ignored") & ~dropped)
    _, first = np.unique(match.candidate_id[ignored], return_index=True)
    dropped[np.setdiff1d(ignored, ignored[first])] = True
    return replace(match, kind=kind).where(~dropped)


def size_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return the names of the size classes between rising edges, the smallest first, then :data:`UNKNOWN`."""
    if not edges:
        return ("all", UNKNOWN)
    between = (f"{low:g} to {high:g}" for low, high in pairwise(edges))
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and above", UNKNOWN)


def size_classes(findings: FindingTable, edges: Sequence[float]) -> list[str]:
    """Return the size class of each finding by its diameter, in the unit of the centres.

    Parameters
    ----------
    findings : FindingTable
        A negative diameter is :data:`UNKNOWN`.
    edges : sequence of float
        Rising; one that equals an edge belongs to the class above it.

    Raises
    ------
    InputRefusedError
        With code ``"strata"`` where the edges do not rise.
    """
    if any(low >= high for low, high in pairwise(edges)):
        raise InputRefusedError(
            f"The edges of size classes must rise, got {', '.join(f'{edge:g}' for edge in edges)}.",
            code="strata",
            hint="Name each edge once, the smallest first.",
        )
    names = size_names(edges)
    at = np.where(
        findings.diameters < 0, len(names) - 1, np.searchsorted(edges, findings.diameters, side="right")
    )
    return [names[each] for each in at.tolist()]


def _in_order(values: Iterable[str]) -> list[str]:
    """Return the different values: numbers by size, then text, and what is unknown last."""
    return sorted(
        set(values),
        key=lambda each: (each == UNKNOWN, not each.isdecimal(), int(each) if each.isdecimal() else 0, each),
    )
