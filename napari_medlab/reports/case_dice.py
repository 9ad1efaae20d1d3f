"""How well a run's outlines agree with the reference, case by case, on the pixels of the images themselves."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.paired import paired_difference
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import Region, RegionTable
    from napari_medlab.evaluation.bootstrap import Resampling
    from napari_medlab.evaluation.paired import PairedDifference
    from napari_medlab.project import CaseRecord, Project

__all__ = ["case_dice", "compared_dice", "dice_of_cases", "has_outlines", "has_reference_outlines"]

TILE = 2048
"""Outlines are compared in squares of so many pixels a side, of which only those that hold some are looked at."""


def has_outlines(project: Project, run_id: str, case_ids: Sequence[str]) -> bool:
    """Tell whether a run proposes outlines on any of some cases."""
    return any(len(project.region_table(case_id, run_id=run_id, as_given=True)) for case_id in case_ids)


def has_reference_outlines(project: Project, case_ids: Sequence[str]) -> bool:
    """Tell whether the reference has outlines on any of some cases."""
    return any(len(project.region_table(case_id, beside="")) for case_id in case_ids)


def dice_of_cases(
    project: Project, run_id: str, case_ids: Sequence[str], check: Callable[[], None] | None = None
) -> NDArray[np.float64]:
    """Return the Dice coefficient of each case, (n,), as :func:`case_dice` counts it; ``check`` may raise before each case."""
    values = []
    for case_id in case_ids:
        if check is not None:
            check()
        values.append(case_dice(project, run_id, case_id))
    return np.asarray(values, dtype=np.float64)


def compared_dice(
    project: Project, runs: tuple[str, str], cases: Sequence[CaseRecord], resampling: Resampling,
    check: Callable[[], None] | None = None,
) -> PairedDifference | None:  # fmt: skip
    """Return how the mean Dice over cases differs between two runs; None where the reference or a run outlines nothing.

    It is None, too, where no outline of either run touches one of the reference of its class: classes that are called
    differently say nothing about models.

    Parameters
    ----------
    project : Project
    runs : (before, after)
        Their ids.
    cases : sequence of CaseRecord
        Those that both are done with.
    resampling : Resampling
        Of patients, both runs sharing each draw.
    check : callable, optional
        Called before each case; it raises where nobody wants the figure any more.
    """
    case_ids = [case.case_id for case in cases]
    if not has_reference_outlines(project, case_ids):
        return None
    if not all(has_outlines(project, run_id, case_ids) for run_id in runs):
        return None
    before, after = (dice_of_cases(project, run_id, case_ids, check) for run_id in runs)
    if not (before.any() or after.any()):
        return None
    return paired_difference(before, after, [case.group for case in cases], resampling)


def case_dice(project: Project, run_id: str, case_id: str) -> float:
    """Return the Dice coefficient of a run's outlines and the reference's on one case: the mean over classes.

    Outlines of one class are united, on the pixels of the image's level 0; those of volumes slice by slice. The run's are those
    that it proposed, whatever readers made of them since. A class that is
    on neither side does not count, and a case without any outline on both sides is 1. Pixels within outlines of findings
    that are excluded are left out on both sides.
    """
    findings = project.findings().for_case(case_id)
    excluded = {one.encode() for one in findings.ids[findings.is_excluded].tolist()}
    known = {one.encode() for one in findings.ids.tolist()} | {b""}
    settled = project.region_table(case_id, beside="")
    settled = settled.where(_owned_by(settled, known))
    is_excluded = _owned_by(settled, excluded)
    ignored, reference = _outlines_of(settled.where(is_excluded)), _outlines_of(settled.where(~is_excluded))
    found = _outlines_of(project.region_table(case_id, run_id=run_id, as_given=True))
    classes = sorted({one.label for one in (*reference, *found)})
    if not classes:
        return 1.0
    each = []
    for label in classes:
        sides = [[one for one in side if one.label == label] for side in (reference, found)]
        inside, outside, both = _counts(sides[0], sides[1], ignored)
        if inside + outside:
            each.append(2 * both / (inside + outside))
    return float(np.mean(each)) if each else 1.0


@dataclass(frozen=True)
class _Outline:
    """The rings of an outline on one plane, their box (y, x starts and ends), and what it is of."""

    label: str
    plane: int
    rings: tuple[NDArray[np.float64], ...]
    low: NDArray[np.intp]
    high: NDArray[np.intp]


def _owned_by(table: RegionTable, owners: set[bytes]) -> NDArray[np.bool_]:
    return np.asarray([owner in owners for owner in table.owner_ids.tolist()], np.bool_)


def _outlines_of(table: RegionTable) -> list[_Outline]:
    return [outline for row in range(len(table)) for outline in _flat(table.region(row))]


def _flat(region: Region) -> Iterator[_Outline]:
    planes: dict[int, list[NDArray[np.float64]]] = {}
    for ring in region.rings:
        planes.setdefault(round(float(ring[0, 0])) if ring.shape[1] == 3 else 0, []).append(ring[:, -2:])
    for plane, rings in planes.items():
        every = np.concatenate(rings)
        low, high = (
            np.floor(every.min(axis=0)).astype(np.intp),
            np.ceil(every.max(axis=0)).astype(np.intp) + 1,
        )
        yield _Outline(region.label, plane, tuple(rings), np.maximum(low, 0), high)


def _counts(
    reference: Sequence[_Outline], found: Sequence[_Outline], ignored: Sequence[_Outline]
) -> tuple[int, int, int]:
    """Return how many pixels the reference has, the run has, and both have."""
    totals = np.zeros(3, np.int64)
    tiles: dict[tuple[int, int, int], list[list[_Outline]]] = {}
    for side, outlines in enumerate((reference, found, ignored)):
        for outline in outlines:
            for tile in _tiles_of(outline):
                tiles.setdefault(tile, [[], [], []])[side].append(outline)
    for (_, y, x), sides in tiles.items():
        if sides[0] or sides[1]:
            start = np.asarray([y, x]) * TILE
            one, other, left_out = (_united(side, start) for side in sides)
            one, other = one & ~left_out, other & ~left_out
            totals += [one.sum(), other.sum(), (one & other).sum()]
    return int(totals[0]), int(totals[1]), int(totals[2])


def _tiles_of(outline: _Outline) -> Iterator[tuple[int, int, int]]:
    first, last = outline.low // TILE, (outline.high - 1) // TILE
    for y, x in product(range(first[0], last[0] + 1), range(first[1], last[1] + 1)):
        yield outline.plane, y, x


def _united(outlines: Sequence[_Outline], start: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return what outlines enclose of the square that begins at ``start``."""
    united = np.zeros((TILE, TILE), np.bool_)
    for outline in outlines:
        low, high = (np.clip(edge - start, 0, TILE) for edge in (outline.low, outline.high))
        if (high > low).all():
            size = (int(high[0] - low[0]), int(high[1] - low[1]))
            inside = rings_to_mask([ring - start - low for ring in outline.rings], size)
            united[low[0] : high[0], low[1] : high[1]] |= inside
    return united
