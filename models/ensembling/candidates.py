"""The candidates of several detectors, joined in the world: weighted box fusion, case by case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import CandidateTable
from napari_medlab.annotations.objects import new_id
from napari_medlab.models.detection.detections import Detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["fuse_candidates"]


def fuse_candidates(
    tables: Sequence[CandidateTable], weights: Sequence[float] | None = None, iou: float = 0.3
) -> CandidateTable:
    """Return one table of candidates from those of several detectors on the same cases, with ids of its own.

    Candidates of one case and label that overlap, as cubes (or squares) around their centres, become one: its centre and
    diameter are means weighted by score, and its score falls where not all detectors agree.

    Parameters
    ----------
    tables : sequence of CandidateTable, not empty
    weights : sequence of float, optional
        How much each detector counts; those of weight 0 are left out. All count the same by default.
    iou : float
        From which intersection over union of the cubes candidates are one.

    References
    ----------
    Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models", 2019.
    """
    from napari_medlab.models.detection.suppression import fuse

    given = [1.0] * len(tables) if weights is None else [*weights]
    counted = [(table, weight) for table, weight in zip(tables, given, strict=True) if weight]
    names = sorted({str(name) for table, _ in counted for name in table.labels})
    fused: list[CandidateTable] = []
    for case_id in dict.fromkeys(str(name) for table, _ in counted for name in table.case_ids):
        parts = [_detections(table.for_case(case_id), names) for table, _ in counted]
        fused.append(_table(case_id, fuse(parts, [weight for _, weight in counted], iou), names))
    return _joined(fused, tables[0])


def _detections(table: CandidateTable, names: Sequence[str]) -> Detections:
    classes = np.array([names.index(str(label)) for label in table.labels], np.int64)
    return Detections.of_centres(table.centres, table.diameters, table.scores, classes)


def _table(case_id: str, found: Detections, names: Sequence[str]) -> CandidateTable:
    return CandidateTable(
        ids=_texts([new_id() for _ in found.scores]),
        case_ids=_texts([case_id] * len(found)),
        labels=_texts([names[number] for number in found.classes]),
        centres=found.centres,
        diameters=found.diameters,
        scores=found.scores,
    )


def _joined(tables: Sequence[CandidateTable], like: CandidateTable) -> CandidateTable:
    if not tables:
        return like.where(slice(0))
    columns = {
        name: np.concatenate([getattr(table, name) for table in tables]) for name in like.__dataclass_fields__
    }
    return CandidateTable(**columns)


def _texts(values: Sequence[str]) -> NDArray[np.str_]:
    return np.asarray(values, dtype=np.str_)
