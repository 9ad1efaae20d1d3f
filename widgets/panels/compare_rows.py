"""The lesions that changed between two runs as rows: what they are, where, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.transitions import FindingChange

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_medlab.evaluation import Transitions
    from napari_medlab.reports.run_figures import ComparedRuns

__all__ = ["COLUMNS", "KINDS", "ChangeKind", "LesionRow", "chosen_rows", "lesion_rows"]


@dataclass(frozen=True)
class ChangeKind:
    """How one kind of change is named and marked: never by colour alone."""

    sign: str
    title: str
    colour: str


KINDS = {
    "fixed": ChangeKind("✓", "fixed", "#009E73"),
    "regressed": ChangeKind("✗", "broken", "#D55E00"),
    "still_missed": ChangeKind("◆", "still missed", "#56B4E9"),
    "new_false_positive": ChangeKind("■", "new FP", "#E69F00"),
    "removed_false_positive": ChangeKind("□", "removed FP", "#999999"),
}
"""By the name of the list in :class:`~napari_medlab.evaluation.Transitions`; FP is false positive."""

COLUMNS = ("", "Case", "Before", "After")


@dataclass(frozen=True)
class LesionRow:
    """One lesion that changed.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    case_id, object_id : str
    centre : tuple of float
        World coordinates (x, y[, z]).
    diameter : float
        -1 where unknown.
    before, after : float
        The scores by both models; nan where a model has nothing there.
    """

    kind: str
    case_id: str
    object_id: str
    centre: tuple[float, ...]
    diameter: float
    before: float
    after: float


def lesion_rows(compared: ComparedRuns) -> list[LesionRow]:
    """Return what changed, kind by kind."""
    changes: Transitions = compared.comparison.transitions
    findings = _diameters(compared.a.run.findings)
    proposed = {
        "new_false_positive": _diameters(compared.b.run.candidates),
        "removed_false_positive": _diameters(compared.a.run.candidates),
    }
    rows = []
    for kind in KINDS:
        for change in getattr(changes, kind):
            if isinstance(change, FindingChange):
                scores = tuple(
                    score if np.isfinite(score) else np.nan for score in (change.score_a, change.score_b)
                )
                diameter = findings.get(change.finding_id, -1.0)
                rows.append(
                    LesionRow(kind, change.case_id, change.finding_id, change.centre, diameter, *scores)
                )
            else:
                diameter = proposed[kind].get(change.candidate_id, -1.0)
                both = (np.nan, change.score) if kind == "new_false_positive" else (change.score, np.nan)
                rows.append(
                    LesionRow(kind, change.case_id, change.candidate_id, change.centre, diameter, *both)
                )
    return rows


def chosen_rows(
    rows: Sequence[LesionRow],
    kinds: Collection[str],
    names: Mapping[str, str],
    sort: tuple[int, bool] | None = None,
) -> list[LesionRow]:
    """Return the rows of some kinds.

    Parameters
    ----------
    rows : sequence of LesionRow
    kinds : collection of str
    names : mapping of case id to name
        By which cases are ordered.
    sort : (column, descending), optional
        A column of :data:`COLUMNS`; as they come where left out. Scores that do not exist stand last either way.
    """
    chosen = [row for row in rows if row.kind in kinds]
    if sort is None:
        return chosen
    column, descending = sort
    if column >= COLUMNS.index("Before"):
        name = COLUMNS[column].lower()
        known = [row for row in chosen if np.isfinite(getattr(row, name))]
        unknown = [row for row in chosen if not np.isfinite(getattr(row, name))]
        return sorted(known, key=lambda row: float(getattr(row, name)), reverse=descending) + unknown
    order = {kind: number for number, kind in enumerate(KINDS)}
    if column == 0:
        return sorted(chosen, key=lambda row: order[row.kind], reverse=descending)
    return sorted(chosen, key=lambda row: names.get(row.case_id, ""), reverse=descending)


def _diameters(table: object) -> dict[str, float]:
    return dict(zip(table.ids.tolist(), table.diameters.tolist(), strict=True))  # type: ignore[attr-defined]
