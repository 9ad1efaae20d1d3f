"""The overlap of many pairs of masks: means over cases, of the whole and of each class, with intervals over patients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medlab.evaluation.agreement import MeanWithInterval, mean_with_interval

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.evaluation.bootstrap import Resampling
    from napari_medlab.evaluation.overlap import LabelledOverlap, Overlap

__all__ = ["MEASURES", "WHOLE", "overlap_means"]

MEASURES = ("dice", "iou", "hd95_mm", "surface_dice")
WHOLE = "whole"
"""The name of all labels taken as one."""


def overlap_means(
    by_case: Mapping[str, LabelledOverlap],
    groups: Mapping[str, str] | None = None,
    resampling: Resampling | None = None,
) -> dict[str, dict[str, MeanWithInterval]]:
    """Return the mean of each measure over cases, by class.

    Parameters
    ----------
    by_case : mapping of str to LabelledOverlap
    groups : mapping of str to str, optional
        The patient of each case, where patients have several.
    resampling : Resampling, optional
        1000 replicates by default; 0 for no intervals.

    Returns
    -------
    dict of str to dict of str to MeanWithInterval
        By class (:data:`WHOLE`, then the labels), then by measure. A class counts in those cases alone in which either
        map holds it, and a measure in those in which it exists: there is no surface distance to an empty mask.
    """
    known = groups or {}
    owners = {case: f"patient {known[case]}" if case in known else f"case {case}" for case in by_case}
    labels = sorted({label for each in by_case.values() for label in each.by_class})
    classes: dict[str, dict[str, Overlap]] = {WHOLE: {case: each.whole for case, each in by_case.items()}}
    for label in labels:
        classes[str(label)] = {
            case: each.by_class[label] for case, each in by_case.items() if label in each.by_class
        }
    return {
        name: {measure: _mean(overlaps, measure, owners, resampling) for measure in MEASURES}
        for name, overlaps in classes.items()
    }


def _mean(
    overlaps: Mapping[str, Overlap], measure: str, owners: Mapping[str, str], resampling: Resampling | None
) -> MeanWithInterval:
    values = [getattr(each, measure) for each in overlaps.values()]
    numbers = [math.nan if value is None else float(value) for value in values]
    return mean_with_interval(numbers, [owners[case] for case in overlaps], resampling)
