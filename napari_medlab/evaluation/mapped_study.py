"""Files of masks and of detection maps as a study that a matching rule takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation.detection_maps import candidates_of_map, findings_of_mask
from napari_medlab.evaluation.outlined_study import OutlinedStudy
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.images import open_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["mapped_study"]


def mapped_study(pairs: Sequence[Mapping[str, tuple[Path, Path]]]) -> OutlinedStudy:
    """Return what is connected in masks as findings, and what is connected in detection maps as candidates.

    Parameters
    ----------
    pairs : sequence of mappings of str to (Path, Path)
        For each model, by case: the mask of the reference, in which everything but 0 is lesion, and the model's map, 0 for
        background and a confidence in each candidate. All name the same cases.

    Raises
    ------
    InputRefusedError
        As :func:`~napari_medlab.evaluation.detection_maps.candidates_of_map`, and where a file cannot be read.
    """
    shapes, findings = [], []
    for case_id, (path, _) in pairs[0].items():
        image = open_image(path)
        mapped = findings_of_mask(np.asarray(image.arrays[0]), image.grid, case_id)
        findings.append(mapped.findings)
        shapes.append(mapped.shapes)
    candidates = []
    for number, of_model in enumerate(pairs):
        tables = []
        for case_id, (_, path) in of_model.items():
            image = open_image(path)
            found = candidates_of_map(np.asarray(image.arrays[0]), image.grid, case_id, prefix=f"m{number}c")
            tables.append(found.candidates)
            shapes.append(found.shapes)
        candidates.append(CandidateTable.joined(tables))
    return OutlinedStudy(FindingTable.joined(findings), candidates, list(pairs[0]), Shapes.joined(shapes))
