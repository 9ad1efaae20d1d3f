"""The outlines of the reference and of two models around one place, so that they can be drawn over one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable, RegionTable
    from napari_medlab.project import CaseRecord, Project

    Rings = list[NDArray[np.float64]]

__all__ = ["NEAREST", "LesionOutlines", "Side", "outlines_around"]

NEAREST = 60
"""So many objects of each side are outlined, the nearest first."""
VERTICES = 32
"""Of a circle that stands for an object without an outline."""
USUAL_DIAMETER = {"mm": 10.0, "um": 100.0, "px": 20.0}
"""What an unknown diameter is drawn as, by the unit of the image."""


@dataclass(frozen=True)
class Side:
    """A model in a comparison: its run, and the least score of the candidates that are drawn."""

    run_id: str
    threshold: float = -np.inf


@dataclass(frozen=True, eq=False)
class LesionOutlines:
    """What each side outlines near a place: rings as array indices of the image as stored, (n, 3) or (n, 2).

    An object without an outline of its own is drawn as the circle, in a volume as the ball, of its diameter.
    """

    reference: Rings
    before: Rings
    after: Rings

    @property
    def by_side(self) -> dict[str, Rings]:
        """The rings by the name of their side, in the order in which they are drawn."""
        return {"reference": self.reference, "before": self.before, "after": self.after}


def outlines_around(
    project: Project, case: CaseRecord, sides: tuple[Side, Side], centre: Sequence[float]
) -> LesionOutlines:
    """Return what the reference and two models outline near a place of a case.

    Parameters
    ----------
    project : Project
    case : CaseRecord
        Whose geometry is known; nothing is drawn of others.
    sides : (before, after)
    centre : (x, y, z) or (x, y)
        In world coordinates.
    """
    if case.grid is None:
        return LesionOutlines([], [], [])
    near = _Near(Grid.from_json(case.grid), np.asarray(centre, dtype=np.float64))
    findings = project.findings(case.case_id)
    reference = near.rings(
        project.region_table(case.case_id, beside=""), findings.where(~findings.is_excluded)
    )
    models = []
    for side in sides:
        candidates = project.candidates(side.run_id, case.case_id)
        candidates = candidates.where(candidates.scores >= side.threshold)
        models.append(
            near.rings(
                _of_model(_proposed(project, case, side), candidates, side),
                candidates,
            )
        )
    return LesionOutlines(reference, *models)


def _proposed(project: Project, case: CaseRecord, side: Side) -> RegionTable:
    return project.region_table(case.case_id, run_id=side.run_id, as_given=True)


def _of_model(table: RegionTable, candidates: CandidateTable, side: Side) -> RegionTable:
    """Return the outlines of candidates that count, and those without an owner that score as high or have no score."""
    owned = np.isin(table.owner_ids, candidates.ids.astype(np.bytes_))
    free = (table.owner_ids == b"") & ~(table.scores < side.threshold)
    return table.where(owned | free)


@dataclass(frozen=True, eq=False)
class _Near:
    """A place in an image, from which objects are near or far."""

    grid: Grid
    centre: NDArray[np.float64]

    def rings(self, table: RegionTable, objects: FindingTable | CandidateTable) -> Rings:
        """Return the outlines of a table, and circles for the objects that it lacks: of the nearest alone."""
        ndim, spacing = self.grid.ndim, np.asarray(self.grid.spacing)
        here = self.grid.to_index(self.centre[:ndim])
        outlined = np.isin(objects.ids.astype(np.bytes_), table.owner_ids)
        lacking = objects.where(~outlined)
        places = self.grid.to_index(lacking.centres[:, :ndim]) if len(lacking) else np.zeros((0, ndim))
        middles = table.boxes.mean(axis=1) if len(table) else np.zeros((0, ndim))
        far = np.linalg.norm((np.concatenate([middles, places]) - here) * spacing, axis=1)
        found: Rings = []
        for row in np.argsort(far, kind="stable")[:NEAREST].tolist():
            if row < len(table):
                found += list(table.region(row).rings)
            else:
                number = row - len(table)
                found += self._circles(places[number], float(lacking.diameters[number]))
        return found

    def _circles(self, middle: NDArray[np.float64], diameter: float) -> Rings:
        """Return the circle of an object, or the circles in which slices cut its ball."""
        radius = 0.5 * (diameter if diameter > 0 else USUAL_DIAMETER[self.grid.unit])
        spacing = np.asarray(self.grid.spacing)
        turn = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
        circle = np.stack([np.sin(turn), np.cos(turn)], axis=1) / spacing[-2:]
        if self.grid.ndim == 2:
            return [middle + radius * circle]
        reach = int(radius / spacing[0])
        rings = []
        for z in range(round(float(middle[0])) - reach, round(float(middle[0])) + reach + 1):
            left = radius**2 - ((z - middle[0]) * spacing[0]) ** 2
            if left > 0:
                rings.append(
                    np.column_stack([np.full(VERTICES, float(z)), middle[1:] + np.sqrt(left) * circle])
                )
        return rings
