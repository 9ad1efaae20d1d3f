"""The matching rule of CAMELYON16: a candidate hits where its point lies inside the lesion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.evaluation.rules.bodies import BALL, BOX, POLYGON, VOXELS, Bodies
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.evaluation.rules.study import Pairs, Study, shared_hits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.match_table import MatchTable

__all__ = ["CAMELYON_POINTS", "CamelyonRule"]

CAMELYON_POINTS: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""The false positives per slide at which CAMELYON16 reads the sensitivity; its score is their mean."""


@dataclass(frozen=True)
class CamelyonRule:
    """The rule of the CAMELYON16 challenge, for outlines in two and three dimensions.

    A candidate hits the lesions that its centre lies in. Each lesion takes the highest scored of the candidates that hit
    it, and several hits count once. What hits excluded findings alone, such as isolated tumour cells, is ignored.

    Parameters
    ----------
    shapes : Shapes
        The outlines of the findings; where one has none, its ball or disc counts.
    margin : float
        How far around a lesion a candidate may lie, in the unit of the centres; 0 by default. The challenge widens its
        lesions by 37.5 µm.
    smallest : float
        Lesions whose longest extent is less are excluded, in the unit of the centres; 0 for none by default. In the
        challenge, what is shorter than 200 µm are isolated tumour cells.
    max_marks : int or None
        How many candidates count for each case, the highest scored first; None for all.
    unknown_diameter : float or None
        What a negative diameter stands for where there is no outline; None refuses such a finding.

    References
    ----------
    B. Ehteshami Bejnordi et al., "Diagnostic Assessment of Deep Learning Algorithms for Detection of Lymph Node
    Metastases in Women With Breast Cancer", JAMA 318 (2017), and the script ``Evaluation_FROC.py`` of the challenge. There,
    lesions whose widened outlines touch are one; here each finding stays its own.
    """

    shapes: Shapes = field(default_factory=Shapes)
    margin: float = 0.0
    smallest: float = 0.0
    max_marks: int | None = None
    unknown_diameter: float | None = None

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``.

        Raises
        ------
        ValueError
            Where findings and candidates have different numbers of coordinates.
        InputRefusedError
            With code ``"no-extent"`` where a finding has neither an outline nor a diameter.
        """
        whole = Study.of(findings, candidates, cases).limited(self.max_marks)
        rows = np.concatenate([whole.included, whole.excluded])
        bodies = self.shapes.bodies(findings, rows, self.unknown_diameter)
        is_excluded = findings.is_excluded.copy()
        is_excluded[rows[bodies.longest < self.smallest]] = True
        study = replace(whole, findings=replace(findings, is_excluded=is_excluded))
        hits = self._inside(study, rows, bodies)
        excluded = is_excluded[hits.finding]
        return shared_hits(study, hits.where(~excluded), hits.where(excluded))

    def _inside(self, study: Study, rows: NDArray[np.intp], bodies: Bodies) -> Pairs:
        """Return the candidates whose centre lies in a finding."""
        near = self._near(study, rows, bodies)
        inside = np.zeros(len(near.finding), dtype=np.bool_)
        points = study.candidates.centres[near.candidate]
        place = np.full(len(study.findings), -1, dtype=np.intp)
        place[rows] = np.arange(len(rows))
        body = place[near.finding]
        for kind, test in (
            (BALL, _in_balls),
            (BOX, _in_boxes),
            (POLYGON, _in_polygons),
            (VOXELS, _in_voxels),
        ):
            chosen = np.flatnonzero(bodies.kind[body] == kind)
            if len(chosen):
                inside[chosen] = test(bodies, body[chosen], points[chosen], self.margin)
        return near.where(inside)

    def _near(self, study: Study, rows: NDArray[np.intp], bodies: Bodies) -> Pairs:
        """Return the candidates that lie in the ball around the box around each finding."""
        middle, reach = (bodies.low + bodies.high) / 2, bodies.high - bodies.low
        radii = np.nan_to_num(np.linalg.norm(reach, axis=1)) / 2 + self.margin
        around = study.findings.centres.copy()
        around[rows] = np.where(np.isnan(middle), around[rows], middle)
        flat = bodies.ndim == 2
        if around.shape[1] == 3:
            around[rows[flat], 2] = study.findings.centres[rows[flat], 2]
        centred = replace(study, findings=replace(study.findings, centres=around))
        return centred.within(rows, radii * (1 + 1e-9) + 1e-9)


def _in_balls(
    bodies: Bodies, rows: NDArray[np.intp], points: NDArray[np.float64], margin: float
) -> NDArray[np.bool_]:
    middle = (bodies.low[rows] + bodies.high[rows]) / 2
    radii = (bodies.high[rows, 0] - bodies.low[rows, 0]) / 2 + margin
    gaps = points - middle
    gaps[bodies.ndim[rows] == 2, 2:] = 0.0
    return np.asarray((gaps**2).sum(axis=1) < radii**2)


def _in_boxes(
    bodies: Bodies, rows: NDArray[np.intp], points: NDArray[np.float64], margin: float
) -> NDArray[np.bool_]:
    beyond = np.maximum(bodies.low[rows] - points, points - bodies.high[rows])
    beyond[bodies.ndim[rows] == 2, 2:] = 0.0
    inside = (beyond <= 0).all(axis=1)
    return np.asarray(inside | (np.linalg.norm(np.maximum(beyond, 0.0), axis=1) < margin))


def _in_polygons(
    bodies: Bodies, rows: NDArray[np.intp], points: NDArray[np.float64], margin: float
) -> NDArray[np.bool_]:
    import shapely

    places = shapely.points(points[:, :2])
    shapely.prepare(bodies.shape[rows])
    inside = shapely.intersects(bodies.shape[rows], places)
    return np.asarray(
        inside | (shapely.distance(bodies.shape[rows], places) < margin) if margin > 0 else inside
    )


def _in_voxels(
    bodies: Bodies, rows: NDArray[np.intp], points: NDArray[np.float64], margin: float
) -> NDArray[np.bool_]:
    inside = np.zeros(len(rows), dtype=np.bool_)
    for row in np.unique(rows).tolist():
        chosen = np.flatnonzero(rows == row)
        voxels = bodies.shape[row]
        inside[chosen] = voxels.contains(points[chosen, : voxels.grid.ndim], margin)
    return inside
